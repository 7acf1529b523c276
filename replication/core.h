/* Inside of the core: what its files share. Everything here belongs to the core thread unless it says otherwise.
 *
 *   core.c           start, loop, stop
 *   core_raft.c      libraft's callbacks: fsm, guards' events, watching its state
 *   core_sync.c      the state transfer: from a snapshot descriptor to a store that is level again
 *   core_peers.c     who is a member, links to them, frames
 *   core_knock.c     a joiner's first words
 *   propose.c        proposals: queue, batches, forwarding, completion
 *   readindex.c      read barriers
 *   membership.c     changes of members and roles, as leader
 *   membership_request.c   what operators ask for: how it comes, waits for its turn, is answered
 *   membership_action.c    and what is done
 *   cluster_time.c   clocks that differ
 *   contact.c        who is dead
 *   core_acked.c     what followers acknowledged, so that one that lost it learns of it
 *   status.c         what others may know */
#ifndef REPLICATION_CORE_H
#define REPLICATION_CORE_H

#include "node/base/list.h"
#include "node/base/log.h"
#include "node/io/loop.h"
#include "replication/applier.h"
#include "replication/internal.h"
#include "replication/raft_io.h"

enum {
    CORE_TICK_MS = 20,
    CORE_WATCHDOG_MS = 5000,                /* the oldest log write may take this long */
    CORE_APPLIES_MAX = 4,                   /* entries under way, so that batches grow under load */
    CORE_APPLY_BYTES_MAX = 6 * 1024 * 1024, /* of them together: below a raft_uv segment of 8 MB */
    CORE_LOG_BYTES = 64 * 1024 * 1024, /* libraft holds the trailing log in memory: counts follow the size of entries */
    CORE_SEQ_WINDOW = 3000,            /* below the store's table of recent requests (4096) */
    CORE_FORWARD_MS = 3000,            /* an answer to a forwarded command; then it is sent again */
    CORE_NOSPACE_SMALL = 4096,         /* with a full disk, commands up to this size are still taken */
    CORE_ROUND_MS = 1000,              /* a read index round */
    CORE_DESCRIPTOR = 64,              /* bytes of a snapshot descriptor */
    CORE_RAFT_SEND_MAX = 6 * 1024 * 1024, /* queued for a peer: above, messages are dropped (Raft sends again) */
};

/* Whom to answer: a request that came over an accepted link, which may be gone by then. */
struct origin {
    uint64_t inbound, request;
};

struct inbound {
    struct list item;
    struct replication *r;
    struct link *link;
    uint64_t serial, peer;
};

struct peer_status {
    bool known;
    int64_t at_ms; /* steady, of the answer */
    uint64_t applied, last, missing;
    int64_t uptime_ms;
    bool syncing, disk_full, draining;
    bool clock_known;
    int64_t clock_ms; /* its wall clock before our steady one, which does not jump */
};

struct peer {
    struct replication *r;
    uint64_t id;
    char address[128];
    struct link *out;
    bool up, in_config, is_member;
    int role; /* raft's; -1: not in the configuration */
    struct link_hello hello;
    struct peer_status status;
    uint64_t told_commit;       /* by us as leader, of this term */
    uint64_t acked_term, acked; /* core_acked.c */
    int64_t seen_ms;            /* steady clock, last sign of life; start of knowing it at first */
    /* contact.c, steady clock; 0: never */
    int64_t raft_ms;    /* last message of Raft's */
    int64_t heard_ms;   /* last frame of any kind */
    int64_t refused_ms; /* its address refuses connections since; 0: it does not */
};

enum { KNOCKS_MAX = 8, KNOCK_DEAD_MS = 2000 };
struct knock {
    struct replication *r;
    struct link *link; /* NULL: refused, dialled again later */
    char address[128];
};

enum proposal_state { PROPOSAL_WAITING, PROPOSAL_QUEUED, PROPOSAL_DELAYED, PROPOSAL_SENT };
typedef void (*proposal_cb)(struct replication *r, void *arg, int status, struct slice result);

struct proposal {
    struct task task;
    struct replication *r;
    struct list item;  /* in the list of its state */
    struct list order; /* own ones: in `pending`, by seq */
    struct propose *p; /* whose it is; NULL: internal or forwarded to us */
    proposal_cb cb;    /* internal: a leader's decision; NULL otherwise */
    void *cb_arg;
    uint64_t term; /* internal: in which it was decided, and only in which it may go into the log */
    bool forwarded;
    bool unsure; /* it may be in the log already: sent once, and then no definite refusal */
    struct origin origin;
    enum proposal_state state;
    uint64_t seq, sent_to; /* sent_to: the leader; our own id: in an entry of ours */
    struct slice body;     /* the caller's command */
    struct bytes *command; /* with id and time */
    int64_t deadline_ms, not_before_ms;
    struct proposal *hash_next;
};

