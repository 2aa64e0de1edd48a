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
    struct stream *stream;   /* NULL: it is for a document */
    struct call *call;       /* of the document */
    struct buf lines;        /* of the document so far */
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
    buf_done(&l->lines);
    free(l);
}

static void lines_came(void *ctx);

static void add_source(struct log_stream *l, struct bulk_queue *logs, struct id instance_id)
{
    if (id_is_none(instance_id))
        return;
    for (size_t i = 0; i < l->sources_n; i++)
        if (id_eq(l->sources[i].instance_id, instance_id))
            return;
    l->sources = mem_realloc(l->sources, (l->sources_n + 1) * sizeof(*l->sources));
    size_t tail_size = l->stream == NULL ? DOCUMENT_SIZE_MAX : 0;
    l->sources[l->sources_n++] =
        (struct source){instance_id, log_reader_new(logs, instance_id, tail_size, lines_came, l)};
}

/* Instances come while it follows. */
static void find_sources(struct log_stream *l, const struct control *control)
{
    const struct model *m = control_model(control);
    struct bulk_queue *logs = control_logs(control);
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

/* The source whose next line is the oldest of all. Who waits may have an older one: then nobody's is it. */
static enum log_have oldest(const struct log_stream *l, struct log_reader **ret, struct str *ret_line)
{
    enum log_have all = LOG_NONE;
    struct str line, best_time = {NULL, 0};
    for (size_t i = 0; i < l->sources_n; i++) {
        enum log_have have = log_reader_peek(l->sources[i].reader, &line);
        if (have == LOG_FAILED || (have == LOG_WAIT && all != LOG_FAILED)) {
            *ret = l->sources[i].reader;
            all = have;
        }
        struct str time = have == LOG_LINE ? line_time(line) : best_time;
        if (have != LOG_LINE || all > LOG_NONE || (all == LOG_LINE && str_cmp(time, best_time) >= 0))
            continue;
        all = LOG_LINE;
        *ret = l->sources[i].reader;
        best_time = time;
        *ret_line = line;
    }
    return all;
}

/* Nothing came: is that the end? */
static void pause_or_end(struct stream *s, struct log_stream *l, bool is_end)
{
    int64_t now_us = clock_mono_us();
    if (!is_end)
        return;
    if (l->quiet_since_us == 0)
        l->quiet_since_us = now_us;
    if (!l->follow || now_us - l->quiet_since_us >= LINGER_US)
        stream_end(s);
}

static void pump(struct stream *s, void *ctx, bool is_stopping)
{
    struct log_stream *l = ctx;
    const struct control *control = stream_api(s)->o.control;
    (void)is_stopping;
    l->stream = s;
    find_sources(l, control);
    bool is_end = nothing_more_comes(l, control_model(control));
    struct log_reader *r = NULL;
    struct str line;
    enum log_have have = LOG_NONE;
    while (stream_has_room(s) && (have = oldest(l, &r, &line)) == LOG_LINE) {
        stream_line(s, line, NULL);
        log_reader_next(r);
        l->quiet_since_us = 0;
    }
    if (stream_is_over(s) || have == LOG_LINE || have == LOG_WAIT)
        return;
    if (have == LOG_FAILED && !l->follow) { /* who follows sees them when they can be read again */
        log_err(control_logger(control), log_reader_error(r), "lines of instances");
        stream_end(s);
    } else if (have == LOG_NONE) {
        pause_or_end(s, l, is_end);
    }
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
static enum log_have collect_lines(struct log_stream *l, struct log_reader **ret_reader)
{
    struct str line;
    struct buf *out = &l->lines;
    enum log_have have;
    while ((have = oldest(l, ret_reader, &line)) == LOG_LINE) {
        buf_add_str(out, line);
        buf_add_char(out, '\n');
        log_reader_next(*ret_reader);
        if (out->len > 2 * DOCUMENT_SIZE_MAX)
            buf_consume(out, out->len - DOCUMENT_SIZE_MAX);
    }
    return have;
}

static void add_document(struct buf *lines, struct buf *text)
{
    if (lines->len > DOCUMENT_SIZE_MAX) {
        buf_consume(lines, lines->len - DOCUMENT_SIZE_MAX);
        buf_consume(lines, str_find(buf_str(lines), '\n') + 1); /* the rest of a line */
    }
    buf_add_c(text, "{\"items\":[");
    struct str rest = buf_str(lines), line;
    for (const char *sep = ""; rest.len > 0 && str_next(&rest, '\n', &line) && line.len > 0; sep = ",") {
        buf_add_c(text, sep);
        buf_add_str(text, line);
    }
    buf_add_c(text, "]}");
}

static void go_on_with_document(struct log_stream *l)
{
    struct log_reader *r = NULL;
    enum log_have have = collect_lines(l, &r);
    if (have == LOG_WAIT)
        return;
    if (have == LOG_FAILED) {
        call_reply_error(l->call, log_reader_error(r));
    } else {
        AUTO(buf) struct buf text = {0};
        add_document(&l->lines, &text);
        call_reply_text(l->call, 200, buf_str(&text));
    }
    log_stream_free(l);
}

/* What a reader waited for is there. */
static void lines_came(void *ctx)
{
    struct log_stream *l = ctx;
    struct stream *s = l->stream;
    if (s == NULL) {
        go_on_with_document(l);
        return;
    }
    stream_hold(s);
    if (!stream_is_over(s))
        pump(s, l, false);
    stream_release(s);
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
    struct log_stream *kept = mem_alloc(sizeof(*kept));
    *kept = l;
    if (format.ptr != NULL) {
        kept->call = c;
        find_sources(kept, c->api->o.control);
        go_on_with_document(kept);
        return;
    }
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
        call_reply_gone(c, OBJECT_IMAGE, l.image_id);
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
        call_reply_gone(c, OBJECT_PROCESS, l.deployment_id);
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
