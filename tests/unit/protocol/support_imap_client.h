/* Drives an IMAP session as its host does, with a client's bytes on one side and the fake backend on the other. */
#ifndef SUPPORT_IMAP_CLIENT_H
#define SUPPORT_IMAP_CLIENT_H

#include "protocol/session.h"
#include "tests/unit/protocol/support_fake_backend.h"

struct imap_client {
    struct session_host host;
    struct session *s;
    struct fake_backend *fb;
    struct buf in;   /* sent, not taken yet */
    struct buf seen; /* received, not expected yet */
    unsigned wakes;
    bool released;
    bool manual;     /* the backend runs only when the test says so */
    size_t out_high; /* most that `out` ever held */
    size_t read_max; /* most taken from `out` at once; 0: all */
};

/* tls: it is on. greeting is consumed. */
void imap_client_open(struct imap_client *c, struct fake_backend *fb, bool tls);
void imap_client_open_limits(struct imap_client *c, struct fake_backend *fb, bool tls,
                             const struct session_limits *limits);
/* Opens, logs in as user/password; what that answered is consumed. */
void imap_client_login(struct imap_client *c, struct fake_backend *fb, const char *user, const char *password);
void imap_client_send(struct imap_client *c, struct slice bytes);
/* Sends the lines (with CRLF in them) and wants exactly this answer. */
void imap_client_talk(struct imap_client *c, const char *send, const char *expect);
void imap_client_expect(struct imap_client *c, const char *expect);
bool imap_client_saw(const struct imap_client *c, const char *part);
void imap_client_forget(struct imap_client *c);
void imap_client_pump(struct imap_client *c);
/* Closes the connection, lets pending operations end, frees. */
void imap_client_close(struct imap_client *c);

#endif
