#include "protocol/sasl/sasl.h"

#include "node/base/err.h"
#include "node/base/mem.h"

int sasl_plain_parse(struct slice message, struct sasl_credentials *c_r)
{
    size_t first = slice_find(message, 0);
    if (first == message.n)
        return ERR_INVALID;
    struct slice rest = slice_from(message, first + 1);
    size_t second = slice_find(rest, 0);
    if (second == rest.n)
        return ERR_INVALID;

    struct sasl_credentials c = {slice_first(message, first), slice_first(rest, second), slice_from(rest, second + 1)};
    if (c.authcid.n == 0 || c.authcid.n > SASL_USER_MAX || c.password.n == 0 || c.password.n > SASL_PASSWORD_MAX ||
        slice_find(c.password, 0) != c.password.n)
        return ERR_INVALID;
    if (c.authzid.n > 0 && !slice_eq(c.authzid, c.authcid))
        return ERR_DENIED;
    *c_r = c;
    return 0;
}

void sasl_close(struct sasl *s)
{
    if (s->message.base)
        mem_wipe(s->message.base, s->message.cap);
    buf_close(&s->message);
    *s = (struct sasl){0};
}

static enum sasl_result plain_take(struct sasl *s)
{
    struct sasl_credentials c;
    int rv = sasl_plain_parse(buf_slice(&s->message), &c);

    if (rv != 0)
        return rv == ERR_DENIED ? SASL_REFUSED : SASL_MALFORMED;
    s->user = c.authcid;
    s->password = c.password;
    s->step = SASL_STEP_READY;
    return SASL_READY;
}

/* `message` holds the user name, and after it the password once user.n is known. */
static enum sasl_result login_user_take(struct sasl *s, struct buf *challenge)
{
    struct slice user = buf_slice(&s->message);

    if (user.n == 0 || user.n > SASL_USER_MAX || slice_find(user, 0) != user.n)
        return SASL_MALFORMED;
    s->user = user;
    s->step = SASL_STEP_LOGIN_PASSWORD;
    base64_encode(SLICE_LITERAL("Password:"), challenge);
    return SASL_MORE;
}

static enum sasl_result login_password_take(struct sasl *s, size_t user_n)
{
    struct slice all = buf_slice(&s->message);
    struct slice password = slice_from(all, user_n);

    if (password.n == 0 || password.n > SASL_PASSWORD_MAX || slice_find(password, 0) != password.n)
        return SASL_MALFORMED;
    s->user = slice_first(all, user_n);
    s->password = password;
    s->step = SASL_STEP_READY;
    return SASL_READY;
}

static enum sasl_result response_take(struct sasl *s, struct slice base64, struct buf *challenge)
{
    size_t before = buf_len(&s->message);

    /* One allocation for the whole exchange: growing would leave an unwiped copy of a secret behind. */
    buf_reserve(&s->message, SASL_RESPONSE_MAX + SASL_USER_MAX + 8 - before);
    if (base64_decode(base64, SASL_RESPONSE_MAX - before, &s->message) != 0)
        return SASL_MALFORMED;
    switch (s->step) {
    case SASL_STEP_PLAIN:
        return plain_take(s);
    case SASL_STEP_LOGIN_USER:
        return login_user_take(s, challenge);
    case SASL_STEP_LOGIN_PASSWORD:
        return login_password_take(s, before);
    case SASL_STEP_IDLE:
    case SASL_STEP_READY:
        break;
    }
    return SASL_MALFORMED;
}

static enum sasl_result ended(struct sasl *s, enum sasl_result result)
{
    if (result != SASL_MORE && result != SASL_READY)
        sasl_close(s);
    return result;
}

enum sasl_result sasl_start(struct sasl *s, struct slice name, bool has_initial, struct slice initial,
                            struct buf *challenge)
{
    sasl_close(s);
    if (slice_ieq(name, SLICE_LITERAL("PLAIN")))
        s->step = SASL_STEP_PLAIN;
    else if (slice_ieq(name, SLICE_LITERAL("LOGIN")))
        s->step = SASL_STEP_LOGIN_USER;
    else
        return SASL_UNKNOWN;

    if (has_initial) {
        if (slice_eq(initial, SLICE_LITERAL("=")))
            initial = (struct slice){NULL, 0};
        return ended(s, response_take(s, initial, challenge));
    }
    if (s->step == SASL_STEP_LOGIN_USER)
        base64_encode(SLICE_LITERAL("Username:"), challenge);
    return SASL_MORE;
}

enum sasl_result sasl_respond(struct sasl *s, struct slice line, struct buf *challenge)
{
    if (slice_eq(line, SLICE_LITERAL("*")))
        return ended(s, SASL_CANCELED);
    return ended(s, response_take(s, line, challenge));
}
