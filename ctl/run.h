/* One run of mailctl. */
#ifndef CTL_RUN_H
#define CTL_RUN_H

#include "ctl/options.h"

enum ctl_exit ctl_run(int argc, char **argv);

#endif
