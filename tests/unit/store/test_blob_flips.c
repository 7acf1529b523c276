/* Flipped bits in the file of the index of bodies: opening finds them and makes the index anew, or they change nothing.
 */
#include "support_blob.h"

#include "store/blob.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FLIPS = 150, BODIES = 300, ABSENT = 100, PAGE = 4096, CHILD_S = 60 };

static uint64_t seed = 4711;

static uint64_t draw(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 11) % n;
}

/* All bodies are read, and what lacks is known to lack, or that it is not known is. Found says which it must be. */
static int judge(struct blob_bench *t, bool found)
{
    struct body_hash list[2 * ABSENT];
    alarm(CHILD_S);
    blob_bench_open(t);
    if (blob_recheck_needed(t->log) != found)
        return 1;
    for (unsigned i = 0; i < BODIES; i++)
        if (blob_bench_check(t, i))
            return 2;
    size_t missing = blob_missing_list(t->log, NULL, list, 2 * ABSENT);
    if (missing != (found ? 0 : ABSENT))
        return 3;
    if (blob_bench_append(t, BODIES + ABSENT, BODIES + ABSENT + 50))
        return 4;
    if (blob_failed(t->log))
        return 5;
    blob_close(&t->log);
    struct err_detail e;
    return blob_check_files(t->dir, false, NULL, &e) ? 6 : 0;
}

/* In a child, as LMDB may not survive what the check overlooked; the folder is a copy. */
static void outcome(struct blob_bench *t, bool found, const char *what)
{
    char command[256];
    char copy[sizeof t->dir];
    snprintf(copy, sizeof copy, "%.50s.copy", t->dir);
    snprintf(command, sizeof command, "rm -rf %s && cp -r %s %s", copy, t->dir, copy);
    assert_int_equal(system(command), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        memcpy(t->dir, copy, sizeof copy);
        _exit(judge(t, found));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fail_msg("%s, %s: %d", what, found ? "found, and not healed" : "not found, and not harmless", status);
    snprintf(command, sizeof command, "rm -rf %s", copy);
    assert_int_equal(system(command), 0);
}

static void flipped_bits_are_found_or_harmless(void **state)
{
    struct blob_bench *t = *state;
    unsigned found = 0;
    char path[128];
    struct stat st;
    struct err_detail e;
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, BODIES), 0);
    for (unsigned i = BODIES; i < BODIES + ABSENT; i++) {
        struct body_hash hash = blob_bench_hash(i);
        blob_missing_add(t->log, &hash);
    }
    blob_recheck_done(t->log);
    blob_close(&t->log);
    assert_int_equal(blob_check_files(t->dir, false, NULL, &e), 0);
    snprintf(path, sizeof path, "%s/local/data.mdb", t->dir);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    size_t pages = (size_t)st.st_size / PAGE;
    for (unsigned n = 0; n < FLIPS; n++) {
        off_t at = (off_t)(draw(pages) * PAGE + draw(draw(2) ? PAGE : 64));
        uint8_t was, now;
        char what[64];
        assert_int_equal(pread(fd, &was, 1, at), 1);
        now = was ^ (uint8_t)(1u << draw(8));
        assert_int_equal(pwrite(fd, &now, 1, at), 1);
        snprintf(what, sizeof what, "%lld: %02x for %02x", (long long)at, now, was);
        int rc = blob_check_files(t->dir, false, NULL, &e);
        assert_true(rc == 0 || rc == ERR_CORRUPT);
        if (rc == 0 || n % 4 == 0)
            outcome(t, rc != 0, what);
        found += rc != 0;
        assert_int_equal(pwrite(fd, &was, 1, at), 1);
    }
    close(fd);
    print_message("flips=%d bytes=%lld found=%u\n", FLIPS, (long long)st.st_size, found);
    assert_true(found > 0 && found < FLIPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(flipped_bits_are_found_or_harmless, blob_bench_setup, blob_bench_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
