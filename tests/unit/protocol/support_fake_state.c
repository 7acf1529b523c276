#include "tests/unit/protocol/support_fake_state.h"

#include "protocol/mime/summary.h"

struct fake_account *fake_account_by_address(struct fake_backend *fb, struct slice address)
{
    struct fake_account *a = fb->accounts;
    while (a != NULL && !slice_ieq(slice_str(a->address), address))
        a = a->next;
    return a;
}

struct fake_account *fake_account_get(struct fake_backend *fb, uint64_t id)
{
    struct fake_account *a = fb->accounts;
    while (a != NULL && a->id != id)
        a = a->next;
    return a;
}

struct fake_content *fake_content_find(struct fake_backend *fb, const struct body_hash *hash)
{
    struct fake_content *c = fb->contents;
    while (c != NULL && !body_hash_eq(&c->hash, hash))
        c = c->next;
    return c;
}

struct fake_mailbox *fake_mailbox_get(struct fake_backend *fb, uint64_t id)
{
    struct fake_mailbox *m = fb->mailboxes;
    while (m != NULL && (m->id != id || m->dropped))
        m = m->next;
    return m;
}

struct fake_mailbox *fake_mailbox_named(struct fake_backend *fb, uint64_t account, struct slice name)
{
    if (slice_ieq(name, SLICE_LITERAL("INBOX")))
        name = SLICE_LITERAL("INBOX");
    struct fake_mailbox *m = fb->mailboxes;
    while (m != NULL && !(m->account == account && slice_eq(slice_str(m->name), name)))
        m = m->next;
    return m;
}

struct fake_mailbox *fake_mailbox_make(struct fake_backend *fb, uint64_t account, struct slice name)
{
    struct fake_mailbox *m = mem_zalloc(sizeof *m);
    m->id = fb->next_id++;
    m->account = account;
    m->name = mem_strndup(name);
    m->uidvalidity = (uint32_t)(1000 + m->id);
    m->uidnext = 1;
    m->highest_modseq = ++fb->modseq;
    m->next = fb->mailboxes;
    fb->mailboxes = m;
    return m;
}

static void mailbox_free(struct fake_mailbox *m)
{
    for (unsigned i = 0; i < m->keyword_n; i++)
        mem_free(m->keyword[i]);
    mem_free(m->name);
    mem_free(m->messages);
    mem_free(m->gone);
    mem_free(m);
}

/* Stays as a nameless ghost, so that its watchers can be told. */
void fake_mailbox_drop(struct fake_mailbox *m)
{
    m->dropped = m->dirty = true;
    m->account = 0;
    m->name[0] = 0;
}

bool fake_mailbox_has_children(struct fake_backend *fb, const struct fake_mailbox *m)
{
    size_t n = strlen(m->name);
    for (struct fake_mailbox *c = fb->mailboxes; c != NULL; c = c->next)
        if (c->account == m->account && strncmp(c->name, m->name, n) == 0 && c->name[n] == '/')
            return true;
    return false;
}

static struct fake_content *content_put(struct fake_backend *fb, struct bytes *body)
{
    struct body_hash hash = body_hash_of(bytes_slice(body));
    struct fake_content *c = fake_content_find(fb, &hash);
    if (c != NULL)
        return c;
    c = mem_zalloc(sizeof *c);
    c->hash = hash;
    c->body = bytes_ref(body);
    mime_summary_build(bytes_slice(body), &c->summary);
    c->next = fb->contents;
    fb->contents = c;
    return c;
}

uint32_t fake_mailbox_add(struct fake_backend *fb, struct fake_mailbox *m, struct bytes *body, uint32_t flags,
                          uint64_t keywords, int64_t internal_ms, uint64_t email_id)
{
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 16;
        m->messages = mem_realloc(m->messages, m->cap * sizeof *m->messages);
    }
    m->messages[m->n++] = (struct message_info){
        .uid = m->uidnext++,
        .flags = flags,
        .keywords = keywords,
        .modseq = fb->modseq,
        .internal_ms = internal_ms,
        .save_ms = fb->now_ms,
        .size = body->n,
        .hash = content_put(fb, body)->hash,
        .email_id = email_id ? email_id : fb->next_id++,
    };
    m->highest_modseq = fb->modseq;
    m->dirty = true;
    return m->uidnext - 1;
}

void fake_mailbox_remove(struct fake_backend *fb, struct fake_mailbox *m, size_t at)
{
    if ((m->gone_n & (m->gone_n - 1)) == 0) /* full: it holds the next power of two */
        m->gone = mem_realloc(m->gone, (m->gone_n ? 2 * m->gone_n : 1) * sizeof *m->gone);
    m->gone[m->gone_n++] = (struct fake_gone){m->messages[at].uid, fb->modseq};
    m->n--;
    memmove(m->messages + at, m->messages + at + 1, (m->n - at) * sizeof *m->messages);
    m->highest_modseq = fb->modseq;
    m->dirty = true;
}

