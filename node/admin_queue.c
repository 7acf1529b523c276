/* The queue, for operators: what waits, why, and what to do with it. Looking runs on the compute pool: a queue may be
 * long. */
#include "node/admin.h"
#include "node/base/clock.h"
#include "node/queue_policy.h"
#include "store/command.pb-c.h"
#include "store/queue.h"

enum { LIST_DEFAULT = 100, LIST_MAX = 2000, IDS_MAX = 1000, DESTINATIONS_SHOWN = 50, SHOWN_TEXT_MAX = 300 };

static const char *const state_names[] = {
    [QUEUE_WAITING] = "waiting", [QUEUE_LEASED] = "delivering", [QUEUE_HELD] = "held"};
static const char *const outcome_names[] = {[MERLION__QUEUE_REPLY__KIND__DELIVERED] = "delivered",
                                            [MERLION__QUEUE_REPLY__KIND__DEFERRED] = "deferred",
                                            [MERLION__QUEUE_REPLY__KIND__FAILED] = "failed"};

/* ---- a scan: all of the queue that the arguments name ---- */

struct filter {
    struct slice sender, recipient, domain, state;
    int64_t received_before; /* INT64_MAX: any */
    const uint64_t *ids;
    size_t id_n;
};

struct found {
    uint64_t id;
    uint32_t legs;
};

struct scan {
    struct compute_job job;
    struct admin_call *call;
    struct filter filter;
    uint64_t ids[IDS_MAX];
    struct store_view *view;
    const struct store_queue_item *item;
    bool taken; /* a leg of this item matched */
    uint64_t limit, matched;
    json_t *rows;     /* of queue list; NULL: only ids are wanted */
    struct buf found; /* matching items: struct found */
    int status;
    void (*done)(struct scan *s); /* main loop; frees s */
};

/* At most max octets, whole characters. */
static struct slice text_cut(struct slice s, size_t max)
{
    if (s.n <= max)
        return s;
    while (max > 0 && (s.p[max] & 0xc0) == 0x80)
        max--;
    return slice_first(s, max);
}

static json_t *text(struct slice s)
{
    json_t *j = json_stringn((const char *)s.p, s.n);
    return j ? j : json_string("(not UTF-8)");
}

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *holder_name(struct store_view *v, uint64_t node)
{
    struct store_member m;
    return store_member_get(v, node, &m) == 0 ? text(m.name) : number(node);
}

struct recipients {
    json_t *list; /* NULL: only looked through */
    struct slice wanted;
    bool found;
};

static bool recipient_see(void *arg, unsigned place, const struct store_queue_recipient *r)
{
    struct recipients *to = arg;
    (void)place;
    to->found = to->found || slice_ieq(r->address, to->wanted);
    if (to->list)
        json_array_append_new(to->list, text(r->address));
    return to->list || !to->found;
}

struct last_reply {
    struct slice text; /* the view's */
};

static bool reply_see(void *arg, const struct store_queue_reply *r)
{
    struct last_reply *last = arg;
    if (r->kind != MERLION__QUEUE_REPLY__KIND__DELIVERED)
        last->text = text_cut(r->text, SHOWN_TEXT_MAX);
    return true;
}

static bool leg_matches(struct scan *s, const struct store_queue_leg *l)
{
    const struct filter *f = &s->filter;
    struct recipients to = {.wanted = f->recipient};
    if (f->domain.n && !slice_ieq(l->destination, f->domain))
        return false;
    if (f->state.n && !slice_eq(slice_str(state_names[l->state]), f->state))
        return false;
    if (!f->recipient.n)
        return true;
    store_queue_recipient_each(s->view, l->item, l->leg, recipient_see, &to);
    return to.found;
}

static void leg_row(struct scan *s, const struct store_queue_leg *l)
{
    const struct store_queue_item *i = s->item;
    struct recipients to = {.list = json_array()};
    struct last_reply last = {SLICE_LITERAL("")};
    store_queue_recipient_each(s->view, l->item, l->leg, recipient_see, &to);
    store_queue_reply_each(s->view, l->item, l->leg, l->attempts, reply_see, &last);
    json_t *row =
        json_pack("{s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", number(i->id), "leg", number(l->leg),
                  "destination", text(l->destination), "state", state_names[l->state], "attempts", number(l->attempts),
                  "received_ms", json_integer(i->received_ms), "next_ms",
                  l->state == QUEUE_WAITING ? json_integer(l->due_ms) : json_null(), "size", number(i->size - i->skip),
                  "sender", text(i->sender), "recipients", to.list, "reply", text(last.text));
    json_object_set_new(row, "node", l->state == QUEUE_LEASED ? holder_name(s->view, l->holder) : json_null());
    json_array_append_new(s->rows, row);
}