enum { PENDING_BUCKETS = 4096 };
struct proposals {
    struct list waiting; /* own, without a seq yet */
    struct list queue;   /* to go out now */
    struct list delayed; /* to go out a little later */
    struct list sent;
    struct list pending; /* own with a seq, oldest first */
    struct proposal *bucket[PENDING_BUCKETS];
    uint64_t seq_next;
    unsigned applies, decisions; /* decisions: internal ones that are open */
    size_t apply_bytes;
};

typedef void (*read_cb)(struct replication *r, void *arg, int status);

struct read_wait {
    struct task task;
    struct replication *r;
    struct list item;
    struct read_barrier *b; /* NULL: internal, or of another node */
    read_cb cb;             /* internal */
    void *cb_arg;
    uint64_t term; /* internal: in which it was asked */
    struct origin origin;
    int64_t deadline_ms;
    uint64_t index;
};
struct reads {
    struct list waiting; /* for the next round or request */
    struct list asked;   /* in the round or request under way */
    struct list known;   /* index known, our own state not there yet */
    bool round, barrier_pending;
    uint64_t round_serial, round_index, round_term;
    unsigned votes, votes_needed;
    int64_t started_ms, not_before_ms;
    struct raft_barrier barrier;
};

enum change_step { CHANGE_IDLE, CHANGE_BEFORE, CHANGE_DOING, CHANGE_AFTER };
enum change_kind { CHANGE_ADD, CHANGE_ASSIGN, CHANGE_REMOVE };
struct membership {
    enum change_step step;
    enum change_kind kind;
    uint64_t id;
    char address[128];
    int role;
    struct raft_change change;
    struct raft_barrier barrier;
    struct raft_transfer transfer;
    bool transferring;
    /* What reads records and then writes them goes one at a time: a proposal of ours, or an operator's request. */
    bool proposing;
    uint64_t turn;         /* the request's serial; 0: none */
    uint64_t looked_term;  /* the last in which this node looked at the records as leader */
    struct list transfers; /* requests that want to know of its end */
    struct list requests;  /* open ones of operators */
    uint64_t serial;
    int64_t next_ms, status_ms, retry_ms, unfit_ms, format_ms;
    /* As leader: where the log ended at the election, or behind our last decision. A state behind it decides nothing.
     */
    uint64_t from_index;
};

/* A leader that ended, whose end is not waited for. */
struct gone {
    uint64_t leader, term; /* 0: none */
    int64_t next_ms;       /* steady clock: then this node stands for election */
};

enum core_life { CORE_RUNNING, CORE_HANDING_OVER, CORE_CLOSING };

struct digest_wait {
    struct list item;
    struct origin origin;
    uint64_t index;
    int64_t deadline_ms;
};

struct replication {
    /* Set before the threads start. */
    struct replication_config c;
    char *data_dir, *raft_dir, *advertise, *listen;
    struct store *store;
    struct blob_log *blobs;
    bool member, loop_running;
    struct link_identity identity;
    uint64_t boot;
    int64_t started_ms;
    struct bulk *bulk;
    struct applier *applier;
    struct loop loop;
    unsigned replace_after_ms; /* 60,000: a voter silent for longer may be replaced */

    /* libraft */
    struct raft raft;
    struct raft_guard guard;
    struct raft_fsm fsm;
    struct raft_uv_transport transport;
    struct mark mark;
    struct err_detail load_error;
    int load_status;
    bool raft_ready, started, dead;
    struct applier_entry *fresh, **fresh_last; /* committed since the last turn */
    uint64_t given_committed, given_persisted;
    uint64_t entry_bytes, entry_count; /* moving totals, for the size of the log */

    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t tick;
    struct link_listener *listener;
    struct list inbounds;
    uint64_t inbound_serial;
    struct peer *peers[REPLICATION_MEMBERS_MAX];
    unsigned n_peers;
    bool peers_stale;
    struct knock knocks[KNOCKS_MAX];
    unsigned n_knocks;
    int refused; /* why the members do not let this node in; 0: nobody said so */
    int64_t knock_ms;
    struct gone gone;

