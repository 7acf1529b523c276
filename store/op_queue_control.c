#include "store/queue_state.h"

/* An operator's commands. What is leased is left to its holder: its outcome, or its end, meets the item's new state. */

/* One pass over an item's legs; true when it changed something. */
typedef bool control(struct store *s, struct store_queue_item *i, struct queue_leg_record *l);

static bool leg_hold(struct store *s, struct store_queue_item *i, struct queue_leg_record *l)
{
    (void)i;
    if (l->l.state == QUEUE_WAITING)
        queue_leg_hold(s, l, l->l.due_ms);
    return true;
}

static bool leg_release(struct store *s, struct store_queue_item *i, struct queue_leg_record *l)
{
    (void)i;
    if (l->l.state == QUEUE_HELD)
        queue_leg_wait(s, l, l->l.due_ms);
    return true;
}

static bool leg_retry(struct store *s, struct store_queue_item *i, struct queue_leg_record *l)
{
    (void)i;
    if (l->l.state != QUEUE_WAITING || l->l.due_ms <= s->st.time_ms)
        return false;
    queue_leg_wait(s, l, s->st.time_ms);
    return true;
}

static bool leg_cancel(struct store *s, struct store_queue_item *i, struct queue_leg_record *l)
{
    if (l->l.state != QUEUE_LEASED)
        queue_leg_remove(s, i, l);
    return true;
}

static bool legs_control(struct store *s, struct store_queue_item *i, control *each)
{
    struct queue_leg_record l;
    bool changed = false;
    for (uint32_t from = 0; queue_leg_next(s, i->id, from, &l); from = l.l.leg + 1)
        changed |= each(s, i, &l);
    return changed;
}

static bool item_control(struct store *s, struct store_queue_item *i, Merlion__QueueControl__Action action)
{
    if (i->canceled)
        return false;
    switch (action) {
    case MERLION__QUEUE_CONTROL__ACTION__HOLD:
        if (i->held)
            return false;
        i->held = true;
        return legs_control(s, i, leg_hold);
    case MERLION__QUEUE_CONTROL__ACTION__RELEASE:
        if (!i->held)
            return false;
        i->held = false;
        return legs_control(s, i, leg_release);
    case MERLION__QUEUE_CONTROL__ACTION__RETRY:
        return legs_control(s, i, leg_retry);
    case MERLION__QUEUE_CONTROL__ACTION__CANCEL:
        i->canceled = true;
        return legs_control(s, i, leg_cancel);
    default:
        return false;
    }
}

static int control_check(struct store *s, const Merlion__QueueControl *q, const char **why_r)
{
    uint64_t legs = 0;
    *why_r = "unknown action";
    if ((unsigned)q->action > MERLION__QUEUE_CONTROL__ACTION__CANCEL)
        return ERR_INVALID;
    *why_r = "at most 1000 items at once";
    if (q->n_items > QUEUE_CONTROL_MAX)
        return ERR_TOOBIG;
    *why_r = "too many destinations at once: name fewer items";
    for (size_t n = 0; n < q->n_items; n++) {
        struct store_queue_item i;
        if (queue_item_load(s, q->items[n], &i))
            legs += i.legs;
    }
    return legs > QUEUE_CONTROL_LEGS_MAX ? ERR_TOOBIG : 0;
}

void op_queue_control(struct store *s, const Merlion__Command *c, Merlion__Result *r)
{
    const Merlion__QueueControl *q = c->queue_control;
    const char *why;
    int rc = control_check(s, q, &why);
    if (rc) {
        op_refuse(r, rc, why);
        return;
    }
    for (size_t n = 0; n < q->n_items; n++) {
        struct store_queue_item i;
        if (!queue_item_load(s, q->items[n], &i) || !item_control(s, &i, q->action))
            continue;
        queue_item_settle(s, &i);
        r->id++;
    }
    if (r->id)
        s->queue_changed = true;
    s->queue_retry |= q->action == MERLION__QUEUE_CONTROL__ACTION__RETRY && r->id;
}
