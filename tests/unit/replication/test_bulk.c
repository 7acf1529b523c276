/* Several bulks in one process, with real blob logs and stores, over loopback. */
#include "support_peers.h"

#include "node/base/clock.h"
#include "node/base/log.h"
#include "node/io/loop.h"
#include "replication/internal.h"
#include "store/command.pb-c.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { CLUSTER = 5, NODES = 3, DEAD_MS = 500 };

struct node {
    char dir[96], address[64];
    struct link_identity id;
    struct blob_log *blobs;
    struct store *store;
    struct bulk *bulk;
};
struct cluster {
    char root[64];
    struct test_ca ca;
    struct node n[NODES];
    bool voter[NODES];
    unsigned fatal;
    atomic_uint told_nowhere;
};
static struct task_queue home;
static unsigned done_n; /* completions seen */

static void wake(void *arg)
{
    (void)arg;
}

static void on_fatal(void *arg, int status, const char *why)
{
    (void)status;
    (void)why;
    __atomic_add_fetch(&((struct cluster *)arg)->fatal, 1, __ATOMIC_RELAXED);
}

/* ---- nodes ---- */

static void members_tell(struct cluster *c)
{
    for (unsigned i = 0; i < NODES; i++) {
        struct bulk_peer peers[NODES];
        size_t n = 0;
        for (unsigned k = 0; k < NODES; k++) {
            if (k == i || !c->n[k].address[0])
                continue;
            peers[n] = (struct bulk_peer){.id = k + 1, .voter = c->voter[k]};
            snprintf(peers[n++].address, sizeof(peers[0].address), "%s", c->n[k].address);
        }
        if (c->n[i].bulk)
            bulk_peers_set(c->n[i].bulk, peers, n, c->voter[i]);
    }
}

static void on_nowhere(void *arg, const struct body_hash *hash)
{
    struct cluster *c = arg;
    (void)hash;
    atomic_fetch_add(&c->told_nowhere, 1);
}

static void bulk_up(struct cluster *c, unsigned i)
{
    struct node *n = &c->n[i];
    struct err_detail e = {0};
    struct bulk_config config = {.identity = &n->id,
                                 .listen = n->address[0] ? n->address : "127.0.0.1:0",
                                 .blobs = n->blobs,
                                 .store = n->store,
                                 .dead_ms = DEAD_MS,
                                 .arg = c,
                                 .nowhere = on_nowhere,
                                 .fatal = on_fatal};
    int rv = bulk_start(&config, &n->bulk, &e);
    if (rv != 0)
        print_error("%s\n", e.text);
    assert_int_equal(rv, 0);
    snprintf(n->address, sizeof(n->address), "127.0.0.1:%u", bulk_port(n->bulk));
}

static void data_open(struct node *n)
{
    struct err_detail e = {0};
    struct blob_options blob = {.no_sync = true, .reserve_bytes = 1};
    struct store_options store = {.no_sync = true, .map_size = 64 * 1024 * 1024};
    assert_int_equal(blob_open(n->dir, &blob, &n->blobs, &e), 0);
    assert_int_equal(store_open(n->dir, &store, &n->store, &e), 0);
}

static int setup(void **state)
{
    static struct cluster c;
    char path[128];
    memset(&c, 0, sizeof(c));
    task_queue_init(&home, wake, NULL);
    snprintf(c.root, sizeof(c.root), "/tmp/merlion-bulk-XXXXXX");
    if (!mkdtemp(c.root))
        return -1;
    test_ca_make(&c.ca, CLUSTER);
    for (unsigned i = 0; i < NODES; i++) {
        snprintf(path, sizeof(path), "mkdir %s/%u", c.root, i + 1);
        if (system(path) != 0)
            return -1;
        snprintf(c.n[i].dir, sizeof(c.n[i].dir), "%s/%u", c.root, i + 1);
        test_identity_make(&c.n[i].id, &c.ca, CLUSTER, i + 1, i + 1);
        data_open(&c.n[i]);
        c.voter[i] = true;
        bulk_up(&c, i);
    }
    members_tell(&c);
    *state = &c;
    return 0;
}

static int teardown(void **state)
{
    struct cluster *c = *state;
    char command[128];
    for (unsigned i = 0; i < NODES; i++) {
        bulk_stop(&c->n[i].bulk);
        blob_close(&c->n[i].blobs);
        store_close(&c->n[i].store);
        test_identity_free(&c->n[i].id);
    }
    test_ca_free(&c->ca);
    snprintf(command, sizeof(command), "rm -rf %s", c->root);
    return system(command) == 0 && c->fatal == 0 ? 0 : -1;
}

