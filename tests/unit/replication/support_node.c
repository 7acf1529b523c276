/* Inside a node's process. */
#include "tests/unit/replication/support_nodes.h"

#include "node/base/clock.h"
#include "node/base/log.h"
#include "replication/internal.h"
#include "store/command.pb-c.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The wall clock of this process is that far ahead. In the place of libc's own: nothing in the nodes knows of it. */
static int64_t clock_ahead_s;

int clock_gettime(clockid_t clock, struct timespec *t)
{
    long rc = syscall(SYS_clock_gettime, clock, t);
    if (rc == 0 && clock == CLOCK_REALTIME)
        t->tv_sec += clock_ahead_s;
    return (int)rc;
}

static struct node {
    struct test_cluster *c;
    int i;
    char dir[128], listen[32];
    struct store *store;
    struct blob_log *blobs;
    struct replication *r;
    int fd;
    uint64_t account;
} node;

/* A queue whose thread blocks until something was posted. */
static pthread_mutex_t home_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t home_wake = PTHREAD_COND_INITIALIZER;
static bool home_posted;
static struct task_queue home;

static void home_signal(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&home_lock);
    home_posted = true;
    pthread_cond_signal(&home_wake);
    pthread_mutex_unlock(&home_lock);
}

static void home_wait(const int *open)
{
    while (*open > 0) {
        pthread_mutex_lock(&home_lock);
        while (!home_posted)
            pthread_cond_wait(&home_wake, &home_lock);
        home_posted = false;
        pthread_mutex_unlock(&home_lock);
        while (task_queue_run(&home))
            continue;
    }
}

static int open_requests;

static void one_done(struct task *t)
{
    (void)t;
    open_requests--;
}

static void fatal_exit(void *arg, int status, const char *why)
{
    (void)arg;
    dprintf(2, "fatal: %s: %s\n", err_name(status), why);
    _exit(3);
}

static int propose_ms;          /* 0: replication's own limit */
static uint64_t propose_voters; /* of the last one */

static int propose_wait(const Merlion__Command *c, Merlion__Result **result_r)
{
    size_t n = merlion__command__get_packed_size(c);
    uint8_t *packed = mem_alloc(n + 1);
    merlion__command__pack(c, packed);
    struct propose p = {.task.run = one_done, .home = &home, .command = {packed, n}};
    p.deadline_ms = propose_ms ? clock_steady_ms() + propose_ms : 0;
    open_requests = 1;
    replication_propose(node.r, &p);
    home_wait(&open_requests);
    mem_free(packed);
    propose_voters = p.voters;
    *result_r = NULL;
    if (p.status != 0)
        return p.status;
    *result_r = merlion__result__unpack(NULL, p.result->n, p.result->p);
    bytes_unref(&p.result);
    return *result_r ? (*result_r)->status : ERR_PROTOCOL;
}

static int propose_once(const Merlion__Command *c)
{
    Merlion__Result *r;
    int rc = propose_wait(c, &r);
    if (r)
        merlion__result__free_unpacked(r, NULL);
    return rc;
}

static int setting_put(char *name, const char *value)
{
    Merlion__Setting s = MERLION__SETTING__INIT, *all[1] = {&s};
    Merlion__Settings set = MERLION__SETTINGS__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    s.name = name;
    s.value.data = (uint8_t *)(uintptr_t)value;
    s.value.len = strlen(value);
    set.n_set = 1;
    set.set = all;
    c.op_case = MERLION__COMMAND__OP_SETTINGS;
    c.settings = &set;
    return propose_once(&c);
}

static int setting_put_within(const char *name, const char *value, int ms)
{
    propose_ms = ms;
    int rc = setting_put((char *)(uintptr_t)name, value);
    propose_ms = 0;
    return rc;
}

static int user_make(void)
{
    Merlion__DomainAdd d = MERLION__DOMAIN_ADD__INIT;
    Merlion__UserAdd u = MERLION__USER_ADD__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    d.name = (char *)(uintptr_t) "x.test";
    c.op_case = MERLION__COMMAND__OP_DOMAIN_ADD;
    c.domain_add = &d;
    int rc = propose_once(&c);
    if (rc != 0 && rc != ERR_EXISTS)
        return rc;
    u.address = (char *)(uintptr_t) "a@x.test";
    u.password = (char *)(uintptr_t) "x";
    c.op_case = MERLION__COMMAND__OP_USER_ADD;
    c.user_add = &u;
    rc = propose_once(&c);
    return rc == ERR_EXISTS ? 0 : rc;
}

static uint64_t account_id(void)
{
    struct store_view *v;
    struct store_account a;
    uint64_t id = 0;
    if (store_view_open(node.store, &v) != 0)
        return 0;
    if (store_account_find(v, slice_str("a@x.test"), &a) == 0)
        id = a.id;
    store_view_close(&v);
    return id;
}

