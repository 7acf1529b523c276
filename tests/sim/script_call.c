/* Something done on a node's host while the scripts' host waits. Its host may die under it. */
#include "tests/sim/script.h"

enum { POLL_US = 10 * SIM_MS, MEMBER_US = 20 * SIM_S };

struct call {
    struct sim_node *n;
    call_fn *fn;
    void *arg;
    int status;
    bool done;
};

static void call_run(void *arg)
{
    struct call *c = arg;
    c->status = c->fn(c->n, c->arg);
    c->done = true;
}

int node_call(struct sim_node *n, call_fn *fn, void *arg, int64_t most_us)
{
    struct call *c = mem_zalloc(sizeof *c); /* left behind when the host dies */
    unsigned life = sim_host_life(n->host);
    int64_t until = sim_now_us() + most_us;
    *c = (struct call){.n = n, .fn = fn, .arg = arg};
    sim_spawn(n->host, "call", call_run, c);
    while (!c->done && sim_host_life(n->host) == life && sim_now_us() < until)
        sim_sleep(POLL_US);
    return c->done ? c->status : ERR_TIMEOUT;
}

/* ---- members ---- */

struct member_call {
    struct member_request m;
    char name[32], address[64];
    struct task_queue home;
    bool posted;
};

static void posted(void *arg)
{
    struct member_call *c = arg;
    c->posted = true;
}

static void came_home(struct task *t)
{
    (void)t;
}

static int member_run(struct sim_node *n, void *arg)
{
    struct member_call *c = arg;
    if (n->state != NODE_UP)
        return ERR_UNAVAILABLE;
    task_queue_init(&c->home, posted, c);
    c->m.home = &c->home;
    c->m.task.run = came_home;
    replication_member(n->r, &c->m);
    while (!c->posted)
        sim_sleep(SIM_MS);
    task_queue_run(&c->home);
    return c->m.status;
}

int node_member(struct sim_node *at, enum member_action action, const char *name, const char *address, int role,
                bool force, char **token_r)
{
    struct member_call *c = mem_zalloc(sizeof *c);
    snprintf(c->name, sizeof c->name, "%s", name ? name : "");
    snprintf(c->address, sizeof c->address, "%s", address ? address : "");
    c->m = (struct member_request){.action = action,
                                   .name = name ? c->name : NULL,
                                   .address = address ? c->address : NULL,
                                   .role = role,
                                   .force = force};
    int status = node_call(at, member_run, c, MEMBER_US);
    sim_trace("member request %d %s at host %u: %s %s", (int)action, c->name, sim_host_index(at->host),
              err_name(status), c->posted ? c->m.detail.text : "");
    if (token_r)
        *token_r = status == 0 ? c->m.token : NULL;
    return status;
}
