/* Flipped bits in the state's file: the check finds them, or they change nothing: the same records are read, and the
 * store goes on working. */
#include "support_state.h"

#include "store/env.h"
#include "store/state.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FLIPS = 600, PAGE = 4096, MESSAGES = 700, CHILD_S = 60 };

static uint64_t seed;

static uint64_t draw(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 11) % n;
}

/* Trees of several levels, values with pages of their own, and pages that are free. */
static uint64_t fill(struct fx *f)
{
    char name[32], large[20000];
    fx_domain(f, "x.org", "a@x.org");
    uint64_t a = fx_user(f, "a@x.org", 0), b = fx_user(f, "b@x.org", 0), both[] = {a, b};
    memset(large, 'v', sizeof large - 1);
    large[sizeof large - 1] = 0;
    for (unsigned i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "large%u", i);
        large[(i + 1) * 1500] = 0; /* the shortest one last */
        fx_setting(f, name, large + i, false);
        large[(i + 1) * 1500] = 'v';
    }
    for (unsigned i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "Folder %02u", i);
        fx_create(f, a, name);
    }
    for (unsigned i = 0; i < MESSAGES; i++)
        fx_deliver(f, i, both, 1 + i % 2);
    uint64_t inbox = fx_mailbox(f, a, "INBOX");
    fx_flags(f, inbox, "1:300", 1, 9, "kw", UINT64_MAX);
    fx_copy(f, inbox, "200:500", fx_mailbox(f, a, "Folder 07"), false);
    fx_expunge(f, inbox, "1:250", true);
    for (unsigned i = 0; i < 12; i += 3) {
        snprintf(name, sizeof name, "large%u", i);
        fx_setting(f, name, "short", false);
    }
    return inbox;
}

static void export_all(struct fx *f, struct buf *out)
{
    struct store_export *x;
    struct store_position p;
    uint64_t total;
    bool done = false;
    assert_int_equal(store_export_begin(f->s, &x, &p, &total), 0);
    while (!done)
        assert_int_equal(store_export_next(x, 1 << 20, out, &done), 0);
    store_export_end(&x);
}

struct image {
    uint8_t *p;
    size_t n;
};

static struct image image_read(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    struct image i = {mem_alloc((size_t)st.st_size), (size_t)st.st_size};
    assert_int_equal(pread(fd, i.p, i.n, 0), i.n);
    close(fd);
    return i;
}

static void image_write(const struct image *i, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, i->p, i->n, 0), i->n);
    close(fd);
}

/* What was not found does not matter: in a child, as LMDB may not survive it. */
static int child(const struct fx *original, const char *dir, uint64_t inbox, struct slice want)
{
    struct fx f = *original;
    struct buf got = {0};
    struct err_detail e;
    struct store_options o = {.map_size = (size_t)1 << 30, .no_sync = true};
    alarm(CHILD_S);
    snprintf(f.dir, sizeof f.dir, "%s", dir);
    f.s = NULL;
    f.result = NULL;
    if (store_open(f.dir, &o, &f.s, &e))
        return 1;
    fx_listen(&f);
    export_all(&f, &got);
    if (!slice_eq(buf_slice(&got), want))
        return 2;
    for (unsigned i = 0; i < 40; i++)
        fx_append(&f, inbox, i * 7, 1 + i % 5, 0, "kw2");
    fx_expunge(&f, inbox, "300:600", true);
    fx_setting(&f, "large1", "short", false);
    fx_scrub(&f);
    store_close(&f.s);
    return store_check_files(f.dir, false, NULL, &e) ? 3 : 0;
}

static void harmless(const struct fx *f, const struct image *i, uint64_t inbox, struct slice want, const char *what)
{
    char dir[] = "/tmp/merlion-flips-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/state", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/state/data.mdb", dir);
    image_write(i, path);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(child(f, dir, inbox, want));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fail_msg("not found, and not harmless (%d): %s", status, what);
    fx_remove(dir);
}

/* Half of them where pages keep their own affairs. */
static size_t place(size_t n)
{
    size_t page = draw(12) == 0 ? draw(2) : draw(n / PAGE);
    return page * PAGE + draw(draw(2) ? PAGE : page < 2 ? 160 : 48);
}

static void test_flips(void **state)
{
    struct fx f;
    struct buf want = {0};
    struct err_detail e;
    unsigned found = 0, missed = 0;
    (void)state;
    const char *given = getenv("FLIPS"), *from = getenv("FLIPS_SEED");
    unsigned flips = given ? (unsigned)atoi(given) : FLIPS;
    seed = from ? strtoull(from, NULL, 10) : 20240229;
    fx_open(&f);
    uint64_t inbox = fill(&f);
    export_all(&f, &want);
    store_close(&f.s);
    char *path = store_files_path(f.dir, "state/data.mdb");
    assert_int_equal(store_check_files(f.dir, false, NULL, &e), 0);
    struct image i = image_read(path);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    for (unsigned n = 0; n < flips; n++) {
        size_t at[4], bits = draw(3) ? 1 : 2 + draw(3);
        char what[200];
        int len = 0;
        for (size_t k = 0; k < bits; k++) {
            at[k] = k && draw(2) ? at[0] + draw(16) : place(i.n);
            uint8_t bit = (uint8_t)(1u << draw(8));
            at[k] = at[k] < i.n ? at[k] : 0;
            i.p[at[k]] ^= bit;
            len += snprintf(what + len, sizeof what - (size_t)len, "%zu^%x ", at[k], bit);
            assert_int_equal(pwrite(fd, i.p + at[k], 1, (off_t)at[k]), 1);
            at[k] |= (size_t)bit << 40;
        }
        int rc = store_check_files(f.dir, false, NULL, &e);
        if (rc == 0)
            harmless(&f, &i, inbox, buf_slice(&want), what);
        else if (rc != ERR_CORRUPT)
            fail_msg("%s: %s %s", what, err_name(rc), e.text);
        found += rc != 0;
        missed += rc == 0;
        for (size_t k = bits; k-- > 0;) {
            size_t where = at[k] & (((size_t)1 << 40) - 1);
            i.p[where] ^= (uint8_t)(at[k] >> 40);
            assert_int_equal(pwrite(fd, i.p + where, 1, (off_t)where), 1);
        }
    }
    print_message("flips=%u bytes=%zu found=%u harmless=%u\n", flips, i.n, found, missed);
    assert_true(found > flips / 3 && missed > 0);
    assert_int_equal(store_check_files(f.dir, false, NULL, &e), 0);
    close(fd);
    mem_free(path);
    mem_free(i.p);
    buf_close(&want);
    merlion__result__free_unpacked(f.result, NULL);
    fx_remove(f.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_flips)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
