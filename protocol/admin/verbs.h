/* Everything mailctl can ask of a node: one table. mailctl makes its help, argument checks and tables from it; the node
 * checks requests with it and dispatches on the position of the verb. A handler for each name below is in the node.
 *
 * Arguments arrive as members of the request's "args" object, by name, typed as said. `data` is the member of the
 * answer.
 *
 *   verb              args                                          data
 *   ----------------  --------------------------------------------  -------------------------------------------------
 *   cluster init      -                                             {"cluster":"hex","name":"n1"}
 *   cluster join      token*                                        {"cluster":"hex","name":"n2"}
 *   status            -                                             {"cluster","term","commit","leader":"n1",
 *                                                                    "members":[{"name","id","role","state","leader":bool,
 *                                                                    "self":bool,"term","applied","lag","missing",
 *                                                                    "version","uptime_ms","address"}]}
 *   member list       -                                             as status
 *   member add        name*, address*                               {"name","address","token"}
 *   member remove     name*, force:bool                             {"name"}
 *   member role       name*, role* (voter, standby, spare)          {"name","role"}
 *   leader transfer   to                                            {"leader":"n2"}
 *   domain add        name*, catch_all                              {"name"}
 *   domain list       -                                             {"domains":[{"name","catch_all"}]}
 *   domain remove     name*                                         {"name"}
 *   user add          address*, password*, quota:size               {"address","id"}
 *   user passwd       address*, password*                           {"address"}
 *   user list         domain                                        {"users":[{"address","state","messages","used",
 *                                                                    "quota","created_ms"}]}
 *   user show         address*                                      {"address","id","state","messages","used","quota",
 *                                                                    "created_ms"}
 *   user remove       address*                                      {"address"}
 *   user lock         address*                                      {"address"}
 *   user unlock       address*                                      {"address"}
 *   user quota        address*, quota*:size                         {"address","quota"}
 *   alias add         address*, targets*:[string]                   {"address"}
 *   alias list        domain                                        {"aliases":[{"address","targets":[string]}]}
 *   alias remove      address*                                      {"address"}
 *   mailbox list      user*                                         {"mailboxes":[{"name","messages","unseen","bytes",
 *                                                                    "uidvalidity","uidnext","modseq"}]}
 *   mailbox status    user*, mailbox*                               one such row
 *   verify            -                                             {"same":bool,"differ":bool,"complete":bool,"index",
 *                                                                    "members":[{"name","digest",
 *                                                                    "index","state"}]}
 *   settings list     -                                             {"settings":[{"name","value","default"}]}  (value ""
 *                                                                    where not set)
 *   settings get      name*                                         {"name","value","default"}
 *   settings set      name*, value*                                 {"name","value"}  (an empty value removes)
 *   queue list        sender, recipient, domain, state, older_than, {"queue":[{"id","leg","destination","state","attempts",
 *                     limit, ids:[string]                            "received_ms","next_ms","size","sender","recipients",
 *                                                                    "reply","node"}],"shown","matched"}
 *   queue show        id*                                           {"id","session","sender","size","received_ms",
 *                                                                    "expires_ms","body","held","canceled","legs":[…],
 *                                                                    "attempts":[{"time_ms","attempt","recipients","node",
 *                                                                    "host","address","tls","outcome","reply"}]}
 *   queue stats       -                                             {"messages","recipients","bytes","waiting",
 *                                                                    "delivering","held","oldest_ms","destination_count",
 *                                                                    "destinations":[{"destination","waiting",
 *                                                                    "delivering","held","next_ms"}]}
 *   queue flush       domain                                        {"messages"}
 *   queue hold        ids:[string], sender, recipient, domain,      {"messages"}
 *                     older_than, all:bool
 *   queue release, queue retry, queue cancel: as queue hold
 *   node drain        -                                             {"name"}
 *
 * (* required; "state" of a user is "active" or "locked"; sizes are octets, a quota of 0 is none; *_ms are
 * milliseconds: created_ms since the epoch, uptime_ms a duration, null where unknown.) */
#ifndef ADMIN_VERBS_H
#define ADMIN_VERBS_H

#include <stdbool.h>
#include <stddef.h>

enum admin_type {
    ADMIN_STRING,   /* JSON string, not empty unless `empty_ok` */
    ADMIN_PASSWORD, /* JSON string; mailctl prompts for it, never takes it from the command line */
    ADMIN_LIST,     /* JSON array of at least one string */
    ADMIN_SIZE,     /* JSON integer >= 0, octets; "10G" on the command line */
    ADMIN_BOOL,     /* JSON true or false; --name on the command line */
};

struct admin_arg {
    const char *name; /* NULL ends the list */
    enum admin_type type;
    bool required;
    bool positional; /* on the command line: by place, otherwise --name VALUE */
    bool empty_ok;
    const char *choices; /* space separated, NULL: anything */
    const char *help;
};

/* How mailctl shows a member of a row. */
enum admin_format { ADMIN_TEXT, ADMIN_NUMBER, ADMIN_BYTES, ADMIN_QUOTA, ADMIN_DURATION, ADMIN_TIME, ADMIN_JOINED };
struct admin_column {
    const char *key, *title; /* key NULL ends the list */
    enum admin_format format;
};

enum { ADMIN_ARGS_MAX = 8, ADMIN_COLUMNS_MAX = 10 };
struct admin_verb {
    const char *name;     /* one or two words */
    const char *summary;  /* one line */
    const char *about;    /* paragraphs for --help */
    const char *examples; /* lines, each a command without leading spaces */
    struct admin_arg args[ADMIN_ARGS_MAX];
    struct admin_column head[ADMIN_COLUMNS_MAX]; /* members of data that are shown above the rows */
    const char *rows; /* member of data that is an array of rows, shown as a table; NULL: data itself is one row */
    struct admin_column columns[ADMIN_COLUMNS_MAX];
    const char *confirm; /* what is asked before it is done unless --yes; %s is the first argument; NULL: nothing is */
    const char *done;    /* said after success; %s is the first argument */
    const char *wait;    /* what --wait waits for; NULL: the verb is done when it answers */
};

extern const struct admin_verb admin_verbs[];
extern const size_t admin_verb_n;

/* By its full name ("user add"); NULL when there is none. */
const struct admin_verb *admin_verb_find(const char *name);

#endif
