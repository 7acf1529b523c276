#include "node/base/log.h"
#include "store/queue.h"
#include "store/state.h"

#include <stdlib.h>

#define OP_SINCE(name, function, format) [MERLION__COMMAND__OP_##name] = {function, #function, format}
#define OP(name, function) OP_SINCE(name, function, STORE_FORMAT_MIN)
static const struct {
    op_function *run;
    const char *name;
    uint32_t format; /* the first that has it */
} ops[] = {
    OP(SETTINGS, op_settings),
    OP(DOMAIN_ADD, op_domain_add),
    OP(DOMAIN_REMOVE, op_domain_remove),
    OP(USER_ADD, op_user_add),
    OP(USER_SET, op_user_set),
    OP(USER_REMOVE, op_user_remove),
    OP(ALIAS_ADD, op_alias_add),
    OP(ALIAS_REMOVE, op_alias_remove),
    OP(MEMBER_SET, op_member_set),
    OP(MEMBER_REMOVE, op_member_remove),
    OP(FORMAT_RAISE, op_format_raise),
    OP(DELIVER, op_deliver),
    OP(APPEND, op_append),
    OP(STORE_FLAGS, op_store_flags),
    OP(COPY, op_copy),
    OP(EXPUNGE, op_expunge),
    OP(MAILBOX_CREATE, op_mailbox_create),
    OP(MAILBOX_DELETE, op_mailbox_delete),
    OP(MAILBOX_RENAME, op_mailbox_rename),
    OP(SUBSCRIBE, op_subscribe),
    OP_SINCE(QUEUE_LEASE, op_queue_lease, QUEUE_FORMAT),
    OP_SINCE(QUEUE_OUTCOME, op_queue_outcome, QUEUE_FORMAT),
    OP_SINCE(QUEUE_VOID, op_queue_void, QUEUE_FORMAT),
    OP_SINCE(QUEUE_CONTROL, op_queue_control, QUEUE_FORMAT),
};

static void *arena_allocate(void *arg, size_t n)
{
    return arena_alloc(arg, n ? n : 1);
}

static void arena_release(void *arg, void *p)
{
    (void)arg;
    (void)p;
}

void op_refuse(Merlion__Result *r, int status, const char *text)
{
    /* protobuf-c has no const strings; it only reads this one. */
    r->status = status;
    r->text = (char *)(uintptr_t)text;
}

static int range_order(const void *a, const void *b)
{
    const struct uid_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

int op_uids(const Merlion__UidRange *const *ranges, size_t n, struct uid_set *set)
{
    struct uid_range *sorted = mem_alloc((n ? n : 1) * sizeof *sorted);
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        sorted[i] = (struct uid_range){ranges[i]->first, ranges[i]->last};
        if (sorted[i].first == 0 || sorted[i].first > sorted[i].last)
            rc = ERR_INVALID;
    }
    if (rc == 0 && n) {
        qsort(sorted, n, sizeof *sorted, range_order);
        for (size_t i = 0; i < n; i++)
            uid_set_add(set, sorted[i].first, sorted[i].last);
    }
    mem_free(sorted);
    return rc;
}

void op_ranges(struct store *s, const struct uid_set *set, size_t *n_r, Merlion__UidRange ***ranges_r)
{
    Merlion__UidRange *at = arena_alloc(&s->command_arena, (set->n ? set->n : 1) * sizeof *at);
    Merlion__UidRange **list = arena_alloc(&s->command_arena, (set->n ? set->n : 1) * sizeof *list);
    for (size_t i = 0; i < set->n; i++) {
        merlion__uid_range__init(&at[i]);
        at[i].first = set->ranges[i].first;
        at[i].last = set->ranges[i].last;
        list[i] = &at[i];
    }
    *n_r = set->n;
    *ranges_r = list;
}

static struct slice result_pack(struct store *s, const Merlion__Result *r)
{
    buf_clear(&s->result);
    size_t n = merlion__result__get_packed_size(r);
    merlion__result__pack(r, buf_reserve(&s->result, n ? n : 1));
    buf_commit(&s->result, n);
    return buf_slice(&s->result);
}

