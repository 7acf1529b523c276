/* Touch with the cluster: whether what this node's views show of its leases is what the cluster knows.
 *
 * Words from the leader are not enough: a heartbeat may have lain in a socket, it comes without the entries that this
 * node has not got yet, and where packets are lost one way it comes though nobody hears this node. A linearizable read
 * that came through tells that the views from then on show every lease as it was when the read was asked for, and that
 * the leader heard this node after that: nobody takes it for dead, or voids its leases, within the time that a touch
 * counts. One read serves all deliveries that are under way. */
#include "node/queue_internal.h"

#include "node/base/clock.h"

enum { AGAIN_MS = 20 };

static void touched(struct task *t)
{
    struct queue *q = container_of(t, struct queue, touch.task);
    q->touching = false;
    queue_job_end(q);
    if (q->touch.status) /* again at the next tick */
        return;
    q->touch_ms = q->touch_asked_ms;
    delivery_confirm_tick(q);
}

static void touch_ask(struct queue *q, int64_t now)
{
    q->touching = true;
    q->touch_asked_ms = now;
    q->touch = (struct read_barrier){.task.run = touched, .home = queue_home(q), .deadline_ms = now + QUEUE_TOUCH_MS};
    queue_job_begin(q);
    replication_read(q->services->replication, &q->touch);
}

bool queue_in_touch(struct queue *q)
{
    int64_t now = clock_steady_ms();
    bool recent = q->touch_ms > 0 && now - q->touch_ms <= QUEUE_TOUCH_MS;
    bool young = recent && now - q->touch_ms <= QUEUE_TOUCH_MS / 2;
    if (!young && !q->touching && !q->stopped && now - q->touch_asked_ms >= AGAIN_MS)
        touch_ask(q, now);
    return recent;
}
