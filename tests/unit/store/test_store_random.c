#include "support_state.h"

/* Random commands against a simple model in memory, and the same commands applied in other portions, over restarts and
 * transfers: all digests agree. */

enum { ACCOUNTS = 2, BOXES = 12, STEPS = 1500, KEYWORDS = 3 };
enum { SEEN = 1, DELETED = 8 };

struct model_message {
    uint32_t uid, flags;
    unsigned keywords, body; /* keyword bits by model number */
    uint64_t modseq;
};
struct model_box {
    unsigned account;
    uint32_t uidnext;
    size_t n;
    struct model_message at[4096];
};
struct model {
    struct fx f;
    uint64_t random;
    struct model_box box[BOXES + 1]; /* by mailbox id, from 1 */
    uint64_t account[ACCOUNTS + 1], quota[ACCOUNTS + 1], used[ACCOUNTS + 1];
};

static const char *const keyword_name[KEYWORDS] = {"alpha", "Beta", "$gamma"};

static unsigned pick(struct model *m, unsigned n)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (unsigned)(m->random >> 33) % n;
}

static uint64_t body_size(unsigned body)
{
    return 100 + body % 50;
}

static bool fits(const struct model *m, unsigned account, uint64_t bytes)
{
    return !m->quota[account] || m->used[account] + bytes <= m->quota[account];
}

static void add(struct model *m, unsigned box, struct model_message msg)
{
    struct model_box *b = &m->box[box];
    assert_true(b->n < sizeof b->at / sizeof *b->at);
    msg.uid = b->uidnext++;
    msg.modseq = m->f.index * 4096;
    b->at[b->n++] = msg;
    m->used[b->account] += body_size(msg.body);
}

static void take(struct model *m, unsigned box, size_t i)
{
    struct model_box *b = &m->box[box];
    m->used[b->account] -= body_size(b->at[i].body);
    memmove(&b->at[i], &b->at[i + 1], (b->n - i - 1) * sizeof *b->at);
    b->n--;
}

/* Two ranges somewhere around the UIDs that there are. */
struct span {
    uint32_t r[4];
    char text[64];
};

static struct span span_pick(struct model *m, unsigned box)
{
    struct span s;
    uint32_t top = m->box[box].uidnext + 2;
    for (int i = 0; i < 4; i += 2) {
        s.r[i] = 1 + pick(m, top);
        s.r[i + 1] = s.r[i] + pick(m, 8);
    }
    snprintf(s.text, sizeof s.text, "%u:%u,%u:%u", s.r[0], s.r[1], s.r[2], s.r[3]);
    return s;
}

static bool in_span(const struct span *s, uint32_t uid)
{
    return (uid >= s->r[0] && uid <= s->r[1]) || (uid >= s->r[2] && uid <= s->r[3]);
}

/* ---- commands, each to the store and to the model ---- */

static void do_append(struct model *m)
{
    unsigned box = 1 + pick(m, BOXES), body = pick(m, 40), count = 1 + pick(m, 5), k = pick(m, KEYWORDS + 1);
    uint32_t flags = pick(m, 32);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < count; i++)
        bytes += body_size(body + i);
    int rc = fx_append(&m->f, box, body, count, flags, k < KEYWORDS ? keyword_name[k] : NULL);
    if (!fits(m, m->box[box].account, bytes)) {
        assert_int_equal(rc, ERR_QUOTA);
        return;
    }
    assert_int_equal(rc, 0);
    for (unsigned i = 0; i < count; i++)
        add(m, box, (struct model_message){.flags = flags, .keywords = k < KEYWORDS ? 1u << k : 0, .body = body + i});
}

static void do_deliver(struct model *m)
{
    unsigned body = pick(m, 40);
    uint64_t to[] = {m->account[1], m->account[2], 77};
    assert_int_equal(fx_deliver(&m->f, body, to, 3), 0);
    for (unsigned a = 1; a <= ACCOUNTS; a++) { /* whatever the quota: that was RCPT's */
        assert_int_equal(m->f.result->account_status[a - 1], 0);
        add(m, 1 + (a - 1) * 6, (struct model_message){.body = body});
    }
}

