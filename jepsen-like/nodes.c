#include "jepsen-like/nodes.h"

#include "jepsen-like/disk.h"
#include "jepsen-like/net.h"
#include "jepsen-like/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct node {
    pid_t pid; /* 0: does not run */
    bool wanted, refusal_expected, next;
    uint64_t start_at; /* it ended by itself and is started again then; 0: not */
    _Atomic uint64_t stopped_at;
    char name[16];
    unsigned generation; /* how often it was made anew */
    char *dir, *conf, *socket, *disk, *data, *log, *shim_path;
    struct shim *shim;
};

enum { RESTART_MS = 200, FREEZE_MS = 2000 };

static struct {
    struct nodes_options o;
    struct node nodes[NODES_MAX + 1];
    unsigned crashes, exits;
    char *maild, *mailctl;
} all;

static char *path(const char *format, const char *a, unsigned n, const char *b)
{
    struct text t = {0};
    text_printf(&t, format, a, n, b);
    return t.p;
}

unsigned nodes_count(void)
{
    return all.o.n;
}

unsigned nodes_voters(void)
{
    return all.o.voters;
}

const char *node_disk(unsigned node)
{
    return all.nodes[node].disk;
}

const char *node_data(unsigned node)
{
    return all.nodes[node].data;
}

bool node_running(unsigned node)
{
    return all.nodes[node].pid != 0;
}

/* ---- processes ---- */

static void conf_write(unsigned node)
{
    struct node *n = &all.nodes[node];
    FILE *f = fopen(n->conf, "we");
    if (!f)
        fail("%s cannot be written", n->conf);
    fprintf(f, "[node]\nname = %s\ndata = %s\nhostname = n%u.example\n", n->name, n->data, node);
    fprintf(f, "[peer]\nlisten = 10.77.0.%u:%u\nvoters = %u\n", node, NODE_PEER_PORT, all.o.voters);
    fprintf(f, "[admin]\nsocket = %s\n[http]\nlisten = 10.77.0.%u:%u\n", n->socket, node, NODE_HTTP_PORT);
    /* Few entries between snapshots: nodes that were away often need one. */
    fprintf(f,
            "[store]\nmap_size_mb = 1024\ndisk_reserve_mb = 16\nsnapshot_threshold = 512\nsnapshot_trailing = 512\n"
            "check_interval_s = 10\n");
    fprintf(f, "[tls]\ncertificate = %s/cert.pem\nkey = %s/key.pem\n", all.o.dir, all.o.dir);
    fprintf(f, "[limits]\nwrite_wait_ms = 2000\nworkers = 2\n");
    static const struct {
        const char *protocol;
        unsigned port;
        const char *tls;
    } listeners[] = {{"imap", 143, "none"},
                     {"pop3", 110, "none"},
                     {"smtp", 25, "none"},
                     {"submission", 465, "implicit"},
                     {"lmtp", 24, "none"}};
    for (size_t i = 0; i < sizeof listeners / sizeof listeners[0]; i++)
        fprintf(f, "[listener %s]\nprotocol = %s\nlisten = 10.77.0.%u:%u\ntls = %s\n", listeners[i].protocol,
                listeners[i].protocol, node, listeners[i].port, listeners[i].tls);
    fclose(f);
}

/* Between fork and exec: only what is safe there. */
static _Noreturn void child_exec(const char *program, char *const argv[], char *const env[], int in, int out, int err)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(program, argv, env);
    _exit(127);
}

/* The environment of a node: ours, and its clock. The two first strings are its own. */
static char **env_make(const struct node *n)
{
    unsigned k = 0, own = 0;
    while (environ[k])
        k++;
    char **env = xzalloc((k + 3) * sizeof *env);
    env[own++] = path("LD_PRELOAD=%s%.0u%s", JEPSEN_SHIM_LIBRARY, 0, "");
    env[own++] = path(SHIM_ENV "=%s%.0u%s", n->shim_path, 0, "");
    memcpy(env + own, environ, k * sizeof *env);
    return env;
}

static void env_free(char **env)
{
    free(env[0]);
    free(env[1]);
    free(env);
}

void node_start(unsigned node)
{
    struct node *n = &all.nodes[node];
    if (n->pid)
        return;
    const char *program = n->next ? all.o.next : all.maild;
    char *argv[] = {(char *)(uintptr_t)program, "--config", n->conf, NULL};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int log = open(n->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0)
        fail("%s cannot be written", n->log);
    n->wanted = true;
    n->start_at = 0;
    char **env = env_make(n);
    n->pid = fork();
    if (n->pid == 0) {
        if (net_enter(node))
            _exit(126);
        child_exec(program, argv, env, null, log, log);
    }
    env_free(env);
    close(log);
    close(null);
    if (n->pid < 0)
        fail("fork: %s", strerror(errno));
}

