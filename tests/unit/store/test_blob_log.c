/* Appends, reopening, crashes, damage. */
#include "tests/unit/store/support_blob.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void append_and_read(void **state)
{
    struct blob_bench *t = *state;
    struct blob_stats st;
    blob_bench_open(t);
    assert_int_equal(blob_bench_check(t, 1), ERR_NOTFOUND);
    assert_int_equal(blob_bench_append(t, 0, 300), 0);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(blob_bench_check(t, i), 0);
    blob_stats(t->log, &st);
    assert_int_equal(st.bodies, 300);
    assert_int_equal(st.appends, 300);
    assert_true(st.segments > 3);
    assert_true(st.syncs < 100);
    assert_int_equal(st.oldest_write_ms, 0);
    assert_int_equal(blob_bench_append(t, 0, 300), 0); /* there already */
    uint64_t bytes = st.bytes;
    blob_stats(t->log, &st);
    assert_int_equal(st.appends, 300);
    assert_int_equal(st.bytes, bytes);
}

static void reopen(void **state)
{
    struct blob_bench *t = *state;
    for (unsigned round = 0; round < 6; round++) {
        blob_bench_open(t);
        /* A new one may be one that was lost, with the notes of what is missing: the state may be older than that. */
        assert_int_equal(blob_recheck_needed(t->log), round == 0);
        blob_recheck_done(t->log);
        assert_int_equal(blob_bench_append(t, round * 40, round * 40 + 40), 0);
        blob_close(&t->log);
    }
    blob_bench_open(t);
    struct blob_stats st;
    blob_stats(t->log, &st);
    assert_int_equal(st.bodies, 240);
    for (unsigned i = 0; i < 240; i++)
        assert_int_equal(blob_bench_check(t, i), 0);
}

static void the_record_is_the_same_everywhere(void **state)
{
    struct blob_bench *t = *state;
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 5, 6), 0);
    struct bytes *body = blob_bench_body(5), *record, *encoded;
    struct body_hash hash = blob_bench_hash(5);
    encoded = blob_encode(&hash, bytes_slice(body));
    assert_int_equal(blob_record_read(t->log, &hash, &record), 0);
    assert_true(slice_eq(bytes_slice(record), bytes_slice(encoded)));
    bytes_unref(&body);
    bytes_unref(&record);
    bytes_unref(&encoded);
}

static void all_acknowledged_survives_a_crash(void **state)
{
    struct blob_bench *t = *state;
    for (unsigned round = 0; round < 5; round++) {
        blob_bench_open(t);
        assert_int_equal(blob_bench_append(t, round * 100, round * 100 + 50), 0);
        blob_bench_mark(t);
        assert_int_equal(blob_bench_append(t, round * 100 + 50, round * 100 + 100), 0);
        blob_bench_crash(t);
    }
    blob_bench_open(t);
    assert_true(blob_recheck_needed(t->log));
    for (unsigned i = 0; i < 500; i++)
        assert_int_equal(blob_bench_check(t, i), 0);
    blob_recheck_done(t->log);
    blob_close(&t->log);
    blob_bench_open(t);
    assert_false(blob_recheck_needed(t->log));
}

/* The index may be lost altogether. */
static void index_is_built_anew(void **state)
{
    struct blob_bench *t = *state;
    char command[128];
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, 200), 0);
    blob_close(&t->log);
    snprintf(command, sizeof command, "rm -r %s/local", t->dir);
    assert_int_equal(system(command), 0);
    blob_bench_open(t);
    assert_true(blob_recheck_needed(t->log));
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(blob_bench_check(t, i), 0);
}

/* The last record torn at each of its bytes: it is gone, the others are there, appending goes on. */
static void torn_at_every_byte(void **state)
{
    struct blob_bench *t = *state;
    char path[128];
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 1, 4), 0);
    blob_bench_mark(t);
    unsigned last = 3000; /* 20 bytes long */
    assert_int_equal(blob_bench_append(t, 4, 6), 0);
    assert_int_equal(blob_bench_append(t, last, last + 1), 0);
    struct blob_place place = blob_bench_place(t, last);
    assert_true(place.length < 200);
    for (uint64_t cut = place.offset; cut <= place.offset + place.length; cut++) {
        blob_bench_crash(t);
        blob_bench_segment_path(t, place.segment, path, sizeof path);
        assert_int_equal(truncate(path, (off_t)cut), 0);
        blob_bench_open(t);
        bool whole = cut == place.offset + place.length;
        assert_int_equal(blob_bench_check(t, last), whole ? 0 : ERR_NOTFOUND);
        assert_int_equal(blob_missing_count(t->log), 0);
        for (unsigned i = 1; i < 6; i++)
            assert_int_equal(blob_bench_check(t, i), 0);
        assert_int_equal(blob_bench_append(t, last, last + 1), 0);
        assert_int_equal(blob_bench_check(t, last), 0);
        assert_int_equal(blob_bench_place(t, last).offset, place.offset);
    }
}

