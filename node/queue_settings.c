#include "node/queue_settings.h"

#include "node/base/log.h"

/* One setting: understands its text, into s unless that is NULL. */
struct setting {
    const char *name;
    int (*take)(struct slice value, struct queue_settings *s, struct err_detail *e);
};

static int schedule_take(struct slice v, struct queue_settings *s, struct err_detail *e)
{
    struct queue_schedule t = queue_schedule_default;
    if (v.n && queue_schedule_parse(v, &t))
        return err_set(e, ERR_INVALID, "queue.schedule: write at most %d waits of a second or more, as \"5m 10m 1h\"",
                       QUEUE_SCHEDULE_MAX);
    if (s) {
        s->schedule.n = t.n;
        memcpy(s->schedule.waits_ms, t.waits_ms, sizeof t.waits_ms);
    }
    return 0;
}

static int lifetime_take(struct slice v, struct queue_settings *s, struct err_detail *e)
{
    int64_t ms = queue_schedule_default.lifetime_ms;
    if (v.n && (queue_duration_parse(v, &ms) || ms < 1000))
        return err_set(e, ERR_INVALID, "queue.lifetime: write how long mail is tried, as \"5d\"");
    if (s)
        s->schedule.lifetime_ms = ms;
    return 0;
}

static int notice_take(struct slice v, struct queue_settings *s, struct err_detail *e)
{
    int64_t ms = queue_schedule_default.notice_after_ms;
    if (v.n && queue_duration_parse(v, &ms))
        return err_set(e, ERR_INVALID, "queue.notice_after: write a duration, as \"4h\", or 0 for no notice");
    if (s)
        s->schedule.notice_after_ms = ms;
    return 0;
}

static int destination_take(struct slice v, struct queue_settings *s, struct err_detail *e)
{
    uint64_t n = QUEUE_DESTINATION_MAX_DEFAULT;
    if (v.n && slice_u64(v, 1000000, &n))
        return err_set(e, ERR_INVALID, "queue.destination_max: write a number, or 0 for no limit");
    if (s)
        s->destination_max = (unsigned)n;
    return 0;
}

static int rate_take(struct slice v, struct queue_settings *s, struct err_detail *e)
{
    uint64_t n;
    (void)s; /* the state machine's own */
    if (v.n && slice_u64(v, 1000000000, &n))
        return err_set(e, ERR_INVALID, "queue.rate: write recipients an hour, or 0 for no limit");
    return 0;
}

static int sender_take(struct slice v, struct queue_settings *s, struct err_detail *e)
{
    (void)s; /* asked for where mail comes in */
    if (v.n && !slice_eq(v, SLICE_LITERAL("own")) && !slice_eq(v, SLICE_LITERAL("any")))
        return err_set(e, ERR_INVALID, "queue.sender: write own or any");
    return 0;
}

/* The three tables are one value; here each is looked at alone. */
static int table_check(struct slice routes, struct slice sources, struct slice hosts, struct err_detail *e)
{
    struct routes *r;
    int rc = routes_new(routes, sources, hosts, &r, e);
    routes_free(&r);
    return rc;
}

static int routes_take(struct slice v, struct queue_settings *s, struct err_detail *e)
{
    (void)s;
    return table_check(v, (struct slice){0}, (struct slice){0}, e);
}

static int sources_take(struct slice v, struct queue_settings *s, struct err_detail *e)
{
    (void)s;
    return table_check((struct slice){0}, v, (struct slice){0}, e);
}

static int hosts_take(struct slice v, struct queue_settings *s, struct err_detail *e)
{
    (void)s;
    return table_check((struct slice){0}, (struct slice){0}, v, e);
}

enum { ROUTES_AT = 0, SOURCES_AT, HOSTS_AT };
static const struct setting settings[] = {
    {"queue.routes", routes_take},
    {"queue.sources", sources_take},
    {"queue.hosts", hosts_take},
    {"queue.schedule", schedule_take},
    {"queue.lifetime", lifetime_take},
    {"queue.notice_after", notice_take},
    {"queue.destination_max", destination_take},
    {"queue.rate", rate_take},
    {"queue.sender", sender_take},
};
enum { SETTINGS_N = sizeof settings / sizeof settings[0] };

int queue_setting_check(struct slice name, struct slice value, struct err_detail *e)
{
    for (unsigned i = 0; i < SETTINGS_N; i++)
        if (slice_eq(name, slice_str(settings[i].name)))
            return settings[i].take(value, NULL, e);
    return ERR_NOTFOUND;
}

void queue_settings_init(struct queue_settings *s)
{
    struct err_detail e;
    *s = (struct queue_settings){.schedule = queue_schedule_default, .destination_max = QUEUE_DESTINATION_MAX_DEFAULT};
    ENSURE(routes_new((struct slice){0}, (struct slice){0}, (struct slice){0}, &s->routes, &e) == 0);
}

void queue_settings_close(struct queue_settings *s)
{
    routes_free(&s->routes);
    buf_close(&s->seen);
}

static void refused(const struct err_detail *e)
{
    log_event(LOG_ERROR, "a setting of the queue is not used", LOG_S("why", e->text));
}

bool queue_settings_load(struct queue_settings *s, struct store_view *v)
{
    struct slice values[SETTINGS_N] = {{0}};
    struct buf texts = {0};
    for (unsigned i = 0; i < SETTINGS_N; i++) {
        store_setting_get(v, slice_str(settings[i].name), &values[i]);
        buf_put_bytes(&texts, values[i]);
    }
    if (slice_eq(buf_slice(&texts), buf_slice(&s->seen))) {
        buf_close(&texts);
        return false;
    }
    buf_close(&s->seen);
    s->seen = texts;
    struct err_detail e = {{0}};
    for (unsigned i = HOSTS_AT + 1; i < SETTINGS_N; i++)
        if (settings[i].take(values[i], s, &e))
            refused(&e);
    struct routes *fresh;
    if (routes_new(values[ROUTES_AT], values[SOURCES_AT], values[HOSTS_AT], &fresh, &e)) {
        refused(&e);
    } else {
        routes_free(&s->routes);
        s->routes = fresh;
    }
    return true;
}
