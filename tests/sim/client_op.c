/* What a session does next: drawn from what its node shows it. */
#include "tests/sim/client.h"

#include "node/base/clock.h"

enum { NAMES = 4, UIDS_MAX = 256, INLINE_MAX = 6 * 1024 };

enum { BODIES_AGAIN = 32 };
static uint64_t body_serial;
static size_t body_sizes[BODIES_AGAIN]; /* of the last ones */

struct account_pick {
    uint64_t id;
    const char *address;
};

static struct account_pick account_any(void)
{
    if (model.account_n == 0)
        return (struct account_pick){0, ""};
    const struct model_account *a = &model.accounts[sim_below(model.account_n)];
    return (struct account_pick){a->id, a->address};
}

/* ---- what the node shows ---- */

struct box_pick {
    uint64_t id;
    uint64_t highest_modseq;
    unsigned seen;
};

static bool box_draw(void *arg, const struct store_mailbox *m)
{
    struct box_pick *p = arg;
    bool inbox = slice_eq(m->name, SLICE_LITERAL("INBOX"));
    if (m->id == 0)
        return true;
    p->seen++;
    if (sim_below(p->seen) == 0 || (inbox && sim_chance(400000))) {
        p->id = m->id;
        p->highest_modseq = m->highest_modseq;
    }
    return true;
}

static struct box_pick box_any(struct client *c, uint64_t account)
{
    struct box_pick p = {0};
    struct store_view *v;
    if (store_view_open(c->node->store, &v) == 0) {
        store_mailbox_each(v, account, box_draw, &p);
        store_view_close(&v);
    }
    return p;
}

/* One or two ranges of UIDs that are there, or were. */
struct uid_pick {
    Merlion__UidRange at[2], *list[2];
    size_t n;
};

static void uids_any(struct client *c, uint64_t box, struct uid_pick *p)
{
    struct store_view *v;
    struct store_mailbox m = {.uidnext = 1};
    if (store_view_open(c->node->store, &v) == 0) {
        if (store_mailbox_get(v, box, &m) != 0)
            m.uidnext = 1;
        store_view_close(&v);
    }
    p->n = 1 + sim_below(2);
    for (size_t i = 0; i < p->n; i++) {
        merlion__uid_range__init(&p->at[i]);
        p->at[i].first = (uint32_t)sim_between(1, m.uidnext);
        p->at[i].last = p->at[i].first + (uint32_t)(sim_chance(700000) ? 0 : sim_below(4));
        p->list[i] = &p->at[i];
    }
}

/* ---- bodies ---- */

struct client_body {
    Merlion__Body body;
    struct body_hash hash;
    struct bytes *record;
    bool ahead;      /* on a majority's disks before the command */
    uint64_t voters; /* who they were */
};

static size_t body_size(void)
{
    if (plan.large_bodies && sim_chance(100000))
        return sim_between(8 * 1024, 48 * 1024);
    return sim_between(80, sim_chance(200000) ? 4000 : 400);
}

/* Mostly a new one; some come again, as mail to many does. */
static size_t body_draw(uint64_t *serial_r)
{
    if (body_serial >= BODIES_AGAIN && sim_chance(50000)) {
        *serial_r = body_serial - sim_below(BODIES_AGAIN);
    } else {
        *serial_r = ++body_serial;
        body_sizes[*serial_r % BODIES_AGAIN] = body_size();
    }
    return body_sizes[*serial_r % BODIES_AGAIN];
}

static void body_make(struct client_body *p)
{
    struct bytes *body;
    static const char summary[] = "summary";
    uint64_t serial;
    size_t n = body_draw(&serial);
    p->hash = check_body_make(serial, n, &body);
    p->record = blob_encode(&p->hash, bytes_slice(body));
    bytes_unref(&body);
    p->ahead = false;
    merlion__body__init(&p->body);
    p->body.hash = (ProtobufCBinaryData){BODY_HASH_SIZE, p->hash.b};
    p->body.size = n;
    p->body.summary = (ProtobufCBinaryData){sizeof summary, (uint8_t *)(uintptr_t)summary};
}

static void body_ride(struct client_body *p)
{
    p->body.record = (ProtobufCBinaryData){p->record->n, p->record->p};
}

/* Small ones may ride in the command; others go ahead to a majority, and the status of that is returned. */
static int body_any(struct client *c, struct client_body *p)
{
    body_make(p);
    if (p->record->n <= INLINE_MAX && sim_chance(600000)) {
        body_ride(p);
        return 0;
    }
    p->ahead = true;
    int status = client_body_put(c, &p->hash, p->record);
    p->voters = c->put_voters;
    return status;
}

/* A message is about to be acknowledged (as node/backend_write.c does it): its body must be there still. */
static void body_end(struct client *c, struct client_body *p, int status)
{
    if (status == 0 && p->ahead && p->voters != c->voters)
        status = client_body_put(c, &p->hash, p->record);
    if (status == 0 && p->ahead)
        check_body_durable(&p->hash);
    bytes_unref(&p->record);
}

