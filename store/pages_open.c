/* Ways to the file of an environment, and a snapshot of it that stays. */
#include "store/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SNAPSHOT_TRIES = 100, TABLES_MAX = 64 };

/* A writer that commits twice between the transaction's begin and the reading of its meta page is ahead of us. */
int pages_check_env(MDB_env *env, struct pages_check *c, struct err_detail *e)
{
    int fd, rc = mdb_env_get_fd(env, &fd);
    c->live = true;
    for (unsigned tries = 0; rc == 0 && tries < SNAPSHOT_TRIES; tries++) {
        MDB_txn *txn;
        if ((rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn)))
            break;
        c->txn = mdb_txn_id(txn);
        int checked = pages_check(fd, c, e);
        mdb_txn_abort(txn);
        if (checked != ERR_STALE)
            return checked;
    }
    return err_set(e, ERR_IO, "no snapshot: %s", rc ? mdb_strerror(rc) : "it changes too fast");
}

static int folder_live(const char *path, struct pages_check *c, struct err_detail *e)
{
    MDB_env *env;
    int rc = mdb_env_create(&env);
    if (rc)
        return err_set(e, ERR_IO, "%s", mdb_strerror(rc));
    rc = mdb_env_set_maxdbs(env, TABLES_MAX);
    if (rc == 0)
        rc = mdb_env_open(env, path, MDB_RDONLY | MDB_NOTLS, 0600);
    rc = rc ? err_set(e, ERR_IO, "open %s: %s", path, mdb_strerror(rc)) : pages_check_env(env, c, e);
    mdb_env_close(env);
    return rc;
}

int pages_check_folder(const char *path, bool live, struct pages_check *c, struct err_detail *e)
{
    char file[4200];
    if (live)
        return folder_live(path, c, e);
    snprintf(file, sizeof file, "%s/data.mdb", path);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? ERR_CORRUPT : err_from_errno(errno), "%s: %s", file, strerror(errno));
    int rc = pages_check(fd, c, e);
    close(fd);
    return rc;
}
