/* bench-start FOLDER FILE ROUNDS - how long the control plane takes from its start until it is live, with a checkpoint
 * of its model and without.
 *
 * FILE is a log (bench-record makes one); it is copied into a files store in FOLDER (empty). Each round starts a
 * control without workloads twice; the two are live with the same model. Prints one JSON document. Not installed;
 * bench/run calls it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "app/app.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "control/control.h"
#include "store/store.h"

enum { ROUNDS_MAX = 100 };

struct start {
    const char *spec, *state_folder; /* NULL: without */
    int64_t live_us;                 /* since the start */
    uint64_t seq;
    char hash[HASH_TEXT_SIZE];
};

struct running {
    bool is_live;
    struct errinfo err;
};

static void on_state(void *ctx, bool is_live, const struct errinfo *cause)
{
    struct running *r = ctx;
    r->is_live = is_live;
    if (cause != NULL)
        r->err = *cause;
}

/* Start, be live, stop. */
static enum err run(struct start *s, struct errinfo *err)
{
    static const struct logger ERRORS = {.program = "bench-start", .level_min = LOG_WARN, .fd = 2};
    struct running r = {0};
    struct control *c = NULL;
    uv_loop_t loop;
    int64_t from_us = clock_mono_us();
    (void)uv_loop_init(&loop);
    struct control_options o = {.loop = &loop,
                                .log = &ERRORS,
                                .installation = "bench",
                                .replica = "bench",
                                .event_store = s->spec,
                                .state_folder = s->state_folder,
                                .checkpoint_events = INT64_MAX, /* at the stop only */
                                .on_state = on_state,
                                .ctx = &r};
    enum err rc = control_open(&o, &c, err);
    while (rc == OK && !r.is_live && r.err.code == OK)
        (void)uv_run(&loop, UV_RUN_ONCE);
    s->live_us = clock_mono_us() - from_us;
    if (rc == OK && r.err.code != OK) {
        *err = r.err;
        rc = r.err.code;
    }
    if (c != NULL) {
        s->seq = control_position(c).seq;
        control_model_hash(c, s->hash);
        control_close(c, NULL, NULL);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    return rc;
}

static enum err copy_log(const char *path, const char *to_spec, struct errinfo *err)
{
    auto_free char *from_spec = mem_printf("jsonl;path=%s", path);
    struct store *from = NULL, *to = NULL;
    struct store_copied copied;
    enum err rc = store_open(from_spec, &(struct store_options){.mode = STORE_READ}, &from, NULL, err);
    if (rc == OK)
        rc = store_open(to_spec, NULL, &to, NULL, err);
    if (rc == OK)
        rc = store_copy(from, (struct store_pos){0}, to, &copied, err);
    store_close(from);
    store_close(to);
    return rc;
}

static enum err measure(struct start *without, struct start *with, uint64_t rounds, json_t *doc, struct errinfo *err)
{
    json_t *without_ms = json_array(), *with_ms = json_array();
    json_object_set_new(doc, "without_ms", without_ms);
    json_object_set_new(doc, "with_ms", with_ms);
    enum err rc = run(with, err); /* its stop writes the checkpoint */
    for (uint64_t i = 0; rc == OK && i < rounds; i++) {
        rc = run(without, err);
        if (rc == OK)
            rc = run(with, err);
        if (rc == OK && (without->seq != with->seq || strcmp(without->hash, with->hash) != 0))
            rc = err_set(err, ERR_CORRUPT, "the two starts have different models");
        json_array_append_new(without_ms, json_real((double)without->live_us / 1e3));
        json_array_append_new(with_ms, json_real((double)with->live_us / 1e3));
    }
    json_object_set_new(doc, "events", json_integer((json_int_t)with->seq));
    return rc;
}

int main(int argc, char **argv)
{
    struct errinfo err = {0};
    struct stat st = {0};
    uint64_t rounds = 0;
    if (argc != 4 || !str_parse_u64(str_from(argv[3]), ROUNDS_MAX, &rounds) || rounds == 0) {
        (void)fprintf(stderr, "usage: bench-start FOLDER FILE ROUNDS\n");
        return 2;
    }
    auto_free char *spec = mem_printf("files;path=%s/log", argv[1]), *state = mem_printf("%s/state", argv[1]);
    auto_free char *checkpoint = mem_printf("%s/checkpoint", state);
    auto_json json_t *doc = json_object();
    struct start without = {.spec = spec}, with = {.spec = spec, .state_folder = state};
    enum err rc = mkdir(state, 0700) == 0 ? OK : err_set_os(&err, ERR_IO, errno, "mkdir '%s'", state);
    if (rc == OK)
        rc = copy_log(argv[2], spec, &err);
    if (rc == OK)
        rc = measure(&without, &with, rounds, doc, &err);
    if (rc != OK) {
        (void)fprintf(stderr, "bench-start: %s\n", err.msg);
        return err_exit_code(rc);
    }
    if (stat(checkpoint, &st) == 0)
        json_object_set_new(doc, "checkpoint_bytes", json_integer((json_int_t)st.st_size));
    auto_free char *text = json_format(doc);
    (void)printf("%s\n", text);
    return 0;
}