static int inbox_count(void)
{
    struct store_view *v;
    struct store_mailbox m;
    int n = -1;
    if (store_view_open(node.store, &v) != 0)
        return -1;
    if (store_mailbox_find(v, account_id(), slice_str("INBOX"), &m) == 0)
        n = (int)m.exists;
    store_view_close(&v);
    return n;
}

/* ---- load: deliveries, many at once, for a time ---- */

struct delivery {
    struct propose p;
    uint8_t *packed;
};
static int load_ok, load_failed, load_serial;
static int64_t load_until;

static void delivery_send(struct delivery *d);

static void delivery_done(struct task *t)
{
    struct delivery *d = container_of(container_of(t, struct propose, task), struct delivery, p);
    bool ok = d->p.status == 0;
    if (ok) {
        Merlion__Result *r = merlion__result__unpack(NULL, d->p.result->n, d->p.result->p);
        ok = r && r->status == 0;
        if (r)
            merlion__result__free_unpacked(r, NULL);
        bytes_unref(&d->p.result);
    }
    mem_free(d->packed);
    *(ok ? &load_ok : &load_failed) += 1;
    if (clock_steady_ms() < load_until) {
        delivery_send(d);
    } else {
        open_requests--;
        mem_free(d);
    }
}

static void delivery_send(struct delivery *d)
{
    char text[128];
    Merlion__Body b = MERLION__BODY__INIT;
    Merlion__Deliver v = MERLION__DELIVER__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    snprintf(text, sizeof text, "Subject: %d from %d in %d\r\n\r\nx\r\n", load_serial++, node.i, (int)getpid());
    struct body_hash h = body_hash_of(slice_str(text));
    struct bytes *record = blob_encode(&h, slice_str(text));
    b.hash.data = h.b;
    b.hash.len = sizeof h.b;
    b.size = strlen(text);
    b.record.data = record->p;
    b.record.len = record->n;
    v.body = &b;
    v.n_accounts = 1;
    v.accounts = &node.account;
    v.internal_ms = clock_wall_ms();
    c.op_case = MERLION__COMMAND__OP_DELIVER;
    c.deliver = &v;
    size_t n = merlion__command__get_packed_size(&c);
    d->packed = mem_alloc(n);
    merlion__command__pack(&c, d->packed);
    bytes_unref(&record);
    d->p = (struct propose){.task.run = delivery_done, .home = &home, .command = {d->packed, n}};
    replication_propose(node.r, &d->p);
}

static void load(int ms, int parallel)
{
    node.account = account_id();
    load_ok = load_failed = 0;
    load_until = clock_steady_ms() + ms;
    open_requests = parallel;
    for (int i = 0; i < parallel; i++)
        delivery_send(mem_zalloc(sizeof(struct delivery)));
    home_wait(&open_requests);
    dprintf(node.fd, "ok acked=%d failed=%d\n", load_ok, load_failed);
}

/* ---- requests ---- */

static void member(enum member_action action, const char *name, const char *address, int role, bool force)
{
    struct member_request m = {.task.run = one_done,
                               .home = &home,
                               .action = action,
                               .name = name,
                               .address = address,
                               .role = role,
                               .force = force};
    open_requests = 1;
    replication_member(node.r, &m);
    home_wait(&open_requests);
    if (m.status != 0)
        dprintf(node.fd, "error %s %s\n", err_name(m.status), m.detail.text);
    else
        dprintf(node.fd, "ok %s\n", m.token ? m.token : "");
    mem_free(m.token);
}

/* Both in the core's queue before it looks. */
static void invite_two(const char *a, const char *b)
{
    struct member_request m[2] = {{.name = a, .address = "127.0.0.1:1"}, {.name = b, .address = "127.0.0.1:2"}};
    open_requests = 2;
    for (int i = 0; i < 2; i++) {
        m[i].task.run = one_done;
        m[i].home = &home;
        m[i].action = MEMBER_INVITE;
        replication_member(node.r, &m[i]);
    }
    home_wait(&open_requests);
    dprintf(node.fd, "%s %s\n", m[0].status ? err_name(m[0].status) : "ok", m[1].status ? err_name(m[1].status) : "ok");
    mem_free(m[0].token);
    mem_free(m[1].token);
}

static bool member_print(void *arg, const struct store_member *m)
{
    struct buf *b = arg;
    char id[32];
    snprintf(id, sizeof id, " %llu:", (unsigned long long)m->id);
    buf_append_slice(b, slice_str(id));
    buf_append_slice(b, m->name);
    return true;
}

