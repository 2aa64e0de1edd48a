/* Logs: the lines of one instance, or of a deployment (its build, and every instance that it has), merged by time.
 * Without `follow` the answer ends with the last line that is kept; with it, it ends when nothing more can come.
 * format=json is one document {"items":[…]} with the newest lines, for tools that want no stream. */
#include "api/handlers.h"
#include "api/parts.h"
#include "api/stream.h"
#include "base/clock.h"
#include "base/own.h"

/* An agent sends the last lines some moments after the instance has ended (chosen: some of its batches). */
#define LINGER_US 3000000
/* Of one document: below the answer limit of our own client, 16 MiB (chosen). */
#define DOCUMENT_SIZE_MAX ((size_t)8 * 1024 * 1024)

struct source {
    struct id instance_id;
    struct log_reader *reader;
};

struct log_stream {
    struct id instance_id;   /* one instance; none: a deployment */
    struct id deployment_id; /* none: an image's build or an instance */
    struct id image_id;
    bool has_build, has_run, follow;
    struct source *sources;
    size_t sources_n;
    int64_t quiet_since_us; /* since when nothing more can come and nothing came; 0: not quiet */
};

static void log_stream_free(void *ctx)
{
    struct log_stream *l = ctx;
    for (size_t i = 0; i < l->sources_n; i++)
        log_reader_free(l->sources[i].reader);
    free(l->sources);
    free(l);
}

static void add_source(struct log_stream *l, const struct instance_logs *logs, struct id instance_id)
{
    if (id_is_none(instance_id))
        return;
    for (size_t i = 0; i < l->sources_n; i++)
        if (id_eq(l->sources[i].instance_id, instance_id))
            return;
    l->sources = mem_realloc(l->sources, (l->sources_n + 1) * sizeof(*l->sources));
    l->sources[l->sources_n++] = (struct source){instance_id, log_reader_new(logs, instance_id)};
}

/* Instances come while it follows. */
static void find_sources(struct log_stream *l, const struct control *control)
{
    const struct model *m = control_model(control);
    const struct instance_logs *logs = control_logs(control);
    const struct process *d = model_deployment(m, l->deployment_id);
    const struct image *image = model_image(m, d != NULL ? d->image_id : l->image_id);
    add_source(l, logs, l->instance_id);
    if (l->has_build && image != NULL)
        add_source(l, logs, image->builder_instance_id);
    if (!l->has_run || d == NULL)
        return;
    MODEL_EACH (instance, i, &d->instances) {
        add_source(l, logs, i->id);
    }
}

static bool instance_has_ended(const struct model *m, struct id id)
{
    const struct instance *i = model_instance(m, id);
    return i == NULL || i->status == INSTANCE_STOPPED || i->status == INSTANCE_FAILED || i->status == INSTANCE_LOST;
}

static bool nothing_more_comes(const struct log_stream *l, const struct model *m)
{
    if (!l->follow)
        return true;
    if (!id_is_none(l->instance_id))
        return instance_has_ended(m, l->instance_id);
    const struct process *d = model_deployment(m, l->deployment_id);
    if (!id_is_none(l->deployment_id) && (d == NULL || deployment_is_over(d)))
        return true;
    const struct image *image = model_image(m, d != NULL ? d->image_id : l->image_id);
    bool is_built = image != NULL && image->status != IMAGE_BUILDING;
    return l->has_run ? false : is_built;
}

/* Lines begin with {"time":"…", as fields_encode writes the table's first member. */
static struct str line_time(struct str line)
{
    struct str begin = STR("{\"time\":\"");
    if (!str_starts(line, begin))
        return (struct str){NULL, 0};
    struct str rest = str_slice(line, begin.len, line.len);
    return str_slice(rest, 0, str_find(rest, '"'));
}

/* The source whose next line is the oldest; NULL: none has one. */
static struct log_reader *oldest(const struct log_stream *l, struct str *ret_line)
{
    struct log_reader *best = NULL;
    struct str line, best_time = {NULL, 0};
    for (size_t i = 0; i < l->sources_n; i++) {
        if (!log_reader_peek(l->sources[i].reader, &line))
            continue;
        struct str time = line_time(line);
        if (best != NULL && str_cmp(time, best_time) >= 0)
            continue;
        best = l->sources[i].reader;
        best_time = time;
        *ret_line = line;
    }
    return best;
}

