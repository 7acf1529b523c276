#include "replication/link_impl.h"

#include "node/base/clock.h"
#include "node/base/hash.h"
#include "node/base/log.h"
#include "replication/identity.h"

#include <stdio.h>

static const struct stream_events STREAM_EVENTS;
void link_timer_set(struct link *l);

static const char *class_name(enum link_class class)
{
    return class == LINK_CONTROL ? "control" : "bulk";
}

/* One line a change: a peer that stays away, or up, is not news. */
static void change_log(struct link *l, int status, const char *why)
{
    bool for_operator = status == ERR_DENIED || status == ERR_CONFLICT || status == ERR_STALE ||
                        status == ERR_VERSION || status == ERR_PROTOCOL;
    if (status == l->logged || (status != 0 && l->logged < 0 && !for_operator))
        return;
    l->logged = status;
    if (status == 0)
        log_event(LOG_INFO, "peer up", LOG_U("peer", l->peer), LOG_S("link", class_name(l->class)),
                  LOG_S("version", why), LOG_S("side", l->outgoing ? "dialled" : "accepted"));
    else
        log_event(for_operator ? LOG_ERROR : LOG_INFO, "peer down", LOG_U("peer", l->peer),
                  LOG_S("link", class_name(l->class)), LOG_S("side", l->outgoing ? "dialled" : "accepted"),
                  LOG_E("error", status), LOG_S("why", why));
}

/* ---- requests ---- */

static void requests_fail(struct link *l)
{
    for (size_t i = 0; i < LINK_BUCKETS; i++)
        while (!list_empty(&l->requests[i])) {
            struct request *r = container_of(l->requests[i].next, struct request, item);
            list_remove(&r->item);
            r->cb(r->arg, ERR_CLOSED, (struct slice){0});
            mem_free(r);
        }
}

static void requests_expire(struct link *l, int64_t now)
{
    struct list late;
    list_init(&late);
    l->request_due_ms = INT64_MAX;
    for (size_t i = 0; i < LINK_BUCKETS; i++)
        LIST_EACH(it, next, &l->requests[i])
        {
            struct request *r = container_of(it, struct request, item);
            if (r->due_ms <= now) {
                list_remove(it);
                list_append(&late, it);
            } else if (r->due_ms < l->request_due_ms) {
                l->request_due_ms = r->due_ms;
            }
        }
    while (!list_empty(&late)) {
        struct request *r = container_of(late.next, struct request, item);
        list_remove(&r->item);
        r->cb(r->arg, ERR_TIMEOUT, (struct slice){0});
        mem_free(r);
    }
}

static void answer_take(struct link *l, const struct link_frame *f)
{
    LIST_EACH(it, next, &l->requests[f->request % LINK_BUCKETS])
    {
        struct request *r = container_of(it, struct request, item);
        if (r->number == f->request) {
            list_remove(it);
            r->cb(r->arg, 0, f->payload);
            mem_free(r);
            return;
        }
    } /* else: it timed out before, or answers a ping */
}

/* ---- life ---- */

static void state_set(struct link *l, enum link_state state)
{
    l->state = state;
    l->state_ms = clock_steady_ms();
    link_timer_set(l);
}

struct link *link_new(uv_loop_t *loop, const struct link_identity *id, enum link_class class)
{
    struct link *l = mem_zalloc(sizeof(*l));
    l->loop = loop;
    l->id = id;
    l->class = class;
    l->backoff_ms = LINK_BACKOFF_MIN_MS;
    l->logged = 1;
    l->request_due_ms = INT64_MAX;
    list_init(&l->item);
    for (size_t i = 0; i < LINK_BUCKETS; i++)
        list_init(&l->requests[i]);
    ENSURE(uv_timer_init(loop, &l->timer) == 0);
    l->timer.data = l;
    return l;
}

