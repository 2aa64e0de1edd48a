#pragma once
/* A world with one replica, in which append is apply: what the tests of the platform room tell their stories in.
 * Included once by a test program; everything in it is static. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/own.h"
#include "event/hash.h"
#include "platform/decide.h"
#include "platform/describe.h"
#include "platform/plan.h"
#include "platform/plan_state.h"
#include "platform/what_if.h"

#pragma GCC diagnostic ignored "-Wunused-function" /* each program tells other stories */

#define SECOND INT64_C(1000)
#define START_MS INT64_C(1800000000000)
enum { EDGES_MAX = 2, LOG_MAX = 4096 };

struct world {
    struct arena arena;
    struct model *model;
    struct platform_settings settings;
    struct id_source ids;
    struct edge_observed edges[EDGES_MAX];
    struct observations seen;
    int64_t now_ms, report_seq, deadline_ms;
    struct event log[LOG_MAX];
    bool is_beside_its_log; /* the model has what the log does not: see assert_planned_again */
    bool more[LOG_MAX];     /* it was appended together with the next one */
    size_t log_n;
    struct plan_state *kept; /* of a planner that looks at what changed */
    struct buf story;        /* a line for each event since story_clear */
    struct id nodes[4];
    struct id project;
};

/* Events lend texts of the model, which may forget them: a log has its own. */
static void keep_event(struct world *w, const struct event *from, struct event *ret)
{
    AUTO(buf) struct buf payload = {0};
    struct errinfo err;
    event_encode_payload(from, &payload);
    struct envelope env = {.time = event_time_next(w->model->time, w->now_ms * 1000000),
                           .id = from->id,
                           .type = str_from(event_kind_row(from->kind)->name),
                           .payload = arena_str(&w->arena, buf_str(&payload))};
    if (event_decode(&env, &w->arena, ret, &err) != OK)
        fail_msg("event %zu: %s", w->log_n, err.msg);
}

static void append(struct world *w, const struct event_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct event *e = &w->log[w->log_n];
        assert_true(w->log_n < LOG_MAX);
        keep_event(w, &l->items[i], e);
        w->more[w->log_n] = i + 1 < l->n;
        if (e->kind == EVENT_DELETE_INSTANCE) {
            event_describe(w->model, e, &w->story);
            buf_add_char(&w->story, '\n');
        }
        struct errinfo err;
        if (model_apply(w->model, e, &err) != OK)
            fail_msg("event %zu: %s", w->log_n, err.msg);
        if (e->kind != EVENT_DELETE_INSTANCE) {
            event_describe(w->model, e, &w->story);
            buf_add_char(&w->story, '\n');
        }
        w->log_n++;
    }
}

static struct decide decider(struct world *w)
{
    w->ids.wall_ms = w->now_ms;
    return (struct decide){w->model, &w->settings, w->now_ms, &w->ids};
}

/* Every event of a plan says from what it was decided, where its kind can say so. */
static void assert_explained(const struct event *e)
{
    const struct event_kind_row *row = event_kind_row(e->kind);
    for (size_t i = 0; i < row->fields->fields_n; i++) {
        const struct field *f = &row->fields->fields[i];
        if (strcmp(f->name, "because") != 0)
            continue;
        const struct str *text = (const void *)((const char *)&e->create_region + f->offset);
        if (text->len == 0 || strstr(text->ptr, "\"rule\":") == NULL || strstr(text->ptr, "\"nowMs\":") == NULL)
            fail_msg("%s says only '%.*s' as its because", row->name, STR_ARG(*text));
    }
}

/* A planner that looks at what changed only says the same as one that looks at everything. */
static void assert_kept_plan_is_same(struct world *w, const struct plan *fresh, struct id_source ids)
{
    AUTO(arena) struct arena a = {0};
    struct plan p = {.events = {.arena = &a}};
    plan_next(w->kept, w->model, &w->settings, w->now_ms, &w->seen, &ids, &p);
    for (size_t i = 0; i < p.events.n && i < fresh->events.n; i++) {
        AUTO(buf) struct buf one = {0}, other = {0};
        event_encode_payload(&p.events.items[i], &one);
        event_encode_payload(&fresh->events.items[i], &other);
        assert_string_equal(one.ptr, other.ptr);
    }
    assert_int_equal(p.events.n, fresh->events.n);
}

