/* Domains, users, aliases, mailboxes, settings. */
#include "node/admin.h"
#include "node/base/clock.h"
#include "node/password.h"
#include "node/queue_settings.h"
#include "store/command.pb-c.h"

#include <ctype.h>
#include <stdio.h>

#define COMMAND(type, field, case_name)                                                                                \
    Merlion__Command command = MERLION__COMMAND__INIT;                                                                 \
    Merlion__##type op;                                                                                                \
    merlion__##field##__init(&op);                                                                                     \
    command.field = &op;                                                                                               \
    command.op_case = MERLION__COMMAND__OP_##case_name

static char *arg(struct admin_call *c, const char *name)
{
    const char *value = admin_arg_string(&c->request, name);
    return (char *)(value ? value : "");
}

static json_t *text(struct slice s)
{
    return json_stringn_nocheck((const char *)s.p, s.n);
}

static json_t *number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

/* ---- domains ---- */

static void domain_add(struct admin_call *c)
{
    COMMAND(DomainAdd, domain_add, DOMAIN_ADD);
    op.name = arg(c, "name");
    op.catch_all = arg(c, "catch_all");
    admin_propose(c, &command, "name", NULL);
}

static void domain_remove(struct admin_call *c)
{
    COMMAND(DomainRemove, domain_remove, DOMAIN_REMOVE);
    op.name = arg(c, "name");
    admin_propose(c, &command, "name", "see: mailctl domain list, mailctl user list DOMAIN, mailctl alias list DOMAIN");
}

static bool domain_row(void *rows, const struct store_domain *d)
{
    json_array_append_new(rows, json_pack("{s:o, s:o}", "name", text(d->name), "catch_all", text(d->catch_all)));
    return true;
}

/* Runs after a read barrier: list(view, c, rows) fills the rows. */
static void list_answer(struct admin_call *c, const char *key,
                        void (*fill)(struct admin_call *c, struct store_view *v, json_t *rows))
{
    struct store_view *v;
    int r = store_view_open(node_services(c->node)->store, &v);
    if (r) {
        admin_fail(c, r, NULL, "the store does not answer: %s", err_text(r));
        return;
    }
    json_t *rows = json_array();
    fill(c, v, rows);
    store_view_close(&v);
    admin_ok(c, json_pack("{s:o}", key, rows));
}

static void domain_fill(struct admin_call *c, struct store_view *v, json_t *rows)
{
    (void)c;
    store_domain_each(v, domain_row, rows);
}

static void domain_list_now(struct admin_call *c)
{
    list_answer(c, "domains", domain_fill);
}

static void domain_list(struct admin_call *c)
{
    admin_synced(c, domain_list_now);
}

/* ---- users ---- */

static void password_work(struct compute_job *job)
{
    struct admin_call *c = container_of(job, struct admin_call, job);
    c->password_status = password_hash(slice_str(arg(c, "password")), c->password);
}

static void password_done(struct task *t)
{
    struct admin_call *c = container_of(t, struct admin_call, job.task);
    if (c->password_status)
        admin_fail(c, c->password_status, NULL, "a password has 1 to %d octets", PASSWORD_MAX);
    else
        c->then(c);
}

static void password_then(struct admin_call *c, admin_handler *then)
{
    c->then = then;
    c->job = (struct compute_job){.task.run = password_done, .home = &node_loop(c->node)->queue, .work = password_work};
    compute_submit(node_services(c->node)->compute, &c->job);
}

static void user_add_now(struct admin_call *c)
{
    COMMAND(UserAdd, user_add, USER_ADD);
    op.address = arg(c, "address");
    op.password = c->password;
    op.quota_bytes = admin_arg_size(&c->request, "quota");
    admin_propose(c, &command, "address", "see: mailctl domain list, mailctl user list");
}

static void user_add(struct admin_call *c)
{
    password_then(c, user_add_now);
}

static void user_passwd_now(struct admin_call *c)
{
    COMMAND(UserSet, user_set, USER_SET);
    op.address = arg(c, "address");
    op.password = c->password;
    admin_propose(c, &command, "address", "see: mailctl user list");
}

