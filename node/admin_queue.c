/* The queue, for operators: what waits, why, and what to do with it. */
#include "node/admin_queue.h"
#include "node/base/clock.h"
#include "store/command.pb-c.h"

enum { LIST_DEFAULT = 100, LIST_MAX = 2000, DESTINATIONS_SHOWN = 50 };

static const char *const outcome_names[] = {[MERLION__QUEUE_REPLY__KIND__DELIVERED] = "delivered",
                                            [MERLION__QUEUE_REPLY__KIND__DEFERRED] = "deferred",
                                            [MERLION__QUEUE_REPLY__KIND__FAILED] = "failed"};

/* ---- queue list ---- */

static void list_done(struct queue_scan *s)
{
    struct admin_call *c = s->call;
    if (s->status)
        admin_fail(c, s->status, NULL, "the store does not answer: %s", err_text(s->status));
    else
        admin_ok(c, json_pack("{s:O, s:o, s:o}", "queue", s->rows, "shown", queue_json_number(json_array_size(s->rows)),
                              "matched", queue_json_number(s->matched)));
    queue_scan_free(s);
}

static void list_now(struct admin_call *c)
{
    uint64_t limit = admin_arg_given(&c->request, "limit") ? admin_arg_size(&c->request, "limit") : LIST_DEFAULT;
    if (limit > LIST_MAX) {
        admin_fail(c, ERR_TOOBIG, NULL, "at most %d rows at once: narrow it down by sender, recipient, domain, age",
                   LIST_MAX);
        return;
    }
    struct queue_scan *s = queue_scan_new(c, list_done);
    if (!s)
        return;
    s->rows = json_array();
    s->limit = limit;
    queue_scan_start(s);
}

static void queue_list(struct admin_call *c)
{
    admin_synced(c, list_now);
}

/* ---- queue show ---- */

struct history {
    struct store_view *v;
    json_t *rows;
    const struct store_queue_leg *leg;
    const struct store_queue_attempt *attempt;
};

static json_t *joined(struct slice names)
{
    json_t *list = json_array();
    while (names.n) {
        size_t n = slice_find(names, 0);
        json_array_append_new(list, queue_json_text(slice_first(names, n)));
        names = slice_from(names, n + 1);
    }
    return list;
}

static bool history_reply(void *arg_, const struct store_queue_reply *r)
{
    struct history *h = arg_;
    const struct store_queue_attempt *a = h->attempt;
    json_array_append_new(
        h->rows, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o}", "time_ms", json_integer(a->at_ms),
                           "attempt", queue_json_number(a->attempt), "recipients", joined(r->recipients), "node",
                           queue_json_holder(h->v, a->node), "host", queue_json_text(a->host), "address",
                           queue_json_text(a->address), "tls", queue_json_text(a->tls), "outcome",
                           r->kind < sizeof outcome_names / sizeof *outcome_names ? outcome_names[r->kind] : "?",
                           "reply", queue_json_text(r->text)));
    return true;
}

static bool history_attempt(void *arg_, const struct store_queue_attempt *a)
{
    struct history *h = arg_;
    h->attempt = a;
    store_queue_reply_each(h->v, h->leg->item, h->leg->leg, a->attempt, history_reply, h);
    return true;
}

struct show {
    struct history history;
    json_t *legs;
};

static bool show_leg(void *arg_, const struct store_queue_leg *l)
{
    struct show *s = arg_;
    struct queue_recipients to = {.list = json_array()};
    s->history.leg = l;
    store_queue_recipient_each(s->history.v, l->item, l->leg, queue_recipient_see, &to);
    store_queue_attempt_each(s->history.v, l->item, l->leg, history_attempt, &s->history);
    json_array_append_new(s->legs,
                          json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "leg", queue_json_number(l->leg),
                                    "destination", queue_json_text(l->destination), "state",
                                    queue_state_names[l->state], "attempts", queue_json_number(l->attempts), "next_ms",
                                    l->state == QUEUE_WAITING ? json_integer(l->due_ms) : json_null(), "node",
                                    l->state == QUEUE_LEASED ? queue_json_holder(s->history.v, l->holder) : json_null(),
                                    "recipients", to.list));
    return true;
}

static json_t *item_json(const struct store_queue_item *i, struct show *s)
{
    char hash[2 * BODY_HASH_SIZE + 1];
    for (size_t n = 0; n < BODY_HASH_SIZE; n++)
        snprintf(hash + 2 * n, 3, "%02x", i->hash.b[n]);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:b, s:b, s:o, s:o}", "id", queue_json_number(i->id),
                     "session", queue_json_text(i->session), "sender", queue_json_text(i->sender), "size",
                     queue_json_number(i->size - i->skip), "received_ms", json_integer(i->received_ms), "expires_ms",
                     json_integer(i->expires_ms), "body", hash, "held", i->held, "canceled", i->canceled, "legs",
                     s->legs, "attempts", s->history.rows);
}

