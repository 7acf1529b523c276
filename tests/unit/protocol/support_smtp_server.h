/* A server by script, for tests of the SMTP client. A script is lines:
 *   S: 250 Ok        the server says this and CRLF (with several in a row: in one piece)
 *   C: NOOP          the client must have said this and CRLF, and so on line by line
 *   C                the client must have said nothing more
 *   M: 0             the host sends mails[0]
 *   E: done again    the next event: ready, confirm, "done again", "done last", or "failed …" with its outcome
 *   O: 0 1 550 5.1.1 text    recipient 0 of the last mail: kind, code, enhanced code, text; kind + "?" when unsure, "r"
 *                    at the end of the kind when relayed
 *   K:  W: why       the host commits, withholds
 *   T:  Q:           TLS has started; the host says quit
 *   X: why           the connection is lost
 *   F:               the connection is to be closed now
 * The server's octets come in pieces of step (0: all at once). */
#ifndef SUPPORT_SMTP_SERVER_H
#define SUPPORT_SMTP_SERVER_H

#include "protocol/smtp/client.h"

struct smtp_script {
    struct smtp_client_config config; /* helo: "c.test" when NULL */
    struct smtp_client_mail *mails;
    bool confirm; /* the script confirms; else the client goes on by itself */
    size_t step;
};
#define smtp_script_run(s, text) smtp_script_run_at((s), (text), __FILE__, __LINE__)
void smtp_script_run_at(const struct smtp_script *s, const char *text, const char *file, int line);

#endif
