/* SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 6.3.2, 6.3.3, 6.4.1, 6.4.2; RFC 7162 3.1.2 for CONDSTORE). */
#include "protocol/imap/imap.h"

struct select {
    struct slice name;
    bool condstore;
};

bool imap_args_mailbox(struct imap *im, struct imap_args *a, struct slice *name_r)
{
    struct slice in = imap_args_astring(a);
    *name_r = (struct slice){NULL, 0};
    if (a->error != NULL)
        return false;
    if (imap_name_read(&im->arena, im->rev2, in, name_r) != 0)
        return imap_args_fail(a, "Malformed mailbox name");
    return true;
}

bool imap_mailbox_parse(struct imap *im, struct imap_args *a)
{
    struct slice *name = im->data = arena_alloc(&im->arena, sizeof *name);
    return imap_args_space(a) && imap_args_mailbox(im, a, name);
}

bool imap_select_parse(struct imap *im, struct imap_args *a)
{
    struct select *s = im->data = arena_alloc(&im->arena, sizeof *s);
    if (!imap_args_space(a) || !imap_args_mailbox(im, a, &s->name))
        return false;
    if (!imap_args_try(a, ' '))
        return true;
    s->condstore = imap_args_char(a, '(') && imap_args_word(a, "CONDSTORE");
    return (s->condstore || imap_args_fail(a, "Unknown parameter")) && imap_args_char(a, ')');
}

/* ---- the selected mailbox's life ---- */

/* To a client in IDLE. One that does not read is told later, all at once. */
static void tell_now(struct imap *im)
{
    if (!im->watching || im->state != IMAP_SELECTED || !im->box->dirty)
        return;
    if (imap_out_full(im)) {
        im->resume = tell_now;
        return;
    }
    imap_updates_send(im, true);
    imap_wake(im);
}

static void on_watch(struct backend_watch *w)
{
    struct imap *im = w->owner;
    im->box->dirty = true;
    tell_now(im);
}

void imap_box_close(struct imap *im)
{
    struct imap_box *box = im->box;
    if (box == NULL)
        return;
    im->s.backend->ops->unwatch(im->s.backend, &box->watch);
    uid_set_close(&box->uids);
    uid_set_close(&box->gone);
    uid_set_close(&box->saved);
    mem_free(box);
    im->box = NULL;
    if (im->state == IMAP_SELECTED)
        im->state = IMAP_AUTHENTICATED;
}

static void box_open(struct imap *im, struct backend_view *v, const struct mailbox_info *info, bool read_only)
{
    struct imap_box *box = im->box = mem_zalloc(sizeof *box);
    box->id = info->id;
    box->read_only = read_only;
    box->modseq = info->highest_modseq;
    v->ops->uids(v, info->id, &box->uids);
    box->watch = (struct backend_watch){.mailbox = info->id, .changed = on_watch, .owner = im};
    im->s.backend->ops->watch(im->s.backend, &box->watch);
    im->state = IMAP_SELECTED;
}

static void box_announce(struct imap *im, const struct mailbox_info *info)
{
    struct buf *out = &im->s.out;
    imap_flags_announce(im, info);
    buf_printf(out, "* %llu EXISTS\r\n", (unsigned long long)uid_set_count(&im->box->uids));
    if (!im->rev2) {
        buf_append_str(out, "* 0 RECENT\r\n");
        if (info->first_unseen_uid != 0)
            buf_printf(out, "* OK [UNSEEN %llu] First unseen\r\n",
                       (unsigned long long)uid_set_rank(&im->box->uids, info->first_unseen_uid));
    } else {
        buf_append_str(out, "* LIST () \"/\" ");
        imap_write_name(out, true, info->name);
        buf_append_str(out, "\r\n");
    }
    buf_printf(out, "* OK [UIDVALIDITY %u] UIDs valid\r\n* OK [UIDNEXT %u] Next UID\r\n", info->uidvalidity,
               info->uidnext);
    buf_printf(out, "* OK [HIGHESTMODSEQ %llu] Highest\r\n* OK [MAILBOXID (M%llx)] Ok\r\n",
               (unsigned long long)info->highest_modseq, (unsigned long long)info->id);
}

static void open_named(struct imap *im, bool read_only)
{
    struct select *s = im->data;
    struct mailbox_info info;
    if (im->box != NULL) { /* a SELECT that fails leaves none selected */
        imap_box_close(im);
        buf_append_str(&im->s.out, "* OK [CLOSED] Previous mailbox is closed\r\n");
    }
    im->condstore |= s->condstore;
    struct backend_view *v = imap_view(im);
    int status = v->ops->mailbox_find(v, im->account, s->name, &info);
    if (status == 0 && !info.selectable)
        status = ERR_NOTFOUND;
    if (status == 0) {
        box_open(im, v, &info, read_only);
        box_announce(im, &info);
    }
    v->ops->close(v);
    if (status != 0)
        imap_finish_error(im, status);
    else
        imap_finish(im, read_only ? "OK [READ-ONLY] EXAMINE completed" : "OK [READ-WRITE] SELECT completed");
}

void imap_select_run(struct imap *im)
{
    open_named(im, false);
}

void imap_examine_run(struct imap *im)
{
    open_named(im, true);
}

void imap_unselect_run(struct imap *im)
{
    imap_box_close(im);
    imap_finish(im, "OK %s completed", im->command->name);
}

static void close_cleanup(struct imap *im)
{
    imap_write_close(im->data);
}

static void close_done(struct imap *im, struct imap_write *w)
{
    /* A mailbox that is gone is closed as well as can be. */
    if (w->w.op.status != 0 && w->w.op.status != ERR_NOTFOUND)
        imap_finish_error(im, w->w.op.status);
    else
        imap_unselect_run(im);
}

void imap_close_run(struct imap *im)
{
    struct mailbox_info info;
    struct backend_view *v = imap_view(im);
    bool any = v->ops->mailbox_get(v, im->box->id, &info) == 0 && info.deleted > 0;
    v->ops->close(v);
    if (im->box->read_only || !any) {
        imap_unselect_run(im);
        return;
    }
    struct imap_write *w = im->data = imap_write_new(im, WRITE_EXPUNGE);
    im->cleanup = close_cleanup;
    w->w.mailbox = im->box->id;
    w->w.all_deleted = true;
    imap_write_start(w, close_done);
}

bool imap_read_only(struct imap *im)
{
    if (im->box->read_only)
        imap_finish(im, "NO [NOPERM] Mailbox is open read-only");
    return im->box == NULL || im->box->read_only;
}

bool imap_resolve(struct imap *im, const struct imap_set *set, struct uid_set *out)
{
    if (imap_set_resolve(set, imap_uid_command(im), &im->box->uids, &im->box->saved, out))
        return true;
    imap_finish_bad(im, "No such message");
    return false;
}
