/* Placement: which of many nodes, over zones and regions of uneven size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/own.h"
#include "platform/place.h"

enum { ZONES_MAX = 8 };

struct world {
    struct arena arena;
    struct model *model;
    struct platform_settings settings;
    struct places places;
    struct id_source ids;
    struct id zones[ZONES_MAX], process;
    size_t zones_n, nodes_n;
    int64_t time_ns;
};

static void fold(struct world *w, struct event e)
{
    struct errinfo err;
    e.time = (struct event_time){++w->time_ns, 0};
    if (model_apply(w->model, &e, &err) != OK)
        fail_msg("%s", err.msg);
}

static struct world *world_new(void)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->model = model_new();
    w->ids.wall_ms = 1;
    platform_settings_init(&w->settings);
    places_init(&w->places, &w->settings);
    w->places.arena = &w->arena;
    w->process = id_next(&w->ids);
    return w;
}

static void world_free(struct world *w)
{
    places_done(&w->places);
    model_free(w->model);
    arena_done(&w->arena);
    free(w);
}

static struct id add_region(struct world *w, const char *name)
{
    struct event e = {.kind = EVENT_CREATE_REGION, .create_region = {id_next(&w->ids), str_from(name)}};
    fold(w, e);
    return e.create_region.region_id;
}

/* A zone with n nodes of this much memory. */
static size_t add_zone(struct world *w, struct id region, int n, int64_t gib, int64_t vcpus)
{
    size_t z = w->zones_n++;
    w->zones[z] = id_next(&w->ids);
    fold(w, (struct event){.kind = EVENT_CREATE_ZONE,
                           .create_zone = {w->zones[z], region, str_from(arena_printf(&w->arena, "z%zu", z))}});
    for (int i = 0; i < n; i++) {
        struct str label = STR("worker"), runtime = STR("qemu");
        struct id id = id_next(&w->ids);
        size_t k = w->nodes_n++;
        fold(w, (struct event){.kind = EVENT_JOIN_NODE,
                               .join_node = {.node_id = id,
                                             .name = str_from(arena_printf(&w->arena, "n%zu", k)),
                                             .zone_id = w->zones[z],
                                             .labels = {&label, 1},
                                             .prefix = str_from(arena_printf(&w->arena, "fd00:0:0:%zx::/64", k + 1))}});
        fold(w, (struct event){.kind = EVENT_NODE_STATUS_CHANGE,
                               .node_status_change = {.node_id = id,
                                                      .status = STR("ready"),
                                                      .boot_id = STR("b"),
                                                      .report_seq = 1,
                                                      .capacity = {vcpus, gib << 30, 0},
                                                      .runtimes = {&runtime, 1}}});
        (void)places_set_node(&w->places, model_node(w->model, id));
    }
    return z;
}

static const struct resources NEEDS = {1, INT64_C(256) << 20, 0};

static struct process a_process(struct world *w)
{
    return (struct process){.id = id_next(&w->ids), .name = "p", .version = "", .artifact_url = "", .image_digest = ""};
}

static bool take(struct world *w, const struct process *process, size_t n, struct placement *ret)
{
    const struct wish wish = {
        .process = process, .label = "worker", .runtime = STR("qemu"), .needs = &NEEDS, .has_address = true};
    return places_take(&w->places, &wish, n, ret, NULL);
}

static size_t in_zone(const struct world *w, size_t z, const struct placement *at, size_t n)
{
    size_t here = 0;
    for (size_t i = 0; i < n; i++)
        here += id_eq(at[i].node->zone->id, w->zones[z]);
    return here;
}

/* Permille of the memory of a zone that is in use. */
static int64_t load_of(const struct world *w, size_t z)
{
    int64_t all = 0, used = 0;
    MODEL_EACH (node, n, &w->model->nodes) {
        const struct place *p = places_find(&w->places, n->id);
        if (!id_eq(n->zone->id, w->zones[z]))
            continue;
        all += p->memory_all >> 20;
        used += (p->memory_all - p->memory_free) >> 20;
    }
    return used * 1000 / all;
}

/* 10, 2 and 1 nodes: every deployment stands in two zones at least; beyond that a hot zone is left alone, so the small
 * ones are filled alike, and not one of them with a third of everything (110 instances: more than its 63). */
