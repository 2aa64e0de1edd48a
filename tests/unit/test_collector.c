/* Garbage among blobs, collected while contexts are stored, named and forgotten: the real folder, the real model, the
 * pool; a log that this replica sees late. Nothing that is named is ever lost, and what nobody names goes.
 * SEED=<n> tells one of the stories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "control/collector.h"
#include "folder.h"

#define SEEDS 5
#define ACTIONS 1500
#define THINGS 24
#define OLD_S (BLOB_GRACE_MIN_S + 3600)
#define WAIT_MS_MAX 60000
enum { LOG_MAX = 4096 };

/* What the log says of it; the model may not know yet. */
enum fate { NOBODYS, PROMISED /* stored or looked up, soon to be named */, NAMED };

struct thing {
    char bytes[32], digest[DIGEST_TEXT_SIZE];
    enum fate fate;
    struct id image; /* that names it */
};

struct world {
    char folder[64];
    uv_loop_t loop;
    uv_timer_t timer, limit;
    struct logger log;
    struct blob_store *store;
    struct collector *collector;
    struct model *model;
    struct event events[LOG_MAX];
    size_t events_n, folded_n;
    int64_t end_seen_us;
    bool is_turn, sees_nothing, is_closed;
    uint64_t random, seed;
    struct thing things[THINGS];
    unsigned acted_n, named_n;
};

