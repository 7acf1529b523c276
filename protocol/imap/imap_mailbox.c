/* CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS (RFC 9051 6.3.4-6.3.8, 6.3.11; RFC 6154 for USE). */
#include "protocol/imap/imap.h"

#include "protocol/imap/imap_list.h"

struct create {
    struct slice name;
    enum special_use use;
    bool two_uses;
};

/* A trailing '/' says that children will follow (RFC 9051 6.3.4): it is no part of the name. */
static struct slice without_slash(struct slice name)
{
    if (name.n > 1 && name.p[name.n - 1] == '/')
        name.n--;
    return name;
}

bool imap_create_parse(struct imap *im, struct imap_args *a)
{
    struct create *c = im->data = arena_alloc(&im->arena, sizeof *c);
    if (!imap_args_space(a) || !imap_args_mailbox(im, a, &c->name))
        return false;
    c->name = without_slash(c->name);
    if (!imap_args_try(a, ' '))
        return true;
    imap_args_char(a, '(');
    if (!imap_args_word(a, "USE"))
        return imap_args_fail(a, "Unknown parameter");
    imap_args_space(a);
    imap_args_char(a, '(');
    if (imap_args_peek(a) != ')')
        do {
            imap_args_char(a, '\\');
            enum special_use use = imap_special_use_parse(imap_args_atom(a));
            if (a->error == NULL && use == USE_NONE)
                return imap_args_fail(a, "Unknown special use");
            c->two_uses |= c->use != USE_NONE;
            c->use = use;
        } while (imap_args_try(a, ' '));
    imap_args_char(a, ')');
    return imap_args_char(a, ')');
}

static void name_cleanup(struct imap *im)
{
    imap_write_close(im->data);
}

static struct imap_write *name_write(struct imap *im, enum write_kind kind)
{
    struct imap_write *w = imap_write_new(im, kind);
    im->data = w;
    im->cleanup = name_cleanup;
    return w;
}

static void simple_done(struct imap *im, struct imap_write *w)
{
    if (w->w.op.status != 0)
        imap_finish_error(im, w->w.op.status);
    else
        imap_finish(im, "OK %s completed", im->command->name);
}

static void create_done(struct imap *im, struct imap_write *w)
{
    if (w->w.op.status == 0)
        imap_finish(im, "OK [MAILBOXID (M%llx)] CREATE completed", (unsigned long long)w->w.mailbox_r);
    else if (w->w.op.status == ERR_CONFLICT)
        imap_finish(im, "NO [USEATTR] Another mailbox has this use");
    else
        imap_finish_error(im, w->w.op.status);
}

void imap_create_run(struct imap *im)
{
    struct create *c = im->data;
    if (c->two_uses) {
        imap_finish(im, "NO [USEATTR] A mailbox has one use at most");
        return;
    }
    if (slice_eq(c->name, SLICE_LITERAL("INBOX"))) {
        imap_finish_error(im, ERR_EXISTS);
        return;
    }
    struct slice name = c->name;
    enum special_use use = c->use;
    struct imap_write *w = name_write(im, WRITE_MAILBOX_CREATE);
    w->w.name = name;
    w->w.use = use;
    imap_write_start(w, create_done);
}

static void delete_done(struct imap *im, struct imap_write *w)
{
    struct mailbox_info info;
    if (w->w.op.status == ERR_CONFLICT) {
        imap_finish(im, "NO [HASCHILDREN] Mailbox has children");
        return;
    }
    if (w->w.op.status == 0 && im->box != NULL) {
        struct backend_view *v = imap_view(im);
        bool gone = v->ops->mailbox_get(v, im->box->id, &info) != 0;
        v->ops->close(v);
        if (gone) {
            imap_box_close(im);
            buf_append_str(&im->s.out, "* OK [CLOSED] Selected mailbox was deleted\r\n");
        }
    }
    simple_done(im, w);
}

void imap_delete_run(struct imap *im)
{
    struct slice name = *(struct slice *)im->data;
    if (slice_eq(name, SLICE_LITERAL("INBOX"))) {
        imap_finish(im, "NO [CANNOT] INBOX stays");
        return;
    }
    struct imap_write *w = name_write(im, WRITE_MAILBOX_DELETE);
    w->w.name = name;
    imap_write_start(w, delete_done);
}

struct rename {
    struct slice from, to;
};

bool imap_rename_parse(struct imap *im, struct imap_args *a)
{
    struct rename *r = im->data = arena_alloc(&im->arena, sizeof *r);
    bool ok = imap_args_space(a) && imap_args_mailbox(im, a, &r->from) && imap_args_space(a) &&
              imap_args_mailbox(im, a, &r->to);
    r->to = without_slash(r->to);
    return ok;
}

