#include "node/base/buf.h"
#include "store/store.h"

/*   "MLE" u8, version u8, count u32, count × (length u32, merlion.Command), zeros up to a multiple of 8 */
static const uint8_t magic[4] = {'M', 'L', 'E', 1};

enum { HEAD = 8, PAD = 8 };

void entry_begin(struct buf *b)
{
    buf_clear(b);
    buf_append(b, magic, sizeof magic);
    buf_put_u32(b, 0);
}

void entry_add(struct buf *b, struct slice command)
{
    uint8_t *count = b->base + b->start + sizeof magic;
    ENSURE(command.n <= COMMAND_MAX && get_le32(count) < ENTRY_COMMANDS_MAX);
    put_le32(count, get_le32(count) + 1);
    buf_put_bytes(b, command);
}

void entry_end(struct buf *b)
{
    while (buf_len(b) % PAD)
        buf_append_byte(b, 0);
}

static int walk(struct slice entry, int (*each)(void *arg, struct slice command), void *arg)
{
    struct reader r = {.in = slice_from(entry, sizeof magic)};
    uint32_t count = read_u32(&r);
    if (count > ENTRY_COMMANDS_MAX)
        return ERR_PROTOCOL;
    for (uint32_t i = 0; i < count; i++) {
        struct slice command = read_bytes(&r, COMMAND_MAX);
        if (r.failed)
            return ERR_PROTOCOL;
        int rc = each ? each(arg, command) : 0;
        if (rc)
            return rc;
    }
    if (r.in.n >= PAD)
        return ERR_PROTOCOL;
    for (size_t i = 0; i < r.in.n; i++)
        if (r.in.p[i])
            return ERR_PROTOCOL;
    return 0;
}

int entry_each(struct slice entry, int (*each)(void *arg, struct slice command), void *arg)
{
    if (entry.n < HEAD || entry.n % PAD || memcmp(entry.p, magic, sizeof magic))
        return ERR_PROTOCOL;
    int rc = walk(entry, NULL, NULL);
    return rc ? rc : walk(entry, each, arg);
}
