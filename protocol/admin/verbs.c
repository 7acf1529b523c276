#include "protocol/admin/verbs.h"

#include <string.h>

#define REQUIRED .required = true, .positional = true
#define ADDRESS_ARG                                                                                                    \
    {                                                                                                                  \
        "address", ADMIN_STRING, REQUIRED, .help = "mail address of the user"                                          \
    }

#define MEMBER_COLUMNS                                                                                                 \
    {                                                                                                                  \
        {"name", "NODE", ADMIN_TEXT}, {"role", "ROLE", ADMIN_TEXT}, {"state", "STATE", ADMIN_TEXT},                    \
            {"term", "TERM", ADMIN_NUMBER}, {"applied", "APPLIED", ADMIN_NUMBER}, {"lag", "LAG", ADMIN_NUMBER},        \
            {"missing", "MISSING", ADMIN_NUMBER}, {"version", "VERSION", ADMIN_TEXT},                                  \
            {"uptime_ms", "UPTIME", ADMIN_DURATION},                                                                   \
    }
#define USER_COLUMNS                                                                                                   \
    {                                                                                                                  \
        {"address", "ADDRESS", ADMIN_TEXT}, {"state", "STATE", ADMIN_TEXT}, {"messages", "MESSAGES", ADMIN_NUMBER},    \
            {"used", "USED", ADMIN_BYTES}, {"quota", "QUOTA", ADMIN_QUOTA}, {"created_ms", "CREATED", ADMIN_TIME},     \
    }
#define MAILBOX_COLUMNS                                                                                                \
    {                                                                                                                  \
        {"name", "MAILBOX", ADMIN_TEXT}, {"messages", "MESSAGES", ADMIN_NUMBER}, {"unseen", "UNSEEN", ADMIN_NUMBER},   \
            {"bytes", "SIZE", ADMIN_BYTES}, {"uidvalidity", "UIDVALIDITY", ADMIN_NUMBER},                              \
            {"uidnext", "UIDNEXT", ADMIN_NUMBER}, {"modseq", "MODSEQ", ADMIN_NUMBER},                                  \
    }

#define QUEUE_FILTERS                                                                                                  \
    {"sender", ADMIN_STRING, .help = "of this sender (<> for notices)"},                                               \
        {"recipient", ADMIN_STRING, .help = "to this recipient"},                                                      \
        {"domain", ADMIN_STRING, .help = "to this destination"},                                                       \
    {                                                                                                                  \
        "older_than", ADMIN_STRING, .help = "that entered the queue longer ago, as 90s, 10m, 4h, 2d"                   \
    }
#define QUEUE_CHOICE                                                                                                   \
    {                                                                                                                  \
        {"ids", ADMIN_LIST, .positional = true, .help = "ids from mailctl queue list"}, QUEUE_FILTERS,                 \
        {                                                                                                              \
            "all", ADMIN_BOOL, .help = "every message in the queue"                                                    \
        }                                                                                                              \
    }
#define QUEUE_CHANGED                                                                                                  \
    {                                                                                                                  \
        {"messages", "MESSAGES", ADMIN_NUMBER},                                                                        \
    }

