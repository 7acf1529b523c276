/* Delivery status notifications: multipart/report with message/delivery-status (RFC 3464, 3462, 3461; RFC 6533 when
 * addresses need UTF-8). Auto-Submitted: auto-replied (RFC 3834), MIME-Version, a text for people in plain English.
 * Pure. */
#ifndef SMTP_DSN_H
#define SMTP_DSN_H

#include "node/base/buf.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_EXPANDED };
struct dsn_recipient {
    enum dsn_action action;
    struct slice address, orcpt;                  /* orcpt: RFC 3461 form, empty: none */
    char enhanced[16];                            /* Status */
    struct slice reply;                           /* the remote host's, or what happened */
    int code;                                     /* SMTP reply code; 0: the text is ours (no Diagnostic-Code: smtp) */
    struct slice host;                            /* Remote-MTA, empty: none */
    int64_t last_attempt_ms, will_retry_until_ms; /* 0: left out */
};
struct dsn {
    struct slice to;        /* the sender of the message */
    struct slice reporting; /* our host name: Reporting-MTA, From: MAILER-DAEMON@ / postmaster */
    struct slice from;      /* address in From, e.g. mailer-daemon@example.sg */
    struct slice envid;
    int64_t now_ms, arrival_ms;
    char message_id[128]; /* left side and host, without <> */
    const struct dsn_recipient *recipients;
    size_t n;
    struct slice original; /* the message (without our Return-Path); its headers or (full) all of it go along */
    bool full;             /* as far as full_max octets; headers alone above */
    size_t full_max;
    bool utf8; /* message/global-delivery-status, message/global(-headers) */
};
/* Appends the whole message with CRLF line ends (no Return-Path, no Received). */
void dsn_write(const struct dsn *d, struct buf *out);

#endif
