/* Is the state whole? The digest says so: the position record has a checksum, and in it the digest that was kept while
 * commands were applied; a file whose pages are in order (store/pages.h) and whose records add up to that digest holds
 * what was applied, and nothing else. What the records mean is store_scrub's. */
#include "store/env.h"
#include "store/pages.h"

struct whole {
    struct buf scratch;
    struct sum128 digest;
    struct position_record position;
};

static int table_of(void *arg, struct slice name)
{
    (void)arg;
    for (unsigned t = 0; t < TABLE_N; t++)
        if (slice_eq(name, slice_str(table_name(t))))
            return (int)t;
    return -1;
}

static bool record_seen(void *arg, int table, struct slice key, struct slice value)
{
    struct whole *w = arg;
    if (table == TABLE_POSITION)
        return slice_eq(key, key_position()) && record_position_read(value, &w->position);
    sum128_add(&w->digest, record_sum(&w->scratch, (enum table)table, key, value));
    return true;
}

static struct pages_check check_of(struct whole *w, const struct store_watch *watch)
{
    return (struct pages_check){.arg = w, .table = table_of, .record = record_seen, .watch = watch};
}

static int digest_check(struct whole *w, int rc, struct err_detail *e)
{
    if (rc == 0 && !sum128_eq(w->digest, w->position.digest))
        rc = err_set(e, ERR_CORRUPT, "the records are not those that were written: their digest is another one");
    buf_close(&w->scratch);
    return rc;
}

int store_check_files(const char *dir, bool live, const struct store_watch *watch, struct err_detail *e)
{
    struct whole w = {0};
    struct pages_check c = check_of(&w, watch);
    int rc = live ? 0 : store_files_recover(dir, e);
    if (rc || !store_files_has(dir, "state"))
        return rc;
    char *path = store_files_path(dir, "state");
    rc = pages_check_folder(path, live, &c, e);
    mem_free(path);
    return digest_check(&w, rc, e);
}

int store_check(struct store *s, const struct store_watch *watch, struct err_detail *e)
{
    struct whole w = {0};
    struct pages_check c = check_of(&w, watch);
    struct store_view *v; /* the environment stays while it is open */
    int rc = store_view_open(s, &v);
    if (rc)
        return err_set(e, rc, "no view of the state: %s", err_text(rc));
    rc = pages_check_env(v->env->env, &c, e);
    store_view_close(&v);
    return digest_check(&w, rc, e);
}
