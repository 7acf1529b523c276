/* Tokens: messages that clients MOVE between three mailboxes, contending, COPY to a mailbox of their own and expunge
 * there. However that goes, each token is in exactly one of the three, and a copy is where its COPYUID said until it
 * was expunged. */
#include "jepsen-like/workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 12, CLIENTS = 3, COPIES_MAX = 20000 };
static const char *const places[] = {"Ta", "Tb", "Tc"};

/* A copy that a client made, or may have made. */
struct copy {
    uint64_t token, uid; /* UID 0: unknown outcome */
    enum { COPY_THERE, COPY_GONE, COPY_UNKNOWN } state;
};

static struct own {
    struct copy copies[COPIES_MAX];
    size_t n;
} own[CLIENTS];

static void prepare(struct client *c)
{
    char name[16];
    for (unsigned i = 0; i < 3; i++)
        client_create(c, "tok", places[i]);
    for (unsigned i = 0; i < CLIENTS; i++) {
        snprintf(name, sizeof name, "Own%u", i);
        client_create(c, "tok", name);
    }
    for (uint64_t id = 0; id < TOKENS; id++)
        client_append(c, "tok", places[id % 3], "tok", id);
}

/* A random message of the selected mailbox. Says when a token is there twice. */
static bool token_pick(struct client *c, uint64_t *uid_r, uint64_t *token_r)
{
    unsigned times[TOKENS] = {0}, n = 0;
    char group[MESSAGE_GROUP_MAX];
    if (imap_command(&c->imap, COMMAND_TIMEOUT_MS, "UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Jep)])") != OUTCOME_OK)
        return false;
    for (const char *p = c->imap.reply.p; (p = strstr(p, " FETCH (")); p++) {
        uint64_t uid = imap_number(p, "UID "), token;
        if (!message_header_parse(p, group, &token) || token >= TOKENS)
            continue;
        if (++times[token] > 1)
            finding(&verdict.dup, "token %llu is twice in %s on n%u", (unsigned long long)token, c->imap.selected,
                    c->imap.node);
        if (rng_below(&c->rng, ++n) == 0) {
            *uid_r = uid;
            *token_r = token;
        }
    }
    return n > 0;
}

static void token_move(struct client *c, uint64_t uid, uint64_t token)
{
    const char *to = places[rng_below(&c->rng, 3)];
    if (strcmp(to, c->imap.selected) == 0)
        return;
    struct op op = client_begin(c, OP_MOVE, c->imap.node, token);
    enum outcome o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "UID MOVE %llu %s", (unsigned long long)uid, to);
    client_end(&op, o);
}

/* The destination's UID in COPYUID (RFC 4315): 0 when nothing was copied. */
static uint64_t copyuid(const struct imap *i)
{
    unsigned long long validity, from, to;
    const char *p = strstr(i->last.p, "[COPYUID ");
    if (!p)
        p = strstr(i->reply.p, "[COPYUID ");
    return p && sscanf(p, "[COPYUID %llu %llu %llu]", &validity, &from, &to) == 3 ? to : 0;
}

static void token_copy(struct client *c, uint64_t uid, uint64_t token)
{
    struct own *o = &own[c->index];
    if (o->n == COPIES_MAX)
        return;
    struct op op = client_begin(c, OP_COPY, c->imap.node, token);
    enum outcome r =
        imap_command(&c->imap, COMMAND_TIMEOUT_MS, "UID COPY %llu Own%u", (unsigned long long)uid, c->index);
    if (r == OUTCOME_OK)
        op.a = (int64_t)copyuid(&c->imap);
    client_end(&op, r);
    if (r == OUTCOME_INFO)
        o->copies[o->n++] = (struct copy){token, 0, COPY_UNKNOWN};
    else if (r == OUTCOME_OK && op.a) /* without COPYUID another client had moved it away */
        o->copies[o->n++] = (struct copy){token, (uint64_t)op.a, COPY_THERE};
}

