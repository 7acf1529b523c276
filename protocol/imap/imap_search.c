/* SEARCH: what metadata and summaries decide is decided in short views; the rest reads bodies, a few at a time, and
 * matches them on the compute pool. ESEARCH: RFC 9051 6.4.4, SAVE: 6.4.4.1. */
#include "protocol/imap/imap_search.h"

#include "protocol/mime/summary.h"

enum { SLICE_MESSAGES = 256, WINDOW = 4 };

struct slot {
    struct search_run *run;
    bool used;
    struct backend_body get;
    struct backend_compute compute;
    struct message_info info;
    struct bytes *summary;
    enum search_verdict verdict;
};

struct search_run {
    struct imap *im;
    struct search *s;
    struct uid_set want;       /* messages to look at */
    uint32_t next;             /* UID to go on from */
    unsigned looked;           /* in this slice */
    struct backend_view *view; /* during a slice */
    bool ended;
    bool yielding;
    struct backend_compute yield;
    struct slot slots[WINDOW];
    unsigned in_flight;
    int failed;

    struct uid_set found;
    uint32_t min_uid, max_uid;
    uint64_t min_modseq, max_modseq, top_modseq;
};

static void pump(struct search_run *r);

static void run_cleanup(struct imap *im)
{
    struct search_run *r = im->data;
    for (unsigned i = 0; i < WINDOW; i++) {
        bytes_unref(&r->slots[i].get.body);
        bytes_unref(&r->slots[i].summary);
    }
    uid_set_close(&r->want);
    uid_set_close(&r->found);
    search_close(r->s);
}

static void found_add(struct search_run *r, const struct message_info *m)
{
    uid_set_add(&r->found, m->uid, m->uid);
    if (r->min_uid == 0 || m->uid < r->min_uid) {
        r->min_uid = m->uid;
        r->min_modseq = m->modseq;
    }
    if (m->uid > r->max_uid) {
        r->max_uid = m->uid;
        r->max_modseq = m->modseq;
    }
    if (m->modseq > r->top_modseq)
        r->top_modseq = m->modseq;
}

/* ---- bodies ---- */

static void slot_free(struct slot *s)
{
    bytes_unref(&s->get.body);
    bytes_unref(&s->summary);
    s->used = false;
    s->run->in_flight--;
}

/* On the compute pool: touches the slot and the keys, which stand still. */
static void slot_work(void *arg)
{
    struct slot *s = arg;
    struct search_message m = {.info = &s->info,
                               .has_summary = true,
                               .has_body = true,
                               .summary = bytes_slice(s->summary),
                               .body = bytes_slice(s->get.body)};
    s->verdict = search_match(s->run->s->root, &m);
}

static void slot_matched(struct backend_op *op)
{
    struct slot *s = op->owner;
    struct search_run *r = s->run;
    if (!session_op_end(&r->im->s))
        return;
    if (op->status != 0)
        r->failed = op->status;
    else if (s->verdict == SEARCH_YES)
        found_add(r, &s->info);
    slot_free(s);
    pump(r);
}

static void slot_body(struct backend_op *op)
{
    struct slot *s = op->owner;
    struct search_run *r = s->run;
    if (!session_op_end(&r->im->s))
        return;
    if (op->status != 0) {
        if (op->status != ERR_NOTFOUND) /* else expunged meanwhile */
            r->failed = op->status;
        slot_free(s);
        pump(r);
        return;
    }
    s->compute.op.done = slot_matched;
    s->compute.op.owner = s;
    s->compute.work = slot_work;
    s->compute.arg = s;
    session_op_begin(&r->im->s);
    r->im->s.backend->ops->compute(r->im->s.backend, &s->compute);
}

static struct slot *slot_unused(struct search_run *r)
{
    for (unsigned i = 0; i < WINDOW; i++)
        if (!r->slots[i].used)
            return &r->slots[i];
    return NULL;
}

static void slot_start(struct search_run *r, struct slot *s, const struct message_info *m, struct slice summary)
{
    *s = (struct slot){.run = r, .used = true, .info = *m, .summary = bytes_copy(summary)};
    s->get.hash = m->hash;
    s->get.op.done = slot_body;
    s->get.op.owner = s;
    r->in_flight++;
    session_op_begin(&r->im->s);
    r->im->s.backend->ops->body_get(r->im->s.backend, &s->get);
}

