/* Any bytes as a configuration file: refused with a line to look at and what to write, or complete and within limits.
 */
#include "node/config.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static void ensure_complete(const struct config *c)
{
    ENSURE(c->name && c->data && c->hostname && c->peer_listen && c->peer_advertise && c->admin_socket);
    ENSURE(strlen(c->name) < 64 && strlen(c->peer_advertise) < 128 && strlen(c->admin_socket) < 108);
    ENSURE(!c->tls_certificate == !c->tls_key && c->election_ms >= 3 * c->heartbeat_ms);
    ENSURE(c->listener_n <= CONFIG_LISTENERS_MAX && c->map_size >= (uint64_t)16 << 20);
    for (unsigned i = 0; i < c->listener_n; i++) {
        const struct config_listener *l = &c->listeners[i];
        ENSURE(memchr(l->name, 0, sizeof l->name) && l->listener.port && l->listener.trusted_n <= PROXY_NETWORKS_MAX);
        ENSURE(!l->listener.proxy || l->listener.trusted_n > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("config", 0);
        ENSURE(fd >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    ENSURE(ftruncate(fd, 0) == 0 && pwrite(fd, data, n, 0) == (ssize_t)n);
    struct config *c;
    struct err_detail e = {0};
    int rv = config_load(path, &c, &e);
    ENSURE(rv == 0 || (rv == ERR_INVALID && memchr(e.text, 0, sizeof e.text) && strncmp(e.text, path, 14) == 0));
    if (rv == 0)
        ensure_complete(c);
    config_free(&c);
    return 0;
}
