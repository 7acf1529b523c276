/* Notices of delivery status (RFC 3461, 3464): written, put where its body can be found by all, and part of the
 * outcome's command, so that there is one or none.
 *
 *   the message (for its headers) ─► dsn_write ─► body put (small ones ride along) ─► the outcome
 *
 * To the sender; a notice that cannot be delivered, and a message from nobody, to postmaster, once. */
#include "node/queue_internal.h"

#include "node/base/clock.h"
#include "node/base/log.h"
#include "protocol/mime/summary.h"
#include "protocol/smtp/dsn.h"

#include <stdio.h>

enum {
    NOTICE_ACCOUNTS_MAX = 64,
    NOTICE_INLINE_MAX = 6 * 1024, /* a record up to this rides in the command (node/backend_write.c) */
    NOTICE_FULL_MAX = 50 * 1024,  /* of a message sent back whole (RET=FULL) */
    NOTICE_REMOTE_MAX = 64,
};
static const char return_path[] = "Return-Path: <>\r\n";
static const char double_id[] = "double-"; /* transaction ids of notices to postmaster begin so: the last resort */

struct notice {
    struct compute_job job;
    struct body_put put;
    struct queue *q;
    struct delivery *d;
    struct dsn dsn;
    struct dsn_recipient *recipients;
    char from[320], id[64];
    bool to_postmaster;

    uint64_t accounts[NOTICE_ACCOUNTS_MAX];
    unsigned account_n;
    struct resolve_foreign foreign;

    struct buf text, summary;
    struct body_hash hash;
    struct bytes *record;
    bool ready; /* to go along */
};

static void notice_free(struct notice *n)
{
    buf_close(&n->text);
    buf_close(&n->summary);
    bytes_unref(&n->record);
    mem_free(n);
}

void notices_free(struct delivery *d)
{
    struct notice *n = d->notice;
    d->notice = NULL;
    if (n)
        notice_free(n);
}

static void was_kept(struct task *t)
{
    struct notice *n = container_of(t, struct notice, put.task);
    queue_job_end(n->q);
    if (n->put.status != 0)
        log_event(LOG_ERROR, "the body of a notice may be on too few disks", LOG_S("notice", n->id),
                  LOG_E("code", n->put.status));
    notice_free(n);
}

void notice_keep(struct delivery *d, uint64_t voters)
{
    struct notice *n = d->notice;
    if (!n || !n->ready || !n->put.record || n->put.voters == voters)
        return;
    d->notice = NULL;
    n->put.task.run = was_kept;
    n->put.deadline_ms = clock_steady_ms() + n->q->services->write_wait_ms;
    queue_job_begin(n->q);
    replication_body_put(n->q->services->replication, &n->put);
}

/* ---- packing ---- */

static Merlion__Body *body_pack(struct arena *a, struct notice *n)
{
    Merlion__Body *b = arena_alloc(a, sizeof *b);
    merlion__body__init(b);
    b->hash = (ProtobufCBinaryData){BODY_HASH_SIZE, n->hash.b};
    b->size = buf_len(&n->text);
    b->summary = (ProtobufCBinaryData){buf_len(&n->summary), n->summary.base + n->summary.start};
    if (n->record->n <= NOTICE_INLINE_MAX)
        b->record = (ProtobufCBinaryData){n->record->n, n->record->p};
    return b;
}

static Merlion__QueueLeg *leg_of(struct arena *a, Merlion__Enqueue *q, const char *destination, size_t max)
{
    for (size_t i = 0; i < q->n_legs; i++)
        if (strcmp(q->legs[i]->destination, destination) == 0)
            return q->legs[i];
    Merlion__QueueLeg *leg = q->legs[q->n_legs++] = arena_alloc(a, sizeof *leg);
    merlion__queue_leg__init(leg);
    leg->destination = arena_str(a, slice_str(destination));
    leg->recipients = arena_alloc(a, max * sizeof leg->recipients[0]);
    return leg;
}

