/* How long the reading for damage at a node's start takes: a state of so many messages is made in a folder, and read
 * with its pages in memory and from the disk.
 *
 *   bench_check MESSAGES FOLDER       a folder that is there is read again */
#include "node/base/clock.h"
#include "store/command.pb-c.h"
#include "store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ACCOUNTS = 100, SUMMARY = 700, BATCH = 500 };

struct maker {
    struct store *s;
    uint64_t index, seq;
    struct buf entry;
};

static void apply(struct maker *m, Merlion__Command *c)
{
    Merlion__RequestId id = MERLION__REQUEST_ID__INIT;
    id.node = 1;
    id.boot = 1;
    id.seq = ++m->seq;
    c->id = &id;
    c->time_ms = 1700000000000 + (int64_t)m->seq;
    size_t n = merlion__command__get_packed_size(c);
    uint8_t *packed = mem_alloc(n);
    merlion__command__pack(c, packed);
    buf_clear(&m->entry);
    entry_begin(&m->entry);
    entry_add(&m->entry, slice_make(packed, n));
    entry_end(&m->entry);
    mem_free(packed);
    ENSURE(store_apply(m->s, ++m->index, 1, buf_slice(&m->entry)) == 0);
}

static void account_make(struct maker *m, unsigned i)
{
    char address[64];
    snprintf(address, sizeof address, "user%u@example.org", i);
    Merlion__UserAdd u = MERLION__USER_ADD__INIT;
    u.address = address;
    u.password = (char[]){"x"};
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_USER_ADD;
    c.user_add = &u;
    apply(m, &c);
}

/* One message into one mailbox; its summary is what an ordinary one's is like. */
static void deliver(struct maker *m, uint64_t i)
{
    uint8_t summary[SUMMARY];
    uint64_t account = 1 + i % ACCOUNTS;
    struct body_hash hash = body_hash_of(slice_make(&i, sizeof i));
    for (size_t at = 0; at < sizeof summary; at++)
        summary[at] = hash.b[at % sizeof hash.b];
    Merlion__Body body = MERLION__BODY__INIT;
    body.hash = (ProtobufCBinaryData){sizeof hash.b, hash.b};
    body.size = 5000 + i % 20000;
    body.summary = (ProtobufCBinaryData){sizeof summary, summary};
    Merlion__Deliver d = MERLION__DELIVER__INIT;
    d.body = &body;
    d.accounts = &account;
    d.n_accounts = 1;
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_DELIVER;
    c.deliver = &d;
    apply(m, &c);
}

static void state_make(const char *dir, uint64_t messages)
{
    struct err_detail e;
    struct maker m = {.seq = 0};
    const struct store_options o = {.no_sync = true};
    ENSURE(store_open(dir, &o, &m.s, &e) == 0);
    store_batch_begin(m.s);
    Merlion__DomainAdd domain = MERLION__DOMAIN_ADD__INIT;
    domain.name = (char[]){"example.org"};
    Merlion__Command c = MERLION__COMMAND__INIT;
    c.op_case = MERLION__COMMAND__OP_DOMAIN_ADD;
    c.domain_add = &domain;
    apply(&m, &c);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        account_make(&m, i);
    for (uint64_t i = 0; i < messages; i++) {
        deliver(&m, i);
        if (i % BATCH == BATCH - 1) {
            ENSURE(store_batch_commit(m.s) == 0);
            store_batch_begin(m.s);
        }
    }
    ENSURE(store_batch_commit(m.s) == 0);
    struct store_stats st;
    store_stats(m.s, &st);
    printf("messages=%llu used_mib=%llu\n", (unsigned long long)st.messages, (unsigned long long)st.map_used >> 20);
    store_close(&m.s);
    buf_close(&m.entry);
}

static void measure(const char *dir, const char *what)
{
    struct err_detail e = {""};
    int64_t began = clock_steady_ms();
    int rc = store_check_files(dir, false, NULL, &e);
    printf("%s: %lld ms, %s %s\n", what, (long long)(clock_steady_ms() - began), err_text(rc), e.text);
}

static void cache_drop(const char *dir)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/state/data.mdb", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ENSURE(fd >= 0 && fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    close(fd);
}

int main(int argc, char **argv)
{
    struct stat st;
    if (argc != 3)
        return 2;
    if (stat(argv[2], &st))
        state_make(argv[2], strtoull(argv[1], NULL, 10));
    cache_drop(argv[2]);
    measure(argv[2], "from disk");
    measure(argv[2], "in memory");
    measure(argv[2], "in memory");
    return 0;
}