static void do_flags(struct model *m)
{
    unsigned box = 1 + pick(m, BOXES), mode = pick(m, 3), k = pick(m, KEYWORDS + 1);
    struct model_box *b = &m->box[box];
    struct span s = span_pick(m, box);
    uint32_t flags = pick(m, 32) & pick(m, 32);
    unsigned bits = k < KEYWORDS ? 1u << k : 0;
    uint64_t since = pick(m, 3) || b->n == 0 ? UINT64_MAX : b->at[pick(m, (unsigned)b->n)].modseq;
    assert_int_equal(fx_flags(&m->f, box, s.text, (int)mode, flags, bits ? keyword_name[k] : NULL, since), 0);
    for (size_t i = 0; i < b->n; i++) {
        struct model_message *x = &b->at[i];
        if (!in_span(&s, x->uid) || x->modseq > since)
            continue;
        uint32_t f = mode == 0 ? flags : mode == 1 ? x->flags | flags : x->flags & ~flags;
        unsigned kw = mode == 0 ? bits : mode == 1 ? x->keywords | bits : x->keywords & ~bits;
        if (f != x->flags || kw != x->keywords)
            x->modseq = m->f.index * 4096;
        x->flags = f;
        x->keywords = kw;
    }
}

static void do_copy(struct model *m)
{
    unsigned from = 1 + pick(m, BOXES), to = 1 + pick(m, BOXES);
    bool move = pick(m, 2);
    struct span s = span_pick(m, from);
    struct model_box *b = &m->box[from];
    uint64_t bytes = 0;
    size_t n = b->n;
    for (size_t i = 0; i < n; i++)
        bytes += in_span(&s, b->at[i].uid) ? body_size(b->at[i].body) : 0;
    bool same_account = b->account == m->box[to].account;
    int rc = fx_copy(&m->f, from, s.text, to, move);
    if (!(move && same_account) && !fits(m, m->box[to].account, bytes)) {
        assert_int_equal(rc, ERR_QUOTA);
        return;
    }
    assert_int_equal(rc, 0);
    for (size_t i = 0; i < n; i++)
        if (in_span(&s, b->at[i].uid))
            add(m, to, b->at[i]);
    for (size_t i = n; move && i-- > 0;)
        if (in_span(&s, b->at[i].uid))
            take(m, from, i);
}

static void do_expunge(struct model *m)
{
    unsigned box = 1 + pick(m, BOXES), kind = pick(m, 3);
    struct span s = span_pick(m, box);
    struct model_box *b = &m->box[box];
    assert_int_equal(fx_expunge(&m->f, box, kind ? s.text : NULL, kind == 2), 0);
    for (size_t i = b->n; i-- > 0;)
        if ((kind == 0 || in_span(&s, b->at[i].uid)) && (kind == 2 || b->at[i].flags & DELETED))
            take(m, box, i);
}

/* The hierarchy of names is not modelled: whatever the answer is, all replicas give it. */
static void do_names(struct model *m)
{
    char from[16], to[16];
    uint64_t a = m->account[1 + pick(m, ACCOUNTS)];
    snprintf(from, sizeof from, pick(m, 2) ? "n%u/%u" : "n%u", pick(m, 3), pick(m, 3));
    snprintf(to, sizeof to, pick(m, 2) ? "n%u/%u" : "n%u", pick(m, 3), pick(m, 3));
    switch (pick(m, 5)) {
    case 0:
    case 1:
        if (fx_create(&m->f, a, from) == 0) /* with something in it, that DELETE and RENAME must carry */
            fx_copy(&m->f, 1, "1:5", m->f.result->id, false);
        m->used[1] = fx_used(&m->f, m->account[1]);
        m->used[2] = fx_used(&m->f, m->account[2]);
        break;
    case 2:
        fx_delete(&m->f, a, from);
        m->used[1] = fx_used(&m->f, m->account[1]);
        m->used[2] = fx_used(&m->f, m->account[2]);
        break;
    case 3:
        fx_rename(&m->f, a, from, to);
        break;
    case 4:
        fx_subscribe(&m->f, a, from, pick(m, 2));
        break;
    }
}

/* ---- comparison ---- */

struct compare {
    const struct model_box *b;
    const struct store_mailbox *info;
    size_t at;
};

