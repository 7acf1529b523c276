#include "node/admin.h"

#include "node/address.h"
#include "node/base/clock.h"
#include "node/base/list.h"
#include "store/command.pb-c.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, HANDLERS_MAX = 64 };

struct admin {
    struct node *node;
    uv_pipe_t pipe;
    struct list connections;
    unsigned connection_n;
    char path[108];
    bool closing;
};

struct admin_connection {
    struct list item;
    struct admin *admin;
    uv_pipe_t pipe;
    struct buf in;
    struct admin_call *call; /* under way: requests are answered in order */
    char chunk[4096];
};

static void connection_next(struct admin_connection *c);

/* ---- connections ---- */

static void connection_freed(uv_handle_t *h)
{
    struct admin_connection *c = h->data;
    buf_close(&c->in);
    mem_free(c);
}

static void connection_close(struct admin_connection *c)
{
    if (uv_is_closing((uv_handle_t *)&c->pipe))
        return;
    if (c->call)
        c->call->connection = NULL;
    list_remove(&c->item);
    c->admin->connection_n--;
    uv_close((uv_handle_t *)&c->pipe, connection_freed);
}

struct write_request {
    uv_write_t uv;
    struct buf line;
};

static void write_done(uv_write_t *w, int status)
{
    struct write_request *r = container_of(w, struct write_request, uv);
    (void)status; /* a reader that is gone shows up in read */
    buf_close(&r->line);
    mem_free(r);
}

/* Takes over the line. */
static void connection_write(struct admin_connection *c, struct buf *line)
{
    struct write_request *r = mem_zalloc(sizeof *r);
    r->line = *line;
    struct slice s = buf_slice(&r->line);
    uv_buf_t out = uv_buf_init((char *)s.p, (unsigned)s.n);
    if (uv_write(&r->uv, (uv_stream_t *)&c->pipe, &out, 1, write_done))
        write_done(&r->uv, 0);
}

static void connection_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *out)
{
    struct admin_connection *c = h->data;
    (void)suggested;
    *out = uv_buf_init(c->chunk, sizeof c->chunk);
}

static void connection_read(uv_stream_t *s, ssize_t n, const uv_buf_t *in)
{
    struct admin_connection *c = s->data;
    (void)in;
    if (n < 0) {
        connection_close(c);
        return;
    }
    buf_append(&c->in, c->chunk, (size_t)n);
    mem_wipe(c->chunk, (size_t)n); /* passwords pass through */
    if (buf_len(&c->in) > ADMIN_LINE_MAX + sizeof c->chunk)
        connection_close(c);
    else if (!c->call)
        connection_next(c);
}

static void accepted(uv_stream_t *server, int status)
{
    struct admin *a = server->data;
    if (status || a->closing)
        return;
    struct admin_connection *c = mem_zalloc(sizeof *c);
    c->admin = a;
    uv_pipe_init(server->loop, &c->pipe, 0);
    c->pipe.data = c;
    list_append(&a->connections, &c->item);
    a->connection_n++;
    if (uv_accept(server, (uv_stream_t *)&c->pipe) || a->connection_n > CONNECTIONS_MAX ||
        uv_read_start((uv_stream_t *)&c->pipe, connection_alloc, connection_read))
        connection_close(c);
}

/* ---- calls ---- */

static admin_handler *handler_find(const char *verb)
{
    const struct admin_handler_entry *tables[] = {admin_cluster_handlers, admin_mail_handlers, admin_queue_handlers};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (const struct admin_handler_entry *e = tables[t]; e->verb; e++)
            if (strcmp(e->verb, verb) == 0)
                return e->run;
    return NULL;
}

static void call_end(struct admin_call *c, struct buf *line)
{
    struct admin_connection *connection = c->connection;
    admin_request_close(&c->request);
    mem_wipe(c->password, sizeof c->password);
    mem_free(c->command);
    mem_free(c);
    if (!connection) {
        buf_close(line);
        return;
    }
    connection->call = NULL;
    connection_write(connection, line);
    connection_next(connection);
}

