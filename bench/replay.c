/* bench-replay ROUNDS FOLDER FILE... - how fast logs are read, checked, decoded and folded into the platform's model,
 * on one core.
 *
 * Each file is a log of one story (tests/sim --record) or a longer one (bench-record). Parts are measured by passes
 * over its bytes in memory that do more and more: lines found; their sums; records (envelope_decode); payloads
 * (event_decode); model_apply. `store` is all of it through store_read from a files store in FOLDER (empty), as a
 * program does it at its start. `jansson`: json_loadb of every line and nothing else. Prints one JSON document. Not
 * installed; bench/run calls it. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "event/hash.h"
#include "os/file.h"
#include "platform/model.h"
#include "store/store.h"

enum { LOG_SIZE_MAX = 1 << 30, ROUNDS_MAX = 100 };

struct log {
    const char *path;
    char *spec; /* of its copy in a files store */
    struct buf bytes;
};
struct bench {
    struct log *logs;
    size_t logs_n;
    uint64_t events, bytes, kinds[EVENT_KIND_MAX_];
};

enum part { LINES, SUMS, RECORDS, PAYLOADS, FOLD, PARTS_N };

/* One pass over one log. */
static enum err pass_log(const struct log *log, enum part upto, uint64_t *kinds, struct errinfo *err)
{
    struct model *m = model_new();
    AUTO(arena) struct arena arena = {0};
    enum err rc = OK;
    uint32_t sum = 0;
    size_t newline = 0;
    for (struct str rest = buf_str(&log->bytes); rest.len > 0 && rc == OK;
         rest = str_slice(rest, newline + 1, rest.len)) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        struct envelope e;
        struct event ev;
        newline = (size_t)(end - rest.ptr);
        struct str line = {rest.ptr, newline};
        if (upto == SUMS) /* without its own tail, as envelope_decode */
            sum = crc32c(sum, line.ptr, line.len - 25);
        if (upto >= RECORDS)
            rc = envelope_decode(line, sum, &e, err);
        if (upto >= RECORDS)
            sum = e.sum;
        if (upto >= PAYLOADS && rc == OK)
            rc = event_decode(&e, &arena, &ev, err);
        if (upto == FOLD && rc == OK)
            rc = model_apply(m, &ev, err);
        if (upto >= PAYLOADS && kinds != NULL)
            kinds[ev.kind]++;
        arena_reset(&arena);
    }
    __asm__ volatile("" : : "r"(sum)); /* a sum that nobody looks at is still made */
    model_free(m);
    return rc == OK ? OK : err_wrap(err, rc, "'%s'", log->path);
}

static enum err pass_store(const struct log *log, struct errinfo *err)
{
    struct store *s = NULL;
    enum err rc = store_open(log->spec, &(struct store_options){.mode = STORE_READ}, &s, NULL, err);
    struct model *m = model_new();
    AUTO(arena) struct arena arena = {0};
    for (bool is_end = false; rc == OK && !is_end;) {
        AUTO(store_batch) struct store_batch batch = {0};
        rc = store_read(s, m->seq, 1000, 0, &batch, err);
        is_end = batch.n == 0;
        for (size_t i = 0; i < batch.n && rc == OK; i++) {
            struct event ev;
            rc = event_decode(&batch.items[i].e, &arena, &ev, err);
            if (rc == OK)
                rc = model_apply(m, &ev, err);
            arena_reset(&arena);
        }
    }
    store_close(s);
    model_free(m);
    return rc;
}

static enum err pass_jansson(const struct log *log, struct errinfo *err)
{
    size_t newline = 0;
    for (struct str rest = buf_str(&log->bytes); rest.len > 0; rest = str_slice(rest, newline + 1, rest.len)) {
        newline = (size_t)((const char *)memchr(rest.ptr, '\n', rest.len) - rest.ptr);
        auto_json json_t *doc = json_loadb(rest.ptr, newline, 0, NULL);
        if (doc == NULL)
            return err_set(err, ERR_CORRUPT, "'%s' has a line that is not JSON", log->path);
    }
    return OK;
}

static double per_second(const struct bench *b, int64_t us)
{
    return (double)b->events / ((double)(us == 0 ? 1 : us) / 1e6);
}