static unsigned dead_clamp(unsigned ms)
{
    return ms < LINK_DEAD_MIN_MS ? LINK_DEAD_MIN_MS : ms > LINK_DEAD_MAX_MS ? LINK_DEAD_MAX_MS : ms;
}

static void stream_drop(struct link *l, unsigned linger_ms)
{
    if (l->stream)
        stream_close(l->stream, linger_ms);
    l->stream = NULL;
    buf_close(&l->in);
}

/* The connection is over, for whatever reason. */
static void link_down(struct link *l, int status, const char *why)
{
    bool was_up = l->state == LINK_STATE_UP;
    if (was_up && clock_steady_ms() - l->state_ms >= LINK_STABLE_MS)
        l->backoff_ms = LINK_BACKOFF_MIN_MS;
    char text[200];
    snprintf(text, sizeof(text), "%s", why); /* `why` may lie in the stream */
    stream_drop(l, status == 0 ? 0 : 200);
    if (status == 0)
        status = ERR_CLOSED;
    if (l->outgoing || was_up)
        change_log(l, status, text);
    else
        log_event(status == ERR_CONFLICT || status == ERR_STALE ? LOG_ERROR
                  : l->state == LINK_STATE_HELLO                ? LOG_INFO
                                                                : LOG_DEBUG,
                  "peer refused", LOG_U("peer", l->peer), LOG_S("link", class_name(l->class)), LOG_E("error", status),
                  LOG_S("why", text));
    if (!l->outgoing && !was_up) { /* nobody knows of it yet */
        link_close(&l);
        return;
    }
    state_set(l, l->outgoing ? LINK_STATE_IDLE : LINK_STATE_DOWN);
    if (!was_up) {
        if (!l->closed && l->failed)
            l->failed(l->failed_arg, l, status, text);
        return;
    }
    requests_fail(l);
    if (!l->closed && l->ev && l->ev->down)
        l->ev->down(l->arg, l, status, text);
}

static void timer_closed(uv_handle_t *h)
{
    mem_free(container_of(h, struct link, timer));
}

void link_close(struct link **l)
{
    struct link *it = *l;
    *l = NULL;
    if (!it || it->closed)
        return;
    it->closed = true;
    it->state = LINK_STATE_DOWN;
    it->ev = NULL;
    stream_drop(it, 200);
    list_remove(&it->item);
    if (it->listener)
        it->listener->pending_n--;
    it->listener = NULL;
    requests_fail(it);
    /* Freed from the loop: a caller inside one of our events goes back through us. */
    uv_close((uv_handle_t *)&it->timer, timer_closed);
}

/* ---- time ---- */

static int64_t due(const struct link *l)
{
    int64_t quiet = l->sent_ms + l->dead_ms / 4, dead = l->alive_ms + l->dead_ms, at = quiet < dead ? quiet : dead;
    switch (l->state) {
    case LINK_STATE_IDLE:
        return l->state_ms + l->backoff_ms;
    case LINK_STATE_CONNECTING:
    case LINK_STATE_HELLO:
        return l->state_ms + LINK_HANDSHAKE_MS;
    case LINK_STATE_UP:
        return at < l->request_due_ms ? at : l->request_due_ms;
    case LINK_STATE_DOWN:
        break;
    }
    return INT64_MAX;
}

static void redial(struct link *l)
{
    uint8_t dice;
    random_bytes(&dice, 1);
    unsigned next = l->backoff_ms * 2 < LINK_BACKOFF_MAX_MS ? l->backoff_ms * 2 : LINK_BACKOFF_MAX_MS;
    l->backoff_ms =
        next * (192 + dice / 2) / 256; /* 0.75 .. 1.25 of it: nodes that lost one peer do not come back in step */
    if (l->backoff_ms < LINK_BACKOFF_MIN_MS)
        l->backoff_ms = LINK_BACKOFF_MIN_MS;
    state_set(l, LINK_STATE_CONNECTING);
    l->stream = stream_connect(l->loop, l->address, l->id->client, NULL, &STREAM_EVENTS, l, NULL);
}

