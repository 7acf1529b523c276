/* One leg on its way: from its lease to the host's last word. */
#include "node/queue_internal.h"

#include "node/base/clock.h"
#include "node/base/log.h"

/* ---- life ---- */

static struct list *delivery_bucket(struct queue *q, uint64_t item, uint32_t leg)
{
    return &q->deliveries[(item * 31 + leg) % QUEUE_TABLE];
}

struct delivery *delivery_find(struct queue *q, uint64_t item, uint32_t leg)
{
    LIST_EACH(it, tmp, delivery_bucket(q, item, leg))
    {
        struct delivery *d = container_of(it, struct delivery, bucket);
        if (d->item == item && d->leg == leg)
            return d;
    }
    return NULL;
}

static bool is_ours(struct queue *q, const struct store_queue_leg *l)
{
    return l->state == QUEUE_LEASED && l->holder == atomic_load(&q->node) && l->boot == atomic_load(&q->boot);
}

bool delivery_adopt(struct queue *q, const struct store_queue_leg *l, bool room, struct bytes *body)
{
    if (!is_ours(q, l) || delivery_find(q, l->item, l->leg))
        return false;
    struct delivery *d = mem_zalloc(sizeof *d);
    d->q = q;
    d->item = l->item;
    d->leg = l->leg;
    d->attempt = l->attempts;
    d->share = queue_share_of(l->destination);
    list_init(&d->place);
    if (!room) { /* it is leased already, room or not */
        atomic_fetch_add(&q->used, 1);
        atomic_fetch_add(&q->shares[d->share], 1);
    }
    if (body) {
        d->body = queue_body_keep(q, body);
        d->body_kept = d->body != NULL;
    }
    d->class = queue_class_get(q, l->destination);
    d->class->members++;
    list_append(delivery_bucket(q, d->item, d->leg), &d->bucket);
    if (q->drain_begun)
        delivery_giveback(d);
    else
        queue_class_add(d->class, d);
    return true;
}

void delivery_unslot(struct delivery *d)
{
    if (!d->has_slot)
        return;
    d->has_slot = false;
    d->class->running--;
    atomic_store(&d->q->running_now, --d->q->running);
}

static void body_release(struct delivery *d)
{
    if (d->body_kept)
        queue_body_drop(d->q, &d->body);
    bytes_unref(&d->body);
    if (d->body_counted)
        atomic_fetch_sub(&d->q->body_bytes, d->i.size);
    d->body_counted = d->body_kept = false;
    delivery_body_room(d->q);
}

void delivery_free(struct delivery *d)
{
    struct queue *q = d->q;
    delivery_unslot(d);
    dns_cancel(&d->lookup);
    list_remove(&d->bucket);
    list_remove(&d->place);
    d->class->members--;
    queue_class_put(q, d->class);
    queue_room_give(q, d->share, 1);
    notices_free(d);
    body_release(d);
    arena_close(&d->arena);
    mem_free(d);
}

void delivery_giveback(struct delivery *d)
{
    delivery_unslot(d);
    d->untried = true;
    outcome_add(d);
}

/* ---- what it is ---- */

struct recipients_take {
    struct delivery *d;
    unsigned n;
};

static bool recipient_take(void *arg, unsigned place, const struct store_queue_recipient *r)
{
    struct recipients_take *t = arg;
    struct delivery *d = t->d;
    if (d->mail.n == t->n)
        return false;
    d->places[d->mail.n] = place;
    d->mail.recipients[d->mail.n++] = (struct smtp_client_recipient){
        .address = arena_copy(&d->arena, r->address), .orcpt = arena_copy(&d->arena, r->orcpt), .notify = r->notify};
    return true;
}

static void item_copy(struct delivery *d, const struct store_queue_item *i)
{
    d->i = *i;
    d->i.sender = arena_copy(&d->arena, i->sender);
    d->i.envid = arena_copy(&d->arena, i->envid);
    d->i.session = arena_copy(&d->arena, i->session);
    d->mail = (struct smtp_client_mail){.sender = d->i.sender,
                                        .utf8 = i->flags & QUEUE_UTF8,
                                        .eight = i->flags & QUEUE_8BIT,
                                        .binary = i->flags & QUEUE_BINARY,
                                        .ret_full = i->flags & QUEUE_RET_FULL,
                                        .ret_headers = i->flags & QUEUE_RET_HEADERS,
                                        .envid = d->i.envid,
                                        .skip = i->skip};
}

