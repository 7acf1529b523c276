/* Links over loopback: what gets through, who is turned away, and how soon a dead peer is noticed. */
#include "support_peers.h"

#include "node/base/clock.h"
#include "node/base/hash.h"
#include "node/base/log.h"
#include "node/io/stream.h"
#include "replication/link_frame.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { CLUSTER = 77 };

/* ---- frames ---- */

static void frames_at_every_split(void **state)
{
    (void)state;
    uint8_t bytes[LINK_FRAME_HEADER + 5];
    struct link_frame f;
    size_t size;
    link_frame_header(bytes, LINK_RAFT, 0x1122334455667788, 5);
    memcpy(bytes + LINK_FRAME_HEADER, "hello", 5);
    static const uint8_t golden[] = {17, 0, 0, 0, 2, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    assert_memory_equal(bytes, golden, sizeof(golden));
    for (size_t n = 0; n < sizeof(bytes); n++) {
        assert_int_equal(link_frame_parse(slice_make(bytes, n), 1000, &f, &size), LINK_FRAME_MORE);
        assert_true(size > n && size <= sizeof(bytes));
    }
    assert_int_equal(link_frame_parse(slice_make(bytes, sizeof(bytes)), 1000, &f, &size), 0);
    assert_int_equal(size, sizeof(bytes));
    assert_int_equal(f.type, LINK_RAFT);
    assert_true(f.request == 0x1122334455667788 && slice_eq(f.payload, SLICE_LITERAL("hello")));
    assert_int_equal(link_frame_parse(slice_make(bytes, sizeof(bytes)), sizeof(bytes), &f, &size), 0);
    assert_int_equal(link_frame_parse(slice_make(bytes, 4), sizeof(bytes) - 1, &f, &size), ERR_TOOBIG);
    bytes[5] = 1;
    assert_int_equal(link_frame_parse(slice_make(bytes, 6), 1000, &f, &size), ERR_PROTOCOL);
    bytes[5] = 0;
    bytes[7] = 1;
    assert_int_equal(link_frame_parse(slice_make(bytes, 16), 1000, &f, &size), ERR_PROTOCOL);
    put_le32(bytes, 11); /* shorter than a header */
    assert_int_equal(link_frame_parse(slice_make(bytes, 4), 1000, &f, &size), ERR_PROTOCOL);
    put_le32(bytes, UINT32_MAX);
    assert_int_equal(link_frame_parse(slice_make(bytes, 4), LINK_FRAME_MAX, &f, &size), ERR_TOOBIG);
}

static void greetings(void **state)
{
    (void)state;
    struct link_greeting g = {
        .version_min = 1,
        .version_max = 3,
        .status = ERR_DENIED,
        .cluster_id = 9,
        .dead_ms = 700,
        .hello = {.class = LINK_BULK, .node_id = 4, .instance = 5, .format_max = 6, .version = "0.1\x01z"},
        .why = "gone"};
    struct link_greeting out;
    struct buf b = {0};
    link_greeting_encode(&g, &b);
    for (size_t n = 0; n < buf_len(&b); n++)
        assert_int_equal(link_greeting_decode(slice_first(buf_slice(&b), n), &out), ERR_PROTOCOL);
    buf_append_str(&b, "a later version's"); /* skipped */
    assert_int_equal(link_greeting_decode(buf_slice(&b), &out), 0);
    assert_string_equal(out.hello.version, "0.1?z");
    assert_string_equal(out.why, "gone");
    assert_true(out.status == ERR_DENIED && out.cluster_id == 9 && out.hello.node_id == 4 && out.hello.instance == 5);
    assert_true(out.version_max == 3 && out.dead_ms == 700 && out.hello.class == LINK_BULK &&
                out.hello.format_max == 6);
    b.base[b.start + 8] = 7; /* class */
    assert_int_equal(link_greeting_decode(buf_slice(&b), &out), ERR_PROTOCOL);
    b.base[b.start] = 'X';
    assert_int_equal(link_greeting_decode(buf_slice(&b), &out), ERR_PROTOCOL);
    buf_close(&b);
}

/* ---- two ends on one loop ---- */

struct end {
    struct link *link;
    unsigned ups, downs, frames, answers, drained;
    int status, answer_status, ok_status;
    struct link_hello hello;
    struct buf got;
    uint64_t request;
    bool echo, close_in_frame;
};
struct pair {
    uv_loop_t loop;
    struct test_ca ca;
    struct link_identity a, b;
    struct link_listener *listener;
    struct end dialler, server;
    char address[64];
};

static void on_up(void *arg, struct link *l, const struct link_hello *peer)
{
    struct end *e = arg;
    (void)l;
    e->ups++;
    e->hello = *peer;
}

static void on_frame(void *arg, struct link *l, uint8_t type, uint64_t request, struct slice payload)
{
    struct end *e = arg;
    e->frames++;
    e->request = request;
    buf_clear(&e->got);
    buf_append_byte(&e->got, type);
    buf_append_slice(&e->got, payload);
    if (e->echo)
        link_answer(l, request, payload, SLICE_LITERAL("!"));
    if (e->close_in_frame)
        link_close(&e->link);
}

static void on_down(void *arg, struct link *l, int status, const char *why)
{
    struct end *e = arg;
    (void)why;
    assert_false(link_is_up(l));
    e->downs++;
    e->status = status;
}

static void on_drained(void *arg, struct link *l)
{
    (void)l;
    ((struct end *)arg)->drained++;
}

static const struct link_events EVENTS = {on_up, on_frame, on_down, on_drained};

static int server_ok(void *arg, const struct link_hello *peer)
{
    (void)peer;
    return ((struct end *)arg)->ok_status;
}

static void server_accepted(void *arg, struct link *l, const struct link_hello *peer)
{
    struct end *e = arg;
    if (e->link)
        link_close(&e->link);
    e->link = l;
    link_set_events(l, &EVENTS, e);
    on_up(e, l, peer);
}

static const struct link_listener_events LISTENER = {server_ok, server_accepted};

static void pair_listen(struct pair *p, const char *address)
{
    struct err_detail e;
    assert_int_equal(link_listen(&p->loop, &p->b, address, LINK_CONTROL, &LISTENER, &p->server, &p->listener, &e), 0);
    snprintf(p->address, sizeof(p->address), "127.0.0.1:%u", link_listener_port(p->listener));
}

static void pair_open(struct pair *p)
{
    memset(p, 0, sizeof(*p));
    uv_loop_init(&p->loop);
    test_ca_make(&p->ca, CLUSTER);
    test_identity_make(&p->a, &p->ca, CLUSTER, 1, 1);
    test_identity_make(&p->b, &p->ca, CLUSTER, 2, 2);
    pair_listen(p, "127.0.0.1:0");
}

static void pair_dial(struct pair *p, uint64_t peer, unsigned dead_ms)
{
    p->dialler.link = link_dial(&p->loop, &p->a, LINK_CONTROL, peer, p->address, dead_ms, &EVENTS, &p->dialler);
}

static void pair_up(struct pair *p)
{
    pair_open(p);
    pair_dial(p, 2, 1000);
    assert_true(test_loop_until(&p->loop, &p->dialler.ups, 1, 20000));
    assert_int_equal(p->server.ups, 1);
}

static void pair_close(struct pair *p)
{
    link_close(&p->dialler.link);
    link_close(&p->server.link);
    link_listener_close(&p->listener);
    test_loop_end(&p->loop);
    test_identity_free(&p->a);
    test_identity_free(&p->b);
    test_ca_free(&p->ca);
    buf_close(&p->dialler.got);
    buf_close(&p->server.got);
}

static void answered(void *arg, int status, struct slice payload)
{
    struct end *e = arg;
    e->answers++;
    e->answer_status = status;
    buf_clear(&e->got);
    buf_append_slice(&e->got, payload);
}

static void frames_and_answers(void **state)
{
    (void)state;
    struct pair p;
    pair_up(&p);
    assert_int_equal(p.dialler.hello.node_id, 2);
    assert_int_equal(p.server.hello.node_id, 1);
    assert_int_equal(p.server.hello.instance, 1001);
    assert_string_equal(p.server.hello.version, MERLION_VERSION);
    assert_int_equal(link_peer(p.server.link), 1);
    assert_int_equal(link_send(p.dialler.link, LINK_RAFT, SLICE_LITERAL("ab"), SLICE_LITERAL("cd")), 0);
    assert_true(test_loop_until(&p.loop, &p.server.frames, 1, 20000));
    assert_true(slice_eq(buf_slice(&p.server.got), SLICE_LITERAL("\x02"
                                                                 "abcd")));
    p.server.echo = true;
    assert_int_equal(
        link_request(p.dialler.link, LINK_STATUS, SLICE_LITERAL("x"), SLICE_LITERAL(""), 1000, answered, &p.dialler),
        0);
    assert_int_equal(p.dialler.answers, 0);
    assert_true(test_loop_until(&p.loop, &p.dialler.answers, 1, 20000));
    assert_true(p.dialler.answer_status == 0 && slice_eq(buf_slice(&p.dialler.got), SLICE_LITERAL("x!")));
    /* The other direction, on the same connection. */
    p.dialler.echo = true;
    assert_int_equal(
        link_request(p.server.link, LINK_STATUS, SLICE_LITERAL("y"), SLICE_LITERAL(""), 1000, answered, &p.server), 0);
    assert_true(test_loop_until(&p.loop, &p.server.answers, 1, 20000));
    pair_close(&p);
}

/* Frames over many reads and records, small ones between large ones. */
static void large_frames(void **state)
{
    (void)state;
    struct pair p;
    pair_up(&p);
    size_t n = 5 * 1000 * 1000;
    uint8_t *big = mem_alloc(n);
    for (size_t i = 0; i < n; i++)
        big[i] = (uint8_t)(i * 7 + i / 251);
    p.server.echo = true;
    for (unsigned round = 1; round <= 3; round++) {
        link_send(p.dialler.link, LINK_RAFT, SLICE_LITERAL("small"), SLICE_LITERAL(""));
        assert_int_equal(link_request(p.dialler.link, LINK_FORWARD, slice_make(big, n - round), SLICE_LITERAL(""),
                                      20000, answered, &p.dialler),
                         0);
        link_send(p.dialler.link, LINK_RAFT, SLICE_LITERAL("small"), SLICE_LITERAL(""));
        assert_true(test_loop_until(&p.loop, &p.dialler.answers, round, 20000));
        assert_int_equal(p.dialler.answer_status, 0);
        assert_int_equal(buf_len(&p.dialler.got), n - round + 1);
        assert_memory_equal(buf_slice(&p.dialler.got).p, big, n - round);
    }
    assert_true(test_loop_until(&p.loop, &p.server.frames, 9, 20000));
    assert_int_equal(link_send(p.dialler.link, LINK_RAFT, slice_make(big, LINK_FRAME_MAX), SLICE_LITERAL("")),
                     ERR_TOOBIG);
    mem_free(big);
    pair_close(&p);
}

static void queue_is_bounded(void **state)
{
    (void)state;
    struct pair p;
    pair_up(&p);
    uint8_t *part = mem_zalloc(1024 * 1024);
    int rv = 0;
    unsigned sent = 0;
    while (sent < 100 &&
           (rv = link_send(p.dialler.link, LINK_RAFT, slice_make(part, 1024 * 1024), SLICE_LITERAL(""))) == 0)
        sent++;
    assert_int_equal(rv, ERR_BUSY);
    assert_true(link_queued(p.dialler.link) <= LINK_QUEUE_HIGH + 1024 * 1024 + 100);
    assert_true(test_loop_until(&p.loop, &p.dialler.drained, 1, 20000));
    assert_true(link_queued(p.dialler.link) < LINK_QUEUE_LOW);
    assert_int_equal(link_send(p.dialler.link, LINK_RAFT, SLICE_LITERAL("x"), SLICE_LITERAL("")), 0);
    assert_true(test_loop_until(&p.loop, &p.server.frames, sent + 1, 20000));
    mem_free(part);
    pair_close(&p);
}

static void requests_end(void **state)
{
    (void)state;
    struct pair p;
    pair_up(&p);
    int64_t begin = clock_steady_ms();
    assert_int_equal(
        link_request(p.dialler.link, LINK_STATUS, SLICE_LITERAL(""), SLICE_LITERAL(""), 50, answered, &p.dialler), 0);
    assert_true(test_loop_until(&p.loop, &p.dialler.answers, 1, 20000));
    assert_int_equal(p.dialler.answer_status, ERR_TIMEOUT);
    assert_true(clock_steady_ms() - begin >= 50);
    link_answer(p.server.link, p.server.request, SLICE_LITERAL("late"), SLICE_LITERAL(""));
    test_loop_for(&p.loop, 50);
    assert_int_equal(p.dialler.answers, 1);
    assert_int_equal(
        link_request(p.dialler.link, LINK_STATUS, SLICE_LITERAL(""), SLICE_LITERAL(""), 5000, answered, &p.dialler), 0);
    link_close(&p.dialler.link);
    assert_int_equal(p.dialler.answers, 2);
    assert_int_equal(p.dialler.answer_status, ERR_CLOSED);
    assert_true(test_loop_until(&p.loop, &p.server.downs, 1, 20000));
    pair_close(&p);
}

static void redials(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_dial(&p, 2, 60000);
    assert_true(test_loop_until(&p.loop, &p.dialler.ups, 1, 20000));
    assert_int_equal(
        link_request(p.dialler.link, LINK_STATUS, SLICE_LITERAL(""), SLICE_LITERAL(""), 5000, answered, &p.dialler), 0);
    link_close(&p.server.link);
    assert_true(test_loop_until(&p.loop, &p.dialler.downs, 1, 20000)); /* at once, not after dead_ms */
    assert_int_equal(p.dialler.answer_status, ERR_CLOSED);
    assert_true(test_loop_until(&p.loop, &p.dialler.ups, 2, 20000));
    /* Nobody listens for a while. */
    link_listener_close(&p.listener);
    link_close(&p.server.link);
    assert_true(test_loop_until(&p.loop, &p.dialler.downs, 2, 20000));
    assert_int_equal(link_send(p.dialler.link, LINK_RAFT, SLICE_LITERAL(""), SLICE_LITERAL("")), ERR_CLOSED);
    test_loop_for(&p.loop, 300);
    char address[64];
    snprintf(address, sizeof(address), "%s", p.address);
    pair_listen(&p, address);
    assert_true(test_loop_until(&p.loop, &p.dialler.ups, 3, 20000));
    pair_close(&p);
}

/* Frames that were sent right before the peer went away, and a link closed in the middle of what was read. */
static void close_inside_an_event(void **state)
{
    (void)state;
    struct pair p;
    pair_up(&p);
    p.server.close_in_frame = true;
    for (int i = 0; i < 5; i++)
        link_send(p.dialler.link, LINK_RAFT, SLICE_LITERAL("x"), SLICE_LITERAL(""));
    assert_true(test_loop_until(&p.loop, &p.server.frames, 1, 20000));
    assert_null(p.server.link);
    assert_int_equal(p.server.frames, 1);
    assert_int_equal(p.server.downs, 0);
    assert_true(test_loop_until(&p.loop, &p.dialler.downs, 1, 20000));
    pair_close(&p);
}

static void pings_keep_a_quiet_link(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_dial(&p, 2, 1000);
    assert_true(test_loop_until(&p.loop, &p.dialler.ups, 1, 20000));
    test_loop_for(&p.loop, 3000);
    assert_int_equal(p.dialler.downs, 0);
    assert_int_equal(p.server.downs, 0);
    assert_true(clock_steady_ms() - link_seen_ms(p.dialler.link) < 1000);
    pair_close(&p);
}

/* ---- who is turned away ---- */

/* A dialler with this identity never gets up, and the listener's owner never hears of it. */
static void turned_away(const struct link_identity *who, uint64_t expect_peer, enum link_class class)
{
    struct pair p;
    pair_open(&p);
    p.dialler.link = link_dial(&p.loop, who, class, expect_peer, p.address, 1000, &EVENTS, &p.dialler);
    assert_false(test_loop_until(&p.loop, &p.dialler.ups, 1, 300));
    assert_int_equal(p.server.ups, 0);
    pair_close(&p);
}

static void strangers(void **state)
{
    (void)state;
    struct test_ca ca, other;
    struct link_identity id;
    test_ca_make(&ca, CLUSTER);
    test_identity_make(&id, &ca, CLUSTER, 1, 1); /* right cluster id, another CA than the pair's */
    turned_away(&id, 2, LINK_CONTROL);
    test_identity_free(&id);
    test_ca_make(&other, CLUSTER + 1);
    test_identity_make(&id, &other, CLUSTER + 1, 1, 1);
    turned_away(&id, 2, LINK_CONTROL);
    test_identity_free(&id);
    test_ca_free(&ca);
    test_ca_free(&other);
}

static void wrong_hellos(void **state)
{
    (void)state;
    static const struct {
        uint64_t cluster_certificate, cluster_claimed, id_certificate, id_claimed, peer;
        enum link_class class;
        bool up;
    } cases[] = {
        {CLUSTER, CLUSTER, 1, 1, 2, LINK_CONTROL, true},
        {CLUSTER, CLUSTER, 3, 1, 2, LINK_CONTROL, false},     /* the certificate is node 3's */
        {CLUSTER, CLUSTER + 1, 1, 1, 2, LINK_CONTROL, false}, /* claims another cluster */
        {CLUSTER + 1, CLUSTER, 1, 1, 2, LINK_CONTROL, false}, /* our CA, but for another cluster */
        {CLUSTER, CLUSTER, 1, 1, 3, LINK_CONTROL, false},     /* wants node 3 and finds node 2 */
        {CLUSTER, CLUSTER, 1, 1, 2, LINK_BULK, false},        /* the wrong port */
        {CLUSTER, CLUSTER, 2, 2, 2, LINK_CONTROL, false},     /* our own id */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pair p;
        struct link_identity id;
        pair_open(&p);
        test_identity_make(&id, &p.ca, cases[i].cluster_certificate, cases[i].id_claimed, cases[i].id_certificate);
        id.cluster_id = cases[i].cluster_claimed;
        p.dialler.link = link_dial(&p.loop, &id, cases[i].class, cases[i].peer, p.address, 1000, &EVENTS, &p.dialler);
        assert_int_equal(test_loop_until(&p.loop, &p.dialler.ups, 1, cases[i].up ? 20000 : 250), cases[i].up);
        /* A dialler that finds another node than it wants hangs up; the accepted side was up for a moment. */
        for (int turn = 0; !cases[i].up && turn < 200 && p.server.ups != p.server.downs; turn++)
            test_loop_until(&p.loop, &p.server.downs, p.server.ups, 100);
        assert_true(cases[i].up || p.server.ups == p.server.downs);
        pair_close(&p);
        test_identity_free(&id);
    }
}

static void refused_member(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    p.server.ok_status = ERR_DENIED;
    pair_dial(&p, 2, 1000);
    assert_false(test_loop_until(&p.loop, &p.dialler.ups, 1, 300));
    assert_int_equal(p.server.ups, 0);
    p.server.ok_status = 0; /* a member now: it finds out by itself */
    assert_true(test_loop_until(&p.loop, &p.dialler.ups, 1, 20000));
    pair_close(&p);
}

static unsigned failures;
static int failed_status;
static char failed_why[200];

static void on_failed(void *arg, struct link *l, int status, const char *why)
{
    (void)arg, (void)l;
    failures++;
    failed_status = status;
    snprintf(failed_why, sizeof failed_why, "%s", why);
}

/* A dialler that does not know who is there (a joiner), and learns why it may not come in. */
static void stranger_is_told_why(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    p.server.ok_status = ERR_CONFLICT;
    pair_dial(&p, 0, 1000);
    failures = 0;
    link_set_failed(p.dialler.link, on_failed, NULL);
    assert_true(test_loop_until(&p.loop, &failures, 1, 20000));
    assert_int_equal(failed_status, ERR_CONFLICT);
    assert_non_null(strstr(failed_why, "another node joined with its token"));
    assert_int_equal(p.dialler.ups, 0);
    p.server.ok_status = 0;
    assert_true(test_loop_until(&p.loop, &p.dialler.ups, 1, 20000));
    assert_int_equal(link_peer(p.dialler.link), 2);
    assert_int_equal(p.dialler.hello.node_id, 2);
    /* Nobody listens there any more. */
    link_listener_close(&p.listener);
    link_close(&p.server.link);
    failures = 0;
    assert_true(test_loop_until(&p.loop, &failures, 1, 20000));
    assert_int_equal(failed_status, ERR_IO);
    pair_close(&p);
}

/* Another instance answers at the address of the one that was expected: the dialler hangs up. */
static void refused_by_the_dialler(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_dial(&p, 2, 1000);
    p.dialler.ok_status = ERR_CONFLICT;
    link_set_ok(p.dialler.link, server_ok, &p.dialler);
    assert_false(test_loop_until(&p.loop, &p.dialler.ups, 1, 300));
    assert_int_equal(p.dialler.downs, 0);
    assert_int_equal(link_send(p.dialler.link, LINK_RAFT, SLICE_LITERAL(""), SLICE_LITERAL("")), ERR_CLOSED);
    p.dialler.ok_status = 0;
    assert_true(test_loop_until(&p.loop, &p.dialler.ups, 1, 20000));
    pair_close(&p);
}

/* ---- peers that misbehave ---- */

/* A plain TCP client of the listener. */
static int raw_connect(struct pair *p)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)link_listener_port(p->listener))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static void garbage_before_tls(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    uint8_t junk[3000];
    for (int round = 0; round < 8; round++) {
        int fd = raw_connect(&p);
        random_bytes(junk, sizeof(junk));
        if (round == 1) /* a right frame in plaintext: not parsed */
            link_frame_header(junk, LINK_HELLO, 0, 20);
        assert_true(send(fd, junk, sizeof(junk), MSG_NOSIGNAL) > 0);
        test_loop_for(&p.loop, 30);
        close(fd);
    }
    int silent = raw_connect(&p); /* says nothing; closed with the listener below, or after 5 s */
    test_loop_for(&p.loop, 30);
    assert_int_equal(p.server.ups, 0);
    pair_dial(&p, 2, 1000);
    assert_true(test_loop_until(&p.loop, &p.dialler.ups, 1, 20000));
    pair_close(&p);
    close(silent);
}

