/* bench-plan FOLDER INSTANCES...: what planning costs.
 *
 * "placements": a flood of FLOOD_N deployments of FLOOD_EACH instances on FLOOD_NODES nodes, from the queue to the log:
 * plan, encode, append to a files store in FOLDER (empty; durable before it counts), decode and fold what was written,
 * until the plan has nothing more to say. "planning", for each number of instances: a plan after one report that
 * changes nothing, a plan after one instance failed (which replaces it), each with cold caches, and a plan by a state
 * that has to look at the whole model. Prints one JSON document. Not installed; bench/run calls it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "platform/plan_state.h"
#include "store/store.h"

enum { FLOOD_N = 10000, FLOOD_EACH = 10, FLOOD_NODES = 1000, EACH = 100, ON_A_NODE = 100, ROUNDS = 400 };
#define DIGEST STR("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
#define NOW_MS INT64_C(1800000000000)

struct bench {
    struct model *model;
    struct platform_settings settings;
    struct plan_state *planner;
    struct observations seen;
    struct id_source ids;
    struct id image;
    int64_t now_ms;
};

static void fold(struct bench *b, struct event e)
{
    struct errinfo err;
    e.time = event_time_next(b->model->time, b->now_ms * 1000000);
    if (model_apply(b->model, &e, &err) != OK) {
        (void)fprintf(stderr, "bench-plan: %s\n", err.msg);
        abort();
    }
}

static void add_node(struct bench *b, struct id zone, int64_t room_n, unsigned k)
{
    auto_free char *name = mem_printf("n%u", k), *prefix = mem_printf("fd00:0:%x:%x::/64", k >> 16, k & 0xffff);
    struct str label = STR("worker"), runtime = STR("null");
    struct id id = id_next(&b->ids);
    fold(b, (struct event){.kind = EVENT_JOIN_NODE,
                           .join_node = {.node_id = id,
                                         .name = str_from(name),
                                         .zone_id = zone,
                                         .labels = {&label, 1},
                                         .prefix = str_from(prefix)}});
    fold(b, (struct event){.kind = EVENT_NODE_STATUS_CHANGE,
                           .node_status_change = {.node_id = id,
                                                  .status = STR("ready"),
                                                  .boot_id = STR("b"),
                                                  .report_seq = 1,
                                                  .capacity = {room_n, room_n * (INT64_C(257) << 20), 0},
                                                  .runtimes = {&runtime, 1}}});
}

static void begin(struct bench *b, int64_t now_ms, unsigned nodes_n, int64_t room_n)
{
    *b = (struct bench){.model = model_new(), .planner = plan_state_new(), .now_ms = now_ms};
    platform_settings_init(&b->settings);
    b->settings.needs_certificate = 0;
    b->seen = (struct observations){.live_since_ms = now_ms - 100000, .replicas_n = 1};
    b->ids.wall_ms = now_ms;
    struct id region = id_next(&b->ids), zones[3];
    fold(b, (struct event){.kind = EVENT_CREATE_REGION, .create_region = {region, STR("r")}});
    for (int z = 0; z < 3; z++) {
        auto_free char *name = mem_printf("z%d", z);
        zones[z] = id_next(&b->ids);
        fold(b, (struct event){.kind = EVENT_CREATE_ZONE, .create_zone = {zones[z], region, str_from(name)}});
    }
    for (unsigned k = 0; k < nodes_n; k++)
        add_node(b, zones[k % 3], room_n, k);
    b->image = id_next(&b->ids);
    fold(b,
         (struct event){.kind = EVENT_CREATE_IMAGE, .create_image = {.image_id = b->image, .context_digest = DIGEST}});
    fold(b, (struct event){.kind = EVENT_IMAGE_STATUS_CHANGE,
                           .image_status_change = {.image_id = b->image, .status = STR("ready"), .digest = DIGEST}});
}

static void end(struct bench *b)
{
    model_free(b->model);
    plan_state_free(b->planner);
}

/* A project, and a deployment of it in the queue. */
static struct id add_deployment(struct bench *b, unsigned k, int64_t instances)
{
    auto_free char *name = mem_printf("p%u", k);
    struct id project = id_next(&b->ids), id = id_next(&b->ids);
    fold(b, (struct event){.kind = EVENT_CREATE_PROJECT,
                           .create_project = {.project_id = project, .name = str_from(name), .slug = str_from(name)}});
    fold(b, (struct event){.kind = EVENT_CREATE_DEPLOYMENT,
                           .create_deployment = {.deployment_id = id,
                                                 .project_id = project,
                                                 .image_id = b->image,
                                                 .instances_wanted = instances,
                                                 .runtime = STR("null"),
                                                 .port = 8080,
                                                 .resources = {1, INT64_C(256) << 20, 0}}});
    return id;
}

