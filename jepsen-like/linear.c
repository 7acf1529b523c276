#include "jepsen-like/linear.h"

#include "jepsen-like/util.h"

#include <stdlib.h>
#include <string.h>

/* The call or the return of an operation, in the order of time. */
struct event {
    struct event *next, *previous, *match; /* match: a call's return, NULL when there is none */
    const struct linear_op *op;
    uint64_t time;
    bool is_return;
    uint64_t z[2]; /* of a call: what it adds to the hash of the set of operations done */
};

struct frame {
    struct event *call;
    int64_t state;
};

/* Which (set of operations done, state) were tried: 128-bit sums of random numbers stand for the sets. Two different
 * ones meet with a chance below 2^-80 for the most we remember. */
struct memo {
    uint64_t (*slots)[2];
    size_t n, room, max; /* room: a power of two */
};

static bool memo_place(struct memo *m, const uint64_t key[2])
{
    size_t i = key[0] & (m->room - 1);
    for (; m->slots[i][0] || m->slots[i][1]; i = (i + 1) & (m->room - 1))
        if (m->slots[i][0] == key[0] && m->slots[i][1] == key[1])
            return false;
    memcpy(m->slots[i], key, sizeof m->slots[i]);
    return true;
}

static void memo_grow(struct memo *m)
{
    struct memo bigger = {xzalloc(2 * m->room * sizeof *m->slots), m->n, 2 * m->room, m->max};
    for (size_t i = 0; i < m->room; i++)
        if (m->slots[i][0] || m->slots[i][1])
            memo_place(&bigger, m->slots[i]);
    free(m->slots);
    *m = bigger;
}

/* Returns whether it is new. */
static bool memo_add(struct memo *m, const uint64_t set[2], int64_t state)
{
    struct rng r = {(uint64_t)state};
    uint64_t key[2] = {set[0] ^ rng_next(&r), set[1] ^ rng_next(&r)};
    if (2 * m->n >= m->room)
        memo_grow(m);
    bool added = memo_place(m, key);
    m->n += added;
    return added;
}

static bool step(const struct linear_op *op, int64_t *state)
{
    switch (op->kind) {
    case LINEAR_READ:
        return *state == op->a;
    case LINEAR_WRITE:
        *state = op->a;
        return true;
    case LINEAR_CAS:
        if (*state != op->a)
            return false;
        *state = op->b;
        return true;
    case LINEAR_CAS_FAIL:
        return *state != op->a;
    }
    return false;
}

/* Takes the call and its return out of the list. */
static void lift(struct event *call)
{
    call->previous->next = call->next;
    if (call->next)
        call->next->previous = call->previous;
    struct event *r = call->match;
    if (r) {
        r->previous->next = r->next;
        if (r->next)
            r->next->previous = r->previous;
    }
}

static void unlift(struct event *call)
{
    struct event *r = call->match;
    if (r) {
        if (r->next)
            r->next->previous = r;
        r->previous->next = r;
    }
    if (call->next)
        call->next->previous = call;
    call->previous->next = call;
}

/* Calls before returns at the same instant: what overlaps in the least may be in either order. */
static int event_compare(const void *a, const void *b)
{
    const struct event *const *x = a, *const *y = b;
    if ((*x)->time != (*y)->time)
        return (*x)->time < (*y)->time ? -1 : 1;
    return (int)(*x)->is_return - (int)(*y)->is_return;
}

/* Whether nobody knows the operation's outcome, and nobody saw what it wrote. Only a refused compare-and-set may need
 * it to have happened; each one kept doubles the search. */
static bool unseen(const struct linear_op *ops, size_t n, const struct linear_op *op)
{
    int64_t value = op->kind == LINEAR_CAS ? op->b : op->a;
    if (op->end != LINEAR_NEVER)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((ops[i].kind == LINEAR_READ || ops[i].kind == LINEAR_CAS) && ops[i].a == value && &ops[i] != op)
            return false;
    return true;
}

/* The events of all operations (without those unseen), linked behind head. Returns how many returns there are. */
static size_t events_make(const struct linear_op *ops, size_t n, bool all, struct event *events, struct event *head)
{
    struct event **order = xzalloc((2 * n + 1) * sizeof *order);
    struct rng r = {n};
    size_t k = 0, returns = 0;
    for (size_t i = 0; i < n; i++) {
        struct event *call = &events[2 * i], *end = &events[2 * i + 1];
        if (!all && unseen(ops, n, &ops[i]))
            continue;
        *call = (struct event){.op = &ops[i], .time = ops[i].start, .z = {rng_next(&r), rng_next(&r)}};
        order[k++] = call;
        if (ops[i].end == LINEAR_NEVER)
            continue;
        *end = (struct event){.op = &ops[i], .time = ops[i].end, .is_return = true};
        call->match = end;
        order[k++] = end;
        returns++;
    }
    qsort(order, k, sizeof(struct event *), event_compare);
    *head = (struct event){0};
    for (size_t i = 0; i < k; i++) {
        order[i]->previous = i ? order[i - 1] : head;
        order[i]->previous->next = order[i];
    }
    free(order);
    return returns;
}

static enum linear_result search(struct event *head, size_t returns, int64_t state, struct frame *stack, struct memo *m)
{
    uint64_t set[2] = {0, 0};
    size_t depth = 0;
    for (struct event *e = head->next; returns;) {
        int64_t next = state;
        if (e && !e->is_return) {
            uint64_t with[2] = {set[0] + e->z[0], set[1] + e->z[1]};
            if (!step(e->op, &next) || !memo_add(m, with, next)) {
                e = e->next;
                continue;
            }
            if (m->n > m->max)
                return LINEAR_UNKNOWN;
            stack[depth++] = (struct frame){e, state};
            state = next;
            memcpy(set, with, sizeof set);
            returns -= e->match != NULL;
            lift(e);
            e = head->next;
            continue;
        }
        /* A return whose call is not yet in the order, or the end: the last choice was wrong. */
        if (depth == 0)
            return LINEAR_NO;
        struct frame f = stack[--depth];
        state = f.state;
        set[0] -= f.call->z[0];
        set[1] -= f.call->z[1];
        returns += f.call->match != NULL;
        unlift(f.call);
        e = f.call->next;
    }
    return LINEAR_YES;
}

static enum linear_result check(const struct linear_op *ops, size_t n, bool all, int64_t initial, size_t states_max)
{
    struct event head, *events = xzalloc((2 * n + 1) * sizeof *events);
    struct frame *stack = xzalloc((n + 1) * sizeof *stack);
    struct memo m = {xzalloc(1024 * sizeof *m.slots), 0, 1024, states_max};
    size_t returns = events_make(ops, n, all, events, &head);
    enum linear_result r = search(&head, returns, initial, stack, &m);
    free(m.slots);
    free(stack);
    free(events);
    return r;
}

enum linear_result linear_check(const struct linear_op *ops, size_t n, int64_t initial, size_t states_max)
{
    /* That an operation of unknown outcome never happened is one of its possibilities: an order without it is enough.
     */
    bool all = true;
    for (size_t i = 0; i < n; i++)
        all = all && !unseen(ops, n, &ops[i]);
    enum linear_result without = all ? LINEAR_NO : check(ops, n, false, initial, states_max);
    if (without == LINEAR_YES)
        return LINEAR_YES;
    for (size_t i = 0; i < n && !all; i++)
        all = ops[i].kind == LINEAR_CAS_FAIL; /* else those left out explain nothing */
    return all ? check(ops, n, true, initial, states_max) : without;
}
