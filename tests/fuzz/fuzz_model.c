/* A log that somebody else may have written: each line is a kind of event (a letter), then its payload. Whatever is
 * folded or refused, the model stays one that can be hashed, planned from, and thrown away. */
#include "event/catalogue.h"
#include "fuzz.h"
#include "platform/plan.h"

static void plan(const struct model *m)
{
    AUTO(arena) struct arena a = {0};
    struct platform_settings settings;
    struct observations seen = {.replicas_n = 1};
    struct id_source ids = {.wall_ms = 1};
    struct plan p = {.events = {.arena = &a}};
    platform_settings_init(&settings);
    model_plan(m, &settings, 1000000, &seen, &ids, &p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size}, line;
    struct model *m = model_new();
    uint8_t hash[32];
    for (int64_t i = 1; str_next(&text, '\n', &line) && i < 100; i++) {
        AUTO(arena) struct arena a = {0};
        struct event e;
        size_t kind;
        struct str payload;
        if (!fuzz_choose((const uint8_t *)line.ptr, line.len, EVENT_KIND_MAX_, &kind, &payload))
            continue;
        const struct event_kind_row *row = event_kind_row((enum event_kind)kind);
        struct envelope record = {.time = {i * 1000000000, 0}, .type = {row->name, row->name_len}, .payload = payload};
        record.id.bytes[0] = (uint8_t)i;
        if (event_decode(&record, &a, &e, NULL) == OK)
            (void)!model_apply(m, &e, NULL);
    }
    model_hash(m, hash);
    plan(m);
    model_free(m);
    return 0;
}
