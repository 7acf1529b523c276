#include "protocol/admin/verbs.h"

#include <string.h>

#define REQUIRED .required = true, .positional = true
#define ADDRESS_ARG                                                                                                    \
    {                                                                                                                  \
        "address", ADMIN_STRING, REQUIRED, .help = "mail address of the user"                                         \
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
            {"used", "USED", ADMIN_BYTES}, {"quota", "QUOTA", ADMIN_BYTES}, {"created_ms", "CREATED", ADMIN_TIME},     \
    }
#define MAILBOX_COLUMNS                                                                                                \
    {                                                                                                                  \
        {"name", "MAILBOX", ADMIN_TEXT}, {"messages", "MESSAGES", ADMIN_NUMBER}, {"unseen", "UNSEEN", ADMIN_NUMBER},   \
            {"bytes", "SIZE", ADMIN_BYTES}, {"uidvalidity", "UIDVALIDITY", ADMIN_NUMBER},                              \
            {"uidnext", "UIDNEXT", ADMIN_NUMBER}, {"modseq", "MODSEQ", ADMIN_NUMBER},                                  \
    }

const struct admin_verb admin_verbs[] = {
    {"cluster init", "Make a new cluster of this node alone",
     "Creates the cluster's certificate authority and this node's identity, and starts serving. Run it once, on the\n"
     "first node. Every further node joins with a token: see mailctl member add.",
     "mailctl cluster init\n", {{0}}, NULL,
     {{"cluster", "CLUSTER", ADMIN_TEXT}, {"name", "NODE", ADMIN_TEXT}}, NULL, NULL},
    {"cluster join", "Join this node to a cluster with a token",
     "Run it on the new node, with the token that mailctl member add printed on a node of the cluster. The node\n"
     "then copies all state and mail; follow it with mailctl status --watch.",
     "mailctl cluster join MLN1-…\n",
     {{"token", ADMIN_STRING, REQUIRED, .help = "the one-time token from mailctl member add"}},
     NULL, {{"cluster", "CLUSTER", ADMIN_TEXT}, {"name", "NODE", ADMIN_TEXT}}, NULL, NULL},
    {"status", "Show the cluster and every node in it",
     "ROLE      voter, standby (replicates and serves, no vote), spare, or invited\n"
     "STATE     ok, or what keeps the node from it; the leader is marked with *, this node with @\n"
     "LAG       log entries the node has still to apply\n"
     "MISSING   bodies the node has still to fetch",
     "mailctl status\nmailctl status --watch\nmailctl status --json\n", {{0}}, "members", MEMBER_COLUMNS, NULL, NULL},
    {"member list", "List the nodes with their addresses", "As status, with peer addresses.",
     "mailctl member list\n", {{0}}, "members",
     {{"name", "NODE", ADMIN_TEXT}, {"id", "ID", ADMIN_TEXT}, {"role", "ROLE", ADMIN_TEXT},
      {"state", "STATE", ADMIN_TEXT}, {"address", "ADDRESS", ADMIN_TEXT}, {"version", "VERSION", ADMIN_TEXT}},
     NULL, NULL},
    {"member add", "Invite a node: make its join token",
     "The token works once and expires. On the new node start maild, then run mailctl cluster join TOKEN. It enters\n"
     "as standby, copies everything and is promoted when it lacks nothing and the cluster wants another voter.",
     "mailctl member add n2 mail2.example.org:7450\n",
     {{"name", ADMIN_STRING, REQUIRED, .help = "the new node's name, as in its configuration"},
      {"address", ADMIN_STRING, REQUIRED, .help = "its peer address, HOST:PORT, reachable from the other nodes"}},
     NULL,
     {{"name", "NODE", ADMIN_TEXT}, {"address", "ADDRESS", ADMIN_TEXT}, {"token", "TOKEN", ADMIN_TEXT}}, NULL, NULL},
    {"member remove", "Take a node out of the cluster for good",
     "Refused if any message would be left on fewer nodes than a majority; --force does it all the same and may lose\n"
     "mail. A removed node comes back only as a new one, with a new token.",
     "mailctl member remove n3\nmailctl member remove n3 --yes\n",
     {{"name", ADMIN_STRING, REQUIRED, .help = "the node's name"},
      {"force", ADMIN_BOOL, .help = "even if messages may be lost with it"}},
     NULL, {{0}}, "Take node %s out of the cluster?", "Removed node %s.\n"},
    {"member role", "Make a node voter, standby or spare",
     "A voter counts for the majority. A standby replicates and serves clients, without a vote. A spare does neither.",
     "mailctl member role n3 voter\n",
     {{"name", ADMIN_STRING, REQUIRED, .help = "the node's name"},
      {"role", ADMIN_STRING, REQUIRED, .choices = "voter standby spare", .help = "its new role"}},
     NULL, {{"name", "NODE", ADMIN_TEXT}, {"role", "ROLE", ADMIN_TEXT}}, NULL, NULL},
    {"leader transfer", "Hand leadership to another node",
     "Without a name the best voter is chosen. Clients notice nothing but a pause of some milliseconds.",
     "mailctl leader transfer\nmailctl leader transfer n2\n",
     {{"to", ADMIN_STRING, .positional = true, .help = "the voter that takes over"}},
     NULL, {{"leader", "LEADER", ADMIN_TEXT}}, NULL, NULL},
    {"domain add", "Accept mail for a domain",
     "Adding a domain again changes its catch-all address: mail to unknown users of the domain goes there.",
     "mailctl domain add example.org\nmailctl domain add example.org --catch-all ann@example.org\n",
     {{"name", ADMIN_STRING, REQUIRED, .help = "the domain"},
      {"catch_all", ADMIN_STRING, .help = "address that gets mail for unknown users"}},
     NULL, {{0}}, NULL, "Mail for %s is accepted. Next: mailctl user add NAME@DOMAIN\n"},
    {"domain list", "List the domains", "", "mailctl domain list\n", {{0}}, "domains",
     {{"name", "DOMAIN", ADMIN_TEXT}, {"catch_all", "CATCH-ALL", ADMIN_TEXT}}, NULL, NULL},
    {"domain remove", "Stop accepting mail for a domain",
     "Refused while the domain has users or aliases.", "mailctl domain remove example.org\n",
     {{"name", ADMIN_STRING, REQUIRED, .help = "the domain"}},
     NULL, {{0}}, "Stop accepting mail for %s?", "Removed domain %s.\n"},
    {"user add", "Add a user",
     "The password is asked for twice, or read as one line from standard input with --password-stdin. The domain\n"
     "must have been added before.",
     "mailctl user add ann@example.org\nmailctl user add ann@example.org --quota 10G\n"
     "pwgen -s 20 1 | mailctl user add ann@example.org --password-stdin\n",
     {ADDRESS_ARG,
      {"password", ADMIN_PASSWORD, .required = true, .help = "asked for, or read with --password-stdin"},
      {"quota", ADMIN_SIZE, .help = "octets the user may store, as 500M or 10G; 0: no limit"}},
     NULL, {{0}}, NULL, "Added user %s.\n"},
    {"user passwd", "Change a user's password",
     "Takes effect on all nodes at once. Sessions that are logged in stay.",
     "mailctl user passwd ann@example.org\n",
     {ADDRESS_ARG,
      {"password", ADMIN_PASSWORD, .required = true, .help = "asked for, or read with --password-stdin"}},
     NULL, {{0}}, NULL, "Changed the password of %s.\n"},
    {"user list", "List the users", "", "mailctl user list\nmailctl user list example.org\n",
     {{"domain", ADMIN_STRING, .positional = true, .help = "only users of this domain"}},
     "users", USER_COLUMNS, NULL, NULL},
    {"user show", "Show one user", "", "mailctl user show ann@example.org\n", {ADDRESS_ARG}, NULL, USER_COLUMNS, NULL,
     NULL},
    {"user remove", "Remove a user with all mail", "The user's mailboxes are gone for good.",
     "mailctl user remove ann@example.org\nmailctl user remove ann@example.org --yes\n", {ADDRESS_ARG}, NULL, {{0}},
     "Remove %s with all mail?", "Removed user %s.\n"},
    {"user lock", "Lock a user: no login, no new mail", "Mail that is stored stays. Undo it with mailctl user unlock.",
     "mailctl user lock ann@example.org\n", {ADDRESS_ARG}, NULL, {{0}}, NULL, "Locked user %s.\n"},
    {"user unlock", "Undo user lock", "", "mailctl user unlock ann@example.org\n", {ADDRESS_ARG}, NULL, {{0}}, NULL,
     "Unlocked user %s.\n"},
    {"user quota", "Set what a user may store",
     "Lowering it below what is stored deletes nothing, but refuses new mail.",
     "mailctl user quota ann@example.org 20G\nmailctl user quota ann@example.org 0\n",
     {ADDRESS_ARG, {"quota", ADMIN_SIZE, REQUIRED, .help = "octets, as 500M or 10G; 0: no limit"}},
     NULL, {{"address", "ADDRESS", ADMIN_TEXT}, {"quota", "QUOTA", ADMIN_BYTES}}, NULL, NULL},
    {"alias add", "Deliver an address to other addresses",
     "Adding an alias again replaces its targets. Targets may be aliases themselves.",
     "mailctl alias add info@example.org ann@example.org bob@example.org\n",
     {{"address", ADMIN_STRING, REQUIRED, .help = "the alias"},
      {"targets", ADMIN_LIST, REQUIRED, .help = "addresses that get its mail"}},
     NULL, {{0}}, NULL, "Mail to %s goes to its targets.\n"},
    {"alias list", "List the aliases", "", "mailctl alias list\n",
     {{"domain", ADMIN_STRING, .positional = true, .help = "only aliases in this domain"}},
     "aliases", {{"address", "ALIAS", ADMIN_TEXT}, {"targets", "TARGETS", ADMIN_JOINED}}, NULL, NULL},
    {"alias remove", "Remove an alias", "", "mailctl alias remove info@example.org\n",
     {{"address", ADMIN_STRING, REQUIRED, .help = "the alias"}},
     NULL, {{0}}, "Remove alias %s?", "Removed alias %s.\n"},
    {"mailbox list", "List a user's mailboxes", "", "mailctl mailbox list ann@example.org\n",
     {{"user", ADMIN_STRING, REQUIRED, .help = "mail address of the user"}},
     "mailboxes", MAILBOX_COLUMNS, NULL, NULL},
    {"mailbox status", "Show one mailbox", "", "mailctl mailbox status ann@example.org INBOX\n",
     {{"user", ADMIN_STRING, REQUIRED, .help = "mail address of the user"},
      {"mailbox", ADMIN_STRING, REQUIRED, .help = "the mailbox's name"}},
     NULL, MAILBOX_COLUMNS, NULL, NULL},
    {"verify", "Check that all replicas are the same",
     "Every node computes its digest at one and the same log index; they must be equal. Exit code 1 if they are not.",
     "mailctl verify\n", {{0}}, "members",
     {{"name", "NODE", ADMIN_TEXT}, {"digest", "DIGEST", ADMIN_TEXT}, {"index", "INDEX", ADMIN_NUMBER},
      {"state", "STATE", ADMIN_TEXT}},
     NULL, NULL},
    {"settings list", "List the cluster's settings", "Secret ones are left out.", "mailctl settings list\n", {{0}},
     "settings", {{"name", "NAME", ADMIN_TEXT}, {"value", "VALUE", ADMIN_TEXT}}, NULL, NULL},
    {"settings get", "Show one setting", "", "mailctl settings get postmaster\n",
     {{"name", ADMIN_STRING, REQUIRED, .help = "the setting"}},
     NULL, {{"name", "NAME", ADMIN_TEXT}, {"value", "VALUE", ADMIN_TEXT}}, NULL, NULL},
    {"settings set", "Change a setting on all nodes", "An empty value removes the setting.",
     "mailctl settings set postmaster ann@example.org\n",
     {{"name", ADMIN_STRING, REQUIRED, .help = "the setting"},
      {"value", ADMIN_STRING, REQUIRED, .empty_ok = true, .help = "its new value"}},
     NULL, {{0}}, NULL, "Set %s.\n"},
    {"node drain", "Stop serving new clients on this node",
     "Gives leadership away, lets load balancers see the node as not ready, and ends sessions as they become idle.\n"
     "Do it before maintenance; restart maild to serve again.",
     "mailctl node drain\n", {{0}}, NULL, {{0}}, NULL, "Draining: new clients go to other nodes.\n"},
};
const size_t admin_verb_n = sizeof(admin_verbs) / sizeof(admin_verbs[0]);

const struct admin_verb *admin_verb_find(const char *name)
{
    for (size_t i = 0; i < admin_verb_n; i++)
        if (strcmp(admin_verbs[i].name, name) == 0)
            return &admin_verbs[i];
    return NULL;
}