    /* As seen at the last turn, to notice changes. */
    unsigned short seen_state;
    uint64_t seen_leader, seen_term, seen_config, seen_config_uncommitted;
    int64_t leader_since_ms; /* without a leader since; 0: there is one */

    struct proposals proposals;
    struct reads reads;
    struct membership membership;
    struct list digests, statuses;
    uint64_t status_serial;

    /* contact.c, steady clock */
    int64_t judging_ms; /* as leader: since when silence counts */
    int64_t contact_tick_ms;

    int64_t clock_logged_ms, clock_complain_ms; /* cluster_time.c */
    _Atomic int64_t clock_offset_ms;            /* the cluster's clock less our steady one, when it is known */
    _Atomic bool clock_known;
    _Atomic int64_t state_ahead_ms; /* of cluster_time_go_on */

    bool syncing, fetching;
    bool healing;         /* at the start a damaged state had been set aside */
    uint64_t level_index; /* where the own log ended at the start */
    uint64_t sync_min;
    struct state_fetch fetch;
    bool disk_full;

    _Atomic int life; /* enum core_life; the core thread writes it */
    int64_t handover_until_ms;
    struct stop_step *stop; /* whom to tell when it is done */
    bool raft_closed;

    /* Read by any thread. */
    pthread_mutex_t now_lock;
    struct replication_now now;
    uint64_t config_ids[REPLICATION_MEMBERS_MAX]; /* under now_lock: for hello_ok on the bulk loop */
    unsigned n_config_ids;
    _Atomic bool draining, disk_full_now, failed;
    _Atomic uint64_t voters; /* core_voters_sum, once the bulk loop was told of them */
};

/* ---- core.c ---- */
void core_fatal(struct replication *r, int status, const char *why);
void core_turn(struct replication *r); /* the end of each loop turn */

/* ---- core_raft.c ---- */
int core_mark_open(struct replication *r, struct err_detail *e); /* before the applier, which syncs it */
int core_raft_open(struct replication *r, struct err_detail *e);
int core_raft_start(struct replication *r, struct err_detail *e);
void core_raft_turn(struct replication *r);
void core_raft_tick(struct replication *r);
uint64_t core_term_of(const struct replication *r, uint64_t index);
static inline bool core_is_leader(struct replication *r)
{
    return r->started && raft_state(&r->raft) == RAFT_LEADER;
}
uint64_t core_leader(struct replication *r); /* 0: none known */
/* Has something against being leader: full disk, state incomplete, draining. */
bool core_unfit(const struct replication *r);

/* ---- core_sync.c ---- */
void descriptor_encode(uint8_t out[CORE_DESCRIPTOR], uint64_t index, uint64_t term, const struct store_position *p);
/* 0 with its index, or ERR_CORRUPT, ERR_VERSION. */
int descriptor_decode(struct slice in, uint64_t *index_r, struct store_position *p_r);
int core_fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs);
int core_fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf);
void core_sync_tick(struct replication *r);
void core_sync_news(struct replication *r, const struct applier_news *n);

/* ---- core_peers.c ---- */
int core_peers_start(struct replication *r, struct err_detail *e);
void core_peers_refresh(struct replication *r);
void core_peers_close(struct replication *r);
struct peer *core_peer(struct replication *r, uint64_t id);
struct link *core_link(struct replication *r, uint64_t id); /* an up link for one-way frames; NULL */
void core_send(struct replication *r, const struct raft_message *m);
void core_commit_tell(struct replication *r);                         /* as leader */
int core_hello_ok(void *replication, const struct link_hello *hello); /* any thread */
/* A frame from a peer; serial: of the accepted link, 0: dialled. */
void core_frame(struct replication *r, struct link *l, uint64_t serial, uint8_t type, uint64_t request,
                struct slice payload);
/* Payload a then b to the asker, if it is still there. */
void core_answer(struct replication *r, struct origin o, struct slice a, struct slice b);
void core_answer_status(struct replication *r, struct origin o, int status,
                        uint64_t index); /* {i32 status, u64 index} */
unsigned core_voters(struct replication *r);
uint64_t core_voters_sum(struct replication *r); /* of their ids: others vote, another sum */
bool core_is_voter(struct replication *r, uint64_t id);

/* ---- core_knock.c ---- */
void core_knock_start(struct replication *r);
void core_knock_tick(struct replication *r, int64_t now);
void core_knock_close(struct replication *r);

