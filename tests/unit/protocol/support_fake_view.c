#include "tests/unit/protocol/support_fake_state.h"

#include "node/base/task.h"

#include <stdlib.h>

struct fake_view {
    struct backend_view view;
    struct fake_backend *fb;
    struct arena arena;
};

static struct fake_view *of(struct backend_view *v)
{
    return container_of(v, struct fake_view, view);
}

static void view_close(struct backend_view *v)
{
    of(v)->fb->open_views--;
    arena_close(&of(v)->arena);
    mem_free(of(v));
}

static bool is_subscribed(struct fake_backend *fb, uint64_t account, const char *name)
{
    struct fake_account *a = fake_account_get(fb, account);
    for (size_t i = 0; a != NULL && i < a->subscribed_n; i++)
        if (strcmp(a->subscribed[i], name) == 0)
            return true;
    return false;
}

static void info_fill(struct fake_view *v, struct fake_mailbox *m, struct mailbox_info *info)
{
    *info = (struct mailbox_info){
        .id = m->id,
        .account = m->account,
        .name = arena_copy(&v->arena, slice_str(m->name)),
        .uidvalidity = m->uidvalidity,
        .uidnext = m->uidnext,
        .highest_modseq = m->highest_modseq,
        .exists = (uint32_t)m->n,
        .use = m->use,
        .subscribed = is_subscribed(v->fb, m->account, m->name),
        .has_children = fake_mailbox_has_children(v->fb, m),
        .selectable = true,
        .keyword_n = m->keyword_n,
    };
    for (size_t i = 0; i < m->n; i++) {
        const struct message_info *msg = &m->messages[i];
        info->bytes += msg->size;
        info->deleted += (msg->flags & FLAG_DELETED) != 0;
        if (!(msg->flags & FLAG_SEEN) && info->unseen++ == 0)
            info->first_unseen_uid = msg->uid;
    }
    for (unsigned i = 0; i < m->keyword_n; i++)
        info->keyword[i] = arena_copy(&v->arena, slice_str(m->keyword[i]));
}

static int mailbox_find(struct backend_view *v, uint64_t account, struct slice name, struct mailbox_info *info_r)
{
    struct fake_mailbox *m = fake_mailbox_named(of(v)->fb, account, name);
    if (m == NULL)
        return ERR_NOTFOUND;
    info_fill(of(v), m, info_r);
    return 0;
}

static int mailbox_get(struct backend_view *v, uint64_t mailbox, struct mailbox_info *info_r)
{
    struct fake_mailbox *m = fake_mailbox_get(of(v)->fb, mailbox);
    if (m == NULL)
        return ERR_NOTFOUND;
    info_fill(of(v), m, info_r);
    return 0;
}

static int name_cmp(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    bool xi = strcmp(x, "INBOX") == 0, yi = strcmp(y, "INBOX") == 0;
    return xi != yi ? (xi ? -1 : 1) : strcmp(x, y);
}

static void mailbox_each(struct backend_view *v, uint64_t account,
                         bool (*each)(void *arg, const struct mailbox_info *info), void *arg)
{
    struct fake_backend *fb = of(v)->fb;
    struct fake_account *a = fake_account_get(fb, account);
    if (a == NULL)
        return;
    size_t n = 0, max = a->subscribed_n;
    for (struct fake_mailbox *m = fb->mailboxes; m != NULL; m = m->next)
        max++;
    const char **names = mem_zalloc((max + 1) * sizeof *names);
    for (struct fake_mailbox *m = fb->mailboxes; m != NULL; m = m->next)
        if (m->account == account)
            names[n++] = m->name;
    for (size_t i = 0; i < a->subscribed_n; i++)
        if (fake_mailbox_named(fb, account, slice_str(a->subscribed[i])) == NULL)
            names[n++] = a->subscribed[i];
    qsort(names, n, sizeof *names, name_cmp);
    for (size_t i = 0; i < n; i++) {
        struct mailbox_info info;
        if (mailbox_find(v, account, slice_str(names[i]), &info) != 0)
            info = (struct mailbox_info){
                .account = account, .name = arena_copy(&of(v)->arena, slice_str(names[i])), .subscribed = true};
        if (!each(arg, &info))
            break;
    }
    mem_free(names);
}

