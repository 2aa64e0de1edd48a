#include "bootstrap/prod_bootstrap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/checkpoint.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "store/store.h"

/* An effect that fails is tried again every 200 ms, for a minute (chosen: an agent's start takes less than one second).
 */
enum { RETRY_MS = 200, EFFECT_TIMEOUT_MS_DEFAULT = 60000 };

struct run {
    const struct bootstrap_options *o;
    struct model *model;
    struct store *log;
    uint64_t done; /* effects up to here were carried out by the run that was interrupted */
};
/* The checkpoint holds no model: the log is short, only its effects are not done again. */
enum { CHECKPOINT_FORMAT = 1 };

static enum err open_log(const char *file, struct store **ret, struct errinfo *err)
{
    auto_free char *spec = mem_printf("jsonl;path=%s", file);
    struct store_options o = {.mode = STORE_READ};
    enum err rc = store_open(spec, &o, ret, NULL, err);
    return rc == OK ? OK : err_wrap(err, rc, "bootstrap log '%s'", file);
}

/* Call `each` for every record. */
static enum err read_log(struct store *store,
                         enum err (*each)(void *ctx, const struct store_record *r, struct errinfo *err), void *ctx,
                         struct errinfo *err)
{
    for (uint64_t after = 0;;) {
        AUTO(store_batch) struct store_batch batch = {0};
        enum err rc = store_read(store, after, 0, 0, &batch, err);
        if (rc != OK || batch.n == 0)
            return rc;
        for (size_t i = 0; rc == OK && i < batch.n; i++)
            rc = each(ctx, &batch.items[i], err);
        if (rc != OK)
            return rc;
        after = batch.items[batch.n - 1].seq;
    }
}

static enum err fold(struct model *m, const struct store_record *r, struct arena *a, struct event *ret,
                     struct errinfo *err)
{
    enum err rc = event_decode(&r->e, a, ret, err);
    if (rc == OK)
        rc = model_apply(m, ret, err);
    return rc == OK ? OK : err_wrap(err, rc, "event %llu", (unsigned long long)r->seq);
}

/* What a bootstrap log's CreateProcess says of how its program is run: {"runAs":…,"capabilities":[…],"settings":{…}} */
static void add_process_config(const struct process *p, struct arena *a, struct instance_spec *spec)
{
    auto_json json_t *config = NULL;
    if (p->config[0] == '\0' || json_parse(str_from(p->config), &config, NULL) != OK)
        return;
    spec->run_as = arena_str(a, json_member_str(config, "runAs"));
    const json_t *capabilities = json_object_get(config, "capabilities"),
                 *settings = json_object_get(config, "settings");
    spec->capabilities.n = json_array_size(capabilities);
    spec->capabilities.items = arena_alloc(a, spec->capabilities.n * sizeof(struct str));
    for (size_t i = 0; i < spec->capabilities.n; i++)
        spec->capabilities.items[i] = arena_str(a, str_from(json_string_value(json_array_get(capabilities, i))));
    if (settings != NULL) {
        auto_free char *text = json_format(settings);
        spec->config = arena_str(a, str_from(text));
    }
}

static struct instance_spec spec_of(const struct instance *i, struct arena *a)
{
    struct instance_spec spec = {.instance_id = i->id,
                                 .process_id = i->process->id,
                                 .name = str_from(i->process->name),
                                 .owner = str_from(i->owner),
                                 .runtime = str_from(i->runtime),
                                 .artifact_url = str_from(i->process->artifact_url)};
    spec.workloads.n = i->workloads.n;
    spec.workloads.items = arena_alloc(a, i->workloads.n * sizeof(struct str));
    for (uint32_t k = 0; k < i->workloads.n; k++)
        spec.workloads.items[k] = str_from(i->workloads.items[k]);
    add_process_config(i->process, a, &spec);
    return spec;
}

