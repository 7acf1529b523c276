#include "ctl/help.h"
#include "ctl/options.h"
#include "ctl/show.h"
#include "ctl/table.h"
#include "ctl/wait.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void expect(struct buf *b, const char *text)
{
    buf_append_byte(b, '\0');
    assert_string_equal((const char *)buf_slice(b).p, text);
    buf_close(b);
}

static void tables(void **state)
{
    static const char *titles[] = {"NAME", "SIZE", "WHAT"};
    static const bool right[] = {false, true, false};
    static const char *cells[] = {"ann", "7", "x", "日本", "1234567", "", "e\xcc\x81t\xc3\xa9", "10", "a\x1b[2Jb\nc"};
    struct table t;
    struct buf out = {0};

    (void)state;
    table_init(&t, 3, titles, right);
    for (size_t i = 0; i < 9; i++)
        table_cell(&t, cells[i]);
    table_write(&t, &out);
    expect(&out, "NAME     SIZE  WHAT\n"
                 "ann         7  x\n"
                 "日本  1234567  -\n"
                 "e\xcc\x81t\xc3\xa9        10  a?[2Jb?c\n");
    table_close(&t);
    table_init(&t, 3, titles, right);
    for (size_t i = 0; i < 3; i++)
        table_cell(&t, cells[i]);
    table_write_list(&t, &out);
    expect(&out, "NAME  ann\nSIZE  7\nWHAT  x\n");
    table_close(&t);
    assert_int_equal(text_width("\xff\xfe"), 2);
    assert_int_equal(text_width("\xe6\x97"), 2); /* half a character */
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        int64_t n; /* -1: refused */
    } cases[] = {
        {"0", 0},
        {"500", 500},
        {"1k", 1024},
        {"10G", 10737418240},
        {"2MiB", 2097152},
        {"3tb", 3298534883328},
        {"5B", 5},
        {"", -1},
        {"G", -1},
        {"1.5G", -1},
        {"-1", -1},
        {"1X", -1},
        {"1GG", -1},
        {"9999999T", -1},
        {"99999999999999999999", -1},
        {"1 G", -1},
        {"1i", -1},
    };
    struct buf b = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t n = 0;
        int rv = size_parse(cases[i].text, &n);
        assert_true(rv == 0 ? (int64_t)n == cases[i].n : cases[i].n == -1);
    }
    show_bytes(1023, &b);
    expect(&b, "1023 B");
    show_bytes(1536, &b);
    expect(&b, "1.5 KiB");
    show_bytes(1048575, &b);
    expect(&b, "1.0 MiB");
    show_bytes((uint64_t)5 << 50, &b);
    expect(&b, "5120.0 TiB");
    show_duration(59999, &b);
    expect(&b, "59s");
    show_duration(3600000 + 61000, &b);
    expect(&b, "1h 1m");
    show_duration(3 * 86400000 + 4 * 3600000, &b);
    expect(&b, "3d 4h");
}

