/* Flag registers: twelve keywords of a message are a number. NOOP and FETCH read it, STORE writes it, STORE with
 * UNCHANGEDSINCE is a compare-and-set, for no two writes to one message set the same number. Each message is used for
 * some seconds by all clients, so that what the checker must search stays small. */
#include "jepsen-like/workload.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { REGISTERS = 240, AT_ONCE = 3, BITS = 12, VALUES = 1 << BITS, STATES_MAX = 1 << 23 };
static const uint64_t turn_ns = 3 * NS_PER_S;

static struct {
    _Atomic uint64_t start; /* when the first turn began */
    atomic_uint next[REGISTERS];
} registers;

static void prepare(struct client *c)
{
    for (uint64_t i = 0; i < REGISTERS; i++)
        client_append(c, "reg", "INBOX", "reg", i); /* UID i + 1 */
}

/* The last FETCH response about the UID. Returns false without flags and MODSEQ. */
static bool fetch_parse(const char *reply, uint64_t uid, int64_t *value_r, int64_t *modseq_r)
{
    bool found = false;
    for (const char *p = reply; *p;) {
        size_t n = strcspn(p, "\n");
        char *line = strndup(p, n), *flags = strstr(line, "FLAGS (");
        if (strstr(line, " FETCH ") && flags && strstr(line, "MODSEQ (") && imap_number(line, "UID ") == uid) {
            char *close = strchr(flags, ')');
            *modseq_r = (int64_t)imap_number(line, "MODSEQ (");
            *value_r = 0;
            if (close)
                *close = 0;
            for (char *save, *w = strtok_r(flags + 7, " ", &save); w; w = strtok_r(NULL, " ", &save))
                if (w[0] == 'k')
                    *value_r |= INT64_C(1) << atoi(w + 1);
            found = true;
        }
        free(line);
        p += n + (p[n] == '\n');
    }
    return found;
}

static void flags_write(struct text *t, unsigned value)
{
    text_clear(t);
    for (unsigned bit = 0; bit < BITS; bit++)
        if (value >> bit & 1)
            text_printf(t, "%sk%u", t->n ? " " : "", bit);
}

struct known {
    uint64_t uid; /* 0: nothing is known */
    int64_t value, modseq;
};

static void register_read(struct client *c, uint64_t reg, struct known *k)
{
    struct op op = client_begin(c, OP_READ, c->imap.node, reg);
    enum outcome o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "NOOP");
    if (o == OUTCOME_OK)
        o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "UID FETCH %llu (FLAGS MODSEQ)", (unsigned long long)reg + 1);
    if (o == OUTCOME_OK && !fetch_parse(c->imap.reply.p, reg + 1, &op.a, &op.b)) {
        finding(&verdict.lost, "n%u does not show register %llu: %s", c->imap.node, (unsigned long long)reg,
                c->imap.reply.p);
        return;
    }
    client_end(&op, o == OUTCOME_INFO ? OUTCOME_FAIL : o); /* a read changes nothing */
    *k = (struct known){o == OUTCOME_OK ? reg + 1 : 0, op.a, op.b};
}

static void register_write(struct client *c, uint64_t reg, const struct known *k, struct text *flags)
{
    bool cas = k->uid == reg + 1 && rng_below(&c->rng, 2);
    unsigned value = ++registers.next[reg];
    if (value >= VALUES)
        return;
    flags_write(flags, value);
    struct op op = client_begin(c, cas ? OP_CAS : OP_WRITE, c->imap.node, reg);
    op.a = cas ? k->value : value;
    op.b = value;
    enum outcome o;
    if (cas)
        o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "UID STORE %llu (UNCHANGEDSINCE %lld) FLAGS.SILENT (%s)",
                         (unsigned long long)reg + 1, (long long)k->modseq, flags->p);
    else
        o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "UID STORE %llu FLAGS.SILENT (%s)", (unsigned long long)reg + 1,
                         flags->p);
    op.c = o == OUTCOME_OK && !strstr(c->imap.last.p, "[MODIFIED");
    client_end(&op, o);
}

static void run(struct client *c)
{
    struct known k = {0};
    struct text flags = {0};
    uint64_t zero = 0;
    atomic_compare_exchange_strong(&registers.start, &zero, now_ns());
    while (!client_over()) {
        if (!client_imap(c, "reg", "INBOX"))
            continue;
        uint64_t turn = (now_ns() - registers.start) / turn_ns;
        uint64_t reg = (turn * AT_ONCE + rng_below(&c->rng, AT_ONCE)) % REGISTERS;
        if (registers.next[reg] + 16 > VALUES)
            continue;
        if (k.uid && rng_below(&c->rng, 3))
            reg = k.uid - 1; /* what was just read */
        if (rng_below(&c->rng, 2))
            register_read(c, reg, &k);
        else
            register_write(c, reg, &k, &flags);
        if (rng_below(&c->rng, 8) == 0)
            k.uid = 0;
        client_pause(c, 40);
    }
    text_free(&flags);
}