void node_signal(unsigned node, int number)
{
    struct node *n = &all.nodes[node];
    if (number == SIGKILL || number == SIGTERM) {
        n->wanted = false;
        n->start_at = 0;
    }
    if (!n->pid)
        return;
    if (number == SIGTERM)
        n->stopped_at = now_ns();
    kill(n->pid, number);
}

uint64_t node_stopped_at(unsigned node)
{
    return all.nodes[node].stopped_at;
}

void node_freeze(unsigned node)
{
    struct node *n = &all.nodes[node];
    if (!n->pid)
        return;
    n->wanted = false; /* nodes_supervise leaves it alone */
    kill(n->pid, SIGSTOP);
    for (unsigned i = 0; i < FREEZE_MS; i++) { /* a thread inside a sync stops after it */
        int status;
        pid_t r = waitpid(n->pid, &status, WNOHANG | WUNTRACED);
        if (r == n->pid && !WIFSTOPPED(status))
            n->pid = 0;
        if (r != 0)
            return;
        sleep_ms(1);
    }
}

void node_build_set(unsigned node, bool next)
{
    all.nodes[node].next = next;
}

void nodes_version(bool next, char *version_r, size_t n)
{
    char command[4200];
    snprintf(command, sizeof command, "'%s' --version", next ? all.o.next : all.maild);
    FILE *f = popen(command, "re");
    char line[200] = "";
    if (!f || !fgets(line, sizeof line, f) || strncmp(line, "maild ", 6) != 0)
        fail("%s does not tell its version", command);
    pclose(f);
    line[strcspn(line, "\n")] = 0;
    snprintf(version_r, n, "%s", line + 6);
}

void node_wait(unsigned node, unsigned timeout_ms)
{
    struct node *n = &all.nodes[node];
    uint64_t end = now_ns() + timeout_ms * NS_PER_MS;
    for (int status = 0; n->pid;) {
        pid_t r = waitpid(n->pid, &status, WNOHANG);
        if (r == n->pid) {
            n->pid = 0;
            if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM) {
                all.crashes++;
                say("n%u CRASHED with signal %d while it stopped (see %s)", node, WTERMSIG(status), n->log);
            }
        } else if (now_ns() > end) {
            say("n%u does not end within %u ms: SIGKILL", node, timeout_ms);
            kill(n->pid, SIGKILL);
            end += 10 * NS_PER_S;
        } else {
            sleep_ms(2);
        }
    }
}

void nodes_supervise(void)
{
    for (unsigned node = 1; node <= all.o.n; node++) {
        struct node *n = &all.nodes[node];
        int status;
        if (n->start_at && now_ns() > n->start_at)
            node_start(node);
        if (!n->pid || !n->wanted || waitpid(n->pid, &status, WNOHANG) != n->pid)
            continue;
        n->pid = 0;
        if (WIFEXITED(status) && n->refusal_expected) {
            n->wanted = false;
            continue;
        }
        if (WIFSIGNALED(status)) {
            all.crashes++;
            say("n%u CRASHED with signal %d (see %s)", node, WTERMSIG(status), n->log);
        } else {
            all.exits++;
            say("  n%u ended by itself with %d", node, WEXITSTATUS(status));
        }
        n->start_at = now_ns() + RESTART_MS * NS_PER_MS;
    }
}

void nodes_refusal_expect(unsigned node, bool expect)
{
    all.nodes[node].refusal_expected = expect;
}

unsigned nodes_crashes(void)
{
    return all.crashes;
}

unsigned nodes_exits(void)
{
    return all.exits;
}

static void shim_make(struct node *n)
{
    int fd = open(n->shim_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, sizeof *n->shim))
        fail("%s cannot be made: %s", n->shim_path, strerror(errno));
    n->shim = mmap(NULL, sizeof *n->shim, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (n->shim == MAP_FAILED)
        fail("%s cannot be mapped: %s", n->shim_path, strerror(errno));
}

void node_clock_set(unsigned node, int seconds, int ppm)
{
    struct shim *c = all.nodes[node].shim;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    c->version++;
    c->offset_ns = (int64_t)seconds * 1000000000;
    c->base_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    c->ppm = ppm;
    c->version++;
}

void node_sync_fail(unsigned node, bool fails)
{
    all.nodes[node].shim->sync_fails = fails;
}

/* ---- mailctl ---- */

enum { CTL_TIMEOUT_MS = 15000 };

