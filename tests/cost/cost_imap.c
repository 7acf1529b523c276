/* What an IMAP client can ask for. Limits of a command are raised where they would hide how a cost grows. */
#include "protocol/imap/imap_names.h"
#include "protocol/imap/imap_set.h"
#include "protocol/imap/imap_text.h"
#include "tests/cost/cost.h"
#include "tests/unit/protocol/support_client.h"

#include <stdlib.h>

enum { LINES_MAX = 64 << 20 };

static struct session_limits limits(void)
{
    struct session_limits l = session_limits_default;
    l.line_max = l.literal_max = LINES_MAX;
    l.bad_commands_max = 1000;
    return l;
}

/* A session with `n` messages in INBOX, selected. */
static void session_open(struct client *c, const struct session_limits *l, unsigned n, const char *mail)
{
    client_init(c);
    uint64_t account = fake_backend_account(c->fb, "a@b", "p"), inbox = fake_backend_find(c->fb, account, "INBOX");
    for (unsigned i = 0; i < n; i++)
        fake_backend_message(c->fb, inbox, slice_str(mail), 0, 0);
    c->peer.tls = true;
    client_attach(c, imap_session_new(&c->host, &c->fb->backend, &c->peer, l));
    client_say(c, "l LOGIN a@b p\r\ns SELECT INBOX\r\n");
    buf_clear(&c->out);
}

static void session_run(struct slice in, unsigned messages, const char *mail, size_t step)
{
    struct client c;
    struct session_limits l = limits();
    session_open(&c, &l, messages, mail);
    c.step = step;
    cost_begin();
    client_send(&c, in.p, in.n);
    client_close(&c);
}

static const char mail[] = "From: a@b\r\nSubject: x\r\nX-A: y\r\n\r\nbody\r\n";

static void with_one(struct slice in, unsigned n)
{
    (void)n;
    session_run(in, 1, mail, 0);
}
static void by_one(struct slice in, unsigned n)
{
    (void)n;
    session_run(in, 1, mail, 1);
}
static void with_all(struct slice in, unsigned n)
{
    session_run(in, n, mail, 0);
}
/* The mail is the input's own. */
static void with_mail(struct slice in, unsigned n)
{
    struct client c;
    struct session_limits l = limits();
    (void)n;
    client_init(&c);
    uint64_t account = fake_backend_account(c.fb, "a@b", "p");
    fake_backend_message(c.fb, fake_backend_find(c.fb, account, "INBOX"), in, 0, 0);
    c.peer.tls = true;
    client_attach(&c, imap_session_new(&c.host, &c.fb->backend, &c.peer, &l));
    client_say(&c, "l LOGIN a@b p\r\ns SELECT INBOX\r\n");
    cost_begin();
    client_say(&c, "a FETCH 1 (ENVELOPE BODY BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (Subject From)])\r\n"
                   "b FETCH 1 (BODY.PEEK[1.1.1.1.1] BODY.PEEK[HEADER.FIELDS.NOT (X-A)] RFC822.SIZE)\r\n"
                   "c SEARCH TEXT nowhere BODY nowhere SUBJECT nowhere HEADER X-A nowhere\r\n");
    client_close(&c);
}

#define SHAPE_REPEAT(function, before, text, after)                                                                    \
    static void function(unsigned n, struct buf *out)                                                                  \
    {                                                                                                                  \
        buf_append_str(out, before);                                                                                   \
        repeat(out, text, n);                                                                                          \
        buf_append_str(out, after);                                                                                    \
    }
