/* Requests and answers between mailctl and a node: one JSON object a line over a Unix socket (mode 0600).
 *
 *   request   {"verb":"user add","args":{"address":"ann@example.org","password":"…","quota":1073741824}}
 *   answer    {"progress":"…"}                                    zero or more, then one of
 *             {"ok":true,"data":{…}}
 *             {"ok":false,"code":"notfound","error":"no such user: …","hint":"see: mailctl user list"}
 *
 * A connection carries any number of requests, answered in order. `code` is an err.h name. Pure; jansson's json_t is
 * the tree. */
#ifndef ADMIN_CODEC_H
#define ADMIN_CODEC_H

#include "node/base/buf.h"
#include "node/base/err.h"
#include "protocol/admin/verbs.h"

#include <jansson.h>

enum {
    ADMIN_LINE_MAX = 1 << 20, /* octets of a line, its LF included */
    ADMIN_DEPTH_MAX = 32,     /* nesting of a JSON value */
};

/* Takes the next line out of what has been read: its length including the LF, 0 when more is needed, ERR_TOOBIG
 * (negative) when no line can come of it any more. */
int64_t admin_line_find(struct slice in);

struct admin_request {
    const struct admin_verb *verb;
    json_t *args; /* object; checked against verb->args */
};

/* line: with or without its LF. 0; ERR_PROTOCOL (no JSON, no request), ERR_NOTFOUND (verb), ERR_INVALID (arguments:
 * missing, unknown, wrong type). detail says which. The request is to be closed after 0 only. */
int admin_request_parse(struct slice line, struct admin_request *r_r, struct err_detail *detail);
void admin_request_close(struct admin_request *r); /* wipes passwords */
/* Checks args against the verb's table. 0 or ERR_INVALID. */
int admin_args_check(const struct admin_verb *verb, json_t *args, struct err_detail *detail);
/* Appends the line. args: borrowed object, may be NULL. ERR_TOOBIG over ADMIN_LINE_MAX (nothing is appended). */
int admin_request_write(const char *verb, json_t *args, struct buf *out);

/* The argument, NULL or 0 or false when it is not there; of the type the table says. Valid until admin_request_close.
 */
const char *admin_arg_string(const struct admin_request *r, const char *name);
uint64_t admin_arg_size(const struct admin_request *r, const char *name);
bool admin_arg_bool(const struct admin_request *r, const char *name);
bool admin_arg_given(const struct admin_request *r, const char *name);
size_t admin_arg_list(const struct admin_request *r, const char *name, const char **items_r, size_t max);

enum admin_answer_kind { ADMIN_PROGRESS, ADMIN_OK, ADMIN_ERROR };
struct admin_answer {
    enum admin_answer_kind kind;
    json_t *root;
    json_t *data;     /* ADMIN_OK: borrowed from root, may be NULL */
    const char *text; /* progress, or error; into root */
    const char *hint; /* may be NULL */
    int code;         /* ADMIN_ERROR: err.h; a name that this build does not know is ERR_INVALID */
};
/* 0 or ERR_PROTOCOL. */
int admin_answer_parse(struct slice line, struct admin_answer *a_r);
void admin_answer_close(struct admin_answer *a);

void admin_progress_write(const char *text, struct buf *out);
/* data: borrowed, may be NULL (null). Data over ADMIN_LINE_MAX is answered as an error of code "toobig". */
void admin_ok_write(json_t *data, struct buf *out);
/* hint may be NULL. */
void admin_error_write(int code, const char *text, const char *hint, struct buf *out);

#endif
