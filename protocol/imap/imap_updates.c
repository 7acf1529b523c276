/* What a selected mailbox's client is told unasked: EXISTS, EXPUNGE, FETCH of flags (RFC 9051 7.5.1), from the changes
 * since the MODSEQ that it knows. */
#include "protocol/imap/imap.h"

#include <stdlib.h>

struct change {
    uint32_t uid, flags;
    uint64_t keywords, modseq;
};

struct update {
    struct imap *im;
    uint32_t top; /* highest UID in the sequence map before */
    struct change *changes;
    size_t n, cap;
    struct uid_set changed, expunged;
    bool added;
};

static const struct {
    uint32_t flag;
    const char *name;
} flag_names[] = {
    {FLAG_ANSWERED, "\\Answered"}, {FLAG_FLAGGED, "\\Flagged"}, {FLAG_DELETED, "\\Deleted"},
    {FLAG_SEEN, "\\Seen"},         {FLAG_DRAFT, "\\Draft"},
};

void imap_flags_write(struct buf *out, const struct mailbox_info *info, uint32_t flags, uint64_t keywords)
{
    const char *space = "";
    buf_append_str(out, "FLAGS (");
    for (size_t i = 0; i < sizeof flag_names / sizeof *flag_names; i++)
        if (flags & flag_names[i].flag) {
            buf_append_str(out, space);
            buf_append_str(out, flag_names[i].name);
            space = " ";
        }
    for (unsigned i = 0; i < info->keyword_n; i++)
        if (keywords >> i & 1) {
            buf_append_str(out, space);
            buf_append_slice(out, info->keyword[i]);
            space = " ";
        }
    buf_append_byte(out, ')');
}

void imap_flags_announce(struct imap *im, const struct mailbox_info *info)
{
    struct buf *out = &im->s.out;
    uint32_t all = FLAG_SEEN | FLAG_ANSWERED | FLAG_FLAGGED | FLAG_DELETED | FLAG_DRAFT;
    buf_append_str(out, "* ");
    imap_flags_write(out, info, all, UINT64_MAX);
    if (im->box->read_only) {
        buf_append_str(out, "\r\n* OK [PERMANENTFLAGS ()] Read-only mailbox\r\n");
    } else {
        buf_append_str(out, "\r\n* OK [PERMANENT");
        imap_flags_write(out, info, all, UINT64_MAX);
        buf_truncate(out, buf_len(out) - 1);
        buf_append_str(out, info->keyword_n < KEYWORDS_MAX ? " \\*)] Kept\r\n" : ")] Kept\r\n");
    }
    im->box->keyword_n = info->keyword_n;
}

static bool on_change(void *arg, const struct message_info *m)
{
    struct update *u = arg;
    struct imap *im = u->im;
    if (m->uid > u->top) {
        uid_set_add(&im->box->uids, m->uid, m->uid);
        u->added = true;
        return true;
    }
    if (m->modseq <= im->box->modseq || !uid_set_has(&im->box->uids, m->uid))
        return true;
    if (m->modseq == im->own_modseq && uid_set_has(im->own_uids, m->uid))
        return true;
    if (u->n == u->cap) {
        u->cap = u->cap ? u->cap * 2 : 16;
        u->changes = mem_realloc(u->changes, u->cap * sizeof *u->changes);
    }
    u->changes[u->n++] = (struct change){m->uid, m->flags, m->keywords, m->modseq};
    return true;
}

/* Expunges so old that they were forgotten: compare what is there with what the client knows. */
static void changes_stale(struct update *u, struct backend_view *v)
{
    struct imap_box *box = u->im->box;
    struct uid_set now = {0};
    v->ops->uids(v, box->id, &now);
    uid_set_close(&u->expunged);
    uid_set_copy(&u->expunged, &box->uids);
    uid_set_subtract(&u->expunged, &now);
    uid_set_close(&now);
    u->n = 0;
    v->ops->message_each(v, box->id, 1, UINT32_MAX, on_change, u);
}

static int change_cmp(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    return x->uid < y->uid ? -1 : x->uid > y->uid;
}

static void tell_expunged(struct imap *im)
{
    struct imap_box *box = im->box;
    size_t n = 0, count = (size_t)uid_set_count(&box->gone);
    if (count == 0)
        return;
    uint32_t *seqs = mem_alloc(count * sizeof *seqs);
    struct imap_cursor c;
    imap_cursor_init(&c, &box->uids, &box->gone);
    while (imap_cursor_next(&c))
        seqs[n++] = c.seq;
    ENSURE(n == count); /* gone is a part of uids */
    /* Descending: a number is not moved by the ones told before it. */
    while (n > 0)
        buf_printf(&im->s.out, "* %u EXPUNGE\r\n", seqs[--n]);
    mem_free(seqs);
    uid_set_subtract(&box->uids, &box->gone);
    uid_set_close(&box->gone);
}

static void tell_changes(struct update *u, const struct mailbox_info *info)
{
    struct imap *im = u->im;
    if (u->n == 0)
        return;
    qsort(u->changes, u->n, sizeof *u->changes, change_cmp);
    for (size_t i = 0; i < u->n; i++)
        uid_set_add(&u->changed, u->changes[i].uid, u->changes[i].uid);
    struct imap_cursor c;
    imap_cursor_init(&c, &im->box->uids, &u->changed);
    for (size_t i = 0; i < u->n && imap_cursor_next(&c);) {
        while (i < u->n && u->changes[i].uid < c.uid)
            i++;
        if (i == u->n || u->changes[i].uid != c.uid)
            continue;
        buf_printf(&im->s.out, "* %u FETCH (UID %u ", c.seq, c.uid);
        imap_flags_write(&im->s.out, info, u->changes[i].flags, u->changes[i].keywords);
        if (im->condstore)
            buf_printf(&im->s.out, " MODSEQ (%llu)", (unsigned long long)u->changes[i].modseq);
        buf_append_str(&im->s.out, ")\r\n");
    }
}

static void gather(struct update *u, struct backend_view *v, const struct mailbox_info *info)
{
    struct imap_box *box = u->im->box;
    u->top = box->uids.n ? box->uids.ranges[box->uids.n - 1].last : 0;
    if (v->ops->changes(v, box->id, box->modseq, on_change, u, &u->expunged) == ERR_STALE)
        changes_stale(u, v);
    imap_set_intersect(&box->uids, &u->expunged, &box->gone);
    box->modseq = info->highest_modseq;
}

void imap_updates_send(struct imap *im, bool expunge)
{
    struct update u = {.im = im};
    struct mailbox_info info;
    struct backend_view *v = imap_view(im);
    im->box->dirty = false;
    if (v->ops->mailbox_get(v, im->box->id, &info) != 0) {
        v->ops->close(v);
        imap_bye(im, "Selected mailbox was deleted");
        return;
    }
    if (info.highest_modseq > im->box->modseq)
        gather(&u, v, &info);
    if (info.keyword_n > im->box->keyword_n)
        imap_flags_announce(im, &info);
    if (expunge)
        tell_expunged(im);
    if (u.added)
        buf_printf(&im->s.out, "* %llu EXISTS\r\n", (unsigned long long)uid_set_count(&im->box->uids));
    tell_changes(&u, &info);
    v->ops->close(v);
    mem_free(u.changes);
    uid_set_close(&u.changed);
    uid_set_close(&u.expunged);
}
