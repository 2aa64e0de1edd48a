#include "install/seal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "install/files.h"
#include "os/file.h"
#include "store/store.h"

/* A walk behind which none was wrapped anew ends it; one more for each replica that was just writing (chosen). */
enum { WALKS_MAX = 20 };

struct seal_work {
    const struct seal_place *place;
    struct seal_keys keys;
    struct store *store;
    int uid, gid; /* of the file: of who runs the programs */
    uid_t euid;   /* ours */
    gid_t egid;
    int lock;
};

static enum err begin(struct seal_work *w, const struct seal_place *p, struct errinfo *err)
{
    struct stat st;
    *w = (struct seal_work){.place = p, .euid = geteuid(), .egid = getegid(), .lock = -1};
    enum err rc = seal_keys_load(p->key_file, &w->keys, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, rc, "'%s' is not there: 'slipform recovery restore FILE' brings it back", p->key_file);
    if (rc == OK && stat(p->key_file, &st) != 0)
        rc = err_set_os(err, ERR_IO, errno, "look at '%s'", p->key_file);
    w->uid = rc == OK ? (int)st.st_uid : -1;
    w->gid = rc == OK ? (int)st.st_gid : -1;
    return rc;
}

/* One rotation of a file at a time. */
static enum err begin_writing(struct seal_work *w, const struct seal_place *p, struct errinfo *err)
{
    auto_free char *path = mem_printf("%s.lock", p->key_file);
    int lock = -1;
    enum err rc = file_lock(path, &lock, err);
    if (rc == ERR_CONFLICT)
        return err_set(err, rc, "somebody else is changing '%s'", p->key_file);
    if (rc == OK)
        rc = begin(w, p, err);
    w->lock = lock;
    return rc;
}

static void end(struct seal_work *w)
{
    store_close(w->store);
    seal_keys_wipe(&w->keys);
    if (w->lock >= 0)
        (void)close(w->lock);
}

static enum err open_table(struct seal_work *w, enum store_mode mode, struct errinfo *err)
{
    return store_open(w->place->log_spec, &(struct store_options){.mode = mode}, &w->store, NULL, err);
}

static enum err fetch(void *ctx, const char *name, struct buf *ret_wrapped, struct errinfo *err)
{
    const struct seal_work *w = ctx;
    struct store_key kept;
    enum err rc = store_key_get(w->store, name, &kept, err);
    if (rc == OK)
        buf_add_c(ret_wrapped, kept.wrapped);
    return rc;
}

/* ---- looking ---- */

static enum err count(struct seal_report *r, const char *id, const char *word, uint64_t rows, struct errinfo *err)
{
    size_t i = 0;
    while (i < r->n && strcmp(r->keys[i].id, id) != 0)
        i++;
    if (i == sizeof(r->keys) / sizeof(r->keys[0]))
        return err_set(err, ERR_LIMIT, "rows are under more than %zu keys", i);
    if (i == r->n) {
        memcpy(r->keys[r->n].id, id, sizeof(r->keys[0].id));
        r->keys[r->n++].word = word;
    } else if (strcmp(r->keys[i].word, "missing") == 0) {
        r->keys[i].word = word;
    }
    r->keys[i].wrapped_n += rows;
    return OK;
}

static enum err count_row(struct seal_report *r, const struct store_key *row, struct errinfo *err)
{
    char under[17] = "?";
    (void)seal_key_id(str_from(row->wrapped), under);
    enum err rc = count(r, under, "missing", 1, err);
    r->rows_n++;
    if (rc == OK && seal_id_of_name(row->name) != row->name && strlen(seal_id_of_name(row->name)) < sizeof(under))
        rc = count(r, memcpy(under, seal_id_of_name(row->name), strlen(seal_id_of_name(row->name)) + 1), "retired", 0,
                   err);
    return rc;
}

