/* The order of things: network, nodes, accounts, clients, faults, heal, dumps, checks, one line of result. */
#include "jepsen-like/disk.h"
#include "jepsen-like/nemesis.h"
#include "jepsen-like/net.h"
#include "jepsen-like/cluster.h"
#include "jepsen-like/options.h"
#include "jepsen-like/sink.h"
#include "jepsen-like/workload.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOST_MAIN = 10, HOST_CLIENTS = 11, CLIENTS_MAX = 40, SETTLE_MS = 60000 };

static const struct workload *const workloads[] = {&workload_set,     &workload_register, &workload_token,
                                                   &workload_session, &workload_pop3,     &workload_lifecycle,
                                                   &workload_queue};
enum { WORKLOADS = sizeof workloads / sizeof workloads[0] };

extern atomic_bool clients_over;

struct running {
    struct client client;
    const struct workload *workload;
    pthread_t thread;
};

static struct {
    struct options o;
    struct running *clients;
    unsigned client_n;
    unsigned replicas_differ; /* or could not be read */
    bool verified, disks;
} test;

static bool wanted(const struct workload *w)
{
    return !test.o.workload || name_in(w->user, test.o.workload);
}

/* ---- clients ---- */

static void client_init(struct client *c, unsigned process, unsigned index)
{
    *c = (struct client){.process = process, .index = index, .rng = {test.o.seed * 1000 + process}};
    c->imap.c.fd = c->smtp.c.fd = c->pop3.c.fd = -1;
}

static void client_close(struct client *c)
{
    imap_free(&c->imap);
    smtp_free(&c->smtp);
    pop3_free(&c->pop3);
    text_free(&c->message);
}

static void *client_thread(void *arg)
{
    struct running *r = arg;
    if (net_enter(HOST_CLIENTS + r->client.process - 1))
        fail("a client cannot enter its host: %s", strerror(errno));
    r->workload->run(&r->client);
    client_close(&r->client);
    return NULL;
}

static void clients_start(void)
{
    test.clients = xzalloc(CLIENTS_MAX * sizeof *test.clients);
    for (unsigned w = 0; w < WORKLOADS; w++)
        for (unsigned i = 0; wanted(workloads[w]) && i < workloads[w]->clients; i++) {
            struct running *r = &test.clients[test.client_n++];
            client_init(&r->client, test.client_n, i);
            r->workload = workloads[w];
        }
    for (unsigned i = 0; i < test.client_n; i++)
        if (pthread_create(&test.clients[i].thread, NULL, client_thread, &test.clients[i]))
            fail("no thread for a client");
}

static void clients_end(void)
{
    clients_over = true;
    for (unsigned i = 0; i < test.client_n; i++)
        pthread_join(test.clients[i].thread, NULL);
    free(test.clients);
}

static void ctl_must(const char *input, const char *const words[])
{
    struct text out = {0};
    int r = -1;
    for (unsigned i = 0; i < 50 && (r = nodes_ctl(1, input, &out, words)) != 0 && r != 5; i++)
        sleep_ms(100);
    if (r && r != 5) /* 5: an earlier try did it */
        fail("mailctl %s %s: %s", words[0], words[1], out.p);
    text_free(&out);
}

static void user_add(const char *user)
{
    char address[64];
    snprintf(address, sizeof address, "%s@example.org", user);
    ctl_must("secret\n", (const char *const[]){"user", "add", address, "--password-stdin", NULL});
}

static void workloads_prepare(void)
{
    struct client c;
    ctl_must(NULL, (const char *const[]){"domain", "add", "example.org", NULL});
    user_add("probe");
    for (unsigned w = 0; w < WORKLOADS; w++) {
        if (!wanted(workloads[w]))
            continue;
        user_add(workloads[w]->user);
        client_init(&c, 1000 + w, 0);
        if (workloads[w]->prepare)
            workloads[w]->prepare(&c);
        client_close(&c);
    }
}

/* ---- the end: every node tells everything, and all tell the same ---- */

static void difference_say(const struct text *a, const struct text *b, const char *user, unsigned node)
{
    size_t i = 0, line = 0;
    while (i < a->n && i < b->n && a->p[i] == b->p[i])
        if (a->p[i++] == '\n')
            line = i;
    say("FOUND n%u tells the mail of %s otherwise than the first: at byte %zu %.200s | %.200s", node, user, i,
        line < a->n ? a->p + line : "", line < b->n ? b->p + line : "");
}

static void dump_write(const struct dump *d, unsigned node, const char *user)
{
    char name[4200];
    snprintf(name, sizeof name, "%s/dump-%s-n%u", test.o.dir, user, node);
    FILE *f = fopen(name, "we");
    if (!f)
        return;
    fwrite(d->told.p, 1, d->told.n, f);
    fclose(f);
}

/* A node's; the nodes tell theirs at the same time. */
struct telling {
    pthread_t thread;
    unsigned node;
    const char *user;
    struct dump d;
    bool told;
};