static void timer_fired(uv_timer_t *t)
{
    struct link *l = t->data;
    int64_t now = clock_steady_ms();
    /* We slept ourselves, and what the peer sent meanwhile is still unread: its silence counts from now. */
    if (now > l->timer_due_ms + l->dead_ms / 4)
        l->alive_ms = now;
    if (l->state == LINK_STATE_UP && l->request_due_ms <= now)
        requests_expire(l, now);
    if (l->closed)
        return;
    if (due(l) <= now) {
        if (l->state == LINK_STATE_IDLE) {
            redial(l);
            return;
        }
        if (l->state != LINK_STATE_UP) {
            link_down(l, ERR_TIMEOUT, "no answer to the handshake");
            return;
        }
        if (l->alive_ms + l->dead_ms <= now) {
            link_down(l, ERR_TIMEOUT, "silent for too long");
            return;
        }
        /* Both sides do this, so that each one hears something even while all its own bytes go the other way. */
        link_send_numbered(l, LINK_PING, ++l->request_last, (struct slice){0}, (struct slice){0});
        l->sent_ms = now;
    }
    link_timer_set(l);
}

void link_timer_set(struct link *l)
{
    if (l->closed)
        return;
    int64_t at = due(l), now = clock_steady_ms();
    if (at == INT64_MAX) {
        uv_timer_stop(&l->timer);
        return;
    }
    l->timer_due_ms = at > now ? at : now;
    uv_update_time(l->loop);
    uv_timer_start(&l->timer, timer_fired, at > now ? (uint64_t)(at - now) : 0, 0);
}

/* ---- greeting ---- */

static void greet(struct link *l, int status, const char *why)
{
    struct link_greeting g = {.version_min = LINK_VERSION,
                              .version_max = LINK_VERSION,
                              .status = status,
                              .cluster_id = l->id->cluster_id,
                              .dead_ms = l->dead_ms,
                              .hello = {.class = l->class,
                                        .node_id = l->id->node_id,
                                        .instance = l->id->instance,
                                        .format_max = l->id->format_max}};
    snprintf(g.hello.version, sizeof(g.hello.version), "%s", MERLION_VERSION);
    snprintf(g.why, sizeof(g.why), "%s", why);
    struct buf b = {0};
    uint8_t header[LINK_FRAME_HEADER];
    link_greeting_encode(&g, &b);
    link_frame_header(header, LINK_HELLO, 0, buf_len(&b));
    stream_write(l->stream, slice_make(header, sizeof(header)));
    stream_write(l->stream, buf_slice(&b));
    buf_close(&b);
    l->sent_ms = clock_steady_ms();
}

/* Tells the peer, when it is one that asked us. */
static void refuse(struct link *l, int status, const char *why)
{
    if (!l->outgoing)
        greet(l, status, why);
    link_down(l, status, why);
}

static void up(struct link *l, const struct link_greeting *g)
{
    l->alive_ms = l->sent_ms = clock_steady_ms();
    state_set(l, LINK_STATE_UP);
    change_log(l, 0, g->hello.version);
    if (l->outgoing) {
        if (l->ev->up)
            l->ev->up(l->arg, l, &g->hello);
        return;
    }
    struct link_listener *listener = l->listener;
    list_remove(&l->item);
    listener->pending_n--;
    l->listener = NULL;
    listener->ev.accepted(listener->arg, l, &g->hello);
}

