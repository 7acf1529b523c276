#include "store/queue.h"
#include "store/state.h"

/* Domains and aliases. */

static bool domain_known(struct store *s, struct slice domain)
{
    struct slice v;
    return batch_get(s, TABLE_DOMAIN, domain, &v);
}

static int domain_add_check(struct store *s, const Merlion__DomainAdd *d, struct slice *name_r,
                            struct slice *catch_all_r, const char **why_r)
{
    struct slice v, old;
    *why_r = "not a domain name";
    if (!domain_check(&s->command_arena, slice_str(d->name), name_r))
        return ERR_INVALID;
    *why_r = "the catch-all is not a mail address";
    *catch_all_r = slice_str("");
    if (d->catch_all[0] && !address_check(&s->command_arena, slice_str(d->catch_all), catch_all_r))
        return ERR_INVALID;
    *why_r = "the catch-all is not in a domain of ours";
    struct slice domain = catch_all_r->n ? address_domain(*catch_all_r) : *name_r;
    if (!slice_eq(domain, *name_r) && !domain_known(s, domain))
        return ERR_DENIED;
    *why_r = "the domain exists";
    if (batch_get(s, TABLE_DOMAIN, *name_r, &v) && record_bytes_read(v, &old) && slice_eq(old, *catch_all_r))
        return ERR_EXISTS;
    return 0;
}

/* Adding a domain again with another catch-all changes that. */
void op_domain_add(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    struct slice name, catch_all;
    const char *why;
    int rc = domain_add_check(s, c->domain_add, &name, &catch_all, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    struct buf *b = batch_value(s);
    record_bytes_write(b, catch_all);
    batch_put(s, TABLE_DOMAIN, name, buf_slice(b));
    s->cluster_changed = true;
}

static bool domain_used(struct store *s, struct slice domain)
{
    uint8_t prefix[KEY_MAX];
    struct slice key, v;
    memcpy(prefix, domain.p, domain.n);
    prefix[domain.n] = 0;
    struct slice start = slice_make(prefix, domain.n + 1);
    return batch_seek(s, TABLE_ADDRESS, start, &key, &v) && key_starts(key, start);
}

void op_domain_remove(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    struct slice name;
    if (!domain_check(&s->command_arena, slice_str(c->domain_remove->name), &name)) {
        op_refuse(r, ERR_INVALID, "not a domain name");
    } else if (!domain_known(s, name)) {
        op_refuse(r, ERR_NOTFOUND, "no such domain");
    } else if (domain_used(s, name)) {
        op_refuse(r, ERR_CONFLICT, "the domain still has users or aliases");
    } else {
        batch_del(s, TABLE_DOMAIN, name);
        s->cluster_changed = true;
    }
}

/* ---- aliases ---- */

/* Only its own host may take the case of a local part to mean nothing (RFC 5321 2.4). */
static struct slice foreign_target(struct store *s, struct slice given, struct slice canonical)
{
    size_t at = slice_find(given, '@');
    uint8_t *p = arena_alloc(&s->command_arena, canonical.n);
    memcpy(p, canonical.p, canonical.n);
    memcpy(p, given.p, at);
    return slice_make(p, canonical.n);
}

static int targets_check(struct store *s, const Merlion__AliasAdd *add, struct slice address, struct buf *targets,
                         const char **why_r)
{
    *why_r = "an alias has 1 to 64 targets";
    if (add->n_targets == 0 || add->n_targets > ALIAS_TARGETS_MAX)
        return add->n_targets ? ERR_TOOBIG : ERR_INVALID;
    for (size_t i = 0; i < add->n_targets; i++) {
        struct slice target;
        *why_r = "a target is not a mail address";
        if (!address_check(&s->command_arena, slice_str(add->targets[i]), &target))
            return ERR_INVALID;
        *why_r = "an alias cannot be its own target";
        if (slice_eq(target, address))
            return ERR_INVALID;
        *why_r = "a target is not in a domain of ours: mail cannot be forwarded elsewhere";
        if (!domain_known(s, address_domain(target)) && s->st.format < QUEUE_FORMAT)
            return ERR_DENIED;
        if (!domain_known(s, address_domain(target)))
            target = foreign_target(s, slice_str(add->targets[i]), target);
        if (i)
            buf_append_byte(targets, 0);
        buf_append_slice(targets, target);
    }
    return 0;
}

/* The alias record at address. 0 with exists_r, or ERR_EXISTS when a user has it. */
static int alias_find(struct store *s, struct slice address, bool *exists_r)
{
    struct key k;
    struct slice v;
    struct address_record r;
    *exists_r = batch_get(s, TABLE_ADDRESS, key_address(&k, address), &v) && record_address_read(v, &r);
    return *exists_r && r.kind != ADDRESS_ALIAS ? ERR_EXISTS : 0;
}

static int alias_check(struct store *s, const Merlion__AliasAdd *add, struct slice *address_r, struct buf *targets,
                       const char **why_r)
{
    bool exists;
    *why_r = "not a mail address";
    if (!address_check(&s->command_arena, slice_str(add->address), address_r))
        return ERR_INVALID;
    *why_r = "no such domain";
    if (!domain_known(s, address_domain(*address_r)))
        return ERR_NOTFOUND;
    *why_r = "a user of that address exists";
    int rc = alias_find(s, *address_r, &exists);
    return rc ? rc : targets_check(s, add, *address_r, targets, why_r);
}

void op_alias_add(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    struct key k;
    struct slice address;
    struct buf targets = {0};
    const char *why;
    int rc = alias_check(s, c->alias_add, &address, &targets, &why);
    if (rc) {
        op_refuse(r, rc, why);
    } else {
        struct address_record record = {.kind = ADDRESS_ALIAS, .targets = buf_slice(&targets)};
        struct buf *b = batch_value(s);
        record_address_write(b, &record);
        batch_put(s, TABLE_ADDRESS, key_address(&k, address), buf_slice(b));
    }
    buf_close(&targets);
}

void op_alias_remove(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    struct key k;
    struct slice address;
    bool exists;
    if (!address_check(&s->command_arena, slice_str(c->alias_remove->address), &address))
        op_refuse(r, ERR_INVALID, "not a mail address");
    else if (alias_find(s, address, &exists) || !exists)
        op_refuse(r, ERR_NOTFOUND, "no such alias");
    else
        batch_del(s, TABLE_ADDRESS, key_address(&k, address));
}
