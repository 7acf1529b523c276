/* Mailboxes come, get other names and go. Each client has names of its own, so it knows which must exist; LIST on any
 * node must show these and no others, and a name that comes again has a higher UIDVALIDITY. */
#include "jepsen-like/workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 2, NAMES = 4 };

struct name {
    unsigned generation; /* names with an unknown outcome are left behind */
    bool there;
    uint64_t validity; /* of the last one with this name */
};
static struct name names[CLIENTS][NAMES];

static void name_write(char out[32], const struct client *c, unsigned i)
{
    snprintf(out, 32, "L%u_%u_%u", c->index, i, names[c->index][i].generation);
}

static void leave(struct name *n)
{
    *n = (struct name){.generation = n->generation + 1};
}

/* The name exists: its UIDVALIDITY must be higher than that of those before it. */
static void validity_check(struct client *c, struct name *n, const char *name)
{
    if (imap_command(&c->imap, COMMAND_TIMEOUT_MS, "STATUS %s (UIDVALIDITY)", name) != OUTCOME_OK)
        return;
    uint64_t validity = imap_number(c->imap.reply.p, "UIDVALIDITY ");
    if (validity <= n->validity)
        finding(&verdict.stale, "%s came again with UIDVALIDITY %llu after %llu", name, (unsigned long long)validity,
                (unsigned long long)n->validity);
    n->validity = validity;
}

static void create(struct client *c, struct name *n, const char *name)
{
    struct op op = client_begin(c, OP_CREATE, c->imap.node, n->generation);
    enum outcome o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "CREATE %s", name);
    if (o == OUTCOME_OK && n->there)
        finding(&verdict.nonlinearizable, "CREATE %s worked twice on n%u", name, c->imap.node);
    client_end(&op, o);
    if (o == OUTCOME_OK) {
        n->there = true;
        validity_check(c, n, name);
    } else if (o == OUTCOME_INFO) {
        leave(n);
    }
}

static void delete (struct client *c, struct name *n, const char *name)
{
    struct op op = client_begin(c, OP_DELETE, c->imap.node, n->generation);
    enum outcome o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "DELETE %s", name);
    if (o == OUTCOME_OK && !n->there)
        finding(&verdict.nonlinearizable, "DELETE %s worked on n%u, though it did not exist", name, c->imap.node);
    client_end(&op, o);
    if (o == OUTCOME_OK)
        n->there = false;
    else if (o == OUTCOME_INFO)
        leave(n);
}

static void rename_to(struct client *c, struct name *n, const char *name, struct name *to, const char *to_name)
{
    struct op op = client_begin(c, OP_RENAME, c->imap.node, n->generation);
    enum outcome o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "RENAME %s %s", name, to_name);
    if (o == OUTCOME_OK && (!n->there || to->there))
        finding(&verdict.nonlinearizable, "RENAME %s %s worked on n%u", name, to_name, c->imap.node);
    client_end(&op, o);
    if (o == OUTCOME_INFO) {
        leave(n);
        leave(to);
    } else if (o == OUTCOME_OK) {
        n->there = false;
        to->there = true;
        to->validity = n->validity > to->validity ? n->validity : to->validity;
    }
}

static bool listed(const char *reply, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = reply; (p = strstr(p, name)); p += n)
        if (p[n] == '\n' || p[n] == '"' || p[n] == '\r')
            return true;
    return false;
}

static void list(struct client *c)
{
    struct op op = client_begin(c, OP_LIST, c->imap.node, 0);
    enum outcome o = imap_command(&c->imap, COMMAND_TIMEOUT_MS, "LIST \"\" L%u_*", c->index);
    for (unsigned i = 0; i < NAMES && o == OUTCOME_OK; i++) {
        char name[32];
        name_write(name, c, i);
        bool there = listed(c->imap.reply.p, name);
        op.a += there;
        if (there && !names[c->index][i].there)
            finding(&verdict.stale, "LIST on n%u shows %s, which does not exist", c->imap.node, name);
        if (!there && names[c->index][i].there)
            finding(&verdict.stale, "LIST on n%u lacks %s", c->imap.node, name);
    }
    client_end(&op, o == OUTCOME_INFO ? OUTCOME_FAIL : o);
}

static void run(struct client *c)
{
    struct name *own = names[c->index];
    while (!client_over()) {
        char name[32], to_name[32];
        unsigned i = rng_below(&c->rng, NAMES), to = (i + 1) % NAMES;
        if (!client_imap(c, "life", NULL))
            continue;
        name_write(name, c, i);
        name_write(to_name, c, to);
        switch (rng_below(&c->rng, 5)) {
        case 0:
            create(c, &own[i], name);
            break;
        case 1:
            if (own[i].there)
                delete (c, &own[i], name);
            else
                create(c, &own[i], name);
            break;
        case 2:
            if (own[i].there && !own[to].there)
                rename_to(c, &own[i], name, &own[to], to_name);
            break;
        default:
            imap_close(&c->imap); /* what one node did, another one must show */
            if (client_imap(c, "life", NULL))
                list(c);
        }
        client_pause(c, 100);
    }
}

static void check(const struct dump *d, struct verdict *v)
{
    for (unsigned client = 0; client < CLIENTS; client++)
        for (unsigned i = 0; i < NAMES; i++) {
            char name[32];
            bool there = false;
            struct client c = {.index = client};
            name_write(name, &c, i);
            for (size_t m = 0; m < d->mailbox_n; m++)
                there = there || strcmp(d->mailboxes[m], name) == 0;
            if (there != names[client][i].there)
                finding(there ? &v->stale : &v->lost, "mailbox %s is%s there at the end", name, there ? "" : " not");
        }
}

const struct workload workload_lifecycle = {
    .name = "mailbox lifecycle", .user = "life", .clients = CLIENTS, .run = run, .check = check};