/* Plan until there is nothing left to do now. */
static void plan(struct world *w)
{
    for (int i = 0; i < 50; i++) {
        struct plan p = {.events = {.arena = &w->arena}};
        w->ids.wall_ms = w->now_ms;
        struct id_source ids = w->ids;
        model_plan(w->model, &w->settings, w->now_ms, &w->seen, &w->ids, &p);
        w->deadline_ms = p.deadline_ms;
        assert_kept_plan_is_same(w, &p, ids);
        if (p.events.n == 0)
            return;
        for (size_t k = 0; k < p.events.n; k++)
            assert_explained(&p.events.items[k]);
        append(w, &p.events);
    }
    fail_msg("the plan never ends:\n%s", w->story.ptr);
}

static void wait_s(struct world *w, int64_t seconds)
{
    w->now_ms += seconds * SECOND;
    for (size_t i = 0; i < w->seen.edges_n; i++)
        w->edges[i].seen_ms = w->now_ms;
    plan(w);
}

static void story_clear(struct world *w)
{
    buf_clear(&w->story);
}

static void story_is(struct world *w, const char *expected)
{
    assert_string_equal(w->story.ptr == NULL ? "" : w->story.ptr, expected);
    story_clear(w);
}

static void story_has(struct world *w, const char *part)
{
    if (w->story.ptr == NULL || strstr(w->story.ptr, part) == NULL)
        fail_msg("no '%s' in:\n%s", part, w->story.ptr);
}

#define DO(w, call)                                                                                                    \
    do {                                                                                                               \
        struct event_list out = {.arena = &(w)->arena};                                                                \
        struct decide d = decider(w);                                                                                  \
        struct errinfo err = {0};                                                                                      \
        if ((call) != OK)                                                                                              \
            fail_msg("%s: %s", #call, err.msg);                                                                        \
        append(w, &out);                                                                                               \
    } while (0)

/* The call is refused with this code and this in its text, and says nothing to the log. */
#define REFUSED(w, call, code_, part)                                                                                  \
    do {                                                                                                               \
        struct event_list out = {.arena = &(w)->arena};                                                                \
        struct decide d = decider(w);                                                                                  \
        struct errinfo err = {0};                                                                                      \
        assert_int_equal(call, code_);                                                                                 \
        if (strstr(err.msg, part) == NULL)                                                                             \
            fail_msg("'%s' is not in '%s'", part, err.msg);                                                            \
        assert_int_equal(out.n, 0);                                                                                    \
    } while (0)

static const char *const NODE_NAMES[] = {"op", "w1", "w2", "w3"};

static void node_reports(struct world *w, int n, const char *boot)
{
    struct str runtimes[] = {STR("qemu"), STR("null")};
    struct node_reported r = {.node_id = w->nodes[n],
                              .replica = STR("a"),
                              .boot_id = str_from(boot),
                              .status = STR("ready"),
                              .report_seq = ++w->report_seq,
                              .capacity = {4, INT64_C(2) << 30, 0},
                              .runtimes = {runtimes, 2}};
    DO(w, decide_node_reported(&d, &r, &out, &err));
}

static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->model = model_new();
    w->kept = plan_state_new();
    w->now_ms = START_MS;
    platform_settings_init(&w->settings);
    w->settings.needs_certificate = w->settings.settle_seconds = 0;
    w->seen = (struct observations){
        .edges = w->edges, .live_since_ms = START_MS, .format_min = EVENT_FORMAT, .replicas_n = 1};
    struct id region, zone;
    DO(w, decide_create_region(&d, STR("local"), &out, &region, &err));
    DO(w, decide_create_zone(&d, STR("local"), STR("z0"), &out, &zone, &err));
    DO(w, decide_create_zone(&d, STR("local"), STR("z1"), &out, &zone, &err));
    for (int i = 0; i < 4; i++) {
        w->nodes[i] = id_next(&w->ids);
        struct str label = i == 0 ? STR("control") : STR("worker");
        struct node_joining j = {.node_id = w->nodes[i],
                                 .name = str_from(NODE_NAMES[i]),
                                 .region = STR("local"),
                                 .zone = i < 2 ? STR("z0") : STR("z1"),
                                 .labels = {&label, 1},
                                 .prefix = i == 0 ? STR("") : str_from(arena_printf(&w->arena, "fd00:0:0:%d::/64", i))};
        DO(w, decide_join_node(&d, &j, &out, &err));
        node_reports(w, i, "boot-1");
    }
    DO(w, decide_create_project(&d, STR("Hello"), &out, &w->project, &err));
    plan(w);
    story_clear(w);
}

