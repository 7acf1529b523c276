/* What operators ask for: invite, remove, role, hand leadership over. Asked anywhere, done by the leader.
 *
 * LINK_MEMBER: u8 action, u8 role, u8 force, u32 + name, u32 + address -> LINK_ANSWER {u32 status, u32 + text, u32 +
 * token} */
#include "replication/core.h"

#include "node/base/clock.h"
#include "store/command.pb-c.h"

enum {
    ASK_MS = 15000,
    TEXT_MAX = 511,
    TOKEN_MAX = 65536,
    NAME_MAX_BYTES = 63,
    ADDRESS_MAX_BYTES = 127,
    INVITE_MS = IDENTITY_TOKEN_MS,
    TRANSFERS_MAX = 4,
};

struct member_wait {
    struct task task;
    struct list item; /* of all open ones */
    struct list transfer;
    struct replication *r;
    struct member_request *m; /* NULL: another node's */
    struct origin origin;
    enum member_action action;
    int role;
    bool force, asked;
    unsigned transfers;   /* that failed */
    char *name, *address; /* own copies; "" for none */
    uint64_t id;
    uint64_t last; /* the highest id that was ever a member's or an invited node's, as far as the state tells */
    uint64_t serial;
};

struct ask {
    struct replication *r;
    uint64_t serial;
};

void member_requests_init(struct replication *r)
{
    list_init(&r->membership.transfers);
    list_init(&r->membership.requests);
}