/* argv[0] and the words of a line; NULL expects an error of that text. */
static int parse(const char *line, struct options *o, struct err_detail *d)
{
    static char copy[500];
    static char *argv[40];
    int argc = 0;

    snprintf(copy, sizeof(copy), "mailctl %s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    return options_parse(argc, argv, o, d);
}

static void command_lines(void **state)
{
    static const struct {
        const char *line, *verb, *args; /* verb NULL: refused, args is the error */
    } cases[] = {
        {"status", "status", "{}"},
        {"user add a@b --quota 1k", "user add", "{\"address\":\"a@b\",\"quota\":1024}"},
        {"user --yes add a@b --quota=1k", "user add", "{\"address\":\"a@b\",\"quota\":1024}"},
        {"domain add x --catch-all a@x", "domain add", "{\"catch_all\":\"a@x\",\"name\":\"x\"}"},
        {"alias add a b c d", "alias add", "{\"address\":\"a\",\"targets\":[\"b\",\"c\",\"d\"]}"},
        {"member remove n --force", "member remove", "{\"force\":true,\"name\":\"n\"}"},
        {"leader transfer", "leader transfer", "{}"},
        {"leader transfer n2", "leader transfer", "{\"to\":\"n2\"}"},
        {"leader transfer --to n2", "leader transfer", "{\"to\":\"n2\"}"},
        {"member add --name n --address h:1", "member add", "{\"address\":\"h:1\",\"name\":\"n\"}"},
        {"member add --address=h:1 n", "member add", "{\"address\":\"h:1\",\"name\":\"n\"}"},
        {"alias add --targets b --targets c a", "alias add", "{\"address\":\"a\",\"targets\":[\"b\",\"c\"]}"},
        {"leader transfer --to n2 n3", NULL, "one argument too many: n3"},
        {"user lock -- -x@y", "user lock", "{\"address\":\"-x@y\"}"},
        {"user lock a b", NULL, "one argument too many: b"},
        {"user add a --quota", NULL, "--quota wants a value"},
        {"user add a --quota x", NULL, "QUOTA: x is no size; give octets, or 500M, 10G"},
        {"user add a --password x", NULL, "unknown option --password"},
        {"user lock a --force", NULL, "unknown option --force"},
        {"member remove n --force=1", NULL, "--force takes no value"},
        {"status --json=1", NULL, "unknown option --json"},
        {"status --timeout 0", NULL, "--timeout wants seconds, at most 86400"},
        {"status --socket", NULL, "--socket wants a value"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options o;
        struct err_detail d = {0};
        int rv = parse(cases[i].line, &o, &d);
        assert_int_equal(rv, cases[i].verb ? 0 : ERR_INVALID);
        if (rv == 0) {
            char *args = json_dumps(o.args, JSON_COMPACT | JSON_SORT_KEYS);
            assert_string_equal(o.verb->name, cases[i].verb);
            assert_string_equal(args, cases[i].args);
            free(args);
        } else {
            assert_string_equal(d.text, cases[i].args);
        }
        options_close(&o);
    }
}

static void checks(void **state)
{
    static const struct {
        const char *line, *error;
    } cases[] = {
        {"user add a@b", NULL}, /* the password is asked for later */
        {"user add", "ADDRESS is missing: mail address of the user"},
        {"user list --wait", "user list has nothing to --wait for"},
        {"user list --watch", "--watch goes with status only"},
        {"member add n", "ADDRESS is missing: its peer address, HOST:PORT, reachable from the other nodes"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options o;
        struct err_detail d = {0};
        assert_int_equal(parse(cases[i].line, &o, &d), 0);
        assert_int_equal(options_check(&o, &d), cases[i].error ? ERR_INVALID : 0);
        if (cases[i].error)
            assert_string_equal(d.text, cases[i].error);
        options_close(&o);
    }
}

static void helps(void **state)
{
    struct buf out = {0};

    (void)state;
    help_usage(admin_verb_find("user add"), &out);
    expect(&out, "mailctl user add ADDRESS [--password-stdin] [--quota QUOTA]\n");
    help_usage(admin_verb_find("alias add"), &out);
    expect(&out, "mailctl alias add ADDRESS TARGETS…\n");
    help_usage(admin_verb_find("member remove"), &out);
    expect(&out, "mailctl member remove NAME [--force] [--wait] [--yes]\n");
    assert_true(help_group("user", &out));
    assert_false(help_group("us", &out));
    assert_false(help_group("status", &out));
    for (size_t i = 0; i < admin_verb_n; i++)
        help_verb(&admin_verbs[i], &out);
    help_all(&out);
    buf_close(&out);
}

static void waits(void **state)
{
    static const struct {
        const char *verb, *args, *before, *status;
        bool reached;
    } cases[] = {
        {"cluster join", "{}", NULL,
         "{\"members\":[{\"name\":\"a\",\"self\":true,\"state\":\"syncing\",\"role\":\"standby\"}]}", false},
        {"cluster join", "{}", NULL,
         "{\"members\":[{\"name\":\"a\",\"self\":true,\"state\":\"ok\",\"role\":\"standby\"}]}", true},
        {"member add", "{\"name\":\"b\"}", NULL,
         "{\"members\":[{\"name\":\"b\",\"state\":\"ok\",\"role\":\"invited\"}]}", false},
        {"member add", "{\"name\":\"b\"}", NULL, "{\"members\":[{\"name\":\"b\",\"state\":\"ok\",\"role\":\"voter\"}]}",
         true},
        {"member add", "{\"name\":\"b\"}", NULL, "{}", false},
        {"member remove", "{\"name\":\"b\"}", NULL, "{\"members\":[{\"name\":\"b\"}]}", false},
        {"member remove", "{\"name\":\"b\"}", NULL, "{\"members\":[{\"name\":\"a\"}]}", true},
        {"member role", "{\"name\":\"b\",\"role\":\"voter\"}", NULL,
         "{\"members\":[{\"name\":\"b\",\"role\":\"spare\"}]}", false},
        {"member role", "{\"name\":\"b\",\"role\":\"voter\"}", NULL,
         "{\"members\":[{\"name\":\"b\",\"role\":\"voter\"}]}", true},
        {"leader transfer", "{\"to\":\"b\"}", "a", "{\"leader\":\"c\"}", false},
        {"leader transfer", "{\"to\":\"b\"}", "a", "{\"leader\":\"b\"}", true},
        {"leader transfer", "{}", "a", "{\"leader\":\"a\"}", false},
        {"leader transfer", "{}", "a", "{\"leader\":null}", false},
        {"leader transfer", "{}", "a", "{\"leader\":\"b\"}", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *args = json_loads(cases[i].args, 0, NULL), *status = json_loads(cases[i].status, 0, NULL);
        assert_int_equal(wait_reached(admin_verb_find(cases[i].verb), args, cases[i].before, status), cases[i].reached);
        json_decref(args);
        json_decref(status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables), cmocka_unit_test(sizes), cmocka_unit_test(command_lines),
        cmocka_unit_test(checks), cmocka_unit_test(helps), cmocka_unit_test(waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
