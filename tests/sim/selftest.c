/* The simulation's own threads, locks, clocks and hosts. Each case runs in a process of its own, as seeds do. */
#include "tests/sim/selftest.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

/* ---- the other parts of a crash, which are not linked here ---- */

unsigned selftest_disk_crashes;
void sim_disk_crash(struct sim_host *h, bool power)
{
    (void)h, (void)power;
    selftest_disk_crashes++;
}
void sim_log_crash(struct sim_host *h, bool power)
{
    (void)h, (void)power;
}
void sim_net_crash(struct sim_host *h)
{
    (void)h;
}

/* ---- a history in a child ---- */

struct outcome {
    uint64_t hash, value;
    int status; /* waitpid's */
};

static uint64_t value; /* what a case wants told to the parent */

static struct outcome history(uint64_t seed, sim_fn *begin)
{
    int ends[2];
    struct outcome o = {0};
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        static const int caught[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSYS}; /* by cmocka */
        for (size_t i = 0; i < sizeof caught / sizeof *caught; i++)
            signal(caught[i], SIG_DFL);
        sim_seed = seed;
        sim_random_init(seed);
        sim_spawn(sim_host(0), "begin", begin, NULL);
        sim_run(1000 * (int64_t)SIM_S);
        uint64_t out[2] = {sim_trace_hash(), value};
        _exit(write(ends[1], out, sizeof out) != sizeof out || sim_counts.other ? 3 : 0);
    }
    close(ends[1]);
    uint64_t in[2] = {0};
    ssize_t n = read(ends[0], in, sizeof in);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &o.status, 0), pid);
    if (n == sizeof in) {
        o.hash = in[0];
        o.value = in[1];
    }
    return o;
}

void selftest_passes(sim_fn *begin)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct outcome o = history(seed, begin);
        if (o.status != 0)
            fail_msg("seed %llu: status %x", (unsigned long long)seed, (unsigned)o.status);
    }
}

void selftest_check(bool ok, const char *file, int line, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    _exit(2);
}

/* ---- races ---- */

enum { RACERS = 4, ROUNDS = 5 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int inside, done;
static uint64_t order, sum;

static void *racer(void *arg)
{
    char name[16];
    snprintf(name, sizeof name, "racer %d", (int)(intptr_t)arg);
    pthread_setname_np(pthread_self(), name);
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        CHECK(inside++ == 0);
        order = order * 31 + (uint64_t)(intptr_t)arg;
        if (i == 2)
            usleep(50);
        inside--;
        pthread_mutex_unlock(&mutex);
    }
    return arg;
}

static void race(void *arg)
{
    (void)arg;
    pthread_t t[RACERS];
    for (intptr_t i = 0; i < RACERS; i++)
        CHECK(pthread_create(&t[i], NULL, racer, (void *)(i + 1)) == 0);
    for (intptr_t i = 0; i < RACERS; i++) {
        void *result;
        CHECK(pthread_join(t[i], &result) == 0 && result == (void *)(i + 1));
    }
    value = order;
    sim_trace("order %llu %s", (unsigned long long)order, "of all");
}

static void test_repeats(void **state)
{
    (void)state;
    uint64_t first = 0;
    bool differs = false;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct outcome a = history(seed, race), b = history(seed, race);
        assert_int_equal(a.status, 0);
        assert_true(a.hash == b.hash && a.value == b.value && a.hash != 0);
        differs = differs || (first && a.value != first);
        first = a.value;
    }
    assert_true(differs);
}

/* Reads under the lock, writes under the lock, and forgets that others may come between. */
static void *careless(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50; i++) {
        pthread_mutex_lock(&mutex);
        uint64_t was = sum;
        pthread_mutex_unlock(&mutex);
        pthread_mutex_lock(&mutex);
        sum = was + 1;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void careless_pair(void)
{
    pthread_t a, b;
    pthread_create(&a, NULL, careless, NULL);
    pthread_create(&b, NULL, careless, NULL);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    value = sum;
}

static void careless_yielding(void *arg)
{
    (void)arg;
    sim_schedule.yield_ppm = 50000;
    careless_pair();
}

static void careless_alone(void *arg)
{
    (void)arg;
    sim_schedule.yield_ppm = 0;
    careless_pair();
}

static void test_preemption_finds_races(void **state)
{
    (void)state;
    unsigned found = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        found += history(seed, careless_yielding).value != 100;
        assert_int_equal(history(seed, careless_alone).value, 100);
    }
    assert_true(found >= 10);
}

/* ---- conditions ---- */

static void *consumer(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&mutex);
    while (done < 10) {
        while (!inside && done < 10)
            pthread_cond_wait(&cond, &mutex);
        if (inside) {
            inside--;
            done++;
        }
    }
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void conditions(void *arg)
{
    (void)arg;
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, consumer, NULL);
    for (int i = 0; i < 10; i++) {
        usleep((useconds_t)sim_below(30));
        pthread_mutex_lock(&mutex);
        inside++;
        pthread_cond_signal(&cond);
        pthread_mutex_unlock(&mutex);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    CHECK(done == 10 && inside == 0);
}

static int64_t steady_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * (int64_t)SIM_S + t.tv_nsec / 1000;
}

static int64_t wall_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * (int64_t)SIM_S + t.tv_nsec / 1000;
}

