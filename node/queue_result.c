/* What became of a delivery: delivered, deferred until when, failed; what the log says; who is told. */
#include "node/queue_internal.h"

#include "node/base/clock.h"
#include "node/base/log.h"
#include "protocol/smtp/dsn.h"

#include <stdio.h>

enum { REPLY_MAX = QUEUE_REPLY_MAX - 12 }; /* its text, beside the code */

void result_all(struct delivery *d, const struct smtp_outcome *o)
{
    struct smtp_outcome copy = *o;
    for (size_t i = 0; i < d->mail.n; i++)
        d->mail.recipients[i].outcome = copy;
    result_settle(d);
}

/* Deferred for too long is failed. */
static void expire(struct delivery *d, int64_t now_ms)
{
    char text[64], lifetime[32];
    if (!queue_is_expired(now_ms, d->i.expires_ms))
        return;
    queue_lifetime_text(d->i.received_ms, d->i.expires_ms, lifetime, sizeof lifetime);
    snprintf(text, sizeof text, " (expired after %s)", lifetime);
    for (size_t i = 0; i < d->mail.n; i++) {
        struct smtp_outcome *o = &d->mail.recipients[i].outcome;
        if (o->kind != SMTP_DEFERRED)
            continue;
        size_t n = strnlen(o->text, REPLY_MAX - sizeof text);
        o->kind = SMTP_FAILED;
        snprintf(o->text + n, sizeof o->text - n, "%s", text);
        snprintf(o->enhanced, sizeof o->enhanced, "5.4.7");
    }
}

static void reply_text(const struct smtp_outcome *o, char out[QUEUE_REPLY_MAX])
{
    if (o->code)
        snprintf(out, QUEUE_REPLY_MAX, "%d %.*s", o->code, (int)REPLY_MAX, o->text);
    else
        snprintf(out, QUEUE_REPLY_MAX, "%s %.*s", o->enhanced, (int)(REPLY_MAX - 8), o->text);
}

static void log_one(const struct delivery *d, const struct smtp_client_recipient *r, int64_t now_ms, int64_t next_ms)
{
    static const char *const kinds[] = {"delivered", "deferred", "failed"};
    char reply[QUEUE_REPLY_MAX];
    reply_text(&r->outcome, reply);
    bool again = r->outcome.kind == SMTP_DEFERRED;
    log_event(LOG_INFO, "delivery", LOG_U("item", d->item), LOG_B("id", d->i.session), LOG_B("from", d->i.sender),
              LOG_B("to", r->address), LOG_S("status", kinds[r->outcome.kind]), LOG_S("host", d->host_name),
              LOG_S("address", d->host_address), LOG_S("tls", d->tls_text), LOG_U("attempt", d->attempt),
              LOG_I("delay_ms", now_ms - d->i.received_ms), LOG_I("next_s", again ? (next_ms - now_ms) / 1000 : 0),
              LOG_S("reply", reply));
}

/* ---- the outcome, packed ---- */

static Merlion__QueueReply *reply_find(Merlion__QueueLegOutcome *o, Merlion__QueueReply__Kind kind, const char *text)
{
    for (size_t i = 0; i < o->n_replies; i++)
        if (o->replies[i]->kind == kind && strcmp(o->replies[i]->text, text) == 0)
            return o->replies[i];
    return NULL;
}

/* Recipients with the same reply share one; one for all of them names none. */
static void replies_pack(struct delivery *d, Merlion__QueueLegOutcome *o)
{
    struct arena *a = &d->arena;
    o->replies = arena_alloc(a, d->mail.n * sizeof o->replies[0]);
    for (size_t i = 0; i < d->mail.n; i++) {
        const struct smtp_outcome *out = &d->mail.recipients[i].outcome;
        Merlion__QueueReply__Kind kind = (Merlion__QueueReply__Kind)out->kind; /* the same order */
        char text[QUEUE_REPLY_MAX];
        reply_text(out, text);
        Merlion__QueueReply *r = reply_find(o, kind, text);
        if (!r) {
            r = o->replies[o->n_replies++] = arena_alloc(a, sizeof *r);
            merlion__queue_reply__init(r);
            r->kind = kind;
            r->text = arena_str(a, slice_str(text));
            r->recipients = arena_alloc(a, d->mail.n * sizeof r->recipients[0]);
        }
        r->recipients[r->n_recipients++] = d->places[i];
    }
    if (o->n_replies == 1)
        o->replies[0]->n_recipients = 0;
}

