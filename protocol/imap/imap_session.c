#include "protocol/imap/imap.h"

#include <stdarg.h>
#include <stdio.h>

enum { IDLE_MS = 31 * 60 * 1000, LOGIN_MS = 3 * 60 * 1000, LITERAL_BEFORE_LOGIN_MAX = 2048 };

void imap_wake(struct imap *im)
{
    if (!im->in_input && !im->s.closed)
        im->s.host->wake(im->s.host);
}

void imap_bye(struct imap *im, const char *why)
{
    if (im->state == IMAP_LOGOUT)
        return;
    buf_printf(&im->s.out, "* BYE %s\r\n", why);
    im->state = IMAP_LOGOUT;
    im->s.closing = true;
    imap_wake(im);
}

/* ---- ending a command ---- */

static void command_clear(struct imap *im)
{
    if (im->cleanup != NULL)
        im->cleanup(im);
    if (im->command != NULL && (im->command->options & COMMAND_SECRET) && im->in.line.base != NULL)
        mem_wipe(im->in.line.base, im->in.line.cap);
    im->cleanup = NULL;
    im->command = NULL;
    im->data = NULL;
    im->line = NULL;
    im->resume = NULL;
    im->own_modseq = 0;
    im->own_uids = NULL;
    im->synced = im->watching = im->in.raw = false;
    imap_input_reset(&im->in);
    arena_reset(&im->arena);
}

static void tagged(struct imap *im, const char *text)
{
    buf_append_str(&im->s.out, im->tag);
    buf_append_byte(&im->s.out, ' ');
    buf_append_str(&im->s.out, text);
    buf_append_str(&im->s.out, "\r\n");
}

static void finish(struct imap *im, const char *text)
{
    if (im->box != NULL && im->command != NULL && im->box->dirty && im->state != IMAP_LOGOUT)
        imap_updates_send(im, !(im->command->options & COMMAND_NO_EXPUNGE));
    if (im->account != 0 && strncmp(text, "BAD ", 4) != 0)
        im->bad_n = 0; /* one that talks IMAP is allowed slips */
    if (im->state != IMAP_LOGOUT || im->command == NULL || im->command->run == imap_logout_run)
        tagged(im, text);
    command_clear(im);
    im->s.blocked = false;
    if (im->draining)
        imap_bye(im, "Server is shutting down");
    imap_wake(im);
}

void imap_finish(struct imap *im, const char *format, ...)
{
    struct buf text = {0};
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    ENSURE(n >= 0);
    vsnprintf((char *)buf_reserve(&text, (size_t)n + 1), (size_t)n + 1, format, again);
    buf_commit(&text, (size_t)n + 1);
    va_end(again);
    va_end(ap);
    finish(im, (const char *)buf_slice(&text).p);
    buf_close(&text);
}

/* Whether the command took effect is not known: neither OK nor NO would be true, so the connection ends without either
 * (RFC 9051 7.1.5), and the client finds out in its next session. */
static void finish_unknown(struct imap *im)
{
    imap_bye(im, "Connection to the other servers was lost, look again whether the last command took effect");
    imap_finish(im, "NO"); /* not sent after BYE */
}

