/* An entry of the log, command by command: new ones run in the model, repeats must have been answered as the first. */
#include "tests/sim/check_model.h"

#include "node/base/err.h"

/* Bodies are not the store's business when a command is too old for them (store/state.h BODY_COMMAND_AGE_MAX_MS). */
enum { COMMAND_AGE_MAX_MS = 3600 * 1000 };

struct walk {
    uint64_t index;
    unsigned place, at, n;
    const struct model_result *results;
};

/* The tag that the client put into the command: an unknown field of type fixed64. 0: not from a client. */
static uint64_t tag_of(const Merlion__Command *c)
{
    for (unsigned i = 0; i < c->base.n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *f = &c->base.unknown_fields[i];
        uint64_t tag = 0;
        if (f->tag != CHECK_TAG_FIELD || f->len != 8)
            continue;
        for (unsigned b = 0; b < 8; b++)
            tag |= (uint64_t)f->data[b] << (8 * b);
        return tag;
    }
    return 0;
}

static void op_executed(const Merlion__Command *c, uint64_t index, const Merlion__Result *r, uint64_t sum)
{
    uint64_t tag = tag_of(c);
    struct op *op = check_op(tag);
    if (tag && !op)
        sim_fail(&sim_counts.other, "a command that nobody sent runs at %llu", (unsigned long long)index);
    if (!op)
        return;
    sim_trace("op %llu runs at %llu: %s", (unsigned long long)tag, (unsigned long long)index, err_name(r->status));
    if (op->executed)
        sim_fail(&sim_counts.duplicated, "command %llu runs at %llu, and ran at %llu", (unsigned long long)tag,
                 (unsigned long long)index, (unsigned long long)op->executed);
    if (op->state == OP_REFUSED)
        sim_fail(&sim_counts.other, "command %llu runs at %llu, and its client was told that it never will",
                 (unsigned long long)tag, (unsigned long long)index);
    op->executed = index;
    op->result_sum = sum;
    op->status = r->status;
}

static bool too_old(const Merlion__Command *c)
{
    bool body = c->op_case == MERLION__COMMAND__OP_DELIVER || c->op_case == MERLION__COMMAND__OP_APPEND;
    return body && model.time_ms - c->time_ms > COMMAND_AGE_MAX_MS;
}

static void run_new(struct walk *w, const Merlion__Command *c, const struct model_result *res, const Merlion__Result *r)
{
    uint64_t sum = checksum64(res->packed);
    model_request_add(res->node, res->boot, res->seq, sum);
    op_executed(c, w->index, r, sum);
    if (!too_old(c))
        model_run(c, r, w->index * ENTRY_COMMANDS_MAX + w->place);
    else if (r->status != ERR_STALE)
        sim_fail(&sim_counts.other, "a command at %llu is too old and was run", (unsigned long long)w->index);
}

static void judge(struct walk *w, const Merlion__Command *c, const struct model_result *res, const Merlion__Result *r)
{
    uint64_t first = 0;
    if (c->time_ms > model.time_ms)
        model.time_ms = c->time_ms;
    switch (model_request_seen(res->node, res->boot, res->seq, &first)) {
    case MODEL_NEW:
        run_new(w, c, res, r);
        break;
    case MODEL_REPEAT:
        sim_counts.retried++;
        sim_trace("repeat of %llu/%llu at %llu", (unsigned long long)res->node, (unsigned long long)res->seq,
                  (unsigned long long)w->index);
        if (checksum64(res->packed) != first)
            sim_fail(&sim_counts.duplicated, "request %llu of node %llu comes again at %llu and is answered otherwise",
                     (unsigned long long)res->seq, (unsigned long long)res->node, (unsigned long long)w->index);
        break;
    case MODEL_STALE:
        if (r->status != ERR_STALE)
            sim_fail(&sim_counts.duplicated, "request %llu of node %llu at %llu is too old and was not refused",
                     (unsigned long long)res->seq, (unsigned long long)res->node, (unsigned long long)w->index);
        break;
    }
}

static int command(void *arg, struct slice packed)
{
    struct walk *w = arg;
    Merlion__Command *c = merlion__command__unpack(NULL, packed.n, packed.p);
    if (!c || !c->id)
        sim_fail(&sim_counts.other, "malformed command at %llu", (unsigned long long)w->index);
    if (w->at == w->n)
        sim_fail(&sim_counts.other, "a command at %llu was not answered", (unsigned long long)w->index);
    const struct model_result *res = &w->results[w->at++];
    Merlion__Result *r = merlion__result__unpack(NULL, res->packed.n, res->packed.p);
    if (!r || res->node != c->id->node || res->boot != c->id->boot || res->seq != c->id->seq)
        sim_fail(&sim_counts.other, "the answers at %llu are not those of its commands", (unsigned long long)w->index);
    judge(w, c, res, r);
    w->place++;
    merlion__result__free_unpacked(r, NULL);
    merlion__command__free_unpacked(c, NULL);
    return 0;
}

void model_apply(uint64_t index, struct slice entry, const struct model_result *results, unsigned n)
{
    struct walk w = {.index = index, .results = results, .n = n};
    entry_each(entry, command, &w);
    if (w.at != n)
        sim_fail(&sim_counts.other, "more answers than commands at %llu", (unsigned long long)index);
}
