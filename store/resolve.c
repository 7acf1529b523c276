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
};

static void address_resolve(struct resolution *r, struct slice address, unsigned depth);

static void account_add(struct resolution *r, uint64_t id)
{
    struct store_account a;
    if (store_account_get(r->v, id, &a))
        return;
    r->found = true;
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

static void targets_resolve(struct resolution *r, struct slice targets, unsigned depth)
{
    while (targets.n) {
        size_t n = slice_find(targets, 0);
        address_resolve(r, slice_first(targets, n), depth + 1);
        targets = slice_from(targets, n + 1);
    }
}

/* A user or an alias of exactly this address. */
static bool exact_resolve(struct resolution *r, struct slice address, unsigned depth)
{
    struct key k;
    struct slice value;
    struct address_record record;
    if (!view_get(r->v, TABLE_ADDRESS, key_address(&k, address), &value) || !record_address_read(value, &record))
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
    unsigned before = r->n, over = r->over_n;
    if (store_setting_get(r->v, SLICE_LITERAL("postmaster"), &value) == 0 &&
        address_check(&r->arena, value, &canonical) && depth < ALIAS_DEPTH_MAX)
        exact_resolve(r, canonical, depth + 1);
    r->over_n = over;
    if (r->n > before)
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
    unsigned before = r->n, over = r->over_n;
    bool postmaster = is_postmaster(address);
    if (depth > ALIAS_DEPTH_MAX || r->lookups++ >= LOOKUPS_MAX || !view_get(r->v, TABLE_DOMAIN, domain, &value))
        return;
    bool known = exact_resolve(r, address, depth) || detail_resolve(r, address, depth);
    if (postmaster)
        r->over_n = over;
    if (known && (!postmaster || r->n > before))
        return;
    if (postmaster && postmaster_resolve(r, domain, depth))
        return;
    if (record_bytes_read(value, &catch_all) && catch_all.n && !slice_eq(catch_all, address))
        address_resolve(r, catch_all, depth + 1);
}

static enum resolve verdict(const struct resolution *r)
{
    /* Nobody's copy is lost silently: the sender tries again, and somebody sees it. */
    if (r->truncated || (r->n > 0 && r->over_n == r->n))
        return RESOLVE_OVERQUOTA;
    if (r->n)
        return RESOLVE_LOCAL;
    return r->locked ? RESOLVE_LOCKED : RESOLVE_UNKNOWN;
}

enum resolve store_resolve(struct store_view *v, struct slice address, uint64_t *accounts, unsigned max, unsigned *n_r)
{
    struct resolution r = {.v = v, .accounts = accounts, .max = max};
    struct slice canonical, domain = address_domain(address);
    enum resolve result = RESOLVE_UNKNOWN;
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
    arena_close(&r.arena);
    return result;
}