static unsigned keywords_of(const struct store_mailbox *info, uint64_t bits)
{
    unsigned out = 0;
    for (unsigned i = 0; i < info->keyword_n; i++)
        for (unsigned k = 0; k < KEYWORDS; k++)
            if (bits >> i & 1 && slice_ieq(info->keyword[i], slice_str(keyword_name[k])))
                out |= 1u << k;
    return out;
}

static bool message_compare(void *arg, const struct store_message *x)
{
    struct compare *c = arg;
    assert_true(c->at < c->b->n);
    const struct model_message *y = &c->b->at[c->at++];
    assert_true(x->uid == y->uid && x->flags == y->flags && x->modseq == y->modseq && x->size == body_size(y->body));
    assert_int_equal(keywords_of(c->info, x->keywords), y->keywords);
    return true;
}

static void box_compare(struct store_view *v, uint64_t id, const struct model_box *b)
{
    struct store_mailbox info;
    assert_int_equal(store_mailbox_get(v, id, &info), 0);
    uint32_t unseen = 0, deleted = 0, first = 0;
    uint64_t bytes = 0;
    struct uid_set uids = {0};
    for (size_t i = 0; i < b->n; i++) {
        bool is_unseen = !(b->at[i].flags & SEEN);
        if (is_unseen && unseen++ == 0)
            first = b->at[i].uid;
        deleted += (b->at[i].flags & DELETED) != 0;
        bytes += body_size(b->at[i].body);
    }
    assert_true(info.exists == b->n && info.unseen == unseen && info.deleted == deleted && info.bytes == bytes);
    assert_true(info.first_unseen_uid == first && info.uidnext == b->uidnext);
    struct compare c = {b, &info, 0};
    store_message_each(v, id, 1, UINT32_MAX, message_compare, &c);
    assert_int_equal(c.at, b->n);
    store_uids(v, id, &uids);
    assert_int_equal(uid_set_count(&uids), b->n);
    for (size_t i = 0; i < b->n; i++)
        assert_true(uid_set_has(&uids, b->at[i].uid));
    uid_set_close(&uids);
}

static void compare(struct model *m)
{
    struct store_view *v;
    assert_int_equal(store_view_open(m->f.s, &v), 0);
    for (uint64_t id = 1; id <= BOXES; id++)
        box_compare(v, id, &m->box[id]);
    for (unsigned a = 1; a <= ACCOUNTS; a++) {
        struct store_account account;
        assert_int_equal(store_account_get(v, m->account[a], &account), 0);
        assert_int_equal(account.used_bytes, m->used[a]);
    }
    store_view_close(&v);
}

static void step(struct model *m)
{
    static void (*const all[])(struct model * m) = {do_append, do_append, do_deliver, do_flags, do_flags,
                                                    do_flags,  do_copy,   do_expunge, do_names};
    m->f.time_ms += (int64_t)pick(m, 5000) - 1000;
    if (pick(m, 40) == 0 && m->f.seq > 10)
        m->f.node = 1 + pick(m, 3);
    all[pick(m, sizeof all / sizeof *all)](m);
}

static void model_start(struct model *m, uint64_t seed, struct buf *log)
{
    fx_open(&m->f);
    m->f.log = log;
    m->random = seed;
    fx_domain(&m->f, "x.org", NULL);
    m->quota[2] = 20000;
    m->account[1] = fx_user(&m->f, "a@x.org", 0);
    m->account[2] = fx_user(&m->f, "b@x.org", m->quota[2]);
    for (unsigned i = 1; i <= BOXES; i++) {
        m->box[i].account = 1 + (i - 1) / 6;
        m->box[i].uidnext = 1;
    }
}

/* ---- replicas: the same commands again ---- */

/* The entries of a log: one command each, or (grouped) in groups that the seed decides. */
struct entries {
    struct buf *at;
    size_t n;
};