/* ---- metadata ---- */

static bool each_message(void *arg, const struct message_info *info)
{
    struct search_run *r = arg;
    struct search_message m = {.info = info};
    if (r->looked++ == SLICE_MESSAGES) {
        r->next = info->uid;
        r->ended = false;
        return false;
    }
    if (!uid_set_has(&r->want, info->uid))
        return true;
    enum search_verdict v = search_match(r->s->root, &m);
    if (v == SEARCH_UNKNOWN) {
        if (r->view->ops->summary(r->view, &info->hash, &m.summary) != 0)
            return true;
        m.has_summary = true;
        v = search_match(r->s->root, &m);
    }
    if (v == SEARCH_YES)
        found_add(r, info);
    if (v != SEARCH_UNKNOWN)
        return true;
    struct slot *s = slot_unused(r);
    if (s == NULL) {
        r->next = info->uid;
        r->ended = false;
        return false;
    }
    slot_start(r, s, info, m.summary);
    return true;
}

static void look(struct search_run *r)
{
    r->view = imap_view(r->im);
    r->looked = 0;
    r->ended = true;
    uint32_t last = r->want.n ? r->want.ranges[r->want.n - 1].last : 0;
    if (r->next <= last)
        r->view->ops->message_each(r->view, r->im->box->id, r->next, last, each_message, r);
    r->view->ops->close(r->view);
    r->view = NULL;
}

static void yield_work(void *arg)
{
    (void)arg;
}

static void yield_done(struct backend_op *op)
{
    struct search_run *r = op->owner;
    if (!session_op_end(&r->im->s))
        return;
    r->yielding = false;
    pump(r);
}

/* Lets the loop's other sessions have their turn: goes through the compute pool with nothing to do. */
static void yield_start(struct search_run *r)
{
    r->yielding = true;
    r->yield = (struct backend_compute){.work = yield_work};
    r->yield.op.done = yield_done;
    r->yield.op.owner = r;
    session_op_begin(&r->im->s);
    r->im->s.backend->ops->compute(r->im->s.backend, &r->yield);
}

/* ---- the answer ---- */

/* The set in the numbers that the command uses. */
static void numbers(struct search_run *r, struct uid_set *out)
{
    struct imap_cursor c;
    if (imap_uid_command(r->im)) {
        uid_set_copy(out, &r->found);
        return;
    }
    imap_cursor_init(&c, &r->im->box->uids, &r->found);
    while (imap_cursor_next(&c))
        uid_set_add(out, c.seq, c.seq);
}

static void answer_plain(struct search_run *r, const struct uid_set *set)
{
    struct buf *out = &r->im->s.out;
    buf_append_str(out, "* SEARCH");
    for (size_t i = 0; i < set->n; i++)
        for (uint64_t n = set->ranges[i].first; n <= set->ranges[i].last; n++) {
            buf_append_byte(out, ' ');
            buf_append_u64(out, n);
        }
    if (r->s->has_modseq && set->n > 0)
        buf_printf(out, " (MODSEQ %llu)", (unsigned long long)r->top_modseq);
    buf_append_str(out, "\r\n");
}

/* RFC 7162 3.1.10: the MODSEQ of what is answered. */
static uint64_t answered_modseq(const struct search_run *r, unsigned returns)
{
    if (returns & (RETURN_ALL | RETURN_COUNT))
        return r->top_modseq;
    uint64_t low = returns & RETURN_MIN ? r->min_modseq : 0, high = returns & RETURN_MAX ? r->max_modseq : 0;
    return low > high ? low : high;
}

static void answer_extended(struct search_run *r, const struct uid_set *set, unsigned returns)
{
    struct buf *out = &r->im->s.out;
    buf_printf(out, "* ESEARCH (TAG \"%s\")%s", r->im->tag, imap_uid_command(r->im) ? " UID" : "");
    if (set->n > 0 && (returns & RETURN_MIN))
        buf_printf(out, " MIN %u", set->ranges[0].first);
    if (set->n > 0 && (returns & RETURN_MAX))
        buf_printf(out, " MAX %u", set->ranges[set->n - 1].last);
    if (set->n > 0 && (returns & RETURN_ALL)) {
        buf_append_str(out, " ALL ");
        imap_write_set(out, set);
    }
    if (returns & RETURN_COUNT)
        buf_printf(out, " COUNT %llu", (unsigned long long)uid_set_count(set));
    if (set->n > 0 && r->s->has_modseq)
        buf_printf(out, " MODSEQ %llu", (unsigned long long)answered_modseq(r, returns));
    buf_append_str(out, "\r\n");
}

