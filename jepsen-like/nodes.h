/* The maild processes, and mailctl. Node N runs in host N of the network. All calls come from the main thread (a child
 * dies with the thread that made it), but nodes_ctl and what only reads. */
#ifndef MERLION_JEPSEN_NODES_H
#define MERLION_JEPSEN_NODES_H

#include <signal.h>
#include <sys/types.h>

#include "jepsen-like/util.h"

enum { NODES_MAX = 9, NODE_HTTP_PORT = 8080, NODE_PEER_PORT = 7450 };

struct nodes_options {
    const char *build; /* folder of maild and mailctl */
    const char *maild; /* instead of the one in build; NULL: that */
    const char *next;  /* maild of another build; NULL: none */
    const char *dir;   /* of the run: node folders and logs */
    unsigned n, voters;
    bool sync_lies;   /* nothing that nodes sync is synced, and they are told that it was */
    unsigned disk_mb; /* size of each node's own disk; 0: a folder on this machine's */
};

/* Starts all; they belong to no cluster yet. */
void nodes_start(const struct nodes_options *o);
/* Kills them and waits. */
void nodes_end(void);
unsigned nodes_count(void);
unsigned nodes_voters(void); /* as many as the cluster shall have */

void node_start(unsigned node);
/* SIGKILL, SIGTERM, SIGSTOP, SIGCONT; nothing when it does not run. */
void node_signal(unsigned node, int number);
/* When it was asked to end (SIGTERM) last; 0: never. Any thread. */
uint64_t node_stopped_at(unsigned node);
/* Waits for the end of a node that got SIGKILL or SIGTERM; SIGKILL after timeout_ms. */
void node_wait(unsigned node, unsigned timeout_ms);
/* Stops it as it stands, in the middle of whatever it does; SIGKILL ends it. */
void node_freeze(unsigned node);
bool node_running(unsigned node);
/* From its next start on it is of the other build, or of the first one. */
void node_build_set(unsigned node, bool next);
/* What maild --version of that build says. */
void nodes_version(bool next, char *version_r, size_t n);
const char *node_disk(unsigned node); /* a folder; the disk is mounted there */
const char *node_data(unsigned node); /* in it */

/* Sets the node's wall clock so many seconds from the real one, and lets it run faster by ppm millionths. */
void node_clock_set(unsigned node, int seconds, int ppm);

/* From now on syncs of the node fail, or no longer. */
void node_sync_fail(unsigned node, bool fails);

/* Starts again what ended by itself. Call it often. A death by a signal is a crash: counted and said. */
void nodes_supervise(void);
/* While it is expected, a node that ends by itself with a code is left down. */
void nodes_refusal_expect(unsigned node, bool expect);
unsigned nodes_crashes(void);
unsigned nodes_exits(void); /* ended by themselves with a code */

/* mailctl on the node: words end with NULL. Returns its exit code, with what it printed in out. Any thread. */
int nodes_ctl(unsigned node, const char *input, struct text *out, const char *const words[]);
#define NODE_CTL(node, input, out, ...) nodes_ctl((node), (input), (out), (const char *const[]){__VA_ARGS__, NULL})

/* What it is called in the cluster: nN, and after node_wipe another name. */
const char *node_name(unsigned node);
/* Of a node that does not run: its data is gone, and it starts as another member. */
void node_wipe(unsigned node);

#endif