/* A peer with a good certificate that sends what it likes. */
struct rogue {
    struct stream *stream;
    unsigned ready, closed;
};
static size_t rogue_read(void *arg, struct slice in)
{
    (void)arg;
    return in.n;
}
static void rogue_ready(void *arg)
{
    ((struct rogue *)arg)->ready++;
}
static void rogue_closed(void *arg, int status, const char *why)
{
    (void)status;
    (void)why;
    ((struct rogue *)arg)->closed++;
}
static const struct stream_events ROGUE = {.read = rogue_read, .tls_ready = rogue_ready, .closed = rogue_closed};

static void rogue_open(struct pair *p, struct rogue *r)
{
    *r = (struct rogue){0};
    r->stream = stream_connect(&p->loop, p->address, p->a.client, NULL, &ROGUE, r, NULL);
    assert_true(test_loop_until(&p->loop, &r->ready, 1, 20000));
}

static void rogue_hello(struct pair *p, struct rogue *r, unsigned dead_ms)
{
    struct link_greeting g = {.version_min = 1,
                              .version_max = 1,
                              .cluster_id = CLUSTER,
                              .dead_ms = dead_ms,
                              .hello = {.class = LINK_CONTROL, .node_id = 1, .instance = 1, .format_max = 1}};
    struct buf b = {0};
    uint8_t header[LINK_FRAME_HEADER];
    link_greeting_encode(&g, &b);
    link_frame_header(header, LINK_HELLO, 0, buf_len(&b));
    /* Byte by byte. */
    for (size_t i = 0; i < sizeof(header); i++) {
        stream_write(r->stream, slice_make(header + i, 1));
        uv_run(&p->loop, UV_RUN_NOWAIT);
    }
    for (size_t i = 0; i < buf_len(&b); i++) {
        stream_write(r->stream, slice_make(buf_slice(&b).p + i, 1));
        uv_run(&p->loop, UV_RUN_NOWAIT);
    }
    buf_close(&b);
    assert_true(test_loop_until(&p->loop, &p->server.ups, 1, 20000));
}