static bool runner_node(const struct instance *i, struct str *ret_name)
{
    struct str url = str_from(i->runner_url);
    if (!str_starts(url, STR("node:")))
        return false;
    *ret_name = str_slice(url, 5, url.len);
    return true;
}

static bool is_worth_a_retry(enum err rc)
{
    return rc == ERR_UNAVAILABLE || rc == ERR_IO;
}

static enum err start_until_it_succeeds(struct run *r, const struct instance *i, struct errinfo *err)
{
    struct str name;
    struct runner runner = {0};
    if (!runner_node(i, &name))
        return err_set(err, ERR_INVALID, "runnerUrl '%s' is not node:<name>", i->runner_url);
    enum err rc = r->o->find_runner(r->o->ctx, name, &runner, err);
    if (rc != OK)
        return rc;
    AUTO(arena) struct arena a = {0};
    struct instance_spec spec = spec_of(i, &a);
    int64_t timeout_ms = r->o->effect_timeout_ms == 0 ? EFFECT_TIMEOUT_MS_DEFAULT : r->o->effect_timeout_ms;
    int64_t until_us = clock_mono_us() + timeout_ms * 1000;
    while ((rc = runner_start(&runner, &spec, err)) != OK && is_worth_a_retry(rc) && clock_mono_us() < until_us)
        usleep(RETRY_MS * 1000);
    if (rc == OK) {
        char text[160];
        (void)snprintf(text, sizeof(text), "%s on %.*s", i->process->name, STR_ARG(name));
        r->o->say(r->o->ctx, text);
    }
    return rc;
}

/* Level-triggered: what the model wants now, done again without harm. */
static enum err effects_of(struct run *r, const struct event *ev, struct errinfo *err)
{
    if (ev->kind != EVENT_CREATE_INSTANCE)
        return OK;
    const struct instance *i = model_instance(r->model, ev->create_instance.instance_id);
    return i == NULL ? OK : start_until_it_succeeds(r, i, err);
}

static enum err note(const struct run *r, const struct store_record *record, struct errinfo *err)
{
    struct checkpoint c = {
        .log = store_log_id(r->log), .pos = {record->seq, record->e.sum}, .format = CHECKPOINT_FORMAT};
    return checkpoint_save(r->o->checkpoint_file, &c, err);
}

static uint64_t noted(const struct run *r)
{
    AUTO(buf) struct buf bytes = {0};
    struct checkpoint c;
    return checkpoint_load(r->o->checkpoint_file, r->log, CHECKPOINT_FORMAT, &bytes, &c, NULL) == OK ? c.pos.seq : 0;
}

static enum err run_event(void *ctx, const struct store_record *record, struct errinfo *err)
{
    struct run *r = ctx;
    AUTO(arena) struct arena a = {0};
    struct event ev;
    enum err rc = fold(r->model, record, &a, &ev, err);
    if (rc != OK || record->seq <= r->done)
        return rc;
    rc = effects_of(r, &ev, err);
    return rc == OK ? note(r, record, err) : err_wrap(err, rc, "event %llu", (unsigned long long)record->seq);
}

enum err bootstrap_run(const struct bootstrap_options *o, struct errinfo *err)
{
    struct run r = {.o = o};
    enum err rc = open_log(o->log_file, &r.log, err);
    if (rc != OK)
        return rc;
    r.model = model_new();
    r.done = noted(&r);
    rc = read_log(r.log, run_event, &r, err);
    model_free(r.model);
    store_close(r.log);
    if (rc == OK && unlink(o->checkpoint_file) != 0 && errno != ENOENT)
        return err_set_os(err, ERR_IO, errno, "remove '%s'", o->checkpoint_file);
    return rc;
}

struct check {
    struct model *model;
    void (*on_line)(void *ctx, const struct bootstrap_line *l);
    void *ctx;
    uint64_t bad, line;
    uint32_t sum;
    struct event_time last;
};

