/* POP3: what was delivered is in the next maildrop, a UIDL means one message for ever, DELE takes effect with QUIT's
 * +OK and only then. One client fills and empties the maildrop, so it knows what must be there. */
#include "jepsen-like/workload.h"

#include <stdio.h>
#include <string.h>

enum { MESSAGES_MAX = 20000, UIDL_MAX = 71 };

/* By the order of delivery. */
static struct message {
    uint64_t id;
    enum { THERE, GONE, MAYBE } state; /* MAYBE: an outcome is unknown, now and for ever */
    char uidl[UIDL_MAX];               /* empty: not seen yet */
    unsigned seen;                     /* in which login */
} messages[MESSAGES_MAX];
static size_t message_n;
static unsigned login_n;

static void deliver(struct client *c)
{
    if (message_n == MESSAGES_MAX || !client_smtp(c))
        return;
    struct message *m = &messages[message_n];
    m->id = client_id_new(c);
    message_make(&c->message, "pop", m->id, &c->rng);
    enum outcome o = smtp_deliver(&c->smtp, "pop", c->message.p, c->message.n, COMMAND_TIMEOUT_MS);
    if (o == OUTCOME_FAIL)
        m->state = GONE;
    else
        m->state = o == OUTCOME_OK ? THERE : MAYBE;
    message_n++;
}

static struct message *by_uidl(const char *uidl)
{
    for (size_t i = 0; i < message_n; i++)
        if (strcmp(messages[i].uidl, uidl) == 0)
            return &messages[i];
    return NULL;
}

/* Which message the number is, by its header. */
static struct message *by_top(struct client *c, unsigned number)
{
    uint64_t id;
    char group[MESSAGE_GROUP_MAX];
    if (pop3_command(&c->pop3, true, COMMAND_TIMEOUT_MS, "TOP %u 0", number) != OUTCOME_OK ||
        !message_header_parse(c->pop3.reply.p, group, &id))
        return NULL;
    for (size_t i = 0; i < message_n; i++)
        if (messages[i].id == id)
            return &messages[i];
    finding(&verdict.nonlinearizable, "the maildrop shows message %llx that nobody sent", (unsigned long long)id);
    return NULL;
}

/* Looks at a line of UIDL. Returns the message, NULL when the connection is lost or a finding was said. */
static struct message *listed(struct client *c, unsigned number, const char *uidl)
{
    struct message *m = by_uidl(uidl);
    if (!m || rng_below(&c->rng, 10) == 0) {
        struct message *real = by_top(c, number);
        if (!real)
            return NULL;
        if ((m && m != real) || (real->uidl[0] && strcmp(real->uidl, uidl) != 0))
            finding(&verdict.nonlinearizable, "UIDL %s on n%u is message %llx, which had %s", uidl, c->pop3.node,
                    (unsigned long long)real->id, real->uidl);
        m = real;
        snprintf(m->uidl, sizeof m->uidl, "%s", uidl);
    }
    if (m->state == GONE)
        finding(&verdict.stale, "message %llx with UIDL %s is in n%u's maildrop, though deleted or refused",
                (unsigned long long)m->id, uidl, c->pop3.node);
    m->seen = login_n;
    return m;
}

static void missing_check(unsigned node)
{
    for (size_t i = 0; i < message_n; i++)
        if (messages[i].state == THERE && messages[i].seen != login_n) {
            finding(&verdict.lost, "message %llx is not in n%u's maildrop", (unsigned long long)messages[i].id, node);
            messages[i].state = MAYBE; /* said once */
        }
}

/* Reads the whole list; some of what is there goes to some_r. Returns how many, -1 when the connection was lost. */
static int maildrop_read(struct client *c, struct message *some_r[4], unsigned numbers_r[4])
{
    struct text list = {0};
    unsigned number;
    char uidl[UIDL_MAX];
    int n = 0, used;
    struct op op = client_begin(c, OP_POP3_LIST, c->pop3.node, 0);
    enum outcome o = pop3_command(&c->pop3, true, COMMAND_TIMEOUT_MS, "UIDL");
    text_append(&list, c->pop3.reply.p, c->pop3.reply.n);
    const char *p = strchr(list.p, '\n');
    for (p = p ? p + 1 : ""; o == OUTCOME_OK && sscanf(p, "%u %70s\n%n", &number, uidl, &used) == 2; p += used) {
        struct message *m = listed(c, number, uidl);
        if (!m)
            o = OUTCOME_FAIL;
        else if (n < 4 && rng_below(&c->rng, 3) == 0) {
            some_r[n] = m;
            numbers_r[n++] = number;
        }
        op.a++;
    }
    text_free(&list);
    if (o == OUTCOME_OK)
        missing_check(c->pop3.node);
    client_end(&op, o == OUTCOME_INFO ? OUTCOME_FAIL : o);
    return o == OUTCOME_OK ? n : -1;
}

static void maildrop_empty(struct client *c, struct message *some[4], const unsigned numbers[4], int n)
{
    for (int i = 0; i < n; i++)
        if (pop3_command(&c->pop3, false, COMMAND_TIMEOUT_MS, "DELE %u", numbers[i]) != OUTCOME_OK)
            return; /* and no QUIT: nothing is deleted */
    if (rng_below(&c->rng, 3) == 0)
        return;
    struct op op = client_begin(c, OP_POP3_QUIT, c->pop3.node, 0);
    enum outcome o = pop3_command(&c->pop3, false, COMMAND_TIMEOUT_MS, "QUIT");
    op.a = n;
    for (int i = 0; i < n && o != OUTCOME_FAIL; i++)
        some[i]->state = o == OUTCOME_OK ? GONE : MAYBE;
    client_end(&op, o);
}

static void run(struct client *c)
{
    while (!client_over()) {
        struct message *some[4];
        unsigned numbers[4];
        for (unsigned i = 1 + rng_below(&c->rng, 4); i; i--)
            deliver(c);
        if (!client_pop3(c, "pop"))
            continue;
        login_n++;
        int n = maildrop_read(c, some, numbers);
        if (n > 0)
            maildrop_empty(c, some, numbers, n);
        pop3_close(&c->pop3);
        client_pause(c, 150);
    }
}

static void check(const struct dump *d, struct verdict *v)
{
    for (size_t i = 0; i < message_n; i++) {
        unsigned times = 0;
        for (size_t j = 0; j < d->n; j++)
            times += strcmp(d->messages[j].group, "pop") == 0 && d->messages[j].id == messages[i].id;
        if (times > 1)
            finding(&v->dup, "message %llx is %u times in the maildrop", (unsigned long long)messages[i].id, times);
        if (times == 0 && messages[i].state == THERE)
            finding(&v->lost, "message %llx is not in the maildrop", (unsigned long long)messages[i].id);
        if (times && messages[i].state == GONE)
            finding(&v->stale, "message %llx is in the maildrop, though deleted or refused",
                    (unsigned long long)messages[i].id);
    }
}

const struct workload workload_pop3 = {.name = "pop3", .user = "pop", .clients = 1, .run = run, .check = check};
