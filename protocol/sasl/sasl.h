/* SASL as the server sees it: mechanisms PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login-00), and strict base64
 * (RFC 4648 section 4). Pure: no password is checked here, a finished exchange hands over name and password for
 * backend_auth. Used by IMAP, POP3 and SMTP alike; each protocol only frames challenge and response lines.
 *
 *      sasl_start ──► SASL_MORE ──(send challenge, read a line)──► sasl_respond ──► SASL_MORE …
 *                 └─► SASL_READY: user and password     └─► SASL_CANCELED, SASL_MALFORMED, SASL_REFUSED
 *
 * One owner, one thread. Secrets are wiped by sasl_close. */
#ifndef SASL_SASL_H
#define SASL_SASL_H

#include "node/base/buf.h"

enum {
    SASL_RESPONSE_MAX = 9216, /* octets of one decoded response (RFC 4954 section 4: 12288 octets of base64) */
    SASL_USER_MAX = 320,      /* octets of a user name: a whole mail address */
    SASL_PASSWORD_MAX = 1024, /* octets of a password */
};

/* ---- base64 ---- */

/* Appends the base64 form, padded, without line ends. */
void base64_encode(struct slice in, struct buf *out);
/* Appends what `in` stands for. Strict: only the alphabet, padding where it belongs and nowhere else, unused bits zero.
 * ERR_INVALID otherwise, ERR_TOOBIG when more than max octets would come out; out is unchanged then. */
int base64_decode(struct slice in, size_t max, struct buf *out);

/* ---- PLAIN's message ---- */

struct sasl_credentials {
    struct slice authzid, authcid, password; /* point into the message */
};
/* message = [authzid] NUL authcid NUL passwd (RFC 4616 section 2), already out of base64. 0, ERR_INVALID for bytes that
 * are not of that form or over the limits, ERR_DENIED when authzid is neither empty nor equal to authcid (acting for
 * another is not offered). */
int sasl_plain_parse(struct slice message, struct sasl_credentials *c_r);

/* ---- an exchange ---- */

enum sasl_result {
    SASL_MORE,      /* send the challenge, feed the next line to sasl_respond */
    SASL_READY,     /* user and password are there */
    SASL_CANCELED,  /* the client sent "*" */
    SASL_MALFORMED, /* bad base64 or a message of the wrong form */
    SASL_REFUSED,   /* well formed, but asks to act for another user */
    SASL_UNKNOWN,   /* no such mechanism */
};
enum sasl_step { SASL_STEP_IDLE, SASL_STEP_PLAIN, SASL_STEP_LOGIN_USER, SASL_STEP_LOGIN_PASSWORD, SASL_STEP_READY };

/* All zero is an idle one. */
struct sasl {
    enum sasl_step step;
    struct buf message;          /* decoded responses */
    struct slice user, password; /* when SASL_READY; point into message, valid until sasl_close or the next start */
};

/* The mechanisms on offer, as AUTH= or SASL capability lists want them. */
#define SASL_MECHANISMS "PLAIN LOGIN"

/* Starts over. name: the mechanism, any case. initial: the initial response in base64 when has_initial ("=" is an empty
 * one, RFC 4954 section 4, RFC 9051 6.2.2). The challenge, in base64 and without line end, is appended to challenge for
 * SASL_MORE. */
enum sasl_result sasl_start(struct sasl *s, struct slice name, bool has_initial, struct slice initial,
                            struct buf *challenge);
/* line: the client's line without its CRLF. */
enum sasl_result sasl_respond(struct sasl *s, struct slice line, struct buf *challenge);
/* Wipes and frees what the exchange holds; idle again. */
void sasl_close(struct sasl *s);

#endif
