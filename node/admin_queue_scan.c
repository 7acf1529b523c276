/* All of the queue that the arguments of a call name. On the compute pool: a queue may be long. */
#include "node/admin_queue.h"
#include "node/base/clock.h"
#include "node/queue_policy.h"
#include "store/command.pb-c.h"

enum { SHOWN_TEXT_MAX = 300 };

const char *const queue_state_names[] = {
    [QUEUE_WAITING] = "waiting", [QUEUE_LEASED] = "delivering", [QUEUE_HELD] = "held"};

/* At most max octets, whole characters. */
static struct slice text_cut(struct slice s, size_t max)
{
    if (s.n <= max)
        return s;
    while (max > 0 && (s.p[max] & 0xc0) == 0x80)
        max--;
    return slice_first(s, max);
}

json_t *queue_json_text(struct slice s)
{
    json_t *j = json_stringn((const char *)s.p, s.n);
    return j ? j : json_string("(not UTF-8)");
}

json_t *queue_json_number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

json_t *queue_json_holder(struct store_view *v, uint64_t node)
{
    struct store_member m;
    return store_member_get(v, node, &m) == 0 ? queue_json_text(m.name) : queue_json_number(node);
}

bool queue_recipient_see(void *arg, unsigned place, const struct store_queue_recipient *r)
{
    struct queue_recipients *to = arg;
    (void)place;
    to->found = to->found || slice_ieq(r->address, to->wanted);
    if (to->list)
        json_array_append_new(to->list, queue_json_text(r->address));
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

static bool leg_matches(struct queue_scan *s, const struct store_queue_leg *l)
{
    const struct queue_filter *f = &s->filter;
    struct queue_recipients to = {.wanted = f->recipient};
    if (f->domain.n && !slice_ieq(l->destination, f->domain))
        return false;
    if (f->state.n && !slice_eq(slice_str(queue_state_names[l->state]), f->state))
        return false;
    if (!f->recipient.n)
        return true;
    store_queue_recipient_each(s->view, l->item, l->leg, queue_recipient_see, &to);
    return to.found;
}

static void leg_row(struct queue_scan *s, const struct store_queue_leg *l)
{
    const struct store_queue_item *i = &s->item;
    struct queue_recipients to = {.list = json_array()};
    struct last_reply last = {SLICE_LITERAL("")};
    store_queue_recipient_each(s->view, l->item, l->leg, queue_recipient_see, &to);
    store_queue_reply_each(s->view, l->item, l->leg, l->attempts, reply_see, &last);
    json_t *row = json_pack(
        "{s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", queue_json_number(i->id), "leg",
        queue_json_number(l->leg), "destination", queue_json_text(l->destination), "state", queue_state_names[l->state],
        "attempts", queue_json_number(l->attempts), "received_ms", json_integer(i->received_ms), "next_ms",
        l->state == QUEUE_WAITING ? json_integer(l->due_ms) : json_null(), "size", queue_json_number(i->size - i->skip),
        "sender", queue_json_text(i->sender), "recipients", to.list, "reply", queue_json_text(last.text));
    json_object_set_new(row, "node", l->state == QUEUE_LEASED ? queue_json_holder(s->view, l->holder) : json_null());
    json_array_append_new(s->rows, row);
}

static void item_found(struct queue_scan *s)
{
    if (!s->taken)
        buf_append(&s->found, &(struct queue_found){s->item.id, s->item.legs}, sizeof(struct queue_found));
    s->taken = true;
}

static void leg_see(void *arg, const struct store_queue_leg *l)
{
    struct queue_scan *s = arg;
    if (!leg_matches(s, l))
        return;
    item_found(s);
    if (s->rows && s->matched < s->limit)
        leg_row(s, l);
    s->matched++;
}

/* False: its legs need not be looked at. */
static bool item_see(void *arg, const struct store_queue_item *i)
{
    struct queue_scan *s = arg;
    const struct queue_filter *f = &s->filter;
    if (i->received_ms >= f->received_before)
        return false;
    if (f->sender.n &&
        !slice_ieq(i->sender, slice_eq(f->sender, SLICE_LITERAL("<>")) ? slice_make(NULL, 0) : f->sender))
        return false;
    s->item = *i;
    s->taken = false;
    if (f->domain.n || f->state.n || f->recipient.n || (s->rows && s->matched < s->limit))
        return true;
    item_found(s);
    s->matched += i->legs;
    return false;
}

static bool leg_look(void *arg, const struct store_queue_leg *l)
{
    leg_see(arg, l);
    return true;
}

static void scan_work(struct compute_job *job)
{
    struct queue_scan *s = container_of(job, struct queue_scan, job);
    struct store_queue_item item;
    s->status = store_view_open(node_services(s->call->node)->store, &s->view);
    if (s->status)
        return;
    for (size_t i = 0; i < s->filter.id_n; i++)
        if (store_queue_item(s->view, s->filter.ids[i], &item) == 0 && item_see(s, &item))
            store_queue_leg_each(s->view, item.id, leg_look, s);
    if (s->filter.id_n == 0)
        store_queue_walk(s->view, item_see, leg_see, s);
    store_view_close(&s->view);
}

static void scan_done(struct task *t)
{
    struct queue_scan *s = container_of(t, struct queue_scan, job.task);
    s->done(s);
}

void queue_scan_free(struct queue_scan *s)
{
    json_decref(s->rows);
    buf_close(&s->found);
    mem_free(s);
}

struct slice queue_arg(struct admin_call *c, const char *name)
{
    const char *value = admin_arg_string(&c->request, name);
    return slice_str(value ? value : "");
}

/* 0, or the call has failed. */
static int ids_take(struct admin_call *c, struct queue_scan *s)
{
    const char *given[QUEUE_IDS_MAX + 1];
    size_t n = admin_arg_list(&c->request, "ids", given, QUEUE_IDS_MAX + 1);
    for (size_t i = 0; i < n && i < QUEUE_IDS_MAX; i++)
        if (slice_u64(slice_str(given[i]), UINT64_MAX, &s->ids[i])) {
            admin_fail(c, ERR_INVALID, "see: mailctl queue list", "%s is no id of a queued message", given[i]);
            return ERR_INVALID;
        }
    if (n > QUEUE_IDS_MAX) {
        admin_fail(c, ERR_TOOBIG, NULL, "at most %d ids at once", QUEUE_IDS_MAX);
        return ERR_TOOBIG;
    }
    s->filter.ids = s->ids;
    s->filter.id_n = n;
    return 0;
}

static int filter_take(struct admin_call *c, struct queue_scan *s)
{
    struct queue_filter *f = &s->filter;
    int64_t age = 0;
    struct slice older = queue_arg(c, "older_than");
    *f = (struct queue_filter){queue_arg(c, "sender"),
                               queue_arg(c, "recipient"),
                               queue_arg(c, "domain"),
                               queue_arg(c, "state"),
                               INT64_MAX,
                               NULL,
                               0};
    if (older.n && queue_duration_parse(older, &age)) {
        admin_fail(c, ERR_INVALID, NULL, "%.*s is no age: write 90s, 10m, 4h or 2d", (int)older.n,
                   (const char *)older.p);
        return ERR_INVALID;
    }
    if (older.n)
        f->received_before = replication_clock_ms(node_services(c->node)->replication) - age;
    return ids_take(c, s);
}

/* NULL: the call has failed. */
struct queue_scan *queue_scan_new(struct admin_call *c, void (*done)(struct queue_scan *s))
{
    struct queue_scan *s = mem_zalloc(sizeof *s);
    s->call = c;
    s->done = done;
    s->job = (struct compute_job){.task.run = scan_done, .home = &node_loop(c->node)->queue, .work = scan_work};
    if (filter_take(c, s) == 0)
        return s;
    queue_scan_free(s);
    return NULL;
}

void queue_scan_start(struct queue_scan *s)
{
    compute_submit(node_services(s->call->node)->compute, &s->job);
}
