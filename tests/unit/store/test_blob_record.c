/* The record of a body: golden bytes, damage, lengths of a stranger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "node/base/buf.h"
#include "store/blob_record.h"

static struct bytes *encode(const void *p, size_t n)
{
    struct body_hash hash = body_hash_of(slice_make(p, n));
    return blob_encode(&hash, slice_make(p, n));
}

static void golden_bytes(void **state)
{
    (void)state;
    static const char expect[] = "4d424c52" /* magic */
                                 "%s"       /* check */
                                 "0000000000000000"
                                 "%s" /* checksum */
                                 "01000000"
                                 "03000000"
                                 "0300000000000000"
                                 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                                 "616263";
    struct bytes *r = encode("abc", 3);
    char hex[2 * (RECORD_HEADER_SIZE + 3) + 1], want[sizeof hex + 1];
    assert_int_equal(r->n, RECORD_HEADER_SIZE + 3);
    hex_encode(bytes_slice(r), hex);
    snprintf(want, sizeof want, expect, "90dc4874", "50392f89945faf78");
    assert_string_equal(hex, want);
    bytes_unref(&r);
}

static void bodies_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 71, 72, 4096, 65536, 1000001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int random = 0; random < 2; random++) {
            uint8_t *body = mem_zalloc(sizes[i] + 1);
            if (random)
                random_bytes(body, sizes[i]);
            struct bytes *r = encode(body, sizes[i]), *back;
            struct body_hash hash, want = body_hash_of(slice_make(body, sizes[i]));
            uint64_t size;
            assert_int_equal(blob_record_check(bytes_slice(r), &hash, &size), 0);
            assert_true(body_hash_eq(&hash, &want));
            assert_int_equal(size, sizes[i]);
            assert_true(r->n <= RECORD_HEADER_SIZE + sizes[i]);
            if (!random && sizes[i] > 1000)
                assert_true(r->n < sizes[i] / 10);
            assert_int_equal(blob_decode(bytes_slice(r), true, &back), 0);
            assert_true(slice_eq(bytes_slice(back), slice_make(body, sizes[i])));
            bytes_unref(&back);
            bytes_unref(&r);
            mem_free(body);
        }
    }
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    struct bytes *r = encode("Subject: x\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 68), *body;
    struct body_hash hash;
    uint64_t size;
    for (size_t bit = 0; bit < 8 * r->n; bit++) {
        r->p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(blob_record_check(bytes_slice(r), &hash, &size), 0);
        assert_int_not_equal(blob_decode(bytes_slice(r), false, &body), 0);
        r->p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(blob_record_check(bytes_slice(r), &hash, &size), 0);
    for (size_t n = 0; n < r->n; n++)
        assert_int_not_equal(blob_record_check(slice_first(bytes_slice(r), n), &hash, &size), 0);
    bytes_unref(&r);
}

/* Headers with a right check that lie: nothing may be allocated or read by them. */
static void lying_lengths(void **state)
{
    (void)state;
    static const struct record_header lies[] = {
        {.payload = 3, .size = 4},
        {.payload = 4, .size = 3},
        {.payload = 3, .size = 3 * 255 + 1, .flags = RECORD_LZ4},
        {.payload = 0, .size = 1, .flags = RECORD_LZ4},
        {.payload = 3, .size = UINT64_MAX, .flags = RECORD_LZ4},
        {.payload = 3, .size = (uint64_t)BLOB_BODY_MAX + 1, .flags = RECORD_LZ4},
        {.payload = UINT32_MAX, .size = UINT32_MAX},
        {.payload = 3, .size = 3, .flags = 2},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t raw[RECORD_HEADER_SIZE + 3] = {0};
        struct record_header h = lies[i];
        struct body_hash hash;
        uint64_t size;
        h.checksum = checksum64(slice_make(raw + RECORD_HEADER_SIZE, 3));
        record_header_write(&h, raw);
        assert_int_equal(blob_record_check(slice_make(raw, sizeof raw), &hash, &size), ERR_PROTOCOL);
    }
}

/* Whole by its checksums, but no LZ4, or not the body that its name says. */
static void decode_verifies(void **state)
{
    (void)state;
    uint8_t raw[RECORD_HEADER_SIZE + 4] = {0};
    struct bytes *body;
    memcpy(raw + RECORD_HEADER_SIZE, "\xf0\xff\xff\xff", 4);
    struct record_header h = {.payload = 4, .size = 1000, .flags = RECORD_LZ4};
    h.checksum = checksum64(slice_make(raw + RECORD_HEADER_SIZE, 4));
    record_header_write(&h, raw);
    assert_int_equal(blob_decode(slice_make(raw, sizeof raw), false, &body), ERR_CORRUPT);

    struct body_hash other = body_hash_of(SLICE_LITERAL("other"));
    struct bytes *r = blob_encode(&other, SLICE_LITERAL("body"));
    assert_int_equal(blob_decode(bytes_slice(r), true, &body), ERR_CORRUPT);
    assert_int_equal(blob_decode(bytes_slice(r), false, &body), 0);
    bytes_unref(&body);
    bytes_unref(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_bytes),
        cmocka_unit_test(bodies_come_back),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(lying_lengths),
        cmocka_unit_test(decode_verifies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
