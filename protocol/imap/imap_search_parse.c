#include "protocol/imap/imap_search.h"

#include "node/base/utf8.h"
#include "protocol/mime/summary.h"

void search_close(struct search *s)
{
    for (struct search_key *k = s->needles; k != NULL; k = k->needle_next)
        text_needle_free(&k->needle);
    for (struct search_key *k = s->sets; k != NULL; k = k->set_next)
        uid_set_close(&k->uids);
    s->needles = s->sets = NULL;
}

struct parse {
    struct imap_args *a;
    struct search *s;
    unsigned depth;
};

static struct search_key *key_new(struct parse *p, enum search_kind kind)
{
    struct search_key *k = arena_alloc(p->a->arena, sizeof *k);
    k->kind = kind;
    if (++p->s->keys > SEARCH_KEYS_MAX)
        imap_args_fail(p->a, "Too many search keys");
    return k;
}

static void take_needle(struct parse *p, struct search_key *k)
{
    imap_args_space(p->a);
    struct slice text = imap_args_astring(p->a);
    if (p->a->error == NULL && !utf8_valid(text))
        imap_args_fail(p->a, "Search text is not UTF-8");
    if (p->a->error != NULL)
        return;
    k->needle = text_needle_new(text);
    k->needle_next = p->s->needles;
    p->s->needles = k;
}

static void take_set(struct parse *p, struct search_key *k, bool uid)
{
    k->uid = uid;
    imap_args_set(p->a, &k->set);
    k->set_next = p->s->sets;
    p->s->sets = k;
}

static struct search_key *negate(struct parse *p, struct search_key *k)
{
    struct search_key *not = key_new(p, SEARCH_NOT);
    not ->child = k;
    return not ;
}

static struct search_key *flag_key(struct parse *p, uint32_t flag, bool set)
{
    struct search_key *k = key_new(p, SEARCH_FLAG);
    k->flag = flag;
    return set ? k : negate(p, k);
}

/* Keys without arguments: a flag, set or not. flag 0: ALL and OLD match everything, NEW and RECENT nothing, as
 * no message is ever \Recent here (RFC 9051 appendix E takes it away). */
static struct search_key *take_simple(struct parse *p)
{
    static const struct {
        const char *word;
        uint32_t flag;
        bool set;
    } table[] = {
        {"ALL", 0, true},
        {"OLD", 0, true},
        {"NEW", 0, false},
        {"RECENT", 0, false},
        {"ANSWERED", FLAG_ANSWERED, true},
        {"DELETED", FLAG_DELETED, true},
        {"DRAFT", FLAG_DRAFT, true},
        {"FLAGGED", FLAG_FLAGGED, true},
        {"SEEN", FLAG_SEEN, true},
        {"UNANSWERED", FLAG_ANSWERED, false},
        {"UNDELETED", FLAG_DELETED, false},
        {"UNDRAFT", FLAG_DRAFT, false},
        {"UNFLAGGED", FLAG_FLAGGED, false},
        {"UNSEEN", FLAG_SEEN, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!imap_args_word(p->a, table[i].word))
            continue;
        if (table[i].flag == 0)
            return key_new(p, table[i].set ? SEARCH_AND : SEARCH_NONE);
        return flag_key(p, table[i].flag, table[i].set);
    }
    return NULL;
}

