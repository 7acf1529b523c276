/* What fuzz targets share. A target is one function of libFuzzer's; what may never happen ends the process. */
#ifndef FUZZ_H
#define FUZZ_H

#include "node/base/err.h"
#include "node/base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Choices made by an input's first octets: small and repeatable. */
struct fuzz_dice {
    uint32_t state;
};
static inline uint32_t fuzz_roll(struct fuzz_dice *d, uint32_t below)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 17;
    d->state ^= d->state << 5;
    return d->state % below;
}
/* Takes four octets off the input. */
static inline struct fuzz_dice fuzz_dice_take(struct slice *in)
{
    uint32_t seed = 0;
    for (size_t i = 0; i < 4 && i < in->n; i++)
        seed = seed << 8 | in->p[i];
    *in = slice_from(*in, 4);
    return (struct fuzz_dice){seed ? seed : 1};
}

#endif
