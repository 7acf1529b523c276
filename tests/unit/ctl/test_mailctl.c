/* Runs ./mailctl against a maild that is a script: for each connection the answer to one request. */
#include "node/base/buf.h"
#include "protocol/admin/codec.h"

#include <pthread.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct server {
    char path[100];
    int fd;
    pthread_t thread;
    const char *answers[8]; /* one a connection; NULL: close without a word */
    unsigned connections;
    char request[8][500];
};

static void *serve(void *arg)
{
    struct server *s = arg;

    for (unsigned i = 0; i < s->connections; i++) {
        int fd = accept(s->fd, NULL, NULL);
        size_t n = 0;
        ssize_t got;
        if (fd < 0)
            return NULL;
        while (n + 1 < sizeof(s->request[i]) &&
               (got = read(fd, s->request[i] + n, sizeof(s->request[i]) - 1 - n)) > 0) {
            n += (size_t)got;
            if (memchr(s->request[i], '\n', n))
                break;
        }
        s->request[i][n] = '\0';
        if (s->answers[i] && write(fd, s->answers[i], strlen(s->answers[i])) < 0)
            perror("write");
        close(fd);
    }
    return NULL;
}

static void server_start(struct server *s)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(s->path, sizeof(s->path), "/tmp/test_mailctl.%d.sock", (int)getpid());
    unlink(s->path);
    memcpy(a.sun_path, s->path, strlen(s->path) + 1);
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)(void *)&a, sizeof(a)), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    unlink(s->path);
}

struct run {
    int code;
    char out[20000], err[20000];
};

static void slurp(int fd, char *to, size_t max)
{
    size_t n = 0;
    ssize_t got;

    while (n + 1 < max && (got = read(fd, to + n, max - 1 - n)) > 0)
        n += (size_t)got;
    to[n] = '\0';
    close(fd);
}

