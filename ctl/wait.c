#include "ctl/wait.h"

#include "ctl/connection.h"
#include "node/base/clock.h"

#include <string.h>
#include <unistd.h>

enum { WAIT_STEP_MS = 500 };

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value ? value : "";
}

/* By name, or the node that answers for NULL. */
static const json_t *member_find(const json_t *status, const char *name)
{
    size_t i;
    json_t *m;

    json_array_foreach(json_object_get(status, "members"), i, m)
    {
        if (name ? strcmp(text(m, "name"), name) == 0 : json_is_true(json_object_get(m, "self")))
            return m;
    }
    return NULL;
}

static bool is_well(const json_t *member)
{
    return member && strcmp(text(member, "state"), "ok") == 0 && strcmp(text(member, "role"), "invited") != 0;
}

bool wait_reached(const struct admin_verb *verb, const json_t *args, const char *before, const json_t *status)
{
    const char *name = text(args, "name"), *leader = text(status, "leader");
    const char *to = text(args, "to");

    if (strcmp(verb->name, "cluster join") == 0)
        return is_well(member_find(status, NULL));
    if (strcmp(verb->name, "member add") == 0)
        return is_well(member_find(status, name));
    if (strcmp(verb->name, "member remove") == 0)
        return !member_find(status, name);
    if (strcmp(verb->name, "member role") == 0)
        return strcmp(text(member_find(status, name), "role"), text(args, "role")) == 0;
    if (to[0])
        return strcmp(leader, to) == 0;
    return leader[0] && (!before || strcmp(leader, before) != 0);
}

static bool reached_now(const struct options *o, const char *before)
{
    struct connection c;
    struct admin_answer answer;
    struct err_detail ignored;
    bool reached = false;

    if (connection_open(&c, o->socket, 5, &ignored) != 0)
        return false;
    if (connection_ask(&c, "status", NULL, true, &answer, &ignored) == 0) {
        reached = answer.kind == ADMIN_OK && wait_reached(o->verb, o->args, before, answer.data);
        admin_answer_close(&answer);
    }
    connection_close(&c);
    return reached;
}

int wait_for(const struct options *o, const char *before, struct err_detail *detail)
{
    int64_t end = clock_steady_ms() + (int64_t)o->timeout_s * 1000;

    while (!reached_now(o, before)) {
        if (clock_steady_ms() >= end)
            return err_set(detail, ERR_TIMEOUT, "not there after %u s; it goes on: look with mailctl status",
                           o->timeout_s);
        usleep(WAIT_STEP_MS * 1000);
    }
    return 0;
}
