#include "ctl/run.h"

int main(int argc, char **argv)
{
    return (int)ctl_run(argc, argv);
}