static Merlion__Enqueue *enqueue_pack(struct arena *a, struct notice *n, int64_t now_ms)
{
    const struct queue_schedule *s = &n->d->q->settings.schedule;
    Merlion__Enqueue *q = arena_alloc(a, sizeof *q);
    merlion__enqueue__init(q);
    q->legs = arena_alloc(a, n->foreign.count * sizeof q->legs[0]);
    const char *address = n->foreign.text;
    for (unsigned i = 0; i < n->foreign.count; i++, address += strlen(address) + 1) {
        char destination[ADDRESS_TEXT_MAX];
        queue_destination(slice_str(address), destination);
        Merlion__QueueLeg *leg = leg_of(a, q, destination, n->foreign.count);
        Merlion__QueueRecipient *r = leg->recipients[leg->n_recipients++] = arena_alloc(a, sizeof *r);
        merlion__queue_recipient__init(r);
        r->address = arena_str(a, slice_str(address));
        r->notify = QUEUE_NOTIFY_NEVER; /* nobody to be told */
    }
    q->flags = QUEUE_NOTICE | (n->dsn.utf8 ? QUEUE_UTF8 | QUEUE_8BIT : n->d->i.flags & QUEUE_8BIT);
    q->skip = sizeof return_path - 1;
    q->expires_ms = now_ms + s->lifetime_ms;
    q->id = n->id;
    return q;
}

void notices_pack(struct delivery *d, Merlion__QueueLegOutcome *o)
{
    struct notice *n = d->notice;
    if (!n || !n->ready)
        return;
    struct arena *a = &d->arena;
    Merlion__Deliver *m = arena_alloc(a, sizeof *m);
    merlion__deliver__init(m);
    m->body = body_pack(a, n);
    m->accounts = n->accounts;
    m->n_accounts = n->account_n;
    m->internal_ms = n->dsn.now_ms;
    m->sender = "";
    if (n->foreign.count)
        m->enqueue = enqueue_pack(a, n, n->dsn.now_ms);
    o->notices = arena_alloc(a, sizeof o->notices[0]);
    o->notices[0] = m;
    o->n_notices = 1;
}

/* ---- to whom ---- */

static bool resolve(struct notice *n, struct store_view *v, struct slice address)
{
    char text[ADDRESS_TEXT_MAX];
    n->foreign.n = n->foreign.count = 0;
    enum resolve r = store_resolve(v, slice_str(address_ascii(address, text)), n->accounts, NOTICE_ACCOUNTS_MAX,
                                   &n->account_n, &n->foreign);
    if (r == RESOLVE_FOREIGN && address.n < sizeof n->foreign.text && slice_find(address, '@') < address.n) {
        memcpy(n->foreign.text, address.p, address.n);
        n->foreign.text[address.n] = 0;
        n->foreign.n = address.n + 1;
        n->foreign.count = 1;
        n->account_n = 0;
        return true;
    }
    return r == RESOLVE_LOCAL && n->account_n + n->foreign.count > 0;
}

/* False: nobody can be told. */
static bool recipients_find(struct notice *n)
{
    struct delivery *d = n->d;
    struct store_view *v;
    bool last = slice_istarts(d->i.session, slice_str(double_id));
    if (last || store_view_open(d->q->services->store, &v))
        return false;
    bool found = false;
    if (d->i.sender.n > 0 && !(d->i.flags & QUEUE_NOTICE))
        found = resolve(n, v, d->i.sender);
    n->dsn.to = d->i.sender;
    if (!found) {
        n->to_postmaster = true;
        n->dsn.to = SLICE_LITERAL("postmaster");
        found = resolve(n, v, n->dsn.to);
    }
    store_view_close(&v);
    return found;
}

/* ---- writing ---- */

static void random_id(struct notice *n)
{
    uint8_t r[12];
    char hex[2 * sizeof r + 1];
    random_bytes(r, sizeof r);
    hex_encode(slice_make(r, sizeof r), hex);
    snprintf(n->id, sizeof n->id, "%s%s", n->to_postmaster ? double_id : "dsn-", hex);
    snprintf(n->dsn.message_id, sizeof n->dsn.message_id, "%s@%.60s", n->id, n->d->q->hostname);
}

static void recipient_fill(struct delivery *d, struct dsn_recipient *to, const struct smtp_client_recipient *r,
                           int kind)
{
    to->action = (enum dsn_action)kind;
    to->address = r->address;
    to->orcpt = r->orcpt;
    memcpy(to->enhanced, r->outcome.enhanced, sizeof to->enhanced);
    to->reply = slice_str(r->outcome.text);
    to->code = r->outcome.code;
    to->host = slice_str(d->host_name);
    to->last_attempt_ms = d->begun_ms;
    to->will_retry_until_ms = kind == DSN_DELAYED ? d->i.expires_ms : 0;
}

