/* FETCH: metadata straight from short views; bodies through a small window of fetches ahead, in order, written in
 * portions as the client takes them. */
#include "protocol/imap/imap_fetch.h"

#include "protocol/mime/summary.h"

enum {
    SLICE_MESSAGES = 100,           /* of one view */
    WINDOW = 4,                     /* bodies asked for ahead */
    WINDOW_BYTES = 8 * 1024 * 1024, /* of them, but always one */
};

struct slot {
    struct backend_body get; /* owner: the fetch_run */
    bool ready;
    uint32_t uid;
    uint64_t size;
    bool unseen;
    struct buf head; /* "* n FETCH (…" up to the sections */
    struct bytes *summary;
};

struct fetch_run {
    struct imap *im;
    struct fetch *f;
    struct uid_set want;
    struct imap_cursor cursor;
    bool ended;    /* the cursor is through */
    bool any_gone; /* asked for what is expunged */
    bool unknown_cte;
    int failed;       /* of a body fetch */
    const char *text; /* tagged answer when all went well */

    struct slot slots[WINDOW];
    unsigned first, n;
    uint64_t in_flight; /* bytes */
    bool emitting;      /* the first slot's message, its item `item` */
    size_t item;
    bool spaced; /* something is there already: a space comes before the next item */
    struct buf built;
    struct slice data; /* of the item, still to be written */

    struct uid_set seen; /* messages that FETCH made \Seen */
    struct imap_write *write;
    void *before; /* data and cleanup of the command that FETCH answers for */
    void (*before_cleanup)(struct imap *im);
};

static void pump(struct imap *im);

static void run_cleanup(struct imap *im)
{
    struct fetch_run *r = im->data;
    for (unsigned i = 0; i < WINDOW; i++) {
        bytes_unref(&r->slots[i].get.body);
        bytes_unref(&r->slots[i].summary);
        buf_close(&r->slots[i].head);
    }
    buf_close(&r->built);
    uid_set_close(&r->want);
    uid_set_close(&r->seen);
    if (r->write != NULL)
        imap_write_close(r->write);
    im->data = r->before;
    if (r->before_cleanup != NULL)
        r->before_cleanup(im);
}

static struct fetch_run *run_new(struct imap *im, struct fetch *f, const char *text)
{
    struct fetch_run *r = arena_alloc(&im->arena, sizeof *r);
    r->im = im;
    r->f = f;
    r->text = text;
    r->before = im->data;
    r->before_cleanup = im->cleanup;
    im->data = r;
    im->cleanup = run_cleanup;
    return r;
}

/* ---- one message ---- */

static void write_plain_item(struct imap *im, struct buf *out, enum fetch_kind kind, const struct mailbox_info *box,
                             const struct message_info *m, struct slice summary)
{
    switch (kind) {
    case FETCH_FLAGS:
        imap_flags_write(out, box, m->flags, m->keywords);
        break;
    case FETCH_UID:
        buf_printf(out, "UID %u", m->uid);
        break;
    case FETCH_INTERNALDATE:
        buf_append_str(out, "INTERNALDATE ");
        imap_write_date_time(out, m->internal_ms);
        break;
    case FETCH_SIZE:
        buf_printf(out, "RFC822.SIZE %llu", (unsigned long long)m->size);
        break;
    case FETCH_MODSEQ:
        buf_printf(out, "MODSEQ (%llu)", (unsigned long long)m->modseq);
        break;
    case FETCH_EMAILID:
        buf_printf(out, "EMAILID (E%llx)", (unsigned long long)m->email_id);
        break;
    case FETCH_THREADID:
        buf_append_str(out, "THREADID NIL");
        break;
    case FETCH_ENVELOPE:
        buf_append_str(out, "ENVELOPE ");
        mime_envelope_write(summary, im->rev2, out);
        break;
    case FETCH_BODY:
    case FETCH_BODYSTRUCTURE:
        buf_append_str(out, kind == FETCH_BODY ? "BODY " : "BODYSTRUCTURE ");
        mime_structure_write(summary, kind == FETCH_BODYSTRUCTURE, im->rev2, out);
        break;
    case FETCH_SECTION:
    case FETCH_BINARY:
    case FETCH_BINARY_SIZE:
        break;
    }
}

static void write_plain(struct fetch_run *r, struct buf *out, uint32_t seq, const struct mailbox_info *box,
                        const struct message_info *m, struct slice summary)
{
    const char *space = "";
    buf_printf(out, "* %u FETCH (", seq);
    for (size_t i = 0; i < r->f->n; i++) {
        if (r->f->items[i].kind >= FETCH_SECTION)
            continue;
        buf_append_str(out, space);
        write_plain_item(r->im, out, r->f->items[i].kind, box, m, summary);
        space = " ";
    }
}

