/* Relay, submission and LMTP, as the input's first octet says. */
#include "tests/fuzz/fuzz_session.h"

static enum smtp_kind kind;

static struct session *make(struct session_host *h, struct backend *b, const struct session_peer *peer,
                            const struct session_limits *limits)
{
    return smtp_session_new(h, b, peer, limits, kind);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const relay[] = {"", "EHLO c.test\r\n",
                                        "EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<u@x.test>\r\n",
                                        "EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<u@x.test>\r\nDATA\r\n"};
    static const char *const lmtp[] = {
        "", "LHLO c.test\r\n", "LHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<u@x.test>\r\nRCPT TO:<v@x.test>\r\n",
        "LHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<u@x.test>\r\nDATA\r\n"};
    /* base64 of NUL u@x.test NUL pw */
    static const char *const submission[] = {"", "EHLO c.test\r\n", "EHLO c.test\r\nAUTH PLAIN AHVAeC50ZXN0AHB3\r\n",
                                             "EHLO c.test\r\nAUTH PLAIN AHVAeC50ZXN0AHB3\r\nMAIL FROM:<>\r\n"};
    if (n == 0)
        return 0;
    kind = (enum smtp_kind)(data[0] % 3);
    fuzz_session_run(slice_make(data + 1, n - 1), make,
                     kind == SMTP_RELAY  ? relay
                     : kind == SMTP_LMTP ? lmtp
                                         : submission,
                     4);
    return 0;
}
