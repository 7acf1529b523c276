/* The cluster: init, join, members, leadership, status, verify. */
#include "node/admin.h"
#include "node/base/clock.h"
#include "store/command.pb-c.h"

#include <stdio.h>

static const char *arg(struct admin_call *c, const char *name)
{
    const char *value = admin_arg_string(&c->request, name);
    return value && value[0] ? value : NULL;
}

/* ---- init and join ---- */

static json_t *identity_json(struct admin_call *c)
{
    struct replication_now now;
    char id[17];
    replication_now(node_services(c->node)->replication, &now);
    snprintf(id, sizeof id, "%016llx", (unsigned long long)now.cluster_id);
    return json_pack("{s:s, s:s}", "cluster", id, "name", node_config(c->node)->name);
}

struct init_flow {
    struct propose propose;
    struct admin_call *call;
    uint8_t *command;
};

static void init_proposed(struct task *t)
{
    struct init_flow *f = container_of(t, struct init_flow, propose.task);
    struct admin_call *c = f->call;
    if (f->propose.status)
        admin_fail(c, f->propose.status, "see: mailctl status", "the cluster was made, but does not take writes: %s",
                   err_text(f->propose.status));
    else
        admin_ok(c, identity_json(c));
    bytes_unref(&f->propose.result);
    mem_free(f->command);
    mem_free(f);
}

/* The certificate authority becomes replicated state: any node can then make a token. */
static void init_propose(struct admin_call *c, const char *cert, const char *key)
{
    Merlion__Command command = MERLION__COMMAND__INIT;
    Merlion__Settings settings = MERLION__SETTINGS__INIT;
    Merlion__Setting set[2] = {MERLION__SETTING__INIT, MERLION__SETTING__INIT}, *list[] = {&set[0], &set[1]};
    set[0].name = (char *)"ca.cert";
    set[0].value = (ProtobufCBinaryData){strlen(cert), (uint8_t *)cert};
    set[1].name = (char *)"ca.key";
    set[1].value = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
    settings.n_set = 2;
    settings.set = list;
    command.op_case = MERLION__COMMAND__OP_SETTINGS;
    command.settings = &settings;

    struct init_flow *f = mem_zalloc(sizeof *f);
    f->call = c;
    size_t n = merlion__command__get_packed_size(&command);
    f->command = mem_alloc(n);
    merlion__command__pack(&command, f->command);
    f->propose.task.run = init_proposed;
    f->propose.home = &node_loop(c->node)->queue;
    f->propose.command = slice_make(f->command, n);
    replication_propose(node_services(c->node)->replication, &f->propose);
}

static bool is_member_already(struct admin_call *c)
{
    if (!node_is_member(c->node))
        return false;
    admin_fail(c, ERR_EXISTS, "see: mailctl status", "this node belongs to a cluster already");
    return true;
}

static void cluster_init(struct admin_call *c)
{
    const struct config *config = node_config(c->node);
    char *cert = NULL, *key = NULL;
    struct err_detail e = {0};
    if (is_member_already(c))
        return;
    int r = replication_cluster_init(config->data, config->name, config->peer_advertise, &cert, &key, &e);
    if (r == 0)
        r = node_become_member(c->node, &e);
    if (r)
        admin_fail(c, r, NULL, "%s", e.text);
    else
        init_propose(c, cert, key);
    if (key)
        mem_wipe(key, strlen(key));
    mem_free(key);
    mem_free(cert);
}

static void cluster_join(struct admin_call *c)
{
    struct err_detail e = {0};
    if (is_member_already(c))
        return;
    int r = replication_join(node_config(c->node)->data, node_config(c->node)->name, arg(c, "token"), &e);
    if (r == 0)
        r = node_become_member(c->node, &e);
    if (r)
        admin_fail(c, r, "make a new token with: mailctl member add", "%s", e.text);
    else
        admin_ok(c, identity_json(c));
}

/* ---- status and verify ---- */

static const char *role_name(int role)
{
    return role == 0 ? "standby" : role == 1 ? "voter" : role == 2 ? "spare" : "invited";
}

static json_t *member_json(const struct replication_status *s, const struct member_status *m)
{
    char id[21];
    snprintf(id, sizeof id, "%llu", (unsigned long long)m->id);
    bool known = m->reachable || m->self;
    uint64_t lag = s->commit > m->applied ? s->commit - m->applied : 0;
    json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:I, s:s, s:s}", "name", m->name, "id", id, "role",
                            role_name(m->role), "state", m->state, "leader", m->leader, "self", m->self, "term",
                            (json_int_t)s->term, "version", m->version, "address", m->address);
    json_object_set_new(row, "applied", known ? json_integer((json_int_t)m->applied) : json_null());
    json_object_set_new(row, "lag", known ? json_integer((json_int_t)lag) : json_null());
    json_object_set_new(row, "missing", known ? json_integer((json_int_t)m->missing) : json_null());
    json_object_set_new(row, "uptime_ms", known ? json_integer(m->uptime_ms) : json_null());
    return row;
}

static void status_got(struct task *t)
{
    struct admin_call *c = container_of(t, struct admin_call, status.task);
    struct replication_status *s = &c->status;
    char id[17];
    snprintf(id, sizeof id, "%016llx", (unsigned long long)s->cluster_id);
    json_t *members = json_array();
    const char *leader = NULL;
    for (unsigned i = 0; i < s->n; i++) {
        json_array_append_new(members, member_json(s, &s->members[i]));
        if (s->members[i].id == s->leader)
            leader = s->members[i].name;
    }
    admin_ok(c, json_pack("{s:s, s:I, s:I, s:s?, s:o}", "cluster", id, "term", (json_int_t)s->term, "commit",
                          (json_int_t)s->commit, "leader", leader, "members", members));
}

