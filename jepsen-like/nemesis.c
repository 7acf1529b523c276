#include "jepsen-like/nemesis_impl.h"

#include "jepsen-like/message.h"
#include "jepsen-like/smtp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct fault_list *const lists[] = {&faults_of_processes, &faults_of_network, &faults_of_members,
                                                 &faults_of_disks};
enum { LISTS = sizeof lists / sizeof lists[0], FAULTS_MAX = 64, WHOLE_MAX_MS = 120000 };

/* ---- what faults are made with ---- */

unsigned nemesis_node(struct nemesis *n)
{
    return 1 + rng_below(&n->rng, nodes_count());
}

unsigned nemesis_leader(struct nemesis *n)
{
    unsigned leader = cluster_leader();
    return leader ? leader : nemesis_node(n);
}

void nemesis_shuffle(struct nemesis *n, unsigned order[NODES_MAX])
{
    for (unsigned i = 0; i < nodes_count(); i++) {
        unsigned j = rng_below(&n->rng, i + 1);
        order[i] = order[j];
        order[j] = i + 1;
    }
}

unsigned nemesis_majority(struct nemesis *n, unsigned nodes[NODES_MAX])
{
    unsigned k = cluster_voters(nodes);
    if (k)
        nodes[rng_below(&n->rng, k)] = nodes[k - 1];
    return k ? k - 1 : 0;
}

void nemesis_kill(struct nemesis *n, unsigned node)
{
    node_signal(node, SIGKILL);
    node_wait(node, 1000);
    n->victims[node] = true;
}

void nemesis_start_killed(struct nemesis *n)
{
    for (unsigned node = 1; node <= nodes_count(); node++)
        if (n->victims[node])
            node_start(node);
}

void nemesis_wait(unsigned ms)
{
    for (uint64_t end = now_ns() + ms * NS_PER_MS; now_ns() < end; sleep_ms(20))
        nodes_supervise();
}

void nemesis_whole(struct nemesis *n)
{
    unsigned voters[NODES_MAX];
    uint64_t start = now_ns(), end = start + WHOLE_MAX_MS * NS_PER_MS;
    while (!cluster_well() || cluster_voters(voters) < nodes_voters()) {
        if (now_ns() > end) {
            say("FOUND not all members are well and %u of them vote within %d ms", nodes_voters(), WHOLE_MAX_MS);
            n->r->late++;
            return;
        }
        nemesis_wait(50);
    }
    if (now_ns() - start > NS_PER_S)
        say("  whole again after %llu ms", (unsigned long long)((now_ns() - start) / NS_PER_MS));
}

void nemesis_nothing(struct nemesis *n)
{
    (void)n;
}

/* ---- recovery ---- */

bool nemesis_serves(unsigned node)
{
    static uint64_t id;
    static struct rng r = {99};
    struct smtp s = {.c.fd = -1};
    struct text message = {0};
    bool ok = false;
    message_make(&message, "probe", ++id, &r);
    if (smtp_open(&s, node, true, 2000))
        ok = smtp_deliver(&s, "probe", message.p, message.n, 2000) == OUTCOME_OK;
    smtp_free(&s);
    text_free(&message);
    return ok;
}

unsigned nemesis_recovery_ms(unsigned max_ms)
{
    uint64_t start = now_ns(), end = start + max_ms * NS_PER_MS;
    for (unsigned node = 1; node <= nodes_count();) {
        nodes_supervise();
        if (nemesis_serves(node))
            node++;
        else if (now_ns() > end)
            return 0;
        else
            sleep_ms(20);
    }
    return (unsigned)((now_ns() - start) / NS_PER_MS) + 1;
}

