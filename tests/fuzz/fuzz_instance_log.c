/* Lines of an instance's output, as a node-agent sends them: what is kept can be read back, line by line. */
#include "base/json.h"
#include "base/own.h"
#include "control/instance_log.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct id INSTANCE = {{1}};
    static char spec[256];
    AUTO(buf) struct buf lines = {0}, found = {0};
    if (instance_log_lines((struct str){(const char *)data, size}, INSTANCE, &lines, NULL) != OK)
        return 0;
    struct bulk *b = NULL;
    struct bulk_cursor c = {.series = "one"};
    int64_t seq = 0, again = 0;
    (void)snprintf(spec, sizeof(spec), "folder;path=%s", fuzz_folder());
    assert(bulk_open(spec, NULL, &b, NULL) == OK);
    assert(bulk_append(b, "one", buf_str(&lines), BULK_ANY, INSTANCE_LOG_SIZE_MAX, &seq, NULL) == OK);
    assert(bulk_append(b, "one", buf_str(&lines), BULK_ANY, INSTANCE_LOG_SIZE_MAX, &again, NULL) == OK);
    assert(seq == again);
    assert(bulk_read(b, &c, BULK_APPEND_SIZE_MAX, &found, NULL) == OK && c.after == seq);
    assert(str_eq(buf_str(&found), buf_str(&lines)));
    struct str rest = buf_str(&found), line;
    while (rest.len > 0 && str_next(&rest, '\n', &line)) {
        auto_json json_t *doc = NULL;
        assert(json_parse(line, &doc, NULL) == OK);
    }
    bulk_close(b);
    return 0;
}