/* ---- propose.c ---- */
void proposals_init(struct replication *r);
void proposals_turn(struct replication *r);
void proposals_tick(struct replication *r, int64_t now);
void proposals_leader_changed(struct replication *r);
void proposals_result(struct replication *r, const struct applier_result *x);
void proposals_forwarded(struct replication *r, struct origin o, struct slice payload);
void proposals_cancel(struct replication *r);
/* What the leader decided from its own state: command is copied; cb on the core thread, once, possibly at once. It
 * stands in this term only, as the next leader's state may say otherwise: ERR_NOTLEADER (nothing happened) when the
 * term ends before it is in the log, ERR_TIMEOUT when it may be in a log, and take effect yet or never. deadline_ms:
 * steady clock, 0: the default. */
void proposals_internal(struct replication *r, struct slice command, int64_t deadline_ms, proposal_cb cb, void *arg);
/* Leader: proposes a digest marker; cb gets its index. */
int proposals_marker(struct replication *r, struct origin o);

/* ---- readindex.c ---- */
void reads_init(struct replication *r);
void reads_turn(struct replication *r);
void reads_tick(struct replication *r, int64_t now);
void reads_applied(struct replication *r);
void reads_asked(struct replication *r, struct origin o);
/* As leader: cb once (on the core thread, not before this returns) with 0 when a majority has confirmed that nobody
 * else led, and the own state has all that was committed; the node still leads, in the same term, while cb runs. Else
 * ERR_NOTLEADER, or ERR_UNAVAILABLE at the deadline (steady clock). */
void reads_internal(struct replication *r, int64_t deadline_ms, read_cb cb, void *arg);
void reads_leader_changed(struct replication *r);
void reads_cancel(struct replication *r);

/* ---- membership.c ---- */
void membership_init(struct replication *r);
void membership_tick(struct replication *r, int64_t now);
void membership_lost(struct replication *r); /* no longer leader */
void membership_cancel(struct replication *r);
bool membership_known(struct replication *r); /* leads, and its state has every earlier change of members */
/* Gives leadership to `to`; wait (may be NULL) is handed to member_transferred at the end. */
int membership_transfer(struct replication *r, uint64_t to, struct list *wait);
uint64_t membership_best_heir(struct replication *r);
/* The role that an operator pinned with a setting; -1: none. */
int membership_pin(struct store_view *v, uint64_t id);
/* Whether as many members that may vote are left without it as there are to be. */
bool membership_role_spared(struct replication *r, struct store_view *v, uint64_t id);

/* Packs c without id and time and proposes it. */
struct Merlion__Command;
void membership_propose(struct replication *r, const struct Merlion__Command *c, int64_t deadline_ms, proposal_cb cb,
                        void *arg);

/* ---- membership_request.c ---- */
void member_requests_init(struct replication *r);
void member_requests_turn(struct replication *r); /* begins what waits for its turn */
void membership_asked(struct replication *r, struct origin o, struct slice payload);
void membership_requests_cancel(struct replication *r);

/* ---- membership_action.c ---- */
void member_transferred(struct replication *r, struct list *transfer);

/* ---- core_acked.c ---- */
enum { ACKED_BYTES = 16 };
/* A follower's answer; false: it is of no use any more. */
bool acked_take(struct replication *r, uint64_t id, const struct raft_append_entries_result *a);
void acked_encode(struct replication *r, const struct peer *p, uint8_t out[ACKED_BYTES]);
/* What a leader was told by this node: if that is more than it has, it ends. */
void acked_check(struct replication *r, struct slice payload);

/* ---- contact.c ---- */
void contact_heard(struct replication *r, struct peer *p);      /* any frame */
void contact_raft_heard(struct replication *r, struct peer *p); /* after libraft took its message */
void contact_refused(struct replication *r, struct peer *p);    /* a connection was */
void contact_tick(struct replication *r, int64_t now);

/* ---- core_gone.c ---- */
void gone_refused(struct replication *r, uint64_t peer, int64_t now); /* its address refuses connections */
void gone_tick(struct replication *r, int64_t now);

/* ---- status.c ---- */
void status_poll(struct replication *r); /* every peer's, for membership */
void status_asked(struct replication *r, struct origin o, struct slice payload);
void status_digest_asked(struct replication *r, struct origin o, struct slice payload);
/* The marker that a LINK_DIGEST of index 0 (or a local request: inbound 0) asked for is in the log. */
void status_marker_done(struct replication *r, struct origin o, uint64_t index);
void status_applied(struct replication *r, int64_t now);
void status_now_update(struct replication *r);
void status_cancel(struct replication *r);

#endif
