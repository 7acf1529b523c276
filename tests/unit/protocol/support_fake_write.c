#include "tests/unit/protocol/support_fake_state.h"

static bool over_quota(struct fake_backend *fb, uint64_t account, uint64_t more)
{
    struct fake_account *a = fake_account_get(fb, account);
    return a->quota > 0 && fake_account_used(fb, account) + more > a->quota;
}

static uint64_t keyword_bits(struct fake_mailbox *m, const struct slice *names, unsigned n)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < n; i++)
        bits |= fake_mailbox_keyword(m, names[i]);
    return bits;
}

/* "queue from joe@b.test by 1: ann@a.test[rfc822;x]2 …" and what is true of the item. */
static void deliver_foreign(struct fake_backend *fb, struct write *w)
{
    buf_printf(&fb->trace, "queue from <%.*s> by %llu:", (int)w->sender.n, (const char *)w->sender.p,
               (unsigned long long)w->submitter);
    for (unsigned i = 0; i < w->foreign_n; i++) {
        const struct foreign_recipient *r = &w->foreign[i];
        buf_printf(&fb->trace, " %.*s", (int)r->address.n, (const char *)r->address.p);
        if (r->orcpt.n > 0)
            buf_printf(&fb->trace, "[%.*s]", (int)r->orcpt.n, (const char *)r->orcpt.p);
        if (r->notify != 0)
            buf_printf(&fb->trace, "%u", r->notify);
    }
    buf_printf(&fb->trace, "%s%s%s%s%s", w->utf8 ? " utf8" : "", w->eight ? " eight" : "", w->binary ? " binary" : "",
               w->ret_full ? " full" : "", w->ret_headers ? " headers" : "");
    if (w->envid.n > 0)
        buf_printf(&fb->trace, " envid=%.*s", (int)w->envid.n, (const char *)w->envid.p);
    buf_append_str(&fb->trace, "\n");
    ENSURE(w->skip <= w->messages[0].body->n);
    bytes_unref(&fb->queued);
    fb->queued = bytes_ref(w->messages[0].body);
    fb->queued_skip = w->skip;
}

static int write_deliver(struct fake_backend *fb, struct write *w)
{
    struct write_message *msg = &w->messages[0];
    buf_printf(&fb->trace, "deliver %u\n", w->account_n);
    if (w->foreign_n > 0)
        deliver_foreign(fb, w);
    for (unsigned i = 0; i < w->account_n; i++) {
        struct fake_mailbox *m = fake_mailbox_named(fb, w->accounts[i], SLICE_LITERAL("INBOX"));
        int status = m == NULL ? ERR_NOTFOUND : over_quota(fb, w->accounts[i], msg->body->n) ? ERR_QUOTA : 0;
        if (status == 0)
            fake_mailbox_add(fb, m, msg->body, msg->flags, keyword_bits(m, msg->keywords, msg->keyword_n),
                             msg->internal_ms, 0);
        w->account_status[i] = status;
    }
    return 0;
}

static int write_append(struct fake_backend *fb, struct write *w)
{
    struct fake_mailbox *m = fake_mailbox_get(fb, w->mailbox);
    if (m == NULL)
        return ERR_NOTFOUND;
    uint64_t more = 0;
    for (unsigned i = 0; i < w->message_n; i++)
        more += w->messages[i].body->n;
    if (over_quota(fb, m->account, more))
        return ERR_QUOTA;
    buf_printf(&fb->trace, "append %s %u\n", m->name, w->message_n);
    for (unsigned i = 0; i < w->message_n; i++) {
        struct write_message *msg = &w->messages[i];
        uint64_t bits = keyword_bits(m, msg->keywords, msg->keyword_n);
        uint32_t uid = fake_mailbox_add(fb, m, msg->body, msg->flags, bits, msg->internal_ms, 0);
        uid_set_add(&w->uids_r, uid, uid);
    }
    w->uidvalidity = m->uidvalidity;
    return 0;
}

