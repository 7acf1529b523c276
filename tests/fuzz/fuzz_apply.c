/* Random commands, made by the commands' own descriptors: two replicas that cut the same log into different batches
 * give the same answers and the same digest, and a scrub finds nothing. */
#include "node/base/buf.h"
#include "node/base/log.h"
#include "store/command.pb-c.h"
#include "tests/fuzz/fuzz_store.h"

enum { ENTRIES_MAX = 24, REPEATED_MAX = 3 };

static const int64_t start_ms = 1700000000000;

struct maker {
    struct fuzz_dice dice;
    struct slice in; /* steers the choices, octet by octet, until it is used up */
    struct arena arena;
};

static uint32_t choose(struct maker *m, uint32_t below)
{
    if (m->in.n == 0)
        return fuzz_roll(&m->dice, below);
    uint8_t c = m->in.p[0];
    m->in = slice_from(m->in, 1);
    return c % below;
}

/* Few names and numbers, so that commands meet. */
static char *name_make(struct maker *m, const char *field)
{
    static const char *const names[] = {"INBOX",    "a",          "a/b",     "a/c",  "d",        "u@x.test", "v@x.test",
                                        "x.test",   "y.test",     "$Junk",   "key",  "w@y.test", "",         "inbox",
                                        "\xc3\xa9", "u+d@x.test", "@x.test", "a//b", "\xff",     "INBOX/s"};
    if (strcmp(field, "destination") == 0 && choose(m, 8))
        return arena_str(&m->arena, slice_str(names[6 + choose(m, 2)]));
    return arena_str(&m->arena, slice_str(names[choose(m, sizeof(names) / sizeof(names[0]))]));
}

/* Fields that must agree with others before a command gets far: mostly few values. */
static const struct {
    const char *name;
    uint32_t first, n;
} steered[] = {{"node", 1, 2},
               {"boot", 1, 2},
               {"item", 1, 4},
               {"items", 1, 4},
               {"leg", 1, 2},
               {"attempt", 1, 2},
               {"notify", 0, 9},
               {"recipients", 0, 2},
               {"skip", 0, 2},
               {"accounts", 1, 2},
               {"account", 0, 3},
               {"size", 100, 2},
               {"destination_max", 0, 3},
               {"max", 1, 3}};

static uint64_t number_make(struct maker *m, const char *name)
{
    for (size_t i = 0; i < sizeof steered / sizeof steered[0]; i++)
        if (strcmp(name, steered[i].name) == 0 && choose(m, 8))
            return steered[i].first + choose(m, steered[i].n);
    uint32_t roll = choose(m, 20);
    return roll < 14 ? roll : roll < 18 ? (uint64_t)roll << 7 : roll == 18 ? UINT32_MAX : UINT64_MAX;
}

static void message_fill(struct maker *m, ProtobufCMessage *message);

static ProtobufCMessage *message_make(struct maker *m, const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *message = arena_alloc(&m->arena, d->sizeof_message);
    protobuf_c_message_init(d, message);
    message_fill(m, message);
    return message;
}

static ProtobufCBinaryData bytes_make(struct maker *m, const ProtobufCFieldDescriptor *f)
{
    size_t n = strcmp(f->name, "hash") == 0 && choose(m, 16) ? BODY_HASH_SIZE : choose(m, 9);
    uint8_t *p = arena_alloc(&m->arena, n + 1);
    memset(p, (int)choose(m, 4), n);
    return (ProtobufCBinaryData){n, p};
}

/* Times about those of the commands: what is due, and leases that have not run out. */
static bool is_time(const ProtobufCFieldDescriptor *f)
{
    size_t n = strlen(f->name);
    return n > 3 && strcmp(f->name + n - 3, "_ms") == 0;
}

static void value_make(struct maker *m, const ProtobufCFieldDescriptor *f, void *at)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)at = message_make(m, f->descriptor);
        break;
    case PROTOBUF_C_TYPE_STRING:
        *(char **)at = name_make(m, f->name);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)at = bytes_make(m, f);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)at = (protobuf_c_boolean)choose(m, 2);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *(uint64_t *)at = is_time(f) && choose(m, 4) ? (uint64_t)start_ms + choose(m, 40) : number_make(m, f->name);
        break;
    default:
        *(uint32_t *)at = (uint32_t)(f->type == PROTOBUF_C_TYPE_ENUM ? choose(m, 4) : number_make(m, f->name));
    }
}

static size_t size_of(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
    case PROTOBUF_C_TYPE_STRING:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return 8;
    default:
        return 4;
    }
}

static void message_fill(struct maker *m, ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *d = message->descriptor;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        uint8_t *at = (uint8_t *)message + f->offset;
        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
            continue;
        } else if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n = choose(m, REPEATED_MAX + 1);
            uint8_t *values = arena_alloc(&m->arena, n * size_of(f) + 1);
            for (size_t j = 0; j < n; j++)
                value_make(m, f, values + j * size_of(f));
            *(size_t *)(void *)((uint8_t *)message + f->quantifier_offset) = n;
            *(void **)(void *)at = values;
        } else if (f->type != PROTOBUF_C_TYPE_MESSAGE || choose(m, 16) != 0) {
            value_make(m, f, at);
        }
    }
}