/* ---- requests ---- */

static void completed(struct task *t)
{
    (void)t;
    done_n++;
}

static bool wait_done(unsigned want, unsigned ms)
{
    int64_t end = clock_steady_ms() + ms;
    while (done_n < want && clock_steady_ms() < end) {
        if (!task_queue_run(&home))
            usleep(1000);
    }
    return done_n >= want;
}

#define WAIT_UNTIL(cond, ms)                                                                                           \
    do {                                                                                                               \
        for (int64_t end_ = clock_steady_ms() + (ms); !(cond) && clock_steady_ms() < end_;)                            \
            usleep(2000);                                                                                              \
        assert_true(cond);                                                                                             \
    } while (0)

static struct bytes *body_make(unsigned seed, size_t n)
{
    struct bytes *b = bytes_new(n);
    uint32_t x = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        b->p[i] = (uint8_t)(x >> 24);
    }
    return b;
}

static struct bytes *record_make(unsigned seed, size_t n, struct body_hash *hash_r)
{
    struct bytes *body = body_make(seed, n);
    *hash_r = body_hash_of(bytes_slice(body));
    struct bytes *record = blob_encode(hash_r, bytes_slice(body));
    bytes_unref(&body);
    return record;
}

static int put_wait(struct cluster *c, unsigned at, unsigned seed, size_t n, int64_t ms, struct body_hash *hash_r)
{
    struct body_put p = {.task = {.run = completed}, .home = &home, .deadline_ms = clock_steady_ms() + ms};
    p.record = record_make(seed, n, hash_r);
    done_n = 0;
    bulk_body_put(c->n[at].bulk, &p);
    assert_true(wait_done(1, (unsigned)ms + 30000));
    bytes_unref(&p.record);
    return p.status;
}

static int get_wait(struct cluster *c, unsigned at, const struct body_hash *hash, int64_t ms, struct bytes **body_r)
{
    struct body_get g = {
        .task = {.run = completed}, .home = &home, .hash = *hash, .deadline_ms = clock_steady_ms() + ms};
    done_n = 0;
    bulk_body_get(c->n[at].bulk, &g);
    assert_true(wait_done(1, (unsigned)ms + 30000));
    *body_r = g.body;
    return g.status;
}

static void own_append(struct cluster *c, unsigned at, unsigned seed, size_t n, struct body_hash *hash_r)
{
    struct blob_append a = {.task = {.run = completed}, .home = &home, .record = record_make(seed, n, hash_r)};
    done_n = 0;
    blob_append(c->n[at].blobs, &a);
    assert_true(wait_done(1, 30000));
    assert_int_equal(a.status, 0);
    bytes_unref(&a.record);
}

static void body_expect(struct bytes *body, unsigned seed, size_t n)
{
    struct bytes *want = body_make(seed, n);
    assert_non_null(body);
    assert_true(slice_eq(bytes_slice(body), bytes_slice(want)));
    bytes_unref(&want);
}

/* Flips a byte in the middle of every segment's last record. */
static void segments_damage(struct cluster *c, unsigned at, unsigned seed, size_t n)
{
    char path[400], bodies[128];
    struct bytes *want = body_make(seed, n);
    snprintf(bodies, sizeof(bodies), "%s/bodies", c->n[at].dir);
    DIR *d = opendir(bodies);
    assert_non_null(d);
    unsigned hit = 0;
    for (struct dirent *it; (it = readdir(d));) {
        snprintf(path, sizeof(path), "%s/%s", bodies, it->d_name);
        FILE *f = it->d_name[0] == '.' ? NULL : fopen(path, "r+");
        if (!f)
            continue;
        static uint8_t all[1 << 20];
        size_t got = fread(all, 1, sizeof(all), f);
        const uint8_t *found = got ? memmem(all, got, want->p, 64) : NULL; /* noise does not compress */
        if (found) {
            fseek(f, (long)(found - all) + 40, SEEK_SET);
            fputc(found[40] ^ 0x55, f);
            hit++;
        }
        fclose(f);
    }
    closedir(d);
    bytes_unref(&want);
    assert_int_equal(hit, 1);
}

/* A put completes with a majority, and drops what could not be sent by then: waits until every link is up. */
static void links_wait(struct cluster *c)
{
    struct body_hash hash;
    for (unsigned i = 0, seed = 1000000; i < NODES; i++)
        for (bool all = false; !all;) {
            assert_true(++seed < 1000100);
            assert_int_equal(put_wait(c, i, seed, 10, 20000, &hash), 0);
            int64_t end = clock_steady_ms() + 100;
            while (!all && clock_steady_ms() < end) {
                usleep(2000);
                all = true;
                for (unsigned k = 0; k < NODES; k++)
                    all = all && blob_has(c->n[k].blobs, &hash);
            }
        }
}