static struct slice summary_of(struct fetch_run *r, struct backend_view *v, const struct message_info *m, bool *ok_r)
{
    struct slice summary = {NULL, 0};
    *ok_r = !r->f->need_summary || v->ops->summary(v, &m->hash, &summary) == 0;
    return summary;
}

/* The mailbox's record, for its keywords; the client hears of new ones before it meets them. */
static void box_read(struct fetch_run *r, struct backend_view *v, struct mailbox_info *info)
{
    if (v->ops->mailbox_get(v, r->im->box->id, info) != 0)
        r->ended = r->any_gone = true;
    else if (info->keyword_n > r->im->box->keyword_n)
        imap_flags_announce(r->im, info);
}

/* Is there a next message to answer for? Leaves out unchanged and expunged ones. */
static bool next_message(struct fetch_run *r, struct backend_view *v, struct message_info *m, struct slice *summary_r)
{
    while (imap_cursor_next(&r->cursor)) {
        bool ok = v->ops->message_get(v, r->im->box->id, r->cursor.uid, m) == 0;
        if (ok && r->f->changed_only && m->modseq <= r->f->changed_since)
            continue;
        if (ok)
            *summary_r = summary_of(r, v, m, &ok);
        if (ok)
            return true;
        r->any_gone = true;
    }
    r->ended = true;
    return false;
}

/* ---- without bodies ---- */

static void produce_slice(struct fetch_run *r)
{
    struct imap *im = r->im;
    struct mailbox_info box;
    struct message_info m;
    struct slice summary;
    struct backend_view *v = imap_view(im);
    box_read(r, v, &box);
    for (int i = 0; i < SLICE_MESSAGES && !r->ended && !imap_out_full(im); i++) {
        if (!next_message(r, v, &m, &summary))
            break;
        write_plain(r, &im->s.out, r->cursor.seq, &box, &m, summary);
        buf_append_str(&im->s.out, ")\r\n");
    }
    v->ops->close(v);
}

/* ---- with bodies ---- */

static void body_done(struct backend_op *op)
{
    struct fetch_run *r = op->owner;
    struct imap *im = r->im;
    struct slot *s = container_of(op, struct slot, get.op);
    if (!session_op_end(&im->s))
        return;
    s->ready = true;
    if (s == &r->slots[r->first])
        pump(im);
}

static void slot_start(struct fetch_run *r, const struct mailbox_info *box, const struct message_info *m,
                       struct slice summary)
{
    struct imap *im = r->im;
    struct slot *s = &r->slots[(r->first + r->n++) % WINDOW];
    *s = (struct slot){.uid = m->uid, .size = m->size, .unseen = !(m->flags & FLAG_SEEN)};
    write_plain(r, &s->head, r->cursor.seq, box, m, summary);
    s->summary = bytes_copy(summary);
    s->get.hash = m->hash;
    s->get.op.owner = r;
    s->get.op.done = body_done;
    r->in_flight += m->size;
    session_op_begin(&im->s);
    im->s.backend->ops->body_get(im->s.backend, &s->get);
}

static void window_fill(struct fetch_run *r)
{
    struct mailbox_info box;
    struct message_info m;
    struct slice summary;
    if (r->ended || r->n == WINDOW || (r->n > 0 && r->in_flight >= WINDOW_BYTES))
        return;
    struct backend_view *v = imap_view(r->im);
    box_read(r, v, &box);
    while (!r->ended && r->n < WINDOW && (r->n == 0 || r->in_flight < WINDOW_BYTES))
        if (next_message(r, v, &m, &summary))
            slot_start(r, &box, &m, summary);
    v->ops->close(v);
}

static void slot_end(struct fetch_run *r)
{
    struct slot *s = &r->slots[r->first];
    r->in_flight -= s->size;
    bytes_unref(&s->get.body);
    bytes_unref(&s->summary);
    buf_close(&s->head);
    r->first = (r->first + 1) % WINDOW;
    r->n--;
    r->emitting = false;
}

static void emit_begin(struct fetch_run *r)
{
    struct slot *s = &r->slots[r->first];
    if (s->get.op.status != 0) {
        if (s->get.op.status == ERR_NOTFOUND)
            r->any_gone = true;
        else
            r->failed = s->get.op.status;
        slot_end(r);
        return;
    }
    buf_append_slice(&r->im->s.out, buf_slice(&s->head));
    r->emitting = true;
    r->item = 0;
    r->spaced = buf_slice(&s->head).p[buf_len(&s->head) - 1] != '(';
    r->data = (struct slice){NULL, 0};
}

