/* slipform - the command line: raises an installation, deploys applications, shows what there is. */
#include "cli/command.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
