#include "replication/message.h"

#include "node/base/mem.h"

#include <string.h>

enum { FLAG_DISRUPT = 1, FLAG_GRANTED = 1, FLAG_PRE_VOTE = 2 };

unsigned message_chunk(const struct raft_append_entries *a, unsigned first)
{
    size_t bytes = 0;
    unsigned n = 0;
    while (first + n < a->n_entries) {
        bytes += a->entries[first + n].buf.len + 13;
        if (n > 0 && bytes > MESSAGE_CHUNK_MAX)
            break;
        n++;
    }
    return n;
}

static void append_entries_put(const struct raft_append_entries *a, unsigned first, unsigned n, struct buf *out)
{
    buf_put_u64(out, a->term);
    buf_put_u64(out, a->prev_log_index + first);
    buf_put_u64(out, first ? a->entries[first - 1].term : a->prev_log_term);
    buf_put_u64(out, a->leader_commit);
    buf_put_u32(out, n);
    for (unsigned i = first; i < first + n; i++) {
        const struct raft_entry *e = &a->entries[i];
        buf_put_u64(out, e->term);
        buf_put_u8(out, (uint8_t)e->type);
        buf_put_bytes(out, slice_make(e->buf.base, e->buf.len));
    }
}

static int install_snapshot_put(const struct raft_install_snapshot *s, struct buf *out)
{
    struct raft_buffer conf;
    if (raft_configuration_encode(&s->conf, &conf) != 0)
        return ERR_NOMEM;
    buf_put_u64(out, s->term);
    buf_put_u64(out, s->last_index);
    buf_put_u64(out, s->last_term);
    buf_put_u64(out, s->conf_index);
    buf_put_bytes(out, slice_make(conf.base, conf.len));
    buf_put_bytes(out, slice_make(s->data.base, s->data.len));
    raft_free(conf.base);
    return 0;
}

static void head_put(struct buf *out, const struct raft_message *m, uint8_t version, unsigned flags)
{
    buf_put_u8(out, MESSAGE_WIRE_VERSION);
    buf_put_u8(out, (uint8_t)m->type);
    buf_put_u8(out, version);
    buf_put_u8(out, (uint8_t)flags);
}

static void vote_put(const struct raft_message *m, struct buf *out)
{
    const struct raft_request_vote *v = &m->request_vote;
    head_put(out, m, v->version, (v->disrupt_leader ? FLAG_DISRUPT : 0u) | (v->pre_vote ? FLAG_PRE_VOTE : 0u));
    buf_put_u64(out, v->term);
    buf_put_u64(out, v->candidate_id);
    buf_put_u64(out, v->last_log_index);
    buf_put_u64(out, v->last_log_term);
}

static void vote_result_put(const struct raft_message *m, struct buf *out)
{
    const struct raft_request_vote_result *v = &m->request_vote_result;
    head_put(out, m, v->version, (v->vote_granted ? FLAG_GRANTED : 0u) | (v->pre_vote ? FLAG_PRE_VOTE : 0u));
    buf_put_u64(out, v->term);
    buf_put_u16(out, v->features);
    buf_put_u16(out, v->capacity);
}

static void append_result_put(const struct raft_message *m, struct buf *out)
{
    const struct raft_append_entries_result *a = &m->append_entries_result;
    head_put(out, m, a->version, 0);
    buf_put_u64(out, a->term);
    buf_put_u64(out, a->rejected);
    buf_put_u64(out, a->last_log_index);
    buf_put_u16(out, a->features);
    buf_put_u16(out, a->capacity);
}

int message_encode(const struct raft_message *m, unsigned first, unsigned n, struct buf *out)
{
    switch (m->type) {
    case RAFT_REQUEST_VOTE:
        vote_put(m, out);
        return 0;
    case RAFT_REQUEST_VOTE_RESULT:
        vote_result_put(m, out);
        return 0;
    case RAFT_APPEND_ENTRIES:
        head_put(out, m, m->append_entries.version, 0);
        append_entries_put(&m->append_entries, first, n, out);
        return 0;
    case RAFT_APPEND_ENTRIES_RESULT:
        append_result_put(m, out);
        return 0;
    case RAFT_INSTALL_SNAPSHOT:
        head_put(out, m, m->install_snapshot.version, 0);
        return install_snapshot_put(&m->install_snapshot, out);
    case RAFT_TIMEOUT_NOW:
        head_put(out, m, m->timeout_now.version, 0);
        buf_put_u64(out, m->timeout_now.term);
        buf_put_u64(out, m->timeout_now.last_log_index);
        buf_put_u64(out, m->timeout_now.last_log_term);
        return 0;
    default:
        return ERR_INVALID;
    }
}

/* ---- decoding ---- */

