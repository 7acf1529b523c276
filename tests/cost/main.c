/* tests/cost/run: doubles every input and complains where the cost more than doubles. */
#include "node/base/log.h"
#include "node/base/uidset.h"
#include "tests/cost/cost.h"

#include <math.h>
#include <string.h>
#include <time.h>

static const double growth_max = 2.6; /* of one doubling */
/* Buffers double, so memory goes in steps: it is looked at over three doublings. Less than the floor is no growth. */
enum { MEMORY_DOUBLINGS = 3, MEMORY_FLOOR = 128 * 1024, DOUBLINGS_MAX = 20 };

static double ratio(uint64_t now, uint64_t before)
{
    return before ? (double)now / (double)before : 1;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct cost measure(const struct shape *s, unsigned n)
{
    struct buf in = {0};
    s->make(n, &in);
    cost_begin();
    s->run(buf_slice(&in), n);
    struct cost c = cost_end();
    buf_close(&in);
    return c;
}

/* The growth of one doubling, as the cube root of that of three. */
static double memory_growth(const struct cost *c, unsigned i)
{
    if (i < MEMORY_DOUBLINGS)
        return 1;
    uint64_t before = c[i - MEMORY_DOUBLINGS].memory;
    return cbrt(ratio(c[i].memory, before > MEMORY_FLOOR ? before : MEMORY_FLOOR));
}

static bool shape_check(const struct shape *s, bool verbose)
{
    struct cost c[DOUBLINGS_MAX];
    double worst = 0, worst_memory = 0, begun = seconds();
    unsigned i = 0;
    for (unsigned n = s->from; n <= s->to && i < DOUBLINGS_MAX; n *= 2, i++) {
        c[i] = measure(s, n);
        double r = i ? ratio(c[i].steps, c[i - 1].steps) : 1, m = memory_growth(c, i);
        worst = r > worst ? r : worst;
        worst_memory = m > worst_memory ? m : worst_memory;
        if (verbose)
            printf("    %8u  %12llu steps %5.2f  %12llu octets %5.2f\n", n, (unsigned long long)c[i].steps, r,
                   (unsigned long long)c[i].memory, m);
    }
    bool good = i > 1 && worst <= growth_max && worst_memory <= growth_max;
    printf("%-7s %-34s %6u..%-6u  cost %.2f  memory %.2f  %5.2f s\n", good ? "ok" : "FAILED", s->name, s->from, s->to,
           worst, worst_memory, seconds() - begun);
    fflush(stdout);
    return good;
}

/* The test of the test: adding to the front of a set moves all of it, so this must be seen to be quadratic. */
static void planted_make(unsigned n, struct buf *out)
{
    (void)n, (void)out;
}
static void planted_run(struct slice in, unsigned n)
{
    struct uid_set set = {0};
    (void)in;
    for (uint32_t i = n; i > 0; i--)
        uid_set_add(&set, 2 * i, 2 * i);
    uid_set_close(&set);
}
static const struct shape planted = {"planted", 4000, 32000, planted_make, planted_run};

int main(int argc, char **argv)
{
    static const struct shape *const all[] = {shapes_mime, shapes_text, shapes_imap, shapes_lines};
    bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    const char *only = argc > 1 + verbose ? argv[1 + verbose] : NULL;
    unsigned n = 0, failed = 0;
    double seen = ratio(measure(&planted, planted.to).steps, measure(&planted, planted.to / 2).steps);
    if (seen < growth_max) {
        printf("FAILED  what is quadratic counts as growing %.2f-fold\n", seen);
        failed++;
    }
    log_set_level((enum log_level)(LOG_ERROR + 1));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (const struct shape *s = all[i]; s->name; s++)
            if (!only || strstr(s->name, only)) {
                n++;
                failed += !shape_check(s, verbose);
            }
    printf("COST shapes=%u failed=%u growth_max=%.1f %s\n", n, failed, growth_max, failed || n == 0 ? "FAIL" : "PASS");
    return failed || n == 0;
}
