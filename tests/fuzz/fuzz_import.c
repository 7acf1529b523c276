/* Any bytes as the copy of a peer's state: it is refused alike however it is cut; and with everything around the
 * records right (blocks, checksums, digest), what is taken can be scrubbed and read by every view, and goes out again
 * as it came. */
#include "node/base/buf.h"
#include "node/base/log.h"
#include "store/queue.h"
#include "store/stream.h"
#include "tests/fuzz/fuzz_store.h"

static struct fuzz_store f;

static void clean_up(void)
{
    if (f.store)
        fuzz_store_close(&f);
}

/* step 0: at once. The import is only kept where it finished. */
static int feed(struct slice in, uint32_t step, struct fuzz_dice *dice, struct store_import **i_r)
{
    struct err_detail e;
    struct store_position p;
    ENSURE(store_import_begin(f.dir, i_r, &e) == 0);
    int rv = 0;
    while (rv == 0 && in.n > 0) {
        struct slice part = slice_first(in, step ? 1 + fuzz_roll(dice, step) : in.n);
        rv = store_import_feed(*i_r, part, &e);
        in = slice_from(in, part.n);
    }
    if (rv == 0)
        rv = store_import_finish(*i_r, &p, &e);
    if (rv)
        store_import_abort(i_r);
    return rv;
}

static void checksum_put(struct buf *b)
{
    buf_put_u64(b, checksum64(buf_slice(b)));
}

/* The records' digest, as far as they are records, their number, and what the header has of them. */
static uint64_t records_sum(struct slice payload, struct sum128 *digest, struct state_record *state)
{
    struct buf scratch = {0};
    uint64_t n = 0;
    for (struct reader r = {.in = payload}; r.in.n > 0; n++) {
        unsigned table = read_u8(&r);
        size_t key_n = read_u16(&r), value_n = read_u32(&r);
        struct slice key = read_exact(&r, key_n), value = read_exact(&r, value_n);
        if (r.failed || table >= TABLE_N)
            break;
        sum128_add(digest, record_sum(&scratch, (enum table)table, key, value));
        if (table == TABLE_STATE)
            (void)record_state_read(value, state);
    }
    buf_close(&scratch);
    return n;
}

static void stream_make(struct slice payload, struct buf *out)
{
    struct sum128 digest = {0};
    struct state_record state = {.format = STORE_FORMAT_MIN};
    struct buf trailer = {0};
    uint64_t n = records_sum(payload, &digest, &state);
    if (state.format > STORE_FORMAT_MAX)
        state.format = STORE_FORMAT_MAX;
    buf_append(out, "MLX", 3);
    buf_put_u8(out, STREAM_VERSION);
    buf_put_u64(out, 5);
    buf_put_u64(out, 1);
    buf_put_u64(out, digest.lo);
    buf_put_u64(out, digest.hi);
    buf_put_u32(out, state.format);
    buf_put_u64(out, (uint64_t)state.time_ms);
    checksum_put(out);
    if (payload.n > 0) {
        buf_put_u32(out, (uint32_t)payload.n);
        buf_put_u64(out, checksum64(payload));
        buf_append_slice(out, payload);
    }
    buf_put_u32(&trailer, 0);
    buf_put_u64(&trailer, n);
    buf_put_u64(&trailer, digest.lo);
    buf_put_u64(&trailer, digest.hi);
    checksum_put(&trailer);
    buf_append_slice(out, buf_slice(&trailer));
    buf_close(&trailer);
}

/* ---- reading all that there is ---- */

static struct store_view *view;

static bool message_look(void *arg, const struct store_message *m)
{
    struct store_message again;
    struct store_content content;
    struct slice summary;
    (void)arg;
    ENSURE(store_message_get(view, *(uint64_t *)arg, m->uid, &again) == 0 && again.modseq == m->modseq);
    (void)store_summary(view, &m->hash, &summary);
    (void)store_content_get(view, &m->hash, &content);
    return true;
}

static bool mailbox_look(void *arg, const struct store_mailbox *m)
{
    struct uid_set uids = {0}, gone = {0};
    uint64_t id = m->id;
    (void)arg;
    store_message_each(view, id, 1, UINT32_MAX, message_look, &id);
    store_uids(view, id, &uids);
    (void)store_changes(view, id, 0, message_look, &id, &gone);
    uid_set_close(&uids);
    uid_set_close(&gone);
    return true;
}

static bool account_look(void *arg, const struct store_account *a)
{
    uint64_t accounts[8];
    unsigned n;
    (void)arg;
    (void)store_resolve(view, a->address, accounts, 8, &n, NULL);
    store_mailbox_each(view, a->id, mailbox_look, NULL);
    return true;
}

static bool domain_look(void *arg, const struct store_domain *d)
{
    (void)arg;
    store_account_each(view, d->name, account_look, NULL);
    return true;
}

