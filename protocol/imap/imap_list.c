/* LIST with its selection and return options (RFC 9051 6.3.9, RFC 5258, RFC 5819, RFC 6154), and LSUB (RFC 3501 6.3.9).
 */
#include "protocol/imap/imap_list.h"

#include "protocol/imap/imap_names.h"

enum { PATTERNS_MAX = 64 };

struct list {
    bool lsub;
    bool want_subscribed, want_special, recursive;     /* selection */
    bool tell_subscribed, tell_children, tell_special; /* return */
    uint32_t status;                                   /* return STATUS */
    bool extended;
    struct slice reference;
    struct slice patterns[PATTERNS_MAX];
    unsigned n;
    struct imap *im;
    struct imap_names parents; /* answered because of children: (RECURSIVEMATCH, LSUB with %) */
};

static const struct {
    enum special_use use;
    const char *name;
} uses[] = {
    {USE_ARCHIVE, "Archive"}, {USE_DRAFTS, "Drafts"}, {USE_FLAGGED, "Flagged"},
    {USE_JUNK, "Junk"},       {USE_SENT, "Sent"},     {USE_TRASH, "Trash"},
};

enum special_use imap_special_use_parse(struct slice name)
{
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        if (slice_ieq(name, slice_str(uses[i].name)))
            return uses[i].use;
    return USE_NONE;
}

/* ---- parsing ---- */

static bool take_select_options(struct imap_args *a, struct list *l)
{
    bool base = false;
    if (imap_args_try(a, ')'))
        return true;
    do {
        if (imap_args_word(a, "SUBSCRIBED"))
            base = l->want_subscribed = l->tell_subscribed = true;
        else if (imap_args_word(a, "SPECIAL-USE"))
            base = l->want_special = l->tell_special = true;
        else if (imap_args_word(a, "RECURSIVEMATCH"))
            l->recursive = true;
        else if (!imap_args_word(a, "REMOTE")) /* there are none */
            return imap_args_fail(a, "Unknown selection option");
    } while (imap_args_try(a, ' '));
    if (l->recursive && !base)
        return imap_args_fail(a, "RECURSIVEMATCH needs another option");
    return imap_args_char(a, ')');
}

static bool take_return_options(struct imap *im, struct imap_args *a, struct list *l)
{
    imap_args_char(a, '(');
    if (imap_args_try(a, ')'))
        return true;
    do {
        if (imap_args_word(a, "SUBSCRIBED"))
            l->tell_subscribed = true;
        else if (imap_args_word(a, "CHILDREN"))
            l->tell_children = true;
        else if (imap_args_word(a, "SPECIAL-USE"))
            l->tell_special = true;
        else if (!imap_args_word(a, "STATUS"))
            return imap_args_fail(a, "Unknown return option");
        else if (!imap_args_space(a) || !imap_status_items_parse(im, a, &l->status))
            return false;
    } while (imap_args_try(a, ' '));
    return imap_args_char(a, ')');
}

static bool take_pattern(struct imap *im, struct imap_args *a, struct list *l)
{
    struct slice in = imap_args_list_mailbox(a), pattern;
    if (a->error != NULL)
        return false;
    if (l->n == PATTERNS_MAX)
        return imap_args_fail(a, "Too many patterns");
    if (imap_pattern_read(&im->arena, im->rev2, in, &pattern) != 0)
        return imap_args_fail(a, "Malformed pattern");
    struct buf whole = {0};
    buf_append_slice(&whole, l->reference);
    buf_append_slice(&whole, pattern);
    if (buf_len(&whole) > 2 * IMAP_NAME_MAX)
        imap_args_fail(a, "Pattern is too long");
    else
        l->patterns[l->n++] = arena_copy(&im->arena, buf_slice(&whole));
    buf_close(&whole);
    return a->error == NULL;
}

static bool take_reference(struct imap *im, struct imap_args *a, struct list *l)
{
    struct slice in = imap_args_astring(a);
    imap_args_space(a);
    if (a->error != NULL)
        return false;
    if (imap_pattern_read(&im->arena, im->rev2, in, &l->reference) != 0)
        return imap_args_fail(a, "Malformed reference");
    return true;
}

bool imap_list_parse(struct imap *im, struct imap_args *a)
{
    struct list *l = im->data = arena_alloc(&im->arena, sizeof *l);
    imap_args_space(a);
    if (imap_args_try(a, '(')) {
        l->extended = true;
        if (!take_select_options(a, l) || !imap_args_space(a))
            return false;
    }
    if (!take_reference(im, a, l))
        return false;
    if (imap_args_try(a, '(')) {
        l->extended = true;
        do {
            if (!take_pattern(im, a, l))
                return false;
        } while (imap_args_try(a, ' '));
        imap_args_char(a, ')');
    } else if (!take_pattern(im, a, l)) {
        return false;
    }
    if (!imap_args_try(a, ' '))
        return a->error == NULL;
    l->extended = true;
    if (!imap_args_word(a, "RETURN") || !imap_args_space(a))
        return imap_args_fail(a, "Expected RETURN");
    return take_return_options(im, a, l);
}

