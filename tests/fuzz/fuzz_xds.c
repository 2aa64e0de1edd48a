/* First byte 'a': messages of an Envoy on a delta stream, each behind two bytes of length; 'b': a resource's JSON form
 * as we write it, for each type. */
#include "base/json.h"
#include "edge/xds/delta.h"
#include "edge/xds/proto_json.h"
#include "fuzz.h"

static void stream(struct str rest)
{
    struct catalogue *c = catalogue_new();
    struct delta *d = delta_new();
    (void)catalogue_put(c, XDS_CLUSTER, STR("a"), STR("\n\1a"), STR(""));
    (void)catalogue_put(c, XDS_VIRTUAL_HOST, STR("edge/a.test"), STR("\n\1v"), STR("a"));
    (void)catalogue_put_absent(c, XDS_SECRET, STR("x"));
    while (rest.len >= 2) {
        size_t n = (size_t)(uint8_t)rest.ptr[0] << 8 | (uint8_t)rest.ptr[1];
        struct delta_event event;
        n = n < rest.len - 2 ? n : rest.len - 2;
        enum err rc = delta_receive(d, str_slice(rest, 2, 2 + n), &event, NULL);
        rest = str_slice(rest, 2 + n, rest.len);
        if (rc != OK)
            break;
        for (int i = 0; i < 20; i++) {
            AUTO(buf) struct buf out = {0};
            if (!delta_next(d, c, &out))
                break;
            assert(out.len > 0);
        }
    }
    delta_free(d);
    catalogue_free(c);
}

static void resource(struct str rest)
{
    auto_json json_t *doc = NULL;
    if (json_parse(rest, &doc, NULL) != OK)
        return;
    for (int type = 0; type < XDS_TYPES_N; type++) {
        AUTO(buf) struct buf out = {0};
        (void)!proto_json_encode(str_from(xds_type_url((enum xds_type)type)), doc, &out, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t choice;
    struct str rest;
    if (!fuzz_choose(data, size, 2, &choice, &rest))
        return 0;
    if (choice == 0)
        stream(rest);
    else
        resource(rest);
    return 0;
}
