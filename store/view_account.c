#include "store/env.h"

/* Reads of accounts, domains, aliases, settings and members. What a read meets of damage ends the process
 * (store_options.damaged); until then it is left out. */

int store_account_get(struct store_view *v, uint64_t id, struct store_account *a_r)
{
    struct key k;
    struct slice value;
    struct account_record r;
    if (!view_get(v, TABLE_ACCOUNT, key_u64(&k, id), &value))
        return ERR_NOTFOUND;
    if (!view_whole(v, TABLE_ACCOUNT, record_account_read(value, &r)))
        return ERR_CORRUPT;
    *a_r = (struct store_account){
        .id = id,
        .address = r.address,
        .password = r.password,
        .state = r.state == ACCOUNT_ACTIVE ? ACCOUNT_ACTIVE : ACCOUNT_LOCKED,
        .quota_bytes = r.quota,
        .used_bytes = r.used,
        .messages = r.messages,
        .created_ms = r.created_ms,
    };
    return 0;
}

int store_account_find(struct store_view *v, struct slice address, struct store_account *a_r)
{
    struct key k;
    struct slice value;
    struct address_record r;
    if (address.n >= KEY_MAX || slice_find(address, '@') == address.n)
        return ERR_NOTFOUND;
    if (!view_get(v, TABLE_ADDRESS, key_address(&k, address), &value))
        return ERR_NOTFOUND;
    if (!view_whole(v, TABLE_ADDRESS, record_address_read(value, &r)))
        return ERR_CORRUPT;
    return r.kind == ADDRESS_USER ? store_account_get(v, r.account, a_r) : ERR_NOTFOUND;
}

/* "domain NUL", or empty for all domains. */
static struct slice domain_prefix(struct key *k, struct slice domain)
{
    if (domain.n == 0)
        return slice_make(NULL, 0);
    memcpy(k->b, domain.p, domain.n);
    k->b[domain.n] = 0;
    return slice_make(k->b, domain.n + 1);
}

void store_account_each(struct store_view *v, struct slice domain,
                        bool (*each)(void *arg, const struct store_account *a), void *arg)
{
    struct key k;
    struct slice key, value;
    struct address_record r;
    struct store_account a;
    if (domain.n >= KEY_MAX)
        return;
    struct slice prefix = domain_prefix(&k, domain);
    MDB_cursor *c = view_cursor(v, TABLE_ADDRESS);
    for (bool has = cursor_seek(c, prefix, &key, &value); has && key_starts(key, prefix);
         has = cursor_next(c, &key, &value))
        if (view_whole(v, TABLE_ADDRESS, record_address_read(value, &r)) && r.kind == ADDRESS_USER &&
            store_account_get(v, r.account, &a) == 0 && !each(arg, &a))
            break;
    mdb_cursor_close(c);
}

void store_alias_each(struct store_view *v, bool (*each)(void *arg, struct slice address, struct slice targets),
                      void *arg)
{
    struct slice key, value;
    struct address_record r;
    uint8_t address[KEY_MAX];
    MDB_cursor *c = view_cursor(v, TABLE_ADDRESS);
    for (bool has = cursor_seek(c, slice_make(NULL, 0), &key, &value); has; has = cursor_next(c, &key, &value)) {
        size_t domain_n = slice_find(key, 0);
        if (!view_whole(v, TABLE_ADDRESS, record_address_read(value, &r)) || r.kind != ADDRESS_ALIAS ||
            domain_n >= key.n)
            continue;
        struct slice local = slice_from(key, domain_n + 1);
        memcpy(address, local.p, local.n);
        address[local.n] = '@';
        memcpy(address + local.n + 1, key.p, domain_n);
        if (!each(arg, slice_make(address, key.n), r.targets))
            break;
    }
    mdb_cursor_close(c);
}

bool store_domain_is_ours(struct store_view *v, struct slice name)
{
    struct slice value;
    uint8_t lower[KEY_MAX];
    if (name.n == 0 || name.n > KEY_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++)
        lower[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (uint8_t)(name.p[i] + 32) : name.p[i];
    return view_get(v, TABLE_DOMAIN, slice_make(lower, name.n), &value);
}

void store_domain_each(struct store_view *v, bool (*each)(void *arg, const struct store_domain *d), void *arg)
{
    struct slice value;
    struct store_domain d;
    MDB_cursor *c = view_cursor(v, TABLE_DOMAIN);
    for (bool has = cursor_seek(c, slice_make(NULL, 0), &d.name, &value); has; has = cursor_next(c, &d.name, &value))
        if (view_whole(v, TABLE_DOMAIN, record_bytes_read(value, &d.catch_all)) && !each(arg, &d))
            break;
    mdb_cursor_close(c);
}

int store_setting_get(struct store_view *v, struct slice name, struct slice *value_r)
{
    struct slice value;
    if (name.n == 0 || name.n > KEY_MAX || !view_get(v, TABLE_SETTING, name, &value))
        return ERR_NOTFOUND;
    return view_whole(v, TABLE_SETTING, record_bytes_read(value, value_r)) ? 0 : ERR_CORRUPT;
}

void store_setting_each(struct store_view *v, bool (*each)(void *arg, struct slice name, struct slice value), void *arg)
{
    struct slice name, value, text;
    MDB_cursor *c = view_cursor(v, TABLE_SETTING);
    for (bool has = cursor_seek(c, slice_make(NULL, 0), &name, &value); has; has = cursor_next(c, &name, &value))
        if (view_whole(v, TABLE_SETTING, record_bytes_read(value, &text)) && !each(arg, name, text))
            break;
    mdb_cursor_close(c);
}

static bool member_of(struct store_view *v, struct slice key, struct slice value, struct store_member *m_r)
{
    struct member_record r;
    if (!view_whole(v, TABLE_MEMBER, key.n == 8 && record_member_read(value, &r)))
        return false;
    *m_r = (struct store_member){
        .id = get_be64(key.p),
        .instance = r.instance,
        .name = r.name,
        .address = r.address,
        .version = r.version,
        .format_max = r.format_max,
        .invited_until_ms = r.invited_until_ms,
    };
    return true;
}

int store_member_get(struct store_view *v, uint64_t id, struct store_member *m_r)
{
    struct key k;
    struct slice value, key = key_u64(&k, id);
    if (!view_get(v, TABLE_MEMBER, key, &value))
        return ERR_NOTFOUND;
    return member_of(v, key, value, m_r) ? 0 : ERR_CORRUPT;
}

void store_member_each(struct store_view *v, bool (*each)(void *arg, const struct store_member *m), void *arg)
{
    struct slice key, value;
    struct store_member m;
    MDB_cursor *c = view_cursor(v, TABLE_MEMBER);
    for (bool has = cursor_seek(c, slice_make(NULL, 0), &key, &value); has; has = cursor_next(c, &key, &value))
        if (member_of(v, key, value, &m) && !each(arg, &m))
            break;
    mdb_cursor_close(c);
}
