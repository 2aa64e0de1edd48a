/* Lines of an instance's output, as a node-agent sends them: what is kept can be read back, line by line. */
#include "base/json.h"
#include "control/instance_log.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct id INSTANCE = {{1}};
    struct instance_logs *logs;
    struct str line;
    int64_t seq = 0, again = 0;
    assert(instance_logs_open(fuzz_folder(), &logs, NULL) == OK);
    enum err rc = instance_logs_append(logs, INSTANCE, (struct str){(const char *)data, size}, &seq, NULL);
    assert(rc == OK || rc == ERR_INVALID);
    if (rc == OK) {
        assert(instance_logs_append(logs, INSTANCE, (struct str){(const char *)data, size}, &again, NULL) == OK);
        assert(seq == again);
        struct log_reader *r = log_reader_new(logs, INSTANCE);
        while (log_reader_peek(r, &line)) {
            auto_json json_t *doc = NULL;
            assert(json_parse(line, &doc, NULL) == OK);
            log_reader_next(r);
        }
        log_reader_free(r);
    }
    instance_logs_close(logs);
    return 0;
}