static void message_each(struct backend_view *v, uint64_t mailbox, uint32_t first, uint32_t last,
                         bool (*each)(void *arg, const struct message_info *info), void *arg)
{
    struct fake_mailbox *m = fake_mailbox_get(of(v)->fb, mailbox);
    for (size_t i = 0; m != NULL && i < m->n; i++)
        if (m->messages[i].uid >= first && m->messages[i].uid <= last && !each(arg, &m->messages[i]))
            return;
}

static int message_get(struct backend_view *v, uint64_t mailbox, uint32_t uid, struct message_info *info_r)
{
    struct fake_mailbox *m = fake_mailbox_get(of(v)->fb, mailbox);
    for (size_t i = 0; m != NULL && i < m->n; i++)
        if (m->messages[i].uid == uid) {
            *info_r = m->messages[i];
            return 0;
        }
    return ERR_NOTFOUND;
}

static void uids(struct backend_view *v, uint64_t mailbox, struct uid_set *set)
{
    struct fake_mailbox *m = fake_mailbox_get(of(v)->fb, mailbox);
    for (size_t i = 0; m != NULL && i < m->n; i++)
        uid_set_add(set, m->messages[i].uid, m->messages[i].uid);
}

static int changes(struct backend_view *v, uint64_t mailbox, uint64_t since,
                   bool (*changed)(void *arg, const struct message_info *info), void *arg, struct uid_set *expunged)
{
    struct fake_mailbox *m = fake_mailbox_get(of(v)->fb, mailbox);
    if (m == NULL)
        return ERR_NOTFOUND;
    if (since < m->pruned)
        return ERR_STALE;
    struct uid_range *gone = mem_alloc((m->gone_n + 1) * sizeof *gone);
    size_t n = 0;
    for (size_t i = 0; i < m->gone_n; i++)
        if (m->gone[i].modseq > since)
            gone[n++] = (struct uid_range){m->gone[i].uid, m->gone[i].uid};
    uid_set_add_many(expunged, gone, n);
    mem_free(gone);
    for (size_t i = 0; i < m->n; i++)
        if (m->messages[i].modseq > since && !changed(arg, &m->messages[i]))
            break;
    return 0;
}

static int summary(struct backend_view *v, const struct body_hash *hash, struct slice *summary_r)
{
    struct fake_content *c = fake_content_find(of(v)->fb, hash);
    if (c == NULL)
        return ERR_NOTFOUND;
    *summary_r = arena_copy(&of(v)->arena, buf_slice(&c->summary));
    return 0;
}

static int quota(struct backend_view *v, uint64_t account, uint64_t *used_r, uint64_t *limit_r)
{
    struct fake_account *a = fake_account_get(of(v)->fb, account);
    if (a == NULL)
        return ERR_NOTFOUND;
    *used_r = fake_account_used(of(v)->fb, account);
    *limit_r = a->quota;
    return 0;
}

static const struct backend_view_ops view_ops = {
    .close = view_close,
    .mailbox_find = mailbox_find,
    .mailbox_get = mailbox_get,
    .mailbox_each = mailbox_each,
    .message_each = message_each,
    .message_get = message_get,
    .uids = uids,
    .changes = changes,
    .summary = summary,
    .quota = quota,
};

struct backend_view *fake_view_open(struct backend *b)
{
    struct fake_view *v = mem_zalloc(sizeof *v);
    v->view.ops = &view_ops;
    v->fb = container_of(b, struct fake_backend, backend);
    v->fb->open_views++;
    return &v->view;
}