static bool leg_see(void *arg, const struct store_queue_leg *l)
{
    struct scan *s = arg;
    if (!leg_matches(s, l))
        return true;
    s->taken = true;
    if (s->rows && s->matched < s->limit)
        leg_row(s, l);
    s->matched++;
    return true;
}

static bool item_see(void *arg, const struct store_queue_item *i)
{
    struct scan *s = arg;
    const struct filter *f = &s->filter;
    if (i->received_ms >= f->received_before)
        return true;
    if (f->sender.n &&
        !slice_ieq(i->sender, slice_eq(f->sender, SLICE_LITERAL("<>")) ? slice_make(NULL, 0) : f->sender))
        return true;
    s->item = i;
    s->taken = false;
    store_queue_leg_each(s->view, i->id, leg_see, s);
    if (s->taken)
        buf_append(&s->found, &(struct found){i->id, i->legs}, sizeof(struct found));
    return true;
}

static void scan_work(struct compute_job *job)
{
    struct scan *s = container_of(job, struct scan, job);
    struct store_queue_item item;
    s->status = store_view_open(node_services(s->call->node)->store, &s->view);
    if (s->status)
        return;
    for (size_t i = 0; i < s->filter.id_n; i++)
        if (store_queue_item(s->view, s->filter.ids[i], &item) == 0)
            item_see(s, &item);
    if (s->filter.id_n == 0)
        store_queue_item_each(s->view, 0, item_see, s);
    store_view_close(&s->view);
}

static void scan_done(struct task *t)
{
    struct scan *s = container_of(t, struct scan, job.task);
    s->done(s);
}

static void scan_free(struct scan *s)
{
    json_decref(s->rows);
    buf_close(&s->found);
    mem_free(s);
}

static struct slice arg(struct admin_call *c, const char *name)
{
    const char *value = admin_arg_string(&c->request, name);
    return slice_str(value ? value : "");
}

/* 0, or the call has failed. */
static int ids_take(struct admin_call *c, struct scan *s)
{
    const char *given[IDS_MAX + 1];
    size_t n = admin_arg_list(&c->request, "ids", given, IDS_MAX + 1);
    for (size_t i = 0; i < n && i < IDS_MAX; i++)
        if (slice_u64(slice_str(given[i]), UINT64_MAX, &s->ids[i])) {
            admin_fail(c, ERR_INVALID, "see: mailctl queue list", "%s is no id of a queued message", given[i]);
            return ERR_INVALID;
        }
    if (n > IDS_MAX) {
        admin_fail(c, ERR_TOOBIG, NULL, "at most %d ids at once", IDS_MAX);
        return ERR_TOOBIG;
    }
    s->filter.ids = s->ids;
    s->filter.id_n = n;
    return 0;
}

static int filter_take(struct admin_call *c, struct scan *s)
{
    struct filter *f = &s->filter;
    int64_t age = 0;
    struct slice older = arg(c, "older_than");
    *f = (struct filter){arg(c, "sender"), arg(c, "recipient"), arg(c, "domain"), arg(c, "state"), INT64_MAX, NULL, 0};
    if (older.n && queue_duration_parse(older, &age)) {
        admin_fail(c, ERR_INVALID, NULL, "%.*s is no age: write 90s, 10m, 4h or 2d", (int)older.n,
                   (const char *)older.p);
        return ERR_INVALID;
    }
    if (older.n)
        f->received_before = clock_wall_ms() - age;
    return ids_take(c, s);
}

/* NULL: the call has failed. */
static struct scan *scan_new(struct admin_call *c, void (*done)(struct scan *s))
{
    struct scan *s = mem_zalloc(sizeof *s);
    s->call = c;
    s->done = done;
    s->job = (struct compute_job){.task.run = scan_done, .home = &node_loop(c->node)->queue, .work = scan_work};
    if (filter_take(c, s) == 0)
        return s;
    scan_free(s);
    return NULL;
}

static void scan_start(struct scan *s)
{
    compute_submit(node_services(s->call->node)->compute, &s->job);
}

/* ---- queue list ---- */