static void user_passwd(struct admin_call *c)
{
    password_then(c, user_passwd_now);
}

static void user_lock_set(struct admin_call *c, bool locked)
{
    COMMAND(UserSet, user_set, USER_SET);
    op.address = arg(c, "address");
    op.has_locked = true;
    op.locked = locked;
    admin_propose(c, &command, "address", "see: mailctl user list");
}

static void user_lock(struct admin_call *c)
{
    user_lock_set(c, true);
}

static void user_unlock(struct admin_call *c)
{
    user_lock_set(c, false);
}

static void user_quota(struct admin_call *c)
{
    COMMAND(UserSet, user_set, USER_SET);
    op.address = arg(c, "address");
    op.has_quota = true;
    op.quota_bytes = admin_arg_size(&c->request, "quota");
    admin_propose(c, &command, "address", "see: mailctl user list");
}

static void user_remove(struct admin_call *c)
{
    COMMAND(UserRemove, user_remove, USER_REMOVE);
    op.address = arg(c, "address");
    admin_propose(c, &command, "address", "see: mailctl user list");
}

static json_t *user_json(const struct store_account *a)
{
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "address", text(a->address), "id", number(a->id), "state",
                     a->state == ACCOUNT_LOCKED ? "locked" : "active", "messages", number(a->messages), "used",
                     number(a->used_bytes), "quota", number(a->quota_bytes), "created_ms", json_integer(a->created_ms));
}

static bool user_row(void *rows, const struct store_account *a)
{
    json_array_append_new(rows, user_json(a));
    return true;
}

static void user_fill(struct admin_call *c, struct store_view *v, json_t *rows)
{
    store_account_each(v, slice_str(arg(c, "domain")), user_row, rows);
}

static void user_list_now(struct admin_call *c)
{
    list_answer(c, "users", user_fill);
}

static void user_list(struct admin_call *c)
{
    admin_synced(c, user_list_now);
}

/* Finds the account named by an argument, or fails the call. The view is open after 0. */
static int account_open(struct admin_call *c, const char *argument, struct store_view **v_r, struct store_account *a_r)
{
    char address[320];
    snprintf(address, sizeof address, "%s", arg(c, argument));
    for (char *p = address; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    int r = store_view_open(node_services(c->node)->store, v_r);
    if (r == 0) {
        r = store_account_find(*v_r, slice_str(address), a_r);
        if (r)
            store_view_close(v_r);
    }
    if (r)
        admin_fail(c, r, "see: mailctl user list",
                   r == ERR_NOTFOUND ? "no such user: %s" : "the store does not answer (%s)", address);
    return r;
}

static void user_show_now(struct admin_call *c)
{
    struct store_view *v;
    struct store_account a;
    if (account_open(c, "address", &v, &a))
        return;
    json_t *data = user_json(&a);
    store_view_close(&v);
    admin_ok(c, data);
}

static void user_show(struct admin_call *c)
{
    admin_synced(c, user_show_now);
}

/* ---- aliases ---- */

enum { TARGETS_MAX = 1000 };

static void alias_add(struct admin_call *c)
{
    const char *targets[TARGETS_MAX];
    COMMAND(AliasAdd, alias_add, ALIAS_ADD);
    op.address = arg(c, "address");
    op.n_targets = admin_arg_list(&c->request, "targets", targets, TARGETS_MAX);
    op.targets = (char **)targets;
    admin_propose(c, &command, "address", "see: mailctl user list, mailctl alias list");
}

static void alias_remove(struct admin_call *c)
{
    COMMAND(AliasRemove, alias_remove, ALIAS_REMOVE);
    op.address = arg(c, "address");
    admin_propose(c, &command, "address", "see: mailctl alias list");
}

struct alias_rows {
    json_t *rows;
    struct slice domain;
};

static bool alias_row(void *arg_, struct slice address, struct slice targets)
{
    struct alias_rows *r = arg_;
    if (r->domain.n && !slice_ieq(slice_from(address, slice_find(address, '@') + 1), r->domain))
        return true;
    json_t *list = json_array();
    while (targets.n) {
        size_t n = slice_find(targets, 0);
        json_array_append_new(list, text(slice_first(targets, n)));
        targets = slice_from(targets, n + 1);
    }
    json_array_append_new(r->rows, json_pack("{s:o, s:o}", "address", text(address), "targets", list));
    return true;
}

static void alias_fill(struct admin_call *c, struct store_view *v, json_t *rows)
{
    store_alias_each(v, alias_row, &(struct alias_rows){rows, slice_str(arg(c, "domain"))});
}

static void alias_list_now(struct admin_call *c)
{
    list_answer(c, "aliases", alias_fill);
}

static void alias_list(struct admin_call *c)
{
    admin_synced(c, alias_list_now);
}

/* ---- mailboxes ---- */

static json_t *mailbox_json(const struct store_mailbox *m)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", text(m->name), "messages", number(m->exists),
                     "unseen", number(m->unseen), "bytes", number(m->bytes), "uidvalidity", number(m->uidvalidity),
                     "uidnext", number(m->uidnext), "modseq", number(m->highest_modseq));
}

