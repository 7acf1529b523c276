#include "store/state.h"

/* Recent requests, so that a command sent again answers as it did the first time. Bounded: of a node's boot the
 * REQUEST_WINDOW newest sequence numbers, of a node the REQUEST_BOOTS newest boots. What lies before is refused rather
 * than run twice. */

static bool newest_get(struct store *s, const struct request_id *id, uint64_t *newest_r)
{
    struct key k;
    struct slice v;
    if (!batch_get(s, TABLE_BOOT, key_boot(&k, id->node, id->boot), &v))
        return false;
    if (!record_u64_read(v, newest_r))
        batch_fail(s, ERR_CORRUPT, "boot", 0);
    return true;
}

/* The oldest boot kept of a node, and how many there are. */
static unsigned boots_count(struct store *s, uint64_t node, uint64_t *oldest_r)
{
    struct key k;
    struct slice key, v;
    unsigned n = 0;
    for (bool has = batch_seek(s, TABLE_BOOT, key_boot(&k, node, 0), &key, &v); has && get_be64(key.p) == node;
         has = batch_next(s, TABLE_BOOT, &key, &v))
        if (n++ == 0)
            *oldest_r = get_be64(key.p + 8);
    return n;
}

enum request_seen batch_request_find(struct store *s, const struct request_id *id, struct slice *result_r)
{
    struct key k;
    struct slice v;
    uint64_t newest, oldest_boot = 0;
    if (batch_get(s, TABLE_REQUEST, key_request(&k, id), &v)) {
        if (!record_opaque_read(v, result_r))
            batch_fail(s, ERR_CORRUPT, "request", 0);
        return REQUEST_REPEAT;
    }
    if (newest_get(s, id, &newest))
        return newest >= REQUEST_WINDOW && id->seq <= newest - REQUEST_WINDOW ? REQUEST_STALE : REQUEST_NEW;
    unsigned boots = boots_count(s, id->node, &oldest_boot);
    return boots >= REQUEST_BOOTS && id->boot < oldest_boot ? REQUEST_STALE : REQUEST_NEW;
}

/* Drops a boot's requests up to `last`. */
static void requests_drop(struct store *s, uint64_t node, uint64_t boot, uint64_t last)
{
    struct key k;
    struct slice key, v;
    struct request_id first = {node, boot, 0};
    while (batch_seek(s, TABLE_REQUEST, key_request(&k, &first), &key, &v) && get_be64(key.p) == node &&
           get_be64(key.p + 8) == boot && get_be64(key.p + 16) <= last) {
        struct request_id old = {node, boot, get_be64(key.p + 16)};
        batch_del(s, TABLE_REQUEST, key_request(&k, &old));
    }
}

static void boots_drop(struct store *s, uint64_t node)
{
    struct key k;
    uint64_t oldest = 0;
    while (boots_count(s, node, &oldest) > REQUEST_BOOTS) {
        requests_drop(s, node, oldest, UINT64_MAX);
        batch_del(s, TABLE_BOOT, key_boot(&k, node, oldest));
    }
}

void batch_request_put(struct store *s, const struct request_id *id, struct slice result)
{
    struct key k;
    uint64_t newest = 0;
    bool known = newest_get(s, id, &newest);
    struct buf *b = batch_value(s);
    record_opaque_write(b, result);
    batch_insert(s, TABLE_REQUEST, key_request(&k, id), buf_slice(b));
    if (known && id->seq <= newest)
        return;
    b = batch_value(s);
    record_u64_write(b, id->seq);
    batch_put(s, TABLE_BOOT, key_boot(&k, id->node, id->boot), buf_slice(b));
    if (!known)
        boots_drop(s, id->node);
    if (id->seq > REQUEST_WINDOW)
        requests_drop(s, id->node, id->boot, id->seq - REQUEST_WINDOW);
}
