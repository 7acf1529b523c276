/* Mail through a server to the next hop: sessions hand messages over by SMTP, as fast as they are taken, and the hop
 * counts what comes out. The rate is that of arrivals, from the first message to the last one's arrival. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/conn.h"
#include "bench/hop.h"
#include "bench/message.h"
#include "bench/pool.h"
#include "bench/stats.h"

enum { ARRIVE_S = 120 }; /* of what was taken */

struct relayed {
    struct stats stats;
    long refused;
    double end;
};

static void expect(struct conn *c, char code)
{
    char line[1024];
    do
        conn_line(c, line, sizeof line);
    while (strlen(line) > 3 && line[3] == '-');
    if (line[0] != code)
        load_fail("%s:%s says: %s", c->target->host, c->target->port, line);
}

static void greet(struct conn *c, const struct load_options *o, int number)
{
    conn_open(c, &o->target[number % o->targets], o->tls);
    expect(c, '2');
    conn_print(c, "EHLO bench.example\r\n");
    expect(c, '2');
}

static bool hand_over(struct conn *c, const struct message *m, const char *recipient)
{
    char line[1024];
    conn_print(c, "MAIL FROM:<sender@example.org>\r\nRCPT TO:<%s>\r\nDATA\r\n", recipient);
    expect(c, '2');
    expect(c, '2');
    expect(c, '3');
    for (int i = 0; i < m->parts; i++)
        conn_write(c, m->part[i].bytes, m->part[i].length, true);
    conn_write(c, ".\r\n", 3, false);
    conn_line(c, line, sizeof line);
    if (line[0] == '5')
        load_fail("%s:%s says: %s", c->target->host, c->target->port, line);
    return line[0] == '2';
}

static void session_run(struct pool *p, int number, void *session)
{
    const struct load_options *o = p->options;
    struct relayed *r = session;
    struct conn c;
    struct message m;
    char recipient[128];
    uint64_t state = o->seed << 20 | (uint64_t)number;
    greet(&c, o, number);
    pool_ready(p);
    for (double now = load_now(); now < p->start + o->seconds; now = r->end) {
        load_address(o, (int)(load_random(&state) % (uint64_t)o->users), recipient, sizeof recipient);
        message_make(&m, load_random(&state), o->size, recipient);
        bool taken = hand_over(&c, &m, recipient);
        r->end = load_now();
        if (taken)
            stats_add(&r->stats, r->end - now);
        else
            r->refused++;
    }
    conn_print(&c, "QUIT\r\n");
    conn_close(&c);
}

static void arrivals_wait(struct hop *h, long wanted)
{
    for (double end = load_now() + ARRIVE_S; atomic_load(&h->arrived) < wanted; usleep(2000))
        if (load_now() > end)
            load_fail("%ld messages were taken and %ld arrived at the next hop", wanted, atomic_load(&h->arrived));
}

void relay_run(const struct load_options *o)
{
    static struct hop hop;
    struct relayed *all = calloc((size_t)o->sessions, sizeof *all);
    struct pool p = {0};
    struct stats s = {0};
    long refused = 0;
    double end = 0;
    if (!all || o->hop == 0)
        load_fail("relay wants --hop PORT");
    hop_start(&hop, o->hop);
    message_init();
    pool_run(&p, o, session_run, all, sizeof *all);
    for (int i = 0; i < o->sessions; i++) {
        stats_join(&s, &all[i].stats);
        stats_close(&all[i].stats);
        refused += all[i].refused;
        end = all[i].end > end ? all[i].end : end;
    }
    arrivals_wait(&hop, (long)s.count);
    stats_sort(&s);
    printf("{\"taken\": %zu, \"arrived\": %ld, \"refused\": %ld, \"rate\": %.2f, \"accept_rate\": %.2f, \"p50\": %.3f, "
           "\"p99\": %.3f}\n",
           s.count, atomic_load(&hop.arrived), refused, (double)s.count / (atomic_load(&hop.last) - p.start),
           (double)s.count / (end - p.start), stats_percentile(&s, .5), stats_percentile(&s, .99));
    stats_close(&s);
    free(all);
}
