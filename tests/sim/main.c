/* The runner: each seed in a process of its own, several at a time; what they counted comes back in shared memory. */
#include "node/base/log.h"
#include "tests/sim/script.h"

#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MAX = 64, CPU_MAX_S = 20, TWICE_EVERY = 50, PROGRESS_S = 10, SEED_S = 400, FAILED_SHOWN = 20 };

struct outcome {
    struct sim_counts counts;
    uint64_t hash;
    bool finished; /* to the script's end, and nothing was wrong */
};
struct job {
    pid_t pid; /* 0: free */
    uint64_t seed;
    bool again; /* the second run of a seed */
    uint64_t first_hash;
};

static struct {
    uint64_t first, seeds;
    unsigned seconds, jobs;
    bool trace, verbose, stop;
    uint64_t *listed;
    unsigned listed_n;
} options = {.first = 1, .seeds = 2000, .jobs = 2};

static char root[64];
static struct outcome *outcomes; /* one a job, shared */
static struct job jobs[JOBS_MAX];
static struct sim_counts total;
static uint64_t done, failed, cpu_us;
static volatile sig_atomic_t interrupted;

/* ---- one seed, in its process ---- */

static uint64_t violations(void)
{
    const struct sim_counts *c = &sim_counts;
    return c->diverged + c->lost + c->duplicated + c->uid_reuse + c->stale + c->other;
}

static void outcome_write(struct outcome *out)
{
    out->counts = sim_counts;
    out->hash = sim_trace_hash();
    out->finished = script_finished && violations() == 0;
}

void __real_log_write(enum log_level level, const char *event, const struct log_field *fields);
void __wrap_log_write(enum log_level level, const char *event, const struct log_field *fields);

/* Only with --trace: below it the level lets nothing come here. Not through sim_trace: the history's hash is the same
 * with and without. */
void __wrap_log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    int64_t t = sim_now_us();
    fprintf(stderr, "[%3lld.%06lld %u log         ] ", (long long)(t / SIM_S), (long long)(t % SIM_S),
            sim_host_index(sim_host_now()));
    __real_log_write(level, event, fields);
}

static _Noreturn void seed_run(const struct job *j, struct outcome *out)
{
    char dir[96];
    struct rlimit cpu = {CPU_MAX_S, CPU_MAX_S + 1}, core = {0, 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CPU, &cpu);
    setrlimit(RLIMIT_CORE, &core);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (j->again) /* other addresses must not matter */
        memset(malloc(1 << 20), 1, 1 << 20);
    snprintf(dir, sizeof dir, "%s/%d", root, (int)(j - jobs));
    mkdir(dir, 0700);
    log_set_level(options.trace ? LOG_DEBUG : LOG_ERROR + 1);
    sim_trace_on = options.trace;
    sim_seed = j->seed;
    sim_random_init(j->seed);
    sim_disk_init(dir);
    check_init();
    sim_spawn(sim_host(0), "script", script_main, NULL);
    sim_run((int64_t)SEED_S * SIM_S);
    outcome_write(out);
    if (!script_finished && violations() == 0)
        fprintf(stderr, "seed %llu: not done after %d s of its own time\n", (unsigned long long)j->seed, SEED_S);
    fflush(stderr);
    _exit(out->finished ? 0 : 1);
}