static void *telling_run(void *arg)
{
    struct telling *t = arg;
    t->told = dump_make(&t->d, t->node, t->user);
    return NULL;
}

static void tell_all(struct telling t[NODES_MAX + 1], const char *user)
{
    for (unsigned node = 1; node <= nodes_count(); node++) {
        t[node] = (struct telling){.node = node, .user = user};
        if (pthread_create(&t[node].thread, NULL, telling_run, &t[node]))
            fail("no thread for a dump");
    }
    for (unsigned node = 1; node <= nodes_count(); node++)
        pthread_join(t[node].thread, NULL);
}

/* Against the first that told. Returns that one, NULL without. */
static struct telling *tellings_compare(struct telling t[NODES_MAX + 1], const char *user)
{
    struct telling *first = NULL;
    for (unsigned node = 1; node <= nodes_count(); node++) {
        if (!t[node].told) {
            test.replicas_differ++;
            say("FOUND n%u cannot tell the mail of %s", node, user);
        } else if (!first) {
            first = &t[node];
        } else if (t[node].d.told.n != first->d.told.n || memcmp(t[node].d.told.p, first->d.told.p, first->d.told.n)) {
            test.replicas_differ++;
            difference_say(&first->d.told, &t[node].d.told, user, node);
            dump_write(&first->d, first->node, user);
            dump_write(&t[node].d, node, user);
        }
    }
    return first;
}

static void workload_check(const struct workload *w)
{
    struct telling t[NODES_MAX + 1];
    tell_all(t, w->user);
    struct telling *first = tellings_compare(t, w->user);
    if (first) {
        say("%s: %zu messages in %zu mailboxes were told by all", w->name, first->d.n, first->d.mailbox_n);
        w->check(&first->d, &verdict);
    } else {
        verdict.unknown++;
    }
    say("%s: checked", w->name);
    for (unsigned node = 1; node <= nodes_count(); node++)
        dump_free(&t[node].d);
}

static void settle(void)
{
    for (uint64_t end = now_ns() + SETTLE_MS * NS_PER_MS; !cluster_well(); sleep_ms(200)) {
        nodes_supervise();
        if (now_ns() > end) {
            struct text out = {0};
            NODE_CTL(1, NULL, &out, "status");
            say("FOUND not all nodes are well %d ms after the last fault:\n%s", SETTLE_MS, out.p);
            text_free(&out);
            test.replicas_differ++;
            return;
        }
    }
}

static void replicas_verify(void)
{
    struct text out = {0};
    test.verified = NODE_CTL(1, NULL, &out, "verify") == 0;
    if (!test.verified)
        say("FOUND mailctl verify:\n%s", out.p);
    text_free(&out);
}

/* ---- the result ---- */

struct sums {
    size_t n, ok, info, delivered;
};

static struct sums sums_make(void)
{
    struct sums s = {0};
    const struct op *ops = history_ops(&s.n);
    size_t by[OP_KINDS][3] = {{0}};
    for (size_t i = 0; i < s.n; i++) {
        s.ok += ops[i].outcome == OUTCOME_OK;
        s.info += ops[i].outcome == OUTCOME_INFO;
        s.delivered += (ops[i].kind == OP_DELIVER || ops[i].kind == OP_SUBMIT) && ops[i].outcome == OUTCOME_OK;
        by[ops[i].kind][ops[i].outcome]++;
    }
    for (unsigned k = 0; k < OP_KINDS; k++)
        if (by[k][0] + by[k][1] + by[k][2])
            say("%-10s ok %zu, fail %zu, info %zu", history_kind_name(k), by[k][0], by[k][1], by[k][2]);
    return s;
}

/* A rolling upgrade is no fault: clients connect anew, and that is all they may see of it. */
static bool upgrades_bad(const struct nemesis_result *r)
{
    unsigned percent = test.o.smoke ? 1 : 0; /* a busy machine may be late with a new leader */
    bool many = r->upgrade_refused * 100 > r->upgrade_ops * percent;
    say("%u rolling upgrades: %u operations of clients, %u refused", r->upgrades, r->upgrade_ops, r->upgrade_refused);
    if (many)
        say("FOUND operations of clients were refused during rolling upgrades");
    return many || r->upgrade_wrong;
}

static bool vacuous(const struct sums *s, const struct nemesis_result *r)
{
    bool few = s->n == 0 || s->ok * 100 < s->n * 60 || s->info * 100 > s->n * 20;
    if (few)
        say("FOUND too little worked: %zu of %zu, %zu of unknown outcome", s->ok, s->n, s->info);
    if (s->delivered < test.o.delivered_min)
        say("FOUND %zu messages were acknowledged, %u are wanted", s->delivered, test.o.delivered_min);
    if (r->least < test.o.rounds_min && !test.o.no_faults)
        say("FOUND not every fault came %u times%s", test.o.rounds_min,
            r->out_of_time ? ": this machine or the recoveries are too slow" : "");
    return few || s->delivered < test.o.delivered_min || (r->least < test.o.rounds_min && !test.o.no_faults);
}

