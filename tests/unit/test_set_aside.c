/* A log with a poisonous event: who folds it stalls; once a SetAside names the event, who runs and who starts go on, to
 * the same model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <uv.h>

#include "app/app.h"
#include "app/set_aside.h"
#include "base/own.h"
#include "base/random.h"
#include "event/hash.h"
#include "folder.h"
#include "platform/model.h"

static enum err fold(void *model, const struct store_record *r, struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    struct event ev;
    enum err rc = event_decode(&r->e, &a, &ev, err);
    return rc == OK ? model_apply(model, &ev, err) : rc;
}

static void pass_over(void *model, const struct store_record *r)
{
    model_pass_over(model, r->e.time);
}

struct replica {
    struct model *model;
    struct app *app;
    struct gateway gateway;
    int lives, stalls;
    bool is_closed;
};

static void on_live(void *ctx)
{
    ((struct replica *)ctx)->lives++;
}

static void on_stalled(void *ctx, const struct errinfo *cause)
{
    assert_non_null(strstr(cause->msg, "was refused"));
    ((struct replica *)ctx)->stalls++;
}

struct fixture {
    char folder[64];
    char *spec;
    uv_loop_t loop;
    uv_timer_t bound;
    struct store *by_hand; /* what the command line appends with */
};

static void too_late(uv_timer_t *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static int setup(void **state)
{
    struct fixture *x = mem_alloc(sizeof(*x));
    assert_true(scratch_make("/tmp", x->folder, sizeof(x->folder)));
    x->spec = mem_printf("files;path=%s/log", x->folder);
    assert_int_equal(store_open(x->spec, NULL, &x->by_hand, NULL, NULL), OK);
    assert_int_equal(uv_loop_init(&x->loop), 0);
    assert_int_equal(uv_timer_init(&x->loop, &x->bound), 0);
    assert_int_equal(uv_timer_start(&x->bound, too_late, 60000, 0), 0);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    uv_close((uv_handle_t *)&x->bound, NULL);
    (void)uv_run(&x->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&x->loop), 0);
    store_close(x->by_hand);
    assert_int_equal(scratch_remove(x->folder), 0);
    free(x->spec);
    free(x);
    return 0;
}

static void append(struct fixture *x, const struct event *ev)
{
    AUTO(buf) struct buf payload = {0};
    struct store_pos end;
    struct errinfo err = {0};
    event_encode_payload(ev, &payload);
    struct store_event e = {.type = str_from(event_kind_row(ev->kind)->name), .payload = buf_str(&payload)};
    random_bytes(&e.id, sizeof(e.id));
    assert_int_equal(store_end(x->by_hand, &end, &err), OK);
    if (store_append(x->by_hand, end, &e, 1, NULL, &err) != OK)
        fail_msg("%s", err.msg);
}

static struct id id_of(uint8_t n)
{
    return (struct id){{n}};
}

static void append_region(struct fixture *x, uint8_t n, const char *name)
{
    append(x, &(struct event){.kind = EVENT_CREATE_REGION, .create_region = {id_of(n), str_from(name)}});
}

/* A zone of a region that does not exist. */
static void append_poison(struct fixture *x, uint8_t n)
{
    append(x, &(struct event){.kind = EVENT_CREATE_ZONE, .create_zone = {id_of(n), id_of(200), STR("z")}});
}

static void append_set_aside(struct fixture *x, int64_t seq)
{
    append(x, &(struct event){.kind = EVENT_SET_ASIDE, .set_aside = {.seq = seq, .reason = STR("a test")}});
}

static void replica_start(struct fixture *x, struct replica *r, bool passes_over)
{
    struct store *s = NULL;
    struct errinfo err = {0};
    assert_int_equal(store_open(x->spec, NULL, &s, NULL, NULL), OK);
    *r = (struct replica){.model = model_new()};
    struct app_options o = {.name = "test",
                            .model = r->model,
                            .apply = fold,
                            .pass_over = passes_over ? pass_over : NULL,
                            .inputs = &s,
                            .inputs_n = 1};
    if (app_open(&x->loop, &o, &r->app, &err) != OK)
        fail_msg("%s", err.msg);
    r->gateway = (struct gateway){.name = "test", .ctx = r, .on_live = on_live, .on_stalled = on_stalled};
    app_add_gateway(r->app, &r->gateway);
}

static void on_closed(void *ctx)
{
    ((struct replica *)ctx)->is_closed = true;
}

static void replica_stop(struct fixture *x, struct replica *r)
{
    app_close(r->app, on_closed, r);
    while (!r->is_closed)
        (void)uv_run(&x->loop, UV_RUN_ONCE);
    model_free(r->model);
}