SHAPE_REPEAT(headers, "", "X-A: b\r\n", "\r\nbody\r\n")
SHAPE_REPEAT(headers_named, "", "Subject: b\r\n", "\r\nbody\r\n")
SHAPE_REPEAT(parts, "Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\n\r\nx\r\n", "--b--\r\n")
SHAPE_REPEAT(addresses, "To: ", "a@b.test, ", "\r\n\r\n")
SHAPE_REPEAT(search_keys, "t SEARCH", " NOT SEEN", "\r\n")
SHAPE_REPEAT(search_nots, "t SEARCH", " NOT", " SEEN\r\n")
SHAPE_REPEAT(search_ors, "t SEARCH", " OR SEEN", " SEEN\r\n")
SHAPE_REPEAT(search_lists, "t SEARCH ", "(", "\r\n")
SHAPE_REPEAT(search_texts, "t SEARCH", " TEXT a", "\r\n")
SHAPE_REPEAT(search_sets, "t SEARCH", " 1", "\r\n")
SHAPE_REPEAT(literals, "t SEARCH", " SUBJECT {1+}\r\na", "\r\n")
SHAPE_REPEAT(literals_empty, "t LIST \"\" ", "{0+}\r\n", "\r\n")
SHAPE_REPEAT(commands, "", "a NOOP\r\n", "")
SHAPE_REPEAT(commands_empty, "", "\r\n", "")
SHAPE_REPEAT(long_line, "a ", "x", "\r\n")
SHAPE_REPEAT(quoted, "a SELECT \"", "\\\"", "\"\r\n")
SHAPE_REPEAT(fields, "a FETCH 1 BODY[HEADER.FIELDS (", "Subject ", "X)]\r\n")
SHAPE_REPEAT(store_flags, "a STORE 1 +FLAGS (", "kw ", "kw)\r\n")
SHAPE_REPEAT(patterns, "a LIST \"\" \"", "%a*", "\"\r\n")
SHAPE_REPEAT(utf7_names, "a SELECT \"", "&AOQ-", "\"\r\n")
SHAPE_REPEAT(levels, "a CREATE ", "a/", "b\r\n")
SHAPE_REPEAT(idles, "", "a IDLE\r\nDONE\r\n", "")
SHAPE_REPEAT(ids, "a ID (", "\"a\" NIL ", "\"b\" \"c\")\r\n")

/* Of n messages every other one goes, in another session. */
static void others_expunge(struct slice in, unsigned n, bool pruned)
{
    struct client c;
    struct session_limits l = limits();
    session_open(&c, &l, n, mail);
    uint64_t inbox = fake_backend_find(c.fb, 1, "INBOX");
    for (uint32_t uid = n - 1; uid > 1; uid -= 2)
        fake_backend_expunge(c.fb, inbox, uid);
    if (pruned)
        fake_backend_prune(c.fb, inbox);
    cost_begin();
    client_send(&c, in.p, in.n);
    client_close(&c);
}
static void expunged(struct slice in, unsigned n)
{
    others_expunge(in, n, false);
}
static void expunged_pruned(struct slice in, unsigned n)
{
    others_expunge(in, n, true);
}
static void noop(unsigned n, struct buf *out)
{
    (void)n;
    buf_append_str(out, "a NOOP\r\n");
}

/* What LIST and LSUB remember: the parents of n mailboxes, each noted twice, and asked for. */
static void parents(struct slice in, unsigned n)
{
    struct arena arena = {0};
    struct imap_names names = {.arena = &arena};
    char name[64];
    (void)in;
    for (unsigned i = 0; i < 4 * n; i++) {
        snprintf(name, sizeof name, "parent%u", i % (2 * n));
        if (i < 2 * n)
            imap_names_note(&names, slice_str(name));
        else
            (void)imap_names_take(&names, slice_str(name));
    }
    arena_close(&arena);
}

static void set_odd(unsigned n, struct buf *out)
{
    buf_append_str(out, "a UID FETCH 1");
    for (unsigned i = 1; i < n; i++)
        buf_printf(out, ",%u", 2 * i + 1);
    buf_append_str(out, " FLAGS\r\n");
}

static void set_falling(unsigned n, struct buf *out)
{
    buf_append_str(out, "a UID SEARCH UID 1");
    for (unsigned i = n; i > 1; i--)
        buf_printf(out, ",%u:%u", 2 * i, 2 * i);
    buf_append_str(out, "\r\n");
}

static void set_numbers(unsigned n, struct buf *out)
{
    buf_append_str(out, "a FETCH 1");
    for (unsigned i = n; i > 1; i--)
        buf_printf(out, ",%u", i);
    buf_append_str(out, " (UID FLAGS)\r\n");
}

static void fetch_all(unsigned n, struct buf *out)
{
    (void)n;
    buf_append_str(out, "a FETCH 1:* (FLAGS UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Subject)])\r\n");
}

static void search_all(unsigned n, struct buf *out)
{
    (void)n;
    buf_append_str(out, "a SEARCH UNSEEN SUBJECT x NOT TEXT nowhere\r\nb UID SEARCH RETURN (ALL) ALL\r\n");
}

static void store_all(unsigned n, struct buf *out)
{
    (void)n;
    buf_append_str(out, "a STORE 1:* +FLAGS (\\Deleted)\r\nb EXPUNGE\r\n");
}

/* ---- sets, apart from a session: spans against a mailbox with holes ---- */

static void spans_make(unsigned n, struct imap_span *spans, unsigned order)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t at = order == 0 ? i : order == 1 ? n - 1 - i : (uint32_t)((uint64_t)i * 7919 % n);
        spans[i] = (struct imap_span){1 + at, 1 + at};
    }
}

