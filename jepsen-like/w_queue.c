/* Queue to sink: clients hand in mail for elsewhere at any node, authenticated, some of it for a local mailbox too.
 * What was acknowledged arrives at the sink (sink.h) at least once and whole, twice only where a death or a lost reply
 * explains it; what was refused, or never sent, does not. */
#include "jepsen-like/nemesis.h"
#include "jepsen-like/nodes.h"
#include "jepsen-like/sink.h"
#include "jepsen-like/workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOMAINS = 5, DRAIN_MS = 120000, QUIET_MS = 5000, LOCAL_TOO = 1, FOREIGN_TOLD = 3 };
static const uint64_t queue_commit_ns = 2 * NS_PER_S; /* an outcome is committed long before that */

/* ---- clients ---- */

static void setting(const char *name, const char *value)
{
    struct text out = {0};
    int r = -1;
    for (unsigned i = 0; i < 50 && r; i++)
        if ((r = NODE_CTL(1, NULL, &out, "settings", "set", name, value)) != 0)
            sleep_ms(100);
    if (r)
        fail("mailctl settings set %s: %s", name, out.p);
    text_free(&out);
}

/* Retries within seconds, all domains at the sink, no limit of mail an hour. */
static void prepare(struct client *c)
{
    struct text hosts = {0};
    (void)c;
    for (unsigned i = 0; i < DOMAINS; i++)
        text_printf(&hosts, "d%u.sink.example 10.77.0.%u:%u\n", i, SINK_HOST, SINK_PORT);
    setting("queue.hosts", hosts.p);
    setting("queue.schedule", "1s 2s 3s");
    setting("queue.rate", "0");
    text_free(&hosts);
}

static void run(struct client *c)
{
    char to[2][64];
    while (!client_over()) {
        if (!client_submission(c, "que"))
            continue;
        uint64_t id = client_id_new(c);
        unsigned local = rng_below(&c->rng, 5) == 0;
        const char *list[] = {to[0], local ? "que@example.org" : NULL, NULL};
        snprintf(to[0], sizeof to[0], "u%u@d%u.sink.example", rng_below(&c->rng, 100), rng_below(&c->rng, DOMAINS));
        message_make(&c->message, "que", id, &c->rng);
        struct op op = client_begin(c, OP_SUBMIT, c->smtp.node, id);
        op.a = local ? LOCAL_TOO : 0;
        client_end(&op, smtp_send(&c->smtp, "que@example.org", list, c->message.p, c->message.n, COMMAND_TIMEOUT_MS));
        client_pause(c, op.outcome == OUTCOME_OK ? 60 : 200);
    }
}

/* ---- check ---- */

static bool arrived(const struct sink_arrival *a, size_t n, uint64_t id)
{
    size_t from = 0;
    while (from < n) {
        size_t middle = from + (n - from) / 2;
        if (a[middle].id == id)
            return true;
        if (a[middle].id < id)
            from = middle + 1;
        else
            n = middle;
    }
    return false;
}

static size_t missing(const struct op *ops, size_t op_n)
{
    size_t n, count = 0;
    struct sink_arrival *a = sink_arrivals(&n);
    for (size_t i = 0; i < op_n; i++)
        count += ops[i].kind == OP_SUBMIT && ops[i].outcome == OUTCOME_OK && !arrived(a, n, ops[i].key);
    free(a);
    return count;
}

/* And what was not acknowledged but taken: until nothing has come for longer than the last wait of the schedule. */
static void drain_rest(uint64_t end)
{
    size_t n = 0, before = SIZE_MAX;
    while (n != before && now_ns() < end) {
        before = n;
        for (uint64_t quiet = now_ns() + QUIET_MS * NS_PER_MS; now_ns() < quiet; sleep_ms(50))
            nodes_supervise();
        free(sink_arrivals(&n));
    }
}

static void drain(void)
{
    size_t op_n;
    const struct op *ops = history_ops(&op_n);
    uint64_t start = now_ns(), end = start + DRAIN_MS * NS_PER_MS;
    sink_behave();
    while (missing(ops, op_n) && now_ns() < end) {
        nodes_supervise();
        sleep_ms(100);
    }
    drain_rest(end);
    say("the queue was empty %llu ms after the faults", (unsigned long long)((now_ns() - start) / NS_PER_MS));
}

/* Between the 250 and its commit a node may die, or be thought dead, and another one goes on: where a fault was on, or
 * where the sink itself did not say 250 to the end. */