static void pump(struct stream *s, void *ctx, bool is_stopping)
{
    struct log_stream *l = ctx;
    const struct control *control = stream_api(s)->o.control;
    (void)is_stopping;
    find_sources(l, control);
    bool is_end = nothing_more_comes(l, control_model(control));
    struct log_reader *r = NULL;
    struct str line;
    while (stream_has_room(s) && (r = oldest(l, &line)) != NULL) {
        stream_line(s, line, NULL);
        log_reader_next(r);
        l->quiet_since_us = 0;
    }
    if (stream_is_over(s) || r != NULL || !is_end)
        return;
    int64_t now_us = clock_mono_us();
    if (l->quiet_since_us == 0)
        l->quiet_since_us = now_us;
    if (!l->follow || now_us - l->quiet_since_us >= LINGER_US)
        stream_end(s);
}

static bool query_flag(struct call *c, const char *name, bool *ret)
{
    struct str text = call_query_str(c, name);
    *ret = str_eq_c(text, "true") || str_eq_c(text, "1");
    if (text.ptr == NULL || *ret || str_eq_c(text, "false") || str_eq_c(text, "0"))
        return true;
    call_reply_problem(c, 400, err_name(ERR_INVALID), "query parameter '%s' must be true or false", name);
    return false;
}

/* Every line with its newline; of more than DOCUMENT_SIZE_MAX the newest. */
static void collect_lines(const struct log_stream *l, struct buf *out)
{
    struct str line;
    for (struct log_reader *r = oldest(l, &line); r != NULL; r = oldest(l, &line)) {
        buf_add_str(out, line);
        buf_add_char(out, '\n');
        log_reader_next(r);
        if (out->len > 2 * DOCUMENT_SIZE_MAX)
            buf_consume(out, out->len - DOCUMENT_SIZE_MAX);
    }
    if (out->len <= DOCUMENT_SIZE_MAX)
        return;
    buf_consume(out, out->len - DOCUMENT_SIZE_MAX);
    buf_consume(out, str_find(buf_str(out), '\n') + 1); /* the rest of a line */
}

static void reply_document(struct call *c, struct log_stream *l)
{
    AUTO(buf) struct buf lines = {0};
    AUTO(buf) struct buf text = {0};
    find_sources(l, c->api->o.control);
    collect_lines(l, &lines);
    buf_add_c(&text, "{\"items\":[");
    struct str rest = buf_str(&lines), line;
    for (const char *sep = ""; rest.len > 0 && str_next(&rest, '\n', &line) && line.len > 0; sep = ",") {
        buf_add_c(&text, sep);
        buf_add_str(&text, line);
    }
    buf_add_c(&text, "]}");
    for (size_t i = 0; i < l->sources_n; i++)
        log_reader_free(l->sources[i].reader);
    free(l->sources);
    call_reply_text(c, 200, buf_str(&text));
}

static void begin(struct call *c, const struct log_stream *asked)
{
    struct log_stream l = *asked;
    struct str format = call_query_str(c, "format");
    if (!query_flag(c, "follow", &l.follow))
        return;
    if (format.ptr != NULL && (!str_eq_c(format, "json") || l.follow)) {
        call_reply_problem(c, 400, err_name(ERR_INVALID), "query parameter 'format' may be 'json', without 'follow'");
        return;
    }
    if (control_logs(c->api->o.control) == NULL) {
        call_reply_problem(c, 503, err_name(ERR_UNAVAILABLE), "this replica keeps no logs of instances");
        return;
    }
    if (format.ptr != NULL) {
        reply_document(c, &l);
        return;
    }
    struct log_stream *kept = mem_alloc(sizeof(*kept));
    *kept = l;
    stream_begin(c, &(struct stream_source){.ctx = kept, .pump = pump, .free = log_stream_free});
}

void instance_logs_get(struct call *c)
{
    struct log_stream l = {0};
    if (!call_id(c, "id", "instance", &l.instance_id))
        return;
    if (model_instance(call_model(c), l.instance_id) == NULL)
        call_reply_missing(c, "instance");
    else
        begin(c, &l);
}

void image_logs_get(struct call *c)
{
    struct log_stream l = {.has_build = true};
    if (!call_id(c, "id", "image", &l.image_id))
        return;
    if (model_image(call_model(c), l.image_id) == NULL)
        call_reply_missing(c, "image");
    else
        begin(c, &l);
}

void deployment_logs_get(struct call *c)
{
    struct log_stream l = {.has_build = true, .has_run = true};
    struct str source = call_query_str(c, "source");
    if (!call_id(c, "id", "deployment", &l.deployment_id))
        return;
    if (model_deployment(call_model(c), l.deployment_id) == NULL) {
        call_reply_missing(c, "deployment");
        return;
    }
    if (source.ptr != NULL && !str_eq_c(source, "build") && !str_eq_c(source, "run")) {
        call_reply_problem(c, 400, err_name(ERR_INVALID), "query parameter 'source' must be 'build' or 'run'");
        return;
    }
    l.has_build = !str_eq_c(source, "run");
    l.has_run = !str_eq_c(source, "build");
    begin(c, &l);
}
