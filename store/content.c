#include "store/state.h"

static struct slice bytes_of(ProtobufCBinaryData d)
{
    return slice_make(d.data, d.len);
}

static bool content_get(struct store *s, struct slice hash, uint64_t *refs_r, uint64_t *size_r)
{
    struct slice v;
    if (!batch_get(s, TABLE_CONTENT, hash, &v))
        return false;
    if (!record_content_read(v, refs_r, size_r))
        batch_fail(s, ERR_CORRUPT, "content", 0);
    return true;
}

static void content_put(struct store *s, struct slice hash, uint64_t refs, uint64_t size)
{
    struct buf *b = batch_value(s);
    record_content_write(b, refs, size);
    batch_put(s, TABLE_CONTENT, hash, buf_slice(b));
}

int body_check(struct store *s, const Merlion__Body *body, const char **why_r)
{
    uint64_t refs, size;
    *why_r = "the message body's hash is not 32 bytes";
    if (!body || body->hash.len != BODY_HASH_SIZE)
        return ERR_INVALID;
    *why_r = "the message is over a limit";
    if (body->size > BODY_SIZE_MAX || body->summary.len > BODY_SUMMARY_MAX || body->record.len > BODY_RECORD_MAX)
        return ERR_TOOBIG;
    *why_r = "the same message is known with another size";
    if (content_get(s, bytes_of(body->hash), &refs, &size) && size != body->size)
        return ERR_INVALID;
    return 0;
}

void batch_content_add(struct store *s, const Merlion__Body *body, uint64_t refs)
{
    struct slice hash = bytes_of(body->hash);
    uint64_t had = 0, size = body->size;
    if (!content_get(s, hash, &had, &size)) {
        struct buf *b = batch_value(s);
        record_opaque_write(b, bytes_of(body->summary));
        batch_insert(s, TABLE_SUMMARY, hash, buf_slice(b));
        s->st.bodies++;
        s->st.body_bytes += size;
    }
    content_put(s, hash, had + refs, size);
    if (s->events.body_referenced && !s->failed) {
        struct body_hash name;
        memcpy(name.b, hash.p, BODY_HASH_SIZE);
        s->events.body_referenced(s->events.arg, &name, size, bytes_of(body->record));
    }
}

void batch_content_ref(struct store *s, const struct body_hash *hash)
{
    uint64_t refs = 0, size = 0;
    if (content_get(s, key_hash(hash), &refs, &size))
        content_put(s, key_hash(hash), refs + 1, size);
    else
        batch_fail(s, ERR_CORRUPT, "content", 0);
}

static void freed_note(struct store *s, const struct body_hash *hash)
{
    if (s->freed_n == s->freed_cap) {
        s->freed_cap = s->freed_cap ? s->freed_cap * 2 : 64;
        s->freed = mem_realloc(s->freed, s->freed_cap * sizeof *s->freed);
    }
    s->freed[s->freed_n++] = *hash;
}

void batch_content_unref(struct store *s, const struct body_hash *hash)
{
    uint64_t refs = 0, size = 0;
    if (!content_get(s, key_hash(hash), &refs, &size) || refs == 0) {
        batch_fail(s, ERR_CORRUPT, "content", 0);
        return;
    }
    if (refs > 1) {
        content_put(s, key_hash(hash), refs - 1, size);
        return;
    }
    batch_del(s, TABLE_CONTENT, key_hash(hash));
    batch_del(s, TABLE_SUMMARY, key_hash(hash));
    s->st.bodies--;
    s->st.body_bytes -= size;
    freed_note(s, hash);
}
