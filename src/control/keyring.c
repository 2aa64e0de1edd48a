#include "control/keyring.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/own.h"
#include "crypto/file.h"

struct job {
    struct job *next;
    void (*work)(struct keyring *k, struct job *j); /* in the pool */
    void (*done)(struct keyring *k, struct job *j); /* in the loop; frees it or puts it into the queue again */
    struct arena arena;                             /* of texts that are no secrets */
    enum err rc;
    struct errinfo err;
    void *ctx;
    bool needs_file; /* what is dropped is dropped without keys, too */
    /* sealing: plain in, sealed out. Opening: plain out, its parts by ends */
    struct buf plain, sealed;
    keyring_sealed_fn sealed_done;
    struct keyring_value *values;
    size_t *ends;
    size_t n;
    keyring_opened_fn opened_done;
    /* dropping, sweeping */
    char (*ids)[17];
    keyring_erased_fn erased_done;
    struct store_key *page;
    bool *used;
    int64_t grace_us, dropped;
    bool is_marked, is_last;
    char needed[SEAL_KEYS_MAX][17]; /* retired keys that something was under: a ring of those met last */
    size_t needed_n;
    keyring_mark_fn mark;
    keyring_swept_fn swept_done;
};

struct keyring {
    uv_loop_t *loop;
    uv_work_t work;
    char *spec;
    struct seal_file file; /* the pool's, while it is busy */
    struct store *store;   /* NULL until a job has opened it */
    struct job *first, **last;
    bool is_busy, is_closing, is_sweeping;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

struct keyring *keyring_new(uv_loop_t *loop, const char *spec, const char *key_file)
{
    struct keyring *k = mem_alloc(sizeof(*k));
    *k = (struct keyring){.loop = loop, .spec = mem_strdup(spec)};
    seal_file_init(&k->file, key_file);
    k->last = &k->first;
    k->work.data = k;
    return k;
}

static void keyring_free(struct keyring *k)
{
    void (*closed)(void *) = k->closed;
    void *ctx = k->closed_ctx;
    store_close(k->store);
    seal_file_done(&k->file);
    free(k->spec);
    free(k);
    if (closed != NULL)
        closed(ctx);
}

static void job_free(struct job *j)
{
    secret_done(&j->plain);
    buf_done(&j->sealed);
    arena_done(&j->arena);
    free(j->page);
    free(j->used);
    free(j);
}

/* ---- one after the other ---- */

static void in_pool(uv_work_t *work)
{
    struct keyring *k = work->data;
    struct job *j = k->first;
    struct store_options options = {.mode = STORE_APPEND};
    j->rc = seal_file_look(&k->file, &j->err);
    if (!j->needs_file)
        j->rc = OK;
    if (j->rc == OK && k->store == NULL)
        j->rc = store_open(k->spec, &options, &k->store, NULL, &j->err);
    if (j->rc == OK)
        j->work(k, j);
}

static void begin(struct keyring *k);

static void in_loop(uv_work_t *work, int status)
{
    struct keyring *k = work->data;
    struct job *j = k->first;
    (void)status; /* the job is never cancelled */
    k->first = j->next;
    if (k->first == NULL)
        k->last = &k->first;
    j->next = NULL;
    j->done(k, j);
    k->is_busy = false; /* not before: what done calls must not begin */
    if (k->first != NULL)
        begin(k);
    else if (k->is_closing)
        keyring_free(k);
}

static void begin(struct keyring *k)
{
    if (k->is_busy)
        return;
    k->is_busy = true;
    uv_queue_work(k->loop, &k->work, in_pool, in_loop);
}

static void add(struct keyring *k, struct job *j)
{
    *k->last = j;
    k->last = &j->next;
    begin(k);
}

void keyring_close(struct keyring *k, void (*closed)(void *ctx), void *ctx)
{
    k->is_closing = true;
    k->closed = closed;
    k->closed_ctx = ctx;
    if (!k->is_busy)
        keyring_free(k);
}

/* ---- sealing ---- */

static void work_seal(struct keyring *k, struct job *j)
{
    struct seal_key key;
    AUTO(buf) struct buf wrapped = {0};
    seal_key_random(&key);
    buf_add_c(&j->sealed, "{\"sealed\":\"");
    j->rc = seal(&key, buf_str(&j->plain), &j->sealed, &j->err);
    buf_add_c(&j->sealed, "\"}");
    if (j->rc == OK)
        j->rc = seal_key_wrap(&k->file.keys.keys[0], &key, &wrapped, &j->err);
    if (j->rc == OK)
        j->rc = store_key_put(k->store, key.id, NULL, wrapped.ptr, &j->err);
    if (j->rc == ERR_CONFLICT) /* 64 bits met by chance: who asks again gets another key */
        j->rc = err_set(&j->err, ERR_UNAVAILABLE, "a key of that name is there already: try again");
    seal_key_wipe(&key);
}

static void done_seal(struct keyring *k, struct job *j)
{
    (void)k;
    j->sealed_done(j->ctx, j->rc, buf_str(&j->sealed), &j->err);
    job_free(j);
}

void keyring_seal(struct keyring *k, struct str value, keyring_sealed_fn done, void *ctx)
{
    struct job *j = mem_alloc(sizeof(*j));
    *j = (struct job){.work = work_seal, .needs_file = true, .done = done_seal, .sealed_done = done, .ctx = ctx};
    buf_add_str(&j->plain, value);
    add(k, j);
}

/* ---- opening ---- */

static enum err fetch(void *ctx, const char *name, struct buf *ret_wrapped, struct errinfo *err)
{
    const struct keyring *k = ctx;
    struct store_key kept;
    enum err rc = store_key_get(k->store, name, &kept, err);
    if (rc == OK)
        buf_add_c(ret_wrapped, kept.wrapped);
    return rc;
}

/* The key of that id by its row, or by that of a key of the file which retired. */
static enum err key_of_row(struct keyring *k, const char *id, struct str what, struct seal_key *ret,
                           struct errinfo *err)
{
    char retired[SEAL_RETIRED_NAME_SIZE];
    AUTO(buf) struct buf wrapped = {0};
    enum err rc = fetch(k, id, &wrapped, err);
    if (rc == ERR_NOT_FOUND)
        rc = fetch(k, seal_retired_name(id, retired), &wrapped, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "%.*s was erased: its key is gone", STR_ARG(what));
    if (rc != OK)
        return rc;
    rc = seal_keys_unwrap(&k->file.keys, buf_str(&wrapped), id, fetch, k, ret, err);
    if (rc == ERR_NOT_FOUND && seal_file_look(&k->file, err) == OK) /* a rotation began behind the last look */
        rc = seal_keys_unwrap(&k->file.keys, buf_str(&wrapped), id, fetch, k, ret, err);
    if (rc != ERR_NOT_FOUND)
        return rc;
    char under[17] = "";
    (void)seal_key_id(buf_str(&wrapped), under);
    return err_set(err, ERR_UNAVAILABLE,
                   "%.*s: its key is wrapped under '%s', which is not in '%s': copy the file of another operator, or "
                   "'slipform recovery restore FILE'",
                   STR_ARG(what), under, k->file.path);
}

static enum err key_for(struct keyring *k, struct str sealed, struct str what, struct seal_key *ret,
                        struct errinfo *err)
{
    char id[17];
    if (!seal_key_id(sealed, id))
        return err_set(err, ERR_CORRUPT, "%.*s is no sealed text", STR_ARG(what));
    const struct seal_key *master = seal_keys_find(&k->file.keys, id);
    if (master == NULL)
        return key_of_row(k, id, what, ret, err);
    *ret = *master;
    return OK;
}

static enum err open_one(struct keyring *k, const struct keyring_value *v, struct buf *ret_plain, struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    struct seal_key key;
    enum err rc = json_parse(v->sealed, &doc, err);
    if (rc == OK)
        rc = key_for(k, json_member_str(doc, "sealed"), v->what, &key, err);
    if (rc != OK)
        return rc;
    rc = unseal(&key, json_member_str(doc, "sealed"), ret_plain, err);
    seal_key_wipe(&key);
    return rc;
}

static void work_open(struct keyring *k, struct job *j)
{
    for (size_t i = 0; i < j->n && j->rc == OK; i++) {
        AUTO(secret) struct buf one = {0};
        j->rc = open_one(k, &j->values[i], &one, &j->err);
        j->values[i].may_be_erased = j->values[i].may_be_erased && j->rc == ERR_NOT_FOUND;
        j->rc = j->values[i].may_be_erased ? OK : j->rc;
        if (j->plain.size - j->plain.len < one.len) { /* grown here: what it leaves is wiped */
            struct buf more = {0};
            buf_reserve(&more, 2 * (j->plain.len + one.len));
            buf_add(&more, j->plain.ptr, j->plain.len);
            secret_done(&j->plain);
            j->plain = more;
        }
        buf_add(&j->plain, one.ptr, one.len);
        j->ends[i] = j->plain.len;
    }
}

static void done_open(struct keyring *k, struct job *j)
{
    (void)k;
    struct str *values = arena_alloc(&j->arena, (j->n + 1) * sizeof(*values));
    for (size_t i = 0; i < j->n && j->rc == OK; i++) {
        size_t from = i == 0 ? 0 : j->ends[i - 1];
        if (j->values[i].may_be_erased) /* it was */
            values[i] = (struct str){0};
        else
            values[i] = (struct str){j->plain.ptr + from, j->ends[i] - from};
    }
    j->opened_done(j->ctx, j->rc, values, j->rc == OK ? j->n : 0, &j->err);
    job_free(j);
}

void keyring_open(struct keyring *k, const struct keyring_value *sealed, size_t n, keyring_opened_fn done, void *ctx)
{
    struct job *j = mem_alloc(sizeof(*j));
    *j =
        (struct job){.work = work_open, .needs_file = true, .done = done_open, .opened_done = done, .ctx = ctx, .n = n};
    j->values = arena_alloc(&j->arena, (n + 1) * sizeof(*j->values));
    j->ends = arena_alloc(&j->arena, (n + 1) * sizeof(*j->ends));
    for (size_t i = 0; i < n; i++)
        j->values[i] = (struct keyring_value){arena_str(&j->arena, sealed[i].sealed),
                                              arena_str(&j->arena, sealed[i].what), sealed[i].may_be_erased};
    add(k, j);
}

/* ---- dropping ---- */

static bool id_of_sealed(struct str sealed, char ret[static 17])
{
    auto_json json_t *doc = NULL;
    return json_parse(sealed, &doc, NULL) == OK && seal_key_id(json_member_str(doc, "sealed"), ret);
}

static void work_drop(struct keyring *k, struct job *j)
{
    for (size_t i = 0; i < j->n && j->rc == OK; i++)
        j->rc = store_key_drop(k->store, j->ids[i], &j->err);
}

static void done_drop(struct keyring *k, struct job *j)
{
    (void)k;
    if (j->erased_done != NULL)
        j->erased_done(j->ctx, j->rc, &j->err);
    job_free(j);
}

/* Of a key of the file there is no such row: others are under it, too. */
void keyring_erase(struct keyring *k, const struct str *sealed, size_t n, keyring_erased_fn done, void *ctx)
{
    struct job *j = mem_alloc(sizeof(*j));
    *j = (struct job){.work = work_drop, .done = done_drop, .erased_done = done, .ctx = ctx};
    j->ids = arena_alloc(&j->arena, (n + 1) * sizeof(*j->ids));
    for (size_t i = 0; i < n; i++)
        j->n += id_of_sealed(sealed[i], j->ids[j->n]);
    if (j->n > 0)
        add(k, j);
    else
        done_drop(k, j);
}

void keyring_drop(struct keyring *k, struct str sealed)
{
    keyring_erase(k, &sealed, 1, NULL, NULL);
}

/* ---- sweeping: a page is listed in the pool, marked in the loop, and dropped in the pool with the next one listed
 * ---- */

static bool is_needed(const struct job *j, const char *id)
{
    for (size_t i = 0; i < j->needed_n && i < SEAL_KEYS_MAX; i++)
        if (strcmp(j->needed[i], id) == 0)
            return true;
    return false;
}

/* What cannot be opened here stays as it is: another operator's file may have its key. */
static void wrap_anew(struct keyring *k, struct job *j, const struct store_key *row)
{
    char retired[17];
    struct errinfo why;
    AUTO(buf) struct buf wrapped = {0};
    if (!k->file.is_loaded)
        return;
    enum err rc = seal_keys_rewrap(&k->file.keys, str_from(row->wrapped), row->name, fetch, k, &wrapped, retired, &why);
    if (rc != OK || wrapped.len == 0)
        return;
    if (retired[0] != '\0')
        memcpy(j->needed[j->needed_n++ % SEAL_KEYS_MAX], retired, sizeof(retired));
    rc = store_key_put(k->store, row->name, row->wrapped, wrapped.ptr, &why);
    if (rc != OK && rc != ERR_CONFLICT) /* dropped or replaced meanwhile: as well */
        j->rc = err_set(&j->err, rc, "%s", why.msg);
}

/* Rows of retired keys come behind those that may need them ("r" is behind all hex digits). */
static void sweep_row(struct keyring *k, struct job *j, size_t i, int64_t before_us)
{
    const struct store_key *row = &j->page[i];
    if (j->used[i] || row->written_us >= before_us || is_needed(j, seal_id_of_name(row->name))) {
        wrap_anew(k, j, row);
        return;
    }
    j->rc = store_key_drop(k->store, row->name, &j->err);
    j->dropped += j->rc == OK;
}

static void work_sweep(struct keyring *k, struct job *j)
{
    int64_t before_us = store_clock_us(k->store) - j->grace_us;
    char after[STORE_KEY_NAME_SIZE] = "";
    for (size_t i = 0; j->is_marked && i < j->n && j->rc == OK; i++)
        sweep_row(k, j, i, before_us);
    if (j->n > 0)
        memcpy(after, j->page[j->n - 1].name, sizeof(after));
    if (j->rc == OK && !j->is_last) {
        j->rc = store_keys(k->store, after, j->page, &j->n, &j->err);
        j->is_last = j->n < STORE_KEYS_PAGE;
    } else {
        j->n = 0;
    }
}

static void done_sweep(struct keyring *k, struct job *j)
{
    memset(j->used, 0, STORE_KEYS_PAGE * sizeof(*j->used));
    j->is_marked = j->rc == OK && j->n > 0 && !k->is_closing && j->mark(j->ctx, j->page, j->n, j->used);
    if (j->is_marked) {
        add(k, j);
        return;
    }
    k->is_sweeping = false;
    if (j->swept_done != NULL)
        j->swept_done(j->ctx, j->rc, (size_t)j->dropped, &j->err);
    job_free(j);
}

void keyring_sweep(struct keyring *k, int64_t grace_s, keyring_mark_fn mark, keyring_swept_fn done, void *ctx)
{
    if (k->is_sweeping)
        return;
    k->is_sweeping = true;
    struct job *j = mem_alloc(sizeof(*j));
    *j = (struct job){.work = work_sweep,
                      .done = done_sweep,
                      .grace_us = grace_s * 1000000,
                      .mark = mark,
                      .swept_done = done,
                      .ctx = ctx,
                      .page = mem_alloc(STORE_KEYS_PAGE * sizeof(*j->page)),
                      .used = mem_alloc(STORE_KEYS_PAGE * sizeof(*j->used))};
    add(k, j);
}

static void mark_name(const char *name, const struct store_key *keys, size_t n, bool *used)
{
    for (size_t low = 0, high = n; low < high;) {
        size_t middle = low + (high - low) / 2;
        int cmp = strcmp(keys[middle].name, name);
        if (cmp == 0) {
            used[middle] = true;
            return;
        }
        low = cmp < 0 ? middle + 1 : low;
        high = cmp < 0 ? high : middle;
    }
}

void keyring_mark(struct str sealed, const struct store_key *keys, size_t n, bool *used)
{
    static const struct str PREFIX = {"{\"sealed\":\"", 11};
    char id[17], retired[SEAL_RETIRED_NAME_SIZE];
    if (!str_starts(sealed, PREFIX) || !seal_key_id(str_slice(sealed, PREFIX.len, sealed.len), id))
        return;
    mark_name(id, keys, n, used);
    mark_name(seal_retired_name(id, retired), keys, n, used);
}