/* ---- all of them ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void tree_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void job_dir_remove(const struct job *j)
{
    char dir[96];
    snprintf(dir, sizeof dir, "%s/%d", root, (int)(j - jobs));
    tree_remove(dir);
}

static void job_begin(struct job *j, uint64_t seed, bool again, uint64_t first_hash)
{
    *j = (struct job){.seed = seed, .again = again, .first_hash = first_hash};
    outcomes[j - jobs] = (struct outcome){.finished = false};
    fflush(stdout);
    j->pid = fork();
    if (j->pid == 0)
        seed_run(j, &outcomes[j - jobs]);
    if (j->pid < 0) {
        perror("fork");
        exit(2);
    }
}

static void counts_add(const struct sim_counts *c)
{
    const uint64_t *from = (const uint64_t *)(const void *)c;
    uint64_t *to = (uint64_t *)(void *)&total;
    for (size_t i = 0; i < sizeof *c / sizeof *from; i++)
        to[i] += from[i];
}

static void seed_failed(const struct job *j, const char *why)
{
    failed++;
    if (failed <= FAILED_SHOWN)
        printf("FAILED seed %llu%s%s: tests/sim/run --trace %llu\n", (unsigned long long)j->seed, *why ? ", " : "", why,
               (unsigned long long)j->seed);
    fflush(stdout);
}

static void job_ended(struct job *j, int status, bool *again_r)
{
    struct outcome *out = &outcomes[j - jobs];
    char why[96] = "";
    *again_r = false;
    job_dir_remove(j);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        snprintf(why, sizeof why, "more than %d s of CPU", CPU_MAX_S);
    else if (WIFSIGNALED(status))
        snprintf(why, sizeof why, "ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (out->finished && j->again && out->hash != j->first_hash)
        snprintf(why, sizeof why, "not repeatable: its second run is another history");
    bool good = out->finished && !*why;
    if (!j->again) {
        counts_add(&out->counts);
        done++;
    }
    if (!good)
        seed_failed(j, why);
    else if (options.verbose)
        printf("seed %llu: %llu commands, %llu acknowledged, %llu unknown, %llu refused, %llu reads, hash %016llx\n",
               (unsigned long long)j->seed, (unsigned long long)out->counts.commands,
               (unsigned long long)out->counts.acknowledged, (unsigned long long)out->counts.unknown,
               (unsigned long long)out->counts.refused, (unsigned long long)out->counts.reads,
               (unsigned long long)out->hash);
    *again_r = good && !j->again && (j->seed % TWICE_EVERY == 0 || options.listed_n == 1) && !options.trace;
}

static bool wait_one(void)
{
    struct rusage use;
    int status;
    bool again;
    pid_t pid = wait4(-1, &status, 0, &use);
    if (pid < 0)
        return false;
    cpu_us += (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 +
              (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    for (unsigned i = 0; i < options.jobs; i++) {
        if (jobs[i].pid != pid)
            continue;
        jobs[i].pid = 0;
        job_ended(&jobs[i], status, &again);
        if (again)
            job_begin(&jobs[i], jobs[i].seed, true, outcomes[i].hash);
    }
    return true;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool running_any(void)
{
    for (unsigned i = 0; i < options.jobs; i++)
        if (jobs[i].pid)
            return true;
    return false;
}

static bool seed_next(uint64_t *at, uint64_t *seed_r)
{
    uint64_t n = options.listed_n ? options.listed_n : options.seeds;
    if (*at >= n || interrupted || (options.stop && failed))
        return false;
    *seed_r = options.listed_n ? options.listed[*at] : options.first + *at;
    ++*at;
    return true;
}

static void seeds_run(void)
{
    double begin = seconds_now(), told = begin;
    uint64_t at = 0, seed;
    for (bool more = true; more || running_any();) {
        for (unsigned i = 0; i < options.jobs && more; i++)
            if (!jobs[i].pid && (more = seed_next(&at, &seed)))
                job_begin(&jobs[i], seed, false, 0);
        if (!wait_one())
            break;
        double now = seconds_now();
        if (options.seconds && now - begin >= options.seconds)
            more = false;
        if (now - told >= PROGRESS_S) {
            told = now;
            printf("%llu seeds, %llu failed, %.0f s, %.0f ms CPU each\n", (unsigned long long)done,
                   (unsigned long long)failed, now - begin, (double)cpu_us / 1000 / (double)(done ? done : 1));
            fflush(stdout);
        }
    }
}

static void interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
    for (unsigned i = 0; i < options.jobs; i++)
        if (jobs[i].pid > 0)
            kill(jobs[i].pid, SIGKILL);
}

static int usage(void)
{
    fprintf(stderr, "usage: sim [--seeds N] [--first-seed S] [--seconds T] [--jobs J] [--stop] [--trace] [--verbose] "
                    "[SEED...]\n");
    return 2;
}

static int options_read(int argc, char **argv)
{
    static const struct option names[] = {
        {"seeds", 1, NULL, 'n'}, {"first-seed", 1, NULL, 'f'}, {"seconds", 1, NULL, 's'}, {"jobs", 1, NULL, 'j'},
        {"stop", 0, NULL, 'x'},  {"trace", 0, NULL, 't'},      {"verbose", 0, NULL, 'v'}, {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (c) {
        case 'n':
            options.seeds = strtoull(optarg, NULL, 10);
            break;
        case 'f':
            options.first = strtoull(optarg, NULL, 10);
            break;
        case 's':
            options.seconds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'j':
            options.jobs = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'x':
            options.stop = true;
            break;
        case 't':
            options.trace = true;
            break;
        case 'v':
            options.verbose = true;
            break;
        default:
            return usage();
        }
    }
    if (options.jobs < 1 || options.jobs > JOBS_MAX)
        return usage();
    options.listed_n = (unsigned)(argc - optind);
    options.listed = calloc(options.listed_n + 1, sizeof *options.listed);
    for (unsigned i = 0; i < options.listed_n; i++)
        options.listed[i] = strtoull(argv[optind + (int)i], NULL, 10);
    return 0;
}

static void totals_print(void)
{
    printf("commands=%llu acknowledged=%llu unknown=%llu refused=%llu repeats=%llu reads=%llu bodies=%llu "
           "collected=%llu checks=%llu "
           "power_cuts=%llu cuts=%llu pauses=%llu skews=%llu disk_errors=%llu full=%llu flips=%llu healed=%llu "
           "membership=%llu "
           "handovers=%llu other=%llu cpu_ms=%.1f\n",
           (unsigned long long)total.commands, (unsigned long long)total.acknowledged,
           (unsigned long long)total.unknown, (unsigned long long)total.refused, (unsigned long long)total.retried,
           (unsigned long long)total.reads, (unsigned long long)total.bodies, (unsigned long long)total.collected,
           (unsigned long long)total.checks, (unsigned long long)total.power_cuts, (unsigned long long)total.cuts,
           (unsigned long long)total.pauses, (unsigned long long)total.skews, (unsigned long long)total.disk_errors,
           (unsigned long long)total.full, (unsigned long long)total.flips, (unsigned long long)total.healed,
           (unsigned long long)total.membership, (unsigned long long)total.handovers, (unsigned long long)total.other,
           (double)cpu_us / 1000 / (double)(done ? done : 1));
    printf("SIM seeds=%llu failed=%llu diverged=%llu lost=%llu dup=%llu uid_reuse=%llu stale=%llu crashes=%llu "
           "restarts=%llu transfers=%llu %s\n",
           (unsigned long long)done, (unsigned long long)failed, (unsigned long long)total.diverged,
           (unsigned long long)total.lost, (unsigned long long)total.duplicated, (unsigned long long)total.uid_reuse,
           (unsigned long long)total.stale, (unsigned long long)(total.crashes + total.power_cuts),
           (unsigned long long)total.restarts, (unsigned long long)total.transfers,
           failed || interrupted ? "FAIL" : "PASS");
}

int main(int argc, char **argv)
{
    int rc = options_read(argc, argv);
    if (rc != 0)
        return rc;
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof root, "/dev/shm/merlion-sim-XXXXXX");
    if (!mkdtemp(root)) {
        snprintf(root, sizeof root, "%s/merlion-sim-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
        if (!mkdtemp(root)) {
            perror(root);
            return 2;
        }
    }
    outcomes = mmap(NULL, JOBS_MAX * sizeof *outcomes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct sigaction sa = {.sa_handler = interrupt};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    seeds_run();
    tree_remove(root);
    totals_print();
    return failed || interrupted ? 1 : 0;
}
