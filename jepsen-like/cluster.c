#include "jepsen-like/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REMOVE_MS = 30000, CTL_NOT_FOUND = 3, CTL_EXISTS = 5 };

json_t *cluster_status(void)
{
    struct text out = {0};
    json_t *j = NULL;
    for (unsigned node = 1; node <= nodes_count() && !j; node++)
        if (node_running(node) && NODE_CTL(node, NULL, &out, "status", "--json") == 0)
            j = json_loads(out.p, 0, NULL);
    text_free(&out);
    return j;
}

static const char *member_text(const json_t *member, const char *name)
{
    const char *s = json_string_value(json_object_get(member, name));
    return s ? s : "";
}

static unsigned member_number(const json_t *member)
{
    const char *name = member_text(member, "name");
    return name[0] == 'n' ? (unsigned)atoi(name + 1) : 0;
}

unsigned cluster_leader(void)
{
    json_t *j = cluster_status(), *m;
    size_t i;
    unsigned leader = 0;
    json_array_foreach(json_object_get(j, "members"), i, m) if (json_is_true(json_object_get(m, "leader"))) leader =
        member_number(m);
    json_decref(j);
    return leader;
}

unsigned cluster_voters(unsigned voters_r[NODES_MAX])
{
    json_t *j = cluster_status(), *m;
    size_t i;
    unsigned n = 0;
    json_array_foreach(json_object_get(j, "members"), i, m) if (strcmp(member_text(m, "role"), "voter") == 0 &&
                                                                n < NODES_MAX) voters_r[n++] = member_number(m);
    json_decref(j);
    return n;
}

bool cluster_version(unsigned node, char *version_r, size_t n)
{
    json_t *j = cluster_status(), *m;
    size_t i;
    bool found = false;
    json_array_foreach(json_object_get(j, "members"), i, m)
    {
        if (strcmp(member_text(m, "name"), node_name(node)) == 0) {
            snprintf(version_r, n, "%s", member_text(m, "version"));
            found = true;
        }
    }
    json_decref(j);
    return found;
}

bool cluster_well(void)
{
    json_t *j = cluster_status(), *m;
    size_t i;
    unsigned well = 0, leaders = 0;
    json_array_foreach(json_object_get(j, "members"), i, m)
    {
        well += strcmp(member_text(m, "state"), "ok") == 0 && json_integer_value(json_object_get(m, "missing")) == 0;
        leaders += json_is_true(json_object_get(m, "leader"));
    }
    json_decref(j);
    return well == nodes_count() && leaders == 1;
}

/* ---- making the cluster ---- */

static void ctl_must(unsigned node, struct text *out, const char *const words[])
{
    int r = -1;
    for (unsigned i = 0; i < 300 && r != 0; i++) { /* the socket opens a moment after the start */
        nodes_supervise();
        if ((r = nodes_ctl(node, NULL, out, words)) != 0)
            sleep_ms(50);
        if (r == CTL_EXISTS && i > 0) /* an earlier try did it, and its answer was lost */
            r = 0;
    }
    if (r)
        fail("mailctl %s %s on n%u: exit code %d: %s", words[0], words[1] ? words[1] : "", node, r, out->p);
}

static void node_join(unsigned through, unsigned node)
{
    struct text out = {0};
    char address[32];
    snprintf(address, sizeof address, "10.77.0.%u:%u", node, NODE_PEER_PORT);
    ctl_must(through, &out, (const char *const[]){"member", "add", node_name(node), address, "--json", NULL});
    json_t *j = json_loads(out.p, 0, NULL);
    const char *token = json_string_value(json_object_get(j, "token"));
    if (!token)
        fail("member add gave no token: %s", out.p);
    ctl_must(node, &out, (const char *const[]){"cluster", "join", token, NULL});
    json_decref(j);
    text_free(&out);
}

void cluster_make(void)
{
    struct text out = {0};
    ctl_must(1, &out, (const char *const[]){"cluster", "init", NULL});
    text_free(&out);
    for (unsigned node = 2; node <= nodes_count(); node++)
        node_join(1, node);
    for (uint64_t end = now_ns() + 60 * NS_PER_S; !cluster_well(); sleep_ms(100)) {
        nodes_supervise();
        if (now_ns() > end)
            fail("the new cluster is not well after 60 s");
    }
}

void cluster_node_replace(unsigned node)
{
    unsigned through = node == 1 ? 2 : 1;
    struct text out = {0};
    char old[16];
    int r = -1;
    snprintf(old, sizeof old, "%s", node_name(node));
    node_signal(node, SIGKILL);
    node_wait(node, 1000);
    for (uint64_t end = now_ns() + REMOVE_MS * NS_PER_MS; r != 0 && now_ns() < end; sleep_ms(200)) {
        nodes_supervise();
        r = NODE_CTL(through, NULL, &out, "member", "remove", old, "--yes");
        r = r == CTL_NOT_FOUND ? 0 : r; /* an earlier try did it */
    }
    if (r)
        say("FOUND n%u stays down: member remove %s is refused for %d s: %.300s", node, old, REMOVE_MS / 1000, out.p);
    text_free(&out);
    if (r)
        return;
    node_wipe(node);
    node_start(node);
    node_join(through, node);
}