static void say_difference(void *ctx, const struct what_if_difference *d)
{
    AUTO(buf) struct buf was = {0}, is = {0};
    (void)ctx;
    if (d->recorded != NULL)
        event_describe(d->model, d->recorded, &was);
    if (d->instead != NULL)
        event_describe(d->model, d->instead, &is);
    fail_msg("after event %llu was decided '%s', and from the log alone '%s'", (unsigned long long)d->seq,
             was.ptr == NULL ? "" : was.ptr, is.ptr == NULL ? "" : is.ptr);
}

/* Every plan of the story, made again from its log, is the one that was made. */
static void assert_planned_again(const struct world *w)
{
    struct model *m = model_new();
    struct what_if_own own;
    struct errinfo err;
    what_if_own_init(&own, &w->settings);
    struct what_if *what_if = what_if_new(
        &(struct what_if_options){.model = m, .candidate = what_if_own_planner(&own), .differs = say_difference});
    for (size_t i = 0; i < w->log_n; i++)
        if (what_if_event(what_if, &w->log[i], w->more[i], &err) != OK)
            fail_msg("event %zu: %s", i + 1, err.msg);
    assert_int_equal(what_if_end(what_if, &err), OK);
    what_if_free(what_if);
    what_if_own_done(&own);
    model_free(m);
}

static void world_done(struct world *w)
{
    if (!w->is_beside_its_log)
        assert_planned_again(w);
    model_free(w->model);
    plan_state_free(w->kept);
    buf_done(&w->story);
    arena_done(&w->arena);
}

static struct world *world_new(void)
{
    struct world *w = mem_alloc(sizeof(*w));
    world_init(w);
    return w;
}

static void world_free(struct world *w)
{
    world_done(w);
    free(w);
}

#define DIGEST STR("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

static struct id deploy(struct world *w)
{
    struct deployment_create c = {.project_id = w->project, .context_digest = DIGEST, .drain_seconds = -1};
    struct id id = ID_NONE;
    DO(w, decide_create_deployment(&d, &c, &out, &id, &err));
    plan(w);
    return id;
}

static void observe(struct world *w, const struct instance *i, const char *status, const char *health,
                    const char *cause)
{
    struct instance_observed o = {.instance_id = i->id,
                                  .reporter_node_id = i->node->id,
                                  .observed = str_from(status),
                                  .health = str_from(health),
                                  .cause = str_from(cause),
                                  .boot_id = str_from(i->node->boot_id),
                                  .report_seq = ++w->report_seq,
                                  .restarts = i->restarts};
    DO(w, decide_instance_observed(&d, &o, &out, &err));
}

static void build(struct world *w, struct id deployment)
{
    const struct process *p = model_deployment(w->model, deployment);
    struct image_observed o = {.image_id = p->image_id,
                               .builder_instance_id = model_image(w->model, p->image_id)->builder_instance_id,
                               .status = STR("ready"),
                               .digest = DIGEST,
                               .size_bytes = 4096};
    DO(w, decide_image_observed(&d, &o, &out, &err));
    plan(w);
}

/* Every instance of it says so. */
static void all_observe(struct world *w, struct id deployment, const char *status, const char *health)
{
    const struct process *p = model_deployment(w->model, deployment);
    for (size_t k = 0; k < p->instances.n; k++)
        observe(w, p->instances.items[k], status, health, "");
    plan(w);
}

static struct id go_live(struct world *w)
{
    struct id id = deploy(w);
    build(w, id);
    all_observe(w, id, "starting", "");
    all_observe(w, id, "running", "NOMINAL");
    assert_int_equal(model_deployment(w->model, id)->status, DEPLOYMENT_LIVE);
    return id;
}

/* Its first instance on that node. */
static const struct instance *on(struct world *w, struct id deployment, const char *node)
{
    MODEL_EACH (instance, i, &model_deployment(w->model, deployment)->instances)
        if (strcmp(i->node->name, node) == 0)
            return i;
    fail_msg("nothing runs on %s", node);
    return NULL;
}

static struct event event_of(enum event_kind kind)
{
    return (struct event){.kind = kind};
}