uint64_t fake_mailbox_keyword(struct fake_mailbox *m, struct slice name)
{
    for (unsigned i = 0; i < m->keyword_n; i++)
        if (slice_ieq(slice_str(m->keyword[i]), name))
            return (uint64_t)1 << i;
    if (m->keyword_n == KEYWORDS_MAX)
        return 0;
    m->keyword[m->keyword_n] = mem_strndup(name);
    return (uint64_t)1 << m->keyword_n++;
}

uint64_t fake_account_used(struct fake_backend *fb, uint64_t account)
{
    uint64_t used = 0;
    for (struct fake_mailbox *m = fb->mailboxes; m != NULL; m = m->next)
        for (size_t i = 0; m->account == account && i < m->n; i++)
            used += m->messages[i].size;
    return used;
}

void fake_state_free(struct fake_backend *fb)
{
    for (struct fake_mailbox *m = fb->mailboxes, *next; m != NULL; m = next) {
        next = m->next;
        mailbox_free(m);
    }
    for (struct fake_account *a = fb->accounts, *next; a != NULL; a = next) {
        next = a->next;
        for (size_t i = 0; i < a->subscribed_n; i++)
            mem_free(a->subscribed[i]);
        mem_free(a->subscribed);
        mem_free(a->address);
        mem_free(a->password);
        mem_free(a);
    }
    for (struct fake_address *a = fb->addresses, *next; a != NULL; a = next) {
        next = a->next;
        mem_free(a->name);
        mem_free(a);
    }
    for (struct fake_sender *s = fb->senders, *next; s != NULL; s = next) {
        next = s->next;
        mem_free(s->address);
        mem_free(s);
    }
    bytes_unref(&fb->queued);
    for (struct fake_content *c = fb->contents, *next; c != NULL; c = next) {
        next = c->next;
        bytes_unref(&c->body);
        buf_close(&c->summary);
        mem_free(c);
    }
}

/* ---- what tests set up ---- */

uint64_t fake_backend_account(struct fake_backend *fb, const char *address, const char *password)
{
    struct fake_account *a = mem_zalloc(sizeof *a);
    a->id = fb->next_id++;
    a->address = mem_strdup(address);
    a->password = mem_strdup(password);
    a->next = fb->accounts;
    fb->accounts = a;
    fake_mailbox_make(fb, a->id, SLICE_LITERAL("INBOX"));
    fake_backend_address(fb, address, RECIPIENT_LOCAL, &a->id, 1);
    return a->id;
}

void fake_backend_quota(struct fake_backend *fb, uint64_t account, uint64_t bytes)
{
    fake_account_get(fb, account)->quota = bytes;
}

uint64_t fake_backend_mailbox(struct fake_backend *fb, uint64_t account, const char *name)
{
    struct fake_mailbox *m = fake_mailbox_named(fb, account, slice_str(name));
    return m ? m->id : fake_mailbox_make(fb, account, slice_str(name))->id;
}

uint64_t fake_backend_find(struct fake_backend *fb, uint64_t account, const char *name)
{
    struct fake_mailbox *m = fake_mailbox_named(fb, account, slice_str(name));
    return m ? m->id : 0;
}

uint32_t fake_backend_message(struct fake_backend *fb, uint64_t mailbox, struct slice text, uint32_t flags,
                              int64_t internal_ms)
{
    struct bytes *body = bytes_copy(text);
    fb->modseq++;
    uint32_t uid = fake_mailbox_add(fb, fake_mailbox_get(fb, mailbox), body, flags, 0, internal_ms, 0);
    bytes_unref(&body);
    return uid;
}

static size_t message_at(const struct fake_mailbox *m, uint32_t uid)
{
    size_t i = 0;
    while (i < m->n && m->messages[i].uid != uid)
        i++;
    return i;
}

void fake_backend_flags(struct fake_backend *fb, uint64_t mailbox, uint32_t uid, uint32_t flags)
{
    struct fake_mailbox *m = fake_mailbox_get(fb, mailbox);
    struct message_info *i = &m->messages[message_at(m, uid)];
    i->flags = flags;
    m->highest_modseq = i->modseq = ++fb->modseq;
    m->dirty = true;
}

void fake_backend_expunge(struct fake_backend *fb, uint64_t mailbox, uint32_t uid)
{
    struct fake_mailbox *m = fake_mailbox_get(fb, mailbox);
    fb->modseq++;
    fake_mailbox_remove(fb, m, message_at(m, uid));
}

void fake_backend_prune(struct fake_backend *fb, uint64_t mailbox)
{
    struct fake_mailbox *m = fake_mailbox_get(fb, mailbox);
    m->pruned = fb->modseq;
    m->gone_n = 0;
}

uint32_t fake_backend_count(struct fake_backend *fb, uint64_t mailbox)
{
    return (uint32_t)fake_mailbox_get(fb, mailbox)->n;
}

struct slice fake_backend_body(struct fake_backend *fb, uint64_t mailbox, uint32_t uid)
{
    struct fake_mailbox *m = fake_mailbox_get(fb, mailbox);
    size_t at = m ? message_at(m, uid) : 0;
    if (m == NULL || at == m->n)
        return (struct slice){NULL, 0};
    return bytes_slice(fake_content_find(fb, &m->messages[at].hash)->body);
}
