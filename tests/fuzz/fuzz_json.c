/* A JSON document: what is accepted is written again and reads the same. */
#include "base/json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    auto_json json_t *doc = NULL, *back = NULL;
    AUTO(buf) struct buf again = {0};
    auto_json json_t *string = json_from_str(text); /* any bytes */
    assert(json_is_string(string));
    if (json_parse(text, &doc, NULL) != OK)
        return 0;
    auto_free char *formatted = json_format(doc);
    assert(formatted != NULL && json_parse(str_from(formatted), &back, NULL) == OK && json_equal(doc, back));
    json_add_to(&again, doc, true);
    (void)json_member_str(doc, "a");
    return 0;
}
