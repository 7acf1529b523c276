/* What the leader does for an operator: invites, removes, sets a role, hands leadership over. It decides from its own
 * state, which is level with the cluster's (membership_request.c), and its decisions end with its term (propose.c). */
#include "replication/membership_impl.h"

#include "store/command.pb-c.h"

enum { TEXT_MAX = 511, INVITE_MS = IDENTITY_TOKEN_MS, TRANSFERS_MAX = 4 };

/* 0, or why not: of getting it committed, or the command's own result. */
static int result_status(int status, struct slice result, char *text, size_t n)
{
    text[0] = 0;
    if (status == ERR_NOTLEADER)
        snprintf(text, n, "%s", member_leader_changed);
    else if (status == ERR_TIMEOUT)
        snprintf(text, n,
                 "the leader changed while it was done, or no majority confirmed it: look at the list of members, "
                 "then try again");
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

/* Decided in this term, as all of a request: a result may come when its node has lost the lead, and has it again. */
static void propose(struct member_wait *w, const Merlion__Command *c, proposal_cb cb)
{
    if (w->term == raft_current_term(&w->r->raft))
        membership_propose(w->r, c, w->deadline_ms, cb, member_ask_new(w));
    else
        member_request_finish(w, ERR_NOTLEADER, member_leader_changed, NULL);
}

static void committed(struct replication *r, void *arg, int status, struct slice result)
{
    struct member_wait *w = member_ask_take(arg);
    char text[TEXT_MAX + 1];
    (void)r;
    status = result_status(status, result, text, sizeof text);
    if (w)
        member_request_finish(w, status, text, NULL);
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
    struct member_wait *w = member_ask_take(arg);
    struct err_detail e = {""};
    char text[TEXT_MAX + 1], *token = NULL;
    (void)r;
    status = result_status(status, result, text, sizeof text);
    if (!w)
        return;
    if (status == 0 && (status = token_make(w, &token, &e)) != 0)
        snprintf(text, sizeof text, "%s", e.text);
    member_request_finish(w, status, text, token);
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
    propose(w, &c, cb);
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
    struct member_wait *w = member_ask_take(arg);
    char text[TEXT_MAX + 1];
    (void)r;
    status = result_status(status, result, text, sizeof text);
    if (w && status == 0)
        last_propose(w, invited);
    else if (w)
        member_request_finish(w, status, text, NULL);
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
    propose(w, &c, recorded);
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
    member_request_finish(w, ERR_EXISTS, text, NULL);
}

static void invite(struct member_wait *w, const struct search *s)
{
    if (!*w->name || !strchr(w->address, ':')) {
        member_request_finish(w, ERR_INVALID, "a name and an address host:port are needed", NULL);
    } else if (s->id != 0 && !s->invited) {
        member_request_finish(w, ERR_EXISTS, "a member of that name is there", NULL);
    } else if (s->address_user.n > 0) {
        address_refuse(w, s->address_user);
    } else if (!s->self_known) {
        member_request_finish(w, ERR_UNAVAILABLE, "the cluster is still starting", NULL);
    } else if (w->r->n_peers + 1 >= REPLICATION_MEMBERS_MAX && s->id == 0) {
        member_request_finish(w, ERR_TOOBIG, "the cluster has as many members as it can have", NULL);
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
    struct member_wait *w = member_ask_take(arg);
    char text[TEXT_MAX + 1];
    (void)r;
    status = result_status(status, result, text, sizeof text);
    if (!w || status != 0) {
        if (w)
            member_request_finish(w, status, text, NULL);
        return;
    }
    Merlion__MemberRemove m = MERLION__MEMBER_REMOVE__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    m.id = w->id;
    c.op_case = MERLION__COMMAND__OP_MEMBER_REMOVE;
    c.member_remove = &m;
    propose(w, &c, committed);
}

static void remove_member(struct member_wait *w)
{
    const char *why = core_is_voter(w->r, w->id) ? removal_objection(w) : NULL;
    if (why) {
        member_request_finish(w, ERR_CONFLICT, why, NULL);
        return;
    }
    last_propose(w, removal_propose);
}

static void role_set(struct member_wait *w, struct store_view *v)
{
    static const char *const names[] = {"standby", "voter", "spare"};
    char name[64];
    if (w->role < 0 || w->role > 2) {
        member_request_finish(w, ERR_INVALID, "a role is standby, voter or spare", NULL);
        return;
    }
    if (w->role != 1 && !membership_role_spared(w->r, v, w->id)) {
        member_request_finish(w, ERR_CONFLICT,
                              "too few voters would be left: add a member, or make another one a voter, first", NULL);
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
    member_request_finish(w, ok ? 0 : ERR_TIMEOUT, "the other node did not take over", NULL);
}

static void transfer(struct member_wait *w)
{
    if (!*w->name)
        w->id = membership_best_heir(w->r);
    if (w->id == w->r->identity.node_id) {
        member_request_finish(w, 0, NULL, NULL);
        return;
    }
    int rc = membership_transfer(w->r, w->id, &w->transfer);
    if (rc != 0)
        member_request_finish(w, rc, rc == ERR_UNAVAILABLE ? "no other voter can take over" : "", NULL);
}

void member_action_begin(struct member_wait *w)
{
    struct search s = {.w = w};
    struct store_view *v;
    if (w->action != LEADER_TRANSFER && !membership_known(w->r)) {
        member_request_finish(w, ERR_UNAVAILABLE, "an earlier change of members is not confirmed yet, try again", NULL);
        return;
    }
    if (store_view_open(w->r->store, &v) != 0) {
        member_request_finish(w, ERR_UNAVAILABLE, NULL, NULL);
        return;
    }
    store_member_each(v, search_one, &s);
    w->last = id_last(w, v, &s);
    if (w->action != MEMBER_INVITE)
        w->id = s.id;
    if (w->action == MEMBER_INVITE)
        invite(w, &s);
    else if (s.id == 0 && !(w->action == LEADER_TRANSFER && !*w->name))
        member_request_finish(w, ERR_NOTFOUND, "no member of that name", NULL);
    else if (w->action == MEMBER_REMOVE)
        remove_member(w);
    else if (w->action == MEMBER_ROLE)
        role_set(w, v);
    else
        transfer(w);
    store_view_close(&v);
}