/* ---- bodies ---- */

static void put_to_all(void **state)
{
    struct cluster *c = *state;
    struct body_hash hash;
    links_wait(c);
    assert_int_equal(put_wait(c, 0, 1, 4000, 20000, &hash), 0);
    for (unsigned i = 0; i < NODES; i++)
        WAIT_UNTIL(blob_has(c->n[i].blobs, &hash), 20000);
    assert_int_equal(put_wait(c, 1, 1, 4000, 20000, &hash), 0);            /* again, from elsewhere */
    assert_int_equal(put_wait(c, 2, 2, 9 * 1000 * 1000, 20000, &hash), 0); /* longer than a link's queue */
    for (unsigned i = 0; i < NODES; i++)
        WAIT_UNTIL(blob_has(c->n[i].blobs, &hash), 20000);
}

/* A program gone wrong, not a cable: lengths and checksums are right, the bytes are of another message. */
static void wrong_name_is_refused(void **state)
{
    struct cluster *c = *state;
    struct bytes *body = body_make(7, 3000), *other = body_make(8, 3000);
    struct body_hash hash = body_hash_of(bytes_slice(other)), got;
    uint64_t size;
    struct body_put p = {.task = {.run = completed}, .home = &home, .deadline_ms = clock_steady_ms() + 3000};
    links_wait(c);
    p.record = blob_encode(&hash, bytes_slice(body));
    assert_int_equal(blob_record_check(bytes_slice(p.record), &got, &size), 0);
    done_n = 0;
    bulk_body_put(c->n[0].bulk, &p);
    assert_true(wait_done(1, 30000));
    assert_int_not_equal(p.status, 0);
    assert_false(blob_has(c->n[1].blobs, &hash));
    assert_false(blob_has(c->n[2].blobs, &hash));
    bytes_unref(&p.record);
    bytes_unref(&body);
    bytes_unref(&other);
}

static void puts_at_once(void **state)
{
    struct cluster *c = *state;
    enum { N = 300 };
    static struct body_put p[N];
    struct body_hash hash[N];
    links_wait(c);
    done_n = 0;
    for (unsigned i = 0; i < N; i++) {
        p[i] = (struct body_put){
            .task = {.run = completed}, .home = &home, .record = record_make(100 + i, 3000 + i, &hash[i])};
        bulk_body_put(c->n[i % NODES].bulk, &p[i]);
    }
    assert_true(wait_done(N, 30000));
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(p[i].status, 0);
        bytes_unref(&p[i].record);
        for (unsigned k = 0; k < NODES; k++)
            WAIT_UNTIL(blob_has(c->n[k].blobs, &hash[i]), 20000);
    }
}

static void put_with_members_down(void **state)
{
    struct cluster *c = *state;
    struct body_hash hash;
    assert_int_equal(put_wait(c, 0, 1, 100, 20000, &hash), 0);
    bulk_stop(&c->n[2].bulk);
    assert_int_equal(put_wait(c, 0, 2, 4000, 20000, &hash), 0);
    assert_true(blob_has(c->n[0].blobs, &hash) && blob_has(c->n[1].blobs, &hash));
    bulk_stop(&c->n[1].bulk);
    int64_t begin = clock_steady_ms();
    assert_int_equal(put_wait(c, 0, 3, 4000, 400, &hash), ERR_UNAVAILABLE);
    assert_true(clock_steady_ms() - begin >= 350);
    /* One comes back in time. */
    struct body_put p = {.task = {.run = completed}, .home = &home, .deadline_ms = clock_steady_ms() + 20000};
    p.record = record_make(4, 5000, &hash);
    done_n = 0;
    bulk_body_put(c->n[0].bulk, &p);
    assert_false(wait_done(1, 200));
    bulk_up(c, 1);
    members_tell(c);
    assert_true(wait_done(1, 30000));
    assert_int_equal(p.status, 0);
    assert_true(blob_has(c->n[1].blobs, &hash));
    bytes_unref(&p.record);
}

