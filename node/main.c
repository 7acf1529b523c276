/* maild: one node of a Merlion cluster. */
#include "node/base/mem.h"
#include "node/check.h"
#include "node/node.h"
#include "node/tls.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static const char help[] =
    "maild: one node of a Merlion mail cluster\n"
    "\n"
    "  maild --config FILE                  run the node in the foreground\n"
    "  maild --config FILE --check-config   say whether the file is right, and end\n"
    "  maild join --config FILE TOKEN       make this node a member of a cluster; TOKEN is what\n"
    "                                       mailctl member add printed. Then start maild.\n"
    "  maild check --config FILE            read all of the state and of the index of bodies, and say whether they\n"
    "                                       are damaged; the node may be running. Exit codes: 0 whole, 1 not checked,\n"
    "                                       3 state damaged, 4 index damaged. A node that starts heals both by "
    "itself.\n"
    "  maild --version | --help\n"
    "\n"
    "A first node makes the cluster: start maild, then run mailctl cluster init.\n"
    "SIGTERM hands leadership over, lets sessions end and stops; SIGHUP reads the TLS files and the log level again.\n"
    "Exit codes: 0 stopped, 1 could not start, 2 wrong usage or configuration, 70 storage or invariant trouble.\n"
    "See maild(8), maild.conf(5), mailctl(1).\n";

enum { EXIT_OK = 0, EXIT_START = 1, EXIT_USAGE = 2 };

struct arguments {
    const char *config, *token;
    bool check_config, check, join;
};

static int usage(const char *what, const char *which)
{
    fprintf(stderr, "maild: %s%s%s; see maild --help\n", what, which ? " " : "", which ? which : "");
    return EXIT_USAGE;
}

/* -1: go on; else the exit code. */
static int arguments_parse(int argc, char **argv, struct arguments *a)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return EXIT_OK;
        }
        if (strcmp(argv[i], "--version") == 0) {
            puts("maild " MERLION_VERSION);
            return EXIT_OK;
        }
        if (strcmp(argv[i], "--check-config") == 0)
            a->check_config = true;
        else if (strcmp(argv[i], "check") == 0 && !a->join)
            a->check = true;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            a->config = argv[++i];
        else if (strcmp(argv[i], "join") == 0 && !a->join && !a->check)
            a->join = true;
        else if (a->join && !a->token && argv[i][0] != '-')
            a->token = argv[i];
        else
            return usage("cannot make sense of", argv[i]);
    }
    if (!a->config)
        return usage("--config FILE is missing", NULL);
    if (a->join && !a->token)
        return usage("join needs the token that mailctl member add printed", NULL);
    return -1;
}

/* Beyond the file's own words: the certificate that it names. Nothing is written. */
static int run_check(const struct config *c)
{
    struct err_detail e = {{0}};
    struct tls *tls = NULL;
    const struct tls_config tc = {.certificate = c->tls_certificate, .key = c->tls_key, .host_name = c->hostname};
    if (c->tls_certificate && tls_new(&tc, &tls, &e)) {
        fprintf(stderr, "maild: %s: [tls] %s\n", c->path, e.text);
        return EXIT_USAGE;
    }
    tls_free(&tls);
    printf("%s: right\n", c->path);
    return EXIT_OK;
}

static int run_join(const struct config *c, const char *token)
{
    struct err_detail e = {{0}};
    if (replication_join(c->data, c->name, token, &e)) {
        fprintf(stderr, "maild: %s\n", e.text);
        return EXIT_START;
    }
    printf("joined: start it with maild --config %s, and watch it with mailctl status --watch\n", c->path);
    return EXIT_OK;
}

static int run_node(struct config *c)
{
    struct node *n;
    struct err_detail e = {{0}};
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* a connection is a file */
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    /* Buffers of a few megabytes come and go with every large message: from the heap, not mapped and unmapped each
     * time. */
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 32 << 20);
    signal(SIGPIPE, SIG_IGN);
    log_set_level(c->log_level);
    log_set_json(c->log_json);
    if (node_start(c, &n, &e)) {
        fprintf(stderr, "maild: %s\n", e.text);
        _exit(EXIT_START); /* nothing was promised yet; what is open, threads too, ends with the process */
    }
    int code = node_run(n);
    node_free(&n);
    return code;
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    int code = arguments_parse(argc, argv, &a);
    if (code >= 0)
        return code;
    struct config *c;
    struct err_detail e = {{0}};
    if (config_load(a.config, &c, &e)) {
        fprintf(stderr, "maild: %s\n", e.text);
        code = EXIT_USAGE;
    } else if (a.check_config) {
        code = run_check(c);
    } else if (a.check) {
        code = check_command(c);
    } else if (a.join) {
        code = run_join(c, a.token);
    } else {
        code = run_node(c);
    }
    config_free(&c);
    return code;
}
