/* A file of LMDB's with any bytes of it changed. Reading it for damage ends; what it finds whole LMDB reads as the same
 * records, takes changes to, and leaves whole again. (LMDB is not built with sanitizers: it shows what it does by
 * crashing, looping, or other records.) */
#include "node/base/buf.h"
#include "node/base/hash.h"
#include "node/base/mem.h"
#include "store/pages.h"
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TABLES = 3, PAGE = 4096, EDIT = 8, EDITS_MAX = 64, LARGE = 9000, CHANGES = 40 };

static const char *const names[TABLES] = {"small", "large", "none"};
static char dir[64];
static uint8_t *image;
static size_t image_n;
static int fd = -1;

static void clean_up(void)
{
    static const char *const left[] = {"data.mdb", "lock.mdb", ""};
    char path[160];
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, left[i]);
        (void)remove(path);
    }
    mem_free(image);
}

/* ---- LMDB ---- */

static MDB_env *env_open(void)
{
    MDB_env *env;
    ENSURE(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, TABLES) == 0 &&
           mdb_env_set_mapsize(env, (size_t)64 << 20) == 0);
    ENSURE(mdb_env_open(env, dir, MDB_NOSYNC | MDB_NOLOCK, 0600) == 0);
    return env;
}

static MDB_val number(uint32_t *n)
{
    return (MDB_val){sizeof *n, n};
}

static void put(MDB_txn *txn, MDB_dbi dbi, uint32_t n, size_t size)
{
    static uint8_t value[LARGE];
    memset(value, (int)(n & 0xff), sizeof value);
    MDB_val k = number(&n), v = {size, value};
    ENSURE(mdb_put(txn, dbi, &k, &v, 0) == 0);
}

static void del(MDB_txn *txn, MDB_dbi dbi, uint32_t n)
{
    MDB_val k = number(&n);
    int rc = mdb_del(txn, dbi, &k, NULL);
    ENSURE(rc == 0 || rc == MDB_NOTFOUND);
}

/* Several transactions, so that pages are free of some that came before. */
static void changes_make(MDB_env *env, unsigned round, unsigned small, unsigned large)
{
    MDB_txn *txn;
    MDB_dbi dbi[TABLES];
    ENSURE(mdb_txn_begin(env, NULL, 0, &txn) == 0);
    for (unsigned t = 0; t < TABLES; t++)
        ENSURE(mdb_dbi_open(txn, names[t], MDB_CREATE, &dbi[t]) == 0);
    for (uint32_t i = 0; i < small; i++)
        put(txn, dbi[0], i * 2654435761u + round, 10 + i % 90);
    for (uint32_t i = 0; i < large; i++)
        put(txn, dbi[1], i, 3000 + (i + round) % 3 * 3000);
    for (uint32_t i = round; i < small; i += 3)
        del(txn, dbi[0], i * 2654435761u + round);
    ENSURE(mdb_txn_commit(txn) == 0);
}

static void image_make(void)
{
    char path[160];
    struct stat st;
    MDB_env *env = env_open();
    for (unsigned round = 0; round < 4; round++)
        changes_make(env, round, 300, 5);
    mdb_env_close(env);
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    fd = open(path, O_RDWR | O_CLOEXEC);
    ENSURE(fd >= 0 && fstat(fd, &st) == 0);
    image_n = (size_t)st.st_size;
    image = mem_alloc(image_n);
    ENSURE(pread(fd, image, image_n, 0) == (ssize_t)image_n);
}

/* ---- the check ---- */

struct seen {
    struct sum128 sum;
    struct buf scratch;
};

static void sum_add(struct seen *s, int table, struct slice key, struct slice value)
{
    buf_clear(&s->scratch);
    buf_put_u32(&s->scratch, (uint32_t)table);
    buf_put_bytes(&s->scratch, key);
    buf_append_slice(&s->scratch, value);
    struct sum128 one = checksum128(buf_slice(&s->scratch));
    s->sum.lo += one.lo;
    s->sum.hi += one.hi;
}

