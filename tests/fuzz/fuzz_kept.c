/* Files that an earlier run left, perhaps torn: the output of an instance on its node ('a'; what was acknowledged 'b'),
 * operators' tokens ('c'), an installation's own description ('d'). */
#include <stdio.h>
#include <sys/stat.h>

#include "control/operator_token.h"
#include "fuzz.h"
#include "install/installation.h"
#include "node/agent/line_log.h"

/* Whatever is in the files, a line that is added now is shipped, and is the last one. */
static void line_log(const char *current, struct str bytes)
{
    static const struct id INSTANCE = {{1}};
    const char *folder = fuzz_folder();
    struct line_log *l;
    bool was_shipped = false;
    int64_t seq = 0;
    fuzz_write(folder, current, bytes);
    if (strcmp(current, "current.ndjson") != 0)
        fuzz_write(folder, "current.ndjson", STR("{\"seq\":5,\"text\":\"five\"}\n"));
    assert(line_log_open(folder, INSTANCE, 0, &l, NULL) == OK);
    line_log_add(l, "stdout", STR("a new line"), 1);
    assert(strcmp(line_log_last(l), "a new line") == 0);
    for (int i = 0; i < 3 && !was_shipped; i++) {
        AUTO(buf) struct buf out = {0};
        if (!line_log_batch(l, &out, &seq))
            break;
        was_shipped = memmem(out.ptr, out.len, "a new line", 10) != NULL;
        line_log_ack(l, seq);
    }
    assert(was_shipped && !line_log_has_news(l));
    AUTO(buf) struct buf tail = {0};
    line_log_tail(l, 4096, &tail);
    line_log_close(l);
}

static void lines(struct str bytes)
{
    line_log("current.ndjson", bytes);
}

static void acknowledged(struct str bytes)
{
    line_log("acked", bytes);
}

static void tokens(struct str bytes)
{
    struct fuzz_file file;
    fuzz_file_init(&file, bytes);
    struct operator_tokens t = {.file = file.path};
    assert(!operator_tokens_match(&t, STR("slip_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")));
    assert(!operator_tokens_match(&t, (struct str){0}));
    operator_tokens_done(&t);
    fuzz_file_done(&file);
}

static void installation(struct str bytes)
{
    const char *folder = fuzz_folder();
    struct home h = {0};
    fuzz_write(folder, "installation.json", bytes);
    if (home_open(folder, &h, NULL) != OK)
        return;
    for (size_t i = 0; i < h.inst.nodes.n; i++) {
        char text[192];
        (void)home_fabric_address(&h, home_node(&h, i), text);
        (void)home_agent_url(&h, home_node(&h, i), text);
        (void)home_namespace(&h, home_node(&h, i), text);
    }
    home_close(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const ALL[])(struct str) = {lines, acknowledged, tokens, installation};
    size_t choice;
    struct str rest;
    if (fuzz_choose(data, size, sizeof(ALL) / sizeof(ALL[0]), &choice, &rest))
        ALL[choice](rest);
    return 0;
}
