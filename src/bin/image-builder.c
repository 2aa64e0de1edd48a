/* image-builder: a Dockerfile and its context become a read-only root file system, named by its digest. */
#include <string.h>

#include "build/builder.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--core") == 0)
        return builder_main(0, 3);
    return 2;
}