enum err seal_look(const struct seal_place *p, struct seal_report *ret, struct errinfo *err)
{
    static const char *const WORDS[] = {[SEAL_CURRENT] = "current", [SEAL_NEXT] = "next", [SEAL_OLD] = "old"};
    struct seal_work w;
    *ret = (struct seal_report){0};
    enum err rc = begin(&w, p, err);
    for (size_t i = 0; rc == OK && i < w.keys.n; i++)
        rc = count(ret, w.keys.keys[i].id, WORDS[w.keys.words[i]], 0, err);
    if (rc == OK)
        rc = open_table(&w, STORE_READ, err);
    struct store_key *page = mem_alloc(STORE_KEYS_PAGE * sizeof(*page));
    char after[STORE_KEY_NAME_SIZE] = "";
    for (size_t n = STORE_KEYS_PAGE; rc == OK && n == STORE_KEYS_PAGE;) {
        rc = store_keys(w.store, after, page, &n, err);
        for (size_t i = 0; rc == OK && i < n; i++)
            rc = count_row(ret, &page[i], err);
        if (rc == OK && n > 0)
            (void)snprintf(after, sizeof(after), "%s", page[n - 1].name);
    }
    free(page);
    end(&w);
    return rc;
}

/* ---- rotating ---- */

static enum err save(struct seal_work *w, struct errinfo *err)
{
    return seal_keys_save(&w->keys, w->place->key_file, w->uid, w->gid, err);
}

enum err seal_add(const struct seal_place *p, char ret_id[static 17], struct errinfo *err)
{
    struct seal_work w = {.lock = -1};
    enum err rc = begin_writing(&w, p, err);
    bool is_new = rc == OK && seal_keys_with(&w.keys, SEAL_NEXT) == NULL;
    if (is_new)
        rc = seal_keys_make_next(&w.keys, err);
    if (rc == OK && is_new)
        rc = save(&w, err);
    const struct seal_key *next = rc == OK ? seal_keys_with(&w.keys, SEAL_NEXT) : NULL;
    if (next != NULL)
        memcpy(ret_id, next->id, sizeof(next->id));
    end(&w);
    return rc;
}

/* Every old key stands in the table, and can be opened there, before it may leave the file. */
static enum err retire_one(struct seal_work *w, const struct seal_key *old, struct errinfo *err)
{
    char name[SEAL_RETIRED_NAME_SIZE];
    struct seal_key again;
    AUTO(buf) struct buf wrapped = {0}, kept = {0};
    enum err rc = seal_key_wrap(&w->keys.keys[0], old, &wrapped, err);
    if (rc == OK)
        rc = store_key_put(w->store, seal_retired_name(old->id, name), NULL, wrapped.ptr, err);
    if (rc == OK || rc == ERR_CONFLICT) /* it is there: of a call before this one */
        rc = fetch(w, name, &kept, err);
    if (rc == OK)
        rc = seal_keys_unwrap(&w->keys, buf_str(&kept), old->id, fetch, w, &again, err);
    seal_key_wipe(&again);
    return rc;
}

static enum err retire(struct seal_work *w, struct errinfo *err)
{
    for (size_t i = 0; i < w->keys.n; i++) {
        enum err rc = w->keys.words[i] == SEAL_OLD ? retire_one(w, &w->keys.keys[i], err) : OK;
        if (rc != OK)
            return rc;
    }
    return OK;
}

static enum err wrap_row(struct seal_work *w, const struct store_key *row, uint64_t *changed, struct errinfo *err)
{
    char retired[17];
    AUTO(buf) struct buf wrapped = {0};
    enum err rc = seal_keys_rewrap(&w->keys, str_from(row->wrapped), row->name, fetch, w, &wrapped, retired, err);
    if (rc == ERR_NOT_FOUND) {
        char under[17] = "";
        (void)seal_key_id(str_from(row->wrapped), under);
        return err_set(err, ERR_UNAVAILABLE,
                       "key '%s' is wrapped under '%s', which is not in '%s' ('slipform recovery restore FILE --add' "
                       "brings it); all others were wrapped anew",
                       row->name, under, w->place->key_file);
    }
    if (rc != OK || wrapped.len == 0)
        return rc;
    ++*changed;
    rc = store_key_put(w->store, row->name, row->wrapped, wrapped.ptr, err);
    return rc == ERR_CONFLICT ? OK : rc; /* dropped or replaced meanwhile: the next walk looks */
}