static void greeting_take(struct link *l, const struct link_frame *f)
{
    struct link_greeting g;
    uint64_t named = 0;
    if (f->type != LINK_HELLO || link_greeting_decode(f->payload, &g) != 0) {
        link_down(l, ERR_PROTOCOL, "no hello of ours");
        return;
    }
    if (g.status != 0) {
        link_down(l, g.status, g.why[0] ? g.why : "refused by the peer");
        return;
    }
    if (g.version_min > LINK_VERSION || g.version_max < LINK_VERSION) {
        refuse(l, ERR_VERSION, "no common link version");
        return;
    }
    if (g.cluster_id != l->id->cluster_id || g.hello.class != l->class) {
        refuse(l, ERR_DENIED, g.hello.class != l->class ? "wrong kind of link" : "of another cluster");
        return;
    }
    if (identity_peer_check(stream_ssl(l->stream), l->id->cluster_id, &named) != 0 || named != g.hello.node_id ||
        named == l->id->node_id || (l->outgoing && !l->any_peer && named != l->peer)) {
        refuse(l, ERR_DENIED, "the certificate is of another node");
        return;
    }
    l->peer = named;
    int rv = 0;
    if (l->outgoing && l->ok)
        rv = l->ok(l->ok_arg, &g.hello);
    else if (!l->outgoing && l->listener->ev.ok)
        rv = l->listener->ev.ok(l->listener->arg, &g.hello);
    if (rv != 0) {
        refuse(l, rv, link_refusal_text(rv));
        return;
    }
    if (!l->outgoing) {
        l->dead_ms = dead_clamp(g.dead_ms);
        greet(l, 0, "");
    }
    up(l, &g);
}

/* ---- the stream's events ---- */

static void frame_take(struct link *l, const struct link_frame *f)
{
    if (l->state == LINK_STATE_HELLO)
        greeting_take(l, f);
    else if (f->type == LINK_ANSWER)
        answer_take(l, f);
    else if (f->type == LINK_PING)
        link_answer(l, f->request, (struct slice){0}, (struct slice){0});
    else if (f->type == LINK_HELLO)
        link_down(l, ERR_PROTOCOL, "a second hello");
    else if (l->ev && l->ev->frame)
        l->ev->frame(l->arg, l, f->type, f->request, f->payload);
}

/* Takes what is whole at the start of `in`; *need_r is how much the next frame wants at least. The connection may be
 * another one, or none, after any frame. */
static size_t frames_take(struct link *l, struct slice in, size_t *need_r)
{
    const struct stream *stream = l->stream;
    size_t used = 0;
    for (;;) {
        struct link_frame f;
        size_t size;
        size_t max = l->state == LINK_STATE_HELLO ? (size_t)LINK_HELLO_MAX : (size_t)LINK_FRAME_MAX;
        int rv = link_frame_parse(slice_from(in, used), max, &f, &size);
        if (rv < 0) {
            link_down(l, rv, "malformed frame");
            return in.n;
        }
        *need_r = size;
        if (rv == LINK_FRAME_MORE)
            return used;
        used += size;
        frame_take(l, &f);
        if (l->closed || l->stream != stream)
            return in.n;
    }
}

/* Of a frame that a peer announced, so much memory is taken before its bytes are there. */
enum { FRAME_RESERVE_MAX = 4 * 1024 * 1024 };

static size_t on_read(void *arg, struct slice in)
{
    struct link *l = arg;
    const struct stream *stream = l->stream;
    size_t used = 0, need = 0;
    l->seen_ms = l->alive_ms = clock_steady_ms();
    if (l->state != LINK_STATE_HELLO && l->state != LINK_STATE_UP)
        return in.n;                             /* before the certificate was verified nothing is parsed */
    while (buf_len(&l->in) > 0 && used < in.n) { /* fill up the frame that was begun */
        struct slice have = buf_slice(&l->in);
        struct link_frame f;
        size_t max = l->state == LINK_STATE_HELLO ? (size_t)LINK_HELLO_MAX : (size_t)LINK_FRAME_MAX;
        if (link_frame_parse(have, max, &f, &need) != LINK_FRAME_MORE)
            break;
        struct slice part = slice_first(slice_from(in, used), need - have.n);
        buf_append_slice(&l->in, part);
        used += part.n;
        struct buf frame = l->in; /* ours during the call: the link may be taken down in it */
        l->in = (struct buf){0};
        size_t taken = frames_take(l, buf_slice(&frame), &need);
        if (l->closed || l->stream != stream) {
            buf_close(&frame);
            return in.n;
        }
        buf_consume(&frame, taken);
        l->in = frame;
    }
    if (buf_len(&l->in) == 0) {
        buf_close(&l->in);
        used += frames_take(l, slice_from(in, used), &need);
        if (l->closed || l->stream != stream)
            return in.n;
        if (used < in.n && need > in.n - used) /* the frame's length is known: no growing step by step */
            buf_reserve(&l->in, need < FRAME_RESERVE_MAX ? need : FRAME_RESERVE_MAX);
        buf_append_slice(&l->in, slice_from(in, used));
    }
    return in.n;
}

