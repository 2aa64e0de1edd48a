/* Bulk stores: what is the same for every kind. A series' writers do not wait for each other: each chunk is put behind
 * the last line that its writer believes in, and when that is not so any more, what is there now is skipped. */
#include "store/bulk.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "store/bulk_kind.h"
#include "store/store.h"

/* Series whose end a handle remembers; beyond that it asks again (chosen: 100 bytes each). */
#define KNOWN_MAX 8192u
/* Writers of one series that are met in a row before it is given up (chosen). */
enum { TRIES_MAX = 8 };

static const struct bulk_kind *const KINDS[] = {&BULK_FOLDER, &BULK_JETSTREAM, &BULK_POSTGRES};

bool bulk_name_is_fine(const char *series)
{
    size_t n = strspn(series, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");
    return n > 0 && n < BULK_NAME_SIZE && series[n] == '\0';
}

/* ---- lines ---- */

bool bulk_line_seq(struct str line, int64_t *ret)
{
    static const char KEY[] = "\"seq\":";
    const size_t key_n = sizeof(KEY) - 1;
    const char *at = line.ptr, *end = line.ptr + line.len;
    /* Unescaped quotes around it: it is the name of a member, whatever texts say. */
    while (line.len > 0 && (at = memmem(at, (size_t)(end - at), KEY, key_n)) != NULL) {
        if (at > line.ptr && (at[-1] == '{' || at[-1] == ',')) {
            const char *digits = at + key_n, *stop = digits;
            while (stop < end && *stop >= '0' && *stop <= '9')
                stop++;
            return str_parse_i64((struct str){digits, (size_t)(stop - digits)}, ret) && *ret > 0;
        }
        at += key_n;
    }
    return false;
}

static enum err check_lines(struct str lines, struct errinfo *err)
{
    struct str rest = lines, line;
    int64_t before = 0, seq = 0;
    if (lines.len > BULK_APPEND_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "%zu bytes of lines, at most %zu are taken at once", lines.len,
                       BULK_APPEND_SIZE_MAX);
    if (lines.len > 0 && lines.ptr[lines.len - 1] != '\n')
        return err_set(err, ERR_INVALID, "the last line has no newline");
    for (size_t n = 1; rest.len > 0 && str_next(&rest, '\n', &line); n++, before = seq) {
        if (line.len + 1 > BULK_LINE_SIZE_MAX)
            return err_set(err, ERR_LIMIT, "line %zu has %zu bytes, at most %zu are kept", n, line.len,
                           BULK_LINE_SIZE_MAX);
        if (!bulk_line_seq(line, &seq))
            return err_set(err, ERR_INVALID, "line %zu has no member \"seq\" with a number from 1", n);
        if (seq <= before)
            return err_set(err, ERR_INVALID, "line %zu has number %lld, behind %lld", n, (long long)seq,
                           (long long)before);
    }
    return OK;
}

/* What follows the lines up to `after`. */
static struct str lines_behind(struct str lines, int64_t after)
{
    struct str rest = lines, line;
    int64_t seq = 0;
    for (struct str from = rest; rest.len > 0 && str_next(&rest, '\n', &line); from = rest)
        if (bulk_line_seq(line, &seq) && seq > after)
            return from;
    return (struct str){NULL, 0};
}

/* Whole lines from the first on, at most a chunk. */
static struct str first_chunk(struct str lines, int64_t *ret_last)
{
    struct str rest = lines, line;
    size_t n = 0;
    while (rest.len > 0 && str_next(&rest, '\n', &line) && (n == 0 || n + line.len + 1 <= BULK_CHUNK_SIZE_MAX)) {
        n += line.len + 1;
        (void)bulk_line_seq(line, ret_last); /* checked before */
    }
    return str_slice(lines, 0, n);
}

/* ---- what is known of a series ---- */

static void forget_all(struct bulk *b)
{
    struct bulk_known *k = b->known, *next = NULL;
    HASH_CLEAR(hh, b->known); /* frees the table; the rows stay chained */
    for (; k != NULL; k = next) {
        next = k->hh.next;
        free(k);
    }
}

static void forget(struct bulk *b, const char *series)
{
    struct bulk_known *k = NULL;
    HASH_FIND(hh, b->known, series, strlen(series), k);
    if (k != NULL) {
        HASH_DEL(b->known, k);
        free(k);
    }
}

/* *ret_is_new: its end was just asked for. */
static enum err known_get(struct bulk *b, const char *series, struct bulk_known **ret, bool *ret_is_new,
                          struct errinfo *err)
{
    struct bulk_known *k = NULL;
    HASH_FIND(hh, b->known, series, strlen(series), k);
    *ret_is_new = k == NULL;
    if (k == NULL) {
        if (HASH_COUNT(b->known) >= KNOWN_MAX)
            forget_all(b);
        k = mem_alloc(sizeof(*k));
        *k = (struct bulk_known){0};
        memcpy(k->name, series, strlen(series));
        HASH_ADD(hh, b->known, name, strlen(k->name), k);
        enum err rc = b->kind->end(b, k, err);
        if (rc != OK) {
            forget(b, series);
            return rc;
        }
    }
    *ret = k;
    return OK;
}

/* ---- the calls ---- */

enum err bulk_open(const char *spec, const struct bulk_limits *limits, struct bulk **ret, struct errinfo *err)
{
    struct str rest = str_from(spec), name = {NULL, 0};
    (void)str_next(&rest, ';', &name);
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++) {
        if (!str_eq_c(name, KINDS[i]->name))
            continue;
        struct bulk *b = mem_alloc(sizeof(*b));
        *b = (struct bulk){.kind = KINDS[i]};
        if (limits != NULL)
            b->limits = *limits;
        if (b->limits.size_bytes == 0)
            b->limits.size_bytes = BULK_SIZE_DEFAULT;
        if (b->limits.kept_s == 0)
            b->limits.kept_s = BULK_KEPT_S_DEFAULT;
        enum err rc = b->kind->open(b, spec, err);
        if (rc != OK)
            bulk_close(b);
        else
            *ret = b;
        return rc;
    }
    return err_set(err, ERR_INVALID, "bulk store '%.16s…': use folder;path=DIR, postgres;… or jetstream;…", spec);
}

