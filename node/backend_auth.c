/* Logins: the account as of now (read barrier), then scrypt on the compute pool unless it confirmed the same just now.
 */
#include "node/backend_internal.h"
#include "node/address.h"
#include "node/base/clock.h"
#include "node/password.h"

#include <stdio.h>

struct login {
    struct read_barrier barrier;
    struct compute_job job;
    struct worker_backend *worker;
    struct backend_auth *op;
    char *password, *encoded, client[64];
    size_t password_n;
    char user[ADDRESS_TEXT_MAX];
    bool usable; /* the account exists and is not locked */
    bool right;
    bool blind; /* the store could not be asked */
};

static void login_end(struct login *l, int status)
{
    struct backend_auth *op = l->op;
    struct throttle *throttle = l->worker->services->throttle;
    if (status == ERR_DENIED)
        throttle_failed(throttle, slice_str(l->client), clock_steady_ms());
    else if (status == 0)
        throttle_succeeded(throttle, slice_str(l->client));
    mem_wipe(l->password, l->password_n);
    mem_free(l->password);
    mem_free(l->encoded);
    mem_free(l);
    op->op.status = status;
    op->op.done(&op->op);
}

static void login_verified(struct task *t)
{
    struct login *l = container_of(t, struct login, job.task);
    bool in = l->right && l->usable;
    if (in)
        auth_cache_add(l->worker->services->auth_cache, l->op->account, slice_str(l->encoded),
                       slice_make(l->password, l->password_n), clock_steady_ms());
    login_end(l, in ? 0 : ERR_DENIED);
}

static void login_verify(struct compute_job *job)
{
    struct login *l = container_of(job, struct login, job);
    l->right = password_verify(slice_make(l->password, l->password_n), slice_str(l->encoded));
}

/* An unknown user goes the same way as a known one, with an empty hash: password_verify works as long. */
static void login_account(struct login *l)
{
    struct store_view *v;
    struct store_account a;
    l->encoded = NULL;
    if (store_view_open(l->worker->services->store, &v) == 0) {
        if (store_account_find(v, slice_str(l->user), &a) == 0) {
            l->encoded = mem_strndup(a.password);
            l->usable = a.state == ACCOUNT_ACTIVE;
            l->op->account = a.id;
            snprintf(l->op->address, sizeof l->op->address, "%.*s", (int)a.address.n, (const char *)a.address.p);
        }
        store_view_close(&v);
    } else {
        l->blind = true;
    }
    if (!l->encoded)
        l->encoded = mem_strdup("");
}

static void login_synced(struct task *t)
{
    struct login *l = container_of(t, struct login, barrier.task);
    if (l->barrier.status) {
        login_end(l, ERR_UNAVAILABLE);
        return;
    }
    login_account(l);
    if (l->blind) {
        login_end(l, ERR_UNAVAILABLE);
        return;
    }
    if (l->usable && auth_cache_has(l->worker->services->auth_cache, l->op->account, slice_str(l->encoded),
                                    slice_make(l->password, l->password_n), clock_steady_ms())) {
        login_end(l, 0);
        return;
    }
    l->job.task.run = login_verified;
    l->job.home = home_of(l->worker);
    l->job.work = login_verify;
    compute_submit(l->worker->services->compute, &l->job);
}

void backend_auth(struct backend *b, struct backend_auth *op)
{
    struct login *l = mem_zalloc(sizeof *l);
    l->worker = worker_of(b);
    l->op = op;
    address_ascii(op->user, l->user);
    for (char *c = l->user; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c | 0x20);
    snprintf(l->client, sizeof l->client, "%.*s", (int)slice_first(op->client, sizeof l->client).n,
             (const char *)op->client.p);
    l->password = mem_strndup(op->password);
    l->password_n = op->password.n;
    l->barrier.task.run = login_synced;
    l->barrier.home = home_of(l->worker);
    l->barrier.deadline_ms = backend_deadline(l->worker);
    replication_read(l->worker->services->replication, &l->barrier);
}