bool imap_lsub_parse(struct imap *im, struct imap_args *a)
{
    struct list *l = im->data = arena_alloc(&im->arena, sizeof *l);
    l->lsub = l->want_subscribed = l->recursive = true;
    return imap_args_space(a) && take_reference(im, a, l) && take_pattern(im, a, l);
}

/* ---- answering ---- */

static bool is_matched(const struct list *l, struct slice name)
{
    for (unsigned i = 0; i < l->n; i++)
        if (imap_match(l->patterns[i], name))
            return true;
    return false;
}

static bool is_selected(const struct list *l, const struct mailbox_info *box)
{
    if (l->want_subscribed && !box->subscribed)
        return false;
    if (l->want_special && box->use == USE_NONE)
        return false;
    /* A name that is only subscribed is none for a plain LIST. */
    return box->id != 0 || box->selectable || box->has_children || l->want_subscribed;
}

static void attribute(struct buf *out, const char **space, const char *name)
{
    buf_printf(out, "%s%s", *space, name);
    *space = " ";
}

static void write_attributes(const struct list *l, const struct mailbox_info *box)
{
    struct buf *out = &l->im->s.out;
    const char *space = "";
    bool exists = box->id != 0 && box->selectable;
    if (l->lsub) {
        if (!exists)
            attribute(out, &space, "\\Noselect");
        return;
    }
    if (!exists)
        attribute(out, &space, l->extended || l->im->rev2 ? "\\NonExistent" : "\\Noselect");
    if (l->tell_subscribed && box->subscribed)
        attribute(out, &space, "\\Subscribed");
    /* CHILDREN costs nothing, so it is told always (RFC 3348). */
    attribute(out, &space, box->has_children ? "\\HasChildren" : "\\HasNoChildren");
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        if (box->use == uses[i].use) {
            attribute(out, &space, "\\");
            buf_append_str(out, uses[i].name);
        }
}

static void write_mailbox(struct list *l, const struct mailbox_info *box, bool child_info)
{
    struct buf *out = &l->im->s.out;
    buf_append_str(out, l->lsub ? "* LSUB (" : "* LIST (");
    write_attributes(l, box);
    buf_append_str(out, ") \"/\" ");
    imap_write_name(out, l->im->rev2, box->name);
    if (child_info && !l->lsub)
        buf_append_str(out,
                       l->want_subscribed ? " (\"CHILDINFO\" (\"SUBSCRIBED\"))" : " (\"CHILDINFO\" (\"SPECIAL-USE\"))");
    buf_append_str(out, "\r\n");
    if (l->status != 0 && box->selectable && box->id != 0)
        imap_status_write(l->im, l->status, box);
}

/* Ancestors of a selected name, which is not answered itself, are noted when the pattern matches them. */
static void note_parents(struct list *l, struct slice name)
{
    for (size_t i = name.n; i-- > 0;) {
        struct slice parent = slice_first(name, i);
        if (name.p[i] == '/' && i > 0 && is_matched(l, parent))
            imap_names_note(&l->parents, parent);
    }
}

static bool each_note(void *arg, const struct mailbox_info *box)
{
    struct list *l = arg;
    /* RFC 5258 3.5: CHILDINFO tells of children that match the selection and not the pattern. */
    if (is_selected(l, box) && !is_matched(l, box->name))
        note_parents(l, box->name);
    return true;
}

static bool each_write(void *arg, const struct mailbox_info *box)
{
    struct list *l = arg;
    if (!is_matched(l, box->name))
        return true;
    bool selected = is_selected(l, box), parent = imap_names_take(&l->parents, box->name);
    if (l->lsub && !selected && parent) { /* RFC 3501 6.3.9: not subscribed itself, so \Noselect */
        struct mailbox_info shown = *box;
        shown.selectable = false;
        write_mailbox(l, &shown, false);
    } else if (selected || parent) {
        write_mailbox(l, box, parent);
    }
    return true;
}

void imap_list_run(struct imap *im)
{
    struct list *l = im->data;
    l->im = im;
    l->parents.arena = &im->arena;
    if (!l->extended && l->n == 1 && l->patterns[0].n == l->reference.n) {
        /* An empty pattern asks for the delimiter (RFC 9051 6.3.9). */
        buf_printf(&im->s.out, "* %s (\\Noselect) \"/\" \"\"\r\n", im->command->name);
        imap_finish(im, "OK %s completed", im->command->name);
        return;
    }
    struct backend_view *v = imap_view(im);
    if (l->recursive)
        v->ops->mailbox_each(v, im->account, each_note, l);
    v->ops->mailbox_each(v, im->account, each_write, l);
    v->ops->close(v);
    for (size_t i = 0; i < l->parents.n; i++) { /* parents that are no names themselves */
        struct mailbox_info box = {.name = l->parents.items[i].text, .has_children = true};
        if (!l->parents.items[i].taken)
            write_mailbox(l, &box, true);
    }
    imap_finish(im, "OK %s completed", im->command->name);
}
