#include "node/address.h"

#include <idn2.h>
#include <stdio.h>

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return false;
    return true;
}

const char *address_ascii(struct slice in, char out[ADDRESS_TEXT_MAX])
{
    size_t at = in.n;
    while (at > 0 && in.p[at - 1] != '@')
        at--;
    struct slice local = slice_first(in, at), domain = slice_from(in, at); /* local: with its "@", if any */
    int n = snprintf(out, ADDRESS_TEXT_MAX, "%.*s", (int)slice_first(in, ADDRESS_TEXT_MAX).n, (const char *)in.p);
    if (n < 0 || is_ascii(domain) || in.n >= ADDRESS_TEXT_MAX)
        return out;
    char *ascii = NULL;
    if (idn2_to_ascii_8z(out + local.n, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK &&
        local.n + strlen(ascii) < ADDRESS_TEXT_MAX)
        memcpy(out + local.n, ascii, strlen(ascii) + 1);
    idn2_free(ascii);
    return out;
}