static int write_store(struct fake_backend *fb, struct write *w)
{
    struct fake_mailbox *m = fake_mailbox_get(fb, w->mailbox);
    if (m == NULL)
        return ERR_NOTFOUND;
    uint64_t bits = keyword_bits(m, w->keywords, w->keyword_n);
    buf_printf(&fb->trace, "store %s\n", m->name);
    for (size_t i = 0; i < m->n; i++) {
        struct message_info *msg = &m->messages[i];
        if (!uid_set_has(w->uids, msg->uid))
            continue;
        if (w->has_unchanged_since && msg->modseq > w->unchanged_since) {
            uid_set_add(&w->modified_r, msg->uid, msg->uid);
            continue;
        }
        uint32_t flags = w->mode == STORE_REPLACE ? w->flags
                         : w->mode == STORE_ADD   ? msg->flags | w->flags
                                                  : msg->flags & ~w->flags;
        uint64_t keywords = w->mode == STORE_REPLACE ? bits
                            : w->mode == STORE_ADD   ? msg->keywords | bits
                                                     : msg->keywords & ~bits;
        if (flags == msg->flags && keywords == msg->keywords)
            continue;
        msg->flags = flags;
        msg->keywords = keywords;
        m->highest_modseq = msg->modseq = fb->modseq;
        m->dirty = true;
    }
    return 0;
}

static int write_copy(struct fake_backend *fb, struct write *w)
{
    struct fake_mailbox *from = fake_mailbox_get(fb, w->mailbox), *to = fake_mailbox_get(fb, w->target);
    if (from == NULL || to == NULL)
        return ERR_NOTFOUND;
    uint64_t more = 0;
    for (size_t i = 0; i < from->n; i++)
        if (uid_set_has(w->uids, from->messages[i].uid))
            more += from->messages[i].size;
    if (!w->move && over_quota(fb, to->account, more))
        return ERR_QUOTA;
    buf_printf(&fb->trace, "%s %s %s\n", w->move ? "move" : "copy", from->name, to->name);
    w->uidvalidity = to->uidvalidity;
    size_t n = from->n; /* from may be to */
    for (size_t i = 0; i < n; i++) {
        struct message_info msg = from->messages[i];
        if (!uid_set_has(w->uids, msg.uid))
            continue;
        uint64_t bits = 0;
        for (unsigned k = 0; k < from->keyword_n; k++)
            if (msg.keywords >> k & 1)
                bits |= fake_mailbox_keyword(to, slice_str(from->keyword[k]));
        struct bytes *body = fake_content_find(fb, &msg.hash)->body;
        uint32_t uid = fake_mailbox_add(fb, to, body, msg.flags, bits, msg.internal_ms, msg.email_id);
        uid_set_add(&w->uids_r, msg.uid, msg.uid);
        uid_set_add(&w->uids_to_r, uid, uid);
    }
    for (size_t i = n; w->move && i-- > 0;)
        if (uid_set_has(w->uids, from->messages[i].uid))
            fake_mailbox_remove(fb, from, i);
    return 0;
}

static int write_expunge(struct fake_backend *fb, struct write *w)
{
    struct fake_mailbox *m = fake_mailbox_get(fb, w->mailbox);
    if (m == NULL)
        return ERR_NOTFOUND;
    buf_printf(&fb->trace, "expunge %s\n", m->name);
    for (size_t i = m->n; i-- > 0;) {
        uint32_t uid = m->messages[i].uid;
        if (!w->all_deleted && !uid_set_has(w->uids, uid))
            continue;
        if (!(m->messages[i].flags & FLAG_DELETED) && (w->all_deleted || !w->even_undeleted))
            continue;
        fake_mailbox_remove(fb, m, i);
        uid_set_add(&w->uids_r, uid, uid);
    }
    return 0;
}

