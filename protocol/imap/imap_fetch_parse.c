/* fetch-att of RFC 9051 section 9, RFC 3501's RFC822 items, modifiers of RFC 7162, and what OBJECTID adds. */
#include "protocol/imap/imap_fetch.h"

static struct fetch_item *item_new(struct fetch *f, enum fetch_kind kind)
{
    struct fetch_item *item = &f->items[f->n++];
    *item = (struct fetch_item){.kind = kind};
    f->need_summary |= kind >= FETCH_ENVELOPE;
    f->need_body |= kind >= FETCH_SECTION;
    return item;
}

void fetch_item_add(struct fetch *f, enum fetch_kind kind)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->items[i].kind == kind)
            return;
    item_new(f, kind);
}

static bool try_prefix(struct imap_args *a, const char *prefix)
{
    if (a->error != NULL || !slice_istarts(slice_from(a->in, a->at), slice_str(prefix)))
        return false;
    a->at += strlen(prefix);
    return true;
}

/* section-part = nz-number *("." nz-number), and the dot before what follows */
static bool take_path(struct imap_args *a, struct fetch_item *item)
{
    item->path = arena_alloc(a->arena, FETCH_PATH_MAX * sizeof *item->path);
    while (imap_args_peek(a) >= '0' && imap_args_peek(a) <= '9') {
        uint64_t n = 0;
        if (item->path_n == FETCH_PATH_MAX)
            return imap_args_fail(a, "Section is nested too deep");
        if (!imap_args_number(a, UINT32_MAX, &n) || n == 0)
            return imap_args_fail(a, "Malformed section");
        item->path[item->path_n++] = (uint32_t)n;
        if (!imap_args_try(a, '.'))
            return true;
        if (imap_args_peek(a) < 0 || imap_args_peek(a) == ']')
            return imap_args_fail(a, "Malformed section");
    }
    return a->error == NULL;
}

static bool take_fields(struct imap_args *a, struct fetch_item *item)
{
    size_t cap = 16;
    item->fields = arena_alloc(a->arena, cap * sizeof *item->fields);
    imap_args_space(a);
    imap_args_char(a, '(');
    do {
        if (item->field_n == IMAP_LIST_MAX)
            return imap_args_fail(a, "Too many header fields");
        if (item->field_n == cap) {
            struct slice *more = arena_alloc(a->arena, 2 * cap * sizeof *more);
            memcpy(more, item->fields, cap * sizeof *more);
            item->fields = more;
            cap *= 2;
        }
        item->fields[item->field_n++] = imap_args_astring(a);
    } while (imap_args_try(a, ' '));
    return imap_args_char(a, ')');
}

static bool take_section_text(struct imap_args *a, struct fetch_item *item)
{
    if (imap_args_peek(a) == ']')
        return true;
    if (try_prefix(a, "HEADER.FIELDS.NOT"))
        item->section = SECTION_FIELDS_NOT;
    else if (try_prefix(a, "HEADER.FIELDS"))
        item->section = SECTION_FIELDS;
    else if (try_prefix(a, "HEADER"))
        item->section = SECTION_HEADER;
    else if (try_prefix(a, "TEXT"))
        item->section = SECTION_TEXT;
    else if (item->path_n > 0 && try_prefix(a, "MIME"))
        item->section = SECTION_MIME;
    else
        return imap_args_fail(a, "Unknown section");
    bool fields = item->section == SECTION_FIELDS || item->section == SECTION_FIELDS_NOT;
    return !fields || take_fields(a, item);
}

/* partial = "<" number64 "." nz-number64 ">" */
static bool take_partial(struct imap_args *a, struct fetch_item *item)
{
    if (!imap_args_try(a, '<'))
        return true;
    item->partial = true;
    imap_args_number(a, INT64_MAX, &item->from);
    imap_args_char(a, '.');
    if (imap_args_number(a, INT64_MAX, &item->count) && item->count == 0)
        return imap_args_fail(a, "Partial of 0 octets");
    return imap_args_char(a, '>');
}

static void write_field_name(struct buf *b, struct slice name)
{
    struct imap_args probe = {.in = name};
    imap_args_astring(&probe);
    if (name.n > 0 && name.p[0] != '"' && name.p[0] != '{' && imap_args_end(&probe))
        buf_append_slice(b, name);
    else
        imap_write_string(b, false, name);
}

/* The item's name as it is answered: BODY[1.2.HEADER.FIELDS (A B)]<0>. */
static struct slice item_name(struct arena *arena, const char *base, const struct fetch_item *item)
{
    static const char *const texts[] = {[SECTION_ALL] = "",
                                        [SECTION_HEADER] = "HEADER",
                                        [SECTION_FIELDS] = "HEADER.FIELDS",
                                        [SECTION_FIELDS_NOT] = "HEADER.FIELDS.NOT",
                                        [SECTION_TEXT] = "TEXT",
                                        [SECTION_MIME] = "MIME"};
    struct buf b = {0};
    buf_printf(&b, "%s[", base);
    for (size_t i = 0; i < item->path_n; i++)
        buf_printf(&b, "%s%u", i ? "." : "", item->path[i]);
    if (item->path_n > 0 && item->section != SECTION_ALL)
        buf_append_byte(&b, '.');
    buf_append_str(&b, texts[item->section]);
    for (size_t i = 0; i < item->field_n; i++) {
        buf_append_str(&b, i ? " " : " (");
        write_field_name(&b, item->fields[i]);
    }
    buf_append_str(&b, item->field_n ? ")]" : "]");
    if (item->partial && item->kind != FETCH_BINARY_SIZE)
        buf_printf(&b, "<%llu>", (unsigned long long)item->from);
    struct slice name = arena_copy(arena, buf_slice(&b));
    buf_close(&b);
    return name;
}