static void standbys_do_not_count(void **state)
{
    struct cluster *c = *state;
    struct body_hash hash;
    c->voter[2] = false;
    links_wait(c);
    members_tell(c);
    assert_int_equal(put_wait(c, 0, 1, 1000, 20000, &hash), 0);
    WAIT_UNTIL(blob_has(c->n[2].blobs, &hash), 20000); /* it gets it all the same */
    bulk_stop(&c->n[1].bulk);
    assert_int_equal(put_wait(c, 0, 2, 1000, 500, &hash), ERR_UNAVAILABLE);
    WAIT_UNTIL(blob_has(c->n[2].blobs, &hash), 20000);
    /* Promoted while a put waits. */
    struct body_put p = {.task = {.run = completed}, .home = &home, .deadline_ms = clock_steady_ms() + 20000};
    p.record = record_make(3, 100, &hash);
    done_n = 0;
    bulk_body_put(c->n[0].bulk, &p);
    assert_false(wait_done(1, 300));
    c->voter[2] = true;
    members_tell(c);
    assert_true(wait_done(1, 30000));
    assert_int_equal(p.status, 0);
    bytes_unref(&p.record);
    /* A node without a vote proposes: both voters must have it. */
    c->voter[0] = false;
    members_tell(c);
    assert_int_equal(put_wait(c, 0, 4, 100, 300, &hash), ERR_UNAVAILABLE);
    bulk_up(c, 1);
    members_tell(c);
    assert_int_equal(put_wait(c, 0, 5, 100, 20000, &hash), 0);
    assert_true(blob_has(c->n[1].blobs, &hash) && blob_has(c->n[2].blobs, &hash));
}

/* A member that takes bodies and never answers: what lies in wait for it is bounded, and puts complete without it. */
struct deaf {
    struct loop loop;
    struct link_listener *listener;
    struct link *link;
    struct task close;
    size_t got;
};

static void deaf_frame(void *arg, struct link *l, uint8_t type, uint64_t request, struct slice payload)
{
    struct deaf *d = arg;
    (void)l;
    (void)request;
    if (type == LINK_BODY_PUT)
        __atomic_add_fetch(&d->got, payload.n, __ATOMIC_RELAXED);
}

static void deaf_down(void *arg, struct link *l, int status, const char *why)
{
    (void)l;
    (void)status;
    (void)why;
    link_close(&((struct deaf *)arg)->link);
}

static void deaf_accepted(void *arg, struct link *l, const struct link_hello *peer)
{
    static const struct link_events EVENTS = {NULL, deaf_frame, deaf_down, NULL};
    struct deaf *d = arg;
    if (peer->node_id != 1 || d->link) {
        link_close(&l);
        return;
    }
    d->link = l;
    link_set_events(l, &EVENTS, d);
}

static void deaf_close(struct task *t)
{
    struct deaf *d = container_of(t, struct deaf, close);
    link_close(&d->link);
    link_listener_close(&d->listener);
    loop_stop(&d->loop);
}

static void deaf_member(void **state)
{
    static const struct link_listener_events EVENTS = {NULL, deaf_accepted};
    struct cluster *c = *state;
    struct body_hash hash;
    struct err_detail e;
    struct deaf d = {.close = {.run = deaf_close}};
    bulk_stop(&c->n[2].bulk);
    assert_int_equal(loop_init(&d.loop, "deaf"), 0);
    assert_int_equal(link_listen(&d.loop.uv, &c->n[2].id, c->n[2].address, LINK_BULK, &EVENTS, &d, &d.listener, &e), 0);
    assert_int_equal(loop_start(&d.loop), 0);
    for (unsigned i = 0; i < 1000 && __atomic_load_n(&d.got, __ATOMIC_RELAXED) == 0; i++) { /* until it is dialled */
        assert_int_equal(put_wait(c, 0, 1000 + i, 10, 60000, &hash), 0);
        usleep(20000);
    }
    for (unsigned i = 0; i < 25; i++)
        assert_int_equal(put_wait(c, 0, i, 1000 * 1000, 60000, &hash), 0);
    WAIT_UNTIL(__atomic_load_n(&d.got, __ATOMIC_RELAXED) > 1000 * 1000, 30000);
    usleep(100000);
    assert_in_range(__atomic_load_n(&d.got, __ATOMIC_RELAXED), 1000 * 1000, 17 * 1000 * 1000);
    /* Needed for the majority, it is waited for; no longer than the deadline. */
    bulk_stop(&c->n[1].bulk);
    assert_int_equal(put_wait(c, 0, 500, 1000, 400, &hash), ERR_UNAVAILABLE);
    task_post(&d.loop.queue, &d.close);
    loop_join(&d.loop);
    loop_close(&d.loop);
}