static bool alias_look(void *arg, struct slice address, struct slice targets)
{
    uint64_t accounts[8];
    unsigned n;
    struct resolve_foreign foreign;
    (void)arg, (void)targets;
    (void)store_resolve(view, address, accounts, 8, &n, &foreign);
    ENSURE(n <= 8 && foreign.n <= sizeof foreign.text);
    (void)store_address_belongs(view, 1, address);
    return true;
}

static bool member_look(void *arg, const struct store_member *m)
{
    (void)arg;
    return m->name.n <= m->name.n + m->version.n;
}

/* ---- the queue ---- */

static bool recipient_look(void *arg, unsigned place, const struct store_queue_recipient *r)
{
    (void)arg;
    return place < QUEUE_RECIPIENTS_MAX && r->address.n <= 1024;
}

static bool reply_look(void *arg, const struct store_queue_reply *r)
{
    (void)arg;
    return r->text.n <= QUEUE_REPLY_MAX;
}

static bool attempt_look(void *arg, const struct store_queue_attempt *a)
{
    const struct store_queue_leg *l = arg;
    store_queue_reply_each(view, l->item, l->leg, a->attempt, reply_look, NULL);
    return true;
}

static bool leg_look(void *arg, const struct store_queue_leg *l)
{
    struct store_queue_leg again = *l;
    struct store_queue_destination d;
    (void)arg;
    ENSURE(store_queue_leg(view, l->item, l->leg, &again) == 0 && again.attempts == l->attempts);
    store_queue_recipient_each(view, l->item, l->leg, recipient_look, NULL);
    store_queue_attempt_each(view, l->item, l->leg, attempt_look, &again);
    (void)store_queue_destination(view, l->destination, &d);
    return true;
}

static bool item_look(void *arg, const struct store_queue_item *i)
{
    struct store_queue_item again;
    (void)arg;
    ENSURE(store_queue_item(view, i->id, &again) == 0 && again.legs == i->legs);
    store_queue_leg_each(view, i->id, leg_look, NULL);
    return true;
}

static bool destination_look(void *arg, const struct store_queue_destination *d)
{
    (void)arg;
    return d->name.n > 0;
}

static bool lease_look(void *arg, uint64_t node, uint64_t boot, int64_t until_ms, uint64_t item, uint32_t leg)
{
    struct store_queue_leg l;
    (void)arg, (void)node, (void)boot, (void)until_ms;
    (void)store_queue_leg(view, item, leg, &l);
    return true;
}

static void look_at_queue(void)
{
    struct store_queue_totals t;
    store_queue_totals(view, &t);
    store_queue_item_each(view, 0, item_look, NULL);
    store_queue_due_each(view, INT64_MAX, destination_look, NULL);
    store_queue_destination_each(view, destination_look, NULL);
    store_queue_lease_each(view, 0, lease_look, NULL);
}

static void look_at_all(struct store *s)
{
    struct store_stats st;
    struct sum128 digest;
    (void)store_scrub(s, &digest); /* says what does not fit together; never fails on it in another way */
    store_stats(s, &st);
    ENSURE(store_view_open(s, &view) == 0);
    store_domain_each(view, domain_look, NULL);
    store_alias_each(view, alias_look, NULL);
    store_member_each(view, member_look, NULL);
    for (uint64_t account = 0; account < 8; account++)
        store_mailbox_each(view, account, mailbox_look, NULL);
    look_at_queue();
    store_view_close(&view);
}

static void ensure_same_again(struct store *s, struct slice stream)
{
    struct store_export *x;
    struct store_position p;
    struct buf out = {0};
    uint64_t total;
    bool done = false;
    ENSURE(store_export_begin(s, &x, &p, &total) == 0);
    while (!done)
        ENSURE(store_export_next(x, 1000, &out, &done) == 0);
    store_export_end(&x);
    ENSURE(slice_eq(buf_slice(&out), stream));
    buf_close(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_make(data, n);
    struct fuzz_dice dice = fuzz_dice_take(&in);
    struct store_import *i;
    struct err_detail e;
    struct buf stream = {0};
    log_set_level(getenv("FUZZ_VERBOSE") ? LOG_DEBUG : LOG_ERROR + 1);
    if (!f.store) {
        fuzz_store_open(&f);
        ENSURE(atexit(clean_up) == 0);
    }
    if (fuzz_roll(&dice, 4) == 0)
        buf_append_slice(&stream, in);
    else
        stream_make(in, &stream);
    int rv = feed(buf_slice(&stream), 0, NULL, &i);
    if (rv == 0)
        store_import_abort(&i);
    ENSURE(feed(buf_slice(&stream), 1 + fuzz_roll(&dice, 200), &dice, &i) == rv);
    if (rv == 0) {
        if (store_import_swap(f.store, &i, &e))
            err_panic(__FILE__, __LINE__, e.text);
        look_at_all(f.store);
        ensure_same_again(f.store, buf_slice(&stream));
        fuzz_store_close(&f);
        fuzz_store_open(&f);
    }
    buf_close(&stream);
    return 0;
}