static void dsn_fill(struct notice *n, const int *kinds, int64_t now_ms)
{
    struct delivery *d = n->d;
    bool failed = false;
    n->recipients = arena_alloc(&d->arena, d->mail.n * sizeof n->recipients[0]);
    n->dsn.recipients = n->recipients;
    for (size_t i = 0; i < d->mail.n; i++) {
        if (kinds[i] < 0)
            continue;
        failed |= kinds[i] == DSN_FAILED;
        recipient_fill(d, &n->recipients[n->dsn.n++], &d->mail.recipients[i], kinds[i]);
    }
    snprintf(n->from, sizeof n->from, "mailer-daemon@%s", d->q->hostname);
    n->dsn.from = slice_str(n->from);
    n->dsn.reporting = slice_str(d->q->hostname);
    n->dsn.envid = d->i.envid;
    n->dsn.now_ms = now_ms;
    n->dsn.arrival_ms = d->i.received_ms;
    n->dsn.full = failed && (d->i.flags & QUEUE_RET_FULL); /* RFC 3461 4.3: of delays and relays headers only */
    n->dsn.full_max = NOTICE_FULL_MAX;
    n->dsn.utf8 = d->i.flags & QUEUE_UTF8;
    random_id(n);
}

static void go_on(struct notice *n)
{
    struct delivery *d = n->d;
    outcome_add(d);
}

static void was_put(struct task *t)
{
    struct notice *n = container_of(t, struct notice, put.task);
    queue_job_end(n->d->q);
    n->ready = n->put.status == 0;
    if (!n->ready) /* the outcome must not wait: it is what keeps mail from being sent twice */
        log_event(LOG_ERROR, "notice lost: its body has no majority", LOG_U("item", n->d->item), LOG_B("to", n->dsn.to),
                  LOG_E("code", n->put.status));
    go_on(n);
}

static void was_written(struct task *t)
{
    struct notice *n = container_of(t, struct notice, job.task);
    struct queue *q = n->d->q;
    queue_job_end(q);
    if (n->record->n <= NOTICE_INLINE_MAX) {
        n->ready = true;
        go_on(n);
        return;
    }
    n->put = (struct body_put){.task.run = was_put,
                               .home = queue_home(q),
                               .record = n->record,
                               .deadline_ms = clock_steady_ms() + q->services->write_wait_ms};
    queue_job_begin(q);
    replication_body_put(q->services->replication, &n->put);
}

static void notice_write(struct compute_job *job)
{
    struct notice *n = container_of(job, struct notice, job);
    buf_append_str(&n->text, return_path);
    dsn_write(&n->dsn, &n->text);
    n->hash = body_hash_of(buf_slice(&n->text));
    mime_summary_build(buf_slice(&n->text), &n->summary);
    n->record = blob_encode(&n->hash, buf_slice(&n->text));
}

static void write_begin(struct notice *n)
{
    struct delivery *d = n->d;
    n->dsn.original = slice_from(bytes_slice(d->body), d->i.skip);
    n->job.work = notice_write;
    n->job.task.run = was_written;
    n->job.home = queue_home(d->q);
    queue_job_begin(d->q);
    compute_submit(d->q->services->compute, &n->job);
}

static void body_got(struct queue_body *b, int status, struct bytes *body)
{
    struct delivery *d = container_of(b, struct delivery, body_get);
    (void)status; /* a notice without the message is better than none */
    d->body = body;
    write_begin(d->notice);
}

void notices_make(struct delivery *d, const int *kinds, int64_t now_ms)
{
    struct notice *n = d->notice = mem_zalloc(sizeof *n);
    n->q = d->q;
    n->d = d;
    d->state = DELIVERY_NOTICE;
    if (!recipients_find(n)) {
        log_event(LOG_ERROR, "mail lost: nobody can be told that it failed", LOG_U("item", d->item),
                  LOG_B("id", d->i.session), LOG_B("from", d->i.sender), LOG_B("to", d->mail.recipients[0].address));
        outcome_add(d);
        return;
    }
    dsn_fill(n, kinds, now_ms);
    log_event(LOG_INFO, "notice", LOG_U("item", d->item), LOG_B("id", d->i.session), LOG_B("to", n->dsn.to),
              LOG_S("notice", n->id), LOG_U("recipients", n->dsn.n));
    if (d->body)
        write_begin(n);
    else
        queue_body_get(d->q, &d->body_get, &d->i.hash, body_got);
}