static bool close_to(int64_t a, int64_t b)
{
    return a >= b && a <= b + 3000;
}

static void timed_wait(clockid_t clock, int64_t after_us)
{
    pthread_condattr_t attr;
    pthread_cond_t c;
    struct timespec until;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, clock);
    pthread_cond_init(&c, &attr);
    pthread_mutex_lock(&mutex);
    int64_t began = steady_us();
    clock_gettime(clock, &until);
    until.tv_sec += after_us / SIM_S;
    while (pthread_cond_timedwait(&c, &mutex, &until) == 0)
        continue;
    CHECK(close_to(steady_us() - began, after_us));
    pthread_mutex_unlock(&mutex);
    pthread_cond_destroy(&c);
}

static void on_drifting_host(void *arg)
{
    (void)arg;
    int64_t began = sim_now_us();
    timed_wait(CLOCK_MONOTONIC, 10 * SIM_S);
    CHECK(close_to(sim_now_us() - began, 10 * (int64_t)SIM_S * 10 / 11));
    began = sim_now_us();
    usleep(1100000);
    CHECK(close_to(sim_now_us() - began, SIM_S));
    done = 1;
}

static void clocks(void *arg)
{
    (void)arg;
    timed_wait(CLOCK_MONOTONIC, 2 * SIM_S);
    timed_wait(CLOCK_REALTIME, 2 * SIM_S);
    sim_host_clock(sim_host(1), -300000, 100000);
    int64_t wall = wall_us();
    sim_spawn(sim_host(1), "drifts", on_drifting_host, NULL);
    sim_sleep(12 * SIM_S);
    CHECK(done == 1);
    CHECK(close_to(wall_us() - wall, 12 * SIM_S));
}

static void skewed(void *arg)
{
    *(int64_t *)arg = wall_us();
    done++;
}

static void walls(void *arg)
{
    (void)arg;
    int64_t ahead = 0, behind = 0;
    sim_host_clock(sim_host(1), 300000, 0);
    sim_host_clock(sim_host(2), -300000, 0);
    sim_after(sim_host(1), 100, skewed, &ahead);
    sim_after(sim_host(2), 100, skewed, &behind);
    sim_sleep(1000);
    CHECK(done == 2 && ahead - behind == 600 * (int64_t)SIM_S);
    CHECK(wall_us() > behind && wall_us() < ahead);
}

/* ---- read-write locks, semaphores ---- */

static pthread_rwlock_t rwlock;
static int readers, writers, most;
static sem_t sem;

static void *reader(void *arg)
{
    for (int i = 0; i < 10; i++) {
        pthread_rwlock_rdlock(&rwlock);
        readers++;
        most = readers > most ? readers : most;
        CHECK(writers == 0);
        usleep(100);
        readers--;
        pthread_rwlock_unlock(&rwlock);
        usleep(20);
    }
    return arg;
}

static void *writer(void *arg)
{
    for (int i = 0; i < 5; i++) {
        pthread_rwlock_wrlock(&rwlock);
        CHECK(writers++ == 0 && readers == 0);
        usleep(100);
        writers--;
        pthread_rwlock_unlock(&rwlock);
        usleep(150);
    }
    sem_post(&sem);
    return arg;
}

static void rwlocks(void *arg)
{
    (void)arg;
    pthread_t t[4];
    pthread_rwlock_init(&rwlock, NULL);
    sem_init(&sem, 0, 0);
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, i < 2 ? reader : writer, NULL);
    sem_wait(&sem);
    sem_wait(&sem);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK(most == 2);
    pthread_rwlock_destroy(&rwlock);
    sem_destroy(&sem);
}

/* ---- what must not be ---- */

static void stuck(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&mutex);
    pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    pthread_cond_wait(&never, &mutex);
}

static void sleeps_in_event(void *arg)
{
    (void)arg;
    usleep(10);
}

static void blocking_event(void *arg)
{
    (void)arg;
    sim_after(sim_host(0), 10, sleeps_in_event, NULL);
}

static void locks_twice(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&mutex);
    pthread_mutex_lock(&mutex);
}

static void test_misuse(void **state)
{
    (void)state;
    sim_schedule.spurious_ppm = 0;
    int status = history(1, stuck).status;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 0);
    status = history(1, blocking_event).status;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    status = history(1, locks_twice).status;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* ---- the hash ---- */

static void traces(void *arg)
{
    (void)arg;
    sim_trace("%d %s %llu %.*s %%", 1, "two", 3ull, 2, "four");
}

static void traces_other(void *arg)
{
    (void)arg;
    sim_trace("%d %s %llu %.*s %%", 1, "two", 3ull, 3, "four");
}

static void test_hash_sees_arguments(void **state)
{
    (void)state;
    uint64_t a = history(1, traces).hash;
    assert_true(a == history(1, traces).hash);
    assert_true(a != history(1, traces_other).hash);
    sim_trace_on = true;
    assert_true(a == history(1, traces).hash);
    sim_trace_on = false;
}

CASE(conditions)
CASE(clocks)
CASE(walls)
CASE(rwlocks)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repeats),    cmocka_unit_test(test_preemption_finds_races),
        cmocka_unit_test(test_conditions), cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_walls),      cmocka_unit_test(test_rwlocks),
        cmocka_unit_test(test_misuse),     cmocka_unit_test(test_hash_sees_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) + selftest_hosts() + selftest_uv();
}