void bulk_close(struct bulk *b)
{
    if (b == NULL)
        return;
    forget_all(b);
    store_close(b->log);
    free(b->path);
    free(b);
}

static enum err check_name(const char *series, struct errinfo *err)
{
    return bulk_name_is_fine(series)
               ? OK
               : err_set(err, ERR_INVALID, "'%.70s' is no name of a series: up to 63 letters, digits, '-', '_'",
                         series);
}

static enum err conflict(const char *series, int64_t last, int64_t expect, int64_t *ret_seq, struct errinfo *err)
{
    *ret_seq = last;
    return err_set(err, ERR_CONFLICT, "series '%s' ends at %lld, not at %lld", series, (long long)last,
                   (long long)expect);
}

enum err bulk_append(struct bulk *b, const char *series, struct str lines, int64_t expect, uint64_t size_max,
                     int64_t *ret_seq, struct errinfo *err)
{
    struct bulk_known *k = NULL;
    bool is_new = false;
    enum err rc = check_name(series, err);
    if (rc == OK)
        rc = check_lines(lines, err);
    if (rc == OK)
        rc = known_get(b, series, &k, &is_new, err);
    if (rc == OK && expect != BULK_ANY && k->last != expect && !is_new)
        rc = b->kind->end(b, k, err); /* it may have learned of news elsewhere */
    for (int tries = 0; rc == OK;) {
        int64_t last = 0;
        if (expect != BULK_ANY && k->last != expect)
            return conflict(series, k->last, expect, ret_seq, err);
        struct str chunk = first_chunk(lines_behind(lines, k->last), &last);
        if (chunk.len == 0) {
            *ret_seq = k->last;
            return OK;
        }
        rc = b->kind->put(b, k, chunk, last, size_max, err);
        if (rc == OK && expect != BULK_ANY)
            expect = last;
        if (rc == ERR_CONFLICT)
            rc = ++tries < TRIES_MAX ? OK : err_set(err, ERR_UNAVAILABLE, "series '%s' has too many writers", series);
    }
    forget(b, series); /* what became of it is asked for */
    return rc;
}

enum err bulk_end(struct bulk *b, const char *series, int64_t *ret_seq, struct errinfo *err)
{
    struct bulk_known *k = NULL;
    bool is_new = false;
    enum err rc = check_name(series, err);
    if (rc == OK)
        rc = known_get(b, series, &k, &is_new, err);
    if (rc == OK && !is_new)
        rc = b->kind->end(b, k, err);
    if (rc == OK)
        *ret_seq = k->last;
    return rc;
}

enum err bulk_read(struct bulk *b, struct bulk_cursor *c, size_t size_max, struct buf *ret, struct errinfo *err)
{
    AUTO(buf) struct buf chunks = {0};
    enum err rc = check_name(c->series, err);
    if (rc == OK)
        rc = b->kind->read(b, c, size_max, &chunks, err);
    if (rc != OK)
        return rc;
    struct str lines = lines_behind(buf_str(&chunks), c->after), line;
    buf_add_str(ret, lines);
    while (lines.len > 0 && str_next(&lines, '\n', &line))
        (void)bulk_line_seq(line, &c->after); /* the last one that says it */
    return OK;
}

enum err bulk_tail(struct bulk *b, struct bulk_cursor *c, size_t size, struct errinfo *err)
{
    enum err rc = check_name(c->series, err);
    return rc == OK ? b->kind->tail(b, c, size, err) : rc;
}

enum err bulk_drop(struct bulk *b, const char *series, struct errinfo *err)
{
    enum err rc = check_name(series, err);
    if (rc != OK)
        return rc;
    forget(b, series);
    return b->kind->drop(b, series, err);
}

enum err bulk_idle(struct bulk *b, int64_t before_us, const char *after, char ret[static BULK_PAGE][BULK_NAME_SIZE],
                   size_t *ret_n, struct errinfo *err)
{
    *ret_n = 0;
    return b->kind->idle(b, before_us, after, ret, ret_n, err);
}

enum err bulk_sweep(struct bulk *b, int64_t now_us, struct errinfo *err)
{
    return b->kind->sweep(b, now_us, err);
}