static void resolve(unsigned n, bool uid, unsigned order)
{
    struct uid_set map = {0}, out = {0};
    struct imap_span *spans = mem_alloc(n * sizeof *spans);
    struct imap_set set = {.spans = spans, .n = n};
    for (uint32_t i = 0; i < n; i++)
        uid_set_add(&map, 2 * i + 1, 2 * i + 1);
    spans_make(n, spans, order);
    for (unsigned i = 0; uid && i < n; i++)
        spans[i].first = spans[i].last = 2 * spans[i].first - 1;
    cost_begin();
    (void)imap_set_resolve(&set, uid, &map, NULL, &out);
    uid_set_close(&map);
    uid_set_close(&out);
    mem_free(spans);
}

static void nothing(unsigned n, struct buf *out)
{
    (void)n, (void)out;
}
static void resolve_rising(struct slice in, unsigned n)
{
    (void)in;
    resolve(n, false, 0);
}
static void resolve_falling(struct slice in, unsigned n)
{
    (void)in;
    resolve(n, false, 1);
}
static void resolve_mixed(struct slice in, unsigned n)
{
    (void)in;
    resolve(n, false, 2);
}
static void resolve_uids_falling(struct slice in, unsigned n)
{
    (void)in;
    resolve(n, true, 1);
}
static void resolve_uids_mixed(struct slice in, unsigned n)
{
    (void)in;
    resolve(n, true, 2);
}

enum { MANY = 512000, SOME = 16000, KEYS = 1900, SETS = 19000, MAILS = 4000 };

const struct shape shapes_imap[] = {
    {"FETCH and SEARCH of n headers", 1000, MANY, headers, with_mail},
    {"FETCH of n headers asked for", 1000, MANY, headers_named, with_mail},
    {"FETCH of n parts", 16, 1024, parts, with_mail},
    {"FETCH of n addresses", 1000, SOME, addresses, with_mail},
    {"SEARCH keys", 100, KEYS, search_keys, with_one},
    {"SEARCH keys, over the limit", 4000, 64000, search_keys, with_one},
    {"SEARCH NOT NOT", 100, SOME, search_nots, with_one},
    {"SEARCH OR OR", 100, SOME, search_ors, with_one},
    {"SEARCH (((", 100, SOME, search_lists, with_one},
    {"SEARCH TEXT keys", 100, KEYS, search_texts, with_one},
    {"SEARCH sets", 100, KEYS, search_sets, with_one},
    {"literals", 100, KEYS, literals, with_one},
    {"literals, by single octets", 100, KEYS, literals, by_one},
    {"literals, empty", 1000, SOME, literals_empty, with_one},
    {"commands", 1000, SOME, commands, with_one},
    {"commands, empty", 100, 900, commands_empty, with_one},
    {"long line", 1000, MANY, long_line, with_one},
    {"long line, by single octets", 1000, SOME, long_line, by_one},
    {"quoted string", 1000, SOME, quoted, with_one},
    {"header fields asked for", 100, 900, fields, with_one},
    {"header fields, over the limit", 2000, 32000, fields, with_one},
    {"keywords", 1000, SOME, store_flags, with_one},
    {"patterns", 50, 400, patterns, with_one},
    {"UTF-7 name", 100, SOME, utf7_names, with_one},
    {"levels", 100, SOME, levels, with_one},
    {"IDLE", 100, SOME, idles, with_one},
    {"ID", 100, SOME, ids, with_one},
    {"UID set, odd", 500, SETS, set_odd, with_one},
    {"UID set, falling", 500, SETS, set_falling, with_one},
    {"UID set, over the limit", 32000, 256000, set_odd, with_one},
    {"numbers, falling", 250, MAILS, set_numbers, with_all},
    {"FETCH of n messages", 250, MAILS, fetch_all, with_all},
    {"SEARCH of n messages", 250, MAILS, search_all, with_all},
    {"STORE and EXPUNGE of n messages", 250, MAILS, store_all, with_all},
    {"every other message expunged", 250, 32000, noop, expunged},
    {"the same, changes forgotten", 250, 32000, noop, expunged_pruned},
    {"names noted for LIST", 1000, 64000, nothing, parents},
    {"set: numbers", 500, SETS, nothing, resolve_rising},
    {"set: numbers, falling", 500, SETS, nothing, resolve_falling},
    {"set: numbers, mixed", 500, SETS, nothing, resolve_mixed},
    {"set: UIDs, falling", 500, SETS, nothing, resolve_uids_falling},
    {"set: UIDs, mixed", 500, SETS, nothing, resolve_uids_mixed},
    {0},
};
