/* Is the index of bodies whole: its pages (store/pages.h), and each row by its own checksum. All that is in it can be
 * had again from the segments, but for the notes of missing bodies: the references of the state tell those. */
#include "store/blob_log.h"
#include "store/blob_row.h"
#include "store/pages.h"

#include <stdio.h>
#include <sys/stat.h>

enum table { BODIES, MISSING, LOCAL, TABLES };
static const char *const names[TABLES] = {"bodies", "missing", "local"};

static int table_of(void *arg, struct slice name)
{
    (void)arg;
    for (int t = 0; t < TABLES; t++)
        if (slice_eq(name, slice_str(names[t])))
            return t;
    return -1;
}

static bool row_seen(void *arg, int table, struct slice key, struct slice value)
{
    struct blob_place place;
    struct blob_state state;
    (void)arg;
    switch ((enum table)table) {
    case BODIES:
        return row_place_read(key, value, &place);
    case MISSING:
        return row_missing_read(key, value);
    default:
        return slice_eq(key, SLICE_LITERAL("state")) && row_state_read(value, &state);
    }
}

static struct pages_check check_of(const struct store_watch *watch)
{
    return (struct pages_check){.table = table_of, .record = row_seen, .watch = watch};
}

int blob_check(struct blob_log *b, const struct store_watch *watch, struct err_detail *e)
{
    struct pages_check c = check_of(watch);
    return pages_check_env(b->index.env, &c, e);
}

/* An empty file is one that LMDB had only begun to make. */
int index_check_files(const char *path, bool live, const struct store_watch *watch, struct err_detail *e)
{
    char file[4200];
    struct stat st;
    struct pages_check c = check_of(watch);
    snprintf(file, sizeof file, "%s/data.mdb", path);
    if (stat(file, &st) || st.st_size == 0)
        return 0;
    return pages_check_folder(path, live, &c, e);
}

int blob_check_files(const char *dir, bool live, const struct store_watch *watch, struct err_detail *e)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/local", dir);
    return index_check_files(path, live, watch, e);
}