static void show_now(struct admin_call *c)
{
    struct store_view *v;
    struct store_queue_item item;
    uint64_t id;
    int r = slice_u64(queue_arg(c, "id"), UINT64_MAX, &id);
    if (r) {
        admin_fail(c, ERR_INVALID, "see: mailctl queue list", "that is no id of a queued message");
        return;
    }
    r = store_view_open(node_services(c->node)->store, &v);
    if (r == 0 && (r = store_queue_item(v, id, &item)))
        store_view_close(&v);
    if (r) {
        admin_fail(c, r, "see: mailctl queue list; what left the queue is in the nodes' logs",
                   r == ERR_NOTFOUND ? "message %llu is not in the queue" : "the store does not answer (%llu)",
                   (unsigned long long)id);
        return;
    }
    struct show s = {{v, json_array(), NULL, NULL}, json_array()};
    store_queue_leg_each(v, id, show_leg, &s);
    json_t *data = item_json(&item, &s);
    store_view_close(&v);
    admin_ok(c, data);
}

static void queue_show(struct admin_call *c)
{
    admin_synced(c, show_now);
}

/* ---- hold, release, retry, cancel ---- */

struct control {
    struct propose propose;
    struct queue_scan *scan;
    Merlion__QueueControl__Action action;
    uint64_t changed;
    size_t at; /* of the ids found */
    uint8_t *command;
};

static void control_next(struct control *k);

static void control_end(struct control *k, int status, const char *why)
{
    struct admin_call *c = k->scan->call;
    log_event(LOG_INFO, "admin", LOG_S("verb", c->request.verb->name), LOG_U("messages", k->changed));
    if (status)
        admin_fail(c, status, status == ERR_NOTFOUND ? "see: mailctl queue list" : "see: mailctl status",
                   k->changed ? "%s (%llu messages were changed before)" : "%s", why, (unsigned long long)k->changed);
    else
        admin_ok(c, json_pack("{s:o}", "messages", queue_json_number(k->changed)));
    queue_scan_free(k->scan);
    mem_free(k);
}

static void control_proposed(struct task *t)
{
    struct control *k = container_of(t, struct control, propose.task);
    struct slice packed = bytes_slice(k->propose.result);
    Merlion__Result *r = k->propose.status ? NULL : merlion__result__unpack(NULL, packed.n, packed.p);
    int status = k->propose.status ? k->propose.status : r ? r->status : ERR_PROTOCOL;
    if (r) {
        k->changed += r->id;
        merlion__result__free_unpacked(r, NULL);
    }
    bytes_unref(&k->propose.result);
    mem_free(k->command);
    if (status)
        control_end(k, status, err_text(status));
    else
        control_next(k);
}

/* The next ones, as many as one command may name; returns how many. */
static size_t control_take(struct control *k, uint64_t ids[QUEUE_CONTROL_MAX])
{
    struct slice all = buf_slice(&k->scan->found);
    struct queue_found f;
    size_t n = 0, legs = 0;
    for (; n < QUEUE_CONTROL_MAX && k->at * sizeof f < all.n; n++, k->at++) {
        memcpy(&f, all.p + k->at * sizeof f, sizeof f);
        legs += f.legs;
        if (n > 0 && legs > QUEUE_CONTROL_LEGS_MAX)
            break;
        ids[n] = f.id;
    }
    return n;
}

static void control_next(struct control *k)
{
    struct admin_call *c = k->scan->call;
    uint64_t ids[QUEUE_CONTROL_MAX];
    size_t n = control_take(k, ids);
    if (n == 0) {
        control_end(k, 0, NULL);
        return;
    }
    Merlion__Command command = MERLION__COMMAND__INIT;
    Merlion__QueueControl op = MERLION__QUEUE_CONTROL__INIT;
    op.action = k->action;
    op.n_items = n;
    op.items = ids;
    command.queue_control = &op;
    command.op_case = MERLION__COMMAND__OP_QUEUE_CONTROL;
    size_t size = merlion__command__get_packed_size(&command);
    k->command = mem_alloc(size);
    merlion__command__pack(&command, k->command);
    k->propose = (struct propose){
        .task.run = control_proposed, .home = &node_loop(c->node)->queue, .command = slice_make(k->command, size)};
    replication_propose(node_services(c->node)->replication, &k->propose);
}

