/* Session state: one client fills and empties a mailbox, two watch it by IDLE, NOOP and FETCH and keep the sequence of
 * UIDs that EXISTS and EXPUNGE told them, one asks STATUS everywhere. A sequence number must always be the message that
 * the session was told it is, and UIDNEXT, HIGHESTMODSEQ and UIDVALIDITY must never fall from one answer to a later
 * question. */
#include "jepsen-like/workload.h"

#include <stdlib.h>
#include <string.h>

enum { WRITER, STATUS, WATCHERS, CLIENTS = 4, MESSAGES_MAX = 50000 };

/* ---- writer ---- */

static void expunge_some(struct client *c)
{
    if (!client_imap(c, "sess", "INBOX") || imap_command(&c->imap, COMMAND_TIMEOUT_MS, "NOOP") != OUTCOME_OK ||
        imap_command(&c->imap, COMMAND_TIMEOUT_MS, "UID SEARCH ALL") != OUTCOME_OK)
        return;
    const char *p = strstr(c->imap.reply.p, "SEARCH");
    uint64_t picked = 0;
    unsigned n = 0;
    for (p = p ? p + 6 : ""; *p == ' ';) {
        uint64_t uid = strtoull(p + 1, (char **)&p, 10);
        if (rng_below(&c->rng, ++n) == 0)
            picked = uid;
    }
    if (n < 4)
        return;
    struct op op = client_begin(c, OP_EXPUNGE, c->imap.node, 1000);
    op.a = (int64_t)picked;
    enum outcome o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "UID STORE %llu +FLAGS.SILENT (\\Deleted)",
                                  (unsigned long long)picked);
    if (o == OUTCOME_OK)
        o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "EXPUNGE");
    client_end(&op, o);
}

static void write_run(struct client *c)
{
    while (!client_over()) {
        if (rng_below(&c->rng, 2))
            expunge_some(c);
        if (!client_smtp(c))
            continue;
        message_make(&c->message, "sess", client_id_new(c), &c->rng);
        smtp_deliver(&c->smtp, "sess", c->message.p, c->message.n, COMMAND_TIMEOUT_MS);
        client_pause(c, 150);
    }
}

/* ---- status ---- */

static void status_run(struct client *c)
{
    while (!client_over()) {
        if (rng_below(&c->rng, 4) == 0)
            imap_close(&c->imap);
        if (!client_imap(c, "sess", NULL))
            continue;
        struct op op = client_begin(c, OP_STATUS, c->imap.node, 0);
        enum outcome o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "STATUS INBOX (UIDNEXT UIDVALIDITY HIGHESTMODSEQ)");
        op.a = (int64_t)imap_number(c->imap.reply.p, "UIDNEXT ");
        op.b = (int64_t)imap_number(c->imap.reply.p, "HIGHESTMODSEQ ");
        op.c = (int64_t)imap_number(c->imap.reply.p, "UIDVALIDITY ");
        client_end(&op, o == OUTCOME_INFO ? OUTCOME_FAIL : o);
        client_pause(c, 60);
    }
}

/* ---- watchers: the session's sequence, as it was told ---- */

struct view {
    uint64_t *uids; /* by sequence number from 1; 0: not yet asked for */
    size_t n;
    bool broken; /* said already: leave this session */
};

static void view_bad(struct view *w, struct client *c, const char *what, uint64_t seq)
{
    if (!w->broken)
        finding(&verdict.nonlinearizable, "session of p%u on n%u: %s %llu of %zu: %.300s", c->process, c->imap.node,
                what, (unsigned long long)seq, w->n, c->imap.reply.p);
    w->broken = true;
}

static void view_exists(struct view *w, struct client *c, uint64_t n)
{
    if (n < w->n || n > MESSAGES_MAX) {
        view_bad(w, c, "EXISTS falls to", n);
        return;
    }
    while (w->n < n)
        w->uids[++w->n] = 0;
}

static void view_expunge(struct view *w, struct client *c, uint64_t seq)
{
    if (seq == 0 || seq > w->n) {
        view_bad(w, c, "EXPUNGE of", seq);
        return;
    }
    memmove(&w->uids[seq], &w->uids[seq + 1], (w->n - seq) * sizeof *w->uids);
    w->n--;
}

static void view_fetch(struct view *w, struct client *c, uint64_t seq, uint64_t uid)
{
    if (seq == 0 || seq > w->n)
        view_bad(w, c, "FETCH of", seq);
    else if (uid && w->uids[seq] && w->uids[seq] != uid)
        view_bad(w, c, "another UID at", seq);
    else if (uid)
        w->uids[seq] = uid;
}