/* The item's name and the start of its literal; r->data is what follows. */
static void emit_item(struct fetch_run *r, const struct fetch_item *item)
{
    struct buf *out = &r->im->s.out;
    struct slot *s = &r->slots[r->first];
    buf_clear(&r->built);
    int status = fetch_section_get(item, bytes_slice(s->summary), bytes_slice(s->get.body), &r->built, &r->data);
    if (r->spaced)
        buf_append_byte(out, ' ');
    r->spaced = true;
    buf_append_slice(out, item->name);
    r->unknown_cte |= status == ERR_INVALID;
    if (status != 0) {
        r->data = (struct slice){NULL, 0};
        buf_append_str(out, item->kind == FETCH_BINARY_SIZE ? " 0" : " NIL");
    } else if (item->kind == FETCH_BINARY_SIZE) {
        buf_printf(out, " %zu", r->data.n);
        r->data = (struct slice){NULL, 0};
    } else {
        bool binary = item->kind == FETCH_BINARY && r->data.n > 0 && memchr(r->data.p, 0, r->data.n) != NULL;
        buf_printf(out, " %s{%zu}\r\n", binary ? "~" : "", r->data.n);
    }
}

static void emit_end(struct fetch_run *r)
{
    struct slot *s = &r->slots[r->first];
    buf_append_str(&r->im->s.out, ")\r\n");
    if (s->unseen && r->f->sets_seen && !r->im->box->read_only)
        uid_set_add(&r->seen, s->uid, s->uid);
    slot_end(r);
}

/* Goes on with the first slot's message until out is full or the message is written. */
static void emit(struct fetch_run *r)
{
    struct buf *out = &r->im->s.out;
    while (r->emitting && !imap_out_full(r->im)) {
        if (r->data.n > 0) {
            struct slice portion = slice_first(r->data, SESSION_OUT_HIGH - buf_len(out));
            buf_append_slice(out, portion);
            r->data = slice_from(r->data, portion.n);
            continue;
        }
        while (r->item < r->f->n && r->f->items[r->item].kind < FETCH_SECTION)
            r->item++;
        if (r->item == r->f->n)
            emit_end(r);
        else
            emit_item(r, &r->f->items[r->item++]);
    }
}

/* ---- the whole ---- */

static void answer(struct imap *im)
{
    struct fetch_run *r = im->data;
    if (r->failed != 0)
        imap_finish(im, "NO [UNAVAILABLE] Some messages cannot be read now");
    else if (r->unknown_cte)
        imap_finish(im, "NO [UNKNOWN-CTE] Unknown transfer encoding");
    else if (r->any_gone && !imap_uid_command(im))
        imap_finish(im, "NO [EXPUNGEISSUED] Some messages are expunged");
    else
        imap_finish(im, "%s", r->text);
}

/* Marking as \Seen is a courtesy: reading goes on when no quorum is there to write. */
static void seen_done(struct imap *im, struct imap_write *w)
{
    (void)w;
    answer(im);
}

static void run_end(struct fetch_run *r)
{
    struct imap *im = r->im;
    if (r->seen.n == 0) {
        answer(im);
        return;
    }
    struct imap_write *w = r->write = imap_write_new(im, WRITE_STORE);
    w->w.mailbox = im->box->id;
    w->w.uids = &r->seen;
    w->w.mode = STORE_ADD;
    w->w.flags = FLAG_SEEN;
    imap_write_start(w, seen_done);
}

static void pump(struct imap *im)
{
    struct fetch_run *r = im->data;
    im->resume = NULL;
    while (!imap_out_full(im)) {
        if (r->emitting) {
            emit(r);
            continue;
        }
        if (!r->f->need_body) {
            produce_slice(r);
        } else {
            window_fill(r);
            if (r->n > 0 && !r->slots[r->first].ready) {
                imap_wake(im);
                return;
            }
            if (r->n > 0) {
                emit_begin(r);
                continue;
            }
        }
        if (r->ended) {
            run_end(r);
            return;
        }
    }
    im->resume = pump;
    imap_wake(im);
}

static void run_start(struct fetch_run *r)
{
    imap_cursor_init(&r->cursor, &r->im->box->uids, &r->want);
    pump(r->im);
}

void imap_fetch_run(struct imap *im)
{
    struct fetch *f = im->data;
    struct fetch_run *r = run_new(im, f, "OK FETCH completed");
    if (imap_resolve(im, &f->set, &r->want))
        run_start(r);
}

void imap_fetch_flags_start(struct imap *im, const struct uid_set *uids, bool silent, const char *text)
{
    if (silent && !im->condstore) {
        imap_finish(im, "%s", text);
        return;
    }
    struct fetch *f = arena_alloc(&im->arena, sizeof *f);
    if (imap_uid_command(im) || im->condstore)
        fetch_item_add(f, FETCH_UID);
    if (!silent)
        fetch_item_add(f, FETCH_FLAGS);
    if (im->condstore)
        fetch_item_add(f, FETCH_MODSEQ);
    struct fetch_run *r = run_new(im, f, text);
    uid_set_copy(&r->want, uids);
    run_start(r);
}