static bool explained(const struct sink_arrival *first)
{
    uint64_t told = first->told ? first->told : first->at;
    return first->told == 0 || nemesis_was_on(first->at, told + queue_commit_ns);
}

static void arrivals_check(const struct sink_arrival *a, size_t n, struct verdict *v)
{
    unsigned again = 0, by_sink = 0, bad = v->dup, put_off, stalled, lost;
    for (size_t i = 0; i < n; i++) {
        if (!a[i].whole)
            finding(&v->lost, "message %llx arrived damaged through n%u", (unsigned long long)a[i].id, a[i].node);
        if (i == 0 || a[i].id != a[i - 1].id)
            continue;
        again++;
        by_sink += a[i - 1].told == 0;
        if (!explained(&a[i - 1]))
            finding(&v->dup,
                    "message %llx arrived through n%u, its 250 was read, and arrived through n%u %llu ms later",
                    (unsigned long long)a[i].id, a[i - 1].node, a[i].node,
                    (unsigned long long)((a[i].at - a[i - 1].at) / NS_PER_MS));
    }
    sink_counts(&put_off, &stalled, &lost);
    say("sink: %zu arrivals, %u of them again: %u explained by a 250 not read, %u by faults; put off %u, stalled %u, "
        "connections lost %u",
        n, again, by_sink, again - by_sink - (v->dup - bad), put_off, stalled, lost);
}

static unsigned local_count(const struct dump *d, uint64_t id)
{
    unsigned n = 0;
    for (size_t i = 0; i < d->n; i++)
        n += d->messages[i].id == id && strcmp(d->messages[i].group, "que") == 0;
    return n;
}

/* One command delivers here and enqueues: both or none. */
static void submission_check(const struct op *op, bool there, const struct dump *d, struct verdict *v)
{
    unsigned long long id = op->key;
    unsigned here = op->a == LOCAL_TOO ? local_count(d, op->key) : 0;
    if (op->outcome == OUTCOME_OK && !there)
        finding(&v->lost, "submission %llx through n%u was acknowledged and did not arrive", id, op->node);
    if (op->outcome == OUTCOME_FAIL && there)
        finding(&v->nonlinearizable, "submission %llx through n%u was refused and arrived", id, op->node);
    if (op->a != LOCAL_TOO)
        return;
    if (op->outcome == OUTCOME_OK && here == 0)
        finding(&v->lost, "submission %llx through n%u is not in its local mailbox", id, op->node);
    if (op->outcome == OUTCOME_FAIL && here)
        finding(&v->nonlinearizable, "submission %llx through n%u was refused and is in its local mailbox", id,
                op->node);
    if (here > 1)
        finding(&v->dup, "submission %llx through n%u is %u times in its local mailbox", id, op->node, here);
    if (op->outcome == OUTCOME_INFO && (here > 0) != there)
        finding(&v->nonlinearizable, "submission %llx through n%u took effect by half: here %u, there %d", id, op->node,
                here, there);
}

/* Nothing failed for good, and nothing waited for hours: there is nothing to notify of, whatever clocks and nodes do.
 */
static void foreign_check(const struct dump *d, struct verdict *v)
{
    for (size_t i = 0; i < d->n; i++) {
        const struct dump_message *m = &d->messages[i];
        if (strcmp(m->group, "que") == 0)
            continue;
        finding(&v->nonlinearizable, "UID %llu of the sender's mailbox is none of what was sent",
                (unsigned long long)m->uid);
        if (v->nonlinearizable <= FOREIGN_TOLD)
            say("it begins:\n%s", m->head ? m->head : m->group);
    }
}

static void check(const struct dump *d, struct verdict *v)
{
    size_t op_n, n, known = 0, ids = 0;
    const struct op *ops = history_ops(&op_n);
    struct sink_arrival *a = sink_arrivals(&n);
    for (size_t i = 0; i < op_n; i++) {
        if (ops[i].kind != OP_SUBMIT)
            continue;
        bool there = arrived(a, n, ops[i].key);
        known += there;
        submission_check(&ops[i], there, d, v);
    }
    for (size_t i = 0; i < n; i++)
        ids += i == 0 || a[i].id != a[i - 1].id;
    if (ids != known)
        finding(&v->nonlinearizable, "%zu messages arrived that nobody sent", ids - known);
    foreign_check(d, v);
    arrivals_check(a, n, v);
    free(a);
}

const struct workload workload_queue = {.name = "queue to sink",
                                        .user = "que",
                                        .clients = 4,
                                        .prepare = prepare,
                                        .run = run,
                                        .drain = drain,
                                        .check = check};