/* A row that cannot be opened does not keep the others; the first one's error is told. */
static enum err walk(struct seal_work *w, uint64_t *changed, struct errinfo *err)
{
    struct store_key *page = mem_alloc(STORE_KEYS_PAGE * sizeof(*page));
    char after[STORE_KEY_NAME_SIZE] = "";
    enum err rc = OK, first = OK;
    for (size_t n = STORE_KEYS_PAGE; rc == OK && n == STORE_KEYS_PAGE;) {
        rc = store_keys(w->store, after, page, &n, first == OK ? err : NULL);
        for (size_t i = 0; rc == OK && i < n; i++) {
            enum err one = wrap_row(w, &page[i], changed, first == OK ? err : NULL);
            first = first == OK ? one : first;
        }
        if (rc == OK && n > 0)
            memcpy(after, page[n - 1].name, sizeof(after));
    }
    free(page);
    return first == OK ? rc : first;
}

static enum err wrap_all(struct seal_work *w, uint64_t *ret_rows, struct errinfo *err)
{
    enum err rc = retire(w, err);
    for (int i = 0; rc == OK && i < WALKS_MAX; i++) {
        uint64_t changed = 0;
        rc = walk(w, &changed, err);
        *ret_rows += changed;
        if (rc == OK && changed == 0)
            return OK;
    }
    return rc == OK ? err_set(err, ERR_UNAVAILABLE, "others go on wrapping under another key: run it again") : rc;
}

/* What is written into a log's folder belongs to who runs the programs. */
static enum err wrap_as_owner(struct seal_work *w, uint64_t *ret_rows, struct errinfo *err)
{
    bool changes_user = w->euid == 0 && w->uid > 0;
    enum err rc = changes_user ? files_act_as((uid_t)w->uid, (gid_t)w->gid, err) : OK;
    if (rc == OK)
        rc = open_table(w, STORE_APPEND, err);
    if (rc == OK)
        rc = wrap_all(w, ret_rows, err);
    store_close(TAKE(w->store));
    enum err back = changes_user ? files_act_as(w->euid, w->egid, rc == OK ? err : NULL) : OK;
    return rc == OK ? back : rc;
}

enum err seal_rotate(const struct seal_place *p, uint64_t *ret_rows, char ret_id[static 17], struct errinfo *err)
{
    struct seal_work w = {.lock = -1};
    *ret_rows = 0;
    enum err rc = begin_writing(&w, p, err);
    if (rc == OK && seal_keys_with(&w.keys, SEAL_OLD) == NULL) { /* else one that was interrupted goes on */
        rc = seal_keys_make_next(&w.keys, err);
        if (rc == OK)
            seal_keys_switch(&w.keys);
        if (rc == OK)
            rc = save(&w, err);
    }
    if (rc == OK)
        rc = wrap_as_owner(&w, ret_rows, err);
    if (rc == OK) {
        seal_keys_forget_old(&w.keys);
        rc = save(&w, err);
    }
    if (rc == OK)
        memcpy(ret_id, w.keys.keys[0].id, 17);
    end(&w);
    return rc;
}

enum err seal_new(const struct seal_place *p, int uid, int gid, struct errinfo *err)
{
    struct seal_keys keys;
    if (file_exists(p->key_file))
        return err_set(err, ERR_CONFLICT, "'%s' is there: 'slipform seal rotate' puts a new key in its place",
                       p->key_file);
    seal_keys_random(&keys);
    enum err rc = seal_keys_save(&keys, p->key_file, uid, gid, err);
    seal_keys_wipe(&keys);
    return rc;
}