static void copy_expunge(struct client *c)
{
    struct own *o = &own[c->index];
    char name[16];
    snprintf(name, sizeof name, "Own%u", c->index);
    struct copy *copy = o->n ? &o->copies[rng_below(&c->rng, (unsigned)o->n)] : NULL;
    if (!copy || copy->state != COPY_THERE || !client_imap(c, "tok", name))
        return;
    unsigned long long uid = copy->uid;
    struct op op = client_begin(c, OP_EXPUNGE, c->imap.node, copy->token);
    op.a = (int64_t)copy->uid;
    enum outcome r = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "UID STORE %llu +FLAGS.SILENT (\\Deleted)", uid);
    if (r == OUTCOME_OK) {
        r = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "UID EXPUNGE %llu", uid);
        copy->state = r == OUTCOME_OK ? COPY_GONE : r == OUTCOME_INFO ? COPY_UNKNOWN : COPY_THERE;
    }
    client_end(&op, r);
}

static void run(struct client *c)
{
    while (!client_over()) {
        uint64_t uid, token;
        if (rng_below(&c->rng, 3) == 0)
            copy_expunge(c);
        if (!client_imap(c, "tok", NULL))
            continue;
        c->imap.selected[0] = 0; /* select anew: others move tokens in and out */
        if (imap_select(&c->imap, places[rng_below(&c->rng, 3)], COMMAND_TIMEOUT_MS) && token_pick(c, &uid, &token)) {
            if (rng_below(&c->rng, 3))
                token_move(c, uid, token);
            else
                token_copy(c, uid, token);
        }
        client_pause(c, 80);
    }
}

/* ---- check ---- */

static void places_check(const struct dump *d, struct verdict *v)
{
    for (uint64_t token = 0; token < TOKENS; token++) {
        unsigned times = 0;
        for (size_t i = 0; i < d->n; i++)
            times += d->messages[i].mailbox[0] == 'T' && strcmp(d->messages[i].group, "tok") == 0 &&
                     d->messages[i].id == token;
        if (times == 0)
            finding(&v->lost, "token %llu is gone", (unsigned long long)token);
        if (times > 1)
            finding(&v->dup, "token %llu is there %u times", (unsigned long long)token, times);
    }
}

static const struct dump_message *find(const struct dump *d, const char *mailbox, uint64_t uid)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->messages[i].uid == uid && strcmp(d->messages[i].mailbox, mailbox) == 0)
            return &d->messages[i];
    return NULL;
}

static void copies_check(const struct dump *d, unsigned client, struct verdict *v)
{
    char name[16];
    size_t unknown = 0, expected = 0, there = 0;
    snprintf(name, sizeof name, "Own%u", client);
    for (size_t i = 0; i < own[client].n; i++) {
        const struct copy *c = &own[client].copies[i];
        const struct dump_message *m = c->uid ? find(d, name, c->uid) : NULL;
        unknown += c->uid == 0;
        expected += m != NULL;
        if (c->state == COPY_THERE && !m)
            finding(&v->lost, "copy %llu of token %llu in %s is gone", (unsigned long long)c->uid,
                    (unsigned long long)c->token, name);
        if (c->state == COPY_GONE && m)
            finding(&v->stale, "expunged copy %llu of token %llu in %s is there", (unsigned long long)c->uid,
                    (unsigned long long)c->token, name);
        if (m && m->id != c->token)
            finding(&v->nonlinearizable, "copy %llu in %s is of token %llu, not %llu", (unsigned long long)c->uid, name,
                    (unsigned long long)m->id, (unsigned long long)c->token);
    }
    for (size_t i = 0; i < d->n; i++)
        there += strcmp(d->messages[i].mailbox, name) == 0;
    if (there > expected + unknown)
        finding(&v->dup, "%s holds %zu copies that nobody made", name, there - expected - unknown);
}

static void check(const struct dump *d, struct verdict *v)
{
    places_check(d, v);
    for (unsigned i = 0; i < CLIENTS; i++)
        copies_check(d, i, v);
}

const struct workload workload_token = {
    .name = "token conservation", .user = "tok", .clients = CLIENTS, .prepare = prepare, .run = run, .check = check};
