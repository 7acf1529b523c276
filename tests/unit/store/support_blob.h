/* A blob log in a fresh folder, for tests: appends that are waited for, crashes, damage. */
#ifndef TESTS_SUPPORT_BLOB_H
#define TESTS_SUPPORT_BLOB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "node/base/log.h"
#include "store/blob_log.h"

#include <pthread.h>

struct blob_bench {
    char dir[64];
    struct blob_options o;
    struct blob_log *log;
    struct task_queue home;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool woke;
};

extern int64_t blob_bench_now; /* what the log takes for the time */

int blob_bench_setup(void **state); /* *state is a struct blob_bench; the log is not open yet */
int blob_bench_teardown(void **state);
void blob_bench_open(struct blob_bench *t);
/* The folder as a crash would leave it if LMDB had last been written at `mark`: the next open sees that. */
void blob_bench_mark(struct blob_bench *t);
void blob_bench_crash(struct blob_bench *t);

/* The body number i: reproducible, some compress and some do not. */
struct bytes *blob_bench_body(unsigned i);
struct body_hash blob_bench_hash(unsigned i);
/* Appends bodies [from, to) at once and waits; returns the worst status. */
int blob_bench_append(struct blob_bench *t, unsigned from, unsigned to);
/* 0 when the body is read back right; else what blob_read said. */
int blob_bench_check(struct blob_bench *t, unsigned i);
/* Where it lies: file name and bytes. */
struct blob_place blob_bench_place(struct blob_bench *t, unsigned i);
void blob_bench_segment_path(struct blob_bench *t, uint32_t segment, char *out, size_t n);
void blob_bench_flip(struct blob_bench *t, uint32_t segment, uint64_t offset);

#endif