/* Without a terminal; line: words apart by one space. */
static void run(struct run *r, const char *path, const char *input, const char *line)
{
    char copy[500], *argv[40] = {(char *)(uintptr_t) "./mailctl"};
    int argc = 1, in[2], out[2], err[2], status;

    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    assert_true(pipe(in) == 0 && pipe(out) == 0 && pipe(err) == 0);
    pid_t child = fork();
    if (child == 0) {
        setsid();
        setenv("MERLION_SOCKET", path, 1);
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execv(argv[0], argv);
        _exit(99);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    if (input && write(in[1], input, strlen(input)) < 0)
        perror("write");
    close(in[1]);
    slurp(out[0], r->out, sizeof(r->out));
    slurp(err[0], r->err, sizeof(r->err));
    waitpid(child, &status, 0);
    r->code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static const char status_answer[] =
    "{\"progress\":\"asking peers\"}\n"
    "{\"ok\":true,\"data\":{\"cluster\":\"c1\",\"term\":5,\"commit\":1200,\"leader\":\"n1\",\"members\":["
    "{\"name\":\"n1\",\"id\":\"1\",\"role\":\"voter\",\"state\":\"ok\",\"leader\":true,\"self\":false,\"term\":5,"
    "\"applied\":1200,\"lag\":0,\"missing\":0,\"version\":\"0.1.0\",\"uptime_ms\":7260000,\"address\":\"h1:1\"},"
    "{\"name\":\"n2\",\"id\":\"2\",\"role\":\"standby\",\"state\":\"catching-up\",\"leader\":false,\"self\":true,"
    "\"term\":5,"
    "\"applied\":900,\"lag\":300,\"missing\":12,\"version\":\"0.1.0\",\"uptime_ms\":null,\"address\":\"h2:1\"}]}}\n";

static void shows_status(void **state)
{
    struct server s = {.answers = {status_answer, status_answer}, .connections = 2};
    struct run *r = malloc(sizeof(*r));

    (void)state;
    server_start(&s);
    run(r, s.path, NULL, "status");
    assert_int_equal(r->code, 0);
    assert_string_equal(r->err, "asking peers\n");
    assert_string_equal(r->out, "Cluster c1, term 5, commit 1200, leader n1\n\n"
                                "NODE  ROLE     STATE        TERM  APPLIED  LAG  MISSING  VERSION  UPTIME\n"
                                "n1 *  voter    ok              5     1200    0        0  0.1.0    2h 1m\n"
                                "n2 @  standby  catching-up     5      900  300       12  0.1.0    -\n");
    assert_string_equal(s.request[0], "{\"verb\":\"status\",\"args\":{}}\n");
    run(r, s.path, NULL, "--json status");
    assert_int_equal(r->code, 0);
    json_t *data = json_loads(r->out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(data, "members")), 2);
    json_decref(data);
    assert_string_equal(r->err, "");
    server_stop(&s);
    free(r);
}

static void exit_codes(void **state)
{
    static const struct {
        const char *line, *answer;
        int code;
        const char *out, *err; /* beginnings */
    } cases[] = {
        {"user list", "{\"ok\":true,\"data\":{\"users\":[]}}\n", 0, "ADDRESS  STATE", ""},
        {"user lock a@b", "{\"ok\":true,\"data\":{\"address\":\"a@b\"}}\n", 0, "Locked user a@b.\n", ""},
        {"user quota a@b 0", "{\"ok\":true,\"data\":{\"address\":\"a@b\",\"quota\":0}}\n", 0,
         "ADDRESS  a@b\nQUOTA    none\n", ""},
        {"user lock a@b",
         "{\"ok\":false,\"code\":\"notfound\",\"error\":\"no such user: a@b\",\"hint\":\"See mailctl user list\"}\n", 3,
         "", "mailctl: user lock: no such user: a@b\nSee mailctl user list\n"},
        {"user lock a@b", "{\"ok\":false,\"code\":\"unavailable\",\"error\":\"no leader\"}\n", 4, "",
         "mailctl: user lock: no leader\nSee mailctl status"},
        {"domain add x", "{\"ok\":false,\"code\":\"exists\",\"error\":\"exists\"}\n", 5, "",
         "mailctl: domain add: exists\n"},
        {"user lock a@b", "{\"ok\":false,\"code\":\"io\",\"error\":\"disk\"}\n", 1, "", "mailctl: user lock: disk\n"},
        {"user lock a@b --json", "{\"ok\":false,\"code\":\"io\",\"error\":\"disk\"}\n", 1, "",
         "{\"ok\":false,\"code\":\"io\",\"error\":\"disk\"}\n"},
        {"verify", "{\"ok\":true,\"data\":{\"same\":true,\"members\":[]}}\n", 0, "NODE", ""},
        {"verify", "{\"ok\":true,\"data\":{\"same\":false,\"members\":[]}}\n", 1, "NODE", ""},
        {"verify", "{\"ok\":true,\"data\":{\"same\":false,\"differ\":true,\"members\":[]}}\n", 1,
         "NODE  DIGEST  INDEX  STATE\n\nREPLICAS DIFFER", ""},
        {"verify", "{\"ok\":true,\"data\":{\"same\":false,\"differ\":false,\"members\":[]}}\n", 4,
         "NODE  DIGEST  INDEX  STATE\n\nNot all replicas could be compared", ""},
        {"status", "{\"ok\":true,\"data\":{\"leader\":null,\"members\":[]}}\n", 4,
         "Cluster -, term 0, commit 0, no leader", ""},
        {"member list", "{\"ok\":true,\"data\":{\"leader\":null,\"members\":[]}}\n", 0, "NODE", ""},
        {"status", "rubbish\n", 1, "", "mailctl: status: the answer makes no sense"},
        {"status", NULL, 4, "", "mailctl: status: maild closed the connection"},
        {"status", "{\"ok\":true", 4, "", "mailctl: status: maild closed the connection"},
        {"user remove a@b --yes", "{\"ok\":true,\"data\":{}}\n", 0, "Removed user a@b.\n", ""},
    };
    struct run *r = malloc(sizeof(*r));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server s = {.answers = {cases[i].answer}, .connections = 1};
        server_start(&s);
        run(r, s.path, NULL, cases[i].line);
        server_stop(&s);
        assert_int_equal(r->code, cases[i].code);
        r->out[strlen(cases[i].out)] = '\0';
        assert_string_equal(r->out, cases[i].out);
        r->err[strlen(cases[i].err)] = cases[i].err[0] ? '\0' : r->err[0];
        assert_string_equal(r->err, cases[i].err);
    }
    free(r);
}

