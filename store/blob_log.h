/* The inside of struct blob_log, for the files of the blob log alone. */
#ifndef STORE_BLOB_LOG_H
#define STORE_BLOB_LOG_H

#include "store/blob_index.h"
#include "store/blob_segment.h"

/* A record on its way from a sparse segment to the end of the log. It goes through the writer like an append; `home` is
 * NULL. */
struct blob_move {
    struct blob_append append;
    struct body_hash hash;
    struct blob_place from; /* if the body is elsewhere by now, nothing is written */
};

struct blob_log {
    struct blob_options o;
    char *dir;
    struct segment_set segments;
    struct blob_index index;

    pthread_mutex_t lock; /* the next seven; held over no I/O */
    pthread_cond_t work, moved;
    struct task *head, **tail;          /* appends that wait, oldest first */
    struct list under_way;              /* those and what is being written: blob_append.under_way */
    int64_t queue_since, writing_since; /* steady ms; 0: none */
    size_t moves;                       /* under way */
    bool stop;
    pthread_t thread;
    bool started;

    /* The writer's own. */
    struct segment *active;

    _Atomic bool failed; /* a sync failed: what is on disk is unknown, so nothing more may be acknowledged */
    _Atomic uint64_t appends, syncs, corrupt;

    /* The collector's own. */
    struct segment_use *use; /* by number, as last counted */
    size_t use_n;
    int64_t collect_from_ms; /* after a crash, touches may be lost: nothing is freed before */
};

/* blob_recover.c: replays the segments behind the index's position, cuts a torn tail off. */
int blob_recover(struct blob_log *b, struct err_detail *e);
/* blob_writer.c */
void blob_writer_start(struct blob_log *b);
void blob_writer_stop(struct blob_log *b);
void blob_writer_queue(struct blob_log *b, struct blob_append *a);
/* A copy of a record that is under way, or NULL. What is not found here, and was not in the index before, may be there
 * now. */
struct bytes *blob_writer_record(struct blob_log *b, const struct body_hash *hash);
/* The body at that place is damaged: forgets the place, notes it as missing, logs. */
void blob_damaged(struct blob_log *b, const struct body_hash *hash, const struct blob_place *place);
/* Reads a record, checksum checked. 0; ERR_CORRUPT; ERR_NOTFOUND when its segment is gone. */
int blob_place_read(struct blob_log *b, const struct body_hash *hash, const struct blob_place *place,
                    struct bytes **record_r);

static inline bool blob_place_eq(const struct blob_place *a, const struct blob_place *b)
{
    return a->segment == b->segment && a->offset == b->offset;
}

#endif
