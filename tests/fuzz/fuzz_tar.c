/* A build context: whatever the tar says, nothing lands outside its folder, which has a neighbour that must stay as it
 * is. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build/context.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct context_limits LIMITS = {.size_bytes_max = 1 << 20, .entries_max = 50};
    const char *folder = fuzz_folder();
    char inside[128], outside[128], secret[160];
    struct context_facts facts = {0};
    struct fuzz_file file;
    struct stat st;
    (void)snprintf(inside, sizeof(inside), "%s/inside", folder);
    (void)snprintf(outside, sizeof(outside), "%s/outside", folder);
    (void)snprintf(secret, sizeof(secret), "%s/secret", outside);
    assert(mkdir(inside, 0700) == 0 && mkdir(outside, 0700) == 0);
    fuzz_write(outside, "secret", STR("secret"));
    fuzz_file_init(&file, (struct str){(const char *)data, size});
    if (context_unpack(file.fd, inside, &LIMITS, &facts, NULL) == OK) {
        assert(facts.entries <= LIMITS.entries_max && facts.size_bytes <= LIMITS.size_bytes_max);
        (void)!context_check_dockerfile(inside, "Dockerfile", NULL);
    }
    fuzz_file_done(&file);
    assert(stat(outside, &st) == 0 && st.st_nlink == 2);
    assert(stat(secret, &st) == 0 && st.st_nlink == 1 && st.st_size == 6);
    assert(stat(folder, &st) == 0 && st.st_nlink == 4); /* and nothing beside the two */
    return 0;
}