static void rogues(void **state)
{
    (void)state;
    struct pair p;
    struct rogue r;
    uint8_t header[LINK_FRAME_HEADER];
    /* No hello, but an oversize frame. */
    pair_open(&p);
    rogue_open(&p, &r);
    link_frame_header(header, LINK_HELLO, 0, LINK_HELLO_MAX);
    stream_write(r.stream, slice_make(header, sizeof(header)));
    assert_true(test_loop_until(&p.loop, &r.closed, 1, 20000));
    assert_int_equal(p.server.ups, 0);
    stream_close(r.stream, 0);
    /* A frame before the hello. */
    rogue_open(&p, &r);
    link_frame_header(header, LINK_RAFT, 0, 0);
    stream_write(r.stream, slice_make(header, sizeof(header)));
    assert_true(test_loop_until(&p.loop, &r.closed, 1, 20000));
    assert_int_equal(p.server.ups, 0);
    stream_close(r.stream, 0);
    /* A length past the limit, after a good hello. */
    rogue_open(&p, &r);
    rogue_hello(&p, &r, 1000);
    memset(header, 0xff, sizeof(header));
    stream_write(r.stream, slice_make(header, sizeof(header)));
    assert_true(test_loop_until(&p.loop, &p.server.downs, 1, 20000));
    assert_int_equal(p.server.status, ERR_TOOBIG);
    stream_close(r.stream, 0);
    pair_close(&p);
}

