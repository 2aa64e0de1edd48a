/* Starts of the control plane with a checkpoint of its model: the same model as without, sooner; a checkpoint that does
 * not fit is thrown away and said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "app/app.h"
#include "base/encode.h"
#include "big_model.h"
#include "control/control.h"
#include "folder.h"
#include "os/file.h"
#include "random_events.h"

struct fixture {
    char folder[64], spec[128], log_folder[96], state_folder[96], checkpoint[128];
    struct random_events random;
    struct model *model; /* of what is in the log */
    uint64_t ids;
};

/* One run of a control: from its start to its clean stop. */
struct run {
    uv_loop_t loop;
    struct control *control;
    struct logger log;
    bool is_live, is_closed;
    struct errinfo trouble, stall;
    uint64_t seq, folded_n;
    char hash[HASH_TEXT_SIZE];
};

static void make_log(struct fixture *f)
{
    (void)snprintf(f->spec, sizeof(f->spec), "files;path=%s", f->log_folder);
    model_free(f->model);
    f->model = model_new();
    f->random = random_events(20261122);
    f->random.time_ns = INT64_C(1600000000000000000); /* a store takes no time ahead of its clock */
}

static int setup(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));
    assert_true(scratch_make("/tmp", f->folder, sizeof(f->folder)));
    (void)snprintf(f->log_folder, sizeof(f->log_folder), "%s/log", f->folder);
    (void)snprintf(f->state_folder, sizeof(f->state_folder), "%s/state", f->folder);
    (void)snprintf(f->checkpoint, sizeof(f->checkpoint), "%s/checkpoint", f->state_folder);
    assert_int_equal(mkdir(f->log_folder, 0700), 0);
    assert_int_equal(mkdir(f->state_folder, 0700), 0);
    make_log(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    model_free(f->model);
    (void)scratch_remove(f->folder);
    free(f);
    return 0;
}

/* ---- A log ---- */

static struct store *open_store(const struct fixture *f, struct store_pos *ret_end)
{
    struct store *s = NULL;
    struct errinfo err;
    struct store_batch b = {0};
    if (store_open(f->spec, NULL, &s, NULL, &err) != OK)
        fail_msg("%s", err.msg);
    *ret_end = (struct store_pos){0};
    if (f->model->seq > 0) {
        assert_int_equal(store_read(s, f->model->seq, 1, 0, &b, NULL), OK);
        *ret_end = b.after;
        store_batch_done(&b);
    }
    return s;
}

enum { BATCH_N = 500 };

/* The texts of events are the arena's. */
static void append(struct store *s, struct store_pos *at, struct store_event *events, size_t n)
{
    struct store_record *records = mem_calloc(n, sizeof(*records));
    struct errinfo err;
    if (store_append(s, *at, events, n, records, &err) != OK)
        fail_msg("%s", err.msg);
    *at = (struct store_pos){records[n - 1].seq, records[n - 1].e.sum};
    free(records);
}

/* n more events that the model takes. */
static void grow(struct fixture *f, size_t n)
{
    struct store_pos at;
    struct store *s = open_store(f, &at);
    while (n > 0) {
        AUTO(arena) struct arena a = {0};
        struct store_event events[BATCH_N];
        size_t k = 0;
        while (k < BATCH_N && k < n) {
            AUTO(buf) struct buf payload = {0};
            struct event e = random_event(&f->random, f->model, &a);
            event_encode_payload(&e, &payload);
            struct envelope line = {.time = e.time,
                                    .type = str_from(event_kind_row(e.kind)->name),
                                    .payload = arena_str(&a, buf_str(&payload))};
            if (event_decode(&line, &a, &e, NULL) != OK || model_apply(f->model, &e, NULL) != OK)
                continue;
            random_keep(&f->random, &e);
            events[k++] = (struct store_event){.type = line.type,
                                               .id = counted_id(&f->ids),
                                               .payload = line.payload,
                                               .has_time = true,
                                               .time = e.time};
        }
        append(s, &at, events, k);
        n -= k;
    }
    store_close(s);
}

/* ---- A start and a stop ---- */

static void on_state(void *ctx, bool is_live, const struct errinfo *cause)
{
    struct run *r = ctx;
    r->is_live = is_live;
    if (cause != NULL)
        r->stall = *cause;
}

