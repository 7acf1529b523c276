#include "tests/unit/protocol/support_fake_backend.h"

#include "node/base/task.h"
#include "tests/unit/protocol/support_fake_state.h"

struct fake_call {
    struct fake_call *prev, *next;
    enum fake_op kind;
    struct backend_op *op;
    struct fake_account *account; /* FAKE_AUTH: whom the password, which the session wipes, belongs to */
};

/* ---- operations: queued, run later ---- */

static struct fake_call *call_add(struct backend *b, enum fake_op kind, struct backend_op *op)
{
    struct fake_backend *fb = container_of(b, struct fake_backend, backend);
    struct fake_call *c = mem_zalloc(sizeof *c);
    c->kind = kind;
    c->op = op;
    c->prev = fb->last;
    *(fb->last ? &fb->last->next : &fb->first) = c;
    fb->last = c;
    fb->calls[kind]++;
    return c;
}

static void call_remove(struct fake_backend *fb, struct fake_call *c)
{
    *(c->prev ? &c->prev->next : &fb->first) = c->next;
    *(c->next ? &c->next->prev : &fb->last) = c->prev;
    mem_free(c);
}

static int run_auth(struct backend_auth *op, const struct fake_account *a)
{
    if (a == NULL)
        return ERR_DENIED;
    op->account = a->id;
    memcpy(op->address, a->address, strlen(a->address) + 1);
    return 0;
}

static int run_body(struct fake_backend *fb, struct backend_body *op)
{
    struct fake_content *c = fake_content_find(fb, &op->hash);
    if (c == NULL)
        return ERR_NOTFOUND;
    op->body = bytes_ref(c->body);
    return 0;
}

static int run_op(struct fake_backend *fb, const struct fake_call *call)
{
    enum fake_op kind = call->kind;
    struct backend_op *op = call->op;
    if (fb->fail_n[kind] > 0) {
        fb->fail_n[kind]--;
        return fb->fail_status[kind];
    }
    switch (kind) {
    case FAKE_AUTH:
        return run_auth(container_of(op, struct backend_auth, op), call->account);
    case FAKE_BODY:
        return run_body(fb, container_of(op, struct backend_body, op));
    case FAKE_COMPUTE: {
        struct backend_compute *c = container_of(op, struct backend_compute, op);
        c->work(c->arg);
        return 0;
    }
    case FAKE_WRITE:
        return fake_write_apply(fb, container_of(op, struct write, op));
    case FAKE_SYNC:
    case FAKE_OPS:
        return 0;
    }
    return 0;
}

static bool notify_one(struct fake_backend *fb)
{
    for (struct fake_mailbox *m = fb->mailboxes; m != NULL; m = m->next) {
        if (!m->dirty)
            continue;
        m->dirty = false;
        struct backend_watch *next;
        for (struct backend_watch *w = fb->watch; w != NULL; w = next) {
            next = w->next;
            if (w->mailbox == m->id)
                w->changed(w);
        }
        return true;
    }
    return false;
}

bool fake_backend_run_one(struct fake_backend *fb)
{
    ENSURE(fb->open_views == 0);
    struct fake_call *c = fb->newest_first ? fb->last : fb->first;
    while (c != NULL && fb->held[c->kind])
        c = fb->newest_first ? c->prev : c->next;
    if (c == NULL)
        return notify_one(fb);
    struct fake_call call = *c;
    call_remove(fb, c);
    call.op->status = run_op(fb, &call);
    call.op->done(call.op);
    ENSURE(fb->open_views == 0);
    return true;
}

unsigned fake_backend_run(struct fake_backend *fb)
{
    unsigned n = 0;
    while (fake_backend_run_one(fb))
        n++;
    return n;
}

static void op_sync(struct backend *b, struct backend_sync *op)
{
    call_add(b, FAKE_SYNC, &op->op);
}
static void op_auth(struct backend *b, struct backend_auth *op)
{
    struct fake_backend *fb = container_of(b, struct fake_backend, backend);
    struct fake_call *c = call_add(b, FAKE_AUTH, &op->op);
    struct fake_account *a = fake_account_by_address(fb, op->user);
    if (a != NULL && slice_eq(op->password, slice_str(a->password)))
        c->account = a;
}
static void op_body(struct backend *b, struct backend_body *op)
{
    op->body = NULL;
    call_add(b, FAKE_BODY, &op->op);
}
static void op_compute(struct backend *b, struct backend_compute *op)
{
    call_add(b, FAKE_COMPUTE, &op->op);
}
static void op_write(struct backend *b, struct write *op)
{
    call_add(b, FAKE_WRITE, &op->op);
}