static void cannot_follow(struct world *w, struct event ev, const char *part)
{
    uint8_t before[HASH_SIZE], after[HASH_SIZE];
    struct errinfo err = {0};
    ev.time = event_time_next(w->model->time, w->now_ms * 1000000);
    model_hash(w->model, before);
    assert_int_equal(model_apply(w->model, &ev, &err), ERR_CORRUPT);
    model_hash(w->model, after);
    if (strstr(err.msg, part) == NULL)
        fail_msg("'%s' is not in '%s'", part, err.msg);
    assert_memory_equal(before, after, HASH_SIZE);
}

/* A model that folds the whole log as it would be read back has the same hash. */
static void assert_replays(struct world *w)
{
    struct model *cold = model_new();
    uint8_t a[HASH_SIZE], b[HASH_SIZE];
    for (size_t i = 0; i < w->log_n; i++) {
        struct event ev;
        struct errinfo err = {0};
        AUTO(buf) struct buf payload = {0};
        event_encode_payload(&w->log[i], &payload);
        struct envelope env = {.time = w->log[i].time,
                               .id = w->log[i].id,
                               .type = str_from(event_kind_row(w->log[i].kind)->name),
                               .payload = buf_str(&payload)};
        if (event_decode(&env, &w->arena, &ev, &err) != OK || model_apply(cold, &ev, &err) != OK)
            fail_msg("event %zu: %s", i, err.msg);
    }
    model_hash(w->model, a);
    model_hash(cold, b);
    assert_memory_equal(a, b, HASH_SIZE);
    model_free(cold);
}

/* ---- Stories of more than one deployment ---- */

static struct id deploy_of(struct world *w, struct id project, int64_t instances, int64_t mib)
{
    struct deployment_create c = {.project_id = project,
                                  .context_digest = DIGEST,
                                  .instances = instances,
                                  .drain_seconds = 0,
                                  .resources = {.vcpus = 1, .memory_bytes = mib << 20}};
    struct id id = ID_NONE;
    DO(w, decide_create_deployment(&d, &c, &out, &id, &err));
    plan(w);
    return id;
}

/* Nodes do what they are asked for, edges follow, a second passes. */
static void a_turn(struct world *w)
{
    for (size_t k = 0; k < w->model->images.n; k++) {
        const struct image *image = w->model->images.items[k];
        if (image->status != IMAGE_BUILDING)
            continue;
        struct image_observed o = {.image_id = image->id,
                                   .builder_instance_id = image->builder_instance_id,
                                   .status = STR("ready"),
                                   .digest = DIGEST,
                                   .size_bytes = 1};
        DO(w, decide_image_observed(&d, &o, &out, &err));
    }
    for (size_t k = 0; k < w->model->instances.n; k++) {
        const struct instance *i = w->model->instances.items[k];
        if (i->wanted == DESIRED_DELETED && i->status == INSTANCE_DRAINING)
            observe(w, i, "stopped", "", "");
        else if (i->status == INSTANCE_PENDING && i->wanted == DESIRED_RUNNING)
            observe(w, i, "running", "NOMINAL", "");
    }
    for (size_t i = 0; i < w->seen.edges_n; i++)
        w->edges[i].confirmed_seq = w->model->seq;
    wait_s(w, 1);
}

static size_t serving(struct world *w, struct id project)
{
    return project_endpoints(model_project(w->model, project), NULL, 0);
}

/* 3 workers of 2047 MiB have room for 6 instances of 900 MiB; others take 6 - room of them. */
static struct id world_with_room(struct world *w, int64_t others, struct id *ret_live)
{
    struct id other = ID_NONE;
    w->settings.instances_min = 1;
    w->seen.edges_n = 1;
    w->edges[0] = (struct edge_observed){STR("e"), 0, w->now_ms};
    wait_s(w, 60);
    *ret_live = deploy_of(w, w->project, 3, 900);
    DO(w, decide_create_project(&d, STR("Other"), &out, &other, &err));
    if (others > 0)
        (void)deploy_of(w, other, others, 900);
    for (int i = 0; i < 5; i++)
        a_turn(w);
    assert_int_equal(serving(w, w->project), 3);
    assert_int_equal(serving(w, other), others);
    return other;
}

static void capacity_is(struct world *w, const struct node *n, int64_t mib)
{
    struct str runtime = STR("qemu");
    struct node_reported r = {.node_id = n->id,
                              .replica = STR("a"),
                              .boot_id = str_from(n->boot_id),
                              .status = STR("ready"),
                              .report_seq = ++w->report_seq,
                              .capacity = {4, mib << 20, 0},
                              .runtimes = {&runtime, 1}};
    DO(w, decide_node_reported(&d, &r, &out, &err));
}
