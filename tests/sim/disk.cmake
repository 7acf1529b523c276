# What disk_*.c stands in for: files, folders, LMDB.
set(SIM_DISK_WRAP open openat close write pwrite pwritev fsync fdatasync ftruncate fallocate posix_fadvise
    rename renameat unlink unlinkat mkdir rmdir opendir closedir statvfs fstatvfs
    mdb_env_open mdb_env_close mdb_env_set_mapsize mdb_env_set_maxreaders mdb_env_sync
    mdb_txn_begin mdb_txn_commit mdb_txn_abort)
