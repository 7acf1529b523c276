/* Members as the state has them: an id is one member's, for ever. And the active format: raised only when all that
 * joined know the new one. */
#include "tests/sim/check_model.h"

#include "node/base/err.h"

enum { MEMBERS_MAX = 256 };

static struct member {
    uint64_t id;
    uint32_t format_max;
    int64_t invited_until_ms;
    char name[MODEL_NAME_MAX];
    bool removed;
} members[MEMBERS_MAX];
static unsigned member_n;
static uint32_t format = STORE_FORMAT_MIN;

uint32_t check_format(void)
{
    return format;
}

static struct member *member_of(uint64_t id)
{
    for (unsigned i = 0; i < member_n; i++)
        if (members[i].id == id)
            return &members[i];
    return NULL;
}

/* A certificate names its node by id, also when the member is gone. A set without a name is the scripts'
 * (fault_format); it may come late. */
static void name_check(const struct member *old, const Merlion__MemberSet *m, uint64_t modseq)
{
    const char *name = m->name ? m->name : "";
    unsigned long long id = m->id, index = modseq / ENTRY_COMMANDS_MAX;
    if (*name && old->removed)
        sim_fail(&sim_counts.other, "member %llu (%s) was removed, and is set again at %llu as %s", id, old->name,
                 index, name);
    if (*name && *old->name && strcmp(name, old->name) != 0)
        sim_fail(&sim_counts.other, "member %llu is %s, and is set at %llu as %s", id, old->name, index, name);
}

void model_member_set(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq)
{
    const Merlion__MemberSet *m = c->member_set;
    struct member *old = member_of(m->id);
    if (r->status != 0)
        return;
    if (!old) {
        if (member_n == MEMBERS_MAX)
            sim_fail(&sim_counts.other, "more than %d members", MEMBERS_MAX);
        old = &members[member_n++];
        *old = (struct member){.id = m->id};
    }
    name_check(old, m, modseq);
    if (old->removed)
        old->format_max = 0;
    old->removed = false;
    if (m->name && *m->name)
        snprintf(old->name, sizeof old->name, "%s", m->name);
    if (m->format_max)
        old->format_max = m->format_max;
    old->invited_until_ms = m->invited_until_ms;
}

void model_member_remove(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq)
{
    struct member *m = member_of(c->member_remove->id);
    bool there = m && !m->removed;
    (void)modseq;
    if (r->status != (there ? 0 : ERR_NOTFOUND))
        sim_fail(&sim_counts.other, "member %llu: its removal answers %s", (unsigned long long)c->member_remove->id,
                 err_name(r->status));
    if (m)
        m->removed = true;
}

void model_format_raise(const Merlion__Command *c, const Merlion__Result *r, uint64_t modseq)
{
    uint32_t to = c->format_raise->format;
    bool all = true;
    for (unsigned i = 0; i < member_n; i++)
        all = all && (members[i].removed || members[i].invited_until_ms != 0 || members[i].format_max >= to);
    int want = to < format ? ERR_INVALID : to > format && !all ? ERR_CONFLICT : 0;
    if (r->status != want)
        sim_fail(&sim_counts.other, "format raise to %u at %llu answers %s, expected %s", to,
                 (unsigned long long)(modseq / ENTRY_COMMANDS_MAX), err_name(r->status), err_name(want));
    if (want == 0)
        format = to;
}
