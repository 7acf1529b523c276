#include "replication/message.h"

#include "node/base/hash.h"
#include "node/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *hex_of(struct slice s)
{
    char *out = mem_alloc(2 * s.n + 1);
    hex_encode(s, out);
    return out;
}

static void golden_check(const struct raft_message *m, const char *golden)
{
    struct buf b = {0};
    unsigned n = m->type == RAFT_APPEND_ENTRIES ? m->append_entries.n_entries : 0;
    assert_int_equal(message_encode(m, 0, n, &b), 0);
    char *hex = hex_of(buf_slice(&b));
    assert_string_equal(hex, golden);
    mem_free(hex);
    /* Every shorter one is refused, and so is a longer one. */
    struct message_list l;
    for (size_t k = 0; k < buf_len(&b); k++)
        assert_int_equal(message_decode(slice_first(buf_slice(&b), k), &l), ERR_PROTOCOL);
    buf_append_byte(&b, 0);
    assert_int_equal(message_decode(buf_slice(&b), &l), ERR_PROTOCOL);
    buf_truncate(&b, buf_len(&b) - 1);
    assert_int_equal(message_decode(buf_slice(&b), &l), 0);
    struct buf again = {0};
    assert_int_equal(l.n, 1);
    assert_int_equal(message_encode(&l.items[0], 0, n, &again), 0);
    assert_true(slice_eq(buf_slice(&b), buf_slice(&again)));
    message_discard(&l.items[0]);
    message_list_free(&l);
    buf_close(&again);
    buf_close(&b);
}

static void votes_golden(void **state)
{
    (void)state;
    struct raft_message m = {.type = RAFT_REQUEST_VOTE,
                             .request_vote = {.version = 2,
                                              .term = 3,
                                              .candidate_id = 7,
                                              .last_log_index = 258,
                                              .last_log_term = 2,
                                              .disrupt_leader = true,
                                              .pre_vote = true}};
    golden_check(&m, "01030203"
                     "0300000000000000"
                     "0700000000000000"
                     "0201000000000000"
                     "0200000000000000");
    m = (struct raft_message){
        .type = RAFT_REQUEST_VOTE_RESULT,
        .request_vote_result = {.version = 2, .term = 3, .vote_granted = true, .features = 1, .capacity = 4096}};
    golden_check(&m, "01040201"
                     "0300000000000000"
                     "0100"
                     "0010");
    m = (struct raft_message){.type = RAFT_TIMEOUT_NOW,
                              .timeout_now = {.version = 0, .term = 3, .last_log_index = 9, .last_log_term = 2}};
    golden_check(&m, "01060000"
                     "0300000000000000"
                     "0900000000000000"
                     "0200000000000000");
    m = (struct raft_message){
        .type = RAFT_APPEND_ENTRIES_RESULT,
        .append_entries_result = {
            .version = 2, .term = 3, .rejected = 4, .last_log_index = 5, .features = 1, .capacity = 7}};
    golden_check(&m, "01020200"
                     "0300000000000000"
                     "0400000000000000"
                     "0500000000000000"
                     "0100"
                     "0700");
}

static void entries_golden(void **state)
{
    (void)state;
    struct raft_entry e[2] = {{.term = 2, .type = RAFT_COMMAND, .buf = {(void *)(uintptr_t) "abcdefgh", 8}},
                              {.term = 3, .type = RAFT_BARRIER, .buf = {(void *)(uintptr_t) "\0\0\0\0\0\0\0\0", 8}}};
    struct raft_message m = {.type = RAFT_APPEND_ENTRIES,
                             .append_entries = {.version = 0,
                                                .term = 3,
                                                .prev_log_index = 9,
                                                .prev_log_term = 2,
                                                .leader_commit = 8,
                                                .entries = e,
                                                .n_entries = 2}};
    golden_check(&m, "01010000"
                     "0300000000000000"
                     "0900000000000000"
                     "0200000000000000"
                     "0800000000000000"
                     "02000000"
                     "0200000000000000"
                     "01"
                     "08000000"
                     "6162636465666768"
                     "0300000000000000"
                     "02"
                     "08000000"
                     "0000000000000000");
    m.append_entries.n_entries = 0;
    /* libraft's commit index would go back over a heartbeat that shows less than it says is committed. */
    struct buf b = {0};
    struct message_list l;
    m.append_entries.leader_commit = 12;
    assert_int_equal(message_encode(&m, 0, 0, &b), 0);
    assert_int_equal(message_decode(buf_slice(&b), &l), 0);
    assert_int_equal(l.items[0].append_entries.leader_commit, 9);
    message_list_free(&l);
    buf_close(&b);
    m.append_entries.leader_commit = 8;
    golden_check(&m, "01010000"
                     "0300000000000000"
                     "0900000000000000"
                     "0200000000000000"
                     "0800000000000000"
                     "00000000");
}

