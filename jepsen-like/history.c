#include "jepsen-like/history.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    pthread_mutex_t lock;
    struct op *ops;
    size_t n, room, delivered;
} history = {.lock = PTHREAD_MUTEX_INITIALIZER};

void history_add(const struct op *op)
{
    pthread_mutex_lock(&history.lock);
    if (history.n == history.room) {
        history.room = history.room ? 2 * history.room : 4096;
        history.ops = xrealloc(history.ops, history.room * sizeof *history.ops);
    }
    history.ops[history.n++] = *op;
    history.delivered += (op->kind == OP_DELIVER || op->kind == OP_SUBMIT) && op->outcome == OUTCOME_OK;
    pthread_mutex_unlock(&history.lock);
}

size_t history_count(void)
{
    pthread_mutex_lock(&history.lock);
    size_t n = history.n;
    pthread_mutex_unlock(&history.lock);
    return n;
}

size_t history_delivered(void)
{
    pthread_mutex_lock(&history.lock);
    size_t n = history.delivered;
    pthread_mutex_unlock(&history.lock);
    return n;
}

const struct op *history_ops(size_t *n_r)
{
    *n_r = history.n;
    return history.ops;
}

const char *history_kind_name(enum op_kind kind)
{
    static const char *const names[OP_KINDS] = {"deliver", "read",   "write", "cas",       "move",      "copy",
                                                "expunge", "status", "watch", "pop3-list", "pop3-quit", "create",
                                                "delete",  "rename", "list",  "submit"};
    return names[kind];
}

void history_write(const char *path)
{
    FILE *f = fopen(path, "we");
    if (!f)
        fail("%s cannot be written", path);
    fputs("# process start-ns end-ns outcome node kind key a b c\n", f);
    for (size_t i = 0; i < history.n; i++) {
        const struct op *o = &history.ops[i];
        fprintf(f, "%u %llu %llu %s n%u %s %llu %lld %lld %lld\n", o->process, (unsigned long long)o->start,
                (unsigned long long)o->end, outcome_name(o->outcome), o->node, history_kind_name(o->kind),
                (unsigned long long)o->key, (long long)o->a, (long long)o->b, (long long)o->c);
    }
    fclose(f);
}

void history_free(void)
{
    free(history.ops);
    history.ops = NULL;
    history.n = history.room = history.delivered = 0;
}
