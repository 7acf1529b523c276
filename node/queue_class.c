/* Which delivery begins next. Next hops take turns; one that is slow holds some slots, never all. */
#include "node/queue_internal.h"

static struct list *class_bucket(struct queue *q, struct slice name)
{
    return &q->classes[checksum64(name) % QUEUE_TABLE];
}

static struct queue_class *class_find(struct queue *q, struct slice name, bool smarthost)
{
    LIST_EACH(it, tmp, class_bucket(q, name))
    {
        struct queue_class *c = container_of(it, struct queue_class, bucket);
        if (c->smarthost == smarthost && slice_eq(slice_str(c->name), name))
            return c;
    }
    return NULL;
}

struct queue_class *queue_class_get(struct queue *q, struct slice destination)
{
    const struct route *r = route_find(q->settings.routes, destination);
    struct slice name = r->host ? slice_str(r->host) : destination;
    struct queue_class *c = class_find(q, name, r->host != NULL);
    if (c)
        return c;
    c = mem_zalloc(sizeof *c + name.n + 1);
    memcpy(c->name, name.p, name.n);
    c->smarthost = r->host != NULL;
    list_init(&c->turn);
    list_init(&c->waiting);
    list_append(class_bucket(q, name), &c->bucket);
    return c;
}

void queue_class_put(struct queue *q, struct queue_class *c)
{
    (void)q;
    if (c->members > 0)
        return;
    list_remove(&c->bucket);
    list_remove(&c->turn);
    mem_free(c);
}

unsigned queue_class_limit(const struct queue *q, const struct queue_class *c)
{
    /* A smarthost is for many destinations and meant to take much: all that one next hop may have here. */
    return queue_share(c->smarthost ? 0 : q->settings.destination_max, q->nodes, q->deliveries_max);
}

void queue_class_add(struct queue_class *c, struct delivery *d)
{
    struct queue *q = d->q;
    d->state = DELIVERY_WAITING;
    list_append(&c->waiting, &d->place);
    if (list_empty(&c->turn))
        list_append(&q->turn, &c->turn);
}

/* The next class in turn that may begin one, at the end of the turns again; NULL: none. */
static struct queue_class *class_next(struct queue *q)
{
    LIST_EACH(it, tmp, &q->turn)
    {
        struct queue_class *c = container_of(it, struct queue_class, turn);
        if (list_empty(&c->waiting)) {
            list_remove(&c->turn);
            continue;
        }
        if (c->running >= queue_class_limit(q, c))
            continue;
        list_remove(&c->turn);
        list_append(&q->turn, &c->turn);
        return c;
    }
    return NULL;
}

void queue_dispatch(struct queue *q)
{
    if (q->dispatching) /* a delivery that ends at once inside of its begin */
        return;
    q->dispatching = true;
    struct queue_class *c;
    while (!q->drain_begun && q->running < q->deliveries_max && (c = class_next(q))) {
        struct delivery *d = container_of(c->waiting.next, struct delivery, place);
        list_remove(&d->place);
        d->has_slot = true;
        c->running++;
        q->running++;
        atomic_store(&q->running_now, q->running);
        delivery_begin(d);
    }
    q->dispatching = false;
}