/* ---- the commands ---- */

#define COMMAND(type, field, case_name)                                                                                \
    Merlion__Command command = MERLION__COMMAND__INIT;                                                                 \
    Merlion__##type op = MERLION__##case_name##__INIT;                                                                 \
    command.op_case = MERLION__COMMAND__OP_##case_name;                                                                \
    command.field = &op

Merlion__Body *client_body_inline(struct client_body **b_r)
{
    struct client_body *b = *b_r = mem_zalloc(sizeof *b);
    body_make(b);
    body_ride(b);
    return &b->body;
}

void client_body_free(struct client_body **b)
{
    bytes_unref(&(*b)->record);
    mem_free(*b);
    *b = NULL;
}

static void deliver(struct client *c)
{
    COMMAND(Deliver, deliver, DELIVER);
    uint64_t accounts[4];
    struct client_body b;
    struct queue_entry *elsewhere = sim_chance(250000) ? client_enqueue(c, &op) : NULL;
    op.n_accounts = elsewhere && sim_chance(500000) ? 0 : sim_chance(700000) ? 1 : sim_between(2, 4);
    for (size_t i = 0; i < op.n_accounts; i++)
        accounts[i] = account_any().id;
    op.accounts = accounts;
    op.internal_ms = clock_wall_ms();
    op.body = &b.body;
    op.sender = "";
    int status = body_any(c, &b);
    if (status == 0)
        status = client_propose(c, &command, NULL);
    body_end(c, &b, status);
    mem_free(elsewhere);
}

static uint32_t flags_any(void)
{
    return (uint32_t)(sim_random() & sim_random() & 0x1f);
}

static size_t keywords_any(char **out)
{
    size_t n = 0;
    for (unsigned i = 0; i < MODEL_KEYWORDS; i++)
        if (sim_chance(200000))
            out[n++] = (char *)(uintptr_t)model_keywords[i];
    return n;
}

static void append(struct client *c)
{
    COMMAND(Append, append, APPEND);
    enum { MOST = 3 };
    Merlion__AppendMessage at[MOST], *list[MOST];
    struct client_body bodies[MOST];
    char *keywords[MOST][MODEL_KEYWORDS];
    size_t made = 0, n = sim_chance(700000) ? 1 : sim_between(2, MOST);
    int status = 0;
    op.mailbox = box_any(c, account_any().id).id;
    for (; made < n && status == 0; made++) {
        status = body_any(c, &bodies[made]);
        merlion__append_message__init(&at[made]);
        at[made].body = &bodies[made].body;
        at[made].flags = flags_any();
        at[made].keywords = keywords[made];
        at[made].n_keywords = keywords_any(keywords[made]);
        at[made].internal_ms = clock_wall_ms();
        list[made] = &at[made];
    }
    op.messages = list;
    op.n_messages = n;
    if (status == 0)
        status = client_propose(c, &command, NULL);
    for (size_t i = 0; i < made; i++)
        body_end(c, &bodies[i], status);
}

static void store_flags(struct client *c)
{
    COMMAND(StoreFlags, store_flags, STORE_FLAGS);
    struct box_pick box = box_any(c, account_any().id);
    struct uid_pick uids;
    char *keywords[MODEL_KEYWORDS];
    uids_any(c, box.id, &uids);
    op.mailbox = box.id;
    op.uids = uids.list;
    op.n_uids = uids.n;
    op.mode = (Merlion__StoreFlags__Mode)sim_below(3);
    op.flags = flags_any();
    op.keywords = keywords;
    op.n_keywords = keywords_any(keywords);
    op.has_unchanged_since = sim_chance(300000);
    op.unchanged_since = box.highest_modseq;
    client_propose(c, &command, NULL);
}

static void copy(struct client *c)
{
    COMMAND(Copy, copy, COPY);
    uint64_t account = account_any().id;
    struct uid_pick uids;
    op.source = box_any(c, account).id;
    op.target = box_any(c, sim_chance(900000) ? account : account_any().id).id;
    op.move = sim_chance(600000) && op.source != op.target;
    uids_any(c, op.source, &uids);
    op.uids = uids.list;
    op.n_uids = uids.n;
    client_propose(c, &command, NULL);
}

static void expunge(struct client *c)
{
    COMMAND(Expunge, expunge, EXPUNGE);
    struct uid_pick uids;
    op.mailbox = box_any(c, account_any().id).id;
    uids_any(c, op.mailbox, &uids);
    op.all_deleted = sim_chance(400000);
    op.even_undeleted = !op.all_deleted && sim_chance(500000);
    op.uids = uids.list;
    op.n_uids = op.all_deleted ? 0 : uids.n;
    client_propose(c, &command, NULL);
}

static char *name_any(void)
{
    static char *const names[NAMES] = {"Alpha", "Beta", "Gamma", "Delta"};
    return names[sim_below(NAMES)];
}