static void list_done(struct scan *s)
{
    struct admin_call *c = s->call;
    if (s->status)
        admin_fail(c, s->status, NULL, "the store does not answer: %s", err_text(s->status));
    else
        admin_ok(c, json_pack("{s:O, s:o, s:o}", "queue", s->rows, "shown", number(json_array_size(s->rows)), "matched",
                              number(s->matched)));
    scan_free(s);
}

static void list_now(struct admin_call *c)
{
    uint64_t limit = admin_arg_given(&c->request, "limit") ? admin_arg_size(&c->request, "limit") : LIST_DEFAULT;
    if (limit > LIST_MAX) {
        admin_fail(c, ERR_TOOBIG, NULL, "at most %d rows at once: narrow it down by sender, recipient, domain, age",
                   LIST_MAX);
        return;
    }
    struct scan *s = scan_new(c, list_done);
    if (!s)
        return;
    s->rows = json_array();
    s->limit = limit;
    scan_start(s);
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
        json_array_append_new(list, text(slice_first(names, n)));
        names = slice_from(names, n + 1);
    }
    return list;
}

static bool history_reply(void *arg_, const struct store_queue_reply *r)
{
    struct history *h = arg_;
    const struct store_queue_attempt *a = h->attempt;
    json_array_append_new(
        h->rows,
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o}", "time_ms", json_integer(a->at_ms), "attempt",
                  number(a->attempt), "recipients", joined(r->recipients), "node", holder_name(h->v, a->node), "host",
                  text(a->host), "address", text(a->address), "tls", text(a->tls), "outcome",
                  r->kind < sizeof outcome_names / sizeof *outcome_names ? outcome_names[r->kind] : "?", "reply",
                  text(r->text)));
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
    struct recipients to = {.list = json_array()};
    s->history.leg = l;
    store_queue_recipient_each(s->history.v, l->item, l->leg, recipient_see, &to);
    store_queue_attempt_each(s->history.v, l->item, l->leg, history_attempt, &s->history);
    json_array_append_new(
        s->legs, json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "leg", number(l->leg), "destination",
                           text(l->destination), "state", state_names[l->state], "attempts", number(l->attempts),
                           "next_ms", l->state == QUEUE_WAITING ? json_integer(l->due_ms) : json_null(), "node",
                           l->state == QUEUE_LEASED ? holder_name(s->history.v, l->holder) : json_null(), "recipients",
                           to.list));
    return true;
}

static json_t *item_json(const struct store_queue_item *i, struct show *s)
{
    char hash[2 * BODY_HASH_SIZE + 1];
    for (size_t n = 0; n < BODY_HASH_SIZE; n++)
        snprintf(hash + 2 * n, 3, "%02x", i->hash.b[n]);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:b, s:o, s:o}", "id", number(i->id), "session",
                     text(i->session), "sender", text(i->sender), "size", number(i->size - i->skip), "received_ms",
                     json_integer(i->received_ms), "expires_ms", json_integer(i->expires_ms), "body", hash, "held",
                     i->held, "legs", s->legs, "attempts", s->history.rows);
}

static void show_now(struct admin_call *c)
{
    struct store_view *v;
    struct store_queue_item item;
    uint64_t id;
    int r = slice_u64(arg(c, "id"), UINT64_MAX, &id);
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
    struct scan *scan;
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
        admin_ok(c, json_pack("{s:o}", "messages", number(k->changed)));
    scan_free(k->scan);
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
    struct found f;
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

static void control_found(struct scan *s)
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
    struct scan *s = scan_new(c, control_found);
    if (s)
        scan_start(s);
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
        json_array_append_new(
            s.rows, json_pack("{s:o, s:o, s:o, s:o, s:o}", "destination", text(d->name), "waiting", number(d->waiting),
                              "delivering", number(d->leased), "held", number(d->held), "next_ms",
                              d->first_due_ms == INT64_MAX ? json_null() : json_integer(d->first_due_ms)));
    }
    store_view_close(&v);
    int64_t age = t.oldest_ms ? clock_wall_ms() - t.oldest_ms : 0;
    admin_ok(c, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "messages", number(t.items), "recipients",
                          number(t.recipients), "bytes", number(t.bytes), "waiting", number(t.waiting), "delivering",
                          number(t.leased), "held", number(t.held), "oldest_ms", json_integer(age > 0 ? age : 0),
                          "destination_count", number(s.destinations), "destinations", s.rows));
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