static bool mailbox_row(void *rows, const struct store_mailbox *m)
{
    if (m->selectable)
        json_array_append_new(rows, mailbox_json(m));
    return true;
}

static void mailbox_list_now(struct admin_call *c)
{
    struct store_view *v;
    struct store_account a;
    if (account_open(c, "user", &v, &a))
        return;
    json_t *rows = json_array();
    store_mailbox_each(v, a.id, mailbox_row, rows);
    store_view_close(&v);
    admin_ok(c, json_pack("{s:o}", "mailboxes", rows));
}

static void mailbox_list(struct admin_call *c)
{
    admin_synced(c, mailbox_list_now);
}

static void mailbox_status_now(struct admin_call *c)
{
    struct store_view *v;
    struct store_account a;
    struct store_mailbox m;
    if (account_open(c, "user", &v, &a))
        return;
    int r = store_mailbox_find(v, a.id, slice_str(arg(c, "mailbox")), &m);
    json_t *data = r ? NULL : mailbox_json(&m);
    store_view_close(&v);
    if (r)
        admin_fail(c, r, "see: mailctl mailbox list USER", "no such mailbox: %s", arg(c, "mailbox"));
    else
        admin_ok(c, data);
}

static void mailbox_status(struct admin_call *c)
{
    admin_synced(c, mailbox_status_now);
}

/* ---- settings ---- */

/* What an operator may set. Replicated settings of ours that are no business of his (the cluster's authority, the last
 * member id, which must never go back) are not here, and so neither shown nor changed. */
struct setting {
    const char *name, *otherwise; /* otherwise: what holds while it is not set */
    /* 0, or why this value cannot be. */
    int (*check)(struct store_view *v, const char *name, struct slice value, struct err_detail *e);
};

static int postmaster_check(struct store_view *v, const char *name, struct slice value, struct err_detail *e)
{
    uint64_t accounts[RECIPIENT_ACCOUNTS_MAX];
    unsigned n;
    (void)name;
    enum resolve found = store_resolve(v, value, accounts, RECIPIENT_ACCOUNTS_MAX, &n, NULL);
    if (found == RESOLVE_LOCAL || found == RESOLVE_OVERQUOTA)
        return 0;
    return err_set(e, ERR_INVALID, "postmaster is an address of a user or alias here: see mailctl user list");
}

static int queue_check(struct store_view *v, const char *name, struct slice value, struct err_detail *e)
{
    (void)v;
    return queue_setting_check(slice_str(name), value, e);
}

static const struct setting settings[] = {
    {"postmaster", "", postmaster_check},         {"queue.schedule", "5m 10m 30m 1h 2h 4h", queue_check},
    {"queue.lifetime", "5d", queue_check},        {"queue.notice_after", "4h", queue_check},
    {"queue.destination_max", "20", queue_check}, {"queue.rate", "2000", queue_check},
    {"queue.sender", "own", queue_check},         {"queue.routes", "", queue_check},
    {"queue.sources", "", queue_check},           {"queue.hosts", "", queue_check},
};
enum { SETTING_N = sizeof settings / sizeof settings[0] };

