#include "store/env.h"
#include "store/state.h"

/* Who gets mail for an address. Looked up in this order: the address itself (user or alias), without its detail (RFC
 * 5233 user+detail), postmaster, the domain's catch-all. */

enum { ALIAS_DEPTH_MAX = 10, LOOKUPS_MAX = 1000 };

struct resolution {
    struct store_view *v;
    struct arena arena;
    uint64_t *accounts;
    unsigned max, n;
    unsigned lookups;   /* bounds aliases that branch at each level */
    bool found, locked; /* an account was met at all; a locked one was */
    bool truncated;
    unsigned over_n; /* of accounts, those over quota */
    struct resolve_foreign *foreign;
    uint64_t wanted; /* store_address_belongs: this account, by name; no catch-all, nobody's postmaster */
    bool met;
};

static void address_resolve(struct resolution *r, struct slice address, unsigned depth);

static void account_add(struct resolution *r, uint64_t id)
{
    struct store_account a;
    if (store_account_get(r->v, id, &a))
        return;
    r->found = true;
    r->met = r->met || id == r->wanted;
    if (a.state == ACCOUNT_LOCKED) {
        r->locked = true;
        return;
    }
    for (unsigned i = 0; i < r->n; i++)
        if (r->accounts[i] == id)
            return;
    if (r->n == r->max) {
        r->truncated = true;
        return;
    }
    if (a.quota_bytes && a.used_bytes >= a.quota_bytes)
        r->over_n++;
    r->accounts[r->n++] = id;
}

static bool foreign_has(const struct resolve_foreign *f, struct slice address)
{
    struct slice rest = slice_make(f->text, f->n);
    while (rest.n) {
        size_t n = slice_find(rest, 0);
        if (slice_eq(slice_first(rest, n), address))
            return true;
        rest = slice_from(rest, n + 1);
    }
    return false;
}

static void foreign_add(struct resolution *r, struct slice address)
{
    struct resolve_foreign *f = r->foreign;
    if (f && foreign_has(f, address))
        return;
    if (!f || address.n + 1 > sizeof f->text - f->n) {
        r->truncated = true;
        return;
    }
    memcpy(f->text + f->n, address.p, address.n);
    f->text[f->n + address.n] = 0;
    f->n += address.n + 1;
    f->count++;
}

/* Accounts and addresses elsewhere. */
static unsigned total(const struct resolution *r)
{
    return r->n + (r->foreign ? r->foreign->count : 0);
}

static void targets_resolve(struct resolution *r, struct slice targets, unsigned depth)
{
    while (targets.n) {
        size_t n = slice_find(targets, 0);
        struct slice target = slice_first(targets, n);
        if (store_domain_is_ours(r->v, address_domain(target)))
            address_resolve(r, target, depth + 1);
        else if (r->lookups++ < LOOKUPS_MAX)
            foreign_add(r, target);
        targets = slice_from(targets, n + 1);
    }
}

/* A user or an alias of exactly this address. */
static bool exact_resolve(struct resolution *r, struct slice address, unsigned depth)
{
    struct key k;
    struct slice value;
    struct address_record record;
    if (!view_get(r->v, TABLE_ADDRESS, key_address(&k, address), &value) ||
        !view_whole(r->v, TABLE_ADDRESS, record_address_read(value, &record)))
        return false;
    if (record.kind == ADDRESS_USER)
        account_add(r, record.account);
    else
        targets_resolve(r, record.targets, depth);
    return true;
}

static bool detail_resolve(struct resolution *r, struct slice address, unsigned depth)
{
    size_t at = slice_find(address, '@'), plus = slice_find(address, '+');
    if (plus == 0 || plus > at)
        return false;
    uint8_t *p = arena_alloc(&r->arena, address.n);
    memcpy(p, address.p, plus);
    memcpy(p + plus, address.p + at, address.n - at);
    return exact_resolve(r, slice_make(p, plus + address.n - at), depth);
}

/* Whom postmaster's mail goes to when nobody is named for it. */
struct pick {
    uint64_t id;
    unsigned rank; /* 0: active and within its quota; 1: active; 2: locked; 3: nobody */
    unsigned seen;
};

static bool pick_see(void *arg, const struct store_account *a)
{
    struct pick *p = arg;
    bool over = a->quota_bytes && a->used_bytes >= a->quota_bytes;
    unsigned rank = a->state == ACCOUNT_LOCKED ? 2 : over ? 1 : 0;
    if (rank < p->rank) {
        p->rank = rank;
        p->id = a->id;
    }
    return p->rank > 0 && ++p->seen < LOOKUPS_MAX;
}

