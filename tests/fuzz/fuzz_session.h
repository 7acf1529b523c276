/* Any bytes as what a client says, in portions, while operations are delayed, reordered and fail, other sessions change
 * the mailbox, and the connection stalls or goes. Held: no view stays open, nothing is called after release, memory is
 * freed, output is bounded. */
#ifndef FUZZ_SESSION_H
#define FUZZ_SESSION_H

#include "protocol/session.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/protocol/support_fake_backend.h"

typedef struct session *fuzz_session_new(struct session_host *h, struct backend *b, const struct session_peer *peer,
                                         const struct session_limits *limits);

/* One connection. preludes: said first, one of them as the input's dice choose (a login, so that the input reaches
 * deeper); the account is "u@x.test" with password "pw" and some mail in INBOX. */
void fuzz_session_run(struct slice in, fuzz_session_new *make, const char *const *preludes, uint32_t prelude_n);

#endif
