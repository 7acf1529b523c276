/* The node's configuration file (docs/man/maild.conf.5). Read once at start; SIGHUP reads log level and TLS files
 * again. */
#ifndef NODE_CONFIG_H
#define NODE_CONFIG_H

#include "node/base/err.h"
#include "node/base/log.h"
#include "node/listener.h"

#include <stdint.h>

enum { CONFIG_LISTENERS_MAX = 32 };

struct config_listener {
    char name[64];
    unsigned line; /* of its section, for errors */
    struct listener_config listener;
    bool has_protocol, has_listen;
};

struct config {
    char *path;
    char *name, *data, *hostname;
    enum log_level log_level;
    bool log_json;
    char *peer_listen, *peer_advertise;
    unsigned heartbeat_ms, election_ms, voters;
    char *admin_socket;
    char *http_listen; /* NULL: none */
    char *tls_certificate, *tls_key;
    uint64_t map_size, disk_reserve;
    unsigned snapshot_threshold, snapshot_trailing; /* 0: default */
    unsigned check_interval_s;                      /* between readings for damage; 0: none */
    uint64_t message_size_max;
    unsigned write_wait_ms, connections, connections_per_address, workers, recipients_max;
    char *queue_resolvers, *queue_ca_file; /* NULL: the system's */
    unsigned queue_deliveries;             /* at once from this node */
    struct config_listener listeners[CONFIG_LISTENERS_MAX];
    unsigned listener_n;
};

/* 0, or ERR_INVALID with "file:line: what, and what to write instead" in e. Free with config_free either way. */
int config_load(const char *path, struct config **c_r, struct err_detail *e);
void config_free(struct config **c);

#endif