/* Damage to any byte of a record that is not the last: never cut off, others unharmed, an append heals it. */
static void damage_in_the_middle_is_no_torn_tail(void **state)
{
    struct blob_bench *t = *state;
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 1, 3), 0);
    blob_bench_mark(t);
    unsigned middle = 3000;
    assert_int_equal(blob_bench_append(t, middle, middle + 1), 0);
    assert_int_equal(blob_bench_append(t, 4, 8), 0);
    struct blob_place place = blob_bench_place(t, middle);
    struct body_hash hash = blob_bench_hash(middle), listed;
    struct blob_position end = index_position(&t->log->index);
    char path[128];
    assert_int_equal(end.segment, place.segment);
    blob_bench_segment_path(t, place.segment, path, sizeof path);
    for (uint64_t at = 0; at < place.length; at++) {
        blob_bench_crash(t);
        assert_int_equal(truncate(path, (off_t)end.offset), 0); /* without what healed the last round */
        blob_bench_flip(t, place.segment, place.offset + at);
        blob_bench_open(t);
        assert_int_equal(blob_bench_check(t, middle), ERR_NOTFOUND);
        for (unsigned i = 1; i < 8; i++)
            assert_int_equal(blob_bench_check(t, i), i == 3 ? ERR_NOTFOUND : 0);
        bool named = at >= RECORD_HEADER_SIZE;
        assert_int_equal(blob_missing_count(t->log), named);
        assert_int_equal(blob_missing_list(t->log, NULL, &listed, 1), named);
        if (named)
            assert_true(body_hash_eq(&listed, &hash));
        assert_true(blob_recheck_needed(t->log));
        assert_int_equal(blob_bench_append(t, middle, middle + 1), 0);
        assert_int_equal(blob_bench_check(t, middle), 0);
        assert_int_equal(blob_missing_count(t->log), 0);
        /* A crash keeps the files as they are, so put the byte right again. */
        blob_bench_flip(t, place.segment, place.offset + at);
    }
}

static void damage_found_by_reading(void **state)
{
    struct blob_bench *t = *state;
    struct body_hash hash = blob_bench_hash(7), listed;
    struct blob_stats st;
    for (int reopened = 0; reopened < 2; reopened++) {
        blob_bench_open(t);
        assert_int_equal(blob_bench_append(t, 0, 20), 0);
        struct blob_place place = blob_bench_place(t, 7);
        for (uint64_t at = 0; at < place.length; at += place.length / 40 + 1) {
            place = blob_bench_place(t, 7);
            blob_bench_flip(t, place.segment, place.offset + at);
            assert_int_equal(blob_bench_check(t, 7), ERR_CORRUPT);
            assert_int_equal(blob_bench_check(t, 7), ERR_NOTFOUND);
            assert_false(blob_has(t->log, &hash));
            assert_int_equal(blob_touch(t->log, &hash), ERR_NOTFOUND);
            assert_int_equal(blob_missing_list(t->log, NULL, &listed, 1), 1);
            assert_true(body_hash_eq(&listed, &hash));
            assert_int_equal(blob_bench_append(t, 7, 8), 0);
            assert_int_equal(blob_bench_check(t, 7), 0);
            assert_int_equal(blob_missing_count(t->log), 0);
        }
        blob_stats(t->log, &st);
        assert_true(st.corrupt >= 20);
        assert_int_equal(st.bodies, 20);
        blob_close(&t->log); /* the second round finds all of it indexed */
    }
}

/* A payload that is itself a record, in a segment of which the header before it is lost. */
static void record_within_a_record(void **state)
{
    struct blob_bench *t = *state;
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 1, 2), 0);
    blob_bench_mark(t);
    uint8_t forged[400] = {0};
    struct body_hash victim = blob_bench_hash(9);
    random_bytes(forged, sizeof forged);
    struct record_header h = {.payload = 32, .size = 32, .hash = victim};
    h.checksum = checksum64(slice_make(forged + RECORD_HEADER_SIZE, 32));
    record_header_write(&h, forged);
    struct body_hash hash = body_hash_of(slice_make(forged, sizeof forged));
    struct blob_append a = {.record = blob_encode(&hash, slice_make(forged, sizeof forged))};
    struct blob_move m = {.append = a, .hash = hash}; /* place 0: is nowhere yet */
    blob_writer_queue(t->log, &m.append);
    assert_int_equal(blob_bench_append(t, 2, 3), 0);
    struct blob_row row;
    assert_int_equal(index_get(&t->log->index, &hash, &row), 0);
    assert_true(row.place.segment != 0);
    blob_bench_crash(t);
    blob_bench_flip(t, row.place.segment, row.place.offset + 50);
    blob_bench_open(t);
    assert_false(blob_has(t->log, &victim));
    assert_false(blob_has(t->log, &hash));
    assert_int_equal(blob_bench_check(t, 2), 0);
    bytes_unref(&a.record);
}

