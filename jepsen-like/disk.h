/* A disk of its own for each node: an ext4 image on a loop device, mounted where this process and its children alone
 * see it. The kernel unmounts it and frees the device with the last of them. */
#ifndef MERLION_JEPSEN_DISK_H
#define MERLION_JEPSEN_DISK_H

#include <stdbool.h>
#include <stdint.h>

/* From here on mounts are this process's own. Before any thread is made. Returns whether disks can be made. */
bool disks_start(void);

/* A new, empty disk of so many MiB, mounted at the folder; its image is beside it. Returns whether it is there. */
bool disk_mount(const char *folder, unsigned mb);

/* What was written until now is on it. */
void disk_sync(const char *folder);

/* The disk stops: nothing that was not synced is ever written. What uses it gets errors. */
void disk_power_cut(const char *folder);
/* It is mounted again as it was then, once nothing uses it any more. */
void disk_power_on(const char *folder);

/* Fills the disk of the folder but for leave_kb. */
void disk_fill(const char *folder, unsigned leave_kb);
/* Undoes it. */
void disk_drain(const char *folder);

#endif