/* Of this node's own state: " 1:n0 2:n1", ascending by id. */
static void members(void)
{
    struct store_view *v;
    struct buf b = {0};
    if (store_view_open(node.store, &v) != 0)
        abort();
    store_member_each(v, member_print, &b);
    dprintf(node.fd, "ok%.*s\n", (int)buf_len(&b), (const char *)buf_slice(&b).p);
    store_view_close(&v);
    buf_close(&b);
}

static void status(bool digests)
{
    static struct replication_status s;
    s = (struct replication_status){.task.run = one_done, .home = &home, .timeout_ms = 5000, .digests = digests};
    open_requests = 1;
    replication_status(node.r, &s);
    home_wait(&open_requests);
    char line[4096];
    int n = snprintf(line, sizeof line, "status=%d n=%u leader=%llu applied=%llu", s.status, s.n,
                     (unsigned long long)s.leader, (unsigned long long)s.applied);
    for (unsigned i = 0; i < s.n; i++) {
        struct member_status *m = &s.members[i];
        n += snprintf(line + n, sizeof line - (size_t)n,
                      " role%llu=%d reachable%llu=%d missing%llu=%llu at%llu=%llu digest%llu=%llx",
                      (unsigned long long)m->id, m->role, (unsigned long long)m->id, m->reachable,
                      (unsigned long long)m->id, (unsigned long long)m->missing, (unsigned long long)m->id,
                      (unsigned long long)m->digest_index, (unsigned long long)m->id,
                      (unsigned long long)(m->digest.lo ^ m->digest.hi));
    }
    dprintf(node.fd, "%s\n", line);
}

static void now(void)
{
    struct replication_now n;
    replication_now(node.r, &n);
    dprintf(node.fd,
            "leader=%d has_leader=%d syncing=%d full=%d id=%llu lead=%llu term=%llu applied=%llu missing=%llu role=%d "
            "proposals=%llu entries=%llu transfers=%llu refused=%d boot=%llu dead=%u dead_id=%llu\n",
            n.is_leader, n.has_leader, n.syncing, n.disk_full, (unsigned long long)n.id, (unsigned long long)n.leader,
            (unsigned long long)n.term, (unsigned long long)n.applied, (unsigned long long)n.missing, n.role,
            (unsigned long long)n.proposals, (unsigned long long)n.entries, (unsigned long long)n.transfers, -n.refused,
            (unsigned long long)n.boot, n.dead_n, (unsigned long long)(n.dead_n ? n.dead[0] : 0));
}

static void read_wait(int ms)
{
    struct read_barrier b = {.task.run = one_done, .home = &home, .deadline_ms = clock_steady_ms() + ms};
    open_requests = 1;
    replication_read(node.r, &b);
    home_wait(&open_requests);
    dprintf(node.fd, "%s\n", b.status ? err_name(b.status) : "ok");
}

static void get(const char *name)
{
    struct store_view *v;
    struct slice value = {NULL, 0};
    if (store_view_open(node.store, &v) != 0)
        abort();
    int rc = store_setting_get(v, slice_str(name), &value);
    dprintf(node.fd, "%s %.*s\n", rc ? "none" : "ok", (int)value.n, (const char *)value.p);
    store_view_close(&v);
}

/* The state's time before the right one. */
static void state_time(void)
{
    struct store_position p;
    store_position(node.store, &p);
    int64_t right = clock_wall_ms() - clock_ahead_s * 1000;
    dprintf(node.fd, "ok ahead_s=%lld cluster_s=%lld format=%u\n", (long long)((p.time_ms - right) / 1000),
            (long long)((replication_clock_ms(node.r) - right) / 1000), p.format);
}

static void answer(int rc)
{
    dprintf(node.fd, "%s\n", rc ? err_name(rc) : "ok");
}

static void ca_put(const char *path)
{
    char text[8192] = "";
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    const char *key = n ? text + strlen(text) + 1 : text;
    int rc = setting_put((char *)(uintptr_t) "ca.cert", text);
    answer(rc ? rc : setting_put((char *)(uintptr_t) "ca.key", key));
}

/* Half of it, for a signed number. */
static void voters_tell(uint64_t voters)
{
    dprintf(node.fd, "ok voters=%llu\n", (unsigned long long)(voters / 2));
}

static void put(const char *text)
{
    struct body_hash h = body_hash_of(slice_str(text));
    struct body_put p = {.task.run = one_done,
                         .home = &home,
                         .record = blob_encode(&h, slice_str(text)),
                         .deadline_ms = clock_steady_ms() + 20000};
    open_requests = 1;
    replication_body_put(node.r, &p);
    home_wait(&open_requests);
    bytes_unref(&p.record);
    if (p.status != 0)
        answer(p.status);
    else
        voters_tell(p.voters);
}

