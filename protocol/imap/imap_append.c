/* APPEND (RFC 9051 6.3.12), MULTIAPPEND (RFC 3502). Messages were collected apart from the text (imap_input.h). */
#include "protocol/imap/imap.h"

struct append {
    struct slice name;
    struct write_message *messages;
    unsigned n;
    struct imap_write *write;
};

/* append-data and what may come before it: SP [flag-list SP] [date-time SP] literal */
static bool take_message(struct imap *im, struct imap_args *a, struct write_message *m)
{
    m->internal_ms = im->s.host->now_ms(im->s.host);
    if (!imap_args_space(a))
        return false;
    if (imap_args_peek(a) == '(') {
        struct imap_flags flags;
        if (!imap_args_flags(a, false, &flags) || !imap_args_space(a))
            return false;
        m->flags = flags.flags;
        m->keywords = flags.keywords;
        m->keyword_n = flags.keyword_n;
    }
    if (imap_args_peek(a) == '"' && (!imap_args_date_time(a, &m->internal_ms) || !imap_args_space(a)))
        return false;
    m->body = imap_args_body(a);
    return m->body != NULL;
}

bool imap_append_parse(struct imap *im, struct imap_args *a)
{
    struct append *p = im->data = arena_alloc(&im->arena, sizeof *p);
    if (!imap_args_space(a) || !imap_args_mailbox(im, a, &p->name))
        return false;
    p->messages = arena_alloc(&im->arena, IMAP_BODIES_MAX * sizeof *p->messages);
    do {
        if (p->n == IMAP_BODIES_MAX)
            return imap_args_fail(a, "Too many messages");
        if (!take_message(im, a, &p->messages[p->n++]))
            return false;
    } while (imap_args_peek(a) == ' ');
    return a->error == NULL;
}

static void append_cleanup(struct imap *im)
{
    struct append *p = im->data;
    if (p->write != NULL)
        imap_write_close(p->write);
}

static void append_done(struct imap *im, struct imap_write *w)
{
    if (w->w.op.status == ERR_NOTFOUND) {
        imap_finish(im, "NO [TRYCREATE] No such mailbox");
        return;
    }
    if (w->w.op.status == ERR_TOOBIG) {
        imap_finish(im, "NO [TOOBIG] Message is too big");
        return;
    }
    if (w->w.op.status != 0) {
        imap_finish_error(im, w->w.op.status);
        return;
    }
    struct buf set = {0};
    imap_write_set(&set, &w->w.uids_r);
    imap_finish(im, "OK [APPENDUID %u %.*s] APPEND completed", w->w.uidvalidity, (int)buf_len(&set),
                (const char *)buf_slice(&set).p);
    buf_close(&set);
}

void imap_append_run(struct imap *im)
{
    struct append *p = im->data;
    struct mailbox_info box;
    for (unsigned i = 0; i < p->n; i++)
        if (p->messages[i].body->n == 0) {
            imap_finish(im, "NO Message is empty");
            return;
        }
    struct backend_view *v = imap_view(im);
    int status = v->ops->mailbox_find(v, im->account, p->name, &box);
    v->ops->close(v);
    if (status != 0 || !box.selectable) {
        if (!imap_rerun_synced(im))
            imap_finish(im, "NO [TRYCREATE] No such mailbox");
        return;
    }
    im->cleanup = append_cleanup;
    struct imap_write *w = p->write = imap_write_new(im, WRITE_APPEND);
    w->w.mailbox = box.id;
    w->w.messages = p->messages;
    w->w.message_n = p->n;
    imap_write_start(w, append_done);
}