/* From a view; false when the lease is not ours any more. */
static bool delivery_load(struct delivery *d)
{
    struct store_view *v;
    struct store_queue_leg l;
    struct store_queue_item i;
    if (store_view_open(d->q->services->store, &v))
        return false;
    bool ours = store_queue_leg(v, d->item, d->leg, &l) == 0 && is_ours(d->q, &l) && l.attempts == d->attempt &&
                store_queue_item(v, d->item, &i) == 0;
    d->stale = ours && l.until_ms - queue_time_ms(d->q) < QUEUE_ATTEMPT_MS + QUEUE_LEASE_SLACK_MS;
    if (ours) {
        queue_settings_refresh(d->q, v);
        item_copy(d, &i);
        d->destination = arena_copy(&d->arena, l.destination);
        d->warned = l.warned;
        d->mail.recipients = arena_alloc(&d->arena, (l.recipient_n + 1) * sizeof d->mail.recipients[0]);
        d->places = arena_alloc(&d->arena, (l.recipient_n + 1) * sizeof d->places[0]);
        store_queue_recipient_each(v, d->item, d->leg, recipient_take, &(struct recipients_take){d, l.recipient_n});
    }
    store_view_close(&v);
    return ours && d->mail.n > 0;
}

static bool lease_is_ours(struct delivery *d)
{
    struct store_view *v;
    struct store_queue_leg l;
    if (store_view_open(d->q->services->store, &v))
        return false;
    bool ours = store_queue_leg(v, d->item, d->leg, &l) == 0 && is_ours(d->q, &l) && l.attempts == d->attempt &&
                l.until_ms > queue_time_ms(d->q);
    store_view_close(&v);
    return ours;
}

void delivery_begin(struct delivery *d)
{
    d->begun_ms = queue_clock_ms(d->q);
    d->begun_steady_ms = clock_steady_ms();
    if (!delivery_load(d)) {
        delivery_free(d);
        return;
    }
    bool held = route_find(d->q->settings.routes, d->destination)->hold;
    if (held)
        atomic_store(&d->q->held[d->share], true);
    if (d->stale || held) {
        delivery_giveback(d); /* waited here for too long; or stays where it is, as held routes are not leased */
        return;
    }
    d->state = DELIVERY_TARGET;
    queue_in_touch(d->q); /* asked for early, it is there when it is wanted */
    target_start(d);
}

/* ---- its connection ---- */

static void send_now(struct delivery *d)
{
    d->state = DELIVERY_SENDING;
    d->mail.body = d->body;
    queue_conn_send(d->link->conn, &d->mail);
}

static void body_got(struct queue_body *b, int status, struct bytes *body)
{
    struct delivery *d = container_of(b, struct delivery, body_get);
    struct smtp_outcome o;
    d->body = body;
    if (status) {
        outcome_set(&o, SMTP_DEFERRED, 0, "4.3.0", "the message cannot be read at present: %s", err_text(status));
        if (d->link)
            queue_link_release(d->link);
        result_all(d, &o);
    } else if (d->q->drain_begun) {
        if (d->link)
            queue_link_release(d->link);
        delivery_giveback(d);
    } else if (!d->link) { /* the host did not wait for it, and may be forgotten by now */
        target_host_use(d, true);
    } else {
        send_now(d);
    }
}

static void body_fetch(struct delivery *d)
{
    atomic_fetch_add(&d->q->body_bytes, d->i.size);
    d->body_counted = true;
    queue_body_get(d->q, &d->body_get, &d->i.hash, body_got);
}

static bool body_has_room(struct queue *q, uint64_t size)
{
    uint64_t now = atomic_load(&q->body_bytes);
    return now == 0 || now + size <= QUEUE_BODIES_MAX;
}

void delivery_body_room(struct queue *q)
{
    while (!list_empty(&q->bodies_waiting)) {
        struct delivery *d = container_of(q->bodies_waiting.next, struct delivery, place);
        if (!body_has_room(q, d->i.size))
            return;
        list_remove(&d->place);
        body_fetch(d);
    }
}

void delivery_connected(struct delivery *d, bool reused)
{
    d->reused = reused;
    d->state = DELIVERY_BODY;
    memcpy(d->tls_text, queue_conn_tls(d->link->conn), sizeof d->tls_text);
    if (d->body)
        send_now(d);
    else if (list_empty(&d->q->bodies_waiting) && body_has_room(d->q, d->i.size))
        body_fetch(d);
    else
        list_append(&d->q->bodies_waiting, &d->place);
}

