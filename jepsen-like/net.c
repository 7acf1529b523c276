#include "jepsen-like/net.h"

#include "jepsen-like/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MTU = 9000, PACKETS_AT_ONCE = 64, HELD_MAX = 20000 };

struct host {
    int ns, tun;
};

/* A packet that waits for its time. */
struct held {
    uint64_t due;
    unsigned to, n;
    unsigned char *bytes;
};

static struct {
    struct host hosts[NET_HOSTS_MAX + 1];
    unsigned host_n;
    pthread_t thread;
    atomic_bool end;
    atomic_bool cut[NET_HOSTS_MAX + 1][NET_HOSTS_MAX + 1];
    pthread_mutex_t shape_lock;
    struct net_shape shape;
    unsigned shape_nodes;
    atomic_uint_fast64_t carried, dropped;
    /* the switch's thread alone */
    struct held *heap;
    unsigned held_n;
    struct rng rng;
} net = {.shape_lock = PTHREAD_MUTEX_INITIALIZER, .rng = {77}};

/* ---- hosts ---- */

static void request(int s, unsigned long what, struct ifreq *r, const char *name)
{
    if (ioctl(s, what, r))
        fail("%s: %s", name, strerror(errno));
}

static void address_set(int s, const char *device, unsigned host)
{
    struct ifreq r = {0};
    struct sockaddr_in *a = (struct sockaddr_in *)&r.ifr_addr;
    strcpy(r.ifr_name, device);
    a->sin_family = AF_INET;
    a->sin_addr.s_addr = htonl(0x0a4d0000u | host);
    request(s, SIOCSIFADDR, &r, "SIOCSIFADDR");
    a->sin_addr.s_addr = htonl(0xffffff00u);
    request(s, SIOCSIFNETMASK, &r, "SIOCSIFNETMASK");
    r.ifr_mtu = MTU;
    request(s, SIOCSIFMTU, &r, "SIOCSIFMTU");
}

static void device_up(int s, const char *device)
{
    struct ifreq r = {0};
    strcpy(r.ifr_name, device);
    request(s, SIOCGIFFLAGS, &r, "SIOCGIFFLAGS");
    r.ifr_flags = (short)(r.ifr_flags | IFF_UP | IFF_RUNNING);
    request(s, SIOCSIFFLAGS, &r, "SIOCSIFFLAGS");
}

/* A thread of its own: it goes into the new namespace and ends there. */
static void *host_make(void *arg)
{
    unsigned host = (unsigned)(uintptr_t)arg;
    struct ifreq r = {0};
    struct host *h = &net.hosts[host];
    if (unshare(CLONE_NEWNET))
        fail("a network namespace cannot be made: %s (run as root)", strerror(errno));
    h->ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    h->tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (h->ns < 0 || h->tun < 0)
        fail("/dev/net/tun: %s", strerror(errno));
    strcpy(r.ifr_name, "mail0");
    r.ifr_flags = IFF_TUN | IFF_NO_PI;
    request(h->tun, TUNSETIFF, &r, "TUNSETIFF");
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    device_up(s, "lo");
    address_set(s, "mail0", host);
    device_up(s, "mail0");
    close(s);
    return NULL;
}

int net_enter(unsigned host)
{
    return setns(net.hosts[host].ns, CLONE_NEWNET);
}

/* ---- packets that wait: a heap by due time ---- */

static void held_swap(unsigned i, unsigned j)
{
    struct held t = net.heap[i];
    net.heap[i] = net.heap[j];
    net.heap[j] = t;
}

static void held_add(uint64_t due, unsigned to, const unsigned char *bytes, unsigned n)
{
    if (net.held_n == HELD_MAX) {
        net.dropped++;
        return;
    }
    unsigned i = net.held_n++;
    net.heap[i] = (struct held){due, to, n, memcpy(xrealloc(NULL, n), bytes, n)};
    for (; i && net.heap[(i - 1) / 2].due > net.heap[i].due; i = (i - 1) / 2)
        held_swap(i, (i - 1) / 2);
}

static struct held held_take(void)
{
    struct held first = net.heap[0];
    net.heap[0] = net.heap[--net.held_n];
    for (unsigned i = 0;;) {
        unsigned child = 2 * i + 1;
        if (child + 1 < net.held_n && net.heap[child + 1].due < net.heap[child].due)
            child++;
        if (child >= net.held_n || net.heap[child].due >= net.heap[i].due)
            return first;
        held_swap(i, child);
        i = child;
    }
}

/* ---- the switch ---- */

static void packet_out(unsigned to, const unsigned char *bytes, unsigned n)
{
    if (write(net.hosts[to].tun, bytes, n) == (ssize_t)n)
        net.carried++;
}

