/* Two links of the production's above simulated connections. */
#include "tests/sim/selftest_edge.h"

#include "node/base/log.h"
#include "node/io/loop.h"
#include "replication/identity.h"
#include "replication/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEAD_MS = 1000 };

static char *ca, *ca_key;
static struct link_identity ids[3];
static struct loop loops[3];
static struct link *dialled, *accepted;
static struct link_listener *listener;
static unsigned ups, downs, frames, answers, late, serve_accepted_downs;
static int last_down;

static void identity_make(unsigned host, uint64_t cluster)
{
    char *cert, *key;
    struct link_identity *id = &ids[host];
    *id = (struct link_identity){.cluster_id = cluster, .node_id = host, .instance = host};
    CHECK(identity_cert_make(ca, ca_key, cluster, host, &cert, &key, NULL) == 0);
    CHECK(identity_contexts_make(ca, cert, key, &id->client, &id->server, NULL) == 0);
}

/* ---- host 2 listens and answers ---- */

static void on_frame(void *arg, struct link *l, uint8_t type, uint64_t request, struct slice payload)
{
    (void)arg;
    frames++;
    if (type == LINK_STATUS)
        CHECK(link_answer(l, request, payload, slice_str("!")) == 0);
}

static void accepted_down(void *arg, struct link *l, int status, const char *why)
{
    (void)arg, (void)status, (void)why;
    serve_accepted_downs++;
    accepted = NULL;
    link_close(&l);
}

static int on_ok(void *arg, const struct link_hello *peer)
{
    (void)arg;
    return peer->node_id == 1 ? 0 : ERR_DENIED;
}

static void on_accepted(void *arg, struct link *l, const struct link_hello *peer)
{
    static const struct link_events events = {.frame = on_frame, .down = accepted_down};
    (void)peer;
    accepted = l;
    link_set_events(l, &events, arg);
}

static void serve(void *arg)
{
    static const struct link_listener_events events = {on_ok, on_accepted};
    struct err_detail e;
    (void)arg;
    CHECK(loop_init(&loops[2], "two") == 0);
    CHECK(link_listen(&loops[2].uv, &ids[2], "host2:7000", LINK_CONTROL, &events, NULL, &listener, &e) == 0);
    CHECK(link_listener_port(listener) == 7000);
    CHECK(loop_start(&loops[2]) == 0);
}

/* ---- host 1 dials ---- */

static void on_up(void *arg, struct link *l, const struct link_hello *peer)
{
    (void)arg, (void)l;
    CHECK(peer->node_id == 2);
    ups++;
}

static void on_down(void *arg, struct link *l, int status, const char *why)
{
    (void)arg, (void)l, (void)why;
    last_down = status;
    downs++;
}

static void on_answer(void *arg, int status, struct slice payload)
{
    (void)arg;
    CHECK(status == ERR_CLOSED || status == ERR_TIMEOUT || slice_eq(payload, slice_str("hello!")));
    if (status == 0)
        answers++;
    else
        late++;
}

/* Ten times a second: a request and a one-way frame. */
static void tick(uv_timer_t *t)
{
    (void)t;
    if (!link_is_up(dialled))
        return;
    CHECK(link_request(dialled, LINK_STATUS, slice_str("hel"), slice_str("lo"), 300, on_answer, NULL) == 0);
    CHECK(link_send(dialled, LINK_RAFT, slice_str("x"), slice_str("")) == 0);
}

static void dial(void *arg)
{
    static const struct link_events events = {.up = on_up, .frame = on_frame, .down = on_down};
    static uv_timer_t timer;
    (void)arg;
    CHECK(loop_init(&loops[1], "one") == 0);
    dialled = link_dial(&loops[1].uv, &ids[1], LINK_CONTROL, 2, "host2:7000", DEAD_MS, &events, NULL);
    uv_timer_init(&loops[1].uv, &timer);
    uv_timer_start(&timer, tick, 100, 100);
    CHECK(loop_start(&loops[1]) == 0);
}

