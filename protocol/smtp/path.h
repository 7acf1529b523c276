/* Paths and parameters of MAIL and RCPT (RFC 5321 4.1.2, 4.1.3; RFC 6531 3.3). Pure. */
#ifndef SMTP_PATH_H
#define SMTP_PATH_H

#include "node/base/slice.h"

enum {
    SMTP_LOCAL_MAX = 128,  /* octets; RFC 5321 4.5.3.1.1 wants at least 64, VERP senders use more */
    SMTP_DOMAIN_MAX = 255, /* RFC 5321 4.5.3.1.2 */
    SMTP_ADDRESS_MAX = SMTP_LOCAL_MAX + SMTP_DOMAIN_MAX + 1,
    SMTP_PARAMS_MAX = 16,
};

enum smtp_path_kind { SMTP_PATH_RETURN, SMTP_PATH_FORWARD };
enum smtp_path_status { SMTP_PATH_OK, SMTP_PATH_SYNTAX, SMTP_PATH_TOO_LONG };

struct smtp_path {
    char address[SMTP_ADDRESS_MAX + 1]; /* "" is the null sender; quotes that are not needed are gone */
    size_t n;
    bool utf8; /* has octets above 127: allowed only with SMTPUTF8 */
};

/* in: what follows "FROM:" or "TO:". "<>" is a return path only, "<postmaster>" a forward path only; source routes are
 * skipped (RFC 5321 appendix C). used_r: the octets taken. */
enum smtp_path_status smtp_path_parse(struct slice in, enum smtp_path_kind kind, struct smtp_path *p_r, size_t *used_r);

struct smtp_param {
    struct slice name, value; /* value.p NULL: there was no "=" */
};
/* *( SP esmtp-keyword ["=" esmtp-value] ). 0 and *n_r, or ERR_INVALID. */
int smtp_params_parse(struct slice in, struct smtp_param *params, size_t max, size_t *n_r);

/* Domain / address-literal, as in EHLO and after "@". utf8: U-labels are fine. */
bool smtp_domain_valid(struct slice s, bool utf8);

#endif