static void stop_ends_requests(void **state)
{
    struct cluster *c = *state;
    struct body_hash hash, other;
    bulk_stop(&c->n[2].bulk);
    bulk_stop(&c->n[1].bulk);
    struct body_put p = {.task = {.run = completed}, .home = &home, .record = record_make(4, 5000, &hash)};
    struct body_get g = {.task = {.run = completed}, .home = &home};
    struct bytes *unused = record_make(5, 10, &other);
    bytes_unref(&unused);
    g.hash = other;
    done_n = 0;
    bulk_body_put(c->n[0].bulk, &p);
    bulk_body_get(c->n[0].bulk, &g);
    assert_false(wait_done(1, 100));
    bulk_stop(&c->n[0].bulk);
    assert_true(wait_done(2, 30000));
    assert_int_equal(p.status, ERR_CANCELED);
    assert_int_equal(g.status, ERR_CANCELED);
    bytes_unref(&p.record);
}

static void get_from_peers(void **state)
{
    struct cluster *c = *state;
    struct body_hash hash;
    struct bytes *body;
    for (unsigned holder = 1; holder < NODES; holder++) {
        own_append(c, holder, holder, 50000, &hash);
        assert_int_equal(get_wait(c, 0, &hash, 20000, &body), 0);
        body_expect(body, holder, 50000);
        bytes_unref(&body);
        assert_true(blob_has(c->n[0].blobs, &hash));
    }
    struct bytes *none = record_make(99, 10, &hash);
    bytes_unref(&none);
    int64_t begin = clock_steady_ms();
    assert_int_equal(get_wait(c, 0, &hash, 60000, &body), ERR_NOTFOUND);
    assert_true(clock_steady_ms() - begin < 30000); /* everybody was asked: the deadline is not waited for */
    assert_null(body);
    /* Whoever might have it is down: until the deadline, and no longer. */
    bulk_stop(&c->n[2].bulk);
    assert_int_equal(get_wait(c, 0, &hash, 500, &body), ERR_UNAVAILABLE);
    /* It comes back, with the body. */
    own_append(c, 2, 99, 10, &hash);
    struct body_get g = {.task = {.run = completed}, .home = &home, .hash = hash};
    struct body_get g2 = {.task = {.run = completed}, .home = &home, .hash = hash};
    done_n = 0;
    bulk_body_get(c->n[0].bulk, &g);
    bulk_body_get(c->n[0].bulk, &g2);
    assert_false(wait_done(1, 200));
    bulk_up(c, 2);
    members_tell(c);
    assert_true(wait_done(2, 30000));
    assert_int_equal(g.status, 0);
    assert_int_equal(g2.status, 0);
    body_expect(g.body, 99, 10);
    bytes_unref(&g.body);
    bytes_unref(&g2.body);
}

/* Read at once after it was delivered: the record out of the command is still on its way to the disk. */
static void own_append_overtakes(void **state)
{
    struct cluster *c = *state;
    struct bytes *record, *body = body_make(77, 2000);
    struct body_hash hash;
    for (int i = 1; i < NODES; i++)
        bulk_stop(&c->n[i].bulk);
    for (int i = 1; i < NODES; i++)
        c->n[i].address[0] = 0;
    members_tell(c); /* alone */
    record = record_make(77, 2000, &hash);
    struct body_get g = {
        .task = {.run = completed}, .home = &home, .hash = hash, .deadline_ms = clock_steady_ms() + 5000};
    struct blob_append a = {.task = {.run = completed}, .home = &home, .record = record};
    done_n = 0;
    bulk_body_get(c->n[0].bulk, &g);
    usleep(80 * 1000);
    blob_append(c->n[0].blobs, &a);
    assert_true(wait_done(2, 30000));
    assert_int_equal(g.status, 0);
    body_expect(g.body, 77, 2000);
    bytes_unref(&g.body);
    bytes_unref(&record);
    bytes_unref(&body);
}

static void damaged_copy_is_passed_over(void **state)
{
    struct cluster *c = *state;
    struct body_hash hash;
    struct bytes *body;
    for (unsigned seed = 1; seed <= 6; seed++) { /* whichever is asked first */
        own_append(c, 1, seed, 3000, &hash);
        own_append(c, 2, seed, 3000, &hash);
        segments_damage(c, 1, seed, 3000);
        assert_int_equal(get_wait(c, 0, &hash, 20000, &body), 0);
        body_expect(body, seed, 3000);
        bytes_unref(&body);
    }
}