void delivery_conn_failed(struct delivery *d, enum queue_conn_trouble t, const struct smtp_outcome *o)
{
    if (d->state == DELIVERY_BODY && list_empty(&d->place))
        return; /* the body is on its way, and is waited for */
    list_remove(&d->place);
    if (d->q->drain_begun) {
        delivery_giveback(d);
    } else if (d->state == DELIVERY_BODY) {
        queue_host_use(d->host, d, true);
    } else if (t == QUEUE_CONN_TLS && d->route.tls == SMTP_TLS_MAY && d->host->plain_until_ms > d->begun_steady_ms) {
        queue_host_use(d->host, d, true); /* in plaintext now: better than not at all where nothing was promised */
    } else {
        target_trouble(d, o);
        target_next(d);
    }
}

/* ---- the last moment ---- */

static void withhold(struct delivery *d, const char *why)
{
    d->withheld = true;
    log_event(LOG_WARN, "delivery withheld", LOG_U("item", d->item), LOG_B("id", d->i.session), LOG_S("why", why));
    queue_conn_withhold(d->link->conn, why);
}

/* Once the host has said 250 the mail is out: a node that others take for dead must not go that far, or it would be
 * delivered twice. */
static bool confirm_try(struct delivery *d)
{
    if (!queue_in_touch(d->q)) {
        if (clock_steady_ms() < d->confirm_until_ms)
            return false;
        withhold(d, "no touch with the cluster");
    } else if (!lease_is_ours(d)) {
        withhold(d, "the lease is another's");
    } else {
        d->state = DELIVERY_SENDING;
        queue_conn_commit(d->link->conn);
    }
    return true;
}

void delivery_confirm(struct delivery *d)
{
    d->state = DELIVERY_CONFIRM;
    d->confirm_until_ms = clock_steady_ms() + QUEUE_TOUCH_WAIT_MS;
    if (!confirm_try(d))
        list_append(&d->q->confirming, &d->place);
}

void delivery_confirm_tick(struct queue *q)
{
    while (!list_empty(&q->confirming)) {
        struct delivery *d = container_of(q->confirming.next, struct delivery, place);
        list_remove(&d->place);
        if (!confirm_try(d)) {
            list_append(q->confirming.next, &d->place); /* first again */
            return;                                     /* it waits for longest: the others wait on, too */
        }
    }
}

/* ---- the host's last word ---- */

/* Nobody was taken or refused for good, and the host went away: the next one may do better. */
static bool host_went_away(const struct delivery *d, bool *silent_r)
{
    *silent_r = true;
    for (size_t i = 0; i < d->mail.n; i++) {
        const struct smtp_outcome *o = &d->mail.recipients[i].outcome;
        if (o->kind != SMTP_DEFERRED || o->unsure || (o->code != 0 && o->code != 421))
            return false;
        *silent_r &= o->code == 0;
    }
    return true;
}

void delivery_done(struct delivery *d, bool again)
{
    bool silent;
    list_remove(&d->place);
    if (again)
        queue_link_release(d->link);
    if (d->withheld) {
        if (lease_is_ours(d))
            delivery_giveback(d);
        else
            delivery_free(d);
    } else if (again || !host_went_away(d, &silent)) {
        result_settle(d);
    } else if (d->q->drain_begun) {
        delivery_giveback(d);
    } else if (silent && d->reused && !d->fresh_tried) {
        d->fresh_tried = true; /* it had closed the connection that we kept */
        queue_host_use(d->host, d, true);
    } else {
        target_trouble(d, &d->mail.recipients[0].outcome);
        target_next(d);
    }
}

/* ---- stopping, and what takes too long ---- */

void delivery_cut(struct delivery *d)
{
    if (d->state >= DELIVERY_NOTICE)
        return;
    if (d->link) {
        queue_conn_cut(d->link->conn, ERR_CANCELED, "the node stops");
    } else if (d->state != DELIVERY_BODY || !list_empty(&d->place)) {
        dns_cancel(&d->lookup);
        list_remove(&d->place);
        delivery_giveback(d);
    }
}

bool delivery_overdue_cut(struct delivery *d)
{
    if (!d->link || d->state == DELIVERY_WAITING || d->state >= DELIVERY_NOTICE ||
        clock_steady_ms() - d->begun_steady_ms <= QUEUE_ATTEMPT_MS)
        return false;
    queue_conn_cut(d->link->conn, ERR_TIMEOUT, "took too long");
    return true;
}