/* Commands whose message body was replicated ahead, under a lease. */
static bool brings_body(const Merlion__Command *c)
{
    switch (c->op_case) {
    case MERLION__COMMAND__OP_DELIVER:
    case MERLION__COMMAND__OP_APPEND:
        return true;
    case MERLION__COMMAND__OP_QUEUE_OUTCOME:
        for (size_t i = 0; i < c->queue_outcome->n_legs; i++)
            if (c->queue_outcome->legs[i]->n_notices)
                return true;
        return false;
    default:
        return false;
    }
}

/* Before its format is active a command is what it is to earlier builds, to the byte: the answer is state, too. */
static bool known(const struct store *s, size_t op)
{
    return op < sizeof ops / sizeof *ops && ops[op].run && s->st.format >= ops[op].format;
}

static void run(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    size_t op = (size_t)c->op_case;
    if (!known(s, op))
        op_refuse(r, ERR_VERSION, "unknown command");
    else if (brings_body(c) && s->st.time_ms - c->time_ms > BODY_COMMAND_AGE_MAX_MS)
        op_refuse(r, ERR_STALE, "the command is older than its message body may be kept for it");
    else
        ops[op].run(s, c, r);
    if (r->status && op < sizeof ops / sizeof *ops && ops[op].name)
        log_event(LOG_DEBUG, "command refused", LOG_S("op", ops[op].name), LOG_E("status", r->status),
                  LOG_U("index", s->index));
}

static void answer(struct store *s, const struct request_id *id, struct slice result)
{
    if (s->events.result && !s->failed)
        s->events.result(s->events.arg, *id, result);
}

static void execute(struct store *s, const Merlion__Command *c)
{
    struct request_id id = {c->id->node, c->id->boot, c->id->seq};
    struct slice stored;
    Merlion__Result r = MERLION__RESULT__INIT;
    if (c->time_ms > s->st.time_ms)
        s->st.time_ms = c->time_ms;
    switch (batch_request_find(s, &id, &stored)) {
    case REQUEST_REPEAT:
        answer(s, &id, stored);
        return;
    case REQUEST_STALE:
        op_refuse(&r, ERR_STALE, "the request is too old to tell whether it took effect");
        answer(s, &id, result_pack(s, &r));
        return;
    case REQUEST_NEW:
        break;
    }
    run(s, c, &r);
    struct slice packed = result_pack(s, &r);
    batch_request_put(s, &id, packed);
    answer(s, &id, packed);
}

void apply_command(struct store *s, uint32_t at, struct slice packed)
{
    ProtobufCAllocator allocator = {arena_allocate, arena_release, &s->command_arena};
    arena_reset(&s->command_arena);
    s->modseq = s->index * ENTRY_COMMANDS_MAX + at;
    Merlion__Command *c = merlion__command__unpack(&allocator, packed.n, packed.p);
    /* It is committed, so every replica sees the same bytes and skips them alike; nobody waits under an id that cannot
     * be read. */
    if (!c || !c->id || c->id->seq == 0)
        log_event(LOG_ERROR, "command skipped: malformed", LOG_U("index", s->index), LOG_U("place", at));
    else
        execute(s, c);
}

struct walk {
    struct store *s;
    uint32_t at;
};

static int walk_command(void *arg, struct slice command)
{
    struct walk *w = arg;
    apply_command(w->s, w->at++, command);
    return w->s->failed;
}

static int advance(struct store *s, uint64_t index, uint64_t term)
{
    ENSURE(s->txn);
    if (s->failed)
        return s->failed;
    /* MODSEQ must stay below 2^63. */
    if (index >= (uint64_t)INT64_MAX / ENTRY_COMMANDS_MAX)
        return ERR_TOOBIG;
    s->index = index;
    s->term = term;
    return 0;
}

int store_apply(struct store *s, uint64_t index, uint64_t term, struct slice entry)
{
    if (index <= s->index)
        return s->failed;
    struct walk w = {.s = s};
    int rc = advance(s, index, term);
    if (rc == 0)
        rc = entry_each(entry, walk_command, &w);
    if (rc && !s->failed)
        s->failed = rc; /* nothing of this batch may be committed */
    return rc;
}

int store_apply_nothing(struct store *s, uint64_t index, uint64_t term)
{
    return index <= s->index ? s->failed : advance(s, index, term);
}
