#include "protocol/imap/imap_names.h"

#include "node/base/hash.h"

enum { NAMES_FIRST = 16 };

/* Where the name is, or where it would be put. Half of the slots are free at least. */
static uint32_t *slot_of(const struct imap_names *s, struct slice name)
{
    size_t mask = 2 * s->cap - 1, at = (size_t)checksum64(name) & mask;
    while (s->slots[at] && !slice_eq(s->items[s->slots[at] - 1].text, name))
        at = (at + 1) & mask;
    return &s->slots[at];
}

static void grow(struct imap_names *s)
{
    size_t cap = s->cap ? 2 * s->cap : NAMES_FIRST;
    struct imap_name *items = arena_alloc(s->arena, cap * sizeof *items);
    if (s->n > 0)
        memcpy(items, s->items, s->n * sizeof *items);
    s->items = items;
    s->cap = cap;
    s->slots = arena_alloc(s->arena, 2 * cap * sizeof *s->slots);
    for (size_t i = 0; i < s->n; i++)
        *slot_of(s, items[i].text) = (uint32_t)i + 1;
}

void imap_names_note(struct imap_names *s, struct slice name)
{
    if (s->n == s->cap)
        grow(s);
    uint32_t *slot = slot_of(s, name);
    if (*slot)
        return;
    s->items[s->n++] = (struct imap_name){.text = arena_copy(s->arena, name)};
    *slot = (uint32_t)s->n;
}

bool imap_names_take(struct imap_names *s, struct slice name)
{
    uint32_t at = s->n > 0 ? *slot_of(s, name) : 0;
    if (at == 0 || s->items[at - 1].taken)
        return false;
    s->items[at - 1].taken = true;
    return true;
}