static int table_of(void *arg, struct slice name)
{
    (void)arg;
    for (int t = 0; t < TABLES; t++)
        if (slice_eq(name, slice_str(names[t])))
            return t;
    return -1;
}

static bool record_seen(void *arg, int table, struct slice key, struct slice value)
{
    sum_add(arg, table, key, value);
    return true;
}

static int check(struct seen *s)
{
    struct err_detail e;
    const struct pages_check c = {.arg = s, .table = table_of, .record = record_seen};
    return pages_check(fd, &c, &e);
}

/* Each record found as a walk meets it, and by its key. */
static struct sum128 lmdb_sum(MDB_env *env)
{
    struct seen s = {.sum = {0, 0}};
    MDB_txn *txn;
    MDB_val k, v, again;
    ENSURE(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0);
    for (int t = 0; t < TABLES; t++) {
        MDB_dbi dbi;
        MDB_cursor *c;
        if (mdb_dbi_open(txn, names[t], 0, &dbi))
            continue; /* an empty one may have lost its name */
        ENSURE(mdb_cursor_open(txn, dbi, &c) == 0);
        int rc = mdb_cursor_get(c, &k, &v, MDB_FIRST);
        for (; rc == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
            sum_add(&s, t, slice_make(k.mv_data, k.mv_size), slice_make(v.mv_data, v.mv_size));
            ENSURE(mdb_get(txn, dbi, &k, &again) == 0 && again.mv_data == v.mv_data);
        }
        ENSURE(rc == MDB_NOTFOUND);
        mdb_cursor_close(c);
    }
    mdb_txn_abort(txn);
    buf_close(&s.scratch);
    return s.sum;
}

static void found_whole(const struct seen *s)
{
    MDB_env *env = env_open();
    struct sum128 sum = lmdb_sum(env);
    ENSURE(sum.lo == s->sum.lo && sum.hi == s->sum.hi);
    for (unsigned round = 0; round < 3; round++)
        changes_make(env, round, CHANGES, 6);
    mdb_env_close(env);
    struct seen after = {.sum = {0, 0}};
    ENSURE(check(&after) == 0);
    buf_close(&after.scratch);
}

/* u32 place (top bit: near the page's start), u8 how, 3 bytes of it. */
static void edit(const uint8_t *in)
{
    uint32_t at = get_le32(in);
    size_t place = at >> 31 ? (at >> 8) % (image_n / PAGE) * PAGE + at % 256 % 200 : at % image_n;
    uint8_t byte;
    for (unsigned i = 0; i < 1 + (in[4] >> 2) % 3u && place + i < image_n; i++) {
        ENSURE(pread(fd, &byte, 1, (off_t)(place + i)) == 1);
        byte = in[4] & 1 ? in[5 + i] : (uint8_t)(byte ^ 1u << in[5 + i] % 8);
        ENSURE(pwrite(fd, &byte, 1, (off_t)(place + i)) == 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!image) {
        snprintf(dir, sizeof dir, "%s/merlion-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        ENSURE(mkdtemp(dir) && atexit(clean_up) == 0);
        image_make();
    }
    ENSURE(ftruncate(fd, (off_t)image_n) == 0 && pwrite(fd, image, image_n, 0) == (ssize_t)image_n);
    for (size_t i = 0; i + EDIT <= n && i < EDITS_MAX * EDIT; i += EDIT)
        edit(data + i);
    if (n % EDIT == 1) /* and cut off */
        ENSURE(ftruncate(fd, (off_t)(data[n - 1] * image_n / 256)) == 0);
    struct seen s = {.sum = {0, 0}};
    int rc = check(&s);
    ENSURE(rc == 0 || rc == ERR_CORRUPT);
    if (rc == 0)
        found_whole(&s);
    buf_close(&s.scratch);
    return 0;
}
