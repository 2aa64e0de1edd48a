/* A checkpoint file against a log of one event, in memory. One that is believed names that event. */
#include "app/checkpoint.h"
#include "fuzz.h"
#include "store/simulated.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_world *world = store_world_new(1);
    struct store_options options = {.mode = STORE_CREATE, .log = {{1}}, .world = world};
    struct store_event e = {.type = STR("Added"), .id = {{7}}, .payload = STR("{}")};
    struct store_record record;
    struct store *log;
    struct fuzz_file file;
    AUTO(buf) struct buf bytes = {0};
    struct checkpoint c;
    assert(store_open("simulated;name=a", &options, &log, NULL, NULL) == OK);
    assert(store_append(log, (struct store_pos){0, 0}, &e, 1, &record, NULL) == OK);
    fuzz_file_init(&file, (struct str){(const char *)data, size});
    if (checkpoint_load(file.path, log, 1, &bytes, &c, NULL) == OK)
        assert((c.pos.seq == 1 && c.pos.sum == record.e.sum) || (c.pos.seq == 0 && c.pos.sum == 0));
    fuzz_file_done(&file);
    store_close(log);
    store_world_free(world);
    return 0;
}
