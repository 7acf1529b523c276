/* Items that begin leased to the node that takes them. Room is counted in atomics that workers may take from: all legs
 * leased to this node, and per bucket of destinations those to them, so that one slow destination does not fill it. */
#include "node/queue_internal.h"

#include "node/base/clock.h"

enum { UNSEEN_RETRY_MS = 2, UNSEEN_MAX_MS = 30000 };

struct reservation {
    struct queue_reservation public;
    unsigned n;
    unsigned shares[];
};

struct queue_leased_item {
    struct task task;
    struct list link;
    struct queue *q;
    struct reservation *reservation;
    uint64_t item, index;
    int64_t since_ms;
    struct bytes *body; /* kept; NULL: is read when it is wanted */
};

/* ---- room ---- */

unsigned queue_share_of(struct slice destination)
{
    return (unsigned)(checksum64(destination) % QUEUE_BUCKETS);
}

/* Adds up to n below max; returns how many. */
static unsigned counter_take(_Atomic unsigned *c, unsigned n, unsigned max)
{
    unsigned now = atomic_load(c);
    for (;;) {
        unsigned take = now >= max ? 0 : max - now < n ? max - now : n;
        if (take == 0 || atomic_compare_exchange_weak(c, &now, now + take))
            return take;
    }
}

unsigned queue_room_take(struct queue *q, unsigned share, unsigned n)
{
    unsigned got = counter_take(&q->shares[share], n, atomic_load(&q->share_max));
    unsigned all = counter_take(&q->used, got, q->leases_max);
    atomic_fetch_sub(&q->shares[share], got - all);
    return all;
}

unsigned queue_room_free(struct queue *q)
{
    unsigned used = atomic_load(&q->used);
    return used >= q->leases_max ? 0 : q->leases_max - used;
}

void queue_room_give(struct queue *q, unsigned share, unsigned n)
{
    atomic_fetch_sub(&q->shares[share], n);
    atomic_fetch_sub(&q->used, n);
}

/* ---- any thread ---- */

const char *queue_destination(struct slice address, char out[ADDRESS_TEXT_MAX])
{
    size_t at = address.n;
    while (at > 0 && address.p[at - 1] != '@')
        at--;
    out[0] = 0;
    if (at == 0)
        return out;
    address_ascii(slice_from(address, at), out);
    for (char *p = out; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + 32);
    return out;
}

static void reservation_free(struct queue *q, struct reservation **r)
{
    for (unsigned i = 0; i < (*r)->n; i++)
        queue_room_give(q, (*r)->shares[i], 1);
    mem_free(*r);
    *r = NULL;
}

struct queue_reservation *queue_reserve(struct queue *q, const struct slice *destinations, unsigned n)
{
    if (n == 0 || n > q->leases_max / 2 || atomic_load(&q->draining) || !atomic_load(&q->ready))
        return NULL;
    struct reservation *r = mem_alloc(sizeof *r + n * sizeof r->shares[0]);
    r->public = (struct queue_reservation){
        .node = atomic_load(&q->node), .boot = atomic_load(&q->boot), .until_ms = queue_time_ms(q) + QUEUE_LEASE_MS};
    for (r->n = 0; r->n < n; r->n++) {
        unsigned share = r->shares[r->n] = queue_share_of(destinations[r->n]);
        if (atomic_load(&q->held[share]) || queue_room_take(q, share, 1) == 0) {
            reservation_free(q, &r);
            return NULL;
        }
    }
    return &r->public;
}

void queue_unreserve(struct queue *q, struct queue_reservation **rp)
{
    struct reservation *r = container_of(*rp, struct reservation, public);
    *rp = NULL;
    reservation_free(q, &r);
}

static void leased(struct task *t)
{
    struct queue_leased_item *l = container_of(t, struct queue_leased_item, task);
    list_append(&l->q->unseen, &l->link);
    queue_unseen_check(l->q);
}

/* Counted once for each reference. What waits for its turn takes no room from mail whose turn it is. */
struct bytes *queue_body_keep(struct queue *q, struct bytes *body)
{
    if (!body || body->n > QUEUE_BODY_KEEP_MAX)
        return NULL;
    if (atomic_fetch_add(&q->kept_bytes, body->n) + body->n <= QUEUE_BODIES_KEPT_MAX)
        return bytes_ref(body);
    atomic_fetch_sub(&q->kept_bytes, body->n);
    return NULL;
}

void queue_body_drop(struct queue *q, struct bytes **body)
{
    if (*body)
        atomic_fetch_sub(&q->kept_bytes, (*body)->n);
    bytes_unref(body);
}

void queue_leased(struct queue *q, struct queue_reservation **rp, uint64_t item, uint64_t index, struct bytes *body)
{
    struct queue_leased_item *l = mem_zalloc(sizeof *l);
    l->task.run = leased;
    l->q = q;
    l->reservation = container_of(*rp, struct reservation, public);
    *rp = NULL;
    l->item = item;
    l->index = index;
    l->since_ms = clock_steady_ms();
    l->body = queue_body_keep(q, body);
    list_init(&l->link);
    task_post(queue_home(q), &l->task);
}

/* ---- the queue's thread ---- */

static void leased_free(struct queue *q, struct queue_leased_item *l)
{
    list_remove(&l->link);
    reservation_free(q, &l->reservation); /* what was not needed */
    queue_body_drop(q, &l->body);
    mem_free(l);
}

struct leg_take {
    struct queue *q;
    struct queue_leased_item *l;
};

/* The reservation's room goes over to the delivery, leg by leg. */
static bool leg_take(void *arg, const struct store_queue_leg *l)
{
    struct leg_take *t = arg;
    struct reservation *r = t->l->reservation;
    unsigned share = queue_share_of(l->destination);
    for (unsigned i = 0; i < r->n; i++)
        if (r->shares[i] == share) {
            if (delivery_adopt(t->q, l, true, t->l->body))
                r->shares[i] = r->shares[--r->n];
            break;
        }
    return true;
}

static void item_take(struct queue *q, struct queue_leased_item *l, struct store_view *v)
{
    store_queue_leg_each(v, l->item, leg_take, &(struct leg_take){q, l});
    leased_free(q, l);
}

static void retry(uv_timer_t *t)
{
    queue_unseen_check(t->data);
}

/* Workers are told when an item is applied, a moment before views show it. */
void queue_unseen_check(struct queue *q)
{
    struct store_view *v;
    if (list_empty(&q->unseen))
        return;
    if (store_view_open(q->services->store, &v)) {
        uv_timer_start(&q->retry_timer, retry, UNSEEN_RETRY_MS, 0);
        return;
    }
    int64_t now = clock_steady_ms();
    LIST_EACH(it, tmp, &q->unseen)
    {
        struct queue_leased_item *l = container_of(it, struct queue_leased_item, link);
        if (store_view_index(v) >= l->index || now - l->since_ms > UNSEEN_MAX_MS)
            item_take(q, l, v);
    }
    store_view_close(&v);
    if (!list_empty(&q->unseen))
        uv_timer_start(&q->retry_timer, retry, UNSEEN_RETRY_MS, 0);
    queue_dispatch(q);
}

/* What becomes of their leases is decided when the node is gone, or back. */
void queue_unseen_drop(struct queue *q)
{
    LIST_EACH(it, tmp, &q->unseen)
    leased_free(q, container_of(it, struct queue_leased_item, link));
}