const struct admin_verb admin_verbs[] = {
    {.name = "cluster init",
     .summary = "Make a new cluster of this node alone",
     .about = "Creates the cluster's certificate authority and this node's identity, and starts serving. Run it once, "
              "on the\n"
              "first node. Every further node joins with a token: see mailctl member add.",
     .examples = "mailctl cluster init\n",
     .columns = {{"cluster", "CLUSTER", ADMIN_TEXT}, {"name", "NODE", ADMIN_TEXT}}},
    {.name = "cluster join",
     .summary = "Join this node to a cluster with a token",
     .about =
         "Run it on the new node, with the token that mailctl member add printed on a node of the cluster. The node\n"
         "then copies all state and mail; follow it with mailctl status --watch.",
     .examples = "mailctl cluster join MLN1-…\n",
     .args = {{"token", ADMIN_STRING, REQUIRED, .help = "the one-time token from mailctl member add"}},
     .columns = {{"cluster", "CLUSTER", ADMIN_TEXT}, {"name", "NODE", ADMIN_TEXT}},
     .wait = "until this node has caught up"},
    {.name = "status",
     .summary = "Show the cluster and every node in it",
     .about = "ROLE      voter, standby (replicates and serves, no vote), spare, or invited\n"
              "STATE     ok, or what keeps the node from it; the leader is marked with *, this node with @\n"
              "LAG       log entries the node has still to apply\n"
              "MISSING   bodies the node has still to fetch\n\n"
              "Exit code 4 when there is no leader.",
     .examples = "mailctl status\nmailctl status --watch\nmailctl status --json\n",
     .rows = "members",
     .columns = MEMBER_COLUMNS},
    {.name = "member list",
     .summary = "List the nodes with their addresses",
     .about = "As status, with peer addresses.",
     .examples = "mailctl member list\n",
     .rows = "members",
     .columns = {{"name", "NODE", ADMIN_TEXT},
                 {"id", "ID", ADMIN_TEXT},
                 {"role", "ROLE", ADMIN_TEXT},
                 {"state", "STATE", ADMIN_TEXT},
                 {"address", "ADDRESS", ADMIN_TEXT},
                 {"version", "VERSION", ADMIN_TEXT}}},
    {.name = "member add",
     .summary = "Invite a node: make its join token",
     .about =
         "The token works once and expires. On the new node start maild, then run mailctl cluster join TOKEN. It "
         "enters\n"
         "as standby, copies everything and is promoted when it lacks nothing and the cluster wants another voter.",
     .examples = "mailctl member add n2 mail2.example.org:7450\n",
     .args = {{"name", ADMIN_STRING, REQUIRED, .help = "the new node's name, as in its configuration"},
              {"address", ADMIN_STRING, REQUIRED,
               .help = "its peer address, HOST:PORT, reachable from the other nodes"}},
     .columns = {{"name", "NODE", ADMIN_TEXT}, {"address", "ADDRESS", ADMIN_TEXT}, {"token", "TOKEN", ADMIN_TEXT}},
     .done = "Next, on the new node: mailctl cluster join TOKEN\n",
     .wait = "until the node has joined and caught up"},
    {.name = "member remove",
     .summary = "Take a node out of the cluster for good",
     .about = "Refused if any message would be left on fewer nodes than a majority; --force does it all the same and "
              "may lose\n"
              "mail. A removed node comes back only as a new one, with a new token.",
     .examples = "mailctl member remove n3\nmailctl member remove n3 --yes\n",
     .args = {{"name", ADMIN_STRING, REQUIRED, .help = "the node's name"},
              {"force", ADMIN_BOOL, .help = "even if messages may be lost with it"}},
     .confirm = "Take node %s out of the cluster?",
     .done = "Removed node %s.\n",
     .wait = "until the node is out"},
    {.name = "member role",
     .summary = "Make a node voter, standby or spare",
     .about = "A voter counts for the majority. A standby replicates and serves clients, without a vote. A spare does "
              "neither. A voter stops being one as soon as another member has its place; refused when none may.",
     .examples = "mailctl member role n3 voter\n",
     .args = {{"name", ADMIN_STRING, REQUIRED, .help = "the node's name"},
              {"role", ADMIN_STRING, REQUIRED, .choices = "voter standby spare", .help = "its new role"}},
     .columns = {{"name", "NODE", ADMIN_TEXT}, {"role", "ROLE", ADMIN_TEXT}},
     .wait = "until the node has the role"},
    {.name = "leader transfer",
     .summary = "Hand leadership to another node",
     .about = "Without a name the best voter is chosen. Clients notice nothing but a pause of some milliseconds.",
     .examples = "mailctl leader transfer\nmailctl leader transfer n2\n",
     .args = {{"to", ADMIN_STRING, .positional = true, .help = "the voter that takes over"}},
     .columns = {{"leader", "LEADER", ADMIN_TEXT}},
     .wait = "until another node leads"},
    {.name = "domain add",
     .summary = "Accept mail for a domain",
     .about = "Adding a domain again changes its catch-all address: mail to unknown users of the domain goes there.",
     .examples = "mailctl domain add example.org\nmailctl domain add example.org --catch-all ann@example.org\n",
     .args = {{"name", ADMIN_STRING, REQUIRED, .help = "the domain"},
              {"catch_all", ADMIN_STRING, .help = "address that gets mail for unknown users"}},
     .done = "Mail for %s is accepted. Next: mailctl user add NAME@DOMAIN\n"},
    {.name = "domain list",
     .summary = "List the domains",
     .about = "",
     .examples = "mailctl domain list\n",
     .rows = "domains",
     .columns = {{"name", "DOMAIN", ADMIN_TEXT}, {"catch_all", "CATCH-ALL", ADMIN_TEXT}}},
    {.name = "domain remove",
     .summary = "Stop accepting mail for a domain",
     .about = "Refused while the domain has users or aliases.",
     .examples = "mailctl domain remove example.org\n",
     .args = {{"name", ADMIN_STRING, REQUIRED, .help = "the domain"}},
     .confirm = "Stop accepting mail for %s?",
     .done = "Removed domain %s.\n"},
    {.name = "user add",
     .summary = "Add a user",
     .about =
         "The password is asked for twice, or read as one line from standard input with --password-stdin. The domain\n"
         "must have been added before.",
     .examples = "mailctl user add ann@example.org\nmailctl user add ann@example.org --quota 10G\n"
                 "pwgen -s 20 1 | mailctl user add ann@example.org --password-stdin\n",
     .args = {ADDRESS_ARG,
              {"password", ADMIN_PASSWORD, .required = true, .help = "asked for, or read with --password-stdin"},
              {"quota", ADMIN_SIZE, .help = "octets the user may store, as 500M or 10G; 0: no limit"}},
     .done = "Added user %s.\n"},
    {.name = "user passwd",
     .summary = "Change a user's password",
     .about = "Takes effect on all nodes at once. Sessions that are logged in stay.",
     .examples = "mailctl user passwd ann@example.org\n",
     .args = {ADDRESS_ARG,
              {"password", ADMIN_PASSWORD, .required = true, .help = "asked for, or read with --password-stdin"}},
     .done = "Changed the password of %s.\n"},
    {.name = "user list",
     .summary = "List the users",
     .about = "",
     .examples = "mailctl user list\nmailctl user list example.org\n",
     .args = {{"domain", ADMIN_STRING, .positional = true, .help = "only users of this domain"}},
     .rows = "users",
     .columns = USER_COLUMNS},
    {.name = "user show",
     .summary = "Show one user",
     .about = "",
     .examples = "mailctl user show ann@example.org\n",
     .args = {ADDRESS_ARG},
     .columns = USER_COLUMNS},
    {.name = "user remove",
     .summary = "Remove a user with all mail",
     .about = "The user's mailboxes are gone for good.",
     .examples = "mailctl user remove ann@example.org\nmailctl user remove ann@example.org --yes\n",
     .args = {ADDRESS_ARG},
     .confirm = "Remove %s with all mail?",
     .done = "Removed user %s.\n"},
    {.name = "user lock",
     .summary = "Lock a user: no login, no new mail",
     .about = "Mail that is stored stays. Undo it with mailctl user unlock.",
     .examples = "mailctl user lock ann@example.org\n",
     .args = {ADDRESS_ARG},
     .done = "Locked user %s.\n"},
    {.name = "user unlock",
     .summary = "Undo user lock",
     .about = "",
     .examples = "mailctl user unlock ann@example.org\n",
     .args = {ADDRESS_ARG},
     .done = "Unlocked user %s.\n"},
    {.name = "user quota",
     .summary = "Set what a user may store",
     .about = "Lowering it below what is stored deletes nothing, but refuses new mail.",
     .examples = "mailctl user quota ann@example.org 20G\nmailctl user quota ann@example.org 0\n",
     .args = {ADDRESS_ARG, {"quota", ADMIN_SIZE, REQUIRED, .help = "octets, as 500M or 10G; 0: no limit"}},
     .columns = {{"address", "ADDRESS", ADMIN_TEXT}, {"quota", "QUOTA", ADMIN_QUOTA}}},
    {.name = "alias add",
     .summary = "Deliver an address to other addresses",
     .about = "Adding an alias again replaces its targets. Targets may be aliases themselves.",
     .examples = "mailctl alias add info@example.org ann@example.org bob@example.org\n",
     .args = {{"address", ADMIN_STRING, REQUIRED, .help = "the alias"},
              {"targets", ADMIN_LIST, REQUIRED, .help = "addresses that get its mail"}},
     .done = "Mail to %s goes to its targets.\n"},
    {.name = "alias list",
     .summary = "List the aliases",
     .about = "",
     .examples = "mailctl alias list\n",
     .args = {{"domain", ADMIN_STRING, .positional = true, .help = "only aliases in this domain"}},
     .rows = "aliases",
     .columns = {{"address", "ALIAS", ADMIN_TEXT}, {"targets", "TARGETS", ADMIN_JOINED}}},
    {.name = "alias remove",
     .summary = "Remove an alias",
     .about = "",
     .examples = "mailctl alias remove info@example.org\n",
     .args = {{"address", ADMIN_STRING, REQUIRED, .help = "the alias"}},
     .confirm = "Remove alias %s?",
     .done = "Removed alias %s.\n"},
    {.name = "mailbox list",
     .summary = "List a user's mailboxes",
     .about = "",
     .examples = "mailctl mailbox list ann@example.org\n",
     .args = {{"user", ADMIN_STRING, REQUIRED, .help = "mail address of the user"}},
     .rows = "mailboxes",
     .columns = MAILBOX_COLUMNS},
    {.name = "mailbox status",
     .summary = "Show one mailbox",
     .about = "",
     .examples = "mailctl mailbox status ann@example.org INBOX\n",
     .args = {{"user", ADMIN_STRING, REQUIRED, .help = "mail address of the user"},
              {"mailbox", ADMIN_STRING, REQUIRED, .help = "the mailbox's name"}},
     .columns = MAILBOX_COLUMNS},
    {.name = "verify",
     .summary = "Check that all replicas are the same",
     .about = "Every node computes its digest at one and the same log index; they must be equal. Exit code 1 if they "
              "are\nnot, 4 if some could not be compared.",
     .examples = "mailctl verify\n",
     .rows = "members",
     .columns = {{"name", "NODE", ADMIN_TEXT},
                 {"digest", "DIGEST", ADMIN_TEXT},
                 {"index", "INDEX", ADMIN_NUMBER},
                 {"state", "STATE", ADMIN_TEXT}}},
    {.name = "settings list",
     .summary = "List the cluster's settings",
     .about =
         "postmaster              who gets mail for postmaster where no such user or alias is; else the domain's first "
         "user\n"
         "queue.schedule          waits after the 1st, 2nd ... attempt; the last one repeats\n"
         "queue.lifetime          how long mail is tried before it goes back to its sender\n"
         "queue.notice_after      after which a sender is told, once, that mail is late; 0: never\n"
         "queue.destination_max   deliveries at once to one destination, all nodes together; 0: no limit\n"
         "queue.rate              recipients elsewhere a user may send to in an hour; 0: no limit\n"
         "queue.sender            own: users send as their own addresses only; any\n"
         "queue.routes            lines: DOMAIN|.DOMAIN|* host=NAME[:PORT] tls=may|none|require|verify|wrapped "
         "user=... "
         "password=...\n"
         "                        source=ADDRESS hold=yes\n"
         "queue.sources           lines: @DOMAIN|USER@DOMAIN ADDRESS: what mail of a sender is sent from\n"
         "queue.hosts             lines: NAME ADDRESS[:PORT][,...]: hosts known without DNS",
     .examples = "mailctl settings list\n",
     .rows = "settings",
     .columns = {{"name", "NAME", ADMIN_TEXT}, {"value", "VALUE", ADMIN_TEXT}, {"default", "DEFAULT", ADMIN_TEXT}}},
    {.name = "settings get",
     .summary = "Show one setting",
     .about = "",
     .examples = "mailctl settings get postmaster\n",
     .args = {{"name", ADMIN_STRING, REQUIRED, .help = "the setting"}},
     .columns = {{"name", "NAME", ADMIN_TEXT}, {"value", "VALUE", ADMIN_TEXT}, {"default", "DEFAULT", ADMIN_TEXT}}},
    {.name = "settings set",
     .summary = "Change a setting on all nodes",
     .about = "An empty value removes the setting.",
     .examples = "mailctl settings set postmaster ann@example.org\n"
                 "mailctl settings set queue.routes '* host=smtp.example.net:587 tls=verify user=us password=secret'\n",
     .args = {{"name", ADMIN_STRING, REQUIRED, .help = "the setting"},
              {"value", ADMIN_STRING, REQUIRED, .empty_ok = true, .help = "its new value"}},
     .done = "Set %s.\n"},
    {.name = "queue list",
     .summary = "List mail that waits to leave",
     .about =
         "One line for each message and destination, oldest first. STATE is waiting (until NEXT), delivering (by a "
         "node) or held. What was canceled while it is being delivered is here until that ends.",
     .examples = "mailctl queue list\nmailctl queue list --domain example.com --older-than 4h\n"
                 "mailctl queue list --sender ann@example.org --limit 2000 --json\n",
     .args = {QUEUE_FILTERS,
              {"state", ADMIN_STRING, .choices = "waiting delivering held", .help = "in this state"},
              {"limit", ADMIN_SIZE, .help = "rows shown, 100 unless told, at most 2000"},
              {"ids", ADMIN_LIST, .help = "only these"}},
     .rows = "queue",
     .columns = {{"id", "ID", ADMIN_NUMBER},
                 {"received_ms", "RECEIVED", ADMIN_TIME},
                 {"size", "SIZE", ADMIN_BYTES},
                 {"sender", "SENDER", ADMIN_TEXT},
                 {"recipients", "RECIPIENTS", ADMIN_JOINED},
                 {"state", "STATE", ADMIN_TEXT},
                 {"attempts", "TRIES", ADMIN_NUMBER},
                 {"next_ms", "NEXT", ADMIN_TIME},
                 {"reply", "LAST REPLY", ADMIN_TEXT}}},
    {.name = "queue show",
     .summary = "Show one queued message and every attempt to deliver it",
     .about =
         "Why it is still here: when, from which node, to which host and address, with which TLS it was tried, and "
         "what was answered.",
     .examples = "mailctl queue show 1042\n",
     .args = {{"id", ADMIN_STRING, REQUIRED, .help = "its id from mailctl queue list"}},
     .head = {{"id", "ID", ADMIN_NUMBER},
              {"session", "SESSION", ADMIN_TEXT},
              {"sender", "SENDER", ADMIN_TEXT},
              {"size", "SIZE", ADMIN_BYTES},
              {"received_ms", "RECEIVED", ADMIN_TIME},
              {"expires_ms", "EXPIRES", ADMIN_TIME},
              {"held", "HELD", ADMIN_TEXT},
              {"canceled", "CANCELED", ADMIN_TEXT}},
     .rows = "attempts",
     .columns = {{"time_ms", "TIME", ADMIN_TIME},
                 {"recipients", "RECIPIENTS", ADMIN_JOINED},
                 {"node", "NODE", ADMIN_TEXT},
                 {"host", "HOST", ADMIN_TEXT},
                 {"address", "ADDRESS", ADMIN_TEXT},
                 {"tls", "TLS", ADMIN_TEXT},
                 {"outcome", "OUTCOME", ADMIN_TEXT},
                 {"reply", "REPLY", ADMIN_TEXT}}},
    {.name = "queue stats",
     .summary = "Show how much waits, for how long, and for whom",
     .about = "Destinations with the most messages come first, 50 of them.",
     .examples = "mailctl queue stats\nmailctl queue stats --json\n",
     .head = {{"messages", "MESSAGES", ADMIN_NUMBER},
              {"recipients", "RECIPIENTS", ADMIN_NUMBER},
              {"bytes", "SIZE", ADMIN_BYTES},
              {"waiting", "WAITING", ADMIN_NUMBER},
              {"delivering", "DELIVERING", ADMIN_NUMBER},
              {"held", "HELD", ADMIN_NUMBER},
              {"oldest_ms", "OLDEST", ADMIN_DURATION},
              {"destination_count", "DESTINATIONS", ADMIN_NUMBER}},
     .rows = "destinations",
     .columns = {{"destination", "DESTINATION", ADMIN_TEXT},
                 {"waiting", "WAITING", ADMIN_NUMBER},
                 {"delivering", "DELIVERING", ADMIN_NUMBER},
                 {"held", "HELD", ADMIN_NUMBER},
                 {"next_ms", "NEXT", ADMIN_TIME}}},
    {.name = "queue flush",
     .summary = "Try all that waits now",
     .about = "Or all that waits for one domain. What is held stays held.",
     .examples = "mailctl queue flush\nmailctl queue flush example.com\n",
     .args = {{"domain", ADMIN_STRING, .positional = true, .help = "only this destination"}},
     .columns = QUEUE_CHANGED},
    {.name = "queue hold",
     .summary = "Keep messages in the queue, untried",
     .about = "Until mailctl queue release. What is being delivered at this moment ends first.",
     .examples = "mailctl queue hold 1042 1043\nmailctl queue hold --sender ann@example.org\n",
     .args = QUEUE_CHOICE,
     .columns = QUEUE_CHANGED},
    {.name = "queue release",
     .summary = "Undo queue hold",
     .about = "They are tried when it is their time; mailctl queue retry does not wait for it.",
     .examples = "mailctl queue release 1042\nmailctl queue release --all\n",
     .args = QUEUE_CHOICE,
     .columns = QUEUE_CHANGED},
    {.name = "queue retry",
     .summary = "Try messages now instead of at their next time",
     .about = "",
     .examples = "mailctl queue retry 1042\nmailctl queue retry --domain example.com\n",
     .args = QUEUE_CHOICE,
     .columns = QUEUE_CHANGED},
    {.name = "queue cancel",
     .summary = "Drop messages from the queue",
     .about = "They are gone, and their senders are not told. What is being delivered at this moment may still arrive.",
     .examples =
         "mailctl queue cancel 1042\nmailctl queue cancel --sender ann@example.org --domain example.com --yes\n",
     .args = QUEUE_CHOICE,
     .columns = QUEUE_CHANGED,
     .confirm = "Drop these messages for good?"},
    {.name = "node drain",
     .summary = "Stop serving new clients on this node",
     .about = "Gives leadership away, lets load balancers see the node as not ready, and ends sessions as they become "
              "idle.\n"
              "Do it before maintenance; restart maild to serve again.",
     .examples = "mailctl node drain\n",
     .done = "Draining: new clients go to other nodes.\n"},
};
const size_t admin_verb_n = sizeof(admin_verbs) / sizeof(admin_verbs[0]);

const struct admin_verb *admin_verb_find(const char *name)
{
    for (size_t i = 0; i < admin_verb_n; i++)
        if (strcmp(admin_verbs[i].name, name) == 0)
            return &admin_verbs[i];
    return NULL;
}