static int write_create(struct fake_backend *fb, struct write *w)
{
    if (w->name.n == 0 || w->name.n > 1000 || w->name.p[0] == '/' || w->name.p[w->name.n - 1] == '/')
        return ERR_INVALID;
    if (fake_mailbox_named(fb, w->account, w->name) != NULL)
        return ERR_EXISTS;
    for (struct fake_mailbox *m = fb->mailboxes; w->use != USE_NONE && m != NULL; m = m->next)
        if (m->account == w->account && m->use == w->use)
            return ERR_CONFLICT;
    for (size_t i = 0; i < w->name.n; i++) /* superior names too */
        if (w->name.p[i] == '/' && fake_mailbox_named(fb, w->account, slice_first(w->name, i)) == NULL)
            fake_mailbox_make(fb, w->account, slice_first(w->name, i));
    struct fake_mailbox *m = fake_mailbox_make(fb, w->account, w->name);
    m->use = w->use;
    w->mailbox_r = m->id;
    buf_printf(&fb->trace, "create %s\n", m->name);
    return 0;
}

static int write_delete(struct fake_backend *fb, struct write *w)
{
    struct fake_mailbox *m = fake_mailbox_named(fb, w->account, w->name);
    if (m == NULL)
        return ERR_NOTFOUND;
    if (strcmp(m->name, "INBOX") == 0)
        return ERR_DENIED;
    if (fake_mailbox_has_children(fb, m))
        return ERR_CONFLICT;
    buf_printf(&fb->trace, "delete %s\n", m->name);
    fake_mailbox_drop(m);
    return 0;
}

static int write_rename(struct fake_backend *fb, struct write *w)
{
    struct fake_mailbox *m = fake_mailbox_named(fb, w->account, w->name);
    if (m == NULL)
        return ERR_NOTFOUND;
    if (fake_mailbox_named(fb, w->account, w->name_to) != NULL)
        return ERR_EXISTS;
    buf_printf(&fb->trace, "rename %s\n", m->name);
    if (strcmp(m->name, "INBOX") == 0) { /* RFC 9051 6.3.6: the messages move, INBOX stays */
        struct fake_mailbox *to = fake_mailbox_make(fb, w->account, w->name_to);
        for (size_t i = 0; i < m->n; i++)
            fake_mailbox_add(fb, to, fake_content_find(fb, &m->messages[i].hash)->body, m->messages[i].flags, 0,
                             m->messages[i].internal_ms, m->messages[i].email_id);
        while (m->n > 0)
            fake_mailbox_remove(fb, m, m->n - 1);
        return 0;
    }
    size_t n = strlen(m->name);
    char *old = mem_strdup(m->name);
    for (struct fake_mailbox *c = fb->mailboxes; c != NULL; c = c->next) {
        if (c->account != w->account || strncmp(c->name, old, n) != 0 || (c->name[n] != 0 && c->name[n] != '/'))
            continue;
        struct buf name = {0};
        buf_append_slice(&name, w->name_to);
        buf_append_str(&name, c->name + n);
        mem_free(c->name);
        c->name = mem_strndup(buf_slice(&name));
        buf_close(&name);
    }
    mem_free(old);
    return 0;
}

static int write_subscribe(struct fake_backend *fb, struct write *w)
{
    struct fake_account *a = fake_account_get(fb, w->account);
    size_t i = 0;
    while (i < a->subscribed_n && !slice_eq(slice_str(a->subscribed[i]), w->name))
        i++;
    if (w->subscribe && i == a->subscribed_n) {
        a->subscribed = mem_realloc(a->subscribed, (i + 1) * sizeof *a->subscribed);
        a->subscribed[a->subscribed_n++] = mem_strndup(w->name);
    } else if (!w->subscribe && i < a->subscribed_n) {
        mem_free(a->subscribed[i]);
        a->subscribed[i] = a->subscribed[--a->subscribed_n];
    }
    return 0;
}

int fake_write_apply(struct fake_backend *fb, struct write *w)
{
    static int (*const apply[])(struct fake_backend *, struct write *) = {
        [WRITE_DELIVER] = write_deliver,       [WRITE_APPEND] = write_append,
        [WRITE_STORE] = write_store,           [WRITE_COPY] = write_copy,
        [WRITE_EXPUNGE] = write_expunge,       [WRITE_MAILBOX_CREATE] = write_create,
        [WRITE_MAILBOX_DELETE] = write_delete, [WRITE_MAILBOX_RENAME] = write_rename,
        [WRITE_SUBSCRIBE] = write_subscribe,
    };
    w->modseq = ++fb->modseq;
    return apply[w->kind](fb, w);
}