static void output_read(int fd, pid_t pid, struct text *out)
{
    uint64_t end = now_ns() + CTL_TIMEOUT_MS * NS_PER_MS;
    char bytes[4096];
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 100) > 0) {
            ssize_t n = read(fd, bytes, sizeof bytes);
            if (n <= 0)
                return;
            text_append(out, bytes, (size_t)n);
        } else if (now_ns() > end) {
            kill(pid, SIGKILL);
        }
    }
}

int nodes_ctl(unsigned node, const char *input, struct text *out, const char *const words[])
{
    const char *argv[24] = {all.mailctl, "--socket", all.nodes[node].socket, "--timeout", "10"};
    unsigned n = 5;
    int to[2], from[2], status;
    while (*words && n < 23)
        argv[n++] = *words++;
    if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
        fail("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        child_exec(all.mailctl, (char *const *)argv, environ, to[0], from[1], from[1]);
    if (pid < 0)
        fail("fork: %s", strerror(errno));
    close(to[0]);
    close(from[1]);
    if (input && write(to[1], input, strlen(input)) < 0)
        say("mailctl takes no input: %s", strerror(errno));
    close(to[1]);
    text_clear(out);
    output_read(from[0], pid, out);
    close(from[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

const char *node_name(unsigned node)
{
    return all.nodes[node].name;
}

static int file_remove(const char *file, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    return at->level ? remove(file) : 0;
}

static void folder_empty(const char *folder)
{
    if (nftw(folder, file_remove, 16, FTW_DEPTH | FTW_PHYS))
        fail("%s cannot be emptied: %s", folder, strerror(errno));
}

void node_wipe(unsigned node)
{
    struct node *n = &all.nodes[node];
    folder_empty(n->data);
    snprintf(n->name, sizeof n->name, "n%u-%u", node, ++n->generation % 100000);
    conf_write(node);
}

/* ---- all of them ---- */

/* One for all, that nobody knows. */
static void certificate_make(void)
{
    char command[9000];
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=mail.example "
             "-keyout '%s/key.pem' -out '%s/cert.pem' 2>/dev/null",
             all.o.dir, all.o.dir);
    if (system(command))
        fail("openssl makes no certificate: %s", command);
}

static void nodes_make(void)
{
    certificate_make();
    for (unsigned node = 1; node <= all.o.n; node++) {
        struct node *n = &all.nodes[node];
        n->dir = path("%s/n%u%s", all.o.dir, node, "");
        n->conf = path("%s/n%u/%s", all.o.dir, node, "maild.conf");
        n->disk = path("%s/n%u/%s", all.o.dir, node, "disk");
        n->socket = path("%s/n%u/%s", all.o.dir, node, "admin.sock");
        n->data = path("%s/n%u/%s", all.o.dir, node, "disk/data");
        n->log = path("%s/n%u/%s", all.o.dir, node, "log");
        n->shim_path = path("%s/n%u/%s", all.o.dir, node, "shim");
        if (mkdir(n->dir, 0755) && errno != EEXIST)
            fail("%s cannot be made: %s", n->dir, strerror(errno));
        folder_empty(n->dir); /* of an earlier run */
        if (mkdir(n->disk, 0700) || (all.o.disk_mb && !disk_mount(n->disk, all.o.disk_mb)) || mkdir(n->data, 0700))
            fail("%s cannot be made: %s", n->data, strerror(errno));
        snprintf(n->name, sizeof n->name, "n%u", node);
        conf_write(node);
        shim_make(n);
        n->shim->sync_lies = all.o.sync_lies;
    }
}

static void program_must(const char *file)
{
    if (access(file, X_OK))
        fail("%s cannot be run: %s", file, strerror(errno));
}

void nodes_start(const struct nodes_options *o)
{
    all.o = *o;
    all.maild = o->maild ? xstrdup(o->maild) : path("%s/%.0u%s", o->build, 0, "maild");
    all.mailctl = path("%s/%.0u%s", o->build, 0, "mailctl");
    program_must(all.maild);
    program_must(all.mailctl);
    if (o->next)
        program_must(o->next);
    nodes_make();
    for (unsigned node = 1; node <= o->n; node++)
        node_start(node);
}

void nodes_end(void)
{
    for (unsigned node = 1; node <= all.o.n; node++) {
        node_signal(node, SIGCONT);
        node_signal(node, SIGKILL);
    }
    for (unsigned node = 1; node <= all.o.n; node++) {
        struct node *n = &all.nodes[node];
        node_wait(node, 5000);
        free(n->dir);
        free(n->conf);
        free(n->socket);
        free(n->disk);
        free(n->data);
        free(n->log);
        free(n->shim_path);
        munmap(n->shim, sizeof *n->shim);
    }
    free(all.maild);
    free(all.mailctl);
}