static void postmaster_add(struct resolution *r, uint64_t id)
{
    r->found = true;
    for (unsigned i = 0; i < r->n; i++)
        if (r->accounts[i] == id)
            return;
    if (r->n < r->max)
        r->accounts[r->n++] = id;
    else
        r->truncated = true;
}

/* RFC 5321 4.5.1: mail for postmaster is always taken, even over quota, and by a locked account when there are no
 * others. */
static bool postmaster_resolve(struct resolution *r, struct slice domain, unsigned depth)
{
    struct slice value, canonical;
    struct pick p = {.rank = 3};
    unsigned before = total(r), over = r->over_n;
    if (store_setting_get(r->v, SLICE_LITERAL("postmaster"), &value) == 0 &&
        address_check(&r->arena, value, &canonical) && depth < ALIAS_DEPTH_MAX)
        exact_resolve(r, canonical, depth + 1);
    r->over_n = over;
    if (total(r) > before)
        return true;
    store_account_each(r->v, domain, pick_see, &p);
    if (p.rank > 1) {
        p.seen = 0;
        store_account_each(r->v, slice_make(NULL, 0), pick_see, &p);
    }
    if (p.rank < 3)
        postmaster_add(r, p.id);
    return p.rank < 3;
}

/* With a detail or without. */
static bool is_postmaster(struct slice address)
{
    struct slice local = slice_first(address, slice_find(address, '@'));
    return slice_ieq(slice_first(local, slice_find(local, '+')), SLICE_LITERAL("postmaster"));
}

static void address_resolve(struct resolution *r, struct slice address, unsigned depth)
{
    struct slice domain = address_domain(address), value, catch_all;
    unsigned before = total(r), over = r->over_n;
    bool postmaster = is_postmaster(address);
    if (depth > ALIAS_DEPTH_MAX || r->lookups++ >= LOOKUPS_MAX || !view_get(r->v, TABLE_DOMAIN, domain, &value))
        return;
    bool known = exact_resolve(r, address, depth) || detail_resolve(r, address, depth);
    if (postmaster)
        r->over_n = over;
    if (r->wanted || (known && (!postmaster || total(r) > before)))
        return;
    if (postmaster && postmaster_resolve(r, domain, depth))
        return;
    if (view_whole(r->v, TABLE_DOMAIN, record_bytes_read(value, &catch_all)) && catch_all.n &&
        !slice_eq(catch_all, address))
        address_resolve(r, catch_all, depth + 1);
}

static enum resolve verdict(const struct resolution *r)
{
    /* Nobody's copy is lost silently: the sender tries again, and somebody sees it. */
    if (r->truncated || (total(r) > 0 && r->over_n == total(r)))
        return RESOLVE_OVERQUOTA;
    if (total(r))
        return RESOLVE_LOCAL;
    return r->locked ? RESOLVE_LOCKED : RESOLVE_UNKNOWN;
}

enum resolve store_resolve(struct store_view *v, struct slice address, uint64_t *accounts, unsigned max, unsigned *n_r,
                           struct resolve_foreign *foreign)
{
    struct resolution r = {.v = v, .accounts = accounts, .max = max, .foreign = foreign};
    struct slice canonical, domain = address_domain(address);
    enum resolve result = RESOLVE_UNKNOWN;
    if (foreign)
        foreign->n = foreign->count = 0;
    if (slice_find(address, '@') == address.n && is_postmaster(address)) {
        postmaster_resolve(&r, slice_make(NULL, 0), 0);
        result = verdict(&r);
    } else if (domain.n && !store_domain_is_ours(v, domain)) {
        result = RESOLVE_FOREIGN;
    } else if (address_check(&r.arena, address, &canonical)) {
        address_resolve(&r, canonical, 0);
        result = verdict(&r);
    }
    *n_r = result == RESOLVE_LOCAL ? r.n : 0;
    if (foreign && result != RESOLVE_LOCAL)
        foreign->n = foreign->count = 0;
    arena_close(&r.arena);
    return result;
}

bool store_address_belongs(struct store_view *v, uint64_t account, struct slice address)
{
    uint64_t accounts[1];
    struct resolution r = {.v = v, .accounts = accounts, .wanted = account};
    struct slice canonical;
    if (account && address_check(&r.arena, address, &canonical))
        address_resolve(&r, canonical, 0);
    arena_close(&r.arena);
    return r.met;
}
