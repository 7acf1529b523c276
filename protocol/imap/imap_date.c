/* date and date-time of RFC 9051 section 9, and INTERNALDATE as it is sent. */
#include "protocol/imap/imap_text.h"

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* Days since 1970-01-01 of a civil date, proleptic Gregorian. */
static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_from_days(int64_t z, int64_t *y_r, int64_t *m_r, int64_t *d_r)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d_r = doy - (153 * mp + 2) / 5 + 1;
    *m_r = mp < 10 ? mp + 3 : mp - 9;
    *y_r = yoe + era * 400 + (*m_r <= 2);
}

static bool digits(struct imap_args *a, unsigned n, int64_t *v_r)
{
    *v_r = 0;
    for (; n > 0; n--) {
        int c = imap_args_peek(a);
        if (c < '0' || c > '9')
            return imap_args_fail(a, "Malformed date");
        *v_r = *v_r * 10 + (c - '0');
        a->at++;
    }
    return true;
}

/* date-month "-" date-year, after the day and its "-". */
static bool month_year(struct imap_args *a, int64_t day, int32_t *day_r)
{
    static const int8_t length[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t month = 0, year = 0;
    if (a->error == NULL && a->in.n - a->at >= 3)
        for (int64_t i = 0; i < 12; i++)
            if (slice_ieq(slice_make(a->in.p + a->at, 3), slice_make(months + 3 * i, 3)))
                month = i + 1;
    if (month == 0)
        return imap_args_fail(a, "Malformed date");
    a->at += 3;
    if (!imap_args_char(a, '-') || !digits(a, 4, &year))
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day < 1 || day > length[month - 1] || (month == 2 && day == 29 && !leap))
        return imap_args_fail(a, "No such day");
    *day_r = (int32_t)days_from_civil(year, month, day);
    return true;
}

bool imap_args_date(struct imap_args *a, int32_t *day_r)
{
    bool quoted = imap_args_try(a, '"');
    uint64_t day = 0;
    *day_r = 0;
    return imap_args_number(a, 31, &day) && imap_args_char(a, '-') && month_year(a, (int64_t)day, day_r) &&
           (!quoted || imap_args_char(a, '"'));
}

/* date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE */
bool imap_args_date_time(struct imap_args *a, int64_t *ms_r)
{
    int64_t day = 0, h, m, s, zone;
    int32_t days = 0;
    *ms_r = 0;
    if (!imap_args_char(a, '"') || !digits(a, imap_args_try(a, ' ') ? 1 : 2, &day) || !imap_args_char(a, '-') ||
        !month_year(a, day, &days))
        return false;
    if (!imap_args_space(a) || !digits(a, 2, &h) || !imap_args_char(a, ':') || !digits(a, 2, &m) ||
        !imap_args_char(a, ':') || !digits(a, 2, &s) || !imap_args_space(a))
        return false;
    bool east = imap_args_try(a, '+');
    if ((!east && !imap_args_char(a, '-')) || !digits(a, 4, &zone) || !imap_args_char(a, '"'))
        return false;
    if (h > 23 || m > 59 || s > 60 || zone % 100 > 59 || zone > 2359)
        return imap_args_fail(a, "No such time");
    int64_t offset = (zone / 100 * 60 + zone % 100) * 60;
    *ms_r = ((int64_t)days * 86400 + h * 3600 + m * 60 + s + (east ? -offset : offset)) * 1000;
    return true;
}

int32_t imap_day_of_ms(int64_t ms)
{
    int64_t day = ms / 86400000;
    return (int32_t)(ms % 86400000 < 0 ? day - 1 : day);
}

void imap_write_date_time(struct buf *out, int64_t ms)
{
    int64_t day = imap_day_of_ms(ms), s = (ms - day * 86400000) / 1000, y, m, d;
    civil_from_days(day, &y, &m, &d);
    buf_printf(out, "\"%2d-%.3s-%04d %02d:%02d:%02d +0000\"", (int)d, months + 3 * (m - 1), (int)y, (int)(s / 3600),
               (int)(s / 60 % 60), (int)(s % 60));
}
