/* Many connections that are logged in, have the INBOX selected and IDLE. Says ready and holds them until stdin ends;
 * then every one must still answer DONE. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/imap.h"
#include "bench/pool.h"

enum { THREADS = 8 };

struct idle {
    const struct load_options *options; /* of all connections */
    struct imap *imap;                  /* the same */
};

static void open_some(struct pool *p, int number, void *session)
{
    (void)p;
    const struct idle *all = session; /* the same for all threads */
    const struct load_options *o = all->options;
    for (int i = number; i < o->sessions; i += THREADS) {
        imap_open(&all->imap[i], o, &o->target[i % o->targets], i % o->users);
        imap_command(&all->imap[i], "SELECT INBOX");
        imap_idle(&all->imap[i]);
    }
}

static void raise_limit(int connections)
{
    struct rlimit limit;
    rlim_t want = (rlim_t)connections + 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < want)
        load_fail("the limit of open files is below %d", connections + 64);
    limit.rlim_cur = limit.rlim_cur > want ? limit.rlim_cur : want;
    setrlimit(RLIMIT_NOFILE, &limit);
}

void idle_run(const struct load_options *o)
{
    struct idle all = {.options = o, .imap = calloc((size_t)o->sessions, sizeof *all.imap)};
    if (!all.imap)
        load_fail("out of memory");
    raise_limit(o->sessions);
    struct load_options some = *o;
    struct pool p = {0};
    some.sessions = THREADS;
    double start = load_now();
    pool_run(&p, &some, open_some, &all, 0);
    printf("{\"ready\": %d, \"seconds\": %.2f}\n", o->sessions, load_now() - start);
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    for (int i = 0; i < o->sessions; i++) {
        imap_done(&all.imap[i]);
        conn_close(&all.imap[i].c);
        free(all.imap[i].literal);
    }
    printf("{\"alive\": %d}\n", o->sessions);
    free(all.imap);
}