static void finish(struct member_wait *w, int status, const char *text, const char *token)
{
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

static struct ask *ask_new(struct member_wait *w)
{
    struct ask *a = mem_zalloc(sizeof *a);
    *a = (struct ask){w->r, w->serial};
    return a;
}

static struct member_wait *ask_take(struct ask *a)
{
    struct member_wait *w = wait_find(a->r, a->serial);
    mem_free(a);
    return w;
}

/* 0, or why not: of getting it committed, or the command's own result. */
static int result_status(int status, struct slice result, char *text, size_t n)
{
    text[0] = 0;
    if (status != 0)
        return status;
    Merlion__Result *res = merlion__result__unpack(NULL, result.n, result.p);
    if (!res)
        return ERR_PROTOCOL;
    status = res->status;
    snprintf(text, n, "%s", res->text ? res->text : "");
    merlion__result__free_unpacked(res, NULL);
    return status;
}

static void committed(struct replication *r, void *arg, int status, struct slice result)
{
    struct member_wait *w = ask_take(arg);
    char text[TEXT_MAX + 1];
    (void)r;
    status = result_status(status, result, text, sizeof text);
    if (w)
        finish(w, status, text, NULL);
}

/* ---- invite ---- */

static bool peers_text(void *arg, const struct store_member *m)
{
    struct buf *b = arg;
    if (m->instance != 0 && buf_len(b) < 4096) {
        if (buf_len(b))
            buf_append_byte(b, ',');
        buf_append_slice(b, m->address);
    }
    return true;
}

static int token_make(struct member_wait *w, char **token_r, struct err_detail *e)
{
    struct store_view *v;
    struct slice cert, key;
    int rc = store_view_open(w->r->store, &v);
    if (rc != 0)
        return rc;
    if (store_setting_get(v, SLICE_LITERAL("ca.cert"), &cert) != 0 ||
        store_setting_get(v, SLICE_LITERAL("ca.key"), &key) != 0) {
        store_view_close(&v);
        return err_set(e, ERR_UNAVAILABLE, "the settings ca.cert and ca.key are not there yet");
    }
    struct buf peers = {0};
    store_member_each(v, peers_text, &peers);
    buf_append_byte(&peers, 0);
    char *cert_pem = mem_strndup(cert), *key_pem = mem_strndup(key);
    store_view_close(&v);
    rc = identity_token_make(cert_pem, key_pem, w->r->identity.cluster_id, w->id, w->name, w->address,
                             (const char *)buf_slice(&peers).p, token_r, e);
    mem_wipe(key_pem, strlen(key_pem));
    mem_free(key_pem);
    mem_free(cert_pem);
    buf_close(&peers);
    return rc;
}

static void invited(struct replication *r, void *arg, int status, struct slice result)
{
    struct member_wait *w = ask_take(arg);
    struct err_detail e = {""};
    char text[TEXT_MAX + 1], *token = NULL;
    (void)r;
    status = result_status(status, result, text, sizeof text);
    if (!w)
        return;
    if (status == 0 && (status = token_make(w, &token, &e)) != 0)
        snprintf(text, sizeof text, "%s", e.text);
    finish(w, status, text, token);
    if (token) {
        mem_wipe(token, strlen(token));
        mem_free(token);
    }
}

static void setting_propose(struct member_wait *w, const char *name, const char *value, proposal_cb cb)
{
    Merlion__Setting s = MERLION__SETTING__INIT, *all[1] = {&s};
    Merlion__Settings set = MERLION__SETTINGS__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    s.name = (char *)(uintptr_t)name;
    s.value.data = (uint8_t *)(uintptr_t)value;
    s.value.len = strlen(value);
    set.n_set = 1;
    set.set = all;
    c.op_case = MERLION__COMMAND__OP_SETTINGS;
    c.settings = &set;
    membership_propose(w->r, &c, cb, ask_new(w));
}

static void last_propose(struct member_wait *w, proposal_cb cb)
{
    char value[32];
    if (w->id > w->last)
        w->last = w->id;
    snprintf(value, sizeof value, "%llu", (unsigned long long)w->last);
    setting_propose(w, "member.last", value, cb);
}

/* Noted once the record is there, and again before it goes: whose id is noted and who has no record was removed
 * (core_peers.c). In the other order a node whose state ends between the two would take a new member for a removed
 * one, and if that one leads by now, shut out whom it needs to get any further. */
static void recorded(struct replication *r, void *arg, int status, struct slice result)
{
    struct member_wait *w = ask_take(arg);
    char text[TEXT_MAX + 1];
    (void)r;
    status = result_status(status, result, text, sizeof text);
    if (w && status == 0)
        last_propose(w, invited);
    else if (w)
        finish(w, status, text, NULL);
}

static void record_propose(struct member_wait *w)
{
    Merlion__MemberSet m = MERLION__MEMBER_SET__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    m.id = w->id;
    m.name = w->name;
    m.address = w->address;
    m.invited_until_ms = replication_time_ms(w->r) + INVITE_MS;
    c.op_case = MERLION__COMMAND__OP_MEMBER_SET;
    c.member_set = &m;
    membership_propose(w->r, &c, recorded, ask_new(w));
}

struct search {
    struct member_wait *w;
    uint64_t id, id_max;
    bool invited, self_known;
    struct slice address_user; /* the name of who has the address; of the view */
};

static bool search_one(void *arg, const struct store_member *m)
{
    struct search *s = arg;
    if (slice_eq(m->name, slice_str(s->w->name))) {
        s->id = m->id;
        s->invited = m->instance == 0;
    } else if (*s->w->address && slice_eq(m->address, slice_str(s->w->address))) {
        s->address_user = m->name;
    }
    s->self_known = s->self_known || m->id == s->w->r->identity.node_id;
    if (m->id > s->id_max)
        s->id_max = m->id;
    return true;
}

/* An id is never used again, not even of a removed member: its certificate may still be somewhere. */
static uint64_t id_last(struct member_wait *w, struct store_view *v, const struct search *s)
{
    uint64_t last = s->id_max, noted = 0;
    struct slice value;
    for (unsigned i = 0; i < w->r->raft.configuration.n; i++)
        if (w->r->raft.configuration.servers[i].id > last)
            last = w->r->raft.configuration.servers[i].id;
    if (store_setting_get(v, SLICE_LITERAL("member.last"), &value) == 0 &&
        slice_u64(value, UINT64_MAX / 2, &noted) == 0 && noted > last)
        last = noted;
    return last;
}

/* Also somebody invited who never came, by a request whose answer was lost: who asks must learn its name. */
static void address_refuse(struct member_wait *w, struct slice name)
{
    char text[TEXT_MAX + 1];
    snprintf(text, sizeof text, "member %.*s has that address: remove it first", (int)name.n, (const char *)name.p);
    finish(w, ERR_EXISTS, text, NULL);
}

static void invite(struct member_wait *w, const struct search *s)
{
    if (!*w->name || !strchr(w->address, ':')) {
        finish(w, ERR_INVALID, "a name and an address host:port are needed", NULL);
    } else if (s->id != 0 && !s->invited) {
        finish(w, ERR_EXISTS, "a member of that name is there", NULL);
    } else if (s->address_user.n > 0) {
        address_refuse(w, s->address_user);
    } else if (!s->self_known) {
        finish(w, ERR_UNAVAILABLE, "the cluster is still starting", NULL);
    } else if (w->r->n_peers + 1 >= REPLICATION_MEMBERS_MAX && s->id == 0) {
        finish(w, ERR_TOOBIG, "the cluster has as many members as it can have", NULL);
    } else {
        w->id = s->id ? s->id : w->last + 1;
        record_propose(w);
    }
}

/* ---- remove, role, transfer ---- */

/* Every body must stay on a majority of the voters that remain. */
static const char *removal_objection(struct member_wait *w)
{
    struct replication *r = w->r;
    unsigned voters = 0, whole = 0;
    bool self_stays = w->id != r->identity.node_id;
    if (self_stays && core_is_voter(r, r->identity.node_id)) {
        voters++;
        whole += blob_missing_count(r->blobs) == 0;
    }
    for (unsigned i = 0; i < r->n_peers; i++) {
        struct peer *p = r->peers[i];
        if (p->id == w->id || p->role != RAFT_VOTER)
            continue;
        voters++;
        whole += p->up && p->status.known && p->status.missing == 0;
    }
    if (voters == 0)
        return "the last voter cannot be removed";
    if (whole < voters / 2 + 1 && !w->force)
        return "bodies would be left on fewer than a majority: members are down or still fetch bodies (--force removes "
               "nevertheless)";
    return NULL;
}

static void removal_propose(struct replication *r, void *arg, int status, struct slice result)
{
    struct member_wait *w = ask_take(arg);
    char text[TEXT_MAX + 1];
    status = result_status(status, result, text, sizeof text);
    if (!w || status != 0) {
        if (w)
            finish(w, status, text, NULL);
        return;
    }
    Merlion__MemberRemove m = MERLION__MEMBER_REMOVE__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    m.id = w->id;
    c.op_case = MERLION__COMMAND__OP_MEMBER_REMOVE;
    c.member_remove = &m;
    membership_propose(r, &c, committed, ask_new(w));
}

static void remove_member(struct member_wait *w)
{
    const char *why = core_is_voter(w->r, w->id) ? removal_objection(w) : NULL;
    if (why) {
        finish(w, ERR_CONFLICT, why, NULL);
        return;
    }
    last_propose(w, removal_propose);
}

static void role_set(struct member_wait *w)
{
    static const char *const names[] = {"standby", "voter", "spare"};
    char name[64];
    if (w->role < 0 || w->role > 2) {
        finish(w, ERR_INVALID, "a role is standby, voter or spare", NULL);
        return;
    }
    snprintf(name, sizeof name, "member.%llu.role", (unsigned long long)w->id);
    setting_propose(w, name, names[w->role], committed);
}

void member_transferred(struct replication *r, struct list *transfer)
{
    struct member_wait *w = container_of(transfer, struct member_wait, transfer);
    bool ok = w->id == core_leader(r) || !core_is_leader(r);
    /* libraft gives the heir one election timeout to have the whole log on its disk, and asks it to stand once only. */
    if (!ok && ++w->transfers < TRANSFERS_MAX && membership_transfer(r, w->id, &w->transfer) == 0)
        return;
    finish(w, ok ? 0 : ERR_TIMEOUT, "the other node did not take over", NULL);
}

static void transfer(struct member_wait *w)
{
    if (!*w->name)
        w->id = membership_best_heir(w->r);
    if (w->id == w->r->identity.node_id) {
        finish(w, 0, NULL, NULL);
        return;
    }
    int rc = membership_transfer(w->r, w->id, &w->transfer);
    if (rc != 0)
        finish(w, rc, rc == ERR_UNAVAILABLE ? "no other voter can take over" : "", NULL);
}

static void handle(struct member_wait *w)
{
    struct search s = {.w = w};
    struct store_view *v;
    if (!core_is_leader(w->r)) {
        finish(w, ERR_NOTLEADER, "the leader changed meanwhile, try again", NULL);
        return;
    }
    if (store_view_open(w->r->store, &v) != 0) {
        finish(w, ERR_UNAVAILABLE, NULL, NULL);
        return;
    }
    store_member_each(v, search_one, &s);
    w->last = id_last(w, v, &s);
    if (w->action != MEMBER_INVITE)
        w->id = s.id;
    if (w->action == MEMBER_INVITE)
        invite(w, &s);
    else if (s.id == 0 && !(w->action == LEADER_TRANSFER && !*w->name))
        finish(w, ERR_NOTFOUND, "no member of that name", NULL);
    else if (w->action == MEMBER_REMOVE)
        remove_member(w);
    else if (w->action == MEMBER_ROLE)
        role_set(w);
    else
        transfer(w);
    store_view_close(&v);
}

/* ---- entering ---- */

static void answered(void *arg, int status, struct slice payload)
{
    struct member_wait *w = ask_take(arg);
    struct reader in = {.in = payload};
    if (!w)
        return;
    int answer = status == 0 ? (int)(int32_t)read_u32(&in) : status;
    char *text = mem_strndup(read_bytes(&in, TEXT_MAX)), *token = mem_strndup(read_bytes(&in, TOKEN_MAX));
    finish(w, status == 0 && in.failed ? ERR_PROTOCOL : answer, status ? "the leader did not answer" : text, token);
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
    struct ask *a = ask_new(w);
    if (!p || !p->out ||
        link_request(p->out, LINK_MEMBER, buf_slice(&b), (struct slice){NULL, 0}, ASK_MS, answered, a) != 0) {
        mem_free(a);
        finish(w, ERR_UNAVAILABLE, "there is no leader, or it cannot be reached", NULL);
    }
    buf_close(&b);
}

static void enter(struct member_wait *w)
{
    struct replication *r = w->r;
    w->serial = ++r->membership.serial;
    list_append(&r->membership.requests, &w->item);
    if (r->life == CORE_CLOSING)
        finish(w, ERR_CANCELED, NULL, NULL);
    else if (strlen(w->name) > NAME_MAX_BYTES || strlen(w->address) > ADDRESS_MAX_BYTES)
        finish(w, ERR_INVALID, "a name has at most 63 bytes, an address 127", NULL);
    else if (core_is_leader(r))
        handle(w);
    else if (w->m)
        ask_leader(w);
    else
        finish(w, ERR_NOTLEADER, "the leader changed meanwhile, try again", NULL);
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
        finish(w, ERR_PROTOCOL, NULL, NULL);
    else
        enter(w);
}

void membership_requests_cancel(struct replication *r)
{
    while (!list_empty(&r->membership.requests))
        finish(container_of(r->membership.requests.next, struct member_wait, item), ERR_CANCELED, NULL, NULL);
}
