/* What an owner sends over a link: frames, requests, answers. */
#include "replication/link_impl.h"

#include "node/base/clock.h"
#include "replication/link_frame.h"

/* The header of a frame whose n bytes follow. */
static int frame_begin(struct link *l, uint8_t type, uint64_t request, size_t n)
{
    if (l->state != LINK_STATE_UP)
        return ERR_CLOSED;
    if (n > LINK_FRAME_MAX - LINK_FRAME_HEADER)
        return ERR_TOOBIG;
    uint8_t header[LINK_FRAME_HEADER];
    link_frame_header(header, type, request, n);
    stream_write(l->stream, slice_make(header, sizeof(header)));
    l->sent_ms = clock_steady_ms();
    return 0;
}

static int frame_send(struct link *l, uint8_t type, uint64_t request, struct slice a, struct slice b)
{
    if (a.n > LINK_FRAME_MAX || b.n > LINK_FRAME_MAX)
        return ERR_TOOBIG;
    int rv = frame_begin(l, type, request, a.n + b.n);
    if (rv != 0)
        return rv;
    stream_write(l->stream, a);
    stream_write(l->stream, b);
    return 0;
}

int link_send_numbered(struct link *l, uint8_t type, uint64_t request, struct slice a, struct slice b)
{
    if (l->state == LINK_STATE_UP && link_queued(l) > LINK_QUEUE_HIGH)
        return ERR_BUSY;
    return frame_send(l, type, request, a, b);
}

int link_send(struct link *l, uint8_t type, struct slice a, struct slice b)
{
    return link_send_numbered(l, type, 0, a, b);
}

int link_answer(struct link *l, uint64_t request, struct slice a, struct slice b)
{
    return frame_send(l, LINK_ANSWER, request, a, b);
}

/* The request that was just sent under the next number. */
static void request_await(struct link *l, unsigned timeout_ms, link_answer_cb cb, void *arg)
{
    uint64_t number = ++l->request_last;
    struct request *r = mem_alloc(sizeof(*r));
    r->number = number;
    r->due_ms = clock_steady_ms() + timeout_ms;
    r->cb = cb;
    r->arg = arg;
    list_append(&l->requests[number % LINK_BUCKETS], &r->item);
    if (r->due_ms < l->request_due_ms) {
        l->request_due_ms = r->due_ms;
        if (r->due_ms < l->timer_due_ms)
            link_timer_set(l);
    }
}

int link_request(struct link *l, uint8_t type, struct slice a, struct slice b, unsigned timeout_ms, link_answer_cb cb,
                 void *arg)
{
    int rv = link_send_numbered(l, type, l->request_last + 1, a, b);
    if (rv == 0)
        request_await(l, timeout_ms, cb, arg);
    return rv;
}

int link_request_bytes(struct link *l, uint8_t type, struct bytes *payload, unsigned timeout_ms, link_answer_cb cb,
                       void *arg)
{
    if (l->state == LINK_STATE_UP && link_queued(l) > LINK_QUEUE_HIGH)
        return ERR_BUSY;
    int rv = frame_begin(l, type, l->request_last + 1, payload->n);
    if (rv != 0)
        return rv;
    stream_write_bytes(l->stream, payload);
    request_await(l, timeout_ms, cb, arg);
    return 0;
}