/* None of these may reach a maild. */
static void usage_errors(void **state)
{
    static const struct {
        const char *line;
        int code;
        const char *err;
    } cases[] = {
        {"", 2, "mailctl: runs a Merlion"},
        {"fly", 2, "mailctl: no such command: fly\n"},
        {"user", 2, "mailctl: no such command: user\nSee mailctl --help\nCommands of user:\n"},
        {"user fly", 2, "mailctl: no such command: user fly\n"},
        {"user add", 2,
         "mailctl: user add: ADDRESS is missing: mail address of the user\nUsage: mailctl user add ADDRESS"},
        {"member role n king", 2, "mailctl: member role: role: one of: voter standby spare\n"},
        {"user add a@b", 2, "mailctl: user add: no terminal to ask for the password: use --password-stdin\n"},
        {"user add a@b --password-stdin", 2, "mailctl: user add: the password is empty"},
        {"user remove a@b", 2, "mailctl: user remove: Remove a@b with all mail? No terminal to ask on: say --yes\n"},
        {"user list --frob", 2, "mailctl: user list: unknown option --frob\n"},
        {"status", 4, "mailctl: status: /nonexistent/sock: No such file or directory: is maild running?"},
        {"help user add", 0, ""},
        {"user add --help", 0, ""},
        {"user --help", 0, ""},
        {"--help", 0, ""},
        {"--version", 0, ""},
        {"fly --help", 2, "mailctl: no such command: fly\n"},
    };
    struct run *r = malloc(sizeof(*r));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run(r, "/nonexistent/sock", NULL, cases[i].line);
        assert_int_equal(r->code, cases[i].code);
        if (cases[i].code != 0)
            r->err[strlen(cases[i].err)] = '\0';
        assert_string_equal(r->err, cases[i].err);
        assert_int_equal(r->out[0] != '\0', cases[i].code == 0);
    }
    free(r);
}

static void password_from_stdin(void **state)
{
    struct server s = {.answers = {"{\"ok\":true,\"data\":{\"address\":\"a@b\",\"id\":1}}\n"}, .connections = 1};
    struct run *r = malloc(sizeof(*r));

    (void)state;
    server_start(&s);
    run(r, s.path, "s3 cret\nrest\n", "user add a@b --password-stdin --quota 1M");
    server_stop(&s);
    assert_int_equal(r->code, 0);
    assert_string_equal(r->out, "Added user a@b.\n");
    assert_string_equal(
        s.request[0],
        "{\"verb\":\"user add\",\"args\":{\"quota\":1048576,\"address\":\"a@b\",\"password\":\"s3 cret\"}}\n");
    free(r);
}

