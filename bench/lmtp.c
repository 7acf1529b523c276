/* Deliveries over LMTP (RFC 2033). A delivery's latency runs from MAIL FROM to the recipient's 250 after the message.
 * MAIL, RCPT and DATA go in one write (PIPELINING, RFC 2920), as a mail relay sends them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/conn.h"
#include "bench/message.h"
#include "bench/pool.h"
#include "bench/stats.h"

struct delivery {
    struct stats stats;
    long refused;
    long counts[LOAD_USERS]; /* deliveries acknowledged, a user */
    double end;              /* of the last one */
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
    if (o->tls == LOAD_TLS_STARTTLS) {
        conn_print(c, "LHLO bench.example\r\nSTARTTLS\r\n");
        expect(c, '2');
        expect(c, '2');
        conn_start_tls(c);
    }
    conn_print(c, "LHLO bench.example\r\n");
    expect(c, '2');
}

/* Returns whether the server took it; a temporary refusal is counted, a final one ends the run. */
static bool deliver(struct conn *c, const struct message *m, const char *recipient)
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
    struct delivery *d = session;
    struct conn c;
    struct message m;
    char recipient[128];
    uint64_t state = o->seed << 20 | (uint64_t)number;
    greet(&c, o, number);
    pool_ready(p);
    double now = load_now();
    for (long done = 0; o->count ? done < o->count : now < p->start + o->seconds; done++) {
        int user = o->count ? number % o->users : (int)(load_random(&state) % (uint64_t)o->users);
        load_address(o, user, recipient, sizeof recipient);
        message_make(&m, load_random(&state), o->size, recipient);
        double begin = load_now();
        bool taken = deliver(&c, &m, recipient);
        now = load_now();
        if (taken) {
            stats_add(&d->stats, now - begin);
            d->counts[user]++;
        } else {
            d->refused++;
        }
    }
    d->end = now;
    conn_print(&c, "QUIT\r\n");
    conn_close(&c);
}

void lmtp_run(const struct load_options *o)
{
    struct delivery *all = calloc((size_t)o->sessions, sizeof *all);
    if (!all)
        load_fail("out of memory");
    struct pool p = {0};
    struct stats s = {0};
    long refused = 0;
    double end = 0;
    message_init();
    pool_run(&p, o, session_run, all, sizeof *all);
    for (int i = 0; i < o->sessions; i++) {
        stats_join(&s, &all[i].stats);
        stats_close(&all[i].stats);
        refused += all[i].refused;
        end = all[i].end > end ? all[i].end : end;
        for (int u = 0; i > 0 && u < o->users; u++)
            all[0].counts[u] += all[i].counts[u];
    }
    stats_sort(&s);
    printf("{\"delivered\": %zu, \"refused\": %ld, \"rate\": %.2f, \"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f, "
           "\"counts\": [",
           s.count, refused, (double)s.count / (end - p.start), stats_percentile(&s, .5), stats_percentile(&s, .99),
           stats_percentile(&s, 1));
    for (int u = 0; u < o->users; u++)
        printf("%s%ld", u ? "," : "", all[0].counts[u]);
    printf("]}\n");
    stats_close(&s);
    free(all);
}