static void missing_list_is_ordered_and_lasts(void **state)
{
    struct blob_bench *t = *state;
    struct body_hash list[128], after;
    blob_bench_open(t);
    assert_int_equal(blob_bench_append(t, 0, 10), 0);
    for (unsigned i = 0; i < 100; i++) {
        struct body_hash hash = blob_bench_hash(i);
        blob_missing_add(t->log, &hash);
        blob_missing_add(t->log, &hash);
        if (i == 50)
            assert_int_equal(blob_index_flush(t->log), 0);
    }
    assert_int_equal(blob_missing_count(t->log), 90); /* ten are here */
    for (int round = 0; round < 3; round++) {
        size_t total = 0, n;
        const struct body_hash *from = NULL;
        while ((n = blob_missing_list(t->log, from, list, 7)) > 0) {
            for (size_t i = 0; i < n; i++) {
                assert_true(!from || memcmp(from->b, list[i].b, BODY_HASH_SIZE) < 0);
                after = list[i];
                from = &after;
            }
            total += n;
        }
        assert_int_equal(total, 90 - (round == 2 ? 40 : 0));
        if (round == 1)
            for (unsigned i = 40; i < 80; i++) {
                struct body_hash hash = blob_bench_hash(i);
                if (i % 2)
                    blob_missing_drop(t->log, &hash);
                else
                    assert_int_equal(blob_bench_append(t, i, i + 1), 0);
            }
        if (round == 0) {
            blob_close(&t->log);
            blob_bench_open(t);
        }
    }
    assert_int_equal(blob_missing_count(t->log), 50);
}

/* Whole by its checksum, but not LZ4: reading finds it, and it is missing then. */
static void appended_as_nonsense(void **state)
{
    struct blob_bench *t = *state;
    uint8_t raw[RECORD_HEADER_SIZE + 4] = {0};
    struct record_header h = {.payload = 4, .size = 1000, .flags = RECORD_LZ4, .hash = blob_bench_hash(1)};
    memcpy(raw + RECORD_HEADER_SIZE, "\xf0\xff\xff\xff", 4);
    h.checksum = checksum64(slice_make(raw + RECORD_HEADER_SIZE, 4));
    record_header_write(&h, raw);
    blob_bench_open(t);
    struct blob_move m = {.append.record = bytes_copy(slice_make(raw, sizeof raw))};
    blob_writer_queue(t->log, &m.append);
    assert_int_equal(blob_bench_append(t, 2, 3), 0);
    assert_int_equal(blob_bench_check(t, 1), ERR_CORRUPT);
    assert_int_equal(blob_missing_count(t->log), 1);
    assert_int_equal(blob_bench_append(t, 1, 2), 0);
    assert_int_equal(blob_bench_check(t, 1), 0);
    bytes_unref(&m.append.record);
}

/* Damage to a segment's own header costs no body; a file that was only just being made is no obstacle. */
static void segment_headers(void **state)
{
    struct blob_bench *t = *state;
    char path[128];
    blob_bench_open(t);
    blob_bench_mark(t);
    assert_int_equal(blob_bench_append(t, 0, 150), 0);
    uint32_t last = segments_last(&t->log->segments);
    assert_true(last >= 2);
    blob_bench_crash(t);
    blob_bench_flip(t, 1, 9);
    blob_bench_flip(t, last, 9);
    for (size_t n = 0; n <= SEGMENT_HEADER_SIZE; n += 8) {
        blob_bench_segment_path(t, last + 1, path, sizeof path);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite("MLBS\1\0\0\0________________________", 1, n, f), n);
        fclose(f);
        blob_bench_open(t);
        for (unsigned i = 0; i < 150; i++)
            assert_int_equal(blob_bench_check(t, i), 0);
        assert_int_equal(segments_last(&t->log->segments), last);
        blob_close(&t->log);
    }
}

static void not_a_record(void **state)
{
    struct blob_bench *t = *state;
    blob_bench_open(t);
    struct blob_move m = {.append.record = bytes_copy(SLICE_LITERAL("x"))};
    blob_writer_queue(t->log, &m.append);
    assert_int_equal(blob_bench_append(t, 0, 1), 0);
    assert_int_equal(m.append.status, ERR_PROTOCOL);
    bytes_unref(&m.append.record);
}

#define ON_BENCH(f) cmocka_unit_test_setup_teardown(f, blob_bench_setup, blob_bench_teardown)

int main(void)
{
    log_set_level(LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        ON_BENCH(append_and_read),
        ON_BENCH(reopen),
        ON_BENCH(the_record_is_the_same_everywhere),
        ON_BENCH(all_acknowledged_survives_a_crash),
        ON_BENCH(index_is_built_anew),
        ON_BENCH(torn_at_every_byte),
        ON_BENCH(damage_in_the_middle_is_no_torn_tail),
        ON_BENCH(damage_found_by_reading),
        ON_BENCH(record_within_a_record),
        ON_BENCH(missing_list_is_ordered_and_lasts),
        ON_BENCH(appended_as_nonsense),
        ON_BENCH(segment_headers),
        ON_BENCH(not_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