static void snapshot_golden(void **state)
{
    (void)state;
    struct raft_message m = {
        .type = RAFT_INSTALL_SNAPSHOT,
        .install_snapshot = {.version = 0, .term = 3, .last_index = 9, .last_term = 2, .conf_index = 4}};
    raft_configuration_init(&m.install_snapshot.conf);
    assert_int_equal(raft_configuration_add(&m.install_snapshot.conf, 5, "h:1", RAFT_VOTER), 0);
    m.install_snapshot.data = (struct raft_buffer){(void *)(uintptr_t) "12345678", 8};
    golden_check(&m, "01050000"
                     "0300000000000000"
                     "0900000000000000"
                     "0200000000000000"
                     "0400000000000000"
                     "18000000"
                     "010100000000000000"
                     "0500000000000000"
                     "683a3100"
                     "01"
                     "0000"
                     "08000000"
                     "3132333435363738");
    raft_configuration_close(&m.install_snapshot.conf);
}

/* ---- what a peer could get wrong ---- */

static void entry_put(struct buf *b, uint64_t term, uint8_t type, const void *p, size_t n)
{
    buf_put_u64(b, term);
    buf_put_u8(b, type);
    buf_put_bytes(b, slice_make(p, n));
}

static void head_put(struct buf *b, uint64_t term, uint64_t prev, uint64_t prev_term, uint64_t commit, uint32_t n)
{
    buf_clear(b);
    buf_append(b, "\1\1\0\0", 4);
    buf_put_u64(b, term);
    buf_put_u64(b, prev);
    buf_put_u64(b, prev_term);
    buf_put_u64(b, commit);
    buf_put_u32(b, n);
}

static int decode_drop(const struct buf *b)
{
    struct message_list l;
    int rc = message_decode(buf_slice(b), &l);
    for (unsigned i = 0; i < l.n; i++)
        message_discard(&l.items[i]);
    message_list_free(&l);
    return rc;
}

static void bad_entries_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint64_t term, prev, prev_term, entry_term;
        uint8_t type;
        size_t n;
        int expect;
    } table[] = {
        {"good", 5, 3, 2, 5, RAFT_COMMAND, 16, 0},
        {"a length that is not a multiple of 8 crashes the disk code", 5, 3, 2, 5, RAFT_COMMAND, 12, ERR_PROTOCOL},
        {"empty entries decode badly", 5, 3, 2, 5, RAFT_COMMAND, 0, ERR_PROTOCOL},
        {"term 0", 0, 3, 2, 5, RAFT_COMMAND, 16, ERR_PROTOCOL},
        {"entry of a later term than the leader's", 5, 3, 2, 6, RAFT_COMMAND, 16, ERR_PROTOCOL},
        {"entry of an earlier term than the one before", 5, 3, 4, 3, RAFT_COMMAND, 16, ERR_PROTOCOL},
        {"unknown type", 5, 3, 2, 5, 4, 16, ERR_PROTOCOL},
        {"configuration that is none", 5, 3, 2, 5, RAFT_CHANGE, 16, ERR_PROTOCOL},
        {"index without a term", 5, 3, 0, 5, RAFT_COMMAND, 16, ERR_PROTOCOL},
        {"term without an index", 5, 0, 2, 5, RAFT_COMMAND, 16, ERR_PROTOCOL},
    };
    static const uint8_t data[16] = {9, 9};
    struct buf b = {0};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        head_put(&b, table[i].term, table[i].prev, table[i].prev_term, 0, 1);
        entry_put(&b, table[i].entry_term, table[i].type, data, table[i].n);
        if (decode_drop(&b) != table[i].expect)
            fail_msg("%s", table[i].what);
    }
    head_put(&b, 5, 3, 2, 0, UINT32_MAX); /* a count that the bytes cannot hold */
    assert_int_equal(decode_drop(&b), ERR_PROTOCOL);
    buf_close(&b);
}

static void configurations_are_checked(void **state)
{
    (void)state;
    struct raft_configuration c;
    struct raft_buffer b;
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, 1, "127.0.0.1:1", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(&c, 2, "[::1]:22", RAFT_STANDBY), 0);
    assert_int_equal(raft_configuration_encode(&c, &b), 0);
    raft_configuration_close(&c);
    assert_true(message_configuration_check(slice_make(b.base, b.len)));
    for (size_t k = 0; k < b.len; k++)
        assert_false(message_configuration_check(slice_first(slice_make(b.base, b.len), k)));
    uint8_t *copy = mem_alloc(b.len);
    memcpy(copy, b.base, b.len);
    copy[1] = 0xff; /* more servers than are in it */
    assert_false(message_configuration_check(slice_make(copy, b.len)));
    memcpy(copy, b.base, b.len);
    for (size_t k = 17; k < b.len; k++) /* an address without an end */
        copy[k] = 'x';
    assert_false(message_configuration_check(slice_make(copy, b.len)));
    mem_free(copy);
    raft_free(b.base);
}

