#include "jepsen-like/workload.h"

#include "jepsen-like/nodes.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct verdict verdict;
atomic_bool clients_over;
unsigned client_pace = 1;

bool client_over(void)
{
    return clients_over;
}

void client_pause(struct client *c, unsigned ms)
{
    ms *= client_pace;
    sleep_ms(ms / 2 + rng_below(&c->rng, ms + 1));
}

uint64_t client_id_new(struct client *c)
{
    return (uint64_t)c->process << ID_SHIFT | ++c->last_id;
}

static unsigned node_random(struct client *c)
{
    return 1 + rng_below(&c->rng, nodes_count());
}

bool client_imap(struct client *c, const char *user, const char *mailbox)
{
    /* Now and then another node, so that sessions do not stay where they are for ever. */
    if (imap_usable(&c->imap) && rng_below(&c->rng, 100) == 0)
        imap_close(&c->imap);
    if ((imap_usable(&c->imap) || imap_open(&c->imap, node_random(c), user, COMMAND_TIMEOUT_MS)) &&
        (!mailbox || imap_select(&c->imap, mailbox, COMMAND_TIMEOUT_MS)))
        return true;
    imap_close(&c->imap);
    client_pause(c, 100);
    return false;
}

bool client_smtp(struct client *c)
{
    if (c->smtp.c.fd >= 0 && (!conn_idle(&c->smtp.c) || rng_below(&c->rng, 30) == 0))
        smtp_close(&c->smtp);
    if (c->smtp.c.fd >= 0 || smtp_open(&c->smtp, node_random(c), rng_below(&c->rng, 2), COMMAND_TIMEOUT_MS))
        return true;
    client_pause(c, 100);
    return false;
}

bool client_submission(struct client *c, const char *user)
{
    if (c->smtp.c.fd >= 0 && (!conn_idle(&c->smtp.c) || rng_below(&c->rng, 30) == 0))
        smtp_close(&c->smtp);
    if (c->smtp.c.fd >= 0 || smtp_open_submission(&c->smtp, node_random(c), user, COMMAND_TIMEOUT_MS))
        return true;
    client_pause(c, 100);
    return false;
}

bool client_pop3(struct client *c, const char *user)
{
    if (pop3_open(&c->pop3, node_random(c), user, COMMAND_TIMEOUT_MS))
        return true;
    client_pause(c, 100);
    return false;
}

struct op client_begin(const struct client *c, enum op_kind kind, unsigned node, uint64_t key)
{
    refusal_take(); /* of what was no operation, as a login */
    return (struct op){
        .process = c->process, .kind = (uint8_t)kind, .node = (uint8_t)node, .key = key, .start = now_ns()};
}

/* Whether the node was about to stop is the first thing to ask. */
static void refusal_tell(const struct op *op)
{
    uint64_t stopped = node_stopped_at(op->node);
    refusals_add("p%u n%u %s after %llu ms: %s (%lld ms after its last SIGTERM)", op->process, op->node,
                 history_kind_name(op->kind), (unsigned long long)((op->end - op->start) / NS_PER_MS), refusal_reply(),
                 stopped ? (long long)((op->end - stopped) / NS_PER_MS) : -1);
}

enum outcome client_end(struct op *op, enum outcome outcome)
{
    op->end = now_ns();
    op->outcome = (uint8_t)outcome;
    if (refusal_take() && outcome == OUTCOME_FAIL)
        refusal_tell(op);
    history_add(op);
    return outcome;
}

void client_append(struct client *c, const char *user, const char *mailbox, const char *group, uint64_t id)
{
    char command[100];
    snprintf(command, sizeof command, "APPEND %s", mailbox);
    message_make(&c->message, group, id, &c->rng);
    while (!client_imap(c, user, NULL) ||
           imap_literal(&c->imap, COMMAND_TIMEOUT_MS, command, c->message.p, c->message.n) != OUTCOME_OK)
        say("APPEND to %s of %s is tried again: %s", mailbox, user, c->imap.last.p ? c->imap.last.p : "");
}

void client_create(struct client *c, const char *user, const char *mailbox)
{
    while (!client_imap(c, user, NULL) ||
           imap_command(&c->imap, COMMAND_TIMEOUT_MS, "CREATE %s", mailbox) != OUTCOME_OK)
        say("CREATE %s of %s is tried again: %s", mailbox, user, c->imap.last.p ? c->imap.last.p : "");
}

void finding(unsigned *counter, const char *format, ...)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    char line[600];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    pthread_mutex_lock(&lock);
    if (++*counter <= 20)
        say("FOUND %s", line);
    pthread_mutex_unlock(&lock);
}