static void mailbox_create(struct client *c)
{
    COMMAND(MailboxCreate, mailbox_create, MAILBOX_CREATE);
    op.account = account_any().id;
    op.name = name_any();
    client_propose(c, &command, NULL);
}

static void mailbox_delete(struct client *c)
{
    COMMAND(MailboxDelete, mailbox_delete, MAILBOX_DELETE);
    op.account = account_any().id;
    op.name = name_any();
    client_propose(c, &command, NULL);
}

static void mailbox_rename(struct client *c)
{
    COMMAND(MailboxRename, mailbox_rename, MAILBOX_RENAME);
    op.account = account_any().id;
    op.from = sim_chance(150000) ? "INBOX" : name_any();
    op.to = name_any();
    client_propose(c, &command, NULL);
}

static void subscribe(struct client *c)
{
    COMMAND(Subscribe, subscribe, SUBSCRIBE);
    op.account = account_any().id;
    op.name = name_any();
    op.on = sim_chance(500000);
    client_propose(c, &command, NULL);
}

int client_setting(struct client *c, const char *name, const char *value)
{
    COMMAND(Settings, settings, SETTINGS);
    Merlion__Setting one = MERLION__SETTING__INIT, *all[1] = {&one};
    one.name = (char *)(uintptr_t)name;
    one.value = (ProtobufCBinaryData){strlen(value), (uint8_t *)(uintptr_t)value};
    op.set = all;
    op.n_set = 1;
    return client_propose(c, &command, NULL);
}

int client_domain_add(struct client *c, const char *name)
{
    COMMAND(DomainAdd, domain_add, DOMAIN_ADD);
    op.name = (char *)(uintptr_t)name;
    return client_propose(c, &command, NULL);
}

int client_user_add(struct client *c, const char *address)
{
    COMMAND(UserAdd, user_add, USER_ADD);
    op.address = (char *)(uintptr_t)address;
    op.password = "none";
    return client_propose(c, &command, NULL);
}

static void setting(struct client *c)
{
    char name[32], value[32];
    snprintf(name, sizeof name, "sim.%llu", (unsigned long long)sim_below(4));
    snprintf(value, sizeof value, "%llu", (unsigned long long)sim_random());
    client_setting(c, name, value);
}

static void user_set(struct client *c)
{
    COMMAND(UserSet, user_set, USER_SET);
    char address[64];
    snprintf(address, sizeof address, "%s", account_any().address);
    op.address = address;
    op.password = "";
    op.has_quota = sim_chance(600000);
    op.quota_bytes = sim_chance(500000) ? 0 : sim_between(2000, 40000);
    op.has_locked = !op.has_quota;
    op.locked = sim_chance(500000);
    client_propose(c, &command, NULL);
}

static void domain(struct client *c)
{
    char name[32];
    snprintf(name, sizeof name, "d%llu.test", (unsigned long long)sim_below(3));
    if (sim_chance(500000)) {
        client_domain_add(c, name);
    } else {
        COMMAND(DomainRemove, domain_remove, DOMAIN_REMOVE);
        op.name = name;
        client_propose(c, &command, NULL);
    }
}

static void format_raise(struct client *c)
{
    COMMAND(FormatRaise, format_raise, FORMAT_RAISE);
    op.format = STORE_FORMAT_MAX + (uint32_t)sim_below(2);
    client_propose(c, &command, NULL);
}

static void body_read(struct client *c)
{
    const struct model_account *a = model.account_n ? &model.accounts[sim_below(model.account_n)] : NULL;
    const struct model_mailbox *m = a ? model_mailbox(a->inbox) : NULL;
    struct bytes *body;
    struct body_hash hash;
    if (!m || m->n == 0)
        return;
    hash = m->at[sim_below(m->n)].hash;
    if (blob_read(c->node->blobs, &hash, &body) == 0) {
        struct body_hash have = body_hash_of(bytes_slice(body));
        bytes_unref(&body);
        if (!body_hash_eq(&have, &hash))
            sim_fail(&sim_counts.lost, "a body on host %u is another one", sim_host_index(c->node->host));
    }
}

static void read_barrier(struct client *c)
{
    client_read(c);
}

static const struct {
    void (*act)(struct client *c);
    unsigned weight;
} acts[] = {
    {deliver, 28},       {append, 10},        {store_flags, 20},   {copy, 10},     {expunge, 7},
    {mailbox_create, 3}, {mailbox_delete, 2}, {mailbox_rename, 3}, {subscribe, 1}, {setting, 2},
    {user_set, 1},       {domain, 1},         {format_raise, 1},   {body_read, 3}, {read_barrier, 14},
};

void client_act(struct client *c)
{
    unsigned total = 0;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        total += acts[i].weight;
    uint64_t at = sim_below(total);
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        if (at < acts[i].weight) {
            acts[i].act(c);
            return;
        }
        at -= acts[i].weight;
    }
}