/* On a terminal of its own. Types each answer after its prompt; returns the exit code. */
static int on_terminal(const char *path, const char *const *argv, const char *const (*dialogue)[2], char *said,
                       size_t max)
{
    int tty, status;
    size_t n = 0, step = 0, seen = 0;
    ssize_t got;
    pid_t child = forkpty(&tty, NULL, NULL, NULL);

    if (child == 0) {
        setenv("MERLION_SOCKET", path, 1);
        execv("./mailctl", (char *const *)(uintptr_t)argv);
        _exit(99);
    }
    while (n + 1 < max && (got = read(tty, said + n, max - 1 - n)) > 0) {
        n += (size_t)got;
        said[n] = '\0';
        const char *prompt = dialogue[step][0] ? strstr(said + seen, dialogue[step][0]) : NULL;
        if (!prompt)
            continue;
        seen = (size_t)(prompt - said) + strlen(dialogue[step][0]);
        assert_true(write(tty, dialogue[step][1], strlen(dialogue[step][1])) > 0);
        step++;
    }
    waitpid(child, &status, 0);
    close(tty);
    assert_null(dialogue[step][0]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static void prompts(void **state)
{
    static const char *add[] = {"./mailctl", "user", "add", "a@b", NULL};
    static const char *removal[] = {"./mailctl", "user", "remove", "a@b", NULL};
    static const char *const same[][2] = {{"Password: ", "pass word\n"}, {"Once more: ", "pass word\n"}, {NULL, NULL}};
    static const char *const differ[][2] = {
        {"Password: ", "pass word\n"}, {"Once more: ", "pass wort\n"}, {NULL, NULL}};
    static const char *const yes[][2] = {{"Remove a@b with all mail? [y/N] ", "y\n"}, {NULL, NULL}};
    static const char *const no[][2] = {{"Remove a@b with all mail? [y/N] ", "\n"}, {NULL, NULL}};
    struct server s = {.answers = {"{\"ok\":true,\"data\":{}}\n", "{\"ok\":true,\"data\":{}}\n"}, .connections = 2};
    char said[5000];

    (void)state;
    server_start(&s);
    assert_int_equal(on_terminal(s.path, add, differ, said, sizeof(said)), 2);
    assert_int_equal(on_terminal(s.path, removal, no, said, sizeof(said)), 5);
    assert_int_equal(on_terminal(s.path, add, same, said, sizeof(said)), 0);
    assert_null(strstr(said, "pass word")); /* no echo */
    assert_string_equal(s.request[0],
                        "{\"verb\":\"user add\",\"args\":{\"address\":\"a@b\",\"password\":\"pass word\"}}\n");
    assert_int_equal(on_terminal(s.path, removal, yes, said, sizeof(said)), 0);
    server_stop(&s);
}

static void waits(void **state)
{
    static const char before[] = "{\"ok\":true,\"data\":{\"leader\":\"n1\",\"members\":[]}}\n";
    static const char after[] = "{\"ok\":true,\"data\":{\"leader\":\"n2\",\"members\":[]}}\n";
    struct server s = {.answers = {before, "{\"ok\":true,\"data\":{\"leader\":\"n2\"}}\n", before, NULL, after},
                       .connections = 5};
    struct run *r = malloc(sizeof(*r));

    (void)state;
    server_start(&s);
    run(r, s.path, NULL, "leader transfer --wait");
    server_stop(&s);
    assert_int_equal(r->code, 0);
    assert_string_equal(r->out, "LEADER  n2\n");
    assert_string_equal(s.request[1], "{\"verb\":\"leader transfer\",\"args\":{}}\n");
    assert_string_equal(s.request[4], "{\"verb\":\"status\",\"args\":{}}\n");
    struct server never = {.answers = {before, "{\"ok\":true,\"data\":{}}\n", before, before, before},
                           .connections = 5};
    server_start(&never);
    run(r, never.path, NULL, "leader transfer --wait --timeout 1");
    server_stop(&never);
    assert_int_equal(r->code, 4);
    free(r);
}

static void watches(void **state)
{
    struct server s = {.answers = {status_answer, NULL, status_answer}, .connections = 3};
    int out[2], status;
    char text[4000];
    size_t n = 0, heads = 0;
    ssize_t got;

    (void)state;
    server_start(&s);
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    if (child == 0) {
        setenv("MERLION_SOCKET", s.path, 1);
        dup2(out[1], 1);
        close(2);
        execl("./mailctl", "./mailctl", "status", "--watch", (char *)NULL);
        _exit(99);
    }
    close(out[1]);
    while (heads < 2 && n + 1 < sizeof(text) && (got = read(out[0], text + n, sizeof(text) - 1 - n)) > 0) {
        n += (size_t)got;
        text[n] = '\0';
        heads = 0; /* the second one comes after a second without an answer */
        for (const char *at = text; (at = strstr(at, "Cluster c1")) != NULL; at++)
            heads++;
    }
    assert_int_equal(heads, 2);
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    close(out[0]);
    server_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_status), cmocka_unit_test(exit_codes),
        cmocka_unit_test(usage_errors), cmocka_unit_test(password_from_stdin),
        cmocka_unit_test(prompts),      cmocka_unit_test(waits),
        cmocka_unit_test(watches),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
