/* What operators ask for: invite, remove, role, hand leadership over. Asked anywhere, done by the leader:
 *
 *   replication_member ─┬─ leader: turn ──► read ──► membership_action.c ──► answer
 *                       └─ else: LINK_MEMBER to it ─────────────────────────────┘
 *
 * The read (readindex.c) finds out whether this node leads still: one that is cut off would answer from a state that is
 * not the cluster's any more. Requests that write go one at a time, as two would decide from the same state; handing
 * leadership over has no need of a turn.
 *
 * LINK_MEMBER: u8 action, u8 role, u8 force, u32 + name, u32 + address -> LINK_ANSWER {u32 status, u32 + text, u32 +
 * token} */
#include "replication/membership_impl.h"

#include "node/base/clock.h"

enum {
    ASK_MS = 15000,
    DO_MS = 12000, /* at the leader: its answer is there before the asker gives up */
    TEXT_MAX = 511,
    TOKEN_MAX = 65536,
    NAME_MAX_BYTES = 63,
    ADDRESS_MAX_BYTES = 127,
};

const char member_leader_changed[] = "the leader changed meanwhile, try again";

struct member_ask {
    struct replication *r;
    uint64_t serial;
};

void member_requests_init(struct replication *r)
{
    list_init(&r->membership.transfers);
    list_init(&r->membership.requests);
}

void member_request_finish(struct member_wait *w, int status, const char *text, const char *token)
{
    if (w->serial != 0 && w->r->membership.turn == w->serial)
        w->r->membership.turn = 0;
    list_remove(&w->item);
    list_remove(&w->transfer);
    if (w->m) {
        w->m->status = status;
        snprintf(w->m->detail.text, sizeof w->m->detail.text, "%s",
                 status ? (text && *text ? text : err_text(status)) : "");
        w->m->token = status == 0 && token && *token ? mem_strdup(token) : NULL;
        w->m->impl = NULL;
        task_post(w->m->home, &w->m->task);
    } else {
        struct buf b = {0};
        buf_put_u32(&b, (uint32_t)status);
        buf_put_bytes(&b, slice_str(text ? text : ""));
        buf_put_bytes(&b, slice_str(token ? token : ""));
        core_answer(w->r, w->origin, buf_slice(&b), (struct slice){NULL, 0});
        buf_close(&b);
    }
    mem_free(w->name);
    mem_free(w->address);
    mem_free(w);
}

static struct member_wait *wait_find(struct replication *r, uint64_t serial)
{
    LIST_EACH(it, tmp, &r->membership.requests)
    {
        struct member_wait *w = container_of(it, struct member_wait, item);
        if (w->serial == serial)
            return w;
    }
    return NULL;
}

struct member_ask *member_ask_new(struct member_wait *w)
{
    struct member_ask *a = mem_zalloc(sizeof *a);
    *a = (struct member_ask){w->r, w->serial};
    return a;
}

struct member_wait *member_ask_take(struct member_ask *a)
{
    struct member_wait *w = wait_find(a->r, a->serial);
    mem_free(a);
    return w;
}

/* ---- as leader: a turn, a read ---- */

static void confirmed(struct replication *r, void *arg, int status)
{
    struct member_wait *w = member_ask_take(arg);
    if (!w)
        return;
    w->term = raft_current_term(&r->raft);
    if (status == 0)
        member_action_begin(w);
    else if (status == ERR_NOTLEADER)
        member_request_finish(w, status, member_leader_changed, NULL);
    else
        member_request_finish(w, status, "no majority of the voters can be reached", NULL);
}

static void read_begin(struct member_wait *w)
{
    reads_internal(w->r, w->deadline_ms, confirmed, member_ask_new(w));
}

static void lead(struct member_wait *w)
{
    w->deadline_ms = clock_steady_ms() + DO_MS;
    if (w->action == LEADER_TRANSFER)
        read_begin(w);
    else
        w->waits = true;
}

/* A new leader looks at the records first: a cluster's first one has to make its own before it can invite. */
void member_requests_turn(struct replication *r)
{
    struct membership *m = &r->membership;
    LIST_EACH(it, tmp, &m->requests)
    {
        struct member_wait *w = container_of(it, struct member_wait, item);
        if (!w->waits)
            continue;
        if (!core_is_leader(r)) {
            member_request_finish(w, ERR_NOTLEADER, member_leader_changed, NULL);
        } else if (m->turn == 0 && !m->proposing && m->looked_term == raft_current_term(&r->raft)) {
            w->waits = false;
            m->turn = w->serial;
            read_begin(w);
        } else if (w->deadline_ms <= clock_steady_ms()) {
            member_request_finish(w, ERR_UNAVAILABLE, "another change of members is still under way, try again", NULL);
        }
    }
}

