/* Delivery set: every acknowledged message is there, whole, exactly once; what was refused is not; and whoever was
 * acknowledged before another one began has the lower UID. By LMTP, SMTP and APPEND. */
#include "jepsen-like/workload.h"

#include <stdlib.h>
#include <string.h>

static enum outcome append(struct client *c, struct op *op)
{
    enum outcome o = imap_literal(&c->imap, COMMAND_TIMEOUT_MS, "APPEND INBOX", c->message.p, c->message.n);
    const char *code = strstr(c->imap.last.p, "[APPENDUID ");
    if (o == OUTCOME_OK && code)
        op->a = (int64_t)imap_number(strchr(code + 11, ' '), " ");
    return o;
}

static void run(struct client *c)
{
    while (!client_over()) {
        bool by_imap = rng_below(&c->rng, 4) == 0;
        if (by_imap ? !client_imap(c, "set", NULL) : !client_smtp(c))
            continue;
        uint64_t id = client_id_new(c);
        message_make(&c->message, "set", id, &c->rng);
        struct op op = client_begin(c, OP_DELIVER, by_imap ? c->imap.node : c->smtp.node, id);
        client_end(&op, by_imap ? append(c, &op)
                                : smtp_deliver(&c->smtp, "set", c->message.p, c->message.n, COMMAND_TIMEOUT_MS));
        client_pause(c, op.outcome == OUTCOME_OK ? 80 : 200);
    }
}

/* ---- check ---- */

struct seen {
    uint64_t id, uid;
    unsigned times;
};

static int seen_compare(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static size_t seen_make(const struct dump *d, struct seen *seen, struct verdict *v)
{
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < d->n; i++) {
        if (strcmp(d->messages[i].group, "set") == 0)
            seen[n++] = (struct seen){d->messages[i].id, d->messages[i].uid, 1};
        else
            finding(&v->lost, "the message with UID %llu is damaged", (unsigned long long)d->messages[i].uid);
    }
    qsort(seen, n, sizeof *seen, seen_compare);
    for (size_t i = 0; i < n; i++)
        if (kept && seen[kept - 1].id == seen[i].id)
            seen[kept - 1].times++;
        else
            seen[kept++] = seen[i];
    return kept;
}

static void delivery_check(const struct op *op, const struct seen *s, struct verdict *v)
{
    const char *outcome = outcome_name(op->outcome);
    if (op->outcome == OUTCOME_OK && !s)
        finding(&v->lost, "delivery %llx through n%u was acknowledged and is not there", (unsigned long long)op->key,
                op->node);
    if (op->outcome == OUTCOME_FAIL && s)
        finding(&v->nonlinearizable, "delivery %llx through n%u was refused and is there (UID %llu)",
                (unsigned long long)op->key, op->node, (unsigned long long)s->uid);
    if (s && s->times > 1)
        finding(&v->dup, "delivery %llx (%s) through n%u is there %u times", (unsigned long long)op->key, outcome,
                op->node, s->times);
    if (s && op->a && (uint64_t)op->a != s->uid)
        finding(&v->stale, "delivery %llx got UID %lld by APPENDUID and has %llu", (unsigned long long)op->key,
                (long long)op->a, (unsigned long long)s->uid);
}

struct placed {
    uint64_t start, end, uid;
};

static int by_start(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

static int by_end(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* For each in the order of starts: all that ended before it have lower UIDs. */
static void order_check(struct placed *p, size_t n, struct verdict *v)
{
    struct placed *ended = xzalloc((n + 1) * sizeof *ended);
    uint64_t highest = 0;
    size_t k = 0;
    if (n)
        memcpy(ended, p, n * sizeof *p);
    qsort(p, n, sizeof *p, by_start);
    qsort(ended, n, sizeof *p, by_end);
    for (size_t i = 0; i < n; i++) {
        for (; k < n && ended[k].end < p[i].start; k++)
            highest = ended[k].uid > highest ? ended[k].uid : highest;
        if (p[i].uid < highest)
            finding(&v->nonlinearizable, "UID %llu was given after UID %llu had been acknowledged",
                    (unsigned long long)p[i].uid, (unsigned long long)highest);
    }
    free(ended);
}

static void check(const struct dump *d, struct verdict *v)
{
    size_t op_n, placed_n = 0, known = 0;
    const struct op *ops = history_ops(&op_n);
    struct seen *seen = xzalloc((d->n + 1) * sizeof *seen);
    struct placed *placed = xzalloc((op_n + 1) * sizeof *placed);
    size_t seen_n = seen_make(d, seen, v);
    for (size_t i = 0; i < op_n; i++) {
        if (ops[i].kind != OP_DELIVER)
            continue;
        struct seen key = {ops[i].key, 0, 0}, *s = bsearch(&key, seen, seen_n, sizeof *seen, seen_compare);
        delivery_check(&ops[i], s, v);
        known += s != NULL;
        if (s && ops[i].outcome == OUTCOME_OK)
            placed[placed_n++] = (struct placed){ops[i].start, ops[i].end, s->uid};
    }
    if (known != seen_n)
        finding(&v->nonlinearizable, "%zu messages that nobody sent", seen_n - known);
    order_check(placed, placed_n, v);
    free(placed);
    free(seen);
}

const struct workload workload_set = {.name = "delivery set", .user = "set", .clients = 6, .run = run, .check = check};