static void save(struct search_run *r, unsigned returns)
{
    struct uid_set *saved = &r->im->box->saved;
    uid_set_close(saved);
    if ((returns & (RETURN_MIN | RETURN_MAX)) && !(returns & (RETURN_ALL | RETURN_COUNT))) {
        if (r->found.n > 0 && (returns & RETURN_MIN))
            uid_set_add(saved, r->min_uid, r->min_uid);
        if (r->found.n > 0 && (returns & RETURN_MAX))
            uid_set_add(saved, r->max_uid, r->max_uid);
    } else {
        uid_set_copy(saved, &r->found);
    }
}

static void answer(struct search_run *r)
{
    struct imap *im = r->im;
    unsigned returns = r->s->has_return ? r->s->returns : RETURN_ALL;
    if (r->failed != 0) {
        if (returns & RETURN_SAVE)
            uid_set_close(&im->box->saved);
        imap_finish(im, "NO [UNAVAILABLE] Some messages cannot be read now");
        return;
    }
    struct uid_set set = {0};
    numbers(r, &set);
    if (returns & RETURN_SAVE)
        save(r, returns);
    if (!r->s->has_return && !im->rev2)
        answer_plain(r, &set);
    else if (returns != RETURN_SAVE)
        answer_extended(r, &set, returns);
    uid_set_close(&set);
    imap_finish(im, "OK SEARCH completed");
}

static void pump(struct search_run *r)
{
    if (r->yielding)
        return;
    if (!r->ended && slot_unused(r) != NULL) {
        look(r);
        if (!r->ended && slot_unused(r) != NULL) {
            yield_start(r);
            return;
        }
    }
    if (r->ended && r->in_flight == 0)
        answer(r);
}

/* Sets and keywords become what the mailbox knows; false: answered, a number does not exist. */
static bool resolve(struct search_run *r)
{
    struct imap_box *box = r->im->box;
    for (struct search_key *k = r->s->sets; k != NULL; k = k->set_next)
        if (!imap_set_resolve(&k->set, k->uid, &box->uids, &box->saved, &k->uids)) {
            imap_finish_bad(r->im, "No such message");
            return false;
        }
    uid_set_copy(&r->want, &box->uids);
    for (struct search_key *k = r->s->root->child; k != NULL; k = k->next) {
        if (k->kind != SEARCH_SET)
            continue;
        struct uid_set both = {0};
        imap_set_intersect(&r->want, &k->uids, &both);
        uid_set_close(&r->want);
        r->want = both;
    }
    r->next = r->want.n ? r->want.ranges[0].first : 1;
    return true;
}

static void keywords_resolve(struct search_key *k, const struct mailbox_info *box)
{
    for (; k != NULL; k = k->next) {
        keywords_resolve(k->child, box);
        if (k->kind != SEARCH_KEYWORD)
            continue;
        k->number = 0;
        for (unsigned i = 0; i < box->keyword_n; i++)
            if (slice_ieq(box->keyword[i], k->name))
                k->number = (uint64_t)1 << i;
    }
}

void imap_search_run(struct imap *im)
{
    struct search *s = im->data;
    struct mailbox_info box;
    if (s->returns & RETURN_SAVE && s->bad_charset)
        uid_set_close(&im->box->saved);
    if (s->bad_charset) {
        imap_finish(im, "NO [BADCHARSET (UTF-8 US-ASCII)] Unknown charset");
        return;
    }
    struct search_run *r = arena_alloc(&im->arena, sizeof *r);
    r->im = im;
    r->s = s;
    im->data = r;
    im->cleanup = run_cleanup;
    if (!resolve(r))
        return;
    struct backend_view *v = imap_view(im);
    if (v->ops->mailbox_get(v, im->box->id, &box) == 0)
        keywords_resolve(s->root->child, &box);
    v->ops->close(v);
    pump(r);
}
