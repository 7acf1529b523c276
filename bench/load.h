/* mload: the load generator of bench/run. What its subcommands share: the options and a few helpers. */
#ifndef MERLION_BENCH_LOAD_H
#define MERLION_BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

enum { LOAD_TARGETS = 16, LOAD_USERS = 1024, LOAD_SESSIONS = 20000 };

enum load_tls { LOAD_TLS_NONE, LOAD_TLS_STARTTLS, LOAD_TLS_IMPLICIT };

struct load_target {
    char host[64];
    char port[8];
};

/* Every subcommand reads the fields that it needs. Set once before threads start, then only read. */
struct load_options {
    struct load_target target[LOAD_TARGETS]; /* session i connects to target i % targets */
    int targets;
    enum load_tls tls;
    int sessions;
    size_t size;    /* bytes of a message, its header included */
    double seconds; /* no new operation begins after this */
    long count;     /* delivery: not for a time but so many messages from session i to user i; 0: for a time */
    int users;      /* user1@domain to userN@domain */
    uint64_t seed;  /* a different one for every run: makes messages unique */
    const char *domain;
    const char *user; /* prefix of the local part */
    const char *password;
    const char *folder;
    int hop;                 /* relay: port that the next hop listens on */
    long expect[LOAD_USERS]; /* verify: messages in the INBOX of each user */
    int expects;
    int sample; /* verify: how many messages of each user are compared */
};

/* Says what is wrong on stderr and exits with 1: a benchmark that saw an error has no figures. Any thread. */
noreturn void load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Monotonic seconds. */
double load_now(void);

/* splitmix64: the next number of the sequence in *state. */
uint64_t load_random(uint64_t *state);

/* The address of user number (from 0). */
void load_address(const struct load_options *o, int number, char *out_r, size_t size);

/* Subcommands: each prints one line of JSON on stdout. */
void lmtp_run(const struct load_options *o);
void mixed_run(const struct load_options *o);
void verify_run(const struct load_options *o);
void idle_run(const struct load_options *o);
void disk_run(const struct load_options *o);
void relay_run(const struct load_options *o);

#endif
