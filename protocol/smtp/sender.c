/* Who may send as whom: a submission's MAIL FROM, and its From and Sender fields (RFC 6409 6.1, 8.1). */
#include "protocol/smtp/internal.h"

#include "protocol/mime/address.h"
#include "protocol/mime/text.h"

bool smtp_submits(const struct smtp *m)
{
    return m->kind == SMTP_SUBMISSION && m->authenticated && m->session.backend->ops->sender_allowed;
}

bool smtp_sender_allowed(struct smtp *m, struct slice address)
{
    struct backend *b = m->session.backend;

    return !smtp_submits(m) || address.n == 0 || b->ops->sender_allowed(b, m->account, address);
}

void smtp_sync(struct smtp *m, void (*done)(struct backend_op *op))
{
    m->sync = (struct backend_sync){.op = {.done = done, .owner = m}};
    if (m->mode != SMTP_MODE_WAIT)
        smtp_mode_set(m, SMTP_MODE_WAIT);
    session_op_begin(&m->session);
    m->session.backend->ops->sync(m->session.backend, &m->sync);
}

/* ---- From and Sender ---- */

struct authors {
    struct smtp *session;
    struct smtp_path path; /* the last one looked at */
    unsigned n;
    bool refused;
};

/* The address as MAIL would have it, so that both are compared in one form. What MAIL could not have said stays as it
 * is, cut. */
static void author_path(const struct mime_address *a, struct smtp_path *path)
{
    struct buf text = {0};
    size_t used = 0;

    buf_append_str(&text, "<\"");
    for (size_t i = 0; i < a->mailbox.n; i++) {
        if (a->mailbox.p[i] == '"' || a->mailbox.p[i] == '\\')
            buf_append_byte(&text, '\\');
        buf_append_byte(&text, a->mailbox.p[i]);
    }
    buf_append_str(&text, "\"@");
    buf_append_slice(&text, a->host);
    buf_append_byte(&text, '>');
    struct slice all = buf_slice(&text);
    if (smtp_path_parse(all, SMTP_PATH_FORWARD, path, &used) != SMTP_PATH_OK || used != all.n) {
        struct slice raw = slice_first(slice_make(all.p + 1, all.n - 2), SMTP_ADDRESS_MAX);
        *path = (struct smtp_path){.n = raw.n};
        for (size_t i = 0; i < raw.n; i++)
            path->address[i] = (char)(raw.p[i] > ' ' && raw.p[i] != 0x7f ? raw.p[i] : '?');
    }
    buf_close(&text);
}

static bool author_look(void *arg, const struct mime_address *a)
{
    struct authors *as = arg;

    if (a->kind != MIME_ADDRESS_MAILBOX)
        return true;
    if (++as->n > SMTP_AUTHORS_MAX)
        return false;
    author_path(a, &as->path);
    as->refused = !smtp_sender_allowed(as->session, slice_make(as->path.address, as->path.n));
    return !as->refused;
}

enum smtp_author smtp_author_check(struct smtp *m, struct slice message, char address_r[SMTP_ADDRESS_MAX + 1])
{
    struct slice header = slice_first(message, header_length(message));
    struct authors as = {.session = m};
    struct header_field field;
    struct buf value = {0};
    unsigned from_n = 0;
    size_t at = 0;

    while (!as.refused && as.n <= SMTP_AUTHORS_MAX && header_next(header, &at, &field)) {
        bool from = slice_ieq(field.name, SLICE_LITERAL("From"));
        if (!from && !slice_ieq(field.name, SLICE_LITERAL("Sender")))
            continue;
        unsigned before = as.n;
        buf_clear(&value);
        header_unfold(field.value, &value);
        mime_address_each(buf_slice(&value), author_look, &as);
        from_n += from ? as.n - before : 0;
    }
    buf_close(&value);
    memcpy(address_r, as.path.address, sizeof(as.path.address));
    if (as.refused)
        return SMTP_AUTHOR_FOREIGN;
    return as.n > SMTP_AUTHORS_MAX ? SMTP_AUTHOR_MANY : from_n == 0 ? SMTP_AUTHOR_NONE : SMTP_AUTHOR_OK;
}