static void zones_of_uneven_size(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id region = add_region(w, "r");
    const int SIZES[] = {10, 2, 1};
    size_t most_n[3] = {0};
    for (int i = 0; i < 3; i++)
        (void)add_zone(w, region, SIZES[i], 16, 64);
    /* 13 nodes of 63 instances each: 110 deployments of 3 fill 40 % */
    for (int d = 0; d < 110; d++) {
        struct placement at[3];
        struct process process = a_process(w);
        assert_true(take(w, &process, 3, at));
        size_t zones = 0;
        for (size_t z = 0; z < 3; z++) {
            size_t here = in_zone(w, z, at, 3);
            zones += here > 0;
            most_n[z] += here;
        }
        assert_true(at[0].node != at[1].node && at[1].node != at[2].node && at[0].node != at[2].node);
        assert_true(zones >= 2);
    }
    print_message("loads %lld, %lld, %lld permille; %zu, %zu, %zu instances\n", (long long)load_of(w, 0),
                  (long long)load_of(w, 1), (long long)load_of(w, 2), most_n[0], most_n[1], most_n[2]);
    for (size_t z = 0; z < 3; z++)
        assert_in_range(load_of(w, z), 400 - 100, 400 + 250); /* neither starved nor overloaded */
    world_free(w);
}

static void zones_of_even_size(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id region = add_region(w, "r");
    for (int i = 0; i < 3; i++)
        (void)add_zone(w, region, 4, 16, 64);
    for (int d = 0; d < 100; d++) {
        struct placement at[3];
        struct process process = a_process(w);
        assert_true(take(w, &process, 3, at));
        for (size_t z = 0; z < 3; z++)
            assert_int_equal(in_zone(w, z, at, 3), 1);
    }
    world_free(w);
}

static void regions_before_zones(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id a = add_region(w, "a"), b = add_region(w, "b");
    for (int i = 0; i < 3; i++)
        (void)add_zone(w, a, 2, 16, 64);
    size_t far = add_zone(w, b, 4, 16, 64);
    struct placement at[4];
    struct process process = a_process(w);
    assert_true(take(w, &process, 4, at));
    assert_int_equal(in_zone(w, far, at, 4), 2);
    world_free(w);
}

/* The node with the most memory has no vcpus left: the search goes on below. */
static void memory_and_vcpus_run_out_elsewhere(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id region = add_region(w, "r");
    w->settings.vcpus_overcommit_percent = 100;
    (void)add_zone(w, region, 5, 64, 0);
    (void)add_zone(w, region, 1, 1, 2);
    struct placement at[3];
    assert_true(take(w, NULL, 2, at));
    assert_int_equal(in_zone(w, 1, at, 2), 2);
    assert_false(take(w, NULL, 1, at));
    places_forget(&w->places);
    assert_true(take(w, NULL, 2, at)); /* nothing came of it */
    world_free(w);
}

/* All or none, and addresses that are not given away twice. */
static void what_is_not_taken_is_free(void **state)
{
    (void)state;
    struct world *w = world_new();
    (void)add_zone(w, add_region(w, "r"), 2, 1, 64);
    struct placement at[9];
    assert_false(take(w, NULL, 7, at)); /* 3 on each: a node offers whole hundredths */
    assert_true(take(w, NULL, 6, at));
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(at[i].address, at[k].address);
    places_forget(&w->places);
    assert_true(take(w, NULL, 6, at));
    world_free(w);
}

/* The best of many, against looking at each. */
static void the_tree_finds_the_best(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id region = add_region(w, "r");
    uint64_t chance = 88172645463325252u;
    (void)add_zone(w, region, 33, 64, 4);
    w->settings.vcpus_overcommit_percent = 100;
    for (size_t i = 0; i < w->places.nodes.n; i++) /* vcpus under the changed setting */
        (void)places_set_node(&w->places, model_node(w->model, ((struct place *)w->places.nodes.items[i])->id));
    for (int round = 0; round < 130; round++) {
        struct placement at;
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        const struct resources needs = {1, (int64_t)(1 + chance % 12) << 30, 0};
        const struct wish wish = {.label = "worker", .runtime = STR("qemu"), .needs = &needs};
        const struct place *best = NULL;
        for (size_t i = 0; i < w->places.nodes.n; i++) {
            const struct place *p = w->places.nodes.items[i];
            bool fits = p->vcpus_free >= 1 && p->memory_free >= needs.memory_bytes;
            if (fits && (best == NULL || p->memory_free > best->memory_free))
                best = p;
        }
        assert_int_equal(places_take(&w->places, &wish, 1, &at, NULL), best != NULL);
        if (best != NULL)
            assert_ptr_equal(at.node, best->node);
    }
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zones_of_uneven_size),      cmocka_unit_test(zones_of_even_size),
        cmocka_unit_test(regions_before_zones),      cmocka_unit_test(memory_and_vcpus_run_out_elsewhere),
        cmocka_unit_test(what_is_not_taken_is_free), cmocka_unit_test(the_tree_finds_the_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
