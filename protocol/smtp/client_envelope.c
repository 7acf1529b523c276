/* MAIL and RCPT as this server takes them: what its offers do not allow is settled here, before anything is sent. */
#include "protocol/smtp/client_internal.h"

#include "protocol/mime/text.h"
#include "protocol/smtp/path.h"
#include "protocol/smtp/xtext.h"

#include <idn2.h>
#include <inttypes.h>

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return false;
    return true;
}

/* The position of the "@" before the domain, or s.n. A quoted local part may have others. */
static size_t domain_at(struct slice s)
{
    for (size_t i = s.n; i > 0; i--)
        if (s.p[i - 1] == '@')
            return i - 1;
    return s.n;
}

/* A CR or LF that is not part of a CRLF. By DATA it might end the message early for a server that reads them otherwise.
 */
static bool has_bare(struct slice s)
{
    for (size_t i = 0;;) {
        struct slice rest = slice_from(s, i);
        size_t cr = slice_find(rest, '\r');
        if (slice_find(slice_first(rest, cr), '\n') < cr)
            return true;
        if (cr == rest.n)
            return false;
        if (cr + 1 == rest.n || rest.p[cr + 1] != '\n')
            return true;
        i += cr + 2;
    }
}

static bool needs_utf8(struct slice address)
{
    return !is_ascii(slice_first(address, domain_at(address)));
}

/* An address that came from elsewhere than a session (an alias) may be anything: never a second command. */
static bool address_valid(struct slice address, enum smtp_path_kind kind)
{
    char text[SMTP_ADDRESS_MAX + 3];
    struct smtp_path path;
    size_t used = 0;

    if (address.n > SMTP_ADDRESS_MAX)
        return false;
    text[0] = '<';
    if (address.n > 0)
        memcpy(text + 1, address.p, address.n);
    text[address.n + 1] = '>';
    return smtp_path_parse(slice_make(text, address.n + 2), kind, &path, &used) == SMTP_PATH_OK &&
           used == address.n + 2;
}