static void plan(struct bench *b, struct arena *a, struct plan *ret)
{
    *ret = (struct plan){.events = {.arena = a}};
    plan_next(b->planner, b->model, &b->settings, b->now_ms, &b->seen, &b->ids, ret);
}

/* ---- From the queue to the log ---- */

struct times {
    int64_t plan_us, encode_us, append_us, fold_us;
    int64_t cpu_us; /* of all of it, the kernel's work too */
    size_t batches, events, placements, bytes;
};

static int64_t cpu_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static int64_t lap(int64_t *from_us)
{
    int64_t now_us = clock_mono_us(), took_us = now_us - *from_us;
    *from_us = now_us;
    return took_us;
}

static void encode(const struct event_list *l, struct arena *a, struct store_event *out, struct times *t)
{
    AUTO(buf) struct buf text = {0};
    for (size_t i = 0; i < l->n; i++) {
        buf_clear(&text);
        event_encode_payload(&l->items[i], &text);
        t->bytes += text.len;
        t->placements += l->items[i].kind == EVENT_CREATE_INSTANCE;
        out[i] = (struct store_event){.type = str_from(event_kind_row(l->items[i].kind)->name),
                                      .id = l->items[i].id,
                                      .payload = arena_str(a, buf_str(&text))};
    }
}

static enum err fold_records(struct bench *b, const struct store_record *records, size_t n, struct arena *a,
                             struct errinfo *err)
{
    enum err rc = OK;
    for (size_t i = 0; i < n && rc == OK; i++) {
        struct event e;
        rc = event_decode(&records[i].e, a, &e, err);
        if (rc == OK)
            rc = model_apply(b->model, &e, err);
    }
    return rc;
}

static enum err one_batch(struct bench *b, struct store *s, struct store_pos *at, struct times *t, bool *ret_more,
                          struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    struct plan p;
    int64_t us = clock_mono_us();
    plan(b, &a, &p);
    t->plan_us += lap(&us);
    *ret_more = p.events.n > 0;
    if (p.events.n == 0)
        return OK;
    auto_free struct store_event *events = mem_calloc(p.events.n, sizeof(*events));
    auto_free struct store_record *records = mem_calloc(p.events.n, sizeof(*records));
    encode(&p.events, &a, events, t);
    t->encode_us += lap(&us);
    enum err rc = store_append(s, *at, events, p.events.n, records, err);
    t->append_us += lap(&us);
    if (rc == OK)
        rc = fold_records(b, records, p.events.n, &a, err);
    t->fold_us += lap(&us);
    if (rc == OK)
        rc = store_end(s, at, err);
    t->batches++;
    t->events += p.events.n;
    return rc;
}

static enum err flood(const char *folder, json_t *doc, struct errinfo *err)
{
    struct bench b;
    struct times t = {0};
    struct store *s = NULL;
    struct store_pos at = {0};
    bool more = true; /* the world is made long before the store's clock */
    auto_free char *spec = mem_printf("files;path=%s/flood", folder);
    begin(&b, 1000, FLOOD_NODES, FLOOD_N * FLOOD_EACH / FLOOD_NODES + 10);
    for (unsigned k = 0; k < FLOOD_N; k++)
        (void)add_deployment(&b, k, FLOOD_EACH);
    enum err rc = store_open(spec, NULL, &s, NULL, err);
    if (rc == OK)
        rc = store_end(s, &at, err);
    t.cpu_us = -cpu_us();
    while (rc == OK && more) {
        b.now_ms = store_clock_us(s) / 1000;
        rc = one_batch(&b, s, &at, &t, &more, err);
    }
    t.cpu_us += cpu_us();
    store_close(s);
    int64_t all_us = t.plan_us + t.encode_us + t.append_us + t.fold_us;
    json_object_set_new(doc, "placements",
                        json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f}", "placements", (json_int_t)t.placements,
                                  "batches", (json_int_t)t.batches, "events", (json_int_t)t.events, "bytes",
                                  (json_int_t)t.bytes, "plan_us", (json_int_t)t.plan_us, "encode_us",
                                  (json_int_t)t.encode_us, "append_us", (json_int_t)t.append_us, "fold_us",
                                  (json_int_t)t.fold_us, "cpu_us", (json_int_t)t.cpu_us, "placements_per_s",
                                  all_us == 0 ? 0.0 : (double)t.placements * 1e6 / (double)all_us));
    end(&b);
    return rc;
}

/* ---- After one change ---- */

