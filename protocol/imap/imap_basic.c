/* Commands that are about the session: CAPABILITY, NOOP, CHECK, ID, ENABLE, NAMESPACE, IDLE, LOGOUT. */
#include "protocol/imap/imap.h"

enum { ID_PAIRS_MAX = 30 }; /* RFC 2971 3.3 */

bool imap_no_args(struct imap *im, struct imap_args *a)
{
    (void)im;
    return a->error == NULL;
}

void imap_capability_write(const struct imap *im, struct buf *out)
{
    buf_append_str(out, "CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE");
    if (im->account == 0) {
        bool plain = im->s.peer.tls || !im->s.peer.tls_available;
        buf_append_str(out, plain ? " AUTH=PLAIN AUTH=LOGIN" : " STARTTLS LOGINDISABLED");
        return;
    }
    buf_append_str(out, " UIDPLUS MOVE NAMESPACE SPECIAL-USE CREATE-SPECIAL-USE UNSELECT CHILDREN LIST-EXTENDED"
                        " LIST-STATUS STATUS=SIZE ESEARCH SEARCHRES BINARY CONDSTORE OBJECTID MULTIAPPEND");
    buf_printf(out, " APPENDLIMIT=%zu", im->limits->message_max);
}

void imap_capability_run(struct imap *im)
{
    buf_append_str(&im->s.out, "* ");
    imap_capability_write(im, &im->s.out);
    buf_append_str(&im->s.out, "\r\n");
    imap_finish(im, "OK CAPABILITY completed");
}

void imap_noop_run(struct imap *im)
{
    imap_finish(im, "OK %s completed", im->command->name);
}

void imap_logout_run(struct imap *im)
{
    imap_box_close(im);
    imap_bye(im, "Logging out");
    imap_finish(im, "OK LOGOUT completed");
}

/* id-params-list = "(" *(string SP nstring) ")" / nil (RFC 2971) */
bool imap_id_parse(struct imap *im, struct imap_args *a)
{
    (void)im;
    imap_args_space(a);
    if (imap_args_nil(a) || !imap_args_char(a, '(') || imap_args_try(a, ')'))
        return a->error == NULL;
    unsigned n = 0;
    do {
        imap_args_string(a);
        imap_args_space(a);
        if (!imap_args_nil(a))
            imap_args_string(a);
        if (++n > ID_PAIRS_MAX)
            return imap_args_fail(a, "Too many fields");
    } while (imap_args_try(a, ' '));
    return imap_args_char(a, ')');
}

void imap_id_run(struct imap *im)
{
    buf_append_str(&im->s.out, "* ID (\"name\" \"Merlion\" \"version\" \"" MERLION_VERSION "\")\r\n");
    imap_finish(im, "OK ID completed");
}

struct enable {
    bool rev2, condstore;
};

bool imap_enable_parse(struct imap *im, struct imap_args *a)
{
    struct enable *e = im->data = arena_alloc(&im->arena, sizeof *e);
    imap_args_space(a);
    do {
        struct slice name = imap_args_atom(a);
        e->rev2 |= slice_ieq(name, SLICE_LITERAL("IMAP4rev2"));
        e->condstore |= slice_ieq(name, SLICE_LITERAL("CONDSTORE"));
    } while (imap_args_try(a, ' '));
    return a->error == NULL;
}

void imap_enable_run(struct imap *im)
{
    struct enable *e = im->data;
    buf_append_str(&im->s.out, "* ENABLED");
    if (e->rev2)
        buf_append_str(&im->s.out, " IMAP4rev2");
    if (e->condstore)
        buf_append_str(&im->s.out, " CONDSTORE");
    buf_append_str(&im->s.out, "\r\n");
    im->rev2 |= e->rev2;
    im->condstore |= e->condstore;
    imap_finish(im, "OK ENABLE completed");
}

void imap_namespace_run(struct imap *im)
{
    buf_append_str(&im->s.out, "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
    imap_finish(im, "OK NAMESPACE completed");
}

/* ---- IDLE (RFC 9051 6.3.13) ---- */

static void idle_line(struct imap *im, struct slice line)
{
    if (slice_ieq(line, SLICE_LITERAL("DONE")))
        imap_finish(im, "OK IDLE completed");
    else
        imap_finish_bad(im, "Expected DONE");
}

void imap_idle_run(struct imap *im)
{
    buf_append_str(&im->s.out, "+ idling\r\n");
    imap_input_reset(&im->in);
    buf_close(&im->in.line); /* an idle connection keeps no memory that it does not need */
    arena_close(&im->arena);
    im->in.raw = true;
    im->line = idle_line;
    im->s.blocked = false;
    im->watching = true;
    if (im->box != NULL && im->box->dirty)
        imap_updates_send(im, true);
    imap_wake(im);
}
