#include "node/command_queue.h"

#include "node/address.h"

#include <stdlib.h>

/* A recipient and its destination: the domain as A-labels, in lower case. */
struct routed {
    char *destination;
    const struct foreign_recipient *recipient;
    unsigned place; /* in the transaction: what comes first goes first */
};

static char *destination_of(struct arena *a, struct slice address)
{
    char text[ADDRESS_TEXT_MAX];
    size_t at = address.n;
    while (at > 0 && address.p[at - 1] != '@')
        at--;
    struct slice domain = slice_str(address_ascii(slice_from(address, at), text));
    char *out = arena_str(a, domain);
    for (char *p = out; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + ('a' - 'A'));
    return out;
}

static int routed_order(const void *a, const void *b)
{
    const struct routed *x = a, *y = b;
    int c = strcmp(x->destination, y->destination);
    return c != 0 ? c : x->place < y->place ? -1 : x->place > y->place;
}

static Merlion__QueueRecipient *recipient_pack(struct arena *a, const struct foreign_recipient *in)
{
    Merlion__QueueRecipient *r = arena_alloc(a, sizeof *r);
    merlion__queue_recipient__init(r);
    r->address = arena_str(a, in->address);
    r->orcpt = arena_str(a, in->orcpt);
    r->notify = in->notify;
    return r;
}

/* Recipients first … first + n - 1 go to one destination. */
static Merlion__QueueLeg *leg_pack(struct arena *a, const struct routed *first, size_t n)
{
    Merlion__QueueLeg *l = arena_alloc(a, sizeof *l);
    merlion__queue_leg__init(l);
    l->destination = first->destination;
    l->recipients = arena_alloc(a, n * sizeof(*l->recipients));
    for (size_t i = 0; i < n; i++)
        l->recipients[l->n_recipients++] = recipient_pack(a, first[i].recipient);
    return l;
}

void command_legs_pack(struct arena *a, const struct foreign_recipient *recipients, size_t n, Merlion__Enqueue *e)
{
    struct routed *routed = arena_alloc(a, (n + 1) * sizeof *routed);
    for (size_t i = 0; i < n; i++)
        routed[i] = (struct routed){destination_of(a, recipients[i].address), &recipients[i], (unsigned)i};
    qsort(routed, n, sizeof *routed, routed_order);
    e->legs = arena_alloc(a, (n + 1) * sizeof(*e->legs));
    for (size_t first = 0, end; first < n; first = end) {
        end = first + 1;
        while (end < n && strcmp(routed[end].destination, routed[first].destination) == 0)
            end++;
        e->legs[e->n_legs++] = leg_pack(a, &routed[first], end - first);
    }
}

void command_lease_set(struct arena *a, Merlion__Enqueue *e, uint64_t node, uint64_t boot, int64_t until_ms)
{
    e->lease = arena_alloc(a, sizeof *e->lease);
    merlion__queue_holder__init(e->lease);
    e->lease->node = node;
    e->lease->boot = boot;
    e->lease->until_ms = until_ms;
}

Merlion__Enqueue *command_enqueue_pack(struct arena *a, const struct write *w)
{
    static const struct {
        size_t field;
        uint32_t flag;
    } flags[] = {{offsetof(struct write, utf8), QUEUE_UTF8},
                 {offsetof(struct write, eight), QUEUE_8BIT},
                 {offsetof(struct write, binary), QUEUE_BINARY},
                 {offsetof(struct write, ret_full), QUEUE_RET_FULL},
                 {offsetof(struct write, ret_headers), QUEUE_RET_HEADERS}};
    Merlion__Enqueue *e = arena_alloc(a, sizeof *e);
    merlion__enqueue__init(e);
    command_legs_pack(a, w->foreign, w->foreign_n, e);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (*(const bool *)((const char *)w + flags[i].field))
            e->flags |= flags[i].flag;
    e->envid = arena_str(a, w->envid);
    e->account = w->submitter;
    e->skip = w->skip;
    e->id = arena_str(a, w->session);
    return e;
}
