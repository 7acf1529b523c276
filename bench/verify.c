/* After a measurement: is everything there that was acknowledged, no more, and byte by byte as it was sent? */
#include <stdio.h>
#include <stdlib.h>

#include "bench/imap.h"
#include "bench/message.h"
#include "bench/pool.h"

struct verify {
    long messages;
    long compared;
};

static void check_user(const struct load_options *o, int user, struct verify *v, uint64_t *state)
{
    struct imap i;
    char address[128];
    const struct load_target *target = &o->target[user % o->targets];
    load_address(o, user, address, sizeof address);
    imap_open(&i, o, target, user);
    imap_command(&i, "EXAMINE INBOX");
    if (user < o->expects && i.exists != o->expect[user])
        load_fail("%s:%s: %s has %ld messages, acknowledged were %ld", target->host, target->port, address, i.exists,
                  o->expect[user]);
    v->messages += i.exists;
    for (int k = 0; k < o->sample && i.exists > 0; k++, v->compared++) {
        /* the newest one: of what was just measured; then any */
        long n = k == 0 ? i.exists : (long)(load_random(state) % (uint64_t)i.exists) + 1;
        imap_command(&i, "FETCH %ld BODY.PEEK[]", n);
        if (i.fetched != 1 || !message_matches(i.literal, i.length, address))
            load_fail("%s:%s: message %ld of %s differs from what was sent", target->host, target->port, n, address);
    }
    imap_close(&i);
}

static void session_run(struct pool *p, int number, void *session)
{
    const struct load_options *o = p->options;
    uint64_t state = o->seed << 20 | (uint64_t)number;
    for (int user = number; user < o->users; user += o->sessions)
        check_user(o, user, session, &state);
}

void verify_run(const struct load_options *o)
{
    struct verify *all = calloc((size_t)o->sessions, sizeof *all), sum = {0};
    if (!all)
        load_fail("out of memory");
    struct pool p = {0};
    message_init();
    pool_run(&p, o, session_run, all, sizeof *all);
    for (int i = 0; i < o->sessions; i++) {
        sum.messages += all[i].messages;
        sum.compared += all[i].compared;
    }
    printf("{\"messages\": %ld, \"compared\": %ld}\n", sum.messages, sum.compared);
    free(all);
}
