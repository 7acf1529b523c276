/* What mail clients do all day, in turns: every session on a user of its own, every answer checked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/imap.h"
#include "bench/message.h"
#include "bench/pool.h"
#include "bench/stats.h"

enum { SELECT, HEADERS, BODY, STORE, SEARCH, NOOP, KINDS };
enum { INBOX_MOST = 100000 };

static const char *const kind_names[KINDS] = {"select", "headers", "body", "store", "search", "noop"};

struct mixed {
    struct imap imap;
    struct stats stats[KINDS];
    const struct load_options *options;
    int user;
    long messages; /* in the INBOX: nobody else changes it */
    long flagged;
    char *flag; /* whether message n has \Flagged */
    uint64_t state;
    double end;
};

static void expect(const struct mixed *m, const char *what, long have, long want)
{
    if (have != want)
        load_fail("%s:%s, user %d: %s gave %ld instead of %ld", m->imap.c.target->host, m->imap.c.target->port,
                  m->user + 1, what, have, want);
}

static long any(struct mixed *m)
{
    return (long)(load_random(&m->state) % (uint64_t)m->messages) + 1;
}

static void do_body(struct mixed *m, const char *address)
{
    imap_command(&m->imap, "FETCH %ld BODY.PEEK[]", any(m));
    expect(m, "FETCH", m->imap.fetched, 1);
    if (!message_matches(m->imap.literal, m->imap.length, address))
        load_fail("%s:%s: a message of %s differs from what was sent", m->imap.c.target->host, m->imap.c.target->port,
                  address);
}

static void do_headers(struct mixed *m)
{
    long first = (long)(load_random(&m->state) % (uint64_t)(m->messages - 9)) + 1;
    imap_command(&m->imap,
                 "FETCH %ld:%ld (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE MESSAGE-ID)])",
                 first, first + 9);
    expect(m, "FETCH of headers", m->imap.fetched, 10);
}

static void do_store(struct mixed *m)
{
    long n = any(m);
    imap_command(&m->imap, "STORE %ld %cFLAGS.SILENT (\\Flagged)", n, m->flag[n] ? '-' : '+');
    m->flagged += m->flag[n] ? -1 : 1;
    m->flag[n] = !m->flag[n];
}

static void do_search(struct mixed *m)
{
    if (load_random(&m->state) & 1) {
        imap_command(&m->imap, "SEARCH FLAGGED");
        expect(m, "SEARCH FLAGGED", m->imap.found, m->flagged);
    } else {
        imap_command(&m->imap, "SEARCH SUBJECT \"Re:\"");
        expect(m, "SEARCH SUBJECT", m->imap.found, m->messages);
    }
}

static void do_one(struct mixed *m, int kind, const char *address)
{
    switch (kind) {
    case SELECT:
        imap_command(&m->imap, "SELECT INBOX");
        expect(m, "SELECT", m->imap.exists, m->messages);
        break;
    case HEADERS:
        do_headers(m);
        break;
    case BODY:
        do_body(m, address);
        break;
    case STORE:
        do_store(m);
        break;
    case SEARCH:
        do_search(m);
        break;
    default:
        imap_command(&m->imap, "NOOP");
    }
}

static void prepare(struct mixed *m, const struct load_options *o, int number)
{
    m->user = number % o->users;
    m->state = o->seed << 20 | (uint64_t)number;
    imap_open(&m->imap, o, &o->target[number % o->targets], m->user);
    imap_command(&m->imap, "SELECT INBOX");
    m->messages = m->imap.exists;
    if (m->messages < 10 || m->messages > INBOX_MOST)
        load_fail("the INBOX of user %d has %ld messages: deliver some first", m->user + 1, m->messages);
    imap_command(&m->imap, "STORE 1:* -FLAGS.SILENT (\\Flagged)");
    if (!(m->flag = calloc((size_t)m->messages + 1, 1)))
        load_fail("out of memory");
}

static void session_run(struct pool *p, int number, void *session)
{
    struct mixed *m = session;
    const struct load_options *o = p->options;
    char address[128];
    prepare(m, o, number);
    load_address(o, m->user, address, sizeof address);
    pool_ready(p);
    double now = load_now();
    for (int kind = number % KINDS; now < p->start + o->seconds; kind = (kind + 1) % KINDS) {
        double begin = now;
        do_one(m, kind, address);
        now = load_now();
        stats_add(&m->stats[kind], now - begin);
    }
    m->end = now;
    imap_close(&m->imap);
    free(m->flag);
}

void mixed_run(const struct load_options *o)
{
    if (o->sessions > o->users)
        load_fail("--sessions %d needs as many --users: a session counts on being alone with its INBOX", o->sessions);
    struct mixed *all = calloc((size_t)o->sessions, sizeof *all);
    if (!all)
        load_fail("out of memory");
    struct pool p = {0};
    struct stats s[KINDS] = {0};
    size_t operations = 0;
    double end = 0;
    message_init();
    pool_run(&p, o, session_run, all, sizeof *all);
    for (int i = 0; i < o->sessions; i++) {
        end = all[i].end > end ? all[i].end : end;
        for (int k = 0; k < KINDS; k++) {
            operations += all[i].stats[k].count;
            stats_join(&s[k], &all[i].stats[k]);
            stats_close(&all[i].stats[k]);
        }
    }
    printf("{\"operations\": %zu, \"rate\": %.2f", operations, (double)operations / (end - p.start));
    for (int k = 0; k < KINDS; k++) {
        stats_sort(&s[k]);
        printf(", \"%s\": {\"p50\": %.3f, \"p99\": %.3f}", kind_names[k], stats_percentile(&s[k], .5),
               stats_percentile(&s[k], .99));
        stats_close(&s[k]);
    }
    printf("}\n");
    free(all);
}
