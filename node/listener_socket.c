#include "node/listener_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

int socket_address_parse(struct slice text, char *address, size_t address_n, uint16_t *port_r)
{
    size_t colon = text.n;
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    uint64_t port;
    if (colon < 2 || slice_u64(slice_from(text, colon), 65535, &port) < 0)
        return ERR_INVALID;
    struct slice host = slice_first(text, colon - 1);
    bool brackets = host.p[0] == '[' && host.p[host.n - 1] == ']';
    if (slice_eq(host, SLICE_LITERAL("*")))
        host = SLICE_LITERAL("::");
    else if (brackets)
        host = slice_make(host.p + 1, host.n - 2);
    else if (slice_find(host, ':') < host.n)
        return ERR_INVALID; /* IPv6 needs its brackets */
    if (host.n == 0 || host.n >= address_n)
        return ERR_INVALID;
    memcpy(address, host.p, host.n);
    address[host.n] = 0;
    uint8_t scratch[16];
    if (inet_pton(AF_INET6, address, scratch) != 1 && (brackets || inet_pton(AF_INET, address, scratch) != 1))
        return ERR_INVALID;
    *port_r = (uint16_t)port;
    return 0;
}

static int failed(int fd, struct err_detail *e, const char *what, const char *address, uint16_t port)
{
    int error = errno, code = error == EADDRINUSE ? ERR_EXISTS : err_from_errno(error);
    if (fd >= 0)
        close(fd);
    return err_set(e, code, "%s %s port %u: %s", what, address, port, strerror(error));
}

int socket_listen(const char *address, uint16_t port, int *fd_r, uint16_t *port_r, struct err_detail *e)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    bool is_six = inet_pton(AF_INET6, address, &six.sin6_addr) == 1;
    if (!is_six && inet_pton(AF_INET, address, &four.sin_addr) != 1)
        return err_set(e, ERR_INVALID, "%s is no IPv4 or IPv6 address", address);
    int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0;
    if (fd < 0)
        return failed(fd, e, "socket for", address, port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (is_six)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    const struct sockaddr *a = is_six ? (const struct sockaddr *)&six : (const struct sockaddr *)&four;
    socklen_t n = is_six ? sizeof six : sizeof four;
    if (bind(fd, a, n) != 0)
        return failed(fd, e, "cannot bind", address, port);
    if (listen(fd, BACKLOG) != 0)
        return failed(fd, e, "cannot listen on", address, port);
    struct sockaddr_in6 bound = {0};
    n = sizeof bound;
    getsockname(fd, (struct sockaddr *)&bound, &n);
    if (port_r)
        *port_r = ntohs(bound.sin6_port); /* at the same place in both families */
    *fd_r = fd;
    return 0;
}
