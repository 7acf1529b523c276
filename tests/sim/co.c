/* Coroutines: a stack each, guarded at its end, used again after the coroutine is over. A switch saves what the ABI
 * says a called function keeps; swapcontext would ask the kernel about signals each time. */
#include "tests/sim/kernel.h"

#include "node/base/err.h"
#include "node/base/mem.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
enum { STACK = 1 << 20 };
#else
enum { STACK = 256 << 10 };
#endif

struct co *co_now;
static struct co *unused;
static uint64_t numbers;
static void *main_sp, *main_fake;
static const void *main_bottom;
static size_t main_size;

/* ---- switches ---- */

#if defined(__x86_64__)
void sim_stack_switch(void **save, void *to);
__asm__(".text\n"
        ".globl sim_stack_switch\n"
        ".type sim_stack_switch,@function\n"
        "sim_stack_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size sim_stack_switch,.-sim_stack_switch\n");

/* Six registers and the address to go to; there, the stack is as after a call. */
static void *stack_begin(void *stack, void (*to)(void))
{
    void **top = (void **)(void *)((char *)stack + STACK);
    *--top = NULL; /* where `to` would return */
    *--top = (void *)(uintptr_t)to;
    for (int i = 0; i < 6; i++)
        *--top = NULL;
    return top;
}
#else
static ucontext_t *context_new(void)
{
    return mem_zalloc(sizeof(ucontext_t));
}

static void *stack_begin(void *stack, void (*to)(void))
{
    ucontext_t *u = context_new();
    getcontext(u);
    u->uc_stack.ss_sp = stack;
    u->uc_stack.ss_size = STACK;
    makecontext(u, to, 0);
    return u;
}

static void sim_stack_switch(void **save, void *to)
{
    if (!*save)
        *save = context_new();
    swapcontext(*save, to);
}
#endif

static void fiber_leave(void **fake, const void *bottom, size_t n)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(fake, bottom, n);
#else
    (void)fake, (void)bottom, (void)n;
#endif
}

static void fiber_arrive(void *fake, const void **bottom_r, size_t *n_r)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, bottom_r, n_r);
#else
    (void)fake, (void)bottom_r, (void)n_r;
#endif
}

/* ---- coroutines ---- */

static void begin(void)
{
    fiber_arrive(NULL, &main_bottom, &main_size);
    struct co *c = co_now;
    c->entry(c);
    co_leave();
}

static void *stack_new(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, STACK + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK,
                   -1, 0);
    ENSURE(p != MAP_FAILED && mprotect(p, page, PROT_NONE) == 0);
    return p + page;
}

struct co *co_new(void (*entry)(struct co *c))
{
    struct co *c = unused;
    if (c)
        unused = c->next_free;
    else
        c = mem_zalloc(sizeof *c);
    void *stack = c->stack ? c->stack : stack_new();
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack, STACK); /* frames that were left for ever */
#endif
    memset(c, 0, sizeof *c);
    c->stack = stack;
    c->entry = entry;
    c->number = ++numbers;
    list_init(&c->item);
    list_init(&c->waiting);
    list_init(&c->joiners);
    c->sp = stack_begin(stack, begin);
    return c;
}

void co_free(struct co *c)
{
    ENSURE(c != co_now);
    list_remove(&c->item);
    c->wake = 0;
    c->state = CO_DONE;
    c->next_free = unused;
    unused = c;
}

void co_resume(struct co *c)
{
    ENSURE(!co_now);
    co_now = c;
    fiber_leave(&main_fake, c->stack, STACK);
    sim_stack_switch(&main_sp, c->sp);
    fiber_arrive(main_fake, NULL, NULL);
    co_now = NULL;
}

void co_suspend(void)
{
    struct co *c = co_now;
    fiber_leave(&c->fake, main_bottom, main_size);
    sim_stack_switch(&c->sp, main_sp);
    fiber_arrive(c->fake, &main_bottom, &main_size);
}

_Noreturn void co_leave(void)
{
    struct co *c = co_now;
    fiber_leave(NULL, main_bottom, main_size);
    sim_stack_switch(&c->sp, main_sp);
    __builtin_unreachable();
}