/* A RAFT_CHANGE that is not the first new entry gets a wrong index in libraft: it starts a message of its own. */
static void changes_start_a_message(void **state)
{
    (void)state;
    struct raft_configuration c;
    struct raft_buffer conf;
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, 1, "h:1", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_encode(&c, &conf), 0);
    raft_configuration_close(&c);
    struct buf b = {0};
    head_put(&b, 5, 10, 2, 14, 5);
    entry_put(&b, 3, RAFT_COMMAND, "aaaaaaaa", 8);
    entry_put(&b, 3, RAFT_CHANGE, conf.base, conf.len);
    entry_put(&b, 4, RAFT_COMMAND, "bbbbbbbb", 8);
    entry_put(&b, 4, RAFT_CHANGE, conf.base, conf.len);
    entry_put(&b, 5, RAFT_CHANGE, conf.base, conf.len);
    struct message_list l;
    assert_int_equal(message_decode(buf_slice(&b), &l), 0);
    static const struct {
        uint64_t prev, prev_term, commit;
        unsigned n;
    } want[] = {{10, 2, 11, 1}, {11, 3, 13, 2}, {13, 4, 14, 1}, {14, 4, 14, 1}};
    assert_int_equal(l.n, 4);
    for (unsigned i = 0; i < l.n; i++) {
        struct raft_append_entries *a = &l.items[i].append_entries;
        assert_int_equal(a->prev_log_index, want[i].prev);
        assert_int_equal(a->prev_log_term, want[i].prev_term);
        assert_int_equal(a->leader_commit, want[i].commit);
        assert_int_equal(a->n_entries, want[i].n);
        assert_ptr_equal(a->entries[0].batch, a->entries[a->n_entries - 1].batch);
        for (unsigned k = 1; k < a->n_entries; k++)
            assert_int_not_equal(a->entries[k].type, RAFT_CHANGE);
        message_discard(&l.items[i]);
    }
    message_list_free(&l);
    raft_free(conf.base);
    buf_close(&b);
}

/* An append must fit a raft_uv segment of 8 MB: many big entries become several messages, at both ends. */
static void big_appends_are_cut(void **state)
{
    (void)state;
    enum { N = 5, SIZE = 2 * 1024 * 1024 };
    uint8_t *data = mem_zalloc(SIZE);
    struct raft_entry e[N];
    for (int i = 0; i < N; i++)
        e[i] = (struct raft_entry){.term = 1, .type = RAFT_COMMAND, .buf = {data, SIZE}};
    struct raft_message m = {.type = RAFT_APPEND_ENTRIES, .append_entries = {.term = 1, .entries = e, .n_entries = N}};
    assert_int_equal(message_chunk(&m.append_entries, 0), 2);
    assert_int_equal(message_chunk(&m.append_entries, 4), 1);
    struct buf b = {0};
    assert_int_equal(message_encode(&m, 0, N, &b), 0);
    struct message_list l;
    assert_int_equal(message_decode(buf_slice(&b), &l), 0);
    assert_int_equal(l.n, 3);
    for (unsigned i = 0; i < l.n; i++)
        message_discard(&l.items[i]);
    message_list_free(&l);
    buf_clear(&b);
    assert_int_equal(message_encode(&m, 2, 2, &b), 0);
    assert_int_equal(message_decode(buf_slice(&b), &l), 0);
    assert_int_equal(l.items[0].append_entries.prev_log_index, 2);
    assert_int_equal(l.items[0].append_entries.prev_log_term, 1);
    message_discard(&l.items[0]);
    message_list_free(&l);
    buf_close(&b);
    mem_free(data);
}

/* Damaged messages are refused or are other valid ones; never a crash, never a leak. */
static void garbage(void **state)
{
    (void)state;
    struct buf b = {0};
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        head_put(&b, 5, 3, 2, 4, 2);
        entry_put(&b, 3, RAFT_COMMAND, "aaaaaaaa", 8);
        entry_put(&b, 4, RAFT_BARRIER, "bbbbbbbb", 8);
        for (int k = 0; k < 3; k++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            b.base[b.start + seed % buf_len(&b)] = (uint8_t)(seed >> 32);
        }
        buf_truncate(&b, buf_len(&b) - (seed >> 20) % 3);
        decode_drop(&b);
    }
    buf_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(votes_golden),
        cmocka_unit_test(entries_golden),
        cmocka_unit_test(snapshot_golden),
        cmocka_unit_test(bad_entries_are_refused),
        cmocka_unit_test(configurations_are_checked),
        cmocka_unit_test(changes_start_a_message),
        cmocka_unit_test(big_appends_are_cut),
        cmocka_unit_test(garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