static void until(struct fixture *x, const struct replica *r, enum app_state state, uint64_t seq)
{
    while (app_state(r->app) != state || r->model->seq < seq)
        (void)uv_run(&x->loop, UV_RUN_ONCE);
}

static void same_model(const struct model *a, const struct model *b)
{
    uint8_t x[HASH_SIZE], y[HASH_SIZE];
    model_hash(a, x);
    model_hash(b, y);
    assert_memory_equal(x, y, HASH_SIZE);
}

static enum err decide_nothing(void *ctx, const void *model, struct app_events *ret, struct errinfo *err)
{
    (void)ctx, (void)model, (void)ret, (void)err;
    return OK;
}

static void emitted(void *ctx, enum err rc, const struct app_position *at, const struct errinfo *err)
{
    (void)at, (void)err;
    *(enum err *)ctx = rc;
}

static enum err emit(struct fixture *x, struct replica *r)
{
    enum err rc = ERR_MAX_;
    app_emit(r->app, decide_nothing, &rc, emitted);
    while (rc == ERR_MAX_)
        (void)uv_run(&x->loop, UV_RUN_ONCE);
    return rc;
}

/* Live replica and new one, before and after. */
static void everybody_goes_on(void **state)
{
    struct fixture *x = *state;
    struct replica was_live, began_stalled, came_later, goes_on;
    append_region(x, 1, "a");
    replica_start(x, &was_live, true);
    until(x, &was_live, APP_LIVE, 1);
    append_poison(x, 2);
    append_region(x, 3, "b");
    until(x, &was_live, APP_STALLED, 1);
    assert_int_equal(was_live.lives, 1);
    assert_int_equal(emit(x, &was_live), ERR_UNAVAILABLE);
    replica_start(x, &began_stalled, true);
    until(x, &began_stalled, APP_STALLED, 1);
    assert_int_equal(began_stalled.lives, 0);
    append_region(x, 4, "c"); /* news, but no way out */
    append_set_aside(x, 3);   /* of another one */
    assert_int_equal(emit(x, &was_live), ERR_UNAVAILABLE);
    assert_int_equal(was_live.model->seq, 1);
    append_set_aside(x, 2);
    /* The SetAside of record 3, which every fold took, is itself a poison. */
    until(x, &was_live, APP_STALLED, 4);
    append_set_aside(x, 5);
    until(x, &was_live, APP_LIVE, 7);
    until(x, &began_stalled, APP_LIVE, 7);
    replica_start(x, &came_later, true);
    until(x, &came_later, APP_LIVE, 7);
    assert_int_equal(came_later.stalls, 0); /* it looked ahead first */
    assert_true(was_live.lives == 2 && was_live.stalls == 2 && began_stalled.lives == 1);
    append_region(x, 5, "d");
    until(x, &was_live, APP_LIVE, 8);
    until(x, &began_stalled, APP_LIVE, 8);
    until(x, &came_later, APP_LIVE, 8);
    assert_int_equal(emit(x, &was_live), OK);
    assert_int_equal(was_live.model->regions.n, 4);
    assert_int_equal(was_live.model->zones.n, 0);
    same_model(was_live.model, began_stalled.model);
    same_model(was_live.model, came_later.model);
    replica_start(x, &goes_on, false); /* one that does not know the way stays stalled */
    until(x, &goes_on, APP_STALLED, 1);
    replica_stop(x, &goes_on);
    replica_stop(x, &came_later);
    replica_stop(x, &began_stalled);
    replica_stop(x, &was_live);
}

static void found_from_where_it_looked(void **state)
{
    struct fixture *x = *state;
    uint64_t after = 0;
    struct errinfo err;
    append_region(x, 1, "a");
    append_region(x, 2, "b");
    assert_int_equal(app_set_aside_find(x->by_hand, 1, &after, &err), ERR_NOT_FOUND);
    assert_int_equal(after, 2);
    struct event other = {.kind = EVENT_SET_ASIDE, .set_aside = {.log_id = id_of(9), .seq = 1, .reason = STR("x")}};
    append(x, &other); /* of another log */
    assert_int_equal(app_set_aside_find(x->by_hand, 1, &after, &err), ERR_NOT_FOUND);
    other.set_aside.log_id = store_log_id(x->by_hand);
    append(x, &other);
    assert_int_equal(after, 3);
    assert_int_equal(app_set_aside_find(x->by_hand, 1, &after, &err), OK);
    after = 0;
    assert_int_equal(app_set_aside_find(x->by_hand, 2, &after, &err), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everybody_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(found_from_where_it_looked, setup, teardown),
    };
    return cmocka_run_group_tests_name("set_aside", tests, NULL, NULL);
}