void admin_ok(struct admin_call *c, json_t *data)
{
    struct buf line = {0};
    admin_ok_write(data, &line);
    json_decref(data);
    call_end(c, &line);
}

void admin_fail(struct admin_call *c, int code, const char *hint, const char *format, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    struct buf line = {0};
    admin_error_write(code, text, hint, &line);
    log_event(LOG_INFO, "admin refused", LOG_S("verb", c->request.verb->name), LOG_E("code", code),
              LOG_S("error", text));
    call_end(c, &line);
}

static void connection_refuse(struct admin_connection *c, int code, const char *text)
{
    struct buf line = {0};
    admin_error_write(code, text, "see: mailctl --help", &line);
    connection_write(c, &line);
}

json_t *admin_ascii(json_t *value)
{
    char text[ADDRESS_TEXT_MAX];
    const char *in = json_string_value(value);
    bool fits = in && strlen(in) < ADDRESS_TEXT_MAX;
    return fits ? json_string(address_ascii(slice_str(in), text)) : json_incref(value);
}

/* Arguments that are addresses and domains, in the form that the store knows. (settings set: see admin_mail.c) */
static void args_ascii(const struct admin_request *r)
{
    static const struct {
        const char *verbs, *arg;
    } table[] = {{"domain ", "name"},   {"domain ", "catch_all"}, {"user ", "address"}, {"user ", "domain"},
                 {"alias ", "address"}, {"alias ", "targets"},    {"alias ", "domain"}, {"mailbox ", "user"},
                 {"queue ", "sender"},  {"queue ", "domain"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        json_t *value = json_object_get(r->args, table[i].arg);
        if (!value || !slice_istarts(slice_str(r->verb->name), slice_str(table[i].verbs)))
            continue;
        if (json_is_string(value))
            json_object_set_new(r->args, table[i].arg, admin_ascii(value));
        for (size_t k = 0; k < json_array_size(value); k++)
            json_array_set_new(value, k, admin_ascii(json_array_get(value, k)));
    }
}

static void connection_next(struct admin_connection *c)
{
    while (!c->call && !uv_is_closing((uv_handle_t *)&c->pipe)) {
        int64_t n = admin_line_find(buf_slice(&c->in));
        if (n == 0)
            return;
        if (n < 0) {
            connection_close(c);
            return;
        }
        struct admin_call *call = mem_zalloc(sizeof *call);
        struct err_detail detail = {0};
        int r = admin_request_parse(slice_first(buf_slice(&c->in), (size_t)n), &call->request, &detail);
        mem_wipe((void *)buf_slice(&c->in).p, (size_t)n);
        buf_consume(&c->in, (size_t)n);
        admin_handler *run = r ? NULL : handler_find(call->request.verb->name);
        if (!run) {
            if (r == 0)
                admin_request_close(&call->request);
            mem_free(call);
            connection_refuse(c, r ? r : ERR_NOTFOUND, r ? detail.text : "this node does not know that verb");
            continue;
        }
        args_ascii(&call->request);
        call->node = c->admin->node;
        call->connection = c;
        c->call = call;
        run(call);
    }
}

/* ---- what handlers go through ---- */

static void call_synced(struct task *t)
{
    struct admin_call *c = container_of(t, struct admin_call, barrier.task);
    if (c->barrier.status)
        admin_fail(c, ERR_UNAVAILABLE, "see: mailctl status", "no majority of nodes answers");
    else
        c->then(c);
}

static bool call_needs_member(struct admin_call *c)
{
    if (node_is_member(c->node))
        return true;
    admin_fail(c, ERR_UNAVAILABLE,
               "run mailctl cluster init here, or mailctl member add on a member and maild join here",
               "this node belongs to no cluster yet");
    return false;
}

void admin_synced(struct admin_call *c, admin_handler *then)
{
    if (!call_needs_member(c))
        return;
    c->then = then;
    c->barrier = (struct read_barrier){.task.run = call_synced, .home = &node_loop(c->node)->queue};
    c->barrier.deadline_ms = clock_steady_ms() + 10000;
    replication_read(node_services(c->node)->replication, &c->barrier);
}

struct proposed {
    struct propose propose;
    struct admin_call *call;
    char name_key[32];
    const char *hint;
};

static void call_proposed(struct task *t)
{
    struct proposed *p = container_of(t, struct proposed, propose.task);
    struct admin_call *c = p->call;
    struct slice packed = bytes_slice(p->propose.result);
    Merlion__Result *r = p->propose.status ? NULL : merlion__result__unpack(NULL, packed.n, packed.p);
    if (p->propose.status || !r) {
        int status = p->propose.status ? p->propose.status : ERR_PROTOCOL;
        admin_fail(c, status, "see: mailctl status", "not done: %s", err_text(status));
    } else if (r->status) {
        admin_fail(c, r->status, p->hint, "%s", r->text && r->text[0] ? r->text : err_text(r->status));
    } else {
        const char *name = admin_arg_string(&c->request, p->name_key);
        json_t *data = json_pack("{s:s}", p->name_key, name ? name : "");
        if (r->id)
            json_object_set_new(data, "id", json_integer((json_int_t)r->id));
        log_event(LOG_INFO, "admin", LOG_S("verb", c->request.verb->name), LOG_S("object", name));
        admin_ok(c, data);
    }
    if (r)
        merlion__result__free_unpacked(r, NULL);
    bytes_unref(&p->propose.result);
    mem_free(p);
}

void admin_propose(struct admin_call *c, const admin_command *command, const char *name_key, const char *hint)
{
    if (!call_needs_member(c))
        return;
    struct proposed *p = mem_zalloc(sizeof *p);
    size_t n = merlion__command__get_packed_size(command);
    c->command = mem_alloc(n);
    merlion__command__pack(command, c->command);
    p->call = c;
    p->hint = hint;
    snprintf(p->name_key, sizeof p->name_key, "%s", name_key);
    p->propose.task.run = call_proposed;
    p->propose.home = &node_loop(c->node)->queue;
    p->propose.command = slice_make(c->command, n);
    replication_propose(node_services(c->node)->replication, &p->propose);
}

/* ---- the socket ---- */

int admin_listen(struct node *n, const char *path, struct admin **a_r, struct err_detail *e)
{
    for (size_t i = 0; i < admin_verb_n; i++)
        ENSURE(handler_find(admin_verbs[i].name) != NULL);
    struct admin *a = mem_zalloc(sizeof *a);
    a->node = n;
    list_init(&a->connections);
    if (strlen(path) >= sizeof a->path) {
        mem_free(a);
        return err_set(e, ERR_TOOBIG, "admin socket path %s is longer than %zu characters", path, sizeof a->path - 1);
    }
    snprintf(a->path, sizeof a->path, "%s", path);
    uv_pipe_init(&node_loop(n)->uv, &a->pipe, 0);
    a->pipe.data = a;
    unlink(path); /* only one maild may use a data folder (its lock says so), so a socket left there is stale */
    mode_t old = umask(0177);
    int r = uv_pipe_bind(&a->pipe, path);
    umask(old);
    if (r == 0)
        r = uv_listen((uv_stream_t *)&a->pipe, 16, accepted);
    *a_r = a;
    return r ? err_set(e, ERR_IO, "admin socket %s: %s", path, uv_strerror(r)) : 0;
}

static void admin_freed(uv_handle_t *h)
{
    mem_free(h->data);
}

void admin_close(struct admin **ap)
{
    struct admin *a = *ap;
    *ap = NULL;
    if (!a)
        return;
    a->closing = true;
    LIST_EACH(item, tmp, &a->connections)
    connection_close(container_of(item, struct admin_connection, item));
    unlink(a->path);
    uv_close((uv_handle_t *)&a->pipe, admin_freed);
}