/* What begins with a bracket: BODY[…], BODY.PEEK[…], BINARY…[…]. 1: taken, 0: something else, -1: malformed. */
static int take_bracket(struct imap_args *a, struct fetch *f)
{
    static const struct {
        const char *prefix, *base;
        enum fetch_kind kind;
        bool peek;
    } table[] = {
        {"BODY[", "BODY", FETCH_SECTION, false},
        {"BODY.PEEK[", "BODY", FETCH_SECTION, true},
        {"BINARY[", "BINARY", FETCH_BINARY, false},
        {"BINARY.PEEK[", "BINARY", FETCH_BINARY, true},
        {"BINARY.SIZE[", "BINARY.SIZE", FETCH_BINARY_SIZE, true},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!try_prefix(a, table[i].prefix))
            continue;
        struct fetch_item *item = item_new(f, table[i].kind);
        bool ok = take_path(a, item) && (table[i].kind != FETCH_SECTION || take_section_text(a, item)) &&
                  imap_args_char(a, ']') && (table[i].kind == FETCH_BINARY_SIZE || take_partial(a, item));
        if (!ok)
            return -1;
        item->name = item_name(a->arena, table[i].base, item);
        f->sets_seen |= !table[i].peek;
        return 1;
    }
    return 0;
}

static bool take_word(struct imap *im, struct imap_args *a, struct fetch *f)
{
    static const struct {
        const char *word;
        enum fetch_kind kind;
        enum fetch_section section;
        bool seen;
    } table[] = {
        {"FLAGS", FETCH_FLAGS, 0, false},
        {"UID", FETCH_UID, 0, false},
        {"INTERNALDATE", FETCH_INTERNALDATE, 0, false},
        {"RFC822.SIZE", FETCH_SIZE, 0, false},
        {"ENVELOPE", FETCH_ENVELOPE, 0, false},
        {"BODYSTRUCTURE", FETCH_BODYSTRUCTURE, 0, false},
        {"BODY", FETCH_BODY, 0, false},
        {"MODSEQ", FETCH_MODSEQ, 0, false},
        {"EMAILID", FETCH_EMAILID, 0, false},
        {"THREADID", FETCH_THREADID, 0, false},
        {"RFC822.HEADER", FETCH_SECTION, SECTION_HEADER, false},
        {"RFC822.TEXT", FETCH_SECTION, SECTION_TEXT, true},
        {"RFC822", FETCH_SECTION, SECTION_ALL, true},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!imap_args_word(a, table[i].word))
            continue;
        if (table[i].kind != FETCH_SECTION) {
            fetch_item_add(f, table[i].kind);
            im->condstore |= table[i].kind == FETCH_MODSEQ;
            return true;
        }
        struct fetch_item *item = item_new(f, FETCH_SECTION);
        item->section = table[i].section;
        item->name = slice_str(table[i].word);
        f->sets_seen |= table[i].seen;
        return true;
    }
    return imap_args_fail(a, "Unknown FETCH item");
}

static bool take_item(struct imap *im, struct imap_args *a, struct fetch *f)
{
    if (f->n == FETCH_ITEMS_MAX)
        return imap_args_fail(a, "Too many FETCH items");
    int bracket = take_bracket(a, f);
    return bracket > 0 || (bracket == 0 && take_word(im, a, f));
}

static bool take_macro(struct imap_args *a, struct fetch *f)
{
    bool all = imap_args_word(a, "ALL"), full = !all && imap_args_word(a, "FULL");
    if (!all && !full && !imap_args_word(a, "FAST"))
        return false;
    fetch_item_add(f, FETCH_FLAGS);
    fetch_item_add(f, FETCH_INTERNALDATE);
    fetch_item_add(f, FETCH_SIZE);
    if (all || full)
        fetch_item_add(f, FETCH_ENVELOPE);
    if (full)
        fetch_item_add(f, FETCH_BODY);
    return true;
}

static bool take_modifiers(struct imap *im, struct imap_args *a, struct fetch *f)
{
    if (!imap_args_try(a, ' '))
        return a->error == NULL;
    imap_args_char(a, '(');
    if (!imap_args_word(a, "CHANGEDSINCE") || !imap_args_space(a))
        return imap_args_fail(a, "Unknown FETCH modifier");
    f->changed_only = im->condstore = true;
    imap_args_number(a, INT64_MAX, &f->changed_since);
    if (f->n < FETCH_ITEMS_MAX)
        fetch_item_add(f, FETCH_MODSEQ);
    return imap_args_char(a, ')');
}

bool imap_fetch_parse(struct imap *im, struct imap_args *a)
{
    struct fetch *f = im->data = arena_alloc(&im->arena, sizeof *f);
    if (imap_uid_command(im))
        fetch_item_add(f, FETCH_UID);
    if (!imap_args_space(a) || !imap_args_set(a, &f->set) || !imap_args_space(a))
        return false;
    if (imap_args_try(a, '(')) {
        do {
            if (!take_item(im, a, f))
                return false;
        } while (imap_args_try(a, ' '));
        imap_args_char(a, ')');
    } else if (!take_macro(a, f) && !take_item(im, a, f)) {
        return false;
    }
    return take_modifiers(im, a, f);
}