static void missing_is_fetched(void **state)
{
    struct cluster *c = *state;
    enum { N = 150 };
    struct body_hash hash[N], nowhere;
    struct bytes *record = record_make(7777, 10, &nowhere);
    bytes_unref(&record);
    for (unsigned i = 0; i < N; i++)
        own_append(c, i % 2, i, 2000, &hash[i]);
    for (unsigned i = 0; i < N; i++)
        blob_missing_add(c->n[2].blobs, &hash[i]);
    blob_missing_add(c->n[2].blobs, &nowhere);
    bulk_missing_kick(c->n[2].bulk);
    WAIT_UNTIL(blob_missing_count(c->n[2].blobs) == 1, 20000); /* one that nobody has holds up none */
    for (unsigned i = 0; i < N; i++)
        assert_true(blob_has(c->n[2].blobs, &hash[i]));
    own_append(c, 0, 7777, 10, &nowhere);
    bulk_missing_kick(c->n[2].bulk);
    WAIT_UNTIL(blob_missing_count(c->n[2].blobs) == 0, 20000);
}

static void damage_heals(void **state)
{
    struct cluster *c = *state;
    struct body_hash hash;
    struct bytes *body = NULL;
    links_wait(c);
    assert_int_equal(put_wait(c, 0, 42, 20000, 20000, &hash), 0);
    for (unsigned i = 0; i < NODES; i++)
        WAIT_UNTIL(blob_has(c->n[i].blobs, &hash), 20000);
    segments_damage(c, 1, 42, 20000);
    assert_int_equal(blob_read(c->n[1].blobs, &hash, &body), ERR_CORRUPT);
    /* Nobody kicks. */
    WAIT_UNTIL(blob_missing_count(c->n[1].blobs) == 0, 20000);
    assert_int_equal(blob_read(c->n[1].blobs, &hash, &body), 0);
    body_expect(body, 42, 20000);
    bytes_unref(&body);
}

/* ---- state ---- */

static void command_apply(struct store *s, uint64_t index, Merlion__Command *command)
{
    Merlion__RequestId id = MERLION__REQUEST_ID__INIT;
    id.node = 1;
    id.boot = 1;
    id.seq = index;
    command->id = &id;
    command->time_ms = 1000;
    size_t packed_n = merlion__command__get_packed_size(command);
    uint8_t *packed = mem_alloc(packed_n);
    merlion__command__pack(command, packed);
    struct buf entry = {0};
    entry_begin(&entry);
    entry_add(&entry, slice_make(packed, packed_n));
    entry_end(&entry);
    assert_int_equal(store_batch_begin(s), 0);
    assert_int_equal(store_apply(s, index, 1, buf_slice(&entry)), 0);
    assert_int_equal(store_batch_commit(s), 0);
    buf_close(&entry);
    mem_free(packed);
}

/* Settings with large values, so that a state takes many parts. */
static void store_fill(struct store *s, uint64_t from, unsigned n, size_t value_n)
{
    uint8_t *value = mem_alloc(value_n);
    for (unsigned i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof(name), "test.%06u", (unsigned)from + i);
        for (size_t k = 0; k < value_n; k++)
            value[k] = (uint8_t)(k * 31 + i);
        Merlion__Setting setting = MERLION__SETTING__INIT, *settings = &setting;
        setting.name = name;
        setting.value = (ProtobufCBinaryData){.data = value, .len = value_n};
        Merlion__Settings set = MERLION__SETTINGS__INIT;
        set.n_set = 1;
        set.set = &settings;
        Merlion__Command command = MERLION__COMMAND__INIT;
        command.op_case = MERLION__COMMAND__OP_SETTINGS;
        command.settings = &set;
        command_apply(s, from + i, &command);
    }
    mem_free(value);
}