static uint64_t next_random(struct world *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

/* ---- the log, and a replica that sees it late ---- */

static void fold_all(struct world *w)
{
    int64_t before_us = clock_mono_us();
    struct errinfo err = {0};
    for (; w->folded_n < w->events_n; w->folded_n++)
        if (model_apply(w->model, &w->events[w->folded_n], &err) != OK)
            fail_msg("seed %llu: event %zu: %s", (unsigned long long)w->seed, w->folded_n, err.msg);
    w->end_seen_us = before_us;
}

static void append(struct world *w, struct event e)
{
    assert_true(w->events_n < LOG_MAX);
    struct event_time last = w->events_n == 0 ? (struct event_time){0} : w->events[w->events_n - 1].time;
    e.time = event_time_next(last, clock_wall_us() * 1000);
    w->events[w->events_n++] = e;
}

static void look(void *ctx)
{
    struct world *w = ctx;
    if (!w->sees_nothing && next_random(w) % 4 == 0) /* not each time it is asked */
        fold_all(w);
}

static int64_t end_seen_us(void *ctx)
{
    return ((struct world *)ctx)->end_seen_us;
}

static const struct model *model_of(void *ctx)
{
    return ((struct world *)ctx)->model;
}

static bool may(void *ctx)
{
    return ((struct world *)ctx)->is_turn;
}

/* ---- the world ---- */

static void world_open(struct world *w, uint64_t seed)
{
    *w = (struct world){.log = {.program = "test", .level_min = LOG_ERROR, .fd = 2},
                        .seed = seed,
                        .random = seed * 0x9E3779B97F4A7C15u + 1,
                        .is_turn = true};
    assert_true(scratch_make(scratch_in_memory(), w->folder, sizeof(w->folder)));
    assert_int_equal(blob_store_open_folder(w->folder, &w->store, NULL), OK);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    w->model = model_new();
    for (size_t i = 0; i < THINGS; i++)
        (void)snprintf(w->things[i].bytes, sizeof(w->things[i].bytes), "thing %zu of seed %llu", i,
                       (unsigned long long)seed);
    for (size_t i = 0; i < THINGS; i++) {
        uint8_t hash[HASH_SIZE];
        hash_bytes(w->things[i].bytes, strlen(w->things[i].bytes), hash);
        hash_digest_format(hash, w->things[i].digest);
    }
    w->collector = collector_new(&(struct collector_options){.loop = &w->loop,
                                                             .store = w->store,
                                                             .log = &w->log,
                                                             .every_ms = 1,
                                                             .grace_s = BLOB_GRACE_MIN_S,
                                                             .settle_us = 1,
                                                             .may = may,
                                                             .look = look,
                                                             .end_seen_us = end_seen_us,
                                                             .model = model_of,
                                                             .ctx = w});
    (void)uv_timer_init(&w->loop, &w->timer);
    (void)uv_timer_init(&w->loop, &w->limit);
    w->timer.data = w->limit.data = w;
}

static void collector_closed(void *ctx)
{
    ((struct world *)ctx)->is_closed = true;
}

static void world_close(struct world *w)
{
    collector_close(w->collector, collector_closed, w);
    uv_close((uv_handle_t *)&w->timer, NULL);
    uv_close((uv_handle_t *)&w->limit, NULL);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_true(w->is_closed);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    blob_store_close(w->store);
    model_free(w->model);
    (void)scratch_remove(w->folder);
}

static void too_long(uv_timer_t *timer)
{
    const struct world *w = timer->data;
    fail_msg("seed %llu: not within %d ms", (unsigned long long)w->seed, WAIT_MS_MAX);
}

static void run_until(struct world *w, bool (*done)(struct world *w))
{
    (void)uv_timer_start(&w->limit, too_long, WAIT_MS_MAX, 0);
    while (!done(w))
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    (void)uv_timer_stop(&w->limit);
}

static char *path_in(const struct world *w, enum blob_place place, const char *digest)
{
    const char *hex = digest + strlen("sha256:");
    return place == BLOB_STORED ? mem_printf("%s/sha256/%.2s/%s", w->folder, hex, hex)
                                : mem_printf("%s/aside/%s", w->folder, hex);
}

static bool lies(const struct world *w, enum blob_place place, const char *digest)
{
    auto_free char *path = path_in(w, place, digest);
    return access(path, F_OK) == 0;
}

/* It may be moved while we look: from one place to the other at once, so the third look finds it. */
static bool is_somewhere(const struct world *w, const char *digest)
{
    for (int i = 0; i < 20; i++)
        if (lies(w, i % 2 == 0 ? BLOB_STORED : BLOB_ASIDE, digest))
            return true;
    return false;
}

/* So long ago that it may go. */
static void make_old(const struct world *w, const char *digest)
{
    struct timespec at = {.tv_sec = clock_wall_us() / 1000000 - OLD_S}, times[2] = {at, at};
    for (enum blob_place place = BLOB_STORED; place <= BLOB_ASIDE; place++) {
        auto_free char *path = path_in(w, place, digest);
        (void)utimensat(AT_FDCWD, path, times, 0); /* there or not */
    }
}

/* ---- what people and builders do ---- */

static void store_it(struct world *w, struct thing *t)
{
    assert_int_equal(blob_put_bytes(w->store, str_from(t->bytes), t->digest, NULL, NULL), OK);
    if (t->fate == NOBODYS)
        t->fate = PROMISED;
}

static void look_up(struct world *w, struct thing *t)
{
    if (t->fate == NOBODYS && blob_stat(w->store, t->digest, NULL, NULL) == OK)
        t->fate = PROMISED;
}

static void name_it(struct world *w, struct thing *t)
{
    if (t->fate != PROMISED)
        return;
    t->fate = NAMED;
    t->image = (struct id){{0x70}};
    memcpy(&t->image.bytes[8], &w->events_n, sizeof(w->events_n));
    w->named_n++;
    append(w, (struct event){.kind = EVENT_CREATE_IMAGE,
                             .create_image = {.image_id = t->image, .context_digest = str_from(t->digest)}});
}

/* The build failed, or the image is deleted. */
static void forget_it(struct world *w, struct thing *t)
{
    if (t->fate != NAMED)
        return;
    t->fate = NOBODYS;
    bool is_deleted = next_random(w) % 2 == 0;
    append(w, (struct event){.kind = EVENT_IMAGE_STATUS_CHANGE,
                             .image_status_change = {.image_id = t->image,
                                                     .status = is_deleted ? STR("ready") : STR("failed"),
                                                     .digest = is_deleted ? str_from(t->digest) : STR("")}});
    if (is_deleted)
        append(w, (struct event){.kind = EVENT_DELETE_IMAGE, .delete_image = {.image_id = t->image}});
}

static void act(struct world *w)
{
    struct thing *t = &w->things[next_random(w) % THINGS];
    switch (next_random(w) % 10) {
    case 0: store_it(w, t); break;
    case 1: look_up(w, t); break;
    case 2:
    case 3: name_it(w, t); break;
    case 4: forget_it(w, t); break;
    case 5: w->is_turn = next_random(w) % 8 != 0; break;
    default:
        if (t->fate != PROMISED) /* a day has not gone by for what is to be named within it */
            make_old(w, t->digest);
    }
}

static void on_act(uv_timer_t *timer)
{
    struct world *w = timer->data;
    for (uint64_t n = next_random(w) % 4; n > 0; n--, w->acted_n++)
        act(w);
    for (size_t i = 0; i < THINGS; i++)
        if (w->things[i].fate != NOBODYS && !is_somewhere(w, w->things[i].digest))
            fail_msg("SEED=%llu: after %u actions '%s', which is %s, is lost", (unsigned long long)w->seed, w->acted_n,
                     w->things[i].bytes, w->things[i].fate == NAMED ? "named" : "about to be named");
}

static bool has_acted(struct world *w)
{
    return w->acted_n >= ACTIONS;
}

static bool all_forgotten_are_gone(struct world *w)
{
    bool all = true;
    for (size_t i = 0; i < THINGS; i++) {
        struct thing *t = &w->things[i];
        if (t->fate == NAMED)
            continue;
        make_old(w, t->digest);
        all = all && !is_somewhere(w, t->digest);
    }
    return all;
}

static void nothing_that_is_named_is_lost(void **state)
{
    (void)state;
    uint64_t only = getenv("SEED") != NULL ? strtoull(getenv("SEED"), NULL, 10) : 0;
    uint64_t removed = 0, came_back = 0, put_aside = 0;
    for (uint64_t seed = only != 0 ? only : 1; seed <= (only != 0 ? only : SEEDS); seed++) {
        struct world *w = mem_alloc(sizeof(*w));
        world_open(w, seed);
        (void)uv_timer_start(&w->timer, on_act, 1, 1);
        run_until(w, has_acted);
        (void)uv_timer_stop(&w->timer);
        w->is_turn = true;
        run_until(w, all_forgotten_are_gone);
        for (size_t i = 0; i < THINGS; i++)
            if (w->things[i].fate == NAMED)
                assert_int_equal(blob_verify(w->store, w->things[i].digest, NULL), OK);
        uint64_t runs = 0;
        struct blob_collected n = collector_counts(w->collector, &runs);
        assert_true(runs > 0);
        removed += n.removed, came_back += n.came_back, put_aside += n.put_aside;
        world_close(w);
        free(w);
    }
    print_message("%llu set aside, %llu came back, %llu removed\n", (unsigned long long)put_aside,
                  (unsigned long long)came_back, (unsigned long long)removed);
    assert_true(removed > 0 && put_aside > removed);
    assert_true(only != 0 || came_back > 0);
}

/* ---- who may not ---- */

static bool some_time_went_by(struct world *w)
{
    return uv_now(&w->loop) > w->acted_n; /* acted_n: until when */
}

static void wait_ms(struct world *w, unsigned ms)
{
    w->acted_n = (unsigned)uv_now(&w->loop) + ms;
    (void)uv_timer_start(&w->timer, on_act, WAIT_MS_MAX, 0);
    while (!some_time_went_by(w)) {
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
        uv_sleep(1); /* that nothing happens has no event to wait for */
    }
    (void)uv_timer_stop(&w->timer);
}

static void a_replica_that_is_blind_takes_nothing(void **state)
{
    (void)state;
    struct world *w = mem_alloc(sizeof(*w));
    world_open(w, 1);
    struct thing *t = &w->things[0];
    store_it(w, t);
    make_old(w, t->digest);
    w->sees_nothing = true; /* the log's end is not seen any more */
    wait_ms(w, 100);
    w->is_turn = false;
    w->sees_nothing = false;
    wait_ms(w, 100);
    assert_true(lies(w, BLOB_STORED, t->digest));
    w->is_turn = true;
    t->fate = NOBODYS;
    run_until(w, all_forgotten_are_gone);
    world_close(w);
    free(w);
}

/* A collection that waits for an answer ends with the program. */
static void it_ends_in_the_middle(void **state)
{
    (void)state;
    struct world *w = mem_alloc(sizeof(*w));
    world_open(w, 1);
    store_it(w, &w->things[0]);
    make_old(w, w->things[0].digest);
    w->sees_nothing = true;
    wait_ms(w, 50);
    world_close(w);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_that_is_named_is_lost),
        cmocka_unit_test(a_replica_that_is_blind_takes_nothing),
        cmocka_unit_test(it_ends_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