/* Fails the call for a name that is none. */
static const struct setting *setting_find(struct admin_call *c)
{
    for (size_t i = 0; i < SETTING_N; i++)
        if (strcmp(settings[i].name, arg(c, "name")) == 0)
            return &settings[i];
    admin_fail(c, ERR_NOTFOUND, "see: mailctl settings list", "no such setting: %s", arg(c, "name"));
    return NULL;
}

static json_t *setting_json(struct store_view *v, const struct setting *known)
{
    struct slice value;
    if (store_setting_get(v, slice_str(known->name), &value))
        value = slice_make(NULL, 0);
    return json_pack("{s:s, s:o, s:s}", "name", known->name, "value", value.n ? text(value) : json_string(""),
                     "default", known->otherwise);
}

static void settings_fill(struct admin_call *c, struct store_view *v, json_t *rows)
{
    (void)c;
    for (size_t i = 0; i < SETTING_N; i++)
        json_array_append_new(rows, setting_json(v, &settings[i]));
}

static void settings_list_now(struct admin_call *c)
{
    list_answer(c, "settings", settings_fill);
}

static void settings_list(struct admin_call *c)
{
    admin_synced(c, settings_list_now);
}

static void settings_get_now(struct admin_call *c)
{
    struct store_view *v;
    int r = store_view_open(node_services(c->node)->store, &v);
    if (r) {
        admin_fail(c, r, NULL, "the store does not answer: %s", err_text(r));
        return;
    }
    json_t *data = setting_json(v, setting_find(c));
    store_view_close(&v);
    admin_ok(c, data);
}

static void settings_get(struct admin_call *c)
{
    if (setting_find(c))
        admin_synced(c, settings_get_now);
}

static void settings_set_now(struct admin_call *c)
{
    struct store_view *v;
    const char *value = arg(c, "value");
    struct err_detail why = {{0}};
    const struct setting *known = setting_find(c);
    int r = store_view_open(node_services(c->node)->store, &v);
    if (r) {
        admin_fail(c, r, NULL, "the store does not answer: %s", err_text(r));
        return;
    }
    if (value[0]) /* an empty one removes the setting */
        r = known->check(v, known->name, slice_str(value), &why);
    store_view_close(&v);
    if (r) {
        admin_fail(c, ERR_INVALID, "see: mailctl settings list --help", "%s", why.text);
        return;
    }
    COMMAND(Settings, settings, SETTINGS);
    Merlion__Setting setting = MERLION__SETTING__INIT, *list[] = {&setting};
    setting.name = arg(c, "name");
    setting.value = (ProtobufCBinaryData){strlen(value), (uint8_t *)value};
    op.n_set = 1;
    op.set = list;
    admin_propose(c, &command, "name", "see: mailctl settings list");
}

static void settings_set(struct admin_call *c)
{
    const struct setting *known = setting_find(c);
    if (!known)
        return;
    if (known->check == postmaster_check)
        json_object_set_new(c->request.args, "value", admin_ascii(json_object_get(c->request.args, "value")));
    admin_synced(c, settings_set_now);
}

const struct admin_handler_entry admin_mail_handlers[] = {
    {"domain add", domain_add},       {"domain list", domain_list},
    {"domain remove", domain_remove}, {"user add", user_add},
    {"user passwd", user_passwd},     {"user list", user_list},
    {"user show", user_show},         {"user remove", user_remove},
    {"user lock", user_lock},         {"user unlock", user_unlock},
    {"user quota", user_quota},       {"alias add", alias_add},
    {"alias list", alias_list},       {"alias remove", alias_remove},
    {"mailbox list", mailbox_list},   {"mailbox status", mailbox_status},
    {"settings list", settings_list}, {"settings get", settings_get},
    {"settings set", settings_set},   {NULL, NULL},
};
