/* What a build and an image bring: the OCI configuration, the output of the build, USER against the image's own passwd
 * and group ("user|passwd|group"), a resolv.conf. */
#include "build/egress.h"
#include "build/image_config.h"
#include "build/trace.h"
#include "fuzz.h"
#include "guest/user.h"

static void config(struct str text)
{
    AUTO(arena) struct arena a = {0};
    AUTO(buf) struct buf again = {0};
    struct image_config c;
    if (image_config_parse(text, &a, &c, NULL) != OK)
        return;
    assert(c.entrypoint.n + c.cmd.n > 0);
    fields_encode(&IMAGE_CONFIG_WIRE, &c, &again);
}

static void output(struct str text)
{
    struct trace t = {0};
    struct str line;
    AUTO(buf) struct buf cause = {0};
    while (str_next(&text, '\n', &line))
        trace_add_line(&t, line);
    trace_cause(&t, "exited with code 1", "docker.io", &cause);
    assert(cause.len > 0 && cause.len <= TRACE_CAUSE_SIZE_MAX);
    trace_done(&t);
}

static void user(struct str text)
{
    struct str parts[3] = {0};
    struct user u;
    for (size_t i = 0; i < 3 && str_next(&text, '|', &parts[i]); i++)
        ;
    if (user_find(parts[0], parts[1], parts[2], &u, NULL) == OK)
        assert(u.groups_n <= USER_GROUPS_MAX && strlen(u.home) < sizeof(u.home) && strlen(u.name) < sizeof(u.name));
}

static void resolvers(struct str text)
{
    char found[EGRESS_RESOLVERS_MAX][16];
    size_t n = egress_parse_resolvers(text, found);
    assert(n <= EGRESS_RESOLVERS_MAX);
    for (size_t i = 0; i < n; i++)
        assert(strlen(found[i]) < 16 && strlen(found[i]) > 6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const ALL[])(struct str) = {config, output, user, resolvers};
    size_t choice;
    struct str rest;
    if (fuzz_choose(data, size, sizeof(ALL) / sizeof(ALL[0]), &choice, &rest))
        ALL[choice](rest);
    return 0;
}
