/* The commands of RFC 9051 section 6 and of the extensions in CAPABILITY: the one list of them. */
#include "protocol/imap/imap.h"

enum {
    ANY = IMAP_NOT_AUTHENTICATED | IMAP_AUTHENTICATED | IMAP_SELECTED,
    BEFORE = IMAP_NOT_AUTHENTICATED,
    AUTH = IMAP_AUTHENTICATED | IMAP_SELECTED,
    SELECTED = IMAP_SELECTED,
};

static const struct imap_command commands[] = {
    {"NOOP", ANY, COMMAND_SYNC, imap_no_args, imap_noop_run},
    {"FETCH", SELECTED, COMMAND_NO_EXPUNGE, imap_fetch_parse, imap_fetch_run},
    {"FETCH", SELECTED, COMMAND_UID, imap_fetch_parse, imap_fetch_run},
    {"STORE", SELECTED, COMMAND_NO_EXPUNGE, imap_store_parse, imap_store_run},
    {"STORE", SELECTED, COMMAND_UID, imap_store_parse, imap_store_run},
    {"SEARCH", SELECTED, COMMAND_NO_EXPUNGE, imap_search_parse, imap_search_run},
    {"SEARCH", SELECTED, COMMAND_UID, imap_search_parse, imap_search_run},
    {"COPY", SELECTED, 0, imap_copy_parse, imap_copy_run},
    {"COPY", SELECTED, COMMAND_UID, imap_copy_parse, imap_copy_run},
    {"MOVE", SELECTED, 0, imap_copy_parse, imap_move_run},
    {"MOVE", SELECTED, COMMAND_UID, imap_copy_parse, imap_move_run},
    {"EXPUNGE", SELECTED, 0, imap_no_args, imap_expunge_run},
    {"EXPUNGE", SELECTED, COMMAND_UID, imap_uid_expunge_parse, imap_expunge_run},
    {"IDLE", AUTH, 0, imap_no_args, imap_idle_run},
    {"CHECK", SELECTED, COMMAND_SYNC, imap_no_args, imap_noop_run},
    {"CLOSE", SELECTED, 0, imap_no_args, imap_close_run},
    {"UNSELECT", SELECTED, 0, imap_no_args, imap_unselect_run},
    {"SELECT", AUTH, COMMAND_SYNC, imap_select_parse, imap_select_run},
    {"EXAMINE", AUTH, COMMAND_SYNC, imap_select_parse, imap_examine_run},
    {"APPEND", AUTH, COMMAND_APPEND, imap_append_parse, imap_append_run},
    {"LIST", AUTH, COMMAND_SYNC, imap_list_parse, imap_list_run},
    {"LSUB", AUTH, COMMAND_SYNC, imap_lsub_parse, imap_list_run},
    {"STATUS", AUTH, COMMAND_SYNC, imap_status_parse, imap_status_run},
    {"CREATE", AUTH, 0, imap_create_parse, imap_create_run},
    {"DELETE", AUTH, 0, imap_mailbox_parse, imap_delete_run},
    {"RENAME", AUTH, 0, imap_rename_parse, imap_rename_run},
    {"SUBSCRIBE", AUTH, 0, imap_mailbox_parse, imap_subscribe_run},
    {"UNSUBSCRIBE", AUTH, 0, imap_mailbox_parse, imap_unsubscribe_run},
    {"NAMESPACE", AUTH, 0, imap_no_args, imap_namespace_run},
    {"ENABLE", AUTH, 0, imap_enable_parse, imap_enable_run},
    {"CAPABILITY", ANY, 0, imap_no_args, imap_capability_run},
    {"ID", ANY, 0, imap_id_parse, imap_id_run},
    {"LOGOUT", ANY, 0, imap_no_args, imap_logout_run},
    {"STARTTLS", BEFORE, 0, imap_no_args, imap_starttls_run},
    {"LOGIN", BEFORE, COMMAND_SECRET, imap_login_parse, imap_login_run},
    {"AUTHENTICATE", BEFORE, COMMAND_SECRET, imap_authenticate_parse, imap_authenticate_run},
};

const struct imap_command *imap_command_find(struct slice name, bool uid)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (((commands[i].options & COMMAND_UID) != 0) == uid && slice_ieq(name, slice_str(commands[i].name)))
            return &commands[i];
    return NULL;
}
