#include "jepsen-like/dump.h"

#include "jepsen-like/imap.h"
#include "jepsen-like/pop3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Messages are fetched so many UIDs at a time: a machine that is busy takes its time for each. */
enum { TIMEOUT_MS = 60000, TRIES = 5, FETCH_UIDS = 500, HEAD_MAX = 1500 };

static void mailbox_add(struct dump *d, const char *name)
{
    d->mailboxes = xrealloc(d->mailboxes, (d->mailbox_n + 1) * sizeof *d->mailboxes);
    snprintf(d->mailboxes[d->mailbox_n++], sizeof *d->mailboxes, "%s", name);
}

/* "* LIST (\HasNoChildren) "/" INBOX": names of the test are atoms. */
static void list_parse(struct dump *d, char *reply)
{
    for (char *save, *line = strtok_r(reply, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *name = strrchr(line, ' ');
        if (strncmp(line, "* LIST ", 7) != 0 || !name)
            continue;
        name++;
        size_t n = strlen(name);
        if (n > 1 && name[0] == '"' && name[n - 1] == '"') {
            name[n - 1] = 0;
            name++;
        }
        mailbox_add(d, name);
    }
}

/* One response with its literal, if any. Returns what follows it. */
static const char *response_take(const char *p, const char *end, struct text *words, const char **literal, size_t *n)
{
    text_clear(words);
    *literal = NULL;
    *n = 0;
    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        if (!line_end)
            line_end = end;
        size_t before = words->n, size;
        text_append(words, p, (size_t)(line_end - p));
        p = line_end < end ? line_end + 1 : end;
        char *brace = strrchr(words->p + before, '{');
        if (!brace || sscanf(brace, "{%zu}", &size) != 1 || size > (size_t)(end - p))
            return p;
        *literal = p;
        *n = size;
        p += size;
    }
    return p;
}

static void foreign_note(struct dump_message *m, const char *bytes, size_t n)
{
    struct text head = {0};
    m->group[0] = 0;
    text_append(&head, bytes, n < HEAD_MAX ? n : HEAD_MAX);
    m->head = head.p;
}

static void fetch_parse(struct dump *d, const char *mailbox, const struct text *reply)
{
    struct text words = {0};
    const char *end = reply->p + reply->n, *literal;
    size_t n;
    for (const char *p = reply->p; p < end;) {
        p = response_take(p, end, &words, &literal, &n);
        text_printf(&d->told, "%s", words.p);
        if (literal) /* its bytes, as a sum: else five nodes' mail would be in memory at once */
            text_printf(&d->told, " %zu %016llx", n, (unsigned long long)fnv64(FNV64_START, literal, n));
        text_printf(&d->told, "\n");
        if (!literal || !strstr(words.p, " FETCH "))
            continue;
        d->messages = xrealloc(d->messages, (d->n + 1) * sizeof *d->messages);
        struct dump_message *m = &d->messages[d->n++];
        *m = (struct dump_message){.uid = imap_number(words.p, "UID")};
        snprintf(m->mailbox, sizeof m->mailbox, "%s", mailbox);
        if (!message_parse(literal, n, m->group, &m->id))
            foreign_note(m, literal, n);
    }
    text_free(&words);
}

static bool mailbox_dump(struct dump *d, struct imap *i, const char *name)
{
    text_printf(&d->told, "MAILBOX %s\n", name);
    if (imap_command(i, TIMEOUT_MS, "EXAMINE \"%s\"", name) != OUTCOME_OK)
        return false;
    text_append(&d->told, i->reply.p, i->reply.n);
    uint64_t next = imap_number(i->reply.p, "UIDNEXT ");
    for (uint64_t uid = 1; uid < next; uid += FETCH_UIDS) {
        if (imap_command(i, TIMEOUT_MS, "UID FETCH %llu:%llu (FLAGS INTERNALDATE MODSEQ RFC822.SIZE BODY.PEEK[])",
                         (unsigned long long)uid, (unsigned long long)(uid + FETCH_UIDS - 1)) != OUTCOME_OK)
            return false;
        fetch_parse(d, name, &i->reply);
    }
    return next > 0;
}

static bool imap_dump(struct dump *d, unsigned node, const char *user)
{
    struct imap i = {.c.fd = -1};
    bool ok = imap_open(&i, node, user, TIMEOUT_MS) && imap_command(&i, TIMEOUT_MS, "LIST \"\" *") == OUTCOME_OK;
    if (ok) {
        text_append(&d->told, i.reply.p, i.reply.n);
        list_parse(d, i.reply.p);
    }
    for (size_t m = 0; ok && m < d->mailbox_n; m++)
        ok = mailbox_dump(d, &i, d->mailboxes[m]);
    if (!ok)
        say("n%u does not tell the mail of %s: %s", node, user, i.last.p ? i.last.p : "no session");
    imap_free(&i);
    return ok;
}

static bool pop3_dump(struct dump *d, unsigned node, const char *user)
{
    struct pop3 p = {.c.fd = -1};
    bool ok = pop3_open(&p, node, user, TIMEOUT_MS);
    if (ok && (ok = pop3_command(&p, true, TIMEOUT_MS, "UIDL") == OUTCOME_OK))
        text_append(&d->told, p.reply.p, p.reply.n);
    if (ok && (ok = pop3_command(&p, true, TIMEOUT_MS, "LIST") == OUTCOME_OK))
        text_append(&d->told, p.reply.p, p.reply.n);
    ok = ok && pop3_command(&p, false, TIMEOUT_MS, "QUIT") == OUTCOME_OK;
    if (!ok)
        say("n%u does not tell the maildrop of %s: %s", node, user, p.reply.p ? p.reply.p : "no session");
    pop3_free(&p);
    return ok;
}

bool dump_make(struct dump *d, unsigned node, const char *user)
{
    for (unsigned i = 0; i < TRIES; i++) {
        *d = (struct dump){0};
        if (imap_dump(d, node, user) && pop3_dump(d, node, user))
            return true;
        dump_free(d);
        sleep_ms(500);
    }
    return false;
}

void dump_free(struct dump *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->messages[i].head);
    free(d->messages);
    free(d->mailboxes);
    text_free(&d->told);
    *d = (struct dump){0};
}
