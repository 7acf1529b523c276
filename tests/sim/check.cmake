# What the checks listen to, between the applier and the store: check_hook.c.
set(SIM_CHECK_WRAP store_apply store_apply_nothing store_batch_commit store_import_swap store_set_events)
# What the product logs goes into the trace, with the host that says it: main.c.
list(APPEND SIM_CHECK_WRAP log_write)
