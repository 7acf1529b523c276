#include "ctl/connection.h"

#include "node/base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_failed(const char *path, int error, struct err_detail *detail)
{
    const char *advice = "";

    if (error == ENOENT || error == ECONNREFUSED)
        advice = ": is maild running? Start it, or name its socket with --socket";
    else if (error == EACCES || error == EPERM)
        advice = ": run mailctl as root or as maild's user";
    return err_set(detail, ERR_UNAVAILABLE, "%s: %s%s", path, strerror(error), advice);
}

int connection_open(struct connection *c, const char *path, unsigned timeout_s, struct err_detail *detail)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *c = (struct connection){.fd = -1, .timeout_s = timeout_s};
    if (strlen(path) >= sizeof(address.sun_path))
        return err_set(detail, ERR_INVALID, "%s: too long for a socket's name", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return connect_failed(path, errno, detail);
    if (connect(c->fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) == 0)
        return 0;
    int error = errno;
    connection_close(c);
    return connect_failed(path, error, detail);
}

void connection_close(struct connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    buf_close(&c->in);
}

static int send_all(struct connection *c, struct slice data)
{
    while (data.n > 0) {
        ssize_t n = send(c->fd, data.p, data.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_UNAVAILABLE;
        data = slice_from(data, (size_t)n);
    }
    return 0;
}

/* More octets into c->in. */
static int receive(struct connection *c, struct err_detail *detail)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    int ready = poll(&p, 1, (int)(c->timeout_s * 1000));

    if (ready == 0)
        return err_set(detail, ERR_UNAVAILABLE, "no answer in %u s: it may still be done; look with mailctl status",
                       c->timeout_s);
    ssize_t n = ready < 0 ? -1 : recv(c->fd, buf_reserve(&c->in, 65536), 65536, 0);
    if (n > 0)
        buf_commit(&c->in, (size_t)n);
    else if (n == 0 || errno != EINTR)
        return err_set(detail, ERR_UNAVAILABLE,
                       "maild closed the connection: it may still be done; look with mailctl status");
    return 0;
}

static int answer_next(struct connection *c, struct admin_answer *a, struct err_detail *detail)
{
    int64_t n;

    while ((n = admin_line_find(buf_slice(&c->in))) == 0) {
        int rv = receive(c, detail);
        if (rv != 0)
            return rv;
    }
    int rv = n < 0 ? ERR_PROTOCOL : admin_answer_parse(slice_first(buf_slice(&c->in), (size_t)n), a);
    if (rv != 0)
        return err_set(detail, ERR_PROTOCOL, "the answer makes no sense: is it maild's admin socket?");
    buf_consume(&c->in, (size_t)n);
    return 0;
}

int connection_ask(struct connection *c, const char *verb, json_t *args, bool quiet, struct admin_answer *answer_r,
                   struct err_detail *detail)
{
    struct buf line = {0};
    int rv = admin_request_write(verb, args, &line);

    if (rv != 0)
        err_set(detail, rv, "the arguments are too long");
    else if ((rv = send_all(c, buf_slice(&line))) != 0)
        err_set(detail, rv, "maild closed the connection");
    if (line.base)
        mem_wipe(line.base, line.cap); /* it may hold a password */
    buf_close(&line);
    while (rv == 0) {
        rv = answer_next(c, answer_r, detail);
        if (rv != 0 || answer_r->kind != ADMIN_PROGRESS)
            break;
        if (!quiet)
            fprintf(stderr, "%s\n", answer_r->text);
        admin_answer_close(answer_r);
    }
    return rv;
}
