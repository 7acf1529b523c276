# What the checks listen to, between the applier and the store: check_hook.c.
set(SIM_CHECK_WRAP store_apply store_apply_nothing store_batch_commit store_import_swap store_set_events)
