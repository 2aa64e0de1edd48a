/* A bootstrap log as somebody wrote it: each line is judged, and the instances that it places are found or refused. */
#include "bootstrap/prod_bootstrap.h"
#include "fuzz.h"

static void on_line(void *ctx, const struct bootstrap_line *l)
{
    uint64_t *bad = ctx;
    *bad += !l->ok;
    assert(l->ok || (l->cause != NULL && l->cause[0] != '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) struct arena a = {0};
    struct bootstrap_instance *instances;
    uint64_t seen = 0, bad = 0;
    size_t n = 0;
    struct fuzz_file file;
    fuzz_file_init(&file, (struct str){(const char *)data, size});
    if (bootstrap_check(file.path, on_line, &seen, &bad, NULL) == OK)
        assert(bad == seen);
    (void)!bootstrap_instances(file.path, &a, &instances, &n, NULL);
    fuzz_file_done(&file);
    return 0;
}