/* Appends the address; without SMTPUTF8 with its domain in A-labels (RFC 5891). false: the domain has no such form. */
static bool address_write(const struct smtp_client *c, struct slice address, struct buf *out)
{
    size_t at = domain_at(address);
    char *ascii = NULL;

    if (c->mail.utf8 || is_ascii(address)) {
        buf_append_slice(out, address);
        return true;
    }
    char *domain = mem_strndup(slice_from(address, at + 1));
    bool ok = idn2_to_ascii_8z(domain, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK;
    if (ok) {
        buf_append_slice(out, slice_first(address, at + 1));
        buf_append_str(out, ascii);
    }
    idn2_free(ascii);
    mem_free(domain);
    return ok;
}

static bool address_sendable(const struct smtp_client *c, struct slice address)
{
    struct buf text = {0};
    bool ok = address_write(c, address, &text);

    buf_close(&text);
    return ok;
}

/* ---- what cannot go to this server ---- */

struct refusal {
    const char *enhanced, *text; /* NULL: none */
};

static bool wants_utf8(const struct smtp_client_mail *m)
{
    bool wants = m->utf8 || !is_ascii(m->sender);

    for (size_t i = 0; i < m->n && !wants; i++)
        wants = !is_ascii(m->recipients[i].address);
    return wants;
}

/* Of all its recipients. */
static struct refusal mail_refusal(const struct smtp_client *c)
{
    const struct client_mail *t = &c->mail;
    const struct smtp_client_mail *m = t->mail;
    struct slice header = slice_first(t->content, header_length(t->content));

    if (!address_valid(m->sender, SMTP_PATH_RETURN))
        return (struct refusal){"5.1.7", "the sender's address is malformed"};
    /* What said SMTPUTF8 may still be plain: then any server can take it. */
    if (!c->offers.utf8 && (needs_utf8(m->sender) || (m->utf8 && !is_ascii(header))))
        return (struct refusal){"5.6.7", "the message needs SMTPUTF8, and the server does not offer it"};
    if (t->binary && !(c->offers.binary && c->offers.chunking))
        return (struct refusal){"5.6.3", "the message is binary, and the server does not offer BINARYMIME"};
    if (m->eight && !t->binary && !c->offers.eight)
        return (struct refusal){"5.6.3", "the message has 8-bit octets, and the server does not offer 8BITMIME"};
    if (!address_sendable(c, m->sender))
        return (struct refusal){"5.6.7", "the sender's domain needs SMTPUTF8, and the server does not offer it"};
    return (struct refusal){NULL, NULL};
}

static struct refusal recipient_refusal(const struct smtp_client *c, struct slice address)
{
    if (!address_valid(address, SMTP_PATH_FORWARD))
        return (struct refusal){"5.1.3", "the address is malformed"};
    if (!c->mail.utf8 && (needs_utf8(address) || !address_sendable(c, address)))
        return (struct refusal){"5.6.7", "the address needs SMTPUTF8, and the server does not offer it"};
    return (struct refusal){NULL, NULL};
}

static void all_fail(struct smtp_client_mail *m, const struct smtp_outcome *o)
{
    for (size_t i = 0; i < m->n; i++)
        m->recipients[i].outcome = *o;
}

static bool size_fits(const struct smtp_client *c)
{
    struct smtp_outcome o;
    uint64_t n = client_content_size(c);

    if (!c->offers.size || c->offers.size_max == 0 || n <= c->offers.size_max)
        return true;
    client_outcome_local(&o, SMTP_FAILED, "5.3.4",
                         "the message has %" PRIu64 " octets, and the server takes at most %" PRIu64, n,
                         c->offers.size_max);
    all_fail(c->mail.mail, &o);
    return false;
}

bool client_envelope_prepare(struct smtp_client *c)
{
    struct client_mail *t = &c->mail;
    struct smtp_client_mail *m = t->mail;
    struct smtp_outcome o;

    t->binary = m->binary || has_bare(t->content);
    t->chunked = c->offers.chunking;
    t->utf8 = c->offers.utf8 && wants_utf8(m);
    t->crlf = !t->binary && t->content.n > 0 && t->content.p[t->content.n - 1] != '\n';
    struct refusal r = mail_refusal(c);
    if (r.enhanced) {
        client_outcome_local(&o, SMTP_FAILED, r.enhanced, "%s", r.text);
        all_fail(m, &o);
        return false;
    }
    if (!size_fits(c))
        return false;
    for (size_t i = 0; i < m->n; i++) {
        r = recipient_refusal(c, m->recipients[i].address);
        if (r.enhanced)
            client_outcome_local(&m->recipients[i].outcome, SMTP_FAILED, r.enhanced, "%s", r.text);
        else
            t->rcpts[t->n++] = i;
    }
    return t->n > 0;
}

/* ---- commands ---- */

void client_mail_command(struct smtp_client *c)
{
    const struct client_mail *t = &c->mail;
    const struct smtp_client_mail *m = t->mail;

    buf_append_str(&c->out, "MAIL FROM:<");
    address_write(c, m->sender, &c->out);
    buf_append_str(&c->out, ">");
    if (c->offers.size)
        buf_printf(&c->out, " SIZE=%" PRIu64, client_content_size(c));
    if (t->binary)
        buf_append_str(&c->out, " BODY=BINARYMIME");
    else if (c->offers.eight)
        buf_append_str(&c->out, m->eight ? " BODY=8BITMIME" : "");
    if (t->utf8)
        buf_append_str(&c->out, " SMTPUTF8");
    if (c->offers.dsn && (m->ret_full || m->ret_headers))
        buf_append_str(&c->out, m->ret_full ? " RET=FULL" : " RET=HDRS");
    if (c->offers.dsn && m->envid.n > 0) {
        buf_append_str(&c->out, " ENVID=");
        smtp_xtext_write(m->envid, &c->out);
    }
    buf_append_str(&c->out, "\r\n");
}

/* RFC 3461 5.2.1: what NOTIFY is sent on for has an original address, too. */
static void orcpt_write(struct smtp_client *c, const struct smtp_client_recipient *r)
{
    struct buf plain = {0}, value = {0};

    if (r->orcpt.n > 0) {
        buf_append_slice(&plain, r->orcpt);
    } else if (r->notify != 0) {
        buf_append_str(&plain, is_ascii(r->address) ? "rfc822;" : "utf-8;");
        buf_append_slice(&plain, r->address);
    }
    if (smtp_orcpt_write(buf_slice(&plain), c->mail.utf8, &value)) {
        buf_append_str(&c->out, " ORCPT=");
        buf_append_slice(&c->out, buf_slice(&value));
    }
    buf_close(&plain);
    buf_close(&value);
}

void client_rcpt_command(struct smtp_client *c, size_t at)
{
    const struct smtp_client_recipient *r = &c->mail.mail->recipients[c->mail.rcpts[at]];

    buf_append_str(&c->out, "RCPT TO:<");
    address_write(c, r->address, &c->out);
    buf_append_str(&c->out, ">");
    if (c->offers.dsn) {
        if (r->notify != 0) {
            buf_append_str(&c->out, " NOTIFY=");
            smtp_notify_write(r->notify, &c->out);
        }
        orcpt_write(c, r);
    }
    buf_append_str(&c->out, "\r\n");
}
