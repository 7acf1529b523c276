#include "node/janitor.h"

#include "node/base/log.h"

#include <pthread.h>
#include <time.h>

enum { REST_S = 30 };

struct janitor {
    struct services *services;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
};

/* A body without a content record may still be on its way (proposed, not yet applied): the blob log's lease keeps
 * those. */
static bool body_is_live(void *arg, const struct body_hash *hash)
{
    struct services *s = arg;
    struct store_view *v;
    struct store_content content;
    if (store_view_open(s->store, &v))
        return true;
    bool live = store_content_get(v, hash, &content) == 0;
    store_view_close(&v);
    return live;
}

static bool rest(struct janitor *j)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += REST_S;
    pthread_mutex_lock(&j->lock);
    while (!j->stop && pthread_cond_timedwait(&j->wake, &j->lock, &until) == 0)
        ;
    bool stop = j->stop;
    pthread_mutex_unlock(&j->lock);
    return !stop;
}

static bool stopped(struct janitor *j)
{
    pthread_mutex_lock(&j->lock);
    bool stop = j->stop;
    pthread_mutex_unlock(&j->lock);
    return stop;
}

static void *run(void *arg)
{
    struct janitor *j = arg;
    pthread_setname_np(pthread_self(), "janitor");
    while (rest(j)) {
        uint64_t freed = 0, part;
        while (!stopped(j) && atomic_load(&j->services->references_known) &&
               (part = blob_collect(j->services->blobs, body_is_live, j->services)) > 0)
            freed += part;
        if (freed)
            log_event(LOG_INFO, "space of bodies freed", LOG_U("bytes", freed));
    }
    return NULL;
}

struct janitor *janitor_start(struct services *s)
{
    struct janitor *j = mem_zalloc(sizeof *j);
    j->services = s;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->wake, NULL);
    ENSURE(pthread_create(&j->thread, NULL, run, j) == 0);
    return j;
}

void janitor_stop(struct janitor **jp)
{
    struct janitor *j = *jp;
    *jp = NULL;
    if (!j)
        return;
    pthread_mutex_lock(&j->lock);
    j->stop = true;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->wake);
    mem_free(j);
}