void imap_finish_error(struct imap *im, int status)
{
    if (status == ERR_TIMEOUT) {
        finish_unknown(im);
        return;
    }
    static const struct {
        int status;
        const char *text;
    } table[] = {
        {ERR_NOTFOUND, "NO [NONEXISTENT] No such mailbox"},
        {ERR_EXISTS, "NO [ALREADYEXISTS] Mailbox exists already"},
        {ERR_QUOTA, "NO [OVERQUOTA] Quota would be exceeded"},
        {ERR_TOOBIG, "NO [LIMIT] Over a limit"},
        {ERR_DENIED, "NO [NOPERM] Not permitted"},
        {ERR_INVALID, "NO [CANNOT] Name is not allowed"},
        {ERR_CONFLICT, "NO [INUSE] Changed meanwhile, try again"},
        {ERR_NOSPACE, "NO [UNAVAILABLE] No space left on the server, try again later"},
        {ERR_BUSY, "NO [UNAVAILABLE] Server is busy, try again later"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status) {
            imap_finish(im, "%s", table[i].text);
            return;
        }
    imap_finish(im, "NO [UNAVAILABLE] Temporarily unavailable, try again later");
}

void imap_finish_bad(struct imap *im, const char *why)
{
    im->bad_n++;
    imap_finish(im, "BAD %s", why);
    if (im->bad_n >= im->limits->bad_commands_max)
        imap_bye(im, "Too many bad commands");
}

/* ---- operations ---- */

static void sync_done(struct backend_op *op)
{
    struct imap *im = op->owner;
    if (!session_op_end(&im->s))
        return;
    if (op->status != 0) {
        imap_finish_error(im, ERR_UNAVAILABLE);
        return;
    }
    if (im->box != NULL)
        im->box->dirty = true;
    im->command->run(im);
}

static void sync_start(struct imap *im)
{
    struct backend_sync *sync = arena_alloc(&im->arena, sizeof *sync);
    sync->op.done = sync_done;
    sync->op.owner = im;
    im->synced = true;
    session_op_begin(&im->s);
    im->s.backend->ops->sync(im->s.backend, sync);
}

bool imap_rerun_synced(struct imap *im)
{
    if (im->synced)
        return false;
    sync_start(im);
    return true;
}

struct imap_write *imap_write_new(struct imap *im, enum write_kind kind)
{
    struct imap_write *w = arena_alloc(&im->arena, sizeof *w);
    w->im = im;
    w->w.kind = kind;
    w->w.account = im->account;
    return w;
}

void imap_write_close(struct imap_write *w)
{
    uid_set_close(&w->w.uids_r);
    uid_set_close(&w->w.uids_to_r);
    uid_set_close(&w->w.modified_r);
}

static void write_done(struct backend_op *op)
{
    struct imap_write *w = container_of(op, struct imap_write, w.op);
    if (!session_op_end(&w->im->s))
        return;
    if (w->im->box != NULL)
        w->im->box->dirty = true;
    w->done(w->im, w);
}

void imap_write_start(struct imap_write *w, void (*done)(struct imap *im, struct imap_write *w))
{
    w->done = done;
    w->w.op.done = write_done;
    session_op_begin(&w->im->s);
    w->im->s.backend->ops->write(w->im->s.backend, &w->w);
}

/* ---- beginning a command ---- */

/* The tag, as far as it is one; "*" when there is none to answer to. */
static void tag_take(struct imap *im, struct imap_args *a)
{
    struct slice tag = imap_args_tag(a);
    if (a->error != NULL || tag.n > IMAP_TAG_MAX) {
        imap_args_fail(a, "Missing or overlong tag");
        tag = SLICE_LITERAL("*");
    }
    memcpy(im->tag, tag.p, tag.n);
    im->tag[tag.n] = 0;
}

static const struct imap_command *command_take(struct imap_args *a)
{
    bool uid = false;
    struct slice name = (struct slice){NULL, 0};
    if (imap_args_space(a))
        name = imap_args_atom(a);
    if (a->error == NULL && slice_ieq(name, SLICE_LITERAL("UID"))) {
        uid = true;
        imap_args_space(a);
        name = imap_args_atom(a);
    }
    return a->error == NULL ? imap_command_find(name, uid) : NULL;
}

static struct imap_args args_of(struct imap *im)
{
    return (struct imap_args){.in = imap_input_text(&im->in), .input = &im->in, .arena = &im->arena};
}

static void command_start(struct imap *im)
{
    struct imap_args a = args_of(im);
    tag_take(im, &a);
    im->s.blocked = true;
    if (im->in.refused != NULL) {
        if (strncmp(im->in.refused, "BAD ", 4) == 0)
            imap_finish_bad(im, im->in.refused + 4);
        else
            imap_finish(im, "%s", im->in.refused);
        return;
    }
    const struct imap_command *c = command_take(&a);
    im->command = c;
    if (c == NULL) {
        imap_finish_bad(im, a.error ? a.error : "Unknown command");
    } else if (!(c->states & im->state)) {
        imap_finish_bad(im, im->state == IMAP_NOT_AUTHENTICATED ? "Log in first"
                            : c->states == IMAP_SELECTED        ? "Select a mailbox first"
                                                                : "Not now");
    } else if (!c->parse(im, &a) || !imap_args_end(&a)) {
        imap_finish_bad(im, a.error ? a.error : "Syntax error");
    } else if ((c->options & COMMAND_SYNC) && im->account != 0) {
        sync_start(im);
    } else {
        c->run(im);
    }
}

/* Is the announced literal a message of APPEND: anything but its first argument? */
static bool literal_is_message(struct imap *im)
{
    struct imap_args a = args_of(im);
    tag_take(im, &a);
    const struct imap_command *c = command_take(&a);
    if (c == NULL || !(c->options & COMMAND_APPEND) || !imap_args_space(&a))
        return false;
    /* When the mailbox is a literal, octets of it are there already. */
    return imap_args_peek(&a) != '{' || im->in.inline_n > 0;
}

static const char *message_refusal(struct imap *im)
{
    uint64_t total = im->in.literal_size;
    for (size_t i = 0; i < im->in.body_n; i++)
        total += im->in.bodies[i].bytes->n;
    if (!(im->state & (IMAP_AUTHENTICATED | IMAP_SELECTED)))
        return "BAD Log in first";
    if (total > im->limits->message_max)
        return "NO [TOOBIG] Message is too big";
    if (im->in.body_n == IMAP_BODIES_MAX)
        return "NO [LIMIT] Too many messages at once";
    int status = im->s.backend->ops->admit(im->s.backend, im->in.literal_size);
    if (status == ERR_NOSPACE)
        return "NO [UNAVAILABLE] No space left on the server, try again later";
    return status != 0 ? "NO [UNAVAILABLE] Server is busy, try again later" : NULL;
}

/* Returns true when the command is over already: refused, and the client waits. */
static bool on_literal(struct imap *im)
{
    bool message = literal_is_message(im);
    const char *refusal = NULL;
    size_t max = im->account != 0 ? im->limits->literal_max : LITERAL_BEFORE_LOGIN_MAX;
    if (message)
        refusal = message_refusal(im);
    else if (im->in.literal_size > max || im->in.inline_n > max - im->in.literal_size)
        refusal = "BAD [TOOBIG] Literal is too big";
    if (refusal != NULL && !im->in.literal_sync && im->account == 0) {
        imap_bye(im, "Literal is too big"); /* nobody in particular sends it: do not read it all */
        return false;
    }
    if (refusal != NULL)
        return imap_input_literal_refuse(&im->in, refusal);
    if (message)
        imap_input_literal_body(&im->in);
    else
        imap_input_literal_inline(&im->in);
    if (im->in.literal_sync)
        buf_append_str(&im->s.out, "+ OK\r\n");
    return false;
}

static void on_command(struct imap *im)
{
    if (im->line == NULL) {
        command_start(im);
        return;
    }
    /* The line goes away before the next one arrives; its taker may end the command. */
    struct slice line = imap_input_text(&im->in);
    const char *refused = im->in.refused;
    void (*take)(struct imap *, struct slice) = im->line;
    if (refused != NULL) {
        imap_finish_bad(im, refused + 4);
        return;
    }
    take(im, line);
    if (im->line != NULL)
        imap_input_reset(&im->in);
}

/* Between commands a connection keeps next to nothing: there may be very many that idle. */
static void memory_release(struct imap *im)
{
    buf_close(&im->in.line);
    arena_close(&im->arena);
}

static size_t op_input(struct session *s, struct slice in)
{
    struct imap *im = imap_of(s);
    size_t used = 0;
    im->in_input = true;
    while (used < in.n && !s->blocked && !s->starttls && !s->closing && !imap_out_full(im)) {
        enum imap_event event;
        used += imap_input_feed(&im->in, slice_from(in, used), &event);
        if (event == IMAP_COMMAND || (event == IMAP_LITERAL && on_literal(im)))
            on_command(im);
    }
    im->in_input = false;
    if (im->command == NULL && buf_len(&im->in.line) == 0)
        memory_release(im);
    /* What a client sends between STARTTLS and the handshake could be anybody's: never take it. */
    return s->starttls || s->closing ? in.n : used;
}

static void op_drained(struct session *s)
{
    struct imap *im = imap_of(s);
    void (*resume)(struct imap *) = im->resume;
    im->resume = NULL;
    if (buf_len(&s->out) == 0)
        buf_close(&s->out);
    if (resume != NULL)
        resume(im);
    else if (im->command == NULL && buf_len(&im->in.line) == 0)
        memory_release(im);
}

/* ---- life ---- */

static void greet(struct imap *im)
{
    buf_append_str(&im->s.out, "* OK [");
    imap_capability_write(im, &im->s.out);
    buf_printf(&im->s.out, "] %s Merlion IMAP ready\r\n", im->s.peer.local_name);
}

static void op_tls_started(struct session *s)
{
    struct imap *im = imap_of(s);
    s->starttls = false;
    im->bad_n = 0;
    command_clear(im);
    buf_clear(&s->out);
}

static void op_timed_out(struct session *s)
{
    imap_bye(imap_of(s), "Autologout, idle for too long");
}

static void op_shutdown(struct session *s)
{
    struct imap *im = imap_of(s);
    im->draining = true;
    bool amid = im->command == NULL && buf_len(&im->in.line) > 0; /* a message of APPEND may be on its way */
    if (!s->blocked && !amid)
        imap_bye(im, "Server is shutting down");
}

/* RFC 9051 5.4: at least 30 minutes once logged in. */
static int64_t op_idle_timeout_ms(struct session *s)
{
    return imap_of(s)->account != 0 ? IDLE_MS : LOGIN_MS;
}

static void op_close(struct session *s)
{
    struct imap *im = imap_of(s);
    s->closed = true;
    imap_box_close(im);
    im->state = IMAP_LOGOUT;
}

static void op_free(struct session *s)
{
    struct imap *im = imap_of(s);
    ENSURE(s->closed && s->pending == 0);
    command_clear(im);
    imap_input_close(&im->in);
    arena_close(&im->arena);
    buf_close(&s->out);
    mem_free(im);
}

static const struct session_ops ops = {
    .protocol = "imap",
    .input = op_input,
    .drained = op_drained,
    .tls_started = op_tls_started,
    .timed_out = op_timed_out,
    .shutdown = op_shutdown,
    .idle_timeout_ms = op_idle_timeout_ms,
    .close = op_close,
    .free = op_free,
};

struct session *imap_session_new(struct session_host *h, struct backend *b, const struct session_peer *peer,
                                 const struct session_limits *limits)
{
    struct imap *im = mem_zalloc(sizeof *im);
    im->s = (struct session){.ops = &ops, .host = h, .backend = b, .peer = *peer};
    im->limits = limits;
    im->state = IMAP_NOT_AUTHENTICATED;
    im->in.text_max = limits->line_max;
    greet(im);
    return &im->s;
}
