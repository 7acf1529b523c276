/* Which requests ran. A request that comes again changes nothing: it is answered as the first time, or refused when it
 * lies before what is remembered (4,096 numbers of a boot, the 4 newest boots of a node). */
#include "tests/sim/check.h"

enum { WINDOW = 4096, BOOTS = 4, SLOTS = 4096 };

struct request {
    struct request *next;
    uint64_t node, boot, seq, result_sum;
};
struct boot {
    struct boot *next;
    uint64_t node, boot, newest;
    bool dropped;
};
static struct request *slots[SLOTS];
static struct boot *boots;

static struct request **slot(uint64_t node, uint64_t boot, uint64_t seq)
{
    return &slots[(node * 31 + boot * 17 + seq) % SLOTS];
}

static struct boot *boot_find(uint64_t node, uint64_t boot)
{
    struct boot *b = boots;
    while (b && (b->node != node || b->boot != boot || b->dropped))
        b = b->next;
    return b;
}

static unsigned boots_kept(uint64_t node, struct boot **oldest_r)
{
    unsigned n = 0;
    *oldest_r = NULL;
    for (struct boot *b = boots; b; b = b->next) {
        if (b->node != node || b->dropped)
            continue;
        n++;
        if (!*oldest_r || b->boot < (*oldest_r)->boot)
            *oldest_r = b;
    }
    return n;
}

enum model_seen model_request_seen(uint64_t node, uint64_t boot, uint64_t seq, uint64_t *result_sum_r)
{
    struct boot *b = boot_find(node, boot), *oldest;
    if (!b)
        return boots_kept(node, &oldest) >= BOOTS && boot < oldest->boot ? MODEL_STALE : MODEL_NEW;
    if (b->newest >= WINDOW && seq <= b->newest - WINDOW)
        return MODEL_STALE;
    for (struct request *r = *slot(node, boot, seq); r; r = r->next) {
        if (r->node == node && r->boot == boot && r->seq == seq) {
            *result_sum_r = r->result_sum;
            return MODEL_REPEAT;
        }
    }
    return MODEL_NEW;
}

void model_request_add(uint64_t node, uint64_t boot, uint64_t seq, uint64_t result_sum)
{
    struct request *r = mem_zalloc(sizeof *r), **at = slot(node, boot, seq);
    *r = (struct request){*at, node, boot, seq, result_sum};
    *at = r;
    struct boot *b = boot_find(node, boot), *oldest;
    if (!b) {
        b = mem_zalloc(sizeof *b);
        *b = (struct boot){.next = boots, .node = node, .boot = boot};
        boots = b;
        while (boots_kept(node, &oldest) > BOOTS)
            oldest->dropped = true;
    }
    if (seq > b->newest)
        b->newest = seq;
}