/* An account with n messages, at indexes 1 to n + 2. */
static void store_deliver(struct store *s, const struct body_hash *hash, unsigned n, size_t size)
{
    Merlion__DomainAdd domain = MERLION__DOMAIN_ADD__INIT;
    domain.name = "example.org";
    Merlion__Command command = MERLION__COMMAND__INIT;
    command.op_case = MERLION__COMMAND__OP_DOMAIN_ADD;
    command.domain_add = &domain;
    command_apply(s, 1, &command);
    Merlion__UserAdd user = MERLION__USER_ADD__INIT;
    user.address = "a@example.org";
    user.password = "x";
    command.op_case = MERLION__COMMAND__OP_USER_ADD;
    command.user_add = &user;
    command_apply(s, 2, &command);
    struct store_view *v;
    struct store_account account;
    assert_int_equal(store_view_open(s, &v), 0);
    assert_int_equal(store_account_find(v, slice_str("a@example.org"), &account), 0);
    uint64_t id = account.id;
    store_view_close(&v);
    for (unsigned i = 0; i < n; i++) {
        struct body_hash h = hash[i];
        Merlion__Body body = MERLION__BODY__INIT;
        body.hash = (ProtobufCBinaryData){.data = h.b, .len = BODY_HASH_SIZE};
        body.size = size;
        Merlion__Deliver deliver = MERLION__DELIVER__INIT;
        deliver.body = &body;
        deliver.n_accounts = 1;
        deliver.accounts = &id;
        deliver.sender = "";
        deliver.internal_ms = 1000;
        command.op_case = MERLION__COMMAND__OP_DELIVER;
        command.deliver = &deliver;
        command_apply(s, 3 + i, &command);
    }
    struct store_stats st;
    store_stats(s, &st);
    assert_int_equal(st.bodies, n);
}

static void store_nothing(struct store *s, uint64_t index)
{
    assert_int_equal(store_batch_begin(s), 0);
    assert_int_equal(store_apply_nothing(s, index, 1), 0);
    assert_int_equal(store_batch_commit(s), 0);
}

static void fetch_begin(struct cluster *c, unsigned at, uint64_t min_index, struct state_fetch *f)
{
    *f = (struct state_fetch){
        .task = {.run = completed}, .home = &home, .data_dir = c->n[at].dir, .min_index = min_index, .import = NULL};
    done_n = 0;
    bulk_state_fetch(c->n[at].bulk, f);
}

static void fetch_swap_and_compare(struct cluster *c, unsigned to, unsigned from, struct state_fetch *f)
{
    struct err_detail e = {0};
    struct store_position a, b;
    assert_int_equal(f->status, 0);
    assert_non_null(f->import);
    assert_int_equal(store_import_swap(c->n[to].store, &f->import, &e), 0);
    store_position(c->n[to].store, &a);
    store_position(c->n[from].store, &b);
    assert_true(a.index == b.index && a.term == b.term && a.digest.lo == b.digest.lo && a.digest.hi == b.digest.hi);
    assert_int_equal(f->position.index, a.index);
    struct sum128 digest;
    assert_int_equal(store_scrub(c->n[to].store, &digest), 0);
}

static void state_is_fetched(void **state)
{
    struct cluster *c = *state;
    struct state_fetch f;
    store_fill(c->n[0].store, 1, 100, 50000);
    store_nothing(c->n[1].store, 1); /* far behind: refuses */
    fetch_begin(c, 2, 100, &f);
    assert_true(wait_done(1, 30000));
    assert_true(f.bytes >= 100 * 50000);
    fetch_swap_and_compare(c, 2, 0, &f);
    /* Once more, now of a store that has gone on. */
    store_fill(c->n[0].store, 101, 3, 10);
    fetch_begin(c, 2, 103, &f);
    assert_true(wait_done(1, 30000));
    fetch_swap_and_compare(c, 2, 0, &f);
}

static void state_waits_for_a_peer(void **state)
{
    struct cluster *c = *state;
    struct state_fetch f;
    fetch_begin(c, 2, 5, &f);
    assert_false(wait_done(1, 500));
    store_fill(c->n[1].store, 1, 5, 10);
    assert_true(wait_done(1, 30000));
    fetch_swap_and_compare(c, 2, 1, &f);
    /* One at a time; stopping ends it. */
    struct state_fetch g;
    fetch_begin(c, 2, 1000, &f);
    g = f;
    bulk_state_fetch(c->n[2].bulk, &g);
    assert_true(wait_done(1, 30000));
    assert_int_equal(g.status, ERR_BUSY);
    bulk_stop(&c->n[2].bulk);
    assert_true(wait_done(2, 30000));
    assert_int_equal(f.status, ERR_CANCELED);
    assert_null(f.import);
}

/* Both peers have it; the one that sends it goes away in the middle. */
static void peer_dies_during_transfer(void **state)
{
    struct cluster *c = *state;
    struct state_fetch f;
    for (unsigned i = 0; i < 2; i++)
        store_fill(c->n[i].store, 1, 500, 60000);
    fetch_begin(c, 2, 500, &f);
    WAIT_UNTIL(__atomic_load_n(&f.bytes, __ATOMIC_RELAXED) > 0, 20000);
    bulk_stop(&c->n[0].bulk); /* both in turn, so the sender is among them */
    bulk_up(c, 0);
    usleep(50000);
    bulk_stop(&c->n[1].bulk);
    members_tell(c);
    assert_true(wait_done(1, 30000));
    fetch_swap_and_compare(c, 2, 0, &f);
}

