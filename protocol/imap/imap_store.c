/* STORE (RFC 9051 6.4.6; UNCHANGEDSINCE: RFC 7162 3.1.3). */
#include "protocol/imap/imap.h"

struct store {
    struct imap_set set;
    bool conditional, silent;
    uint64_t unchanged_since;
    enum store_mode mode;
    struct imap_flags flags;
    struct uid_set uids, answered;
    struct imap_write *write;
};

bool imap_store_parse(struct imap *im, struct imap_args *a)
{
    struct store *s = im->data = arena_alloc(&im->arena, sizeof *s);
    if (!imap_args_space(a) || !imap_args_set(a, &s->set) || !imap_args_space(a))
        return false;
    if (imap_args_try(a, '(')) {
        if (!imap_args_word(a, "UNCHANGEDSINCE"))
            return imap_args_fail(a, "Unknown STORE modifier");
        imap_args_space(a);
        imap_args_number(a, INT64_MAX, &s->unchanged_since);
        imap_args_char(a, ')');
        imap_args_space(a);
        s->conditional = im->condstore = true;
    }
    s->mode = imap_args_try(a, '+') ? STORE_ADD : imap_args_try(a, '-') ? STORE_REMOVE : STORE_REPLACE;
    s->silent = imap_args_word(a, "FLAGS.SILENT");
    if (!s->silent && !imap_args_word(a, "FLAGS"))
        return imap_args_fail(a, "Expected FLAGS");
    return imap_args_space(a) && imap_args_flags(a, true, &s->flags);
}

static void store_cleanup(struct imap *im)
{
    struct store *s = im->data;
    uid_set_close(&s->uids);
    uid_set_close(&s->answered);
    if (s->write != NULL)
        imap_write_close(s->write);
}

/* "[MODIFIED 7,9]" with the numbers that the command used. */
static const char *modified_text(struct imap *im, const struct uid_set *modified)
{
    struct uid_set numbers = {0};
    struct imap_cursor c;
    imap_cursor_init(&c, &im->box->uids, modified);
    while (imap_cursor_next(&c))
        uid_set_add(&numbers, imap_uid_command(im) ? c.uid : c.seq, imap_uid_command(im) ? c.uid : c.seq);
    struct buf text = {0};
    buf_append_str(&text, "OK [MODIFIED ");
    imap_write_set(&text, &numbers);
    buf_append_str(&text, "] Conditional STORE failed for some");
    const char *copy = arena_str(&im->arena, buf_slice(&text));
    buf_close(&text);
    uid_set_close(&numbers);
    return copy;
}

static void store_done(struct imap *im, struct imap_write *w)
{
    struct store *s = im->data;
    if (w->w.op.status != 0) {
        imap_finish_error(im, w->w.op.status);
        return;
    }
    uid_set_copy(&s->answered, &s->uids);
    uid_set_subtract(&s->answered, &w->w.modified_r);
    im->own_modseq = w->w.modseq;
    im->own_uids = &s->answered;
    const char *text = w->w.modified_r.n > 0 ? modified_text(im, &w->w.modified_r) : "OK STORE completed";
    imap_fetch_flags_start(im, &s->answered, s->silent, text);
}

void imap_store_run(struct imap *im)
{
    struct store *s = im->data;
    if (imap_read_only(im))
        return;
    im->cleanup = store_cleanup;
    if (!imap_resolve(im, &s->set, &s->uids))
        return;
    /* What others changed is told before our change covers it up, which .SILENT would hide. */
    if (im->box->dirty)
        imap_updates_send(im, false);
    if (im->state != IMAP_SELECTED || s->uids.n == 0) {
        imap_finish(im, "OK STORE completed");
        return;
    }
    struct imap_write *w = s->write = imap_write_new(im, WRITE_STORE);
    w->w.mailbox = im->box->id;
    w->w.uids = &s->uids;
    w->w.mode = s->mode;
    w->w.flags = s->flags.flags;
    w->w.keywords = s->flags.keywords;
    w->w.keyword_n = s->flags.keyword_n;
    w->w.has_unchanged_since = s->conditional;
    w->w.unchanged_since = s->unchanged_since;
    imap_write_start(w, store_done);
}