static Merlion__QueueControl__Action action_of(const char *verb)
{
    static const struct {
        const char *verb;
        Merlion__QueueControl__Action action;
    } table[] = {{"queue hold", MERLION__QUEUE_CONTROL__ACTION__HOLD},
                 {"queue release", MERLION__QUEUE_CONTROL__ACTION__RELEASE},
                 {"queue cancel", MERLION__QUEUE_CONTROL__ACTION__CANCEL}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].verb, verb) == 0)
            return table[i].action;
    return MERLION__QUEUE_CONTROL__ACTION__RETRY; /* queue retry, queue flush */
}

static void control_found(struct queue_scan *s)
{
    struct control *k = mem_zalloc(sizeof *k);
    k->scan = s;
    k->action = action_of(s->call->request.verb->name);
    if (s->status)
        control_end(k, s->status, "the store does not answer");
    else if (s->filter.id_n && buf_len(&s->found) == 0)
        control_end(k, ERR_NOTFOUND, "none of these messages is in the queue");
    else
        control_next(k);
}

static void control_now(struct admin_call *c)
{
    struct queue_scan *s = queue_scan_new(c, control_found);
    if (s)
        queue_scan_start(s);
}

/* Nothing named would be everything: that is said out loud. */
static void queue_control(struct admin_call *c)
{
    static const char *const names[] = {"ids", "sender", "recipient", "domain", "older_than", "all"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (admin_arg_given(&c->request, names[i])) {
            admin_synced(c, control_now);
            return;
        }
    admin_fail(c, ERR_INVALID, "see: mailctl queue list",
               "which messages? Give ids, --sender, --recipient, --domain, --older-than, or --all");
}

/* What waits for its next try, all or of one domain, now. */
static void queue_flush(struct admin_call *c)
{
    admin_synced(c, control_now);
}

/* ---- queue stats ---- */

struct stats {
    json_t *rows;
    struct store_queue_destination top[DESTINATIONS_SHOWN]; /* most first */
    unsigned n;
    uint64_t destinations;
};

static uint64_t weight(const struct store_queue_destination *d)
{
    return d->waiting + d->leased + d->held;
}

static bool destination_see(void *arg_, const struct store_queue_destination *d)
{
    struct stats *s = arg_;
    unsigned at = s->n < DESTINATIONS_SHOWN ? s->n++ : DESTINATIONS_SHOWN;
    s->destinations++;
    if (at == DESTINATIONS_SHOWN && weight(&s->top[--at]) >= weight(d))
        return true;
    for (; at > 0 && weight(&s->top[at - 1]) < weight(d); at--)
        s->top[at] = s->top[at - 1];
    s->top[at] = *d;
    return true;
}

static void stats_now(struct admin_call *c)
{
    struct store_view *v;
    struct store_queue_totals t;
    struct stats s = {.rows = json_array()};
    int r = store_view_open(node_services(c->node)->store, &v);
    if (r) {
        json_decref(s.rows);
        admin_fail(c, r, NULL, "the store does not answer: %s", err_text(r));
        return;
    }
    store_queue_totals(v, &t);
    store_queue_destination_each(v, destination_see, &s);
    for (unsigned i = 0; i < s.n; i++) {
        const struct store_queue_destination *d = &s.top[i];
        json_array_append_new(s.rows,
                              json_pack("{s:o, s:o, s:o, s:o, s:o}", "destination", queue_json_text(d->name), "waiting",
                                        queue_json_number(d->waiting), "delivering", queue_json_number(d->leased),
                                        "held", queue_json_number(d->held), "next_ms",
                                        d->first_due_ms == INT64_MAX ? json_null() : json_integer(d->first_due_ms)));
    }
    store_view_close(&v);
    int64_t age = t.oldest_ms ? replication_clock_ms(node_services(c->node)->replication) - t.oldest_ms : 0;
    admin_ok(c, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "messages", queue_json_number(t.items),
                          "recipients", queue_json_number(t.recipients), "bytes", queue_json_number(t.bytes), "waiting",
                          queue_json_number(t.waiting), "delivering", queue_json_number(t.leased), "held",
                          queue_json_number(t.held), "oldest_ms", json_integer(age > 0 ? age : 0), "destination_count",
                          queue_json_number(s.destinations), "destinations", s.rows));
}

static void queue_stats(struct admin_call *c)
{
    admin_synced(c, stats_now);
}

const struct admin_handler_entry admin_queue_handlers[] = {
    {"queue list", queue_list},     {"queue show", queue_show},      {"queue stats", queue_stats},
    {"queue flush", queue_flush},   {"queue hold", queue_control},   {"queue release", queue_control},
    {"queue retry", queue_control}, {"queue cancel", queue_control}, {NULL, NULL},
};
