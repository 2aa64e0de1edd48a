/* bench-start FOLDER ROUNDS FILE... - how long the control plane takes from its start until it is live, with a
 * checkpoint of its model and without.
 *
 * Each FILE is a log (bench-record makes one); it is copied into a files store in FOLDER (empty). Each round starts a
 * control without workloads twice on each; the two are live with the same model. Prints one JSON document, a list.
 * Not installed; bench/run calls it. */
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

enum { ROUNDS_MAX = 100, HISTORIES_MAX = 4 };

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
    if (cause != NULL && cause->code != ERR_UNAVAILABLE) /* else it is on its way */
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

/* A log, and its starts. */
struct history {
    char *folder, *spec, *state;
    struct start without, with;
    json_t *without_ms, *with_ms;
};

static void history_done(struct history *h)
{
    free(h->folder);
    free(h->spec);
    free(h->state);
    json_decref(h->without_ms);
    json_decref(h->with_ms);
}

static enum err make_folder(const char *path, struct errinfo *err)
{
    return mkdir(path, 0700) == 0 ? OK : err_set_os(err, ERR_IO, errno, "mkdir '%s'", path);
}

static enum err prepare(struct history *h, const char *folder, size_t i, const char *file, struct errinfo *err)
{
    h->folder = mem_printf("%s/%zu", folder, i);
    h->spec = mem_printf("files;path=%s/log", h->folder);
    h->state = mem_printf("%s/state", h->folder);
    h->without = (struct start){.spec = h->spec};
    h->with = (struct start){.spec = h->spec, .state_folder = h->state};
    h->without_ms = json_array();
    h->with_ms = json_array();
    enum err rc = make_folder(h->folder, err);
    if (rc == OK)
        rc = make_folder(h->state, err);
    if (rc == OK)
        rc = copy_log(file, h->spec, err);
    return rc == OK ? run(&h->with, err) : rc; /* its stop writes the checkpoint */
}

static enum err measure(struct history *h, struct errinfo *err)
{
    enum err rc = run(&h->without, err);
    if (rc == OK)
        rc = run(&h->with, err);
    if (rc == OK && (h->without.seq != h->with.seq || strcmp(h->without.hash, h->with.hash) != 0))
        rc = err_set(err, ERR_CORRUPT, "the two starts have different models");
    json_array_append_new(h->without_ms, json_real((double)h->without.live_us / 1e3));
    json_array_append_new(h->with_ms, json_real((double)h->with.live_us / 1e3));
    return rc;
}

static json_t *tell(const struct history *h)
{
    auto_free char *checkpoint = mem_printf("%s/checkpoint", h->state);
    struct stat st = {0};
    (void)stat(checkpoint, &st);
    return json_pack("{s:I,s:I,s:O,s:O}", "events", (json_int_t)h->with.seq, "checkpoint_bytes", (json_int_t)st.st_size,
                     "without_ms", h->without_ms, "with_ms", h->with_ms);
}

int main(int argc, char **argv)
{
    struct history histories[HISTORIES_MAX] = {0};
    struct errinfo err = {0};
    uint64_t rounds = 0;
    if (argc < 4 || argc > 3 + HISTORIES_MAX || !str_parse_u64(str_from(argv[2]), ROUNDS_MAX, &rounds) || rounds == 0) {
        (void)fprintf(stderr, "usage: bench-start FOLDER ROUNDS FILE...\n");
        return 2;
    }
    size_t n = (size_t)argc - 3;
    enum err rc = OK;
    for (size_t i = 0; rc == OK && i < n; i++)
        rc = prepare(&histories[i], argv[1], i, argv[3 + i], &err);
    for (uint64_t r = 0; r < rounds; r++)
        for (size_t i = 0; rc == OK && i < n; i++)
            rc = measure(&histories[i], &err);
    auto_json json_t *doc = json_array();
    for (size_t i = 0; i < n; i++) {
        if (rc == OK)
            json_array_append_new(doc, tell(&histories[i]));
        history_done(&histories[i]);
    }
    if (rc != OK) {
        (void)fprintf(stderr, "bench-start: %s\n", err.msg);
        return err_exit_code(rc);
    }
    auto_free char *text = json_format(doc);
    (void)printf("%s\n", text);
    return 0;
}
