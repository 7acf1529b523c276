/* A whole cluster in one process, in simulated time: the production code of replication/ and store/, unchanged, above
 * an edge of our own. One seed is one history, bit for bit.
 *
 *   script.c   a cluster is made, clients write and read, faults come and go, all heals      (what happens)
 *   check.c    the model of what was acknowledged, and every promise against every replica   (what must hold)
 *   ---------------------------------------------------------------------------------------
 *   replication/ store/ node/base/ libraft                                                   (what is tested)
 *   ---------------------------------------------------------------------------------------
 *   thread.c   threads as coroutines: pthread_*, uv_thread_*, uv_mutex_*, uv_cond_*, sem_*, usleep
 *   time.c     clocks, timers, the queue of events;  uv.c  uv loops, timers, asyncs, prepare, check
 *   random.c   the one source of randomness: getrandom, RAND_bytes, and what scripts draw
 *   disk.c     what is written and what is durable: pwrite, fdatasync, rename …, and LMDB's commits
 *   log.c      raft_uv_*: libraft's disk half, on memory that a crash cuts back
 *   net.c      link.h: queues between hosts, with cuts, delay, loss, duplicates
 *   identity.c identity's certificates and tokens, without OpenSSL
 *
 * All of it runs on one real thread; a coroutine runs until it blocks. The edge is linked in place of the real one:
 * functions that our own objects call are wrapped (ld --wrap), those of libuv, link*.c and identity*.c are defined
 * here. A seed runs in a process of its own (main.c forks): what a crashed host held is simply left behind. */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "node/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIM_HOSTS_MAX = 8, SIM_US = 1, SIM_MS = 1000, SIM_S = 1000000 };

/* ---- random.c ---- */
void sim_random_init(uint64_t seed);
uint64_t sim_random(void);
uint64_t sim_below(uint64_t n); /* 0 … n - 1 */
static inline uint64_t sim_between(uint64_t a, uint64_t b)
{
    return a + sim_below(b - a + 1);
}
bool sim_chance(unsigned ppm); /* parts in a million */
/* Goes into the history's hash (which two runs of one seed must share), and to stderr with --trace. */
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern bool sim_trace_on;
/* The same, of two numbers and without a text: costs next to nothing. */
void sim_trace_mix(uint64_t a, uint64_t b);
uint64_t sim_trace_hash(void);

/* ---- time.c, thread.c ---- */

/* A machine: its threads, clock, disk, ends of links. Host 0 is nobody's: scripts run there, it never crashes. */
struct sim_host;
typedef void sim_fn(void *arg);

int64_t sim_now_us(void);              /* the true time: from 0, the same for all */
struct sim_host *sim_host(unsigned i); /* 0 … SIM_HOSTS_MAX - 1, all there from the start, off until threads begin */
unsigned sim_host_index(const struct sim_host *h);
struct sim_host *sim_host_now(void);              /* whose code runs */
unsigned sim_host_life(const struct sim_host *h); /* counts crashes: what belongs to an earlier life is dropped */

/* A coroutine. Its code may block in any of the calls that thread.c wraps, or here. */
void sim_spawn(struct sim_host *h, const char *name, sim_fn *fn, void *arg);
void sim_sleep(int64_t us);
/* fn(arg) at that time from now, from the queue of events (must not block), unless the host's life ends before.
 * While a host is paused, what falls due waits for its end. */
void sim_after(struct sim_host *h, int64_t us, sim_fn *fn, void *arg);
/* Runs until no event is left, sim_end is called, or this much simulated time has passed. */
void sim_run(int64_t us);
void sim_end(void);
bool sim_running(void);       /* inside sim_run */
void sim_threads_print(void); /* who waits where, to stderr */
/* How threads race. A script may change it at any time. */
struct sim_schedule {
    unsigned latency_us;   /* a thread that became ready runs after 1 … this long, drawn each time */
    unsigned yield_ppm;    /* chance that a thread is preempted where it takes a lock, lets one go, or wakes a loop */
    unsigned hiccup_ppm;   /* chance that the latency is up to 2 ms */
    unsigned spurious_ppm; /* chance that a wait on a condition ends without a signal */
};
extern struct sim_schedule sim_schedule;

