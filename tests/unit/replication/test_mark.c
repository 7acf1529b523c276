#include "replication/mark.h"

#include "node/base/hash.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], path[128];
static struct mark m;

static int begin(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/merlion-mark-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/raft.mark", dir);
    return mark_open(&m, path, NULL);
}

static int end(void **state)
{
    (void)state;
    mark_close(&m);
    unlink(path);
    return rmdir(dir);
}

static void reopen(void)
{
    mark_close(&m);
    assert_int_equal(mark_open(&m, path, NULL), 0);
}

static void keeps_the_last(void **state)
{
    (void)state;
    assert_true(m.fresh);
    assert_int_equal(m.index, 0);
    for (uint64_t i = 1; i <= 5; i++) {
        assert_int_equal(mark_raise(&m, i, 7), 0);
        reopen();
        assert_false(m.fresh);
        assert_int_equal(m.index, i);
        assert_int_equal(m.term, 7);
    }
    assert_int_equal(mark_lower(&m, 2, 0), 0);
    reopen();
    assert_int_equal(m.index, 2);
    assert_int_equal(m.term, 0);
    assert_int_equal(mark_sync(&m), 0);
}

static void damage(int slot)
{
    int fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, "x", 1, slot * MARK_SLOT + 17), 1);
    close(fd);
}

/* A torn write of one slot leaves the one before; after lowering, none of the two is higher. */
static void survives_one_torn_slot(void **state)
{
    (void)state;
    assert_int_equal(mark_raise(&m, 10, 1), 0);
    assert_int_equal(mark_raise(&m, 11, 1), 0);
    damage((int)(m.sequence % 2));
    reopen();
    assert_int_equal(m.index, 10);
    assert_int_equal(mark_raise(&m, 12, 1), 0);
    assert_int_equal(mark_lower(&m, 4, 1), 0);
    damage((int)(m.sequence % 2));
    reopen();
    assert_int_equal(m.index, 4);
}

static void refuses_two_damaged_slots(void **state)
{
    (void)state;
    struct err_detail e;
    assert_int_equal(mark_raise(&m, 10, 1), 0);
    assert_int_equal(mark_raise(&m, 11, 1), 0);
    damage(0);
    damage(1);
    mark_close(&m);
    assert_int_equal(mark_open(&m, path, &e), ERR_CORRUPT);
}

static void blank_is_fresh(void **state)
{
    (void)state;
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(truncate(path, 2 * MARK_SLOT), 0);
    reopen();
    assert_true(m.fresh);
    assert_int_equal(m.index, 0);
}

/* Died while the mark was made: half of the first slot was written. The file of that name was not there yet. */
static void making_is_begun_anew(void **state)
{
    (void)state;
    char made[160];
    uint8_t slot[MARK_BYTES];
    snprintf(made, sizeof made, "%s.new", path);
    assert_int_equal(access(made, F_OK), -1);
    assert_int_equal(pread(m.fd, slot, sizeof slot, MARK_SLOT), MARK_BYTES);
    assert_int_equal(unlink(path), 0);
    int fd = open(made, O_RDWR | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, 2 * MARK_SLOT), 0);
    assert_int_equal(pwrite(fd, slot, sizeof slot / 2, MARK_SLOT), sizeof slot / 2);
    close(fd);
    reopen();
    assert_true(m.fresh);
    assert_int_equal(access(made, F_OK), -1);
    assert_int_equal(mark_raise(&m, 3, 1), 0);
    reopen();
    assert_false(m.fresh);
    assert_int_equal(m.index, 3);
}

static void golden(void **state)
{
    (void)state;
    uint8_t b[MARK_BYTES];
    char hex[2 * MARK_BYTES + 1];
    assert_int_equal(mark_raise(&m, 258, 3), 0);
    assert_int_equal(m.sequence, 3);
    assert_int_equal(pread(m.fd, b, sizeof b, MARK_SLOT), MARK_BYTES);
    hex_encode(slice_make(b, 32), hex);
    assert_string_equal(hex, "4d4d524b"
                             "01000000"
                             "0300000000000000"
                             "0201000000000000"
                             "0300000000000000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keeps_the_last, begin, end),
        cmocka_unit_test_setup_teardown(survives_one_torn_slot, begin, end),
        cmocka_unit_test_setup_teardown(refuses_two_damaged_slots, begin, end),
        cmocka_unit_test_setup_teardown(blank_is_fresh, begin, end),
        cmocka_unit_test_setup_teardown(making_is_begun_anew, begin, end),
        cmocka_unit_test_setup_teardown(golden, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