/* ---- check ---- */

#include "jepsen-like/linear.h"

static bool linear_make(const struct op *op, struct linear_op *to)
{
    bool ok = op->outcome == OUTCOME_OK;
    *to = (struct linear_op){op->start, ok ? op->end : LINEAR_NEVER, LINEAR_READ, op->a, op->b};
    if (op->outcome == OUTCOME_FAIL)
        return false;
    if (op->kind == OP_WRITE)
        to->kind = LINEAR_WRITE;
    else if (op->kind == OP_CAS)
        to->kind = ok && !op->c ? LINEAR_CAS_FAIL : LINEAR_CAS;
    else
        return op->kind == OP_READ && ok;
    return true;
}

/* What clients saw last: the dump, as a read after everything. Kept for the check by register_final. */
static void register_say(const struct op *ops, size_t n, uint64_t reg)
{
    for (size_t i = 0; i < n; i++)
        if (ops[i].key == reg && (ops[i].kind == OP_READ || ops[i].kind == OP_WRITE || ops[i].kind == OP_CAS))
            say("  %s p%u n%u %s %lld %lld %lld  %.3f..%.3f ms", history_kind_name(ops[i].kind), ops[i].process,
                ops[i].node, outcome_name(ops[i].outcome), (long long)ops[i].a, (long long)ops[i].b,
                (long long)ops[i].c, (double)(ops[i].start - registers.start) / 1e6,
                (double)(ops[i].end - registers.start) / 1e6);
}

static void register_check(const struct op *ops, size_t n, uint64_t reg, struct verdict *v)
{
    struct linear_op *history = xzalloc((n + 1) * sizeof *history);
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (ops[i].key == reg && linear_make(&ops[i], &history[k]))
            k++;
    enum linear_result r = linear_check(history, k, 0, STATES_MAX);
    if (r == LINEAR_NO) {
        finding(&v->nonlinearizable, "register %llu with %zu operations:", (unsigned long long)reg, k);
        register_say(ops, n, reg);
    }
    if (r == LINEAR_UNKNOWN)
        finding(&v->unknown, "register %llu with %zu operations takes too long to check", (unsigned long long)reg, k);
    free(history);
}

/* Within one message a number belongs to one MODSEQ: another would mean that it was set twice. */
static void modseq_check(const struct op *ops, size_t n, uint64_t reg, struct verdict *v)
{
    int64_t *modseq = xzalloc(VALUES * sizeof *modseq);
    for (size_t i = 0; i < n; i++) {
        if (ops[i].key != reg || ops[i].kind != OP_READ || ops[i].outcome != OUTCOME_OK || ops[i].a >= VALUES)
            continue;
        if (modseq[ops[i].a] && modseq[ops[i].a] != ops[i].b)
            finding(&v->dup, "register %llu has %lld with MODSEQ %lld and with %lld", (unsigned long long)reg,
                    (long long)ops[i].a, (long long)modseq[ops[i].a], (long long)ops[i].b);
        modseq[ops[i].a] = ops[i].b;
    }
    free(modseq);
}

/* Operations of registers alone: what the checks above go through for each. */
static struct op *register_ops(size_t *n_r)
{
    size_t n;
    const struct op *ops = history_ops(&n);
    struct op *own = xzalloc((n + 1) * sizeof *own);
    *n_r = 0;
    for (size_t i = 0; i < n; i++)
        if (ops[i].kind == OP_READ || ops[i].kind == OP_WRITE || ops[i].kind == OP_CAS)
            own[(*n_r)++] = ops[i];
    return own;
}

static void check(const struct dump *d, struct verdict *v)
{
    size_t n;
    struct op *ops = register_ops(&n);
    if (d->n != REGISTERS)
        finding(&v->lost, "%zu registers of %d are left", d->n, REGISTERS);
    for (uint64_t reg = 0; reg < REGISTERS; reg++) {
        register_check(ops, n, reg, v);
        modseq_check(ops, n, reg, v);
    }
    free(ops);
}

const struct workload workload_register = {
    .name = "flag register", .user = "reg", .clients = 4, .prepare = prepare, .run = run, .check = check};