static void on_tls_ready(void *arg)
{
    struct link *l = arg;
    uint64_t named;
    l->seen_ms = clock_steady_ms();
    if (identity_peer_check(stream_ssl(l->stream), l->id->cluster_id, &named) != 0) {
        link_down(l, ERR_DENIED, "not a certificate of this cluster");
        return;
    }
    int64_t since = l->state_ms; /* the handshake's time runs on */
    l->state = LINK_STATE_HELLO;
    l->state_ms = since;
    if (l->outgoing)
        greet(l, 0, "");
}

static void on_drained(void *arg)
{
    struct link *l = arg;
    if (l->state == LINK_STATE_UP && l->ev && l->ev->drained)
        l->ev->drained(l->arg, l);
}

static void on_closed(void *arg, int status, const char *why)
{
    link_down(arg, status, why);
}

static const struct stream_events STREAM_EVENTS = {on_read, on_drained, on_tls_ready, on_closed};

/* ---- for the owner ---- */

struct link *link_dial(uv_loop_t *loop, const struct link_identity *id, enum link_class class, uint64_t peer_id,
                       const char *address, unsigned dead_ms, const struct link_events *ev, void *arg)
{
    struct link *l = link_new(loop, id, class);
    l->outgoing = true;
    l->peer = peer_id;
    l->any_peer = peer_id == 0;
    l->dead_ms = dead_clamp(dead_ms);
    l->ev = ev;
    l->arg = arg;
    l->backoff_ms = 0; /* the first time at once, from the loop */
    snprintf(l->address, sizeof(l->address), "%s", address);
    state_set(l, LINK_STATE_IDLE);
    return l;
}

void link_accept(struct link_listener *listener, uv_tcp_t *tcp)
{
    struct link *l = link_new(tcp->loop, listener->id, listener->class);
    l->dead_ms = LINK_DEAD_MAX_MS; /* until the hello says the dialler's */
    l->listener = listener;
    listener->pending_n++;
    list_append(&listener->pending, &l->item);
    l->stream = stream_accept(tcp->loop, tcp, &STREAM_EVENTS, l);
    state_set(l, LINK_STATE_CONNECTING);
    if (stream_tls_accept(l->stream, listener->id->server) != 0)
        link_down(l, ERR_IO, "no TLS");
}

void link_set_events(struct link *l, const struct link_events *ev, void *arg)
{
    l->ev = ev;
    l->arg = arg;
}

void link_set_ok(struct link *l, int (*ok)(void *arg, const struct link_hello *peer), void *arg)
{
    l->ok = ok;
    l->ok_arg = arg;
}

void link_set_failed(struct link *l, void (*failed)(void *arg, struct link *l, int status, const char *why), void *arg)
{
    l->failed = failed;
    l->failed_arg = arg;
}

bool link_is_up(const struct link *l)
{
    return l->state == LINK_STATE_UP;
}

uint64_t link_peer(const struct link *l)
{
    return l->peer;
}

int64_t link_seen_ms(const struct link *l)
{
    return l->seen_ms;
}

size_t link_queued(const struct link *l)
{
    return l->stream ? stream_queued(l->stream) : 0;
}
