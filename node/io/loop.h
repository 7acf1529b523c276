/* A uv loop with a task queue: one a thread. */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include "node/base/task.h"

#include <uv.h>

struct loop {
    uv_loop_t uv;
    uv_async_t async;
    struct task_queue queue; /* post tasks here to run them on the loop's thread */
    uv_thread_t thread;
    const char *name;
    bool threaded;
    _Atomic bool stopping;
};

/* Also ignores SIGPIPE for the process: a vanished peer is an error of the write. `name` must outlive the loop. */
int loop_init(struct loop *l, const char *name);
/* Runs on the calling thread until loop_stop and all handles are closed. */
void loop_run(struct loop *l);
/* Runs on a thread of its own. */
int loop_start(struct loop *l);
/* Any thread: ends loop_run once no handle but our own is active. Tasks are run until then. */
void loop_stop(struct loop *l);
void loop_join(struct loop *l);
void loop_close(struct loop *l); /* after loop_run returned / loop_join */

#endif