static int unsigned_compare(const void *a, const void *b)
{
    const unsigned *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void recovery_note(struct nemesis *n, struct nemesis_result *r, const char *name)
{
    unsigned ms = nemesis_recovery_ms(RECOVERY_MAX_MS);
    if (ms == 0) {
        r->late++;
        say("FOUND no recovery within %d ms after %s", RECOVERY_MAX_MS, name);
        ms = RECOVERY_MAX_MS;
    }
    say("  served by all %u ms after %s", ms, name);
    if (n->recovery_n < RECOVERIES_MAX)
        n->recoveries[n->recovery_n++] = ms;
}

/* ---- when a fault was on ---- */

static struct {
    struct window {
        uint64_t from, to;
    } at[RECOVERIES_MAX];
    unsigned n;
} windows;

static void window_note(uint64_t from)
{
    if (windows.n < RECOVERIES_MAX)
        windows.at[windows.n++] = (struct window){from, now_ns()};
}

bool nemesis_was_on(uint64_t from, uint64_t to)
{
    for (unsigned i = 0; i < windows.n; i++)
        if (windows.at[i].from <= to && windows.at[i].to >= from)
            return true;
    return false;
}

/* ---- the loop ---- */

static void fault_run(struct nemesis *n, struct nemesis_result *r, const struct fault *f)
{
    unsigned ms = n->o->fault_ms / 3 + rng_below(&n->rng, n->o->fault_ms * 2 / 3 + 1);
    uint64_t start = now_ns();
    n->victim = 0;
    memset(n->victims, 0, sizeof n->victims);
    f->begin(n);
    say("%s for %u ms%s%.0u", f->name, ms, n->victim ? ": n" : "", n->victim);
    nemesis_wait(ms);
    f->end(n);
    r->faults++;
    recovery_note(n, r, f->name);
    window_note(start);
    nemesis_wait(n->o->calm_ms / 2 + rng_below(&n->rng, n->o->calm_ms + 1));
}

static bool wanted(const struct nemesis_options *o, const struct fault *f)
{
    if ((f->disks && !o->disks) || (f->next_build && !o->next_build))
        return false;
    return o->only ? name_in(f->name, o->only) : !(f->long_only && o->smoke);
}

/* The faults of this run in a random order. Returns how many. */
static unsigned round_make(struct nemesis *n, const struct fault *order[FAULTS_MAX])
{
    unsigned k = 0;
    for (unsigned l = 0; l < LISTS; l++)
        for (unsigned i = 0; i < lists[l]->n && k < FAULTS_MAX; i++)
            if (wanted(n->o, &lists[l]->faults[i])) {
                unsigned j = rng_below(&n->rng, k + 1);
                order[k++] = order[j];
                order[j] = &lists[l]->faults[i];
            }
    if (k == 0)
        fail("there is no fault with that name; --list-faults tells them");
    return k;
}

static void recoveries_sum(struct nemesis *n)
{
    qsort(n->recoveries, n->recovery_n, sizeof n->recoveries[0], unsigned_compare);
    if (n->recovery_n == 0)
        return;
    n->r->recovery_p50_ms = n->recoveries[n->recovery_n / 2];
    n->r->recovery_p99_ms = n->recoveries[(n->recovery_n * 99 - 1) / 100];
    n->r->recovery_max_ms = n->recoveries[n->recovery_n - 1];
}

void nemesis_run(const struct nemesis_options *o, struct nemesis_result *r)
{
    struct nemesis *n = xzalloc(sizeof *n);
    const struct fault *order[FAULTS_MAX];
    unsigned rounds = 0;
    uint64_t start = now_ns(), end = start + o->seconds * NS_PER_S;
    uint64_t last = o->seconds_max ? start + o->seconds_max * NS_PER_S : UINT64_MAX;
    *r = (struct nemesis_result){0};
    n->o = o;
    n->r = r;
    n->rng.state = o->seed;
    for (bool on = true; on; rounds++) {
        r->kinds = round_make(n, order);
        for (unsigned i = 0; i < r->kinds && on; i++) {
            uint64_t now = now_ns();
            bool wanted_more = rounds < o->rounds_min || !o->enough();
            r->out_of_time = wanted_more && now >= last;
            if ((on = now < end || (wanted_more && now < last)))
                fault_run(n, r, order[i]);
        }
        r->least += on;
    }
    recoveries_sum(n);
    free(n);
}

void nemesis_list(void)
{
    for (unsigned l = 0; l < LISTS; l++)
        for (unsigned i = 0; i < lists[l]->n; i++)
            puts(lists[l]->faults[i].name);
}
