/* slipform eventlog replay: is the platform's fold of a log the same every time, and the same as another build's? */
#include <stdio.h>

#include "app/replay.h"
#include "base/own.h"
#include "bootstrap/fold_record.h"
#include "cli/eventlog.h"
#include "store/durable.h"

/* A trace of another build: a line for each `every`th event of the biggest logs that were ever read here (chosen). */
#define TRACE_SIZE_MAX 1073741824u

struct fold {
    struct store *log;
    struct model *m;
};

static void *make(void *ctx)
{
    struct fold *f = mem_alloc(sizeof(*f));
    *f = (struct fold){ctx, model_new()};
    return f;
}

static void discard(void *model)
{
    struct fold *f = model;
    model_free(f->m);
    free(f);
}

static enum err apply(void *model, const struct store_record *r, struct errinfo *err)
{
    struct fold *f = model;
    return fold_record(f->log, f->m, r, err);
}

static void hash(const void *model, uint8_t ret_hash[static HASH_SIZE])
{
    model_hash(((const struct fold *)model)->m, ret_hash);
}

static enum err write_trace(const char *path, struct str trace, struct errinfo *err)
{
    bool is_good = false;
    if (strcmp(path, "-") == 0) {
        is_good = fwrite(trace.ptr, 1, trace.len, stdout) == trace.len && fflush(stdout) == 0;
    } else {
        FILE *f = fopen(path, "we");
        is_good = f != NULL && fwrite(trace.ptr, 1, trace.len, f) == trace.len;
        is_good = f != NULL && fclose(f) == 0 && is_good;
    }
    return is_good ? OK : err_set(err, ERR_IO, "cannot write the trace to '%s'", path);
}

static enum err compare_trace(const char *path, struct str ours, struct replay_verdict *ret, struct errinfo *err)
{
    AUTO(buf) struct buf theirs = {0};
    enum err rc = durable_read(path, TRACE_SIZE_MAX, &theirs, err);
    return rc == OK ? replay_trace_compare(buf_str(&theirs), ours, ret, err) : rc;
}

static int say(const struct cli *c, const struct replay_verdict *v)
{
    if (c->json) {
        AUTO(buf) struct buf line = {0};
        buf_addf(&line, "{\"same\":%s,\"events\":%llu,\"seq\":%llu,\"cause\":", v->is_same ? "true" : "false",
                 (unsigned long long)v->events, (unsigned long long)v->seq);
        buf_add_json_string(&line, str_from(v->cause));
        (void)printf("%s}\n", line.ptr);
    } else if (v->is_same) {
        (void)printf("%llu events, folded alike%s%s\n", (unsigned long long)v->events, v->seq > 0 ? "; then " : "",
                     v->cause);
    } else {
        (void)printf("%llu events are folded alike; after event %llu the folds differ: %s\n",
                     (unsigned long long)v->events, (unsigned long long)v->seq, v->cause);
    }
    return v->is_same ? 0 : 1;
}

int eventlog_replay(struct cli *c, const char *log)
{
    struct store *s = NULL;
    struct errinfo err = {0};
    struct replay_verdict v = {.is_same = true};
    const char *to = cli_text(c, "trace"), *against = cli_text(c, "against");
    uint64_t every = (uint64_t)cli_count(c, "every", 1000);
    enum err rc = eventlog_open(log, STORE_READ, &s, &err);
    struct replay_fold fold = {
        .name = "this build", .ctx = s, .make = make, .discard = discard, .apply = apply, .hash = hash};
    if (rc == OK && to == NULL && against == NULL) {
        rc = replay_twice(s, &fold, every, &v, &err);
    } else if (rc == OK) {
        AUTO(buf) struct buf trace = {0};
        rc = replay_trace(s, &fold, every, &trace, &err);
        if (rc == OK && to != NULL)
            rc = write_trace(to, buf_str(&trace), &err);
        if (rc == OK && against != NULL)
            rc = compare_trace(against, buf_str(&trace), &v, &err);
    }
    store_close(s);
    if (rc != OK)
        return cli_fail(c, &err);
    return to != NULL && against == NULL ? 0 : say(c, &v);
}
