/* bench-batch FOLDER ROUNDS: what a command costs when 64 are in flight in one process, against one at a time.
 *
 * In turn: 64 commands, each queued when the one before it was answered; 64 commands queued at once, which the process
 * decides and appends as one batch. Each is decided on the model and adds one event like those of the platform's own
 * log; both go through the whole runtime (loop, pool, decision, append, fold, answer) into one log. Prints
 * {"batched_us":[…],"single_us":[…]}, microseconds a command. Not installed; bench/run calls it. */
#include <stdio.h>
#include <uv.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "base/random.h"

/* An InstanceStatusChange: the commonest event of a log. */
#define PAYLOAD                                                                                                        \
    "{\"instanceId\":\"01900000-0000-7000-8000-000000000011\",\"status\":\"running\",\"health\":\"NOMINAL\","          \
    "\"cause\":\"\",\"bootId\":\"0b5a2f6e-6a1e-4c58-9b7e-4c6f4c2b1a90/1\",\"reportSeq\":17}"
enum { IN_FLIGHT = 64, ROUNDS_MAX = 10000 };

struct bench {
    uv_loop_t loop;
    struct app *app;
    uint64_t folded, folded_before; /* the model, and as it was before a trial */
    int left, failed;               /* of this round, to be queued one by one; not answered yet */
    int open;
    bool is_closed;
};

static enum err apply(void *model, const struct store_record *record, struct errinfo *err)
{
    struct bench *b = model;
    (void)record;
    (void)err;
    b->folded++;
    return OK;
}

static void trial_begin(void *model)
{
    struct bench *b = model;
    b->folded_before = b->folded;
}

static void trial_end(void *model)
{
    struct bench *b = model;
    b->folded = b->folded_before;
}

static enum err decide(void *ctx, const void *model, struct app_events *ret_events, struct errinfo *err)
{
    struct id id;
    (void)ctx;
    (void)model;
    (void)err;
    random_bytes(id.bytes, sizeof(id.bytes));
    app_events_add(ret_events, STR("InstanceStatusChange"), id, STR(PAYLOAD));
    return OK;
}

static void done(void *ctx, enum err rc, const struct app_position *at, const struct errinfo *err)
{
    struct bench *b = ctx;
    (void)at;
    if (rc != OK)
        (void)fprintf(stderr, "bench-batch: %s\n", err->msg);
    b->failed += rc != OK;
    b->open--;
    if (b->left > 0) {
        b->left--;
        b->open++;
        app_emit(b->app, decide, b, done);
    }
}

static int64_t round_us(struct bench *b, int at_once)
{
    int64_t from_us = clock_mono_us();
    b->left = IN_FLIGHT - at_once;
    b->open = at_once;
    for (int i = 0; i < at_once; i++)
        app_emit(b->app, decide, b, done);
    while (b->open > 0)
        (void)uv_run(&b->loop, UV_RUN_ONCE);
    return clock_mono_us() - from_us;
}

static void on_closed(void *ctx)
{
    ((struct bench *)ctx)->is_closed = true;
}

static enum err open_app(struct bench *b, const char *folder, struct errinfo *err)
{
    auto_free char *spec = mem_printf("files;path=%s/log", folder);
    struct store *log = NULL;
    enum err rc = store_open(spec, NULL, &log, NULL, err);
    if (rc != OK)
        return rc;
    struct app_options o = {.name = "bench",
                            .model = b,
                            .apply = apply,
                            .trial_begin = trial_begin,
                            .trial_end = trial_end,
                            .inputs = &log,
                            .inputs_n = 1};
    rc = app_open(&b->loop, &o, &b->app, err);
    if (rc != OK)
        store_close(log);
    return rc;
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    struct errinfo err = {0};
    uint64_t rounds = 0;
    if (argc != 3 || !str_parse_u64(str_from(argv[2]), ROUNDS_MAX, &rounds) || uv_loop_init(&b.loop) != 0) {
        (void)fprintf(stderr, "usage: bench-batch FOLDER ROUNDS\n");
        return 2;
    }
    enum err rc = open_app(&b, argv[1], &err);
    if (rc != OK) {
        (void)fprintf(stderr, "bench-batch: %s\n", err.msg);
        return err_exit_code(rc);
    }
    json_t *batched = json_array(), *single = json_array();
    (void)round_us(&b, 1); /* not counted: the first appends make the segment */
    for (uint64_t i = 0; i < rounds; i++) {
        json_array_append_new(single, json_real((double)round_us(&b, 1) / IN_FLIGHT));
        json_array_append_new(batched, json_real((double)round_us(&b, IN_FLIGHT) / IN_FLIGHT));
    }
    auto_json json_t *doc = json_pack("{s:o,s:o}", "batched_us", batched, "single_us", single);
    auto_free char *text = json_format(doc);
    app_close(b.app, on_closed, &b);
    while (!b.is_closed)
        (void)uv_run(&b.loop, UV_RUN_ONCE);
    (void)uv_loop_close(&b.loop);
    if (b.failed > 0)
        return 1;
    (void)printf("%s\n", text);
    return 0;
}
