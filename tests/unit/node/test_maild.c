/* Runs ./maild for what it says before it serves: usage, --check-config, a second start, bad tokens. */
#include "node/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "maild-test-XXXXXX";

struct ran {
    int code;
    char text[4000]; /* standard output and error */
};

static void run(struct ran *r, const char *arguments)
{
    char line[1000];
    snprintf(line, sizeof line, "cd %s && ../maild %s 2>&1", dir, arguments);
    FILE *p = popen(line, "r");
    assert_non_null(p);
    r->text[fread(r->text, 1, sizeof r->text - 1, p)] = 0;
    int status = pclose(p);
    r->code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static void file_write(const char *name, const char *text)
{
    char path[100];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect(const char *arguments, int code, const char *says)
{
    struct ran r;
    run(&r, arguments);
    if (r.code != code || !strstr(r.text, says))
        fail_msg("maild %s: %d, %s", arguments, r.code, r.text);
}

#define BASIC "[node]\nname = n1\ndata = data\n[peer]\nlisten = 127.0.0.1:1\n[admin]\nsocket = admin.sock\n"

static void test_usage(void **state)
{
    (void)state;
    expect("", 2, "--config FILE is missing");
    expect("--fly", 2, "cannot make sense of --fly");
    expect("--help", 0, "maild --config FILE");
    expect("--version", 0, "maild ");
    expect("join --config good.conf", 2, "join needs the token");
    expect("--config nothere.conf", 2, "cannot be read");
}

static void test_check(void **state)
{
    (void)state;
    file_write("good.conf", BASIC);
    file_write("bad.conf", BASIC "[peer]\nlisen = 1\n");
    file_write("nocert.conf", BASIC "[tls]\ncertificate = nothere.pem\nkey = nothere.key\n");
    file_write("rubbish.pem", "rubbish\n");
    file_write("rubbish.conf", BASIC "[tls]\ncertificate = rubbish.pem\nkey = rubbish.pem\n");
    expect("--config good.conf --check-config", 0, "good.conf: right");
    expect("--config bad.conf --check-config", 2, "lisen is not known in [peer]");
    expect("--config nocert.conf --check-config", 2, "certificate nothere.pem: No such file");
    expect("--config rubbish.conf --check-config", 2, "certificate rubbish.pem: ");
    struct stat st;
    char data[100];
    snprintf(data, sizeof data, "%s/data", dir);
    assert_int_equal(stat(data, &st), -1); /* a check makes nothing */
}

static void test_start(void **state)
{
    (void)state;
    char path[100];
    expect("join --config good.conf rubbish", 1, "not a join token");
    snprintf(path, sizeof path, "%s/data", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/data/lock", dir);
    FILE *lock = fopen(path, "w");
    assert_non_null(lock);
    assert_int_equal(flock(fileno(lock), LOCK_EX), 0);
    expect("--config good.conf", 1, "another maild runs in data");
    fclose(lock);
}

static void shell(const char *words)
{
    char line[300];
    snprintf(line, sizeof line, "cd %s && %s", dir, words);
    assert_int_equal(system(line), 0);
}

/* The node's own start makes the folder's files; it is no member, and ends when told. */
static void test_damage(void **state)
{
    (void)state;
    shell("rm -rf data");
    expect("check --config good.conf", 1, "data/lock: No such file");
    shell("timeout -s TERM 60 sh -c '../maild --config good.conf 2>log & "
          "until grep -q started log; do sleep 0.05; done; ../maild check --config good.conf; kill $!; wait' >live");
    shell("grep -q 'state: whole' live && grep -q 'index of bodies: whole' live"); /* of a node that ran */
    expect("check --config good.conf", 0, "state: whole");
    shell("printf '\\377' | dd of=data/local/data.mdb bs=1 seek=16 conv=notrunc 2>/dev/null");
    expect("check --config good.conf", 4, "index of bodies: damaged: page 0");
    shell("printf '\\377' | dd of=data/state/data.mdb bs=1 seek=20 conv=notrunc 2>/dev/null");
    expect("check --config good.conf", 3, "state: damaged: page 0");
    /* The start heals both. */
    shell(
        "timeout -s TERM 60 sh -c '../maild --config good.conf 2>healed & " /* no log of before says that it started */
        "until grep -q started healed; do sleep 0.05; done; kill $!; wait'");
    shell("grep -q 'the state is damaged: it is set aside' healed && grep -q 'built anew' healed");
    expect("check --config good.conf", 0, "index of bodies: whole");
}

static int remove_all(void **state)
{
    char line[100];
    (void)state;
    snprintf(line, sizeof line, "rm -rf %s", dir);
    return system(line);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_usage), cmocka_unit_test(test_check),
                                       cmocka_unit_test(test_start), cmocka_unit_test(test_damage)};
    return cmocka_run_group_tests(tests, make_dir, remove_all);
}