/* Keys with one date, number or text. */
static struct search_key *take_with_value(struct parse *p)
{
    static const struct {
        const char *word;
        enum search_kind kind;
        int field;
    } table[] = {
        {"BEFORE", SEARCH_BEFORE, 0},
        {"ON", SEARCH_ON, 0},
        {"SINCE", SEARCH_SINCE, 0},
        {"SENTBEFORE", SEARCH_SENTBEFORE, 0},
        {"SENTON", SEARCH_SENTON, 0},
        {"SENTSINCE", SEARCH_SENTSINCE, 0},
        {"LARGER", SEARCH_LARGER, 0},
        {"SMALLER", SEARCH_SMALLER, 0},
        {"FROM", SEARCH_FIELD, MIME_FROM},
        {"TO", SEARCH_FIELD, MIME_TO},
        {"CC", SEARCH_FIELD, MIME_CC},
        {"BCC", SEARCH_FIELD, MIME_BCC},
        {"SUBJECT", SEARCH_FIELD, MIME_SUBJECT},
        {"BODY", SEARCH_BODY, 0},
        {"TEXT", SEARCH_TEXT, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!imap_args_word(p->a, table[i].word))
            continue;
        struct search_key *k = key_new(p, table[i].kind);
        k->field = table[i].field;
        if (k->kind == SEARCH_LARGER || k->kind == SEARCH_SMALLER) {
            imap_args_space(p->a);
            imap_args_number(p->a, INT64_MAX, &k->number);
        } else if (k->kind >= SEARCH_FIELD) {
            take_needle(p, k);
        } else {
            imap_args_space(p->a);
            imap_args_date(p->a, &k->day);
        }
        return k;
    }
    return NULL;
}

/* MODSEQ [entry-name SP entry-type-req SP] mod-sequence-valzer; flags have no sequences of their own here. */
static struct search_key *take_modseq(struct parse *p)
{
    struct search_key *k = key_new(p, SEARCH_MODSEQ);
    p->s->has_modseq = true;
    imap_args_space(p->a);
    if (imap_args_peek(p->a) == '"') {
        imap_args_string(p->a);
        imap_args_space(p->a);
        imap_args_atom(p->a);
        imap_args_space(p->a);
    }
    imap_args_number(p->a, INT64_MAX, &k->number);
    return k;
}

/* An object id as FETCH writes it: "E" and hexadecimal digits. Others are nobody's. */
static struct search_key *take_emailid(struct parse *p)
{
    struct search_key *k = key_new(p, SEARCH_EMAILID);
    imap_args_space(p->a);
    struct slice id = imap_args_astring(p->a);
    if (id.n < 2 || id.n > 17 || id.p[0] != 'E')
        k->kind = SEARCH_NONE;
    for (size_t i = 1; i < id.n && k->kind == SEARCH_EMAILID; i++) {
        const char *digits = "0123456789abcdef", *at = id.p[i] ? strchr(digits, id.p[i]) : NULL;
        if (at == NULL)
            k->kind = SEARCH_NONE;
        else
            k->number = k->number << 4 | (uint64_t)(at - digits);
    }
    return k;
}

static struct search_key *take_keyword(struct parse *p)
{
    struct search_key *k = key_new(p, SEARCH_KEYWORD);
    imap_args_space(p->a);
    k->name = imap_args_atom(p->a);
    return k;
}

/* Some fields are in the summary as they are in the header: no body has to be read for them. */
static struct search_key *take_header(struct parse *p)
{
    static const struct {
        const char *name;
        int field;
    } table[] = {{"Message-ID", MIME_MESSAGE_ID}, {"In-Reply-To", MIME_IN_REPLY_TO}, {"Subject", MIME_SUBJECT}};
    struct search_key *k = key_new(p, SEARCH_HEADER);
    imap_args_space(p->a);
    k->name = imap_args_astring(p->a);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (slice_ieq(k->name, slice_str(table[i].name))) {
            k->kind = SEARCH_FIELD;
            k->field = table[i].field;
        }
    take_needle(p, k);
    return k;
}

static struct search_key *take_key(struct parse *p);

static struct search_key *take_list(struct parse *p)
{
    struct search_key *all = key_new(p, SEARCH_AND), **at = &all->child;
    do {
        *at = take_key(p);
        at = &(*at)->next;
    } while (p->a->error == NULL && imap_args_try(p->a, ' '));
    return all;
}

static struct search_key *take_operator(struct parse *p)
{
    if (imap_args_try(p->a, '(')) {
        struct search_key *list = take_list(p);
        imap_args_char(p->a, ')');
        return list;
    }
    if (imap_args_word(p->a, "NOT")) {
        imap_args_space(p->a);
        return negate(p, take_key(p));
    }
    if (imap_args_word(p->a, "OR")) {
        struct search_key * or = key_new(p, SEARCH_OR);
        imap_args_space(p->a);
        or->child = take_key(p);
        imap_args_space(p->a);
        or->child->next = take_key(p);
        return or ;
    }
    return NULL;
}

