#include "tests/unit/store/support_blob.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int64_t blob_bench_now = 1000000;

static int64_t now(void)
{
    return __atomic_load_n(&blob_bench_now, __ATOMIC_RELAXED);
}

static void wake(void *arg)
{
    struct blob_bench *t = arg;
    pthread_mutex_lock(&t->lock);
    t->woke = true;
    pthread_cond_signal(&t->woken);
    pthread_mutex_unlock(&t->lock);
}

static void shell(const char *format, const char *a, const char *b)
{
    char command[512];
    snprintf(command, sizeof command, format, a, b);
    assert_int_equal(system(command), 0);
}

int blob_bench_setup(void **state)
{
    struct blob_bench *t = mem_zalloc(sizeof *t);
    snprintf(t->dir, sizeof t->dir, "blob-test-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    t->o = (struct blob_options){.segment_bytes = 64 * 1024, .lease_ms = 1000, .reserve_bytes = 4096, .now_ms = now};
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->woken, NULL);
    task_queue_init(&t->home, wake, t);
    __atomic_store_n(&blob_bench_now, 1000000, __ATOMIC_RELAXED);
    *state = t;
    return 0;
}

int blob_bench_teardown(void **state)
{
    struct blob_bench *t = *state;
    blob_close(&t->log);
    shell("rm -rf %s %s.mark", t->dir, t->dir);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->woken);
    mem_free(t);
    return 0;
}

void blob_bench_open(struct blob_bench *t)
{
    struct err_detail e = {.text = ""};
    int err = blob_open(t->dir, &t->o, &t->log, &e);
    if (err)
        fail_msg("%s", e.text);
}

void blob_bench_mark(struct blob_bench *t)
{
    assert_int_equal(blob_index_flush(t->log), 0);
    shell("rm -rf %s.mark %s.mark", t->dir, t->dir);
    shell("cp -r %s/local %s.mark", t->dir, t->dir);
}

void blob_bench_crash(struct blob_bench *t)
{
    char keep[128];
    snprintf(keep, sizeof keep, "%s/kept", t->dir);
    shell("cp -r %s/bodies %s", t->dir, keep);
    blob_close(&t->log);
    shell("rm -rf %s/bodies %s/local", t->dir, t->dir);
    shell("mv %s %s/bodies", keep, t->dir);
    shell("cp -r %s.mark %s/local", t->dir, t->dir);
}

struct bytes *blob_bench_body(unsigned i)
{
    size_t n = 20 + i * 7919u % 3000;
    struct bytes *b = bytes_new(n);
    uint32_t x = i * 2654435761u + 1;
    for (size_t k = 0; k < n; k++) {
        x = x * 1664525u + 1013904223u;
        b->p[k] = i % 3 ? (uint8_t)(x >> 24) : (uint8_t)('a' + i % 26);
    }
    memcpy(b->p, &i, sizeof i);
    return b;
}

struct body_hash blob_bench_hash(unsigned i)
{
    struct bytes *b = blob_bench_body(i);
    struct body_hash hash = body_hash_of(bytes_slice(b));
    bytes_unref(&b);
    return hash;
}

struct one {
    struct blob_append append;
    unsigned *left;
};

static void done(struct task *task)
{
    --*container_of(task, struct one, append.task)->left;
}

int blob_bench_append(struct blob_bench *t, unsigned from, unsigned to)
{
    unsigned left = to - from;
    struct one *all = mem_zalloc(left * sizeof *all + 1);
    int worst = 0;
    for (unsigned i = from; i < to; i++) {
        struct bytes *body = blob_bench_body(i);
        struct body_hash hash = body_hash_of(bytes_slice(body));
        struct one *o = &all[i - from];
        *o = (struct one){{.task.run = done, .home = &t->home, .record = blob_encode(&hash, bytes_slice(body))}, &left};
        bytes_unref(&body);
        blob_append(t->log, &o->append);
    }
    while (left) {
        pthread_mutex_lock(&t->lock);
        while (!t->woke)
            pthread_cond_wait(&t->woken, &t->lock);
        t->woke = false;
        pthread_mutex_unlock(&t->lock);
        task_queue_run(&t->home);
    }
    for (unsigned i = from; i < to; i++) {
        if (all[i - from].append.status)
            worst = all[i - from].append.status;
        bytes_unref(&all[i - from].append.record);
    }
    mem_free(all);
    return worst;
}

int blob_bench_check(struct blob_bench *t, unsigned i)
{
    struct body_hash hash = blob_bench_hash(i);
    struct bytes *got, *want;
    int err = blob_read(t->log, &hash, &got);
    if (err)
        return err;
    want = blob_bench_body(i);
    assert_true(slice_eq(bytes_slice(got), bytes_slice(want)));
    bytes_unref(&got);
    bytes_unref(&want);
    return 0;
}

struct blob_place blob_bench_place(struct blob_bench *t, unsigned i)
{
    struct body_hash hash = blob_bench_hash(i);
    struct blob_row row;
    assert_int_equal(index_get(&t->log->index, &hash, &row), 0);
    return row.place;
}

void blob_bench_segment_path(struct blob_bench *t, uint32_t segment, char *out, size_t n)
{
    snprintf(out, n, "%s/bodies/%08u.seg", t->dir, segment);
}

void blob_bench_flip(struct blob_bench *t, uint32_t segment, uint64_t offset)
{
    char path[128];
    uint8_t c;
    blob_bench_segment_path(t, segment, path, sizeof path);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &c, 1, (off_t)offset), 1);
    c ^= 0x10;
    assert_int_equal(pwrite(fd, &c, 1, (off_t)offset), 1);
    close(fd);
}