/* All threads and events of the host end here and now, wherever they are, and its locks are forgotten: power off.
 * The disk's part (disk_crash, log_crash, net_crash) is called from here. When the host's own code calls it (fatal),
 * the call does not return. `power`: what was not synced may be lost, else the process alone died. */
void sim_host_crash(struct sim_host *h, bool power);
void sim_host_pause(struct sim_host *h, int64_t us);
bool sim_host_paused(const struct sim_host *h);
/* The host's wall clock against the true one; drift in parts per million, of both its clocks. */
void sim_host_clock(struct sim_host *h, int64_t wall_ahead_ms, int drift_ppm);

/* uv.c: fn(arg) from that loop's turn, as if an async handle of it had been woken; any code of any host may call it.
 * Dropped when the loop's host dies, or the loop is closed, before. Calls of one loop keep their order. */
struct uv_loop_s;
void sim_loop_post(struct uv_loop_s *loop, sim_fn *fn, void *arg);
/* The machine that the loop was made on. */
struct sim_host *sim_loop_host(struct uv_loop_s *loop);

/* ---- disk.c, log.c ---- */

/* The host's folder (under a tmpfs); anew after each crash: always ask. */
const char *sim_disk_dir(struct sim_host *h);
void sim_disk_init(const char *root); /* before the first host begins; root is empty */
void sim_disk_crash(struct sim_host *h, bool power);
void sim_disk_wipe(struct sim_host *h); /* a new machine under the same address */
struct sim_disk_faults {
    unsigned sync_max_us; /* a sync takes up to that long: 100 … 50,000 */
    unsigned stall_ppm;   /* chance of a sync of 1–4 s */
    unsigned error_ppm;   /* chance that a write or sync fails with EIO */
    bool full;            /* ENOSPC for all that makes files grow, no space left in statvfs */
    unsigned torn_ppm; /* at a power cut: chance, per file, that a part of what was not synced is there all the same */
};
void sim_disk_faults(struct sim_host *h, const struct sim_disk_faults *f); /* NULL: none */
/* fn(arg), once, in the midst of the host's n-th step from now that writes, syncs or renames: for crashes at such
 * moments. A crash that comes before ends it, another watch takes its place. */
void sim_disk_watch(struct sim_host *h, unsigned n, sim_fn *fn, void *arg);
/* Flips a bit in what is durable; LMDB's files only while the host is off. False: nothing there. */
enum sim_disk_part { SIM_DISK_LOG, SIM_DISK_STATE, SIM_DISK_INDEX, SIM_DISK_BODIES };
bool sim_disk_flip(struct sim_host *h, enum sim_disk_part part);
void sim_log_crash(struct sim_host *h, bool power); /* log.c: from sim_host_crash */

/* ---- net.c ---- */

void sim_net_cut(unsigned from, unsigned to, bool cut); /* one way: hosts' indexes */
struct sim_net_faults {
    unsigned delay_min_us, delay_max_us; /* of each frame; frames of one link stay in order unless reorder_ppm */
    unsigned loss_ppm;                   /* a frame vanishes; links stay up (one-way frames, requests time out) */
    unsigned reset_ppm;                  /* the link goes down instead */
    unsigned
        duplicate_ppm;    /* of frames that a peer may send twice: Raft's, forwarded commands, read index, body puts */
    unsigned reorder_ppm; /* the frame overtakes or is overtaken by up to delay_max */
};
void sim_net_faults(unsigned from, unsigned to, const struct sim_net_faults *f); /* NULL: 200–1,000 µs, no loss */
void sim_net_crash(struct sim_host *h); /* from sim_host_crash: peers notice by silence, or at once (RST) by chance */

/* ---- what a run counts; printed by main.c ---- */
struct sim_counts {
    uint64_t crashes, power_cuts, restarts, transfers, cuts, pauses, disk_errors, full, flips, healed, skews,
        membership, handovers, snapshots;
    uint64_t commands, acknowledged, unknown, refused, retried, reads, bodies, collected, checks;
    uint64_t diverged, lost, duplicated, uid_reuse, stale, other; /* violations */
};
extern struct sim_counts sim_counts;
extern uint64_t sim_seed; /* for sim_fail's text */
/* A promise is broken: prints the seed, the time and the text, counts, and ends the run. kind: a field of violations.
 */
void sim_fail(uint64_t *kind, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

#endif
