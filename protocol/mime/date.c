#include "protocol/mime/date.h"

/* date-time = [ day-of-week "," ] day month year hour ":" minute [ ":" second ] zone, with comments and blanks between.
 * The value is cut into words first, so that commas and order matter little. */
enum { WORDS_MAX = 8 };

struct words {
    struct slice w[WORDS_MAX];
    size_t n;
};

static size_t comment_end(struct slice s, size_t at)
{
    unsigned depth = 0;
    for (; at < s.n; at++) {
        if (s.p[at] == '\\')
            at++;
        else if (s.p[at] == '(')
            depth++;
        else if (s.p[at] == ')' && --depth == 0)
            return at + 1;
    }
    return s.n;
}

static bool is_break(uint8_t c)
{
    return c <= ' ' || c == ',' || c == '(' || c == ')';
}

static void words_cut(struct slice s, struct words *words)
{
    for (size_t at = 0; at < s.n && words->n < WORDS_MAX;) {
        if (s.p[at] == '(') {
            at = comment_end(s, at);
        } else if (is_break(s.p[at])) {
            at++;
        } else {
            size_t from = at;
            while (at < s.n && !is_break(s.p[at]))
                at++;
            words->w[words->n++] = slice_make(s.p + from, at - from);
        }
    }
}

static unsigned month_of(struct slice w)
{
    static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    for (unsigned i = 0; w.n >= 3 && i < 12; i++)
        if (slice_ieq(slice_first(w, 3), slice_make(names + (size_t)i * 3, 3)))
            return i + 1;
    return 0;
}

static bool number_of(struct slice w, unsigned max, unsigned *out_r)
{
    uint64_t v;
    if (w.n == 0 || w.n > 9 || slice_u64(w, max, &v))
        return false;
    *out_r = (unsigned)v;
    return true;
}

/* RFC 5322 4.3: two digits below 50 are 20xx, others and three digits count from 1900. */
static bool year_of(struct slice w, int32_t *year_r)
{
    unsigned v;
    if (!number_of(w, 9999, &v))
        return false;
    *year_r = (int32_t)(w.n <= 2 && v < 50 ? v + 2000 : w.n <= 3 ? v + 1900 : v);
    return true;
}

/* hour ":" minute [ ":" second ]; seconds of the day, a leap second counts as the one before. */
static bool time_of(struct slice w, int32_t *seconds_r)
{
    unsigned v[3] = {0, 0, 0};
    static const unsigned max[3] = {23, 59, 60};
    for (size_t i = 0; i < 3 && w.n > 0; i++) {
        size_t colon = slice_find(w, ':');
        if (colon > 2 || !number_of(slice_first(w, colon), max[i], &v[i]))
            return false;
        if (i == 0 && colon == w.n)
            return false;
        w = slice_from(w, colon + 1);
    }
    *seconds_r = (int32_t)(v[0] * 3600 + v[1] * 60 + (v[2] > 59 ? 59 : v[2]));
    return w.n == 0;
}

/* Seconds east of UTC. Unknown names and single letters (used with both signs) say nothing: 0 (RFC 5322 4.3). */
static int32_t zone_of(struct slice w)
{
    static const struct {
        const char *name;
        int32_t hours;
    } zones[] = {{"EST", -5}, {"EDT", -4}, {"CST", -6}, {"CDT", -5},
                 {"MST", -7}, {"MDT", -6}, {"PST", -8}, {"PDT", -7}};
    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
        if (slice_ieq(w, slice_str(zones[i].name)))
            return zones[i].hours * 3600;
    unsigned hhmm;
    if (w.n != 5 || (w.p[0] != '+' && w.p[0] != '-') || !number_of(slice_from(w, 1), 9999, &hhmm))
        return 0;
    int32_t seconds = (int32_t)((hhmm / 100) * 3600 + (hhmm % 100) * 60);
    return w.p[0] == '-' ? -seconds : seconds;
}

int32_t mime_day_of(int32_t year, unsigned month, unsigned day)
{
    /* Years that begin in March put the leap day last; 400 years are 146,097 days. */
    int32_t y = month <= 2 ? year - 1 : year;
    int32_t era = (y >= 0 ? y : y - 399) / 400;
    int32_t of_era = y - era * 400;
    int32_t m = (int32_t)(month > 2 ? month - 3 : month + 9);
    int32_t of_year = (153 * m + 2) / 5 + (int32_t)day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static unsigned days_in(int32_t year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

bool mime_date_parse(struct slice value, struct mime_date *date_r)
{
    struct words words = {.n = 0};
    words_cut(value, &words);
    const struct slice *w = words.w, *end = w + words.n;
    unsigned day = 0, month = 0;
    int32_t year = 0, seconds = 0, zone = 0;
    if (w < end && !number_of(*w, 31, &day) && month_of(*w) == 0)
        w++; /* the day of the week, right or wrong */
    if (end - w < 4)
        return false;
    if ((month = month_of(w[0])) != 0) { /* asctime: month day time [zone] year */
        bool zoned = end - w > 4;
        if (!number_of(w[1], 31, &day) || !time_of(w[2], &seconds) || !year_of(w[zoned ? 4 : 3], &year))
            return false;
        zone = zoned ? zone_of(w[3]) : 0;
    } else {
        if (!number_of(w[0], 31, &day) || (month = month_of(w[1])) == 0 || !year_of(w[2], &year) ||
            !time_of(w[3], &seconds))
            return false;
        zone = end - w > 4 ? zone_of(w[4]) : 0;
    }
    if (day == 0 || day > days_in(year, month))
        return false;
    date_r->local_day = mime_day_of(year, month, day);
    date_r->ms = ((int64_t)date_r->local_day * 86400 + seconds - zone) * 1000;
    return true;
}
