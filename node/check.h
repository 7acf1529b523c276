/* Damage in what the node keeps in LMDB, its state and its index of bodies: looked for before they are opened at each
 * start, once a day while the node runs, and by `maild check`.
 *
 *   start, state damaged    DIR/state ─► DIR/state.damaged, and the node goes on with none: the log and a peer's copy
 *                           (replication/core_sync.c) make it anew; it serves no client before. Then it is removed.
 *   start, index damaged    blob_open makes it anew from the segments
 *   running, any damage     the process ends; the next start heals
 */
#ifndef NODE_CHECK_H
#define NODE_CHECK_H

#include "node/config.h"
#include "store/blob.h"
#include "store/store.h"

/* Under the data folder's lock, before store_open. 0, or why the state could be neither checked nor set aside. */
int check_at_start(const char *data, struct err_detail *e);

struct checker;
/* interval_s 0: never. damaged is called on the checker's thread, and does not return. */
struct checker *checker_start(struct store *s, struct blob_log *b, unsigned interval_s,
                              void (*damaged)(void *arg, int status, const char *why), void *arg);
/* NULL is fine. Waits for a check under way to stop. */
void checker_stop(struct checker **c);

/* `maild check`: says on standard output what it found. Returns the exit code: */
enum { CHECK_WHOLE = 0, CHECK_FAILED = 1, CHECK_STATE_DAMAGED = 3, CHECK_INDEX_DAMAGED = 4 };
int check_command(const struct config *c);

#endif
