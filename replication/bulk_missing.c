/* Rounds over the list of missing bodies, a window of fetches at a time. A round in which some were found nowhere is
 * followed by a pause that grows; a kick shortens it. A body noted as missing mostly is on its way (the entry overtook
 * it), so a round begins a moment after the kick: what came meanwhile is off the list. */
#include "replication/bulk_impl.h"

enum { BACKOFF_MIN_MS = 500, BACKOFF_MAX_MS = 10000, KICKED_MAX_MS = 1000 };

static void round_end(struct bulk *b)
{
    struct missing *m = &b->missing;
    uint64_t left = blob_missing_count(b->c.blobs);
    int64_t now = clock_steady_ms();
    m->in_round = false;
    if (left == 0) {
        m->backoff_ms = 0;
        m->next_ms = 0;
        if (m->fetched > 0)
            log_event(LOG_INFO, "bodies fetched", LOG_U("fetched", m->fetched));
        m->fetched = 0;
        return;
    }
    if (m->failed == 0)
        m->backoff_ms = BULK_MISSING_DELAY_MS;
    else if (m->backoff_ms < BACKOFF_MIN_MS)
        m->backoff_ms = BACKOFF_MIN_MS;
    else
        m->backoff_ms = m->backoff_ms * 2 < BACKOFF_MAX_MS ? m->backoff_ms * 2 : BACKOFF_MAX_MS;
    m->next_ms = now + m->backoff_ms;
}

static bool batch_next(struct bulk *b)
{
    struct missing *m = &b->missing;
    static const struct body_hash START; /* all zero: no message has that hash */
    if (!m->more)
        return false;
    bool start = body_hash_eq(&m->cursor, &START);
    m->n = blob_missing_list(b->c.blobs, start ? NULL : &m->cursor, m->batch, BULK_MISSING_BATCH);
    m->at = 0;
    m->more = m->n == BULK_MISSING_BATCH;
    if (m->n > 0)
        m->cursor = m->batch[m->n - 1];
    return m->n > 0;
}

static void fill(struct bulk *b)
{
    struct missing *m = &b->missing;
    while (m->in_round && m->active < BULK_MISSING_WINDOW) {
        if (m->at >= m->n && !batch_next(b))
            break;
        m->active++;
        get_background(b, &m->batch[m->at++]);
    }
    if (m->in_round && m->active == 0 && m->at >= m->n && !m->more)
        round_end(b);
}

static void fill_run(struct task *t)
{
    struct bulk *b = container_of(t, struct bulk, missing.fill);
    b->missing.fill_posted = false;
    if (!b->stopping)
        fill(b);
}

void missing_done(struct bulk *b, const struct body_hash *hash, bool found)
{
    struct missing *m = &b->missing;
    ENSURE(m->active > 0);
    m->active--;
    m->fetched += found;
    m->failed += !found;
    if (!found && !b->stopping)
        b->c.nowhere(b->c.arg, hash);
    if (m->fill_posted)
        return;
    m->fill_posted = true; /* from the loop, not from in here: a fetch may end within its beginning */
    bulk_home(b, &m->fill);
}

void missing_tick(struct bulk *b, int64_t now)
{
    struct missing *m = &b->missing;
    if (b->stopping)
        return;
    if (m->in_round) {
        if (now - m->logged_ms >= BULK_LOG_MS && m->logged_ms)
            log_event(LOG_INFO, "fetching bodies", LOG_U("missing", blob_missing_count(b->c.blobs)),
                      LOG_U("fetched", m->fetched), LOG_U("failed", m->failed));
        if (now - m->logged_ms >= BULK_LOG_MS)
            m->logged_ms = now;
        return;
    }
    if (m->next_ms == 0 && blob_missing_count(b->c.blobs) > 0)
        m->next_ms = now + BULK_MISSING_DELAY_MS; /* a reader found a damaged one, or those of before our start */
    if (m->next_ms == 0 || m->next_ms > now || !bulk_peer_next(b, NULL, 0))
        return;
    m->in_round = m->more = true;
    m->n = m->at = 0;
    m->failed = 0;
    m->cursor = (struct body_hash){{0}};
    fill(b);
}

static void kick_run(struct task *t)
{
    struct bulk *b = container_of(t, struct bulk, missing.kick);
    struct missing *m = &b->missing;
    atomic_store(&m->kick_posted, false);
    int64_t now = clock_steady_ms();
    if (m->in_round) /* its end looks whether any are left */
        return;
    if (m->next_ms == 0)
        m->next_ms = now + BULK_MISSING_DELAY_MS;
    else if (m->next_ms > now + KICKED_MAX_MS)
        m->next_ms = now + KICKED_MAX_MS;
    bulk_busy(b);
}

void bulk_missing_kick(struct bulk *b)
{
    if (!atomic_exchange(&b->missing.kick_posted, true))
        bulk_home(b, &b->missing.kick);
}

void missing_init(struct bulk *b)
{
    b->missing.fill.run = fill_run;
    b->missing.kick.run = kick_run;
}
