#include "jepsen-like/sink.h"

#include "jepsen-like/conn.h"
#include "jepsen-like/message.h"
#include "jepsen-like/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SESSIONS_MAX = 200, IDLE_MS = 60000, STALL_MAX_MS = 5000, STOP_TRIES = 500, MESSAGE_MAX = 4 << 20 };

static struct {
    pthread_mutex_t lock;
    struct sink_arrival *arrivals;
    size_t n, room;
    pthread_t thread;
    int fd;
    atomic_bool end, good;
    atomic_uint sessions, put_off, stalled, lost;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

struct session {
    struct conn c;
    struct rng rng;
    unsigned node;
    bool mail, recipient; /* of the transaction: accepted */
    struct text line, message;
    size_t untold; /* the arrival whose 250 the client may not have read, and one; 0: none */
};

/* ---- arrivals ---- */

size_t sink_arrival_note(const struct sink_arrival *a)
{
    pthread_mutex_lock(&sink.lock);
    if (sink.n == sink.room) {
        sink.room = sink.room ? 2 * sink.room : 1024;
        sink.arrivals = xrealloc(sink.arrivals, sink.room * sizeof *sink.arrivals);
    }
    sink.arrivals[sink.n++] = *a;
    size_t place = sink.n;
    pthread_mutex_unlock(&sink.lock);
    return place;
}

void sink_forget(void)
{
    pthread_mutex_lock(&sink.lock);
    free(sink.arrivals);
    sink.arrivals = NULL;
    sink.n = sink.room = 0;
    pthread_mutex_unlock(&sink.lock);
}

static size_t message_note(const struct session *s)
{
    char group[MESSAGE_GROUP_MAX] = "";
    struct sink_arrival a = {.at = now_ns(), .node = s->node};
    a.whole = message_parse(s->message.p, s->message.n, group, &a.id) && strcmp(group, "que") == 0;
    return sink_arrival_note(&a);
}

/* A further command: the reply before it was read. */
static void arrival_told(struct session *s)
{
    if (!s->untold)
        return;
    pthread_mutex_lock(&sink.lock);
    sink.arrivals[s->untold - 1].told = now_ns();
    pthread_mutex_unlock(&sink.lock);
    s->untold = 0;
}

static int by_id(const void *a, const void *b)
{
    const struct sink_arrival *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

struct sink_arrival *sink_arrivals(size_t *n_r)
{
    pthread_mutex_lock(&sink.lock);
    struct sink_arrival *copy = xzalloc((sink.n + 1) * sizeof *copy);
    if (sink.n)
        memcpy(copy, sink.arrivals, sink.n * sizeof *copy);
    *n_r = sink.n;
    pthread_mutex_unlock(&sink.lock);
    qsort(copy, *n_r, sizeof *copy, by_id);
    return copy;
}

void sink_counts(unsigned *put_off_r, unsigned *stalled_r, unsigned *lost_r)
{
    *put_off_r = sink.put_off;
    *stalled_r = sink.stalled;
    *lost_r = sink.lost;
}

void sink_behave(void)
{
    sink.good = true;
}

/* ---- a session ---- */

static bool mischief(struct session *s, unsigned one_in)
{
    return !sink.good && rng_below(&s->rng, one_in) == 0;
}

static bool lose(struct session *s)
{
    sink.lost++;
    conn_close(&s->c);
    return false;
}

/* With dots as they came: no line of ours starts with one. */
static bool message_read(struct session *s)
{
    text_clear(&s->message);
    for (;;) {
        text_clear(&s->line);
        if (!conn_line(&s->c, &s->line) || s->message.n > MESSAGE_MAX)
            return false;
        if (strcmp(s->line.p, ".") == 0)
            return true;
        text_append(&s->message, s->line.p, s->line.n);
        text_append(&s->message, "\r\n", 2);
    }
}

/* After the final dot. What was noted counts as accepted: it must not be lost, whatever becomes of the 250. */
static bool message_take(struct session *s)
{
    if (mischief(s, 25)) {
        sink.put_off++;
        return conn_print(&s->c, "451 4.3.0 Later\r\n");
    }
    if (mischief(s, 40))
        return lose(s);
    s->untold = message_note(s);
    if (mischief(s, 40)) {
        sink.stalled++;
        sleep_ms(500 + rng_below(&s->rng, STALL_MAX_MS));
    }
    if (mischief(s, 40))
        return lose(s);
    if (!conn_print(&s->c, "250 2.0.0 Taken\r\n"))
        return false;
    return !mischief(s, 40) || lose(s);
}

static bool is(const struct session *s, const char *verb)
{
    return strncasecmp(s->line.p, verb, strlen(verb)) == 0;
}

/* MAIL and RCPT, taken or put off. */
static bool envelope(struct session *s)
{
    bool mail = is(s, "MAIL");
    if (!mail && !s->mail)
        return conn_print(&s->c, "503 5.5.1 MAIL first\r\n");
    if (mischief(s, mail ? 80 : 40)) {
        sink.put_off++;
        return conn_print(&s->c, "450 4.2.0 Not now\r\n");
    }
    s->mail = true;
    s->recipient = !mail;
    return conn_print(&s->c, "250 2.0.0 OK\r\n");
}

static bool data(struct session *s)
{
    bool good = s->recipient;
    s->mail = s->recipient = false;
    if (!good) /* DATA was sent ahead of the refusals (RFC 2920) */
        return conn_print(&s->c, "503 5.5.1 Nobody to send it to\r\n");
    return conn_print(&s->c, "354 Go on\r\n") && message_read(s) && message_take(s);
}

/* One command. Returns whether the session goes on. */
static bool command(struct session *s)
{
    text_clear(&s->line);
    if (!conn_line(&s->c, &s->line))
        return false;
    arrival_told(s);
    if (is(s, "MAIL") || is(s, "RCPT"))
        return envelope(s);
    if (is(s, "DATA"))
        return data(s);
    s->mail = s->recipient = false;
    if (is(s, "EHLO"))
        return conn_print(&s->c, "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n");
    if (is(s, "RSET") || is(s, "NOOP") || is(s, "HELO"))
        return conn_print(&s->c, "250 2.0.0 OK\r\n");
    if (!is(s, "QUIT"))
        return conn_print(&s->c, "500 5.5.1 What?\r\n");
    conn_print(&s->c, "221 2.0.0 Bye\r\n");
    return false;
}

static void *session_run(void *arg)
{
    struct session *s = arg;
    conn_limit(&s->c, IDLE_MS);
    bool on = mischief(s, 40) ? lose(s) : conn_print(&s->c, "220 sink.example ESMTP\r\n");
    while (on && !sink.end) {
        conn_limit(&s->c, IDLE_MS);
        on = command(s);
    }
    conn_close(&s->c);
    text_free(&s->line);
    text_free(&s->message);
    free(s);
    sink.sessions--;
    return NULL;
}

/* ---- the listener ---- */

static void session_start(int fd, const struct sockaddr_in *from)
{
    static uint64_t seed = 4711;
    pthread_t t;
    struct session *s = xzalloc(sizeof *s);
    conn_adopt(&s->c, fd);
    s->rng.state = ++seed;
    s->node = ntohl(from->sin_addr.s_addr) & 0xff;
    if (++sink.sessions > SESSIONS_MAX || pthread_create(&t, NULL, session_run, s)) {
        conn_limit(&s->c, 100);
        conn_print(&s->c, "421 4.3.2 Too busy\r\n");
        conn_close(&s->c);
        free(s);
        sink.sessions--;
        return;
    }
    pthread_detach(t);
}

static void *listen_run(void *arg)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(SINK_PORT)}, from;
    if (net_enter((unsigned)(uintptr_t)arg))
        fail("the sink cannot enter its host: %s", strerror(errno));
    sink.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sink.fd < 0 || bind(sink.fd, (struct sockaddr *)&a, sizeof a) || listen(sink.fd, SOMAXCONN))
        fail("the sink cannot listen: %s", strerror(errno));
    while (!sink.end) {
        struct pollfd p = {sink.fd, POLLIN, 0};
        socklen_t n = sizeof from;
        if (poll(&p, 1, 100) <= 0)
            continue;
        int fd = accept4(sink.fd, (struct sockaddr *)&from, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            session_start(fd, &from);
    }
    close(sink.fd);
    return NULL;
}

void sink_start(unsigned host)
{
    if (pthread_create(&sink.thread, NULL, listen_run, (void *)(uintptr_t)host))
        fail("no thread for the sink");
}

void sink_stop(void)
{
    sink.end = true;
    pthread_join(sink.thread, NULL);
    for (unsigned i = 0; sink.sessions && i < STOP_TRIES; i++)
        sleep_ms(10);
    sink_forget();
}