static void stalls_inside_a_frame(void **state)
{
    (void)state;
    struct pair p;
    struct rogue r;
    uint8_t header[LINK_FRAME_HEADER];
    pair_open(&p);
    rogue_open(&p, &r);
    rogue_hello(&p, &r, 300);
    link_frame_header(header, LINK_RAFT, 0, 1000 * 1000);
    stream_write(r.stream, slice_make(header, sizeof(header)));
    stream_write(r.stream, SLICE_LITERAL("the beginning"));
    assert_true(test_loop_until(&p.loop, &p.server.downs, 1, 20000));
    assert_int_equal(p.server.status, ERR_TIMEOUT);
    assert_int_equal(p.server.frames, 0);
    stream_close(r.stream, 0);
    pair_close(&p);
}

/* A listener that takes the connection and never answers. */
static void dead_listener(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t n = sizeof(at);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 5), 0);
    getsockname(fd, (struct sockaddr *)&at, &n);
    snprintf(p.address, sizeof(p.address), "127.0.0.1:%u", ntohs(at.sin_port));
    pair_dial(&p, 2, 1000);
    test_loop_for(&p.loop, 5300); /* past the handshake's limit: it tries again */
    close(fd);
    struct err_detail e;
    link_listener_close(&p.listener);
    test_loop_for(&p.loop, 20);
    assert_int_equal(link_listen(&p.loop, &p.b, p.address, LINK_CONTROL, &LISTENER, &p.server, &p.listener, &e), 0);
    assert_true(test_loop_until(&p.loop, &p.dialler.ups, 1, 20000));
    pair_close(&p);
}

