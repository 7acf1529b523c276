/* What is done to libraft's segment files before it loads them. */
#ifndef REPLICATION_RAFT_SEGMENTS_H
#define REPLICATION_RAFT_SEGMENTS_H

#include "node/base/err.h"

/* Open segments ("open-N") are made 8 MB long before anything is written to them. One that is shorter, or whose last
 * bytes are no header, ends in the middle of one for libraft's loader: it takes that for a failing disk, and frees what
 * it had read from the file twice. Each one that holds anything is made longer than any header that may be asked for in
 * it: then there are zeros behind its last whole batch, or something that fails a checksum, and both are cut off as
 * intended. What was acknowledged is compared with the mark afterwards in any case. Before raft_start; 0 or err.h. */
int raft_segments_lengthen(const char *dir, struct err_detail *e);

#endif