static Merlion__QueueAttempt *attempt_pack(struct delivery *d)
{
    Merlion__QueueAttempt *how = arena_alloc(&d->arena, sizeof *how);
    merlion__queue_attempt__init(how);
    how->at_ms = d->begun_ms;
    how->node = atomic_load(&d->q->node);
    how->host = d->host_name;
    how->address = d->host_address;
    how->tls = d->tls_text;
    return how;
}

static void outcome_pack(struct delivery *d, int64_t next_ms, bool warned)
{
    Merlion__QueueLegOutcome *o = arena_alloc(&d->arena, sizeof *o);
    merlion__queue_leg_outcome__init(o);
    o->item = d->item;
    o->leg = d->leg;
    o->attempt = d->attempt;
    o->how = attempt_pack(d);
    o->next_ms = next_ms;
    o->warned = warned;
    replies_pack(d, o);
    d->outcome = o;
}

/* ---- all of it ---- */

/* Who is told what: DSN actions, -1: nothing. Returns how many. */
static unsigned notices_choose(struct delivery *d, int *kinds, int64_t now_ms, bool *warned_r)
{
    unsigned n = 0;
    bool answered = d->i.sender.n == 0 || (d->i.flags & QUEUE_NOTICE);
    for (size_t i = 0; i < d->mail.n; i++) {
        const struct smtp_client_recipient *r = &d->mail.recipients[i];
        kinds[i] = -1;
        if (r->outcome.kind == SMTP_FAILED && (answered || queue_notice_failed(r->notify)))
            kinds[i] = DSN_FAILED;
        else if (answered)
            continue; /* nobody is told of delays, or of success */
        else if (r->outcome.kind == SMTP_DELIVERED && r->relayed && queue_notice_relayed(r->notify))
            kinds[i] = DSN_RELAYED;
        else if (r->outcome.kind == SMTP_DEFERRED &&
                 queue_notice_delayed(&d->q->settings.schedule, r->notify, d->warned, d->i.received_ms, now_ms))
            kinds[i] = DSN_DELAYED;
        *warned_r |= kinds[i] == DSN_DELAYED;
        n += kinds[i] >= 0;
    }
    return n;
}

static void counted(struct delivery *d, const struct smtp_client_recipient *r, int64_t now_ms)
{
    struct queue *q = d->q;
    _Atomic uint64_t *totals[] = {&q->delivered, &q->deferred, &q->failed};
    atomic_fetch_add(totals[r->outcome.kind], 1);
    queue_metrics_count(q, d->destination, r->outcome.kind, now_ms - d->i.received_ms);
}

void result_settle(struct delivery *d)
{
    struct queue *q = d->q;
    int64_t now = d->begun_ms + clock_steady_ms() - d->begun_steady_ms;
    uint32_t random;
    random_bytes(&random, sizeof random);
    expire(d, now);
    int64_t next = queue_next_ms(&q->settings.schedule, d->attempt, now, d->i.expires_ms, random);
    for (size_t i = 0; i < d->mail.n; i++) {
        log_one(d, &d->mail.recipients[i], now, next);
        counted(d, &d->mail.recipients[i], now);
    }
    bool warned = false;
    int *kinds = arena_alloc(&d->arena, d->mail.n * sizeof *kinds);
    unsigned notices = notices_choose(d, kinds, now, &warned);
    outcome_pack(d, next + queue_time_ms(q) - queue_clock_ms(q), warned);
    delivery_unslot(d);
    if (notices)
        notices_make(d, kinds, now);
    else
        outcome_add(d);
    queue_dispatch(q);
}
