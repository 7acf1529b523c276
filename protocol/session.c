#include "protocol/session.h"

bool session_op_end(struct session *s)
{
    s->pending--;
    if (!s->closed)
        return true;
    if (s->pending == 0)
        s->host->released(s->host);
    return false;
}

const struct session_limits session_limits_default = {
    .line_max = 64 * 1024,
    .message_max = 64 * 1024 * 1024,
    .literal_max = 64 * 1024,
    .recipients_max = 1000,
    .received_max = 100,
    .auth_tries_max = 5,
    .bad_commands_max = 20,
};