static void op_watch(struct backend *b, struct backend_watch *w)
{
    struct fake_backend *fb = container_of(b, struct fake_backend, backend);
    w->prev = NULL;
    w->next = fb->watch;
    if (fb->watch != NULL)
        fb->watch->prev = w;
    fb->watch = w;
    fb->watches++;
}

static void op_unwatch(struct backend *b, struct backend_watch *w)
{
    struct fake_backend *fb = container_of(b, struct fake_backend, backend);
    *(w->prev ? &w->prev->next : &fb->watch) = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    fb->watches--;
}

static void op_recipient(struct backend *b, struct slice address, struct recipient *r)
{
    struct fake_backend *fb = container_of(b, struct fake_backend, backend);
    *r = (struct recipient){.kind = RECIPIENT_FOREIGN};
    for (struct fake_address *a = fb->addresses; a != NULL; a = a->next) {
        struct slice name = slice_str(a->name);
        if (slice_ieq(name, address)) {
            *r = a->to;
            return;
        }
        /* A domain is kept as "@domain". */
        if (name.p[0] == '@' && address.n > name.n && slice_ieq(slice_from(address, address.n - name.n), name))
            r->kind = RECIPIENT_UNKNOWN;
    }
}

static bool op_sender_allowed(struct backend *b, uint64_t account, struct slice address)
{
    struct fake_backend *fb = container_of(b, struct fake_backend, backend);
    fb->asked_senders++;
    if (fb->any_sender || slice_ieq(address, slice_str(fake_account_get(fb, account)->address)))
        return true;
    for (struct fake_sender *s = fb->senders; s != NULL; s = s->next)
        if (s->account == account && slice_ieq(address, slice_str(s->address)))
            return true;
    return false;
}

static int op_admit(struct backend *b, uint64_t size)
{
    (void)size;
    return container_of(b, struct fake_backend, backend)->admit_status;
}

static int64_t op_auth_delay(struct backend *b, struct slice client)
{
    (void)client;
    return container_of(b, struct fake_backend, backend)->auth_delay_ms;
}

static const struct backend_ops ops = {
    .view_open = fake_view_open,
    .sync = op_sync,
    .auth = op_auth,
    .body_get = op_body,
    .compute = op_compute,
    .write = op_write,
    .watch = op_watch,
    .unwatch = op_unwatch,
    .recipient = op_recipient,
    .sender_allowed = op_sender_allowed,
    .admit = op_admit,
    .auth_delay_ms = op_auth_delay,
};

/* ---- life, and what tests set up ---- */

struct fake_backend *fake_backend_new(void)
{
    struct fake_backend *fb = mem_zalloc(sizeof *fb);
    fb->ops = ops;
    fb->backend.ops = &fb->ops;
    fb->now_ms = 1700000000000; /* 2023-11-14T22:13:20Z */
    fb->modseq = 1;
    fb->next_id = 1;
    return fb;
}

void fake_backend_free(struct fake_backend **p)
{
    struct fake_backend *fb = *p;
    *p = NULL;
    while (fb->first != NULL)
        call_remove(fb, fb->first);
    fake_state_free(fb);
    buf_close(&fb->trace);
    mem_free(fb);
}

void fake_backend_address(struct fake_backend *fb, const char *address, enum recipient_kind kind,
                          const uint64_t *accounts, unsigned n)
{
    struct fake_address *a = mem_zalloc(sizeof *a);
    a->name = mem_strdup(address);
    a->to.kind = kind;
    a->to.n = n;
    for (unsigned i = 0; i < n; i++)
        a->to.accounts[i] = accounts[i];
    a->next = fb->addresses;
    fb->addresses = a;
}

void fake_backend_forward(struct fake_backend *fb, const char *address, const char *target)
{
    struct fake_address *a = fb->addresses;
    while (a != NULL && strcmp(a->name, address) != 0)
        a = a->next;
    if (a == NULL) {
        fake_backend_address(fb, address, RECIPIENT_LOCAL, NULL, 0);
        a = fb->addresses;
    }
    size_t n = strlen(target) + 1;
    ENSURE(a->to.foreign_bytes + n <= sizeof(a->to.foreign));
    memcpy(a->to.foreign + a->to.foreign_bytes, target, n);
    a->to.foreign_bytes += n;
    a->to.foreign_n++;
}

void fake_backend_sender(struct fake_backend *fb, uint64_t account, const char *address)
{
    struct fake_sender *s = mem_zalloc(sizeof *s);
    s->account = account;
    s->address = mem_strdup(address);
    s->next = fb->senders;
    fb->senders = s;
}

void fake_backend_domain(struct fake_backend *fb, const char *domain)
{
    struct buf name = {0};
    buf_printf(&name, "@%s%c", domain, 0);
    fake_backend_address(fb, (const char *)buf_slice(&name).p, RECIPIENT_UNKNOWN, NULL, 0);
    buf_close(&name);
}