/* libraft's own encoding: u8 format 1, u64 n, per server u64 id, address with its NUL, u8 role; zero padded to 8. */
bool message_configuration_check(struct slice in)
{
    struct reader r = {.in = in};
    if (in.n % 8 != 0 || read_u8(&r) != 1)
        return false;
    uint64_t n = read_u64(&r);
    if (r.failed || n > MESSAGE_SERVERS_MAX)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t id = read_u64(&r);
        size_t length = slice_find(r.in, 0);
        if (r.failed || id == 0 || length >= r.in.n || length == 0 || length > MESSAGE_ADDRESS_MAX)
            return false;
        read_exact(&r, length + 1);
        uint8_t role = read_u8(&r);
        if (r.failed || role > RAFT_SPARE)
            return false;
    }
    return r.in.n < 8;
}

struct entry_view {
    uint64_t term;
    uint8_t type;
    struct slice data;
};

/* An entry whose length is not a multiple of 8, or is 0, crashes libraft's disk code later: refuse it at the door. */
static bool entry_read(struct reader *r, struct entry_view *e, uint64_t term_min, uint64_t term_max)
{
    e->term = read_u64(r);
    e->type = read_u8(r);
    e->data = read_bytes(r, MESSAGE_ENTRY_MAX);
    if (r->failed || e->data.n == 0 || e->data.n % 8 != 0)
        return false;
    if (e->term == 0 || e->term < term_min || e->term > term_max)
        return false;
    if (e->type == RAFT_CHANGE)
        return message_configuration_check(e->data);
    return e->type == RAFT_COMMAND || e->type == RAFT_BARRIER;
}

static unsigned chunk_length(const struct entry_view *v, unsigned first, unsigned n)
{
    size_t bytes = v[first].data.n;
    unsigned k = 1;
    while (first + k < n && v[first + k].type != RAFT_CHANGE && bytes + v[first + k].data.n <= MESSAGE_CHUNK_MAX)
        bytes += v[first + k++].data.n;
    return k;
}

/* What this message cannot show to match is not committed by it. libraft takes the smaller of both too, but then also
 * when that is below its commit index: it would go back. */
static void commit_cap(struct raft_append_entries *a, unsigned n)
{
    if (a->leader_commit > a->prev_log_index + n)
        a->leader_commit = a->prev_log_index + n;
}

/* One message with entries [first, first + k): the array and one batch with all the data, as libraft takes them. */
static void chunk_build(struct raft_message *m, const struct raft_append_entries *head, const struct entry_view *v,
                        unsigned first, unsigned k)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < k; i++)
        bytes += v[first + i].data.n;
    uint8_t *batch = raft_malloc(bytes);
    struct raft_entry *entries = raft_malloc(k * sizeof *entries);
    ENSURE(batch && entries);
    uint8_t *at = batch;
    for (unsigned i = 0; i < k; i++) {
        const struct entry_view *e = &v[first + i];
        memcpy(at, e->data.p, e->data.n);
        entries[i] = (struct raft_entry){
            .term = e->term, .type = (enum raft_entry_type)e->type, .buf = {at, e->data.n}, .batch = batch};
        at += e->data.n;
    }
    *m = (struct raft_message){.type = RAFT_APPEND_ENTRIES, .append_entries = *head};
    struct raft_append_entries *a = &m->append_entries;
    a->prev_log_index += first;
    if (first > 0)
        a->prev_log_term = v[first - 1].term;
    commit_cap(a, k);
    a->entries = entries;
    a->n_entries = k;
}

static int entries_split(const struct raft_append_entries *head, const struct entry_view *v, unsigned n,
                         struct message_list *l)
{
    unsigned messages = 0;
    for (unsigned i = 0; i < n; i += chunk_length(v, i, n))
        messages++;
    l->items = mem_zalloc(messages * sizeof *l->items);
    for (unsigned i = 0; i < n;) {
        unsigned k = chunk_length(v, i, n);
        chunk_build(&l->items[l->n++], head, v, i, k);
        i += k;
    }
    return 0;
}

static int append_entries_read(struct reader *r, uint8_t version, struct message_list *l)
{
    struct raft_append_entries a = {.version = version};
    a.term = read_u64(r);
    a.prev_log_index = read_u64(r);
    a.prev_log_term = read_u64(r);
    a.leader_commit = read_u64(r);
    uint32_t n = read_u32(r);
    if (r->failed || a.term == 0 || a.prev_log_term > a.term || n > MESSAGE_ENTRIES_MAX || n > r->in.n / 13)
        return ERR_PROTOCOL;
    if ((a.prev_log_index == 0) != (a.prev_log_term == 0) || a.prev_log_index > UINT64_MAX / 2)
        return ERR_PROTOCOL;
    if (n == 0) {
        if (r->in.n != 0)
            return ERR_PROTOCOL;
        commit_cap(&a, 0);
        l->items = mem_zalloc(sizeof *l->items);
        l->items[l->n++] = (struct raft_message){.type = RAFT_APPEND_ENTRIES, .append_entries = a};
        return 0;
    }
    struct entry_view *v = mem_alloc(n * sizeof *v);
    bool ok = true;
    for (uint32_t i = 0; ok && i < n; i++)
        ok = entry_read(r, &v[i], i ? v[i - 1].term : a.prev_log_term, a.term);
    int rc = ok && r->in.n == 0 ? entries_split(&a, v, n, l) : ERR_PROTOCOL;
    mem_free(v);
    return rc;
}