/* A command with one operation chosen; ids and times mostly rise. */
static void command_make(struct maker *m, uint32_t seq, struct buf *entry)
{
    Merlion__Command c = MERLION__COMMAND__INIT;
    message_fill(m, &c.base);
    static const unsigned first_op = 2; /* behind id and time_ms */
    const ProtobufCFieldDescriptor *f =
        &c.base.descriptor->fields[first_op + choose(m, c.base.descriptor->n_fields - first_op)];
    *(uint32_t *)(void *)((uint8_t *)&c + f->quantifier_offset) = f->id;
    *(ProtobufCMessage **)(void *)((uint8_t *)&c + f->offset) = message_make(m, f->descriptor);
    if (c.op_case == MERLION__COMMAND__OP_FORMAT_RAISE) /* a format that this build lacks ends the process, rightly */
        c.format_raise->format %= STORE_FORMAT_MAX + 1;
    if (c.id && choose(m, 8)) {
        c.id->node = 1 + choose(m, 2);
        c.id->boot = 1;
        c.id->seq = seq;
    }
    if (choose(m, 8))
        c.time_ms = start_ms + seq;
    uint8_t *packed = arena_alloc(&m->arena, merlion__command__get_packed_size(&c) + 1);
    entry_add(entry, slice_make(packed, merlion__command__pack(&c, packed)));
}

/* What every log begins with, so that random commands find something to work on. */
static void prologue(struct buf *entry)
{
    static const char *const users[] = {"u@x.test", "v@x.test"};
    uint8_t packed[512];
    Merlion__RequestId id = MERLION__REQUEST_ID__INIT;
    Merlion__DomainAdd domain = MERLION__DOMAIN_ADD__INIT;
    Merlion__Command c = MERLION__COMMAND__INIT;
    id.node = 9;
    id.boot = 1;
    c.id = &id;
    c.time_ms = start_ms;
    domain.name = (char *)(uintptr_t) "x.test";
    id.seq = 1;
    c.op_case = MERLION__COMMAND__OP_DOMAIN_ADD;
    c.domain_add = &domain;
    entry_begin(entry);
    entry_add(entry, slice_make(packed, merlion__command__pack(&c, packed)));
    for (size_t i = 0; i < 2; i++) {
        Merlion__UserAdd user = MERLION__USER_ADD__INIT;
        user.address = (char *)(uintptr_t)users[i];
        user.password = (char *)(uintptr_t) "x";
        c.op_case = MERLION__COMMAND__OP_USER_ADD;
        c.user_add = &user;
        id.seq++;
        entry_add(entry, slice_make(packed, merlion__command__pack(&c, packed)));
    }
    Merlion__FormatRaise raise = MERLION__FORMAT_RAISE__INIT;
    raise.format = STORE_FORMAT_MAX;
    c.op_case = MERLION__COMMAND__OP_FORMAT_RAISE;
    c.format_raise = &raise;
    id.seq++;
    entry_add(entry, slice_make(packed, merlion__command__pack(&c, packed)));
    entry_end(entry);
}

static void on_result(void *arg, struct request_id id, struct slice result)
{
    struct buf *out = arg;
    buf_put_u64(out, id.seq);
    buf_put_bytes(out, result);
}

static void on_mailbox(void *arg, uint64_t mailbox, uint64_t account)
{
    (void)arg, (void)mailbox, (void)account;
}
static void on_referenced(void *arg, const struct body_hash *hash, uint64_t size, struct slice record)
{
    (void)arg, (void)hash, (void)size, (void)record;
}
static void on_freed(void *arg, const struct body_hash *hash)
{
    (void)arg, (void)hash;
}
static void on_cluster(void *arg)
{
    (void)arg;
}

/* Applies the log in batches of `batch` entries. */
static struct sum128 replay(struct buf *log, size_t n, size_t batch, struct buf *results)
{
    struct fuzz_store f;
    struct store_position p;
    fuzz_store_open(&f);
    struct store_events events = {results, on_result, on_mailbox, on_referenced, on_freed, on_cluster, NULL};
    store_set_events(f.store, &events);
    for (size_t i = 0; i < n; i++) {
        if (i % batch == 0)
            ENSURE(store_batch_begin(f.store) == 0);
        ENSURE(store_apply(f.store, i + 1, 1, buf_slice(&log[i])) == 0);
        if ((i + 1) % batch == 0 || i + 1 == n)
            ENSURE(store_batch_commit(f.store) == 0);
    }
    struct sum128 scrubbed;
    ENSURE(store_scrub(f.store, &scrubbed) == 0);
    store_position(f.store, &p);
    ENSURE(p.index == n);
    fuzz_store_close(&f);
    return p.digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct maker m = {.in = slice_make(data, n)};
    struct buf log[ENTRIES_MAX + 1] = {0}, one = {0}, other = {0};
    log_set_level(getenv("FUZZ_VERBOSE") ? LOG_DEBUG : LOG_ERROR + 1);
    m.dice = fuzz_dice_take(&m.in);
    prologue(&log[0]);
    size_t entries = 1;
    for (uint32_t seq = 1; entries <= ENTRIES_MAX && (m.in.n > 0 || entries == 1); entries++) {
        entry_begin(&log[entries]);
        for (uint32_t commands = 1 + choose(&m, 3); commands > 0; commands--)
            command_make(&m, seq++, &log[entries]);
        entry_end(&log[entries]);
    }
    struct sum128 a = replay(log, entries, 1, &one);
    struct sum128 b = replay(log, entries, 1 + fuzz_roll(&m.dice, ENTRIES_MAX), &other);
    ENSURE(a.lo == b.lo && a.hi == b.hi);
    ENSURE(slice_eq(buf_slice(&one), buf_slice(&other)));
    for (size_t i = 0; i < entries; i++)
        buf_close(&log[i]);
    buf_close(&one);
    buf_close(&other);
    arena_close(&m.arena);
    return 0;
}