/* ---- entering ---- */

static void answered(void *arg, int status, struct slice payload)
{
    struct member_wait *w = member_ask_take(arg);
    struct reader in = {.in = payload};
    if (!w)
        return;
    int answer = status == 0 ? (int)(int32_t)read_u32(&in) : status;
    char *text = mem_strndup(read_bytes(&in, TEXT_MAX)), *token = mem_strndup(read_bytes(&in, TOKEN_MAX));
    member_request_finish(w, status == 0 && in.failed ? ERR_PROTOCOL : answer,
                          status ? "the leader did not answer" : text, token);
    mem_free(text);
    mem_wipe(token, strlen(token));
    mem_free(token);
}

static void ask_leader(struct member_wait *w)
{
    struct peer *p = core_peer(w->r, core_leader(w->r));
    struct buf b = {0};
    buf_put_u8(&b, (uint8_t)w->action);
    buf_put_u8(&b, (uint8_t)w->role);
    buf_put_u8(&b, w->force);
    buf_put_bytes(&b, slice_str(w->name));
    buf_put_bytes(&b, slice_str(w->address));
    struct member_ask *a = member_ask_new(w);
    if (!p || !p->out ||
        link_request(p->out, LINK_MEMBER, buf_slice(&b), (struct slice){NULL, 0}, ASK_MS, answered, a) != 0) {
        mem_free(a);
        member_request_finish(w, ERR_UNAVAILABLE, "there is no leader, or it cannot be reached", NULL);
    }
    buf_close(&b);
}

static void enter(struct member_wait *w)
{
    struct replication *r = w->r;
    w->serial = ++r->membership.serial;
    list_append(&r->membership.requests, &w->item);
    if (r->life == CORE_CLOSING)
        member_request_finish(w, ERR_CANCELED, NULL, NULL);
    else if (strlen(w->name) > NAME_MAX_BYTES || strlen(w->address) > ADDRESS_MAX_BYTES)
        member_request_finish(w, ERR_INVALID, "a name has at most 63 bytes, an address 127", NULL);
    else if (core_is_leader(r))
        lead(w);
    else if (w->m)
        ask_leader(w);
    else
        member_request_finish(w, ERR_NOTLEADER, member_leader_changed, NULL);
}

static struct member_wait *wait_new(struct replication *r)
{
    struct member_wait *w = mem_zalloc(sizeof *w);
    w->r = r;
    list_init(&w->item);
    list_init(&w->transfer);
    return w;
}

static void member_run(struct task *t)
{
    enter(container_of(t, struct member_wait, task));
}

void replication_member(struct replication *r, struct member_request *m)
{
    m->token = NULL;
    if (!r->member) {
        m->status = err_set(&m->detail, ERR_UNAVAILABLE, "this node is in no cluster: maild init or maild join first");
        task_post(m->home, &m->task);
        return;
    }
    struct member_wait *w = wait_new(r);
    w->task.run = member_run;
    w->m = m;
    w->action = m->action;
    w->role = m->role;
    w->force = m->force;
    w->name = mem_strdup(m->name ? m->name : "");
    w->address = mem_strdup(m->address ? m->address : "");
    m->impl = w;
    task_post(&r->loop.queue, &w->task);
}

void membership_asked(struct replication *r, struct origin o, struct slice payload)
{
    struct reader in = {.in = payload};
    struct member_wait *w = wait_new(r);
    w->origin = o;
    uint8_t action = read_u8(&in);
    w->role = read_u8(&in);
    w->force = read_u8(&in) != 0;
    w->name = mem_strndup(read_bytes(&in, NAME_MAX_BYTES));
    w->address = mem_strndup(read_bytes(&in, ADDRESS_MAX_BYTES));
    w->action = (enum member_action)action;
    if (in.failed || action > LEADER_TRANSFER)
        member_request_finish(w, ERR_PROTOCOL, NULL, NULL);
    else
        enter(w);
}

void membership_requests_cancel(struct replication *r)
{
    while (!list_empty(&r->membership.requests))
        member_request_finish(container_of(r->membership.requests.next, struct member_wait, item), ERR_CANCELED, NULL,
                              NULL);
}
