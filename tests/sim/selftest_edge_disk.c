/* What power cuts take back of files, folders and LMDB, and what they must leave. */
#include "tests/sim/selftest_edge.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

static const char *path(const char *name)
{
    static char text[4][512];
    static unsigned i;
    i = (i + 1) % 4;
    bool itself = strcmp(name, ".") == 0;
    snprintf(text[i], sizeof *text, "%s%s%s", sim_disk_dir(sim_host(1)), itself ? "" : "/", itself ? "" : name);
    return text[i];
}

static void write_file(const char *name, const char *text, bool sync)
{
    int fd = open(path(name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(pwrite(fd, text, strlen(text), 0) == (ssize_t)strlen(text));
    CHECK(!sync || fsync(fd) == 0);
    CHECK(close(fd) == 0);
}

static void sync_folder(const char *name)
{
    int fd = open(path(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0 && fsync(fd) == 0);
    close(fd);
}

static bool reads(const char *name, const char *text)
{
    char got[64] = "";
    int fd = open(path(name), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, got, sizeof got - 1);
    close(fd);
    return n == (ssize_t)strlen(text) && strcmp(got, text) == 0;
}

/* ---- files ---- */

static void files_written(void *arg)
{
    (void)arg;
    write_file("kept", "one", true);
    sync_folder(".");
    write_file("kept", "two!", false);
    write_file("new", "three", true);
}

static void files(void *arg)
{
    (void)arg;
    edge_on(1, files_written, NULL);
    sim_host_crash(sim_host(1), false);
    CHECK(reads("kept", "two!")); /* the process alone died */
    sim_host_crash(sim_host(1), true);
    CHECK(reads("kept", "one"));
    CHECK(access(path("new"), F_OK) != 0 || reads("new", "three"));
    edge_told += access(path("new"), F_OK) != 0;
}

static void unsynced_writes_are_lost(void **state)
{
    (void)state;
    unsigned lost = edge_histories(files);
    assert_in_range(lost, 1, 20); /* a name whose folder was not synced: seldom */
}

static void torn_written(void *arg)
{
    struct sim_disk_faults f = {.torn_ppm = 1000000};
    (void)arg;
    write_file("f", "aaaaaaaa", true);
    sync_folder(".");
    sim_disk_faults(sim_host(1), &f);
    write_file("f", "bbbbbbbb", false);
}

static void torn(void *arg)
{
    (void)arg;
    edge_on(1, torn_written, NULL);
    sim_host_crash(sim_host(1), true);
    char got[16] = "";
    int fd = open(path("f"), O_RDONLY | O_CLOEXEC);
    CHECK(read(fd, got, sizeof got) == 8);
    close(fd);
    size_t b = strspn(got, "b");
    CHECK(strspn(got + b, "a") == 8 - b);
    edge_told += b > 0 && b < 8;
}

static void torn_writes_are_there_in_part(void **state)
{
    (void)state;
    assert_in_range(edge_histories(torn), 5, 40);
}

/* ---- folders ---- */

static void swap_files(void *arg)
{
    (void)arg;
    write_file("a", "old", true);
    write_file("b", "new", true);
    CHECK(mkdir(path("d"), 0700) == 0);
    write_file("d/in", "x", true);
    sync_folder("d");
    sync_folder(".");
    CHECK(rename(path("b"), path("a")) == 0);
    CHECK(unlink(path("d/in")) == 0);
    CHECK(rmdir(path("d")) == 0);
}

static void names(void *arg)
{
    (void)arg;
    edge_on(1, swap_files, NULL);
    CHECK(reads("a", "new") && access(path("d"), F_OK) != 0);
    sim_host_crash(sim_host(1), true);
    bool renamed = reads("a", "new"), removed = access(path("d/in"), F_OK) != 0, gone = access(path("d"), F_OK) != 0;
    CHECK(renamed != reads("a", "old") && renamed != reads("b", "new"));
    CHECK((renamed || !removed) && (removed || !gone)); /* in their order */
    edge_told += !renamed;
}

static void changes_of_names_are_taken_back(void **state)
{
    (void)state;
    assert_in_range(edge_histories(names), 10, 39);
}

static void swap_and_sync(void *arg)
{
    swap_files(arg);
    sync_folder(".");
    write_file("d2", "y", true);
}

static void synced_names(void *arg)
{
    (void)arg;
    edge_on(1, swap_and_sync, NULL);
    sim_host_crash(sim_host(1), true);
    CHECK(reads("a", "new") && access(path("b"), F_OK) != 0 && access(path("d"), F_OK) != 0);
}

static void synced_names_stay(void **state)
{
    (void)state;
    edge_histories(synced_names);
}

/* ---- faults, watches ---- */

static void full_run(void *arg)
{
    struct sim_disk_faults f = {.full = true};
    struct statvfs s;
    (void)arg;
    write_file("f", "aaaa", true);
    sim_disk_faults(sim_host(1), &f);
    int fd = open(path("f"), O_RDWR | O_CLOEXEC);
    CHECK(pwrite(fd, "bb", 2, 1) == 2);
    CHECK(pwrite(fd, "bb", 2, 3) < 0 && errno == ENOSPC);
    CHECK(open(path("g"), O_RDWR | O_CREAT | O_CLOEXEC, 0600) < 0 && errno == ENOSPC);
    CHECK(fstatvfs(fd, &s) == 0 && s.f_bavail == 0);
    f = (struct sim_disk_faults){.error_ppm = 1000000};
    sim_disk_faults(sim_host(1), &f);
    CHECK(statvfs(path("."), &s) == 0 && s.f_bavail > 0);
    CHECK(fdatasync(fd) < 0 && errno == EIO);
    CHECK(pwrite(fd, "c", 1, 0) < 0 && errno == EIO);
    close(fd);
}

static void full(void *arg)
{
    (void)arg;
    edge_on(1, full_run, NULL);
    CHECK(reads("f", "abba"));
}

static void disk_full_and_errors_are_told(void **state)
{
    (void)state;
    edge_histories(full);
}

static void die(void *arg)
{
    sim_host_crash(arg, true);
    CHECK(false); /* it is the host's own code */
}

static void watched(void *arg)
{
    (void)arg;
    sim_disk_watch(sim_host(1), 1 + (unsigned)sim_below(6), die, sim_host(1));
    edge_on(1, files_written, NULL);
    CHECK(sim_host_life(sim_host(1)) == 1);
    CHECK(!reads("kept", "two!"));
    edge_told += reads("kept", "one");
}

static void crashes_come_in_the_midst_of_writes(void **state)
{
    (void)state;
    assert_in_range(edge_histories(watched), 5, 39);
}

/* ---- LMDB ---- */

static void put(MDB_env *env, unsigned flags, uint64_t n)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val k = {1, (char[]){'n'}}, v = {sizeof n, &n};
    CHECK(mdb_txn_begin(env, NULL, 0, &txn) == 0);
    CHECK(mdb_dbi_open(txn, NULL, flags, &dbi) == 0);
    CHECK(mdb_put(txn, dbi, &k, &v, 0) == 0);
    CHECK(mdb_txn_commit(txn) == 0);
}

static uint64_t get(MDB_env *env)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val k = {1, (char[]){'n'}}, v;
    uint64_t n = 0;
    CHECK(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0);
    if (mdb_dbi_open(txn, NULL, 0, &dbi) == 0 && mdb_get(txn, dbi, &k, &v) == 0)
        memcpy(&n, v.mv_data, sizeof n);
    mdb_txn_abort(txn);
    return n;
}

static MDB_env *env_open(unsigned flags)
{
    MDB_env *env;
    CHECK(mdb_env_create(&env) == 0);
    CHECK(mdb_env_set_mapsize(env, (size_t)1 << 36) == 0);
    CHECK(mdb_env_open(env, path("db"), MDB_NOTLS | flags, 0600) == 0);
    return env;
}

static unsigned commits;

static void commits_run(void *arg)
{
    unsigned flags = *(unsigned *)arg;
    CHECK(mkdir(path("db"), 0700) == 0);
    sync_folder(".");
    MDB_env *env = env_open(flags);
    sync_folder("db");
    commits = (unsigned)sim_between(1, 12);
    for (unsigned i = 1; i <= commits; i++)
        put(env, 0, i);
}

static void found_run(void *arg)
{
    MDB_env *env = env_open(0);
    *(uint64_t *)arg = get(env);
    put(env, 0, 100);
    CHECK(get(env) == 100);
    mdb_env_close(env);
}

static void lmdb_loose(void *arg)
{
    unsigned flags = MDB_NOMETASYNC;
    uint64_t found;
    (void)arg;
    edge_on(1, commits_run, &flags);
    sim_host_crash(sim_host(1), true);
    edge_on(1, found_run, &found);
    CHECK(found == commits || found + 1 == commits);
    edge_told += found + 1 == commits;
}

static void lmdb_safe(void *arg)
{
    unsigned flags = 0;
    uint64_t found;
    (void)arg;
    edge_on(1, commits_run, &flags);
    sim_host_crash(sim_host(1), true);
    edge_on(1, found_run, &found);
    CHECK(found == commits);
}

static void the_last_commit_may_be_lost(void **state)
{
    (void)state;
    assert_in_range(edge_histories(lmdb_loose), 5, 35);
    edge_histories(lmdb_safe);
}

int edge_disk(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unsynced_writes_are_lost),        cmocka_unit_test(torn_writes_are_there_in_part),
        cmocka_unit_test(changes_of_names_are_taken_back), cmocka_unit_test(synced_names_stay),
        cmocka_unit_test(disk_full_and_errors_are_told),   cmocka_unit_test(crashes_come_in_the_midst_of_writes),
        cmocka_unit_test(the_last_commit_may_be_lost),
    };
    return cmocka_run_group_tests_name("edge: disk", tests, NULL, NULL);
}
