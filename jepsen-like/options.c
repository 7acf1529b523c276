#include "jepsen-like/options.h"

#include "jepsen-like/nemesis.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char help[] =
    "jepsen-like/run: real maild processes under faults, checked from outside. Run it as root.\n\n"
    "  --smoke            about 2 minutes: every fault at least three times, short\n"
    "  --full             45 minutes\n"
    "  --seconds N        faults for so long\n"
    "  --fault A,B        these faults alone        --list-faults tells the names\n"
    "  --no-faults        none: the workloads alone\n"
    "  --workload A,B     of set reg tok sess pop life que: these alone\n"
    "  --seed N           of the faults' and clients' choices (default: the time)\n"
    "  --build DIR        folder of maild and mailctl\n"
    "  --maild FILE       this maild instead\n"
    "  --next FILE        a maild of another build: nodes are upgraded to it and back\n"
    "  --busy             clients pause as little as they can\n"
    "  --unsafe-no-fsync  whatever nodes sync is not synced: the test must fail\n"
    "  --dir DIR          for the nodes' data and logs, the history and the clients' dumps\n\n"
    "Exit codes: 0 PASS, 1 FAIL, 2 the test could not run.\n";

static const struct options smoke = {.seconds = 75,
                                     .seconds_max = 420,
                                     .fault_ms = 700,
                                     .calm_ms = 60,
                                     .rounds_min = 3,
                                     .delivered_min = 2000,
                                     .disk_mb = 1024,
                                     .pace = 1,
                                     .smoke = true};
static const struct options full = {.seconds = 2600,
                                    .seconds_max = 3600,
                                    .fault_ms = 8000,
                                    .calm_ms = 3000,
                                    .rounds_min = 3,
                                    .delivered_min = 20000,
                                    .disk_mb = 6144,
                                    .pace = 3};

static void preset(struct options *o, const struct options *from)
{
    o->seconds = from->seconds;
    o->seconds_max = from->seconds_max;
    o->fault_ms = from->fault_ms;
    o->calm_ms = from->calm_ms;
    o->rounds_min = from->rounds_min;
    o->delivered_min = from->delivered_min;
    o->disk_mb = from->disk_mb;
    o->pace = from->pace;
    o->smoke = from->smoke;
}

void options_parse(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"smoke", no_argument, NULL, 's'},           {"full", no_argument, NULL, 'f'},
        {"seconds", required_argument, NULL, 'n'},   {"fault", required_argument, NULL, 'F'},
        {"no-faults", no_argument, NULL, '0'},       {"workload", required_argument, NULL, 'w'},
        {"seed", required_argument, NULL, 'r'},      {"build", required_argument, NULL, 'b'},
        {"dir", required_argument, NULL, 'd'},       {"help", no_argument, NULL, 'h'},
        {"list-faults", no_argument, NULL, 'l'},     {"maild", required_argument, NULL, 'm'},
        {"next", required_argument, NULL, 'N'},      {"busy", no_argument, NULL, 'B'},
        {"unsafe-no-fsync", no_argument, NULL, 'u'}, {NULL, 0, NULL, 0},
    };
    *o = (struct options){
        .build = "build/release", .dir = "build/jepsen-like", .nodes = 5, .voters = 3, .seed = (uint64_t)time(NULL)};
    preset(o, &smoke);
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (c) {
        case 's':
            preset(o, &smoke);
            break;
        case 'f':
            preset(o, &full);
            break;
        case 'n':
            o->smoke = false;
            o->seconds = (unsigned)atoi(optarg);
            o->rounds_min = o->delivered_min = 0;
            break;
        case 'F':
            o->fault = optarg;
            break;
        case '0':
            o->no_faults = true;
            break;
        case 'w':
            o->workload = optarg;
            o->delivered_min = 0;
            break;
        case 'm':
            o->maild = optarg;
            break;
        case 'N':
            o->next = optarg;
            break;
        case 'B':
            o->pace = 0;
            break;
        case 'u':
            o->sync_lies = true;
            break;
        case 'r':
            o->seed = strtoull(optarg, NULL, 10);
            break;
        case 'b':
            o->build = optarg;
            break;
        case 'd':
            o->dir = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        case 'l':
            nemesis_list();
            exit(0);
        default:
            fputs("jepsen-like: see --help\n", stderr);
            exit(2);
        }
    }
}