static int install_snapshot_read(struct reader *r, uint8_t version, struct raft_message *m)
{
    struct raft_install_snapshot *s = &m->install_snapshot;
    s->version = version;
    s->term = read_u64(r);
    s->last_index = read_u64(r);
    s->last_term = read_u64(r);
    s->conf_index = read_u64(r);
    struct slice conf = read_bytes(r, 65536);
    struct slice data = read_bytes(r, MESSAGE_SNAPSHOT_MAX);
    if (r->failed || r->in.n != 0 || s->last_index == 0 || s->last_term == 0 || s->last_term > s->term ||
        s->conf_index > s->last_index)
        return ERR_PROTOCOL;
    if (data.n == 0 || !message_configuration_check(conf))
        return ERR_PROTOCOL;
    struct raft_buffer b = {(void *)(uintptr_t)conf.p, conf.n};
    raft_configuration_init(&s->conf);
    if (raft_configuration_decode(&b, &s->conf) != 0) {
        raft_configuration_close(&s->conf);
        return ERR_PROTOCOL;
    }
    s->data.base = raft_malloc(data.n);
    ENSURE(s->data.base);
    memcpy(s->data.base, data.p, data.n);
    s->data.len = data.n;
    return 0;
}

static int fixed_read(struct reader *r, uint8_t version, uint8_t flags, struct raft_message *m)
{
    switch (m->type) {
    case RAFT_REQUEST_VOTE:
        m->request_vote = (struct raft_request_vote){.version = version,
                                                     .term = read_u64(r),
                                                     .disrupt_leader = flags & FLAG_DISRUPT,
                                                     .pre_vote = flags & FLAG_PRE_VOTE};
        m->request_vote.candidate_id = read_u64(r);
        m->request_vote.last_log_index = read_u64(r);
        m->request_vote.last_log_term = read_u64(r);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        m->request_vote_result = (struct raft_request_vote_result){.version = version,
                                                                   .term = read_u64(r),
                                                                   .vote_granted = flags & FLAG_GRANTED,
                                                                   .pre_vote = flags & FLAG_PRE_VOTE};
        m->request_vote_result.features = read_u16(r);
        m->request_vote_result.capacity = read_u16(r);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        m->append_entries_result = (struct raft_append_entries_result){.version = version, .term = read_u64(r)};
        m->append_entries_result.rejected = read_u64(r);
        m->append_entries_result.last_log_index = read_u64(r);
        m->append_entries_result.features = read_u16(r);
        m->append_entries_result.capacity = read_u16(r);
        break;
    default:
        m->timeout_now = (struct raft_timeout_now){.version = version, .term = read_u64(r)};
        m->timeout_now.last_log_index = read_u64(r);
        m->timeout_now.last_log_term = read_u64(r);
        break;
    }
    return r->failed || r->in.n != 0 ? ERR_PROTOCOL : 0;
}

int message_decode(struct slice in, struct message_list *l_r)
{
    *l_r = (struct message_list){NULL, 0};
    struct reader r = {.in = in};
    uint8_t wire = read_u8(&r), type = read_u8(&r), version = read_u8(&r), flags = read_u8(&r);
    if (r.failed || wire != MESSAGE_WIRE_VERSION || type < RAFT_APPEND_ENTRIES || type > RAFT_TIMEOUT_NOW)
        return ERR_PROTOCOL;
    if (type == RAFT_APPEND_ENTRIES)
        return append_entries_read(&r, version, l_r);
    struct raft_message m = {.type = (enum raft_message_type)type};
    int rc =
        type == RAFT_INSTALL_SNAPSHOT ? install_snapshot_read(&r, version, &m) : fixed_read(&r, version, flags, &m);
    if (rc != 0)
        return rc;
    l_r->items = mem_alloc(sizeof m);
    l_r->items[0] = m;
    l_r->n = 1;
    return 0;
}

void message_discard(struct raft_message *m)
{
    if (m->type == RAFT_APPEND_ENTRIES && m->append_entries.n_entries > 0) {
        raft_free(m->append_entries.entries[0].batch);
        raft_free(m->append_entries.entries);
        m->append_entries.n_entries = 0;
    } else if (m->type == RAFT_INSTALL_SNAPSHOT) {
        raft_configuration_close(&m->install_snapshot.conf);
        raft_free(m->install_snapshot.data.base);
    }
}

void message_list_free(struct message_list *l)
{
    mem_free(l->items);
    *l = (struct message_list){NULL, 0};
}
