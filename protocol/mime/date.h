/* Dates of mail (RFC 5322 3.3 and 4.3). */
#ifndef MIME_DATE_H
#define MIME_DATE_H

#include "node/base/slice.h"

struct mime_date {
    int64_t ms;        /* since the epoch, UTC */
    int32_t local_day; /* calendar day as written, days since 1970-01-01 */
};
/* Unfolded value of Date:. Obsolete years, zones and comments, and asctime's order are understood. false: no date. */
bool mime_date_parse(struct slice value, struct mime_date *date_r);
/* Days since 1970-01-01 of a proleptic Gregorian date. */
int32_t mime_day_of(int32_t year, unsigned month, unsigned day);

#endif