static void bad_addresses(void **state)
{
    (void)state;
    struct pair p;
    struct err_detail e;
    struct link_listener *l = NULL;
    static const char *const bad[] = {"", "nocolon", "127.0.0.1:", "127.0.0.1:x", "256.1.1.1.1:1"};
    pair_open(&p);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(link_listen(&p.loop, &p.b, bad[i], LINK_CONTROL, &LISTENER, &p.server, &l, &e), ERR_INVALID);
    assert_int_equal(link_listen(&p.loop, &p.b, p.address, LINK_CONTROL, &LISTENER, &p.server, &l, &e), ERR_BUSY);
    assert_null(l);
    pair_close(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as maild does: a peer may be gone before what is written to it */
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_at_every_split),
        cmocka_unit_test(greetings),
        cmocka_unit_test(frames_and_answers),
        cmocka_unit_test(large_frames),
        cmocka_unit_test(queue_is_bounded),
        cmocka_unit_test(requests_end),
        cmocka_unit_test(redials),
        cmocka_unit_test(close_inside_an_event),
        cmocka_unit_test(pings_keep_a_quiet_link),
        cmocka_unit_test(strangers),
        cmocka_unit_test(wrong_hellos),
        cmocka_unit_test(refused_member),
        cmocka_unit_test(refused_by_the_dialler),
        cmocka_unit_test(stranger_is_told_why),
        cmocka_unit_test(garbage_before_tls),
        cmocka_unit_test(rogues),
        cmocka_unit_test(stalls_inside_a_frame),
        cmocka_unit_test(dead_listener),
        cmocka_unit_test(bad_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