static int result_say(const struct nemesis_result *r)
{
    struct sums s = sums_make();
    const struct verdict *v = &verdict;
    bool replicas = test.verified && !test.replicas_differ;
    bool upgrades = !upgrades_bad(r);
    bool pass = upgrades && !v->lost && !v->dup && !v->stale && !v->nonlinearizable && !v->unknown && replicas &&
                !r->late && nodes_crashes() == 0 && !vacuous(&s, r);
    uint64_t carried, dropped;
    net_counts(&carried, &dropped);
    say("packets carried %llu, dropped %llu; recovery p50 %u ms, max %u ms; nodes ended by themselves: %u, crashed: %u",
        (unsigned long long)carried, (unsigned long long)dropped, r->recovery_p50_ms, r->recovery_max_ms, nodes_exits(),
        nodes_crashes());
    printf("JEPSEN-LIKE ops=%zu ok=%zu info=%zu faults=%u lost=%u dup=%u stale=%u nonlinearizable=%u unknown=%u "
           "replicas=%s "
           "recovery_p99=%ums %s\n",
           s.n, s.ok, s.info, r->faults, v->lost, v->dup, v->stale, v->nonlinearizable, v->unknown,
           replicas ? "identical" : "different", r->recovery_p99_ms, pass ? "PASS" : "FAIL");
    return pass ? 0 : 1;
}

static bool enough(void)
{
    return history_delivered() >= test.o.delivered_min;
}

static void faults_make(struct nemesis_result *r)
{
    struct nemesis_options n = {.seconds = test.o.seconds,
                                .rounds_min = test.o.rounds_min,
                                .enough = enough,
                                .seconds_max = test.o.seconds_max,
                                .fault_ms = test.o.fault_ms,
                                .calm_ms = test.o.calm_ms,
                                .disks = test.disks,
                                .next_build = test.o.next != NULL,
                                .smoke = test.o.smoke,
                                .only = test.o.fault,
                                .seed = test.o.seed};
    if (!test.o.no_faults) {
        nemesis_run(&n, r);
        return;
    }
    for (uint64_t end = now_ns() + n.seconds * NS_PER_S; now_ns() < end; sleep_ms(50))
        nodes_supervise();
}

static void checks(void)
{
    char name[4200];
    settle();
    say("all nodes are well");
    for (unsigned w = 0; w < WORKLOADS; w++)
        if (wanted(workloads[w]) && workloads[w]->drain)
            workloads[w]->drain();
    for (unsigned w = 0; w < WORKLOADS; w++)
        if (wanted(workloads[w]))
            workload_check(workloads[w]);
    replicas_verify();
    snprintf(name, sizeof name, "%s/history", test.o.dir);
    history_write(name);
}

/* Children die with this process (PDEATHSIG), and with it the namespaces. */
static void on_signal(int number)
{
    _exit(128 + number);
}

static void limits_set(void)
{
    struct rlimit files = {65536, 65536}, core = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_CORE, &core);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGHUP, on_signal);
}

int main(int argc, char **argv)
{
    struct nemesis_result r = {0};
    options_parse(&test.o, argc, argv);
    limits_set();
    say("seed %llu, build %s, data in %s", (unsigned long long)test.o.seed, test.o.build, test.o.dir);
    if (mkdir(test.o.dir, 0755) && errno != EEXIST)
        fail("%s cannot be made: %s", test.o.dir, strerror(errno));
    if (!(test.disks = disks_start()))
        say("no disks of their own for the nodes (loop devices are wanted): power cuts and full disks are left out");
    net_start(SINK_HOST);
    sink_start(SINK_HOST);
    if (net_enter(HOST_MAIN))
        fail("no host for the test itself: %s", strerror(errno));
    struct nodes_options nodes = {.build = test.o.build,
                                  .maild = test.o.maild,
                                  .next = test.o.next,
                                  .dir = test.o.dir,
                                  .n = test.o.nodes,
                                  .voters = test.o.voters,
                                  .sync_lies = test.o.sync_lies,
                                  .disk_mb = test.disks ? test.o.disk_mb : 0};
    nodes_start(&nodes);
    cluster_make();
    say("%u nodes serve", test.o.nodes);
    workloads_prepare();
    say("workloads are prepared");
    for (unsigned node = 1; test.o.sync_lies && node <= test.o.nodes; node++)
        disk_sync(node_disk(node)); /* so that a cut leaves a cluster to find losses in */
    client_pace = test.o.pace;
    clients_start();
    faults_make(&r);
    say("%u faults of %u kinds", r.faults, r.kinds);
    clients_end();
    checks();
    int code = result_say(&r);
    nodes_end();
    sink_stop();
    net_stop();
    history_free();
    return code;
}
