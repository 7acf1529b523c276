/* A session: one coroutine on a node's host, one call after the other. It ends with its host's life, wherever it is;
 * what it had asked for then has no known outcome. */
#include "tests/sim/client.h"

#include "node/base/clock.h"

enum { OVERSLEPT_US = 300 * SIM_MS };

struct client *client_new(struct sim_node *n)
{
    struct client *c = mem_zalloc(sizeof *c);
    c->node = n;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    task_queue_init(&c->home, client_signal, c);
    return c;
}

void client_free(struct client **cp)
{
    struct client *c = *cp;
    *cp = NULL;
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

void client_signal(void *arg)
{
    struct client *c = arg;
    pthread_mutex_lock(&c->lock);
    c->posted = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

void client_done(struct task *t)
{
    (void)t;
}

/* Until the one task that is out has come home. */
void client_wait(struct client *c)
{
    c->node->between--;
    do {
        pthread_mutex_lock(&c->lock);
        while (!c->posted)
            pthread_cond_wait(&c->wake, &c->lock);
        c->posted = false;
        pthread_mutex_unlock(&c->lock);
    } while (!task_queue_run(&c->home));
    c->node->between++;
}

static struct slice tagged(const Merlion__Command *command, uint64_t tag)
{
    size_t n = merlion__command__get_packed_size(command);
    uint8_t *p = mem_alloc(n + 16);
    merlion__command__pack(command, p);
    uint32_t key = CHECK_TAG_FIELD << 3 | 1; /* fixed64 */
    for (; key >= 0x80; key >>= 7)
        p[n++] = (uint8_t)(key | 0x80);
    p[n++] = (uint8_t)key;
    for (unsigned i = 0; i < 8; i++)
        p[n++] = (uint8_t)(tag >> (8 * i));
    return slice_make(p, n);
}

/* A write's own session sees it. */
static void own_write_check(struct client *c, uint64_t index)
{
    struct store_view *v;
    if (store_view_open(c->node->store, &v) != 0)
        return;
    check_read(index, v);
    store_view_close(&v);
}

int client_propose(struct client *c, const Merlion__Command *command, Merlion__Result **result_r)
{
    if (c->node->state != NODE_UP)
        return ERR_CANCELED;
    uint64_t tag = check_op_begin();
    struct slice packed = tagged(command, tag);
    struct propose p = {.task.run = client_done,
                        .home = &c->home,
                        .command = packed,
                        .early = plan.early && !c->late && sim_chance(300000),
                        .deadline_ms = clock_steady_ms() + (int64_t)sim_between(500, 6000)};
    sim_trace("op %llu begins on host %u: %d", (unsigned long long)tag, sim_host_index(c->node->host),
              (int)command->op_case);
    replication_propose(c->node->r, &p);
    client_wait(c);
    c->voters = p.voters;
    mem_free((void *)(uintptr_t)packed.p);
    Merlion__Result *r = p.status == 0 ? merlion__result__unpack(NULL, p.result->n, p.result->p) : NULL;
    /* "Too old to tell" is no answer. */
    bool told = p.status == 0 && r && r->status != ERR_STALE;
    check_op_done(tag,
                  told       ? 0
                  : p.status ? p.status
                             : ERR_TIMEOUT,
                  told ? bytes_slice(p.result) : (struct slice){0}, p.index);
    int status = p.status ? p.status : r ? r->status : ERR_PROTOCOL;
    if (told && !p.early)
        own_write_check(c, p.index);
    if (p.status == 0)
        bytes_unref(&p.result);
    if (result_r)
        *result_r = r;
    else if (r)
        merlion__result__free_unpacked(r, NULL);
    return status;
}

int client_read(struct client *c)
{
    if (c->node->state != NODE_UP)
        return ERR_CANCELED;
    uint64_t before = check_acknowledged_index();
    struct read_barrier b = {
        .task.run = client_done, .home = &c->home, .deadline_ms = clock_steady_ms() + (int64_t)sim_between(500, 4000)};
    struct store_view *v;
    replication_read(c->node->r, &b);
    client_wait(c);
    sim_trace("read on host %u: %s", sim_host_index(c->node->host), err_name(b.status));
    if (b.status == 0 && store_view_open(c->node->store, &v) == 0) {
        check_read(before, v);
        store_view_close(&v);
    }
    return b.status;
}

int client_body_put(struct client *c, const struct body_hash *hash, struct bytes *record)
{
    if (c->node->state != NODE_UP)
        return ERR_CANCELED;
    struct body_put p = {.task.run = client_done,
                         .home = &c->home,
                         .record = record,
                         .deadline_ms = clock_steady_ms() + (int64_t)sim_between(500, 5000)};
    replication_body_put(c->node->r, &p);
    client_wait(c);
    c->put_voters = p.voters;
    sim_trace("body put on host %u: %s", sim_host_index(c->node->host), err_name(p.status));
    if (p.status == 0)
        check_body_durable(hash);
    return p.status;
}

static void session(void *arg)
{
    struct sim_node *n = arg;
    struct client *c = client_new(n);
    while (n->state == NODE_UP && script_clients) {
        int64_t think = (int64_t)sim_below(2 * plan.think_ms) * SIM_MS, wake = sim_now_us() + think;
        sim_sleep(think);
        if (n->state != NODE_UP)
            break;
        bool overslept = sim_now_us() > wake + OVERSLEPT_US;
        n->busy++;
        n->between++;
        if (overslept) /* its machine stood still: what it thinks to know may be old */
            client_read(c);
        client_act(c);
        n->between--;
        n->busy--;
    }
    n->clients--;
    n->sessions--;
    client_free(&c);
}

void client_spawn(struct sim_node *n)
{
    n->clients++;
    n->sessions++;
    sim_spawn(n->host, "session", session, n);
}