static enum err check_line(struct check *c, struct str line, struct errinfo *err)
{
    struct envelope e;
    AUTO(arena) struct arena a = {0};
    struct event ev;
    enum err rc = envelope_decode(line, c->sum, &e, err);
    if (rc != OK)
        return rc;
    c->sum = e.has_sum ? e.sum : c->sum;
    if (event_time_cmp(e.time, c->last) <= 0)
        return err_set(err, ERR_INVALID, "its time does not rise above that of the line before");
    c->last = e.time;
    rc = event_decode(&e, &a, &ev, err);
    return rc == OK ? model_apply(c->model, &ev, err) : rc;
}

/* 64 MiB (chosen): a hardcoded log is read by people. */
enum { LOG_SIZE_MAX = 64 * 1024 * 1024 };

static enum err read_text(const char *file, struct buf *ret, struct errinfo *err)
{
    FILE *f = fopen(file, "re");
    if (f == NULL)
        return err_set_os(err, ERR_NOT_FOUND, errno, "open '%s'", file);
    char bytes[16384];
    size_t n = 0;
    do {
        n = fread(bytes, 1, sizeof(bytes), f);
        buf_add(ret, bytes, n);
    } while (n == sizeof(bytes) && ret->len <= LOG_SIZE_MAX);
    bool is_bad = ferror(f) != 0;
    (void)fclose(f);
    if (is_bad)
        return err_set(err, ERR_IO, "read '%s'", file);
    return ret->len > LOG_SIZE_MAX ? err_set(err, ERR_LIMIT, "'%s' is bigger than 64 MiB", file) : OK;
}

enum err bootstrap_check(const char *log_file, void (*on_line)(void *ctx, const struct bootstrap_line *l), void *ctx,
                         uint64_t *ret_bad, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    enum err rc = read_text(log_file, &text, err);
    if (rc != OK)
        return rc;
    struct check c = {.model = model_new(), .on_line = on_line, .ctx = ctx, .last = EVENT_TIME_MIN};
    struct str rest = buf_str(&text), line;
    while (str_next(&rest, '\n', &line)) {
        if (line.len == 0)
            continue;
        struct errinfo why = {0};
        c.line++;
        bool ok = check_line(&c, line, &why) == OK;
        c.bad += !ok;
        on_line(ctx, &(struct bootstrap_line){c.line, ok, ok ? "" : why.msg});
    }
    model_free(c.model);
    *ret_bad = c.bad;
    return OK;
}

struct collect {
    struct model *model;
    struct arena *arena;
    struct bootstrap_instance *items;
    size_t n;
};

static enum err collect_event(void *ctx, const struct store_record *record, struct errinfo *err)
{
    struct collect *c = ctx;
    struct event ev;
    AUTO(arena) struct arena a = {0};
    enum err rc = fold(c->model, record, &a, &ev, err);
    if (rc != OK || ev.kind != EVENT_CREATE_INSTANCE)
        return rc;
    const struct instance *i = model_instance(c->model, ev.create_instance.instance_id);
    struct str node;
    if (i == NULL || !runner_node(i, &node))
        return OK;
    c->items = mem_realloc(c->items, (c->n + 1) * sizeof(*c->items));
    c->items[c->n++] =
        (struct bootstrap_instance){i->id, arena_str(c->arena, node), arena_str(c->arena, str_from(i->process->name))};
    return OK;
}

enum err bootstrap_instances(const char *log_file, struct arena *a, struct bootstrap_instance **ret, size_t *ret_n,
                             struct errinfo *err)
{
    struct collect c = {.model = model_new(), .arena = a};
    struct store *log = NULL;
    enum err rc = open_log(log_file, &log, err);
    if (rc == OK)
        rc = read_log(log, collect_event, &c, err);
    store_close(log);
    model_free(c.model);
    if (rc == OK) {
        *ret = arena_alloc(a, c.n * sizeof(*c.items));
        if (c.n > 0)
            memcpy(*ret, c.items, c.n * sizeof(*c.items));
        *ret_n = c.n;
    }
    free(c.items);
    return rc;
}
