#include "store/state.h"

/* What the cluster knows of itself: settings, members, the active format. */

enum { MEMBER_TEXT_MAX = 255, SETTINGS_AT_ONCE_MAX = 1000 };

/* Printable ASCII without spaces. */
static bool setting_name_valid(struct slice name)
{
    if (name.n == 0 || name.n > SETTING_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] >= 0x7f)
            return false;
    return true;
}

static int settings_check(struct store *s, const Merlion__Settings *set, const char **why_r)
{
    struct slice v;
    *why_r = "too many settings at once";
    if (set->n_set > SETTINGS_AT_ONCE_MAX)
        return ERR_TOOBIG;
    for (size_t i = 0; i < set->n_set; i++) {
        struct slice name = slice_str(set->set[i]->name);
        *why_r = "not a setting's name";
        if (!setting_name_valid(name))
            return ERR_INVALID;
        *why_r = "the setting's value is too long";
        if (set->set[i]->value.len > SETTING_VALUE_MAX)
            return ERR_TOOBIG;
        *why_r = "the setting exists";
        if (set->only_if_absent && batch_get(s, TABLE_SETTING, name, &v))
            return ERR_EXISTS;
    }
    return 0;
}

static void setting_put(struct store *s, const Merlion__Setting *set)
{
    struct slice name = slice_str(set->name), v;
    if (set->value.len) {
        struct buf *b = batch_value(s);
        record_bytes_write(b, slice_make(set->value.data, set->value.len));
        batch_put(s, TABLE_SETTING, name, buf_slice(b));
    } else if (batch_get(s, TABLE_SETTING, name, &v)) {
        batch_del(s, TABLE_SETTING, name);
    }
}

void op_settings(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const char *why;
    int rc = settings_check(s, c->settings, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    for (size_t i = 0; i < c->settings->n_set; i++)
        setting_put(s, c->settings->set[i]);
    s->cluster_changed = true;
}

/* ---- members ---- */

/* An empty text keeps what is stored. */
static struct slice text_or(struct store *s, const char *given, struct slice stored)
{
    return given[0] ? slice_str(given) : arena_copy(&s->command_arena, stored);
}

static bool text_fits(const char *text)
{
    return strlen(text) <= MEMBER_TEXT_MAX && utf8_valid(slice_str(text));
}

static int member_check(struct store *s, const Merlion__MemberSet *m, struct member_record *old, const char **why_r)
{
    struct key k;
    struct slice v;
    *old = (struct member_record){0};
    *why_r = "a member has an id, and texts of at most 255 bytes";
    if (m->id == 0 || !text_fits(m->name) || !text_fits(m->address) || !text_fits(m->version) ||
        m->invited_until_ms < 0)
        return ERR_INVALID;
    if (batch_get(s, TABLE_MEMBER, key_u64(&k, m->id), &v) && !record_member_read(v, old))
        batch_fail(s, ERR_CORRUPT, "member", 0);
    *why_r = "the invitation was used by another node";
    if (m->instance && old->instance && m->instance != old->instance)
        return ERR_CONFLICT;
    *why_r = "the invitation has expired";
    if (m->instance && !old->instance && old->invited_until_ms && old->invited_until_ms < s->st.time_ms)
        return ERR_DENIED;
    return 0;
}

void op_member_set(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__MemberSet *m = c->member_set;
    struct member_record old;
    struct key k;
    const char *why;
    int rc = member_check(s, m, &old, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    struct member_record new = {
        .instance = m->instance ? m->instance : old.instance,
        .invited_until_ms = m->invited_until_ms,
        .format_max = m->format_max ? m->format_max : old.format_max,
        .name = text_or(s, m->name, old.name),
        .address = text_or(s, m->address, old.address),
        .version = text_or(s, m->version, old.version),
    };
    struct buf *b = batch_value(s);
    record_member_write(b, &new);
    batch_put(s, TABLE_MEMBER, key_u64(&k, m->id), buf_slice(b));
    s->cluster_changed = true;
    r->id = m->id;
}

void op_member_remove(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    struct key k;
    struct slice v, key = key_u64(&k, c->member_remove->id);
    if (!batch_get(s, TABLE_MEMBER, key, &v)) {
        op_refuse(r, ERR_NOTFOUND, "no such member");
        return;
    }
    batch_del(s, TABLE_MEMBER, key);
    s->cluster_changed = true;
}

/* Every member that has joined understands it. Invited ones are asked when they come. */
static bool members_support(struct store *s, uint32_t format)
{
    struct slice key, v;
    struct member_record m;
    for (bool has = batch_seek(s, TABLE_MEMBER, slice_str(""), &key, &v); has;
         has = batch_next(s, TABLE_MEMBER, &key, &v))
        if (!record_member_read(v, &m) || (m.invited_until_ms == 0 && m.format_max < format))
            return false;
    return true;
}

void op_format_raise(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    uint32_t format = c->format_raise->format;
    if (format < s->st.format) {
        op_refuse(r, ERR_INVALID, "the active format is higher: it is never lowered");
    } else if (format > s->st.format && !members_support(s, format)) {
        op_refuse(r, ERR_CONFLICT, "a member does not support that format");
    } else if (format > STORE_FORMAT_MAX) {
        /* The others go on with it; this program cannot. */
        batch_fail(s, ERR_VERSION, "format", 0);
    } else if (format > s->st.format) {
        s->st.format = format;
        s->cluster_changed = true;
    }
}