static void on_closed(void *ctx)
{
    ((struct run *)ctx)->is_closed = true;
}

static struct run *start(const struct fixture *f, bool has_checkpoint, int64_t every)
{
    struct run *r = mem_alloc(sizeof(*r));
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/program.log", f->folder);
    r->log = (struct logger){.program = "tests", .fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    assert_true(r->log.fd >= 0);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    struct control_options o = {.loop = &r->loop,
                                .log = &r->log,
                                .installation = "tests",
                                .replica = "r1",
                                .event_store = f->spec,
                                .state_folder = has_checkpoint ? f->state_folder : NULL,
                                .checkpoint_events = every,
                                .on_state = on_state,
                                .ctx = r};
    struct errinfo err;
    if (control_open(&o, &r->control, &err) != OK)
        fail_msg("%s", err.msg);
    while (!r->is_live) {
        (void)uv_run(&r->loop, UV_RUN_ONCE);
        if (r->stall.msg[0] != '\0')
            fail_msg("%s", r->stall.msg);
    }
    const struct errinfo *trouble = app_snapshot_trouble(control_app(r->control));
    if (trouble != NULL)
        r->trouble = *trouble;
    r->seq = control_position(r->control).seq;
    r->folded_n = app_counts(control_app(r->control)).events_in;
    control_model_hash(r->control, r->hash);
    return r;
}

static void stop(struct run *r)
{
    control_close(r->control, on_closed, r);
    while (uv_run(&r->loop, UV_RUN_ONCE) != 0) {
    }
    assert_true(r->is_closed);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    (void)close(r->log.fd);
    free(r);
}

static void assert_model(const struct fixture *f, const struct run *r)
{
    uint8_t hash[HASH_SIZE];
    char text[HASH_TEXT_SIZE];
    model_hash(f->model, hash);
    hex_format(hash, sizeof(hash), text);
    assert_int_equal(r->seq, f->model->seq);
    assert_string_equal(r->hash, text);
}

static void assert_said(const struct fixture *f, const char *text)
{
    char path[128];
    AUTO(buf) struct buf said = {0};
    (void)snprintf(path, sizeof(path), "%s/program.log", f->folder);
    assert_int_equal(file_read(path, 1u << 20, &said, NULL), OK);
    if (strstr(said.ptr, text) == NULL)
        fail_msg("'%s' was not said: %s", text, said.ptr);
}

/* A start that folds exactly so many events; its model is that of the log. */
static void starts(const struct fixture *f, bool has_checkpoint, uint64_t folded_n, const char *trouble)
{
    struct run *r = start(f, has_checkpoint, 1000000);
    assert_model(f, r);
    assert_int_equal(r->folded_n, folded_n);
    if (strstr(r->trouble.msg, trouble) == NULL || (trouble[0] == '\0' && r->trouble.msg[0] != '\0'))
        fail_msg("'%s' is not in '%s'", trouble, r->trouble.msg);
    assert_said(f, trouble);
    assert_said(f, folded_n == r->seq ? "folded from 0" : "live at position");
    stop(r);
}

/* ---- Cases ---- */

static void the_same_model_sooner(void **state)
{
    struct fixture *f = *state;
    grow(f, 3000);
    starts(f, true, 3000, ""); /* no checkpoint yet; written at the stop */
    starts(f, true, 0, "");
    grow(f, 250);
    starts(f, true, 250, "");
    starts(f, true, 0, "");
    starts(f, false, 3250, "");
}

/* Written while it runs, too: after so many events. A stop that is not clean loses what came after the last. */
static void while_it_runs(void **state)
{
    struct fixture *f = *state;
    grow(f, 3000);
    struct run *r = start(f, true, 1000);
    while (app_counts(control_app(r->control)).snapshot_seq <
           1000) /* the file of an earlier one may still be written */
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    AUTO(buf) struct buf kept = {0};
    assert_int_equal(file_read(f->checkpoint, 1u << 24, &kept, NULL), OK);
    uint64_t at = app_counts(control_app(r->control)).snapshot_seq;
    assert_true(at >= 1000 && at <= 3000);
    stop(r);
    assert_int_equal(file_replace(f->checkpoint, buf_str(&kept), 0600, NULL), OK); /* as if it had been killed */
    r = start(f, true, 1000000);
    assert_model(f, r);
    assert_true(r->folded_n <= 2000);
    stop(r);
}

static void damage_is_thrown_away(void **state)
{
    struct fixture *f = *state;
    grow(f, 500);
    starts(f, true, 500, "");
    AUTO(buf) struct buf good = {0}, bad = {0};
    assert_int_equal(file_read(f->checkpoint, 1u << 24, &good, NULL), OK);
    for (size_t i = 0; i < good.len; i += good.len / 40) {
        buf_clear(&bad);
        buf_add_str(&bad, buf_str(&good));
        bad.ptr[i] = (char)(bad.ptr[i] ^ 4);
        assert_int_equal(file_replace(f->checkpoint, buf_str(&bad), 0600, NULL), OK);
        starts(f, true, 500, "checkpoint"); /* the stop writes a good one */
        starts(f, true, 0, "");
    }
    assert_int_equal(file_replace(f->checkpoint, str_slice(buf_str(&good), 0, good.len - 1), 0600, NULL), OK);
    starts(f, true, 500, "not what was written");
    assert_int_equal(file_replace(f->checkpoint, STR(""), 0600, NULL), OK);
    starts(f, true, 500, "first line");
}

/* Replace a part of the first line. */
static void edit(const struct fixture *f, const char *key, const char *value)
{
    AUTO(buf) struct buf file = {0}, out = {0};
    assert_int_equal(file_read(f->checkpoint, 1u << 24, &file, NULL), OK);
    const char *at = strstr(file.ptr, key) + strlen(key);
    const char *end = at + strcspn(at, ",");
    buf_add(&out, file.ptr, (size_t)(at - file.ptr));
    buf_add_c(&out, value);
    buf_add(&out, end, (size_t)(file.ptr + file.len - end));
    assert_int_equal(file_replace(f->checkpoint, buf_str(&out), 0600, NULL), OK);
}

static void another_version_is_thrown_away(void **state)
{
    struct fixture *f = *state;
    grow(f, 500);
    starts(f, true, 500, "");
    edit(f, "\"format\":", "77");
    starts(f, true, 500, "format");
    edit(f, "\"sum\":", "1");
    starts(f, true, 500, "does not hold the event");
    edit(f, "\"model_hash\":", "\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"");
    starts(f, true, 500, "hash");
    starts(f, true, 0, "");
}

/* A log that was made anew has another history under the same numbers. */
static void another_log_is_thrown_away(void **state)
{
    struct fixture *f = *state;
    grow(f, 500);
    starts(f, true, 500, "");
    (void)scratch_remove(f->log_folder);
    assert_int_equal(mkdir(f->log_folder, 0700), 0);
    make_log(f);
    grow(f, 700);
    starts(f, true, 700, "another log");
    starts(f, true, 0, "");
}

static void a_folder_that_is_not_there(void **state)
{
    struct fixture *f = *state;
    grow(f, 100);
    assert_int_equal(rmdir(f->state_folder), 0);
    starts(f, true, 100, "");
    starts(f, true, 100, "");
}

/* CHECKPOINT_EVENTS=1000000: the figures of docs/bench.md. */
static void figures(void **state)
{
    struct fixture *f = *state;
    const char *text = getenv("CHECKPOINT_EVENTS");
    size_t n = text == NULL ? 20000 : (size_t)strtoull(text, NULL, 10);
    grow(f, n);
    double from = seconds();
    struct run *r = start(f, true, (int64_t)n * 2);
    double folded = seconds();
    assert_model(f, r);
    stop(r);
    double stopped = seconds();
    r = start(f, true, (int64_t)n * 2);
    double begun = seconds();
    assert_model(f, r);
    assert_int_equal(r->folded_n, 0);
    stop(r);
    struct stat st;
    assert_int_equal(stat(f->checkpoint, &st), 0);
    printf("  %zu events: a start folds them in %.1f ms, a start with a checkpoint (%lld bytes) takes %.1f ms\n", n,
           (folded - from) * 1e3, (long long)st.st_size, (begun - stopped) * 1e3);
    assert_true(begun - stopped < folded - from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_model_sooner, setup, teardown),
        cmocka_unit_test_setup_teardown(while_it_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_thrown_away, setup, teardown),
        cmocka_unit_test_setup_teardown(another_version_is_thrown_away, setup, teardown),
        cmocka_unit_test_setup_teardown(another_log_is_thrown_away, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(figures, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