/* Between two measured plans everything else that a control plane does runs, so what a plan reads is not in the
 * processor's caches; a small model, looked at again and again, would be. Bytes to push it out: twice the 32 MiB that
 * the machine of our figures has. */
enum { COLD_BYTES = 64 << 20, LINE_BYTES = 64 };

static void cool(void)
{
    static unsigned char other[COLD_BYTES];
    for (size_t i = 0; i < COLD_BYTES; i += LINE_BYTES)
        ((volatile unsigned char *)other)[i]++;
}

static void report(struct bench *b, const struct instance *i, const char *status, const char *health)
{
    fold(b, (struct event){.kind = EVENT_INSTANCE_STATUS_CHANGE,
                           .instance_status_change = {
                               .instance_id = i->id, .status = str_from(status), .health = str_from(health)}});
}

static void settle(struct bench *b)
{
    for (bool more = true; more;) {
        AUTO(arena) struct arena a = {0};
        struct plan p;
        plan(b, &a, &p);
        for (size_t i = 0; i < p.events.n; i++)
            fold(b, p.events.items[i]);
        more = p.events.n > 0;
    }
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double median_us(int64_t *ns, size_t n)
{
    qsort(ns, n, sizeof(*ns), compare);
    return (double)ns[n / 2] / 1000.0;
}

static int64_t plan_ns(struct bench *b, bool fold_it)
{
    AUTO(arena) struct arena a = {0};
    struct plan p;
    struct timespec from, to;
    cool();
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    plan(b, &a, &p);
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    for (size_t i = 0; fold_it && i < p.events.n; i++)
        fold(b, p.events.items[i]);
    return (to.tv_sec - from.tv_sec) * INT64_C(1000000000) + to.tv_nsec - from.tv_nsec;
}

static const struct instance *any(struct bench *b, size_t round)
{
    size_t n = b->model->instances.n;
    return b->model->instances.items[(round * 7919 + 13) * (size_t)104729 % n];
}

static json_t *measure(size_t instances)
{
    struct bench b;
    int64_t nothing[ROUNDS], replaced[ROUNDS];
    begin(&b, NOW_MS, (unsigned)(instances / ON_A_NODE + 10), ON_A_NODE + 20);
    for (unsigned k = 0; k < instances / EACH; k++)
        (void)add_deployment(&b, k, EACH);
    settle(&b);
    MODEL_EACH (instance, i, &b.model->instances)
        report(&b, i, "running", "NOMINAL");
    settle(&b);
    b.now_ms += 10000;
    settle(&b); /* live */
    for (size_t r = 0; r < ROUNDS; r++) {
        report(&b, any(&b, r), "running", "NOMINAL");
        nothing[r] = plan_ns(&b, false);
    }
    for (size_t r = 0; r < ROUNDS; r++) {
        const struct instance *i = any(&b, r);
        report(&b, i, "lost", "");
        replaced[r] = plan_ns(&b, true);
        settle(&b);
    }
    plan_state_reset(b.planner);
    int64_t rebuild_ns = plan_ns(&b, false);
    size_t bytes = model_size_bytes(b.model), kept = plan_state_size_bytes(b.planner);
    json_t *row = json_pack("{s:I,s:I,s:f,s:f,s:f,s:I,s:I}", "instances", (json_int_t)b.model->instances.n, "nodes",
                            (json_int_t)b.model->nodes.n, "nothing_us", median_us(nothing, ROUNDS), "replace_us",
                            median_us(replaced, ROUNDS), "rebuild_ms", (double)rebuild_ns / 1e6, "model_bytes_each",
                            (json_int_t)(bytes / b.model->instances.n), "planner_bytes_each",
                            (json_int_t)(kept / b.model->instances.n));
    end(&b);
    return row;
}

int main(int argc, char **argv)
{
    struct errinfo err = {0};
    auto_json json_t *doc = json_object();
    json_t *rows = json_array();
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench-plan FOLDER INSTANCES...\n");
        return 2;
    }
    enum err rc = flood(argv[1], doc, &err);
    for (int i = 2; i < argc && rc == OK; i++) {
        uint64_t n = 0;
        if (!str_parse_u64(str_from(argv[i]), 10000000, &n) || n < EACH)
            rc = err_set(&err, ERR_INVALID, "'%s' is not a number of instances (100 to 10000000)", argv[i]);
        else
            json_array_append_new(rows, measure(n));
    }
    json_object_set_new(doc, "planning", rows);
    if (rc != OK) {
        (void)fprintf(stderr, "bench-plan: %s\n", err.msg);
        return err_exit_code(rc);
    }
    auto_free char *text = json_format(doc);
    (void)printf("%s\n", text);
    return 0;
}