static void both_begin(void)
{
    CHECK(identity_ca_make(77, &ca, &ca_key, NULL) == 0);
    identity_make(1, 77);
    identity_make(2, 77);
    edge_on(2, serve, NULL);
    edge_on(1, dial, NULL);
    sim_sleep(1 * SIM_S);
    CHECK(ups == 1 && downs == 0 && accepted && link_is_up(dialled));
}

/* ---- cases ---- */

static void cut(void *arg)
{
    (void)arg;
    both_begin();
    CHECK(answers >= 5 && late == 0 && frames >= 2 * answers);
    bool to = sim_below(2);
    sim_net_cut(to ? 1 : 2, to ? 2 : 1, true); /* one way: both notice, by silence */
    sim_sleep(DEAD_MS * SIM_MS * 3 / 2);
    CHECK(downs == 1 && serve_accepted_downs == 1 && late > 0);
    CHECK(last_down == ERR_TIMEOUT || (to && last_down == ERR_CLOSED)); /* the other one may hang up first */
    sim_sleep(4 * SIM_S);
    CHECK(ups == 1);
    sim_net_cut(to ? 1 : 2, to ? 2 : 1, false);
    sim_sleep(7 * SIM_S);
    CHECK(ups == 2 && link_is_up(dialled));
}

static void cuts_are_noticed_by_silence(void **state)
{
    (void)state;
    edge_histories(cut);
}

static void crash(void *arg)
{
    (void)arg;
    both_begin();
    sim_host_crash(sim_host(2), true);
    sim_sleep(DEAD_MS * SIM_MS * 3 / 2);
    CHECK(downs == 1);
    edge_told += last_down != ERR_TIMEOUT; /* a reset, and not silence */
    edge_on(2, serve, NULL);
    sim_sleep(7 * SIM_S);
    CHECK(ups == 2 && link_is_up(dialled));
}

static void crashes_are_silent_or_not(void **state)
{
    (void)state;
    assert_in_range(edge_histories(crash), 5, 35);
}

static void noise(void *arg)
{
    struct sim_net_faults f = {.delay_min_us = 1000,
                               .delay_max_us = 20000,
                               .loss_ppm = 50000,
                               .reset_ppm = 3000,
                               .duplicate_ppm = 200000,
                               .reorder_ppm = 100000};
    (void)arg;
    both_begin();
    sim_net_faults(1, 2, &f);
    sim_net_faults(2, 1, &f);
    sim_sleep(20 * SIM_S);
    CHECK(answers > 100 && late > 0);
    edge_told += downs > 0;
    sim_net_faults(1, 2, NULL);
    sim_net_faults(2, 1, NULL);
    sim_sleep(7 * SIM_S);
    CHECK(link_is_up(dialled));
    unsigned before = late;
    sim_sleep(5 * SIM_S);
    CHECK(late == before);
}

static void noise_is_lived_through(void **state)
{
    (void)state;
    assert_in_range(edge_histories(noise), 5, 40);
}

static void stranger(void *arg)
{
    (void)arg;
    CHECK(identity_ca_make(77, &ca, &ca_key, NULL) == 0);
    identity_make(2, 77);
    if (sim_below(2)) {
        CHECK(identity_ca_make(77, &ca, &ca_key, NULL) == 0); /* another CA */
        identity_make(1, 77);
    } else {
        identity_make(1, 78); /* another cluster */
    }
    edge_on(2, serve, NULL);
    edge_on(1, dial, NULL);
    sim_sleep(10 * SIM_S);
    CHECK(ups == 0 && !accepted);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    edge_histories(stranger);
}

int edge_net(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_are_noticed_by_silence),
        cmocka_unit_test(crashes_are_silent_or_not),
        cmocka_unit_test(noise_is_lived_through),
        cmocka_unit_test(strangers_are_refused),
    };
    log_set_level(LOG_ERROR + 1);
    return cmocka_run_group_tests_name("edge: net", tests, NULL, NULL);
}