static bool chance(unsigned of_1000)
{
    return of_1000 && rng_below(&net.rng, 1000) < of_1000;
}

static void packet_shape(const struct net_shape *s, unsigned to, const unsigned char *bytes, unsigned n)
{
    if (chance(s->loss)) {
        net.dropped++;
        return;
    }
    uint64_t wait = (uint64_t)s->delay_ms * NS_PER_MS;
    if (s->jitter_ms)
        wait += rng_next(&net.rng) % (s->jitter_ms * NS_PER_MS);
    if (chance(s->reorder))
        wait += (2 + rng_below(&net.rng, 18)) * NS_PER_MS;
    if (wait)
        held_add(now_ns() + wait, to, bytes, n);
    else
        packet_out(to, bytes, n);
    if (chance(s->duplicate))
        held_add(now_ns() + wait + NS_PER_MS, to, bytes, n);
}

static void packet_carry(unsigned from, const unsigned char *bytes, unsigned n, const struct net_shape *s,
                         unsigned nodes)
{
    if (n < 20 || bytes[0] >> 4 != 4 || bytes[16] != 10 || bytes[17] != 77 || bytes[18] != 0)
        return; /* IPv6 solicitations and the like */
    unsigned to = bytes[19];
    if (to == 0 || to > net.host_n)
        return;
    if (net.cut[from][to])
        net.dropped++;
    else if (from <= nodes && to <= nodes)
        packet_shape(s, to, bytes, n);
    else
        packet_out(to, bytes, n);
}

static void host_serve(unsigned host)
{
    unsigned char bytes[MTU + 100];
    pthread_mutex_lock(&net.shape_lock);
    struct net_shape shape = net.shape;
    unsigned nodes = net.shape_nodes;
    pthread_mutex_unlock(&net.shape_lock);
    for (unsigned i = 0; i < PACKETS_AT_ONCE; i++) {
        ssize_t n = read(net.hosts[host].tun, bytes, sizeof bytes);
        if (n <= 0)
            return;
        packet_carry(host, bytes, (unsigned)n, &shape, nodes);
    }
}

/* Sends what is due. Returns how long to sleep, in ms. */
static int held_serve(void)
{
    while (net.held_n) {
        uint64_t now = now_ns();
        if (net.heap[0].due > now)
            return (int)((net.heap[0].due - now) / NS_PER_MS) + 1;
        struct held h = held_take();
        packet_out(h.to, h.bytes, h.n);
        free(h.bytes);
    }
    return 100;
}

static void *switch_run(void *arg)
{
    int e = *(int *)arg;
    struct epoll_event events[NET_HOSTS_MAX];
    free(arg);
    while (!net.end) {
        int n = epoll_wait(e, events, NET_HOSTS_MAX, held_serve());
        for (int i = 0; i < n; i++)
            host_serve(events[i].data.u32);
    }
    close(e);
    while (net.held_n)
        free(net.heap[--net.held_n].bytes);
    free(net.heap);
    return NULL;
}

void net_start(unsigned n)
{
    int *e = xzalloc(sizeof *e);
    *e = epoll_create1(EPOLL_CLOEXEC);
    net.host_n = n;
    net.heap = xzalloc(HELD_MAX * sizeof *net.heap);
    for (unsigned host = 1; host <= n; host++) {
        pthread_t t;
        if (pthread_create(&t, NULL, host_make, (void *)(uintptr_t)host))
            fail("no thread for a host");
        pthread_join(t, NULL);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = host};
        if (epoll_ctl(*e, EPOLL_CTL_ADD, net.hosts[host].tun, &event))
            fail("epoll: %s", strerror(errno));
    }
    if (pthread_create(&net.thread, NULL, switch_run, e))
        fail("no thread for the switch");
}

void net_stop(void)
{
    net.end = true;
    pthread_join(net.thread, NULL);
    for (unsigned host = 1; host <= net.host_n; host++) {
        close(net.hosts[host].tun);
        close(net.hosts[host].ns);
    }
}

void net_cut(unsigned from, unsigned to, bool cut)
{
    net.cut[from][to] = cut;
}

void net_shape_set(unsigned nodes, struct net_shape shape)
{
    pthread_mutex_lock(&net.shape_lock);
    net.shape = shape;
    net.shape_nodes = nodes;
    pthread_mutex_unlock(&net.shape_lock);
}

void net_heal(void)
{
    for (unsigned from = 0; from <= NET_HOSTS_MAX; from++)
        for (unsigned to = 0; to <= NET_HOSTS_MAX; to++)
            net.cut[from][to] = false;
    net_shape_set(0, (struct net_shape){0});
}

void net_counts(uint64_t *carried_r, uint64_t *dropped_r)
{
    *carried_r = net.carried;
    *dropped_r = net.dropped;
}
