#include "node/check.h"

#include "node/base/clock.h"
#include "node/base/log.h"
#include "node/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TELL_MS = 3000, NICE = 10, IO_LEAST = 7 };

/* ---- at the start ---- */

struct progress {
    const char *what;
    int64_t told_ms;
};

static bool progress_step(void *arg, uint64_t pages, uint64_t total)
{
    struct progress *p = arg;
    int64_t now = clock_steady_ms();
    if (now - p->told_ms < TELL_MS)
        return true;
    p->told_ms = now;
    log_event(LOG_INFO, "reading for damage", LOG_S("what", p->what), LOG_U("pages", pages), LOG_U("of", total));
    return true;
}

int check_at_start(const char *data, struct err_detail *e)
{
    struct err_detail found = {""};
    struct progress p = {"state", clock_steady_ms()};
    const struct store_watch w = {&p, progress_step};
    int rc = store_check_files(data, false, &w, &found);
    if (rc == 0)
        return 0;
    if (rc != ERR_CORRUPT)
        return err_set(e, rc, "the state in %s cannot be checked: %s", data, found.text);
    log_event(LOG_ERROR, "the state is damaged: it is set aside and made anew", LOG_S("why", found.text),
              LOG_S("kept", "state.damaged"));
    return store_set_aside(data, e);
}

/* ---- while the node runs ---- */

struct checker {
    struct store *store;
    struct blob_log *blobs;
    unsigned interval_s;
    void (*damaged)(void *arg, int status, const char *why);
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock; /* stop */
    pthread_cond_t wake;
    bool stop;
};

static bool stopped(struct checker *c)
{
    pthread_mutex_lock(&c->lock);
    bool stop = c->stop;
    pthread_mutex_unlock(&c->lock);
    return stop;
}

static bool go_on(void *arg, uint64_t pages, uint64_t total)
{
    (void)pages, (void)total;
    return !stopped(arg);
}

/* Damage ends the process in here. */
static void judge(struct checker *c, int rc, const char *what, const struct err_detail *e)
{
    char why[640];
    snprintf(why, sizeof why, "%s: %s", what, e->text);
    if (rc == ERR_CORRUPT)
        c->damaged(c->arg, rc, why);
    else if (rc && rc != ERR_CANCELED)
        log_event(LOG_WARN, "not checked for damage", LOG_S("why", why));
}

static void check_all(struct checker *c)
{
    struct err_detail e = {""};
    const struct store_watch w = {c, go_on};
    int64_t began = clock_steady_ms();
    int state = store_check(c->store, &w, &e);
    judge(c, state, "the state is damaged", &e);
    int index = state == ERR_CANCELED ? state : blob_check(c->blobs, &w, &e);
    judge(c, index, "the index of bodies is damaged", &e);
    if (state == 0 && index == 0)
        log_event(LOG_INFO, "read for damage: none", LOG_I("ms", clock_steady_ms() - began));
}

/* False when it is to stop. */
static bool rest(struct checker *c)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += c->interval_s;
    pthread_mutex_lock(&c->lock);
    while (!c->stop && pthread_cond_timedwait(&c->wake, &c->lock, &until) == 0)
        ;
    bool stop = c->stop;
    pthread_mutex_unlock(&c->lock);
    return !stop;
}

/* Behind clients' work, but not so far that the pages of its snapshot are kept for hours on a busy machine. */
static void *run(void *arg)
{
    struct checker *c = arg;
    pid_t thread = (pid_t)syscall(SYS_gettid);
    pthread_setname_np(pthread_self(), "checker");
    (void)setpriority(PRIO_PROCESS, (id_t)thread, NICE);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, thread, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, IO_LEAST));
    while (rest(c))
        check_all(c);
    return NULL;
}

struct checker *checker_start(struct store *s, struct blob_log *b, unsigned interval_s,
                              void (*damaged)(void *arg, int status, const char *why), void *arg)
{
    if (interval_s == 0)
        return NULL;
    struct checker *c = mem_zalloc(sizeof *c);
    pthread_condattr_t attr;
    *c = (struct checker){.store = s, .blobs = b, .interval_s = interval_s, .damaged = damaged, .arg = arg};
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &attr);
    pthread_condattr_destroy(&attr);
    ENSURE(pthread_create(&c->thread, NULL, run, c) == 0);
    return c;
}

void checker_stop(struct checker **cp)
{
    struct checker *c = *cp;
    *cp = NULL;
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->wake);
    mem_free(c);
}

/* ---- maild check ---- */

/* live_r: a node runs on the folder. Its lock is held until the process ends, so that none starts meanwhile. */
static int folder_lock(const char *data, bool *live_r)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/lock", data);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr, "maild: %s: %s\n", path, strerror(errno));
        return ERR_IO;
    }
    *live_r = flock(fd, LOCK_EX | LOCK_NB) != 0;
    return 0;
}

static int say(int rc, int damaged_code, const char *what, const struct err_detail *e)
{
    if (rc == 0)
        printf("%s: whole\n", what);
    else if (rc == ERR_CORRUPT)
        printf("%s: damaged: %s\n", what, e->text);
    else
        printf("%s: not checked: %s\n", what, e->text);
    fflush(stdout);
    return rc == 0 ? CHECK_WHOLE : rc == ERR_CORRUPT ? damaged_code : CHECK_FAILED;
}

int check_command(const struct config *c)
{
    bool live;
    struct err_detail e = {""};
    if (folder_lock(c->data, &live))
        return CHECK_FAILED;
    int state = say(store_check_files(c->data, live, NULL, &e), CHECK_STATE_DAMAGED, "state", &e);
    int index = say(blob_check_files(c->data, live, NULL, &e), CHECK_INDEX_DAMAGED, "index of bodies", &e);
    return state == CHECK_STATE_DAMAGED || index == CHECK_WHOLE ? state : index;
}
