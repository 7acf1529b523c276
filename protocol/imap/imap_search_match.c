#include "protocol/imap/imap_search.h"

#include "protocol/mime/summary.h"

static enum search_verdict verdict(bool yes)
{
    return yes ? SEARCH_YES : SEARCH_NO;
}

static bool match_info(const struct search_key *k, const struct message_info *m)
{
    int32_t day = imap_day_of_ms(m->internal_ms);
    switch (k->kind) {
    case SEARCH_SET:
        return uid_set_has(&k->uids, m->uid);
    case SEARCH_FLAG:
        return (m->flags & k->flag) != 0;
    case SEARCH_KEYWORD:
        return (m->keywords & k->number) != 0;
    case SEARCH_BEFORE:
        return day < k->day;
    case SEARCH_ON:
        return day == k->day;
    case SEARCH_SINCE:
        return day >= k->day;
    case SEARCH_LARGER:
        return m->size > k->number;
    case SEARCH_SMALLER:
        return m->size < k->number;
    case SEARCH_MODSEQ:
        return m->modseq >= k->number;
    case SEARCH_EMAILID:
        return m->email_id == k->number;
    default:
        return false;
    }
}

static bool match_summary(const struct search_key *k, struct slice summary)
{
    int64_t ms;
    int32_t day;
    if (k->kind == SEARCH_FIELD) {
        struct buf text = {0};
        bool yes = mime_summary_field(summary, (enum mime_field)k->field, &text) &&
                   text_needle_in(k->needle, buf_slice(&text));
        buf_close(&text);
        return yes;
    }
    if (!mime_summary_date(summary, &ms, &day))
        return false;
    return k->kind == SEARCH_SENTBEFORE ? day < k->day : k->kind == SEARCH_SENTON ? day == k->day : day >= k->day;
}

static bool match_body(const struct search_key *k, const struct search_message *m)
{
    if (k->kind == SEARCH_HEADER)
        return text_search_header(slice_first(m->body, header_length(m->body)), k->name, k->needle);
    return text_search_message(m->body, m->summary, k->needle, k->kind == SEARCH_TEXT);
}

static enum search_verdict match_all(const struct search_key *k, const struct search_message *m)
{
    enum search_verdict all = SEARCH_YES;
    for (const struct search_key *c = k->child; c != NULL; c = c->next) {
        enum search_verdict v = search_match(c, m);
        if (v == SEARCH_NO)
            return SEARCH_NO;
        if (v == SEARCH_UNKNOWN)
            all = SEARCH_UNKNOWN;
    }
    return all;
}

static enum search_verdict match_any(const struct search_key *k, const struct search_message *m)
{
    enum search_verdict any = SEARCH_NO;
    for (const struct search_key *c = k->child; c != NULL; c = c->next) {
        enum search_verdict v = search_match(c, m);
        if (v == SEARCH_YES)
            return SEARCH_YES;
        if (v == SEARCH_UNKNOWN)
            any = SEARCH_UNKNOWN;
    }
    return any;
}

/* Recursion is as deep as the parser's IMAP_NESTING_MAX. */
enum search_verdict search_match(const struct search_key *k, const struct search_message *m)
{
    enum search_verdict v;
    switch (k->kind) {
    case SEARCH_AND:
        return match_all(k, m);
    case SEARCH_OR:
        return match_any(k, m);
    case SEARCH_NOT:
        v = search_match(k->child, m);
        return v == SEARCH_UNKNOWN ? v : verdict(v == SEARCH_NO);
    case SEARCH_NONE:
        return SEARCH_NO;
    case SEARCH_SENTBEFORE:
    case SEARCH_SENTON:
    case SEARCH_SENTSINCE:
    case SEARCH_FIELD:
        return m->has_summary ? verdict(match_summary(k, m->summary)) : SEARCH_UNKNOWN;
    case SEARCH_HEADER:
    case SEARCH_BODY:
    case SEARCH_TEXT:
        return m->has_body ? verdict(match_body(k, m)) : SEARCH_UNKNOWN;
    default:
        return verdict(match_info(k, m->info));
    }
}
