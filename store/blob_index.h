/* Where each body is and which are missing: LMDB in DIR/local, and in memory what is newer. Local to the node.
 *
 *   an update goes into table `now`; a step (every second, or 1,000 rows) makes it table `writing`, writes that and the
 * position in one durable transaction, and drops it.   A look-up asks now, writing, LMDB: in this order nothing is ever
 * overlooked.
 *
 * How rows lie in LMDB: store/blob_row.h. When LMDB's file is damaged it is set aside at the opening, and all is made
 * anew from the segments.
 *
 * The position: all whole records before it are in the index. What lies behind is replayed from the segments after a
 * crash. */
#ifndef STORE_BLOB_INDEX_H
#define STORE_BLOB_INDEX_H

#include "store/blob.h"
#include "store/blob_table.h"

#include <lmdb.h>
#include <pthread.h>

enum { INDEX_STEP_MS = 1000, INDEX_STEP_ROWS = 1000 };

struct blob_position {
    uint32_t segment; /* 0: nothing is indexed */
    uint64_t offset;
};

struct blob_index {
    MDB_env *env;
    MDB_dbi bodies, missing, local;
    pthread_rwlock_t lock; /* the next five; held over no I/O */
    struct blob_table now, writing;
    uint64_t epoch; /* counts the tables that were dropped: LMDB changed for readers of the tables */
    struct blob_position position, writing_position;
    bool in_use; /* goes to LMDB as flag 1 */
    _Atomic bool recheck;
    _Atomic uint64_t bodies_n, missing_n;
    _Atomic bool failed; /* LMDB could not write, sync or read */
    int64_t crashed_ms;  /* when it was opened after the last crash: touches from before may be lost; 0: never */

    pthread_mutex_t step_lock; /* one step at a time */
    pthread_mutex_t wait_lock; /* the next two */
    pthread_cond_t wait;
    bool kicked, stop;
    bool started;
    pthread_t thread;
};

/* Opens; the thread starts with index_start, when the segments have been replayed. segments: some exist already. */
int index_open(struct blob_index *x, const char *dir, bool no_sync, bool segments, int64_t now_ms,
               struct err_detail *e);
void index_start(struct blob_index *x);
/* Last step, marks it as closed. */
void index_close(struct blob_index *x);

/* A row of zeros when nothing is known. 0, or ERR_IO. Any thread. */
int index_get(struct blob_index *x, const struct body_hash *hash, struct blob_row *row_r);
/* Reads and changes one row as one step. `change` is quick, may be called only once, gets the present row and returns
 * whether it changed it. Any thread. */
int index_update(struct blob_index *x, const struct body_hash *hash, bool (*change)(void *arg, struct blob_row *row),
                 void *arg);
/* All before it has been given to index_update. */
void index_position_set(struct blob_index *x, struct blob_position p);
struct blob_position index_position(struct blob_index *x);
/* Rows that are not in LMDB yet. */
size_t index_backlog(struct blob_index *x);

/* Writes all that is known now. 0, ERR_NOSPACE (is tried again), ERR_IO. Any thread. */
int index_flush(struct blob_index *x);

size_t index_missing_list(struct blob_index *x, const struct body_hash *after, struct body_hash *out, size_t max);
/* Up to max rows of LMDB alone, from the first one after `after` (NULL: the start). Returns how many. */
size_t index_places(struct blob_index *x, const struct body_hash *after, struct body_hash *hash,
                    struct blob_place *place, size_t max);

/* Is the index in that folder what was written, as blob_check_files. */
int index_check_files(const char *path, bool live, const struct store_watch *watch, struct err_detail *e);

/* For the two files of this module. */
int index_error(int mdb);
struct blob_row *index_overlay(struct blob_index *x, const struct body_hash *hash);
int index_row_write(struct blob_index *x, MDB_txn *txn, const struct blob_table_slot *s);

#endif
