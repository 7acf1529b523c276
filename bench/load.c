#include "bench/load.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/message.h"

static const struct verb {
    const char *name;
    void (*run)(const struct load_options *o);
    const char *text;
} verbs[] = {
    {"delivery", lmtp_run, "LMTP deliveries for --seconds, each session on its connection"},
    {"imap", mixed_run, "mixed IMAP operations for --seconds"},
    {"verify", verify_run, "compare INBOX counts with --expect and --sample bodies with what was sent"},
    {"idle", idle_run, "open --sessions IMAP connections that IDLE, hold them until stdin ends"},
    {"disk", disk_run, "4 KiB appends with fdatasync in --folder for --seconds"},
    {"relay", relay_run, "SMTP for --seconds to a server that sends on to a next hop here on port --hop"},
};

noreturn void load_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("mload: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(1); /* other threads still run: no destructors */
}

double load_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

uint64_t load_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void load_address(const struct load_options *o, int number, char *out_r, size_t size)
{
    int n = snprintf(out_r, size, "%s%d@%s", o->user, number + 1, o->domain);
    if (n < 0 || (size_t)n >= size)
        load_fail("the address of user %d is too long", number + 1);
}

static noreturn void usage(void)
{
    fputs("usage: mload VERB [options]\n", stderr);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        fprintf(stderr, "  %-9s %s\n", verbs[i].name, verbs[i].text);
    fputs("options: --target HOST:PORT[,...] --tls none|starttls|implicit --sessions N --size BYTES --seconds S\n"
          "         --users N --user PREFIX --domain D --password P --seed N --folder DIR --expect N,N,... --sample N "
          "--count N --hop PORT\n",
          stderr);
    exit(2);
}

static long number(const char *text, const char *name, long least, long most)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || v < least || v > most)
        load_fail("--%s %s: must be %ld to %ld", name, text, least, most);
    return v;
}

static void parse_targets(struct load_options *o, char *text)
{
    char *save = NULL;
    for (char *t = strtok_r(text, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
        char *colon = strrchr(t, ':');
        struct load_target *to = &o->target[o->targets];
        if (o->targets == LOAD_TARGETS || !colon || (size_t)(colon - t) >= sizeof to->host ||
            strlen(colon + 1) >= sizeof to->port)
            load_fail("--target %s: must be up to %d of HOST:PORT", t, LOAD_TARGETS);
        memcpy(to->host, t, (size_t)(colon - t));
        strcpy(to->port, colon + 1);
        o->targets++;
    }
}

static void parse_expect(struct load_options *o, char *text)
{
    char *save = NULL;
    for (char *t = strtok_r(text, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
        if (o->expects == LOAD_USERS)
            load_fail("--expect: at most %d counts", LOAD_USERS);
        o->expect[o->expects++] = number(t, "expect", 0, 1000000000);
    }
}

static enum load_tls parse_tls(const char *text)
{
    static const char *const names[] = {"none", "starttls", "implicit"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum load_tls)i;
    load_fail("--tls %s: must be none, starttls or implicit", text);
}

static void parse_option(struct load_options *o, const char *name, char *value)
{
    if (strcmp(name, "target") == 0)
        parse_targets(o, value);
    else if (strcmp(name, "tls") == 0)
        o->tls = parse_tls(value);
    else if (strcmp(name, "sessions") == 0)
        o->sessions = (int)number(value, name, 1, LOAD_SESSIONS);
    else if (strcmp(name, "size") == 0)
        o->size = (size_t)number(value, name, MESSAGE_MIN, MESSAGE_MAX);
    else if (strcmp(name, "seconds") == 0)
        o->seconds = strtod(value, NULL);
    else if (strcmp(name, "users") == 0)
        o->users = (int)number(value, name, 1, LOAD_USERS);
    else if (strcmp(name, "seed") == 0)
        o->seed = strtoull(value, NULL, 10);
    else if (strcmp(name, "domain") == 0)
        o->domain = value;
    else if (strcmp(name, "user") == 0)
        o->user = value;
    else if (strcmp(name, "password") == 0)
        o->password = value;
    else if (strcmp(name, "folder") == 0)
        o->folder = value;
    else if (strcmp(name, "expect") == 0)
        parse_expect(o, value);
    else if (strcmp(name, "count") == 0)
        o->count = number(value, name, 1, 1000000);
    else if (strcmp(name, "hop") == 0)
        o->hop = (int)number(value, name, 1, 65535);
    else
        o->sample = (int)number(value, name, 0, 1000);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"target", "tls",    "sessions", "size",  "seconds",
                                        "users",  "seed",   "domain",   "user",  "password",
                                        "folder", "expect", "sample",   "count", "hop"};
    enum { NAMES = sizeof names / sizeof *names };
    static struct load_options o = {.sessions = 1,
                                    .size = 4096,
                                    .seconds = 1,
                                    .users = 1,
                                    .seed = 1,
                                    .sample = 2,
                                    .domain = "example.sg",
                                    .user = "u",
                                    .password = "pw",
                                    .folder = "."};
    struct option table[NAMES + 1] = {0};
    for (int i = 0; i < NAMES; i++)
        table[i] = (struct option){.name = names[i], .has_arg = required_argument, .val = 1};
    if (argc < 2)
        usage();
    int index;
    optind = 2;
    for (int c; (c = getopt_long(argc, argv, "", table, &index)) != -1;) {
        if (c != 1)
            usage();
        parse_option(&o, names[index], optarg);
    }
    if (optind != argc)
        usage();
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(argv[1], verbs[i].name) == 0) {
            verbs[i].run(&o);
            return 0;
        }
    usage();
}