/* Processor time of this process: what else runs here makes it wait, but not much longer. */
static int64_t spent_us(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static enum err measure(const struct bench *b, int part, int64_t *ret_us, struct errinfo *err)
{
    enum err rc = OK;
    int64_t from_us = spent_us();
    for (size_t i = 0; i < b->logs_n && rc == OK; i++)
        rc = part == PARTS_N       ? pass_store(&b->logs[i], err)
             : part == PARTS_N + 1 ? pass_jansson(&b->logs[i], err)
                                   : pass_log(&b->logs[i], (enum part)part, NULL, err);
    *ret_us = spent_us() - from_us;
    return rc;
}

static enum err copy_log(struct log *log, const char *folder, size_t i, struct errinfo *err)
{
    auto_free char *spec = mem_printf("jsonl;path=%s", log->path);
    log->spec = mem_printf("files;path=%s/%zu", folder, i);
    struct store *from = NULL, *to = NULL;
    struct store_copied copied;
    enum err rc = store_open(spec, &(struct store_options){.mode = STORE_READ}, &from, NULL, err);
    if (rc == OK)
        rc = store_open(log->spec, NULL, &to, NULL, err);
    if (rc == OK)
        rc = store_copy(from, (struct store_pos){0}, to, &copied, err);
    store_close(from);
    store_close(to);
    return rc;
}

static enum err load(struct bench *b, const char *folder, char **paths, size_t n, struct errinfo *err)
{
    b->logs = mem_calloc(n, sizeof(*b->logs));
    b->logs_n = n;
    for (size_t i = 0; i < n; i++) {
        struct log *log = &b->logs[i];
        log->path = paths[i];
        enum err rc = file_read(paths[i], LOG_SIZE_MAX, &log->bytes, err);
        if (rc == OK && (log->bytes.len == 0 || log->bytes.ptr[log->bytes.len - 1] != '\n'))
            rc = err_set(err, ERR_INVALID, "'%s' does not end in a line", paths[i]);
        if (rc == OK)
            rc = pass_log(log, FOLD, b->kinds, err);
        if (rc == OK)
            rc = copy_log(log, folder, i, err);
        if (rc != OK)
            return rc;
        b->bytes += log->bytes.len;
    }
    for (unsigned k = 0; k < EVENT_KIND_MAX_; k++)
        b->events += b->kinds[k];
    return b->events > 0 ? OK : err_set(err, ERR_INVALID, "there are no events");
}

static json_t *mix(const struct bench *b)
{
    json_t *doc = json_object();
    for (unsigned k = 0; k < EVENT_KIND_MAX_; k++)
        if (b->kinds[k] > 0)
            json_object_set_new(doc, event_kind_row((enum event_kind)k)->name,
                                json_real((double)(b->kinds[k] * 10000 / b->events) / 100));
    return doc;
}

static enum err run(struct bench *b, uint64_t rounds, json_t *doc, struct errinfo *err)
{
    static const char *const NAMES[] = {"lines", "sums", "records", "payloads", "fold", "store", "jansson"};
    json_t *rates = json_object();
    json_object_set_new(doc, "events", json_integer((json_int_t)b->events));
    json_object_set_new(doc, "mean_bytes", json_integer((json_int_t)(b->bytes / b->events)));
    json_object_set_new(doc, "mix_percent", mix(b));
    json_object_set_new(doc, "events_per_s", rates);
    for (int part = 0; part < PARTS_N + 2; part++)
        json_object_set_new(rates, NAMES[part], json_array());
    for (uint64_t r = 0; r < rounds; r++) /* all parts in turn: a machine that is slow for a while is slow for each */
        for (int part = 0; part < PARTS_N + 2; part++) {
            int64_t us = 0;
            enum err rc = measure(b, part, &us, err);
            if (rc != OK)
                return rc;
            json_array_append_new(json_object_get(rates, NAMES[part]), json_integer((json_int_t)per_second(b, us)));
        }
    return OK;
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    struct errinfo err = {0};
    uint64_t rounds = 0;
    if (argc < 4 || !str_parse_u64(str_from(argv[1]), ROUNDS_MAX, &rounds) || rounds == 0) {
        (void)fprintf(stderr, "usage: bench-replay ROUNDS FOLDER FILE...\n");
        return 2;
    }
    auto_json json_t *doc = json_object();
    enum err rc = load(&b, argv[2], argv + 3, (size_t)argc - 3, &err);
    if (rc == OK)
        rc = run(&b, rounds, doc, &err);
    for (size_t i = 0; i < b.logs_n; i++) {
        buf_done(&b.logs[i].bytes);
        free(b.logs[i].spec);
    }
    free(b.logs);
    if (rc != OK) {
        (void)fprintf(stderr, "bench-replay: %s\n", err.msg);
        return err_exit_code(rc);
    }
    auto_free char *text = json_format(doc);
    (void)printf("%s\n", text);
    return 0;
}