/* Notes n bodies as missing that nobody ever sent. */
static void miss(int n)
{
    for (int i = 0; i < n; i++) {
        char text[32];
        snprintf(text, sizeof text, "never sent %d", i);
        struct body_hash h = body_hash_of(slice_str(text));
        blob_missing_add(node.blobs, &h);
    }
    answer(0);
}

static bool request(char *line)
{
    char a[256] = "", b[4096] = "", verb[32] = "";
    int ms = 0, n = 0;
    sscanf(line, "%31s %255s %4095s", verb, a, b);
    ms = atoi(a);
    n = atoi(b);
    if (!strcmp(verb, "set"))
        answer(setting_put(a, b));
    else if (!strcmp(verb, "ca"))
        ca_put(a);
    else if (!strcmp(verb, "user"))
        answer(user_make());
    else if (!strcmp(verb, "load"))
        load(ms, n);
    else if (!strcmp(verb, "count"))
        dprintf(node.fd, "ok count=%d\n", inbox_count());
    else if (!strcmp(verb, "read"))
        read_wait(ms ? ms : 20000);
    else if (!strcmp(verb, "get"))
        get(a);
    else if (!strcmp(verb, "now"))
        now();
    else if (!strcmp(verb, "status") || !strcmp(verb, "digests"))
        status(*verb == 'd');
    else if (!strcmp(verb, "invite"))
        member(MEMBER_INVITE, a, b, 0, false);
    else if (!strcmp(verb, "invite2"))
        invite_two(a, b);
    else if (!strcmp(verb, "members"))
        members();
    else if (!strcmp(verb, "remove"))
        member(MEMBER_REMOVE, a, NULL, 0, false);
    else if (!strcmp(verb, "role"))
        member(MEMBER_ROLE, a, NULL, n, false);
    else if (!strcmp(verb, "transfer"))
        member(LEADER_TRANSFER, *a ? a : NULL, NULL, 0, false);
    else if (!strcmp(verb, "drain"))
        replication_drain(node.r), answer(0);
    else if (!strcmp(verb, "setms"))
        answer(setting_put_within("late", "x", ms));
    else if (!strcmp(verb, "time"))
        state_time();
    else if (!strcmp(verb, "miss"))
        miss(ms);
    else if (!strcmp(verb, "put"))
        put(a);
    else if (!strcmp(verb, "proposed"))
        voters_tell(propose_voters);
    else if (!strcmp(verb, "scrub"))
        answer(store_scrub(node.store, &(struct sum128){0, 0}));
    else
        return false;
    return true;
}

static void node_open(void)
{
    struct err_detail e = {""};
    struct store_options so = {.map_size = 256u << 20};
    struct blob_options bo = {.segment_bytes = 4u << 20};
    struct replication_config rc = {.data_dir = node.dir,
                                    .name = "node",
                                    .listen = node.listen,
                                    .advertise = node.listen,
                                    .election_ms = node.c->election_ms,
                                    .format_max = node.c->format_max[node.i],
                                    .snapshot_threshold = node.c->threshold,
                                    .snapshot_trailing = node.c->trailing,
                                    .replace_after_ms = node.c->replace_after_ms,
                                    .dead_after_ms = node.c->dead_after_ms,
                                    .disk_reserve_bytes = node.c->reserve[node.i],
                                    .fatal = fatal_exit};
    task_queue_init(&home, home_signal, NULL);
    if (store_open(node.dir, &so, &node.store, &e) != 0 || blob_open(node.dir, &bo, &node.blobs, &e) != 0 ||
        replication_start(&rc, node.store, node.blobs, &node.r, &e) != 0) {
        dprintf(node.fd, "failed %s\n", e.text);
        if (node.blobs)
            blob_close(&node.blobs);
        if (node.store)
            store_close(&node.store);
        exit(0);
    }
    dprintf(node.fd, "up\n");
}

void node_main(struct test_cluster *c, int i, int fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    node.c = c;
    node.i = i;
    node.fd = fd;
    clock_ahead_s = c->clock_ahead_s[i];
    snprintf(node.dir, sizeof node.dir, "%s/n%d", c->dir, i);
    snprintf(node.listen, sizeof node.listen, "127.0.0.1:%d", c->port + 2 * i);
    static char name[16];
    snprintf(name, sizeof name, "n%d", i);
    log_set_node(name);
    if (!getenv("TEST_LOG"))
        log_set_level(LOG_ERROR);
    node_open();
    FILE *in = fdopen(dup(fd), "r");
    char line[8192];
    while (fgets(line, sizeof line, in) && request(line))
        continue;
    fclose(in);
    replication_stop(&node.r);
    blob_close(&node.blobs);
    store_close(&node.store);
    dprintf(fd, "stopped\n");
}