static struct search_key *take_other(struct parse *p)
{
    struct search_key *k = NULL;
    int c = imap_args_peek(p->a);
    if ((c >= '0' && c <= '9') || c == '*' || c == '$') {
        k = key_new(p, SEARCH_SET);
        take_set(p, k, false);
    } else if (imap_args_word(p->a, "UID")) {
        k = key_new(p, SEARCH_SET);
        imap_args_space(p->a);
        take_set(p, k, true);
    } else if (imap_args_word(p->a, "KEYWORD")) {
        k = take_keyword(p);
    } else if (imap_args_word(p->a, "UNKEYWORD")) {
        k = negate(p, take_keyword(p));
    } else if (imap_args_word(p->a, "HEADER")) {
        k = take_header(p);
    } else if (imap_args_word(p->a, "MODSEQ")) {
        k = take_modseq(p);
    } else if (imap_args_word(p->a, "EMAILID")) {
        k = take_emailid(p);
    } else if (imap_args_word(p->a, "THREADID")) { /* messages have none */
        imap_args_space(p->a);
        imap_args_astring(p->a);
        k = key_new(p, SEARCH_NONE);
    }
    return k;
}

/* Never NULL; a wrong key leaves the error in p->a. */
static struct search_key *take_key(struct parse *p)
{
    if (p->depth == IMAP_NESTING_MAX) {
        imap_args_fail(p->a, "Search is nested too deep");
        return key_new(p, SEARCH_NONE);
    }
    p->depth++;
    struct search_key *k = take_operator(p);
    if (k == NULL)
        k = take_simple(p);
    if (k == NULL)
        k = take_with_value(p);
    if (k == NULL)
        k = take_other(p);
    p->depth--;
    if (k != NULL)
        return k;
    imap_args_fail(p->a, "Unknown search key");
    return key_new(p, SEARCH_NONE);
}

static bool take_returns(struct imap_args *a, struct search *s)
{
    static const struct {
        const char *word;
        unsigned bit;
    } table[] = {
        {"MIN", RETURN_MIN}, {"MAX", RETURN_MAX}, {"ALL", RETURN_ALL}, {"COUNT", RETURN_COUNT}, {"SAVE", RETURN_SAVE}};
    s->has_return = true;
    imap_args_space(a);
    imap_args_char(a, '(');
    if (!imap_args_try(a, ')')) {
        do {
            size_t i = 0;
            while (i < sizeof table / sizeof *table && !imap_args_word(a, table[i].word))
                i++;
            if (i == sizeof table / sizeof *table)
                return imap_args_fail(a, "Unknown search return option");
            s->returns |= table[i].bit;
        } while (imap_args_try(a, ' '));
        imap_args_char(a, ')');
    }
    if (s->returns == 0)
        s->returns = RETURN_ALL;
    return imap_args_space(a);
}

static void cleanup_parsed(struct imap *im)
{
    search_close(im->data);
}

bool imap_search_parse(struct imap *im, struct imap_args *a)
{
    struct search *s = im->data = arena_alloc(&im->arena, sizeof *s);
    struct parse p = {.a = a, .s = s};
    im->cleanup = cleanup_parsed;
    imap_args_space(a);
    if (imap_args_word(a, "RETURN") && !take_returns(a, s))
        return false;
    if (imap_args_word(a, "CHARSET")) {
        imap_args_space(a);
        struct slice charset = imap_args_astring(a);
        s->bad_charset = !slice_ieq(charset, SLICE_LITERAL("UTF-8")) && !slice_ieq(charset, SLICE_LITERAL("US-ASCII"));
        if (s->bad_charset && a->error == NULL) { /* the keys cannot be read then */
            a->at = a->in.n;
            return true;
        }
        imap_args_space(a);
    }
    s->root = take_list(&p);
    im->condstore |= s->has_modseq;
    return a->error == NULL;
}
