/* COPY, MOVE, EXPUNGE, and UID EXPUNGE (RFC 9051 6.4.3, 6.4.7-6.4.9; RFC 4315, RFC 6851). */
#include "protocol/imap/imap.h"

struct copy {
    struct imap_set set;
    struct slice name; /* not of EXPUNGE */
    struct uid_set uids;
    struct imap_write *write;
};

bool imap_copy_parse(struct imap *im, struct imap_args *a)
{
    struct copy *c = im->data = arena_alloc(&im->arena, sizeof *c);
    return imap_args_space(a) && imap_args_set(a, &c->set) && imap_args_space(a) && imap_args_mailbox(im, a, &c->name);
}

bool imap_uid_expunge_parse(struct imap *im, struct imap_args *a)
{
    struct copy *c = im->data = arena_alloc(&im->arena, sizeof *c);
    return imap_args_space(a) && imap_args_set(a, &c->set);
}

static void copy_cleanup(struct imap *im)
{
    struct copy *c = im->data;
    uid_set_close(&c->uids);
    if (c->write != NULL)
        imap_write_close(c->write);
}

static void copyuid_write(struct buf *out, const struct write *w)
{
    buf_printf(out, "[COPYUID %u ", w->uidvalidity);
    imap_write_set(out, &w->uids_r);
    buf_append_byte(out, ' ');
    imap_write_set(out, &w->uids_to_r);
    buf_append_str(out, "] ");
}

static void copy_done(struct imap *im, struct imap_write *w)
{
    if (w->w.op.status == ERR_NOTFOUND) {
        imap_finish(im, "NO [TRYCREATE] No such mailbox");
        return;
    }
    if (w->w.op.status != 0) {
        imap_finish_error(im, w->w.op.status);
        return;
    }
    if (w->w.uids_r.n == 0) {
        imap_finish(im, imap_uid_command(im) ? "OK Nothing to do" : "NO [EXPUNGEISSUED] All of them are expunged");
        return;
    }
    struct buf code = {0};
    if (w->w.move) { /* the code comes before the EXPUNGE responses (RFC 6851 4.3) */
        buf_append_str(&im->s.out, "* OK ");
        copyuid_write(&im->s.out, &w->w);
        buf_append_str(&im->s.out, "Moved\r\n");
    } else {
        copyuid_write(&code, &w->w);
    }
    imap_finish(im, "OK %.*s%s completed", (int)buf_len(&code), (const char *)buf_slice(&code).p, im->command->name);
    buf_close(&code);
}

static void copy_start(struct imap *im, bool move)
{
    struct copy *c = im->data;
    struct mailbox_info to;
    struct backend_view *v = imap_view(im);
    int status = v->ops->mailbox_find(v, im->account, c->name, &to);
    v->ops->close(v);
    if (status != 0 || !to.selectable) {
        if (!imap_rerun_synced(im))
            imap_finish(im, "NO [TRYCREATE] No such mailbox");
        return;
    }
    im->cleanup = copy_cleanup;
    if (!imap_resolve(im, &c->set, &c->uids))
        return;
    if (c->uids.n == 0) {
        imap_finish(im, "OK Nothing to do");
        return;
    }
    struct imap_write *w = c->write = imap_write_new(im, WRITE_COPY);
    w->w.mailbox = im->box->id;
    w->w.target = to.id;
    w->w.uids = &c->uids;
    w->w.move = move;
    imap_write_start(w, copy_done);
}

void imap_copy_run(struct imap *im)
{
    copy_start(im, false);
}

void imap_move_run(struct imap *im)
{
    if (!imap_read_only(im))
        copy_start(im, true);
}

static void expunge_done(struct imap *im, struct imap_write *w)
{
    if (w->w.op.status != 0)
        imap_finish_error(im, w->w.op.status);
    else
        imap_finish(im, "OK EXPUNGE completed");
}

void imap_expunge_run(struct imap *im)
{
    if (imap_read_only(im))
        return;
    bool uid = imap_uid_command(im);
    struct copy *c = uid ? im->data : arena_alloc(&im->arena, sizeof *c);
    struct mailbox_info info;
    im->data = c;
    im->cleanup = copy_cleanup;
    if (uid && !imap_resolve(im, &c->set, &c->uids))
        return;
    struct backend_view *v = imap_view(im);
    bool any = v->ops->mailbox_get(v, im->box->id, &info) == 0 && info.deleted > 0;
    v->ops->close(v);
    if (!any || (uid && c->uids.n == 0)) {
        im->box->dirty = true; /* expunges of others are told here all the same */
        imap_finish(im, "OK EXPUNGE completed");
        return;
    }
    struct imap_write *w = c->write = imap_write_new(im, WRITE_EXPUNGE);
    w->w.mailbox = im->box->id;
    w->w.all_deleted = !uid;
    w->w.uids = uid ? &c->uids : NULL;
    imap_write_start(w, expunge_done);
}