void imap_rename_run(struct imap *im)
{
    struct rename *r = im->data;
    struct imap_write *w = name_write(im, WRITE_MAILBOX_RENAME);
    w->w.name = r->from;
    w->w.name_to = r->to;
    imap_write_start(w, simple_done);
}

static void subscribe(struct imap *im, bool on)
{
    struct slice name = *(struct slice *)im->data;
    struct imap_write *w = name_write(im, WRITE_SUBSCRIBE);
    w->w.name = name;
    w->w.subscribe = on;
    imap_write_start(w, simple_done);
}

void imap_subscribe_run(struct imap *im)
{
    subscribe(im, true);
}

void imap_unsubscribe_run(struct imap *im)
{
    subscribe(im, false);
}

/* ---- STATUS ---- */

struct status {
    struct slice name;
    uint32_t items;
};

static const struct {
    const char *name;
    uint32_t item;
} status_items[] = {
    {"MESSAGES", STATUS_MESSAGES},   {"RECENT", STATUS_RECENT},
    {"UIDNEXT", STATUS_UIDNEXT},     {"UIDVALIDITY", STATUS_UIDVALIDITY},
    {"UNSEEN", STATUS_UNSEEN},       {"DELETED", STATUS_DELETED},
    {"SIZE", STATUS_SIZE},           {"HIGHESTMODSEQ", STATUS_MODSEQ},
    {"MAILBOXID", STATUS_MAILBOXID}, {"APPENDLIMIT", STATUS_APPENDLIMIT},
};

bool imap_status_items_parse(struct imap *im, struct imap_args *a, uint32_t *items_r)
{
    *items_r = 0;
    imap_args_char(a, '(');
    do {
        size_t i = 0, n = sizeof status_items / sizeof *status_items;
        while (i < n && !imap_args_word(a, status_items[i].name))
            i++;
        if (i == n)
            return imap_args_fail(a, "Unknown STATUS item");
        *items_r |= status_items[i].item;
    } while (imap_args_try(a, ' '));
    im->condstore |= (*items_r & STATUS_MODSEQ) != 0;
    return imap_args_char(a, ')');
}

static void status_item_write(struct imap *im, uint32_t item, const struct mailbox_info *box)
{
    struct buf *out = &im->s.out;
    uint64_t value = item == STATUS_MESSAGES      ? box->exists
                     : item == STATUS_RECENT      ? 0 /* no session ever is the first to be told */
                     : item == STATUS_UIDNEXT     ? box->uidnext
                     : item == STATUS_UIDVALIDITY ? box->uidvalidity
                     : item == STATUS_UNSEEN      ? box->unseen
                     : item == STATUS_DELETED     ? box->deleted
                     : item == STATUS_SIZE        ? box->bytes
                     : item == STATUS_MODSEQ      ? box->highest_modseq
                                                  : im->limits->message_max;
    if (item == STATUS_MAILBOXID)
        buf_printf(out, "(M%llx)", (unsigned long long)box->id);
    else
        buf_append_u64(out, value);
}

void imap_status_write(struct imap *im, uint32_t items, const struct mailbox_info *box)
{
    const char *space = "";
    buf_append_str(&im->s.out, "* STATUS ");
    imap_write_name(&im->s.out, im->rev2, box->name);
    buf_append_str(&im->s.out, " (");
    for (size_t i = 0; i < sizeof status_items / sizeof *status_items; i++) {
        if (!(items & status_items[i].item))
            continue;
        buf_printf(&im->s.out, "%s%s ", space, status_items[i].name);
        status_item_write(im, status_items[i].item, box);
        space = " ";
    }
    buf_append_str(&im->s.out, ")\r\n");
}

bool imap_status_parse(struct imap *im, struct imap_args *a)
{
    struct status *s = im->data = arena_alloc(&im->arena, sizeof *s);
    return imap_args_space(a) && imap_args_mailbox(im, a, &s->name) && imap_args_space(a) &&
           imap_status_items_parse(im, a, &s->items);
}

void imap_status_run(struct imap *im)
{
    struct status *s = im->data;
    struct mailbox_info box;
    struct backend_view *v = imap_view(im);
    int status = v->ops->mailbox_find(v, im->account, s->name, &box);
    if (status == 0 && !box.selectable)
        status = ERR_NOTFOUND;
    if (status == 0)
        imap_status_write(im, s->items, &box);
    v->ops->close(v);
    if (status != 0)
        imap_finish_error(im, status);
    else
        imap_finish(im, "OK STATUS completed");
}
