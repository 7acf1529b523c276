/* The link to another node: TLS 1.3 with certificates of the cluster's own CA on both sides, then length-prefixed
 * frames.
 *
 * Each node dials every other one twice: CONTROL (Raft, forwarded commands, read index) on the core loop, BULK (bodies,
 * state transfer) on the bulk loop. A request goes over the connection that its sender dialled; the answer comes back
 * on it. Two listeners on two ports, so that each loop accepts its own: CONTROL on the peer port, BULK on the peer port
 * + 1.
 *
 * Before a certificate of our CA was verified nothing of what the peer sends is parsed. The hello (first frame each
 * way, the dialler's first; link_frame.h): magic "MRLN", link version min, max, class, cluster id, node id, instance,
 * format max, build version text. The node id must be that of the certificate's subject (CN "node-<id>"), the cluster
 * id ours; the listener's ok() decides on the rest (removed member, expired invitation, another instance under the same
 * id). Frame: u32 length of what follows, u8 type, u8 flags (0), u16 zero, u64 request number (0: one-way), payload. */
#ifndef REPLICATION_LINK_H
#define REPLICATION_LINK_H

#include "node/base/buf.h"
#include "node/base/err.h"
#include "node/base/mem.h"

#include <openssl/ssl.h>
#include <uv.h>

enum link_class { LINK_CONTROL = 1, LINK_BULK = 2 };
enum { LINK_VERSION = 1, LINK_FRAME_HEADER = 16, LINK_FRAME_MAX = 64 * 1024 * 1024 };

/* Frame types, all of them; payloads are drawn where they are encoded. */
enum link_frame_type {
    LINK_HELLO = 1,
    LINK_RAFT = 2,       /* control: an encoded raft_message (replication/message.h) */
    LINK_FORWARD = 3,    /* control: u64 boot, u64 seq, packed command -> LINK_ANSWER {i32 status, u64 index} */
    LINK_READ_INDEX = 4, /* control: -> LINK_ANSWER {i32 status, u64 index} */
    LINK_TERM = 5,       /* control: read index round: {u64 term} -> LINK_ANSWER {u64 current term} */
    LINK_STATUS = 6,     /* control: -> LINK_ANSWER with a member_status */
    LINK_DIGEST = 7, /* control: {u64 index} wait until applied there -> LINK_ANSWER {i32 status, u64 index, digest} */
    LINK_MEMBER = 8, /* control: a forwarded member_request */
    LINK_ANSWER = 9, /* answers the request of that number */
    LINK_PING = 10,  /* both: liveness; answered with LINK_ANSWER */
    LINK_BODY_PUT = 20,  /* bulk: a blob record -> LINK_ANSWER {i32 status} after it is durable */
    LINK_BODY_GET = 21,  /* bulk: a hash -> LINK_ANSWER {i32 status, record} */
    LINK_STATE_GET = 22, /* bulk: {u64 min index} -> LINK_STATE_PART* (same number), the last one says so */
    LINK_STATE_PART = 23,
    LINK_STATE_ACK = 24, /* bulk: {u64 bytes taken so far} for the LINK_STATE_GET of that number; ~0: no more, please */
};

struct link_identity {
    uint64_t cluster_id, node_id, instance;
    char name[64];
    uint32_t format_max;
    SSL_CTX *client, *server; /* TLS 1.3 only, peer verification required, our CA alone */
};

struct link_hello {
    enum link_class class;
    uint64_t node_id, instance;
    uint32_t format_max;
    char version[32];
};

struct link;
struct link_events {
    void (*up)(void *arg, struct link *l, const struct link_hello *peer); /* hello exchanged; frames may flow */
    /* A frame that is not an answer. payload is valid during the call. */
    void (*frame)(void *arg, struct link *l, uint8_t type, uint64_t request, struct slice payload);
    /* Once after each up, when the open requests have ended with ERR_CLOSED; outgoing links redial by themselves. */
    void (*down)(void *arg, struct link *l, int status, const char *why);
    void (*drained)(void *arg, struct link *l); /* queue below LINK_QUEUE_LOW */
};
enum { LINK_QUEUE_LOW = 1024 * 1024, LINK_QUEUE_HIGH = 8 * 1024 * 1024 };

/* Outgoing (peer_id 0: whoever of the cluster is there): dials, and redials with backoff (50 ms .. 1 s, jittered) until
 * link_close. Pings a silent peer; a peer that answers nothing for dead_ms is down. */
struct link *link_dial(uv_loop_t *loop, const struct link_identity *id, enum link_class class, uint64_t peer_id,
                       const char *address, unsigned dead_ms, const struct link_events *ev, void *arg);
/* Outgoing: asked about the peer's hello before `up`, like a listener's ok(); not 0: hung up, and dialled again later.
 * Who answers at a member's address may be another instance under its id: a data folder that was set up anew, and
 * forgot what it voted for. */
void link_set_ok(struct link *l, int (*ok)(void *arg, const struct link_hello *peer), void *arg);
/* Outgoing: told of each attempt that ended before `up`: ERR_DENIED, ERR_CONFLICT, ERR_STALE, ERR_VERSION are the
 * peer's own words, ERR_TIMEOUT is silence, the rest is the network's. The link may be closed in it. */
void link_set_failed(struct link *l, void (*failed)(void *arg, struct link *l, int status, const char *why), void *arg);
/* Accepted connections of one listener. ok(): may this peer connect? 0 or err.h (it is told why and closed).
 * accepted(): a link that is up; the receiver owns it and calls link_set_events, and link_close after its down. */
struct link_listener;
struct link_listener_events {
    int (*ok)(void *arg, const struct link_hello *peer);
    void (*accepted)(void *arg, struct link *l, const struct link_hello *peer);
};
int link_listen(uv_loop_t *loop, const struct link_identity *id, const char *address, enum link_class class,
                const struct link_listener_events *ev, void *arg, struct link_listener **l_r, struct err_detail *e);
void link_listener_close(struct link_listener **l);
unsigned link_listener_port(const struct link_listener *l); /* the one bound, when the address said 0 */
void link_set_events(struct link *l, const struct link_events *ev, void *arg);

bool link_is_up(const struct link *l);
uint64_t link_peer(const struct link *l);
int64_t link_seen_ms(const struct link *l); /* steady clock of the last received byte, 0: never */
size_t link_queued(const struct link *l);
/* One-way frame. ERR_CLOSED when down, ERR_BUSY over LINK_QUEUE_HIGH (nothing is queued then). parts are copied. */
int link_send(struct link *l, uint8_t type, struct slice a, struct slice b);
/* Request with an answer within timeout_ms: status 0 and the payload, ERR_TIMEOUT, or ERR_CLOSED (link went down).
 * Never called before return. */
typedef void (*link_answer_cb)(void *arg, int status, struct slice payload);
int link_request(struct link *l, uint8_t type, struct slice a, struct slice b, unsigned timeout_ms, link_answer_cb cb,
                 void *arg);
/* Never ERR_BUSY: whoever serves requests bounds how many of them it has open. */
/* The same with a payload that is sent without being copied: takes a reference of its own. */
int link_request_bytes(struct link *l, uint8_t type, struct bytes *payload, unsigned timeout_ms, link_answer_cb cb,
                       void *arg);
int link_answer(struct link *l, uint64_t request, struct slice a, struct slice b);
/* A frame of a given request number, for streams of LINK_STATE_PART. */
int link_send_numbered(struct link *l, uint8_t type, uint64_t request, struct slice a, struct slice b);
void link_close(struct link **l); /* no event after it; pending requests end with ERR_CLOSED before it returns */

#endif
