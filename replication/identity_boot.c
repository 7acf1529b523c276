/* The numbers of a node's starts, which only ever grow: DIR/node/boot and boot.2 have one each, "boot NUMBER\nchecksum
 * HEX\n", and the larger one counts. Starts write them in turn. So the one that is behind can be written over in its
 * place when the disk is full, which takes no space: torn, it leaves the other. */
#include "node/base/hash.h"
#include "node/base/log.h"
#include "replication/identity.h"
#include "replication/internal.h"

#include <inttypes.h>
#include <unistd.h>

static const char *const names[2] = {"boot", "boot.2"};

struct number {
    int status; /* ERR_NOTFOUND, ERR_CORRUPT */
    uint64_t boot;
};

static bool number_parse(struct slice text, uint64_t *boot_r)
{
    uint64_t sum;
    size_t end = slice_find(text, '\n');
    struct slice line = slice_first(text, end), rest = slice_from(text, end + 1);
    return slice_eq(slice_first(line, 5), SLICE_LITERAL("boot ")) &&
           slice_u64(slice_from(line, 5), UINT64_MAX / 2, boot_r) == 0 && rest.n == 26 &&
           slice_eq(slice_first(rest, 9), SLICE_LITERAL("checksum ")) &&
           identity_hex_read(slice_first(slice_from(rest, 9), 16), &sum) && sum == checksum64(line);
}

/* Other errors of reading are the caller's. */
static int number_read(int dir, const char *name, struct number *n_r, struct err_detail *e)
{
    char *text = NULL;
    *n_r = (struct number){.status = identity_dir_read(dir, name, &text, e)};
    if (n_r->status == 0 && !number_parse(slice_str(text), &n_r->boot))
        *n_r = (struct number){.status = ERR_CORRUPT};
    mem_free(text);
    if (n_r->status == ERR_CORRUPT)
        log_event(LOG_WARN, "the number of a start is damaged", LOG_S("file", name));
    return n_r->status == ERR_NOTFOUND || n_r->status == ERR_CORRUPT ? 0 : n_r->status;
}

static int number_write(int dir, struct number have[2], uint64_t boot, struct err_detail *e)
{
    struct buf b = {0};
    buf_printf(&b, "boot %" PRIu64, boot);
    uint64_t sum = checksum64(buf_slice(&b));
    buf_printf(&b, "\nchecksum %016" PRIx64 "\n", sum);
    unsigned at = have[1].boot < have[0].boot, other = 1 - at; /* what is missing or damaged has 0 */
    int rv = identity_dir_write(dir, names[at], buf_slice(&b), e);
    if (rv == ERR_NOSPACE && have[at].status != ERR_NOTFOUND)
        rv = identity_dir_overwrite(dir, names[at], buf_slice(&b), e);
    if (rv == 0 && have[other].status == ERR_NOTFOUND) /* from now on there are two: also when the disk fills up */
        identity_dir_write(dir, names[other], buf_slice(&b), NULL);
    buf_close(&b);
    return rv;
}

/* Neither says what the last number was, and there was one. */
static bool unknown(const struct number *a, const struct number *b)
{
    return a->status && b->status && (a->status == ERR_CORRUPT || b->status == ERR_CORRUPT);
}

int identity_boot_next(const char *data_dir, uint64_t now_ms, uint64_t *boot_r, struct err_detail *e)
{
    struct number have[2];
    int dir = identity_dir_open(data_dir, false, e);
    if (dir < 0)
        return dir;
    int rv = number_read(dir, names[0], &have[0], e);
    if (rv == 0)
        rv = number_read(dir, names[1], &have[1], e);
    if (rv == 0 && unknown(&have[0], &have[1]))
        rv = err_set(e, ERR_CORRUPT, "node/boot: damaged: remove it and boot.2 when the clock is right");
    if (rv == 0) {
        uint64_t last = have[0].boot > have[1].boot ? have[0].boot : have[1].boot;
        *boot_r = now_ms > last ? now_ms : last + 1;
        rv = number_write(dir, have, *boot_r, e);
    }
    close(dir);
    return rv;
}