static struct entries entries_make(struct slice log, uint64_t seed)
{
    struct entries e = {0};
    struct model group = {.random = seed};
    struct reader r = {.in = log};
    e.at = mem_zalloc((log.n / 8 + 1) * sizeof *e.at);
    while (r.in.n) {
        struct buf *b = &e.at[e.n++];
        entry_begin(b);
        unsigned count = seed ? 1 + pick(&group, 9) : 1;
        for (unsigned i = 0; i < count && r.in.n; i++)
            entry_add(b, read_bytes(&r, COMMAND_MAX));
        entry_end(b);
    }
    assert_false(r.failed);
    return e;
}

static void entries_free(struct entries *e)
{
    for (size_t i = 0; i < e->n; i++)
        buf_close(&e->at[i]);
    mem_free(e->at);
}

/* Goes on from where the store is; sometimes aborts a batch and does it again, or starts some entries too early. */
static void replay(struct fx *f, const struct entries *e, uint64_t until, unsigned batch, bool trouble)
{
    struct model dice = {.random = 99 + batch};
    struct store_position p;
    store_position(f->s, &p);
    uint64_t index = p.index;
    while (index < until) {
        uint64_t n = batch > 1 ? 1 + pick(&dice, batch) : 1, first = index + 1;
        if (trouble && pick(&dice, 4) == 0)
            first = first > 5 ? first - 5 : 1;
        bool aborts = trouble && pick(&dice, 5) == 0;
        assert_int_equal(store_batch_begin(f->s), 0);
        for (uint64_t i = first; i <= index + n && i <= until; i++)
            assert_int_equal(store_apply(f->s, i, 1, buf_slice(&e->at[i - 1])), 0);
        if (aborts) {
            store_batch_abort(f->s);
        } else {
            assert_int_equal(store_batch_commit(f->s), 0);
            index = index + n < until ? index + n : until;
        }
        if (trouble && pick(&dice, 20) == 0)
            fx_reopen(f);
    }
}

static void same(struct fx *a, struct fx *b)
{
    struct store_position p, q;
    store_position(a->s, &p);
    store_position(b->s, &q);
    assert_true(p.digest.lo == q.digest.lo && p.digest.hi == q.digest.hi && p.index == q.index &&
                p.time_ms == q.time_ms);
}

static void transfer(struct fx *from, struct fx *to)
{
    struct store_export *x;
    struct store_import *i;
    struct store_position p;
    struct err_detail e;
    struct buf part = {0};
    uint64_t total;
    bool done = false;
    assert_int_equal(store_export_begin(from->s, &x, &p, &total), 0);
    assert_int_equal(store_import_begin(to->dir, &i, &e), 0);
    while (!done) {
        buf_clear(&part);
        assert_int_equal(store_export_next(x, 5000, &part, &done), 0);
        assert_int_equal(store_import_feed(i, buf_slice(&part), &e), 0);
    }
    assert_int_equal(store_import_finish(i, &p, &e), 0);
    assert_int_equal(store_import_swap(to->s, &i, &e), 0);
    store_export_end(&x);
    buf_close(&part);
}

static void replicas_agree(struct slice log, uint64_t group_seed, struct fx *first)
{
    struct entries e = entries_make(log, group_seed);
    struct fx one, many, late;
    fx_open(&one);
    fx_open(&many);
    fx_open(&late);
    replay(&one, &e, e.n, 1, false);
    replay(&many, &e, e.n / 2, 50, true);
    transfer(&many, &late);
    replay(&many, &e, e.n, 300, true);
    replay(&late, &e, e.n, 7, true);
    same(&one, &many);
    same(&one, &late);
    if (first)
        same(&one, first);
    entries_free(&e);
    fx_close(&one);
    fx_close(&many);
    fx_close(&late);
}

static void run(uint64_t seed)
{
    struct buf log = {0};
    struct model *m = mem_zalloc(sizeof *m);
    model_start(m, seed, &log);
    for (int i = 0; i < STEPS; i++) {
        step(m);
        if (i % 100 == 0)
            compare(m);
        if (i % 500 == 0)
            fx_scrub(&m->f);
    }
    compare(m);
    replicas_agree(buf_slice(&log), 0, &m->f);
    replicas_agree(buf_slice(&log), seed + 1, NULL);
    fx_close(&m->f);
    mem_free(m);
    buf_close(&log);
}

static void test_random(void **state)
{
    (void)state;
    run(20240607);
    run(31337);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