/* The receiver goes away: the giver lets its read transaction go and serves the next one. */
static void receiver_dies_during_transfer(void **state)
{
    struct cluster *c = *state;
    struct state_fetch f;
    store_fill(c->n[0].store, 1, 500, 60000);
    for (unsigned round = 0; round < 3; round++) {
        fetch_begin(c, 2, 500, &f);
        WAIT_UNTIL(__atomic_load_n(&f.bytes, __ATOMIC_RELAXED) > 0, 20000);
        bulk_stop(&c->n[2].bulk);
        assert_true(wait_done(1, 30000));
        assert_true(f.status == ERR_CANCELED || f.status == 0);
        if (f.import)
            store_import_abort(&f.import);
        bulk_up(c, 2);
        members_tell(c);
    }
    fetch_begin(c, 2, 500, &f);
    assert_true(wait_done(1, 30000));
    fetch_swap_and_compare(c, 2, 0, &f);
}

/* The notes of missing bodies were lost in a crash, or never written. */
static void references_are_rechecked(void **state)
{
    struct cluster *c = *state;
    struct node *n = &c->n[0];
    enum { N = 1100 }; /* more than one view takes */
    static struct body_hash hash[N];
    char command[400];
    for (unsigned i = 0; i < N; i++)
        own_append(c, 1, i, 100, &hash[i]);
    WAIT_UNTIL(!blob_recheck_needed(n->blobs), 20000); /* a new one is compared once */
    store_deliver(n->store, hash, N, 100);
    bulk_stop(&n->bulk);
    /* The folder as a crash leaves it: copied while in use. */
    snprintf(command, sizeof(command), "cp -r %s %s/crashed", n->dir, c->root);
    assert_int_equal(system(command), 0);
    blob_close(&n->blobs);
    store_close(&n->store);
    snprintf(n->dir, sizeof(n->dir), "%s/crashed", c->root);
    data_open(n);
    assert_true(blob_recheck_needed(n->blobs));
    assert_int_equal(blob_missing_count(n->blobs), 0);
    bulk_up(c, 0);
    members_tell(c);
    WAIT_UNTIL(blob_has(n->blobs, &hash[N - 1]) && !blob_recheck_needed(n->blobs) && blob_missing_count(n->blobs) == 0,
               20000);
    for (unsigned i = 0; i < N; i++)
        assert_true(blob_has(n->blobs, &hash[i]));
}

/* Nobody has it: told with each round, and noted until whoever knows the references takes the note away. */
static void missing_everywhere_is_told(void **state)
{
    struct cluster *c = *state;
    struct body_hash nowhere;
    struct bytes *record = record_make(1, 10, &nowhere);
    bytes_unref(&record);
    blob_missing_add(c->n[0].blobs, &nowhere);
    bulk_missing_kick(c->n[0].bulk);
    WAIT_UNTIL(atomic_load(&c->told_nowhere) >= 2, 20000);
    assert_int_equal(blob_missing_count(c->n[0].blobs), 1);
    blob_missing_drop(c->n[0].blobs, &nowhere);
}

static void node_alone(void **state)
{
    struct cluster *c = *state;
    struct body_hash hash;
    struct bytes *body;
    bulk_peers_set(c->n[0].bulk, NULL, 0, true);
    assert_int_equal(put_wait(c, 0, 1, 1000, 20000, &hash), 0);
    assert_true(blob_has(c->n[0].blobs, &hash));
    memset(&hash, 7, sizeof(hash));
    assert_int_equal(get_wait(c, 0, &hash, 2000, &body), ERR_NOTFOUND);
}

int main(void)
{
    log_set_level(getenv("MERLION_TEST_LOG") ? LOG_DEBUG : LOG_ERROR);
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(put_to_all),
        TEST(wrong_name_is_refused),
        TEST(puts_at_once),
        TEST(put_with_members_down),
        TEST(standbys_do_not_count),
        TEST(deaf_member),
        TEST(stop_ends_requests),
        TEST(get_from_peers),
        TEST(own_append_overtakes),
        TEST(damaged_copy_is_passed_over),
        TEST(missing_is_fetched),
        TEST(damage_heals),
        TEST(state_is_fetched),
        TEST(state_waits_for_a_peer),
        TEST(peer_dies_during_transfer),
        TEST(receiver_dies_during_transfer),
        TEST(references_are_rechecked),
        TEST(missing_everywhere_is_told),
        TEST(node_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