/* Takes the untagged responses of the last command into the view. */
static void view_take(struct view *w, struct client *c, bool fetching)
{
    const char *p = c->imap.reply.p;
    for (size_t n; *p && !w->broken; p += n + (p[n] == '\n')) {
        n = strcspn(p, "\n");
        char *end;
        if (strncmp(p, "* ", 2) != 0 || p[2] < '0' || p[2] > '9')
            continue;
        uint64_t number = strtoull(p + 2, &end, 10);
        if (strncmp(end, " EXISTS", 7) == 0)
            view_exists(w, c, number);
        else if (strncmp(end, " EXPUNGE", 8) == 0 && fetching)
            view_bad(w, c, "EXPUNGE during FETCH of", number);
        else if (strncmp(end, " EXPUNGE", 8) == 0)
            view_expunge(w, c, number);
        else if (strncmp(end, " FETCH ", 7) == 0) {
            char *line = strndup(p, n);
            view_fetch(w, c, number, imap_number(line, "UID "));
            free(line);
        }
    }
}

/* n: those that the session knew when it asked. EXISTS may come after their FETCH. */
static void view_ascends(struct view *w, struct client *c, size_t n)
{
    for (size_t i = 1; i <= n && !w->broken; i++) {
        if (w->uids[i] == 0)
            view_bad(w, c, "FETCH 1:* leaves out", i);
        else if (i > 1 && w->uids[i] <= w->uids[i - 1])
            view_bad(w, c, "UIDs do not ascend at", i);
    }
}

/* One round in a session. Returns whether it can go on. */
static bool watch(struct client *c, struct view *w)
{
    struct op op = client_begin(c, OP_WATCH, c->imap.node, 0);
    enum outcome o = rng_below(&c->rng, 2) ? imap_idle(&c->imap, 100 + rng_below(&c->rng, 400), COMMAND_TIMEOUT_MS)
                                           : imap_command(&c->imap, COMMAND_TIMEOUT_MS, "NOOP");
    if (o != OUTCOME_INFO) /* a NO may tell news too */
        view_take(w, c, false);
    if (o == OUTCOME_OK && w->n) {
        size_t n = w->n;
        o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "FETCH 1:* (UID)");
        if (o != OUTCOME_INFO)
            view_take(w, c, true);
        if (o == OUTCOME_OK)
            view_ascends(w, c, n);
    }
    op.a = (int64_t)w->n;
    client_end(&op, o == OUTCOME_INFO ? OUTCOME_FAIL : o);
    return o != OUTCOME_INFO && c->imap.c.fd >= 0 && !w->broken;
}

static void watch_run(struct client *c)
{
    struct view w = {xzalloc((MESSAGES_MAX + 2) * sizeof *w.uids), 0, false};
    while (!client_over()) {
        imap_close(&c->imap);
        if (!client_imap(c, "sess", "INBOX"))
            continue;
        w.n = 0;
        w.broken = false;
        view_take(&w, c, false); /* SELECT's EXISTS */
        while (!client_over() && watch(c, &w))
            client_pause(c, 60);
    }
    free(w.uids);
}

static void run(struct client *c)
{
    if (c->index == WRITER)
        write_run(c);
    else if (c->index == STATUS)
        status_run(c);
    else
        watch_run(c);
}

/* ---- check ---- */

static int by_start(const void *a, const void *b)
{
    const struct op *const *x = a, *const *y = b;
    return (*x)->start < (*y)->start ? -1 : (*x)->start > (*y)->start;
}

static int by_end(const void *a, const void *b)
{
    const struct op *const *x = a, *const *y = b;
    return (*x)->end < (*y)->end ? -1 : (*x)->end > (*y)->end;
}

static void check(const struct dump *d, struct verdict *v)
{
    size_t n, k = 0, e = 0;
    const struct op *ops = history_ops(&n);
    const struct op **starts = xzalloc((n + 1) * sizeof *starts), **ends = xzalloc((n + 1) * sizeof *ends);
    int64_t most[3] = {0, 0, 0};
    (void)d;
    for (size_t i = 0; i < n; i++)
        if (ops[i].kind == OP_STATUS && ops[i].outcome == OUTCOME_OK)
            starts[k] = ends[k] = &ops[i], k++;
    qsort(starts, k, sizeof *starts, by_start);
    qsort(ends, k, sizeof *ends, by_end);
    for (size_t i = 0; i < k; i++) {
        const struct op *o = starts[i];
        for (; e < k && ends[e]->end < o->start; e++) {
            most[0] = ends[e]->a > most[0] ? ends[e]->a : most[0];
            most[1] = ends[e]->b > most[1] ? ends[e]->b : most[1];
            most[2] = ends[e]->c > most[2] ? ends[e]->c : most[2];
        }
        if (o->a < most[0] || o->b < most[1] || o->c < most[2])
            finding(&v->stale,
                    "STATUS on n%u told UIDNEXT %lld HIGHESTMODSEQ %lld UIDVALIDITY %lld after %lld %lld %lld", o->node,
                    (long long)o->a, (long long)o->b, (long long)o->c, (long long)most[0], (long long)most[1],
                    (long long)most[2]);
    }
    free(ends);
    free(starts);
}

const struct workload workload_session = {
    .name = "session state", .user = "sess", .clients = CLIENTS, .run = run, .check = check};