static void status_ask(struct admin_call *c, bool digests, int64_t timeout_ms, void (*run)(struct task *t))
{
    if (!node_is_member(c->node)) {
        admin_fail(c, ERR_UNAVAILABLE,
                   "run mailctl cluster init here, or mailctl member add on a member and maild join here",
                   "this node belongs to no cluster yet");
        return;
    }
    c->status = (struct replication_status){
        .task.run = run, .home = &node_loop(c->node)->queue, .timeout_ms = timeout_ms, .digests = digests};
    replication_status(node_services(c->node)->replication, &c->status);
}

static void status(struct admin_call *c)
{
    status_ask(c, false, 1000, status_got);
}

static void verify_got(struct task *t)
{
    struct admin_call *c = container_of(t, struct admin_call, status.task);
    struct replication_status *s = &c->status;
    if (s->status) {
        admin_fail(c, s->status, "see: mailctl status", "the digests could not be compared: %s", err_text(s->status));
        return;
    }
    json_t *members = json_array();
    bool same = true, complete = true;
    const struct member_status *first = NULL;
    for (unsigned i = 0; i < s->n; i++) {
        const struct member_status *m = &s->members[i];
        if (m->role < 0 || m->role == 2)
            continue; /* invited ones and spares hold no replica that could be asked */
        bool here = m->digest_index != 0;
        char digest[33] = "";
        if (here) {
            snprintf(digest, sizeof digest, "%016llx%016llx", (unsigned long long)m->digest.hi,
                     (unsigned long long)m->digest.lo);
            if (!first)
                first = m;
            bool comparable = m->digest_index == first->digest_index;
            same = same && (!comparable || (m->digest.hi == first->digest.hi && m->digest.lo == first->digest.lo));
            complete = complete && comparable;
        }
        complete = complete && here;
        json_array_append_new(members, json_pack("{s:s, s:s, s:I, s:s}", "name", m->name, "digest", digest, "index",
                                                 (json_int_t)m->digest_index, "state", here ? m->state : "no answer"));
    }
    admin_ok(c, json_pack("{s:b, s:b, s:b, s:I, s:o}", "same", same && complete, "differ", !same, "complete", complete,
                          "index", (json_int_t)(first ? first->digest_index : 0), "members", members));
}

static void verify(struct admin_call *c)
{
    status_ask(c, true, 10000, verify_got);
}

/* ---- members ---- */

static void member_done(struct task *t)
{
    struct admin_call *c = container_of(t, struct admin_call, member.task);
    struct member_request *m = &c->member;
    if (m->status) {
        admin_fail(c, m->status, "see: mailctl status", "%s", m->detail.text[0] ? m->detail.text : err_text(m->status));
        return;
    }
    json_t *data = json_object();
    if (m->action == LEADER_TRANSFER) {
        json_object_set_new(data, "leader", json_string(m->name ? m->name : m->detail.text));
    } else {
        json_object_set_new(data, "name", json_string(m->name));
        if (m->address)
            json_object_set_new(data, "address", json_string(m->address));
        if (arg(c, "role"))
            json_object_set_new(data, "role", json_string(arg(c, "role")));
        if (m->token)
            json_object_set_new(data, "token", json_string(m->token));
    }
    mem_free(m->token);
    admin_ok(c, data);
}

static void member_ask(struct admin_call *c, struct member_request m)
{
    if (!node_is_member(c->node)) {
        admin_fail(c, ERR_UNAVAILABLE, "see: mailctl cluster init --help", "this node belongs to no cluster yet");
        return;
    }
    c->member = m;
    c->member.task.run = member_done;
    c->member.home = &node_loop(c->node)->queue;
    replication_member(node_services(c->node)->replication, &c->member);
}

static void member_add(struct admin_call *c)
{
    member_ask(c,
               (struct member_request){.action = MEMBER_INVITE, .name = arg(c, "name"), .address = arg(c, "address")});
}

static void member_remove(struct admin_call *c)
{
    member_ask(c, (struct member_request){
                      .action = MEMBER_REMOVE, .name = arg(c, "name"), .force = admin_arg_bool(&c->request, "force")});
}

static void member_role(struct admin_call *c)
{
    const char *role = arg(c, "role");
    int number = role && strcmp(role, "voter") == 0 ? 1 : role && strcmp(role, "spare") == 0 ? 2 : 0;
    member_ask(c, (struct member_request){.action = MEMBER_ROLE, .name = arg(c, "name"), .role = number});
}

static void leader_transfer(struct admin_call *c)
{
    member_ask(c, (struct member_request){.action = LEADER_TRANSFER, .name = arg(c, "to")});
}

static void drain(struct admin_call *c)
{
    node_drain(c->node);
    admin_ok(c, json_pack("{s:s}", "name", node_config(c->node)->name));
}

const struct admin_handler_entry admin_cluster_handlers[] = {
    {"cluster init", cluster_init},
    {"cluster join", cluster_join},
    {"status", status},
    {"member list", status},
    {"verify", verify},
    {"member add", member_add},
    {"member remove", member_remove},
    {"member role", member_role},
    {"leader transfer", leader_transfer},
    {"node drain", drain},
    {NULL, NULL},
};
