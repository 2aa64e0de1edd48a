#include "crypto/seal_keys.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/encode.h"
#include "base/own.h"
#include "crypto/file.h"

static const char *const WORDS[] = {[SEAL_CURRENT] = "current", [SEAL_NEXT] = "next", [SEAL_OLD] = "old"};
static const char RETIRED[] = "retired-";

void seal_keys_random(struct seal_keys *ret)
{
    *ret = (struct seal_keys){.n = 1};
    seal_key_random(&ret->keys[0]);
    seal_key_random(&ret->identity);
}

void seal_keys_wipe(struct seal_keys *k)
{
    sodium_memzero(k, sizeof(*k));
}

/* ---- the file ---- */

static enum err bad(const char *what, const char *why, struct errinfo *err)
{
    return err_set(err, ERR_CORRUPT, "'%s' is no file of sealing keys: %s", what, why);
}

static enum err add(struct seal_keys *k, const struct seal_key *key, enum seal_word word, struct errinfo *err)
{
    if (k->n == SEAL_KEYS_MAX)
        return err_set(err, ERR_LIMIT, "there are %u sealing keys already: 'slipform seal rotate' ends with one",
                       SEAL_KEYS_MAX);
    k->words[k->n] = word;
    k->keys[k->n++] = *key;
    return OK;
}

static enum err read_line(struct seal_keys *k, struct str word, struct str hex, const char *what, struct errinfo *err)
{
    struct seal_key key;
    if (!seal_key_from_hex(hex, &key))
        return bad(what, "a key is not of 64 hex digits", err);
    enum err rc = OK;
    if (str_eq(word, STR("identity")) && k->identity.id[0] == '\0') {
        k->identity = key;
    } else {
        enum seal_word w = SEAL_CURRENT;
        while (w <= SEAL_OLD && !str_eq_c(word, WORDS[w]))
            w++;
        if (w > SEAL_OLD || (w == SEAL_CURRENT) != (k->n == 0) || (w == SEAL_NEXT && seal_keys_with(k, w) != NULL) ||
            seal_keys_find(k, key.id) != NULL)
            rc =
                bad(what, "its lines are 'current', at most one 'next', 'old', 'identity', each with another key", err);
        else if (add(k, &key, w, err) != OK)
            rc = bad(what, "it has too many keys", err);
    }
    seal_key_wipe(&key);
    return rc;
}

static enum err parse(struct str text, const char *what, struct seal_keys *ret, struct errinfo *err)
{
    struct str rest = str_trim(text), line;
    if (seal_key_from_hex(rest, &ret->keys[0])) { /* of an older release */
        ret->identity = ret->keys[0];
        ret->n = 1;
        return OK;
    }
    while (str_next(&rest, '\n', &line)) {
        size_t space = str_find(line, ' ');
        enum err rc = read_line(ret, str_slice(line, 0, space), str_trim(str_slice(line, space, line.len)), what, err);
        if (rc != OK)
            return rc;
    }
    return ret->n > 0 && ret->identity.id[0] != '\0' ? OK : bad(what, "it lacks 'current' or 'identity'", err);
}

enum err seal_keys_parse(struct str text, const char *what, struct seal_keys *ret, struct errinfo *err)
{
    *ret = (struct seal_keys){0};
    enum err rc = parse(text, what, ret, err);
    if (rc != OK)
        seal_keys_wipe(ret);
    return rc;
}

static void add_line(const char *word, const struct seal_key *key, struct buf *ret)
{
    char hex[2 * sizeof(key->bytes) + 1];
    hex_format(key->bytes, sizeof(key->bytes), hex);
    buf_addf(ret, "%s %s\n", word, hex);
    sodium_memzero(hex, sizeof(hex));
}

void seal_keys_format(const struct seal_keys *k, struct buf *ret)
{
    buf_reserve(ret, (SEAL_KEYS_MAX + 1) * (size_t)80); /* at once: nothing is left behind by growing */
    for (size_t i = 0; i < k->n; i++)
        add_line(WORDS[k->words[i]], &k->keys[i], ret);
    add_line("identity", &k->identity, ret);
}

enum err seal_keys_load(const char *file, struct seal_keys *ret, struct errinfo *err)
{
    AUTO(secret) struct buf text = {0};
    enum err rc = crypto_file_read(file, &text, err);
    return rc == OK ? seal_keys_parse(buf_str(&text), file, ret, err) : rc;
}

enum err seal_keys_save(const struct seal_keys *k, const char *file, int uid, int gid, struct errinfo *err)
{
    AUTO(secret) struct buf text = {0};
    seal_keys_format(k, &text);
    return crypto_file_write(file, buf_str(&text), 0400, uid, gid, err);
}

/* ---- which is which ---- */

const struct seal_key *seal_keys_find(const struct seal_keys *k, const char *id)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->keys[i].id, id) == 0)
            return &k->keys[i];
    return NULL;
}

const struct seal_key *seal_keys_with(const struct seal_keys *k, enum seal_word word)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->words[i] == word)
            return &k->keys[i];
    return NULL;
}

enum err seal_keys_make_next(struct seal_keys *k, struct errinfo *err)
{
    struct seal_key key;
    if (seal_keys_with(k, SEAL_NEXT) != NULL)
        return OK;
    seal_key_random(&key);
    enum err rc = add(k, &key, SEAL_NEXT, err);
    seal_key_wipe(&key);
    return rc;
}

void seal_keys_switch(struct seal_keys *k)
{
    size_t i = 0;
    while (i < k->n && k->words[i] != SEAL_NEXT)
        i++;
    assert(i < k->n);
    struct seal_key next = k->keys[i];
    k->keys[i] = k->keys[0];
    k->words[i] = SEAL_OLD;
    k->keys[0] = next;
    seal_key_wipe(&next);
}

void seal_keys_forget_old(struct seal_keys *k)
{
    size_t n = 0;
    for (size_t i = 0; i < k->n; i++) {
        if (k->words[i] == SEAL_OLD)
            continue;
        k->words[n] = k->words[i];
        k->keys[n++] = k->keys[i];
    }
    sodium_memzero(&k->keys[n], (k->n - n) * sizeof(k->keys[0]));
    k->n = n;
}

enum err seal_keys_add_old(struct seal_keys *k, const struct seal_keys *from, size_t *ret_n, struct errinfo *err)
{
    struct seal_keys all = *k;
    enum err rc = OK;
    *ret_n = 0;
    for (size_t i = 0; rc == OK && i < from->n; i++) {
        if (seal_keys_find(&all, from->keys[i].id) != NULL)
            continue;
        rc = add(&all, &from->keys[i], SEAL_OLD, err);
        *ret_n += rc == OK;
    }
    all.identity = from->identity;
    if (rc == OK)
        *k = all;
    seal_keys_wipe(&all);
    return rc;
}

/* ---- rows of the table of keys ---- */

const char *seal_retired_name(const char *id, char ret[static SEAL_RETIRED_NAME_SIZE])
{
    (void)snprintf(ret, SEAL_RETIRED_NAME_SIZE, "%s%.16s", RETIRED, id);
    return ret;
}

const char *seal_id_of_name(const char *name)
{
    return strncmp(name, RETIRED, strlen(RETIRED)) == 0 ? name + strlen(RETIRED) : name;
}

/* A retired key is wrapped under one of the file, or under another that retired later. More than SEAL_KEYS_MAX of them
 * one behind the other: somebody made a ring. */
static enum err under_retired(const struct seal_keys *k, const char *under, seal_fetch_fn fetch, void *ctx,
                              unsigned depth, struct seal_key *ret, struct errinfo *err)
{
    char name[SEAL_RETIRED_NAME_SIZE], above[17];
    AUTO(buf) struct buf wrapped = {0};
    struct seal_key key;
    if (depth == 0)
        return err_set(err, ERR_CORRUPT, "key '%s' is wrapped under itself", under);
    enum err rc = fetch(ctx, seal_retired_name(under, name), &wrapped, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, rc, "wrapped under key '%s', which is not here", under);
    if (rc != OK)
        return rc;
    if (!seal_key_id(buf_str(&wrapped), above))
        return err_set(err, ERR_CORRUPT, "key '%s' is no sealed text", name);
    const struct seal_key *master = seal_keys_find(k, above);
    if (master != NULL)
        return seal_key_unwrap(master, buf_str(&wrapped), under, ret, err);
    rc = under_retired(k, above, fetch, ctx, depth - 1, &key, err);
    if (rc != OK)
        return rc;
    rc = seal_key_unwrap(&key, buf_str(&wrapped), under, ret, err);
    seal_key_wipe(&key);
    return rc;
}

enum err seal_keys_unwrap(const struct seal_keys *k, struct str wrapped, const char *id, seal_fetch_fn fetch, void *ctx,
                          struct seal_key *ret, struct errinfo *err)
{
    char under[17];
    struct seal_key key;
    if (!seal_key_id(wrapped, under))
        return err_set(err, ERR_INVALID, "key '%s' is no sealed text", id);
    const struct seal_key *master = seal_keys_find(k, under);
    if (master != NULL)
        return seal_key_unwrap(master, wrapped, id, ret, err);
    enum err rc = under_retired(k, under, fetch, ctx, SEAL_KEYS_MAX, &key, err);
    if (rc != OK)
        return rc;
    rc = seal_key_unwrap(&key, wrapped, id, ret, err);
    seal_key_wipe(&key);
    return rc;
}

enum err seal_keys_rewrap(const struct seal_keys *k, struct str wrapped, const char *name, seal_fetch_fn fetch,
                          void *ctx, struct buf *ret_wrapped, char ret_was_retired[static 17], struct errinfo *err)
{
    char under[17] = "";
    struct seal_key key;
    const struct seal_key *next = seal_keys_with(k, SEAL_NEXT);
    ret_was_retired[0] = '\0';
    if (seal_key_id(wrapped, under) &&
        (strcmp(under, k->keys[0].id) == 0 || (next != NULL && strcmp(under, next->id) == 0)))
        return OK;
    enum err rc = seal_keys_unwrap(k, wrapped, seal_id_of_name(name), fetch, ctx, &key, err);
    if (rc != OK)
        return rc;
    if (seal_keys_find(k, under) == NULL)
        memcpy(ret_was_retired, under, sizeof(under));
    rc = seal_key_wrap(&k->keys[0], &key, ret_wrapped, err);
    seal_key_wipe(&key);
    return rc;
}

/* ---- the file as it is now ---- */

void seal_file_init(struct seal_file *f, const char *path)
{
    *f = (struct seal_file){0};
    (void)snprintf(f->path, sizeof(f->path), "%s", path);
}

void seal_file_done(struct seal_file *f)
{
    sodium_memzero(f, sizeof(*f));
}

enum err seal_file_look(struct seal_file *f, struct errinfo *err)
{
    struct stat st = {0};
    struct seal_keys keys;
    struct errinfo why = {0};
    bool is_there = stat(f->path, &st) == 0;
    const int64_t stamp[4] = {(int64_t)st.st_ino, (int64_t)st.st_size, st.st_ctim.tv_sec, st.st_ctim.tv_nsec};
    if (f->is_loaded && (!is_there || memcmp(stamp, f->stamp, sizeof(stamp)) == 0))
        return OK;
    enum err rc = seal_keys_load(f->path, &keys, &why);
    if (rc == OK) {
        f->keys = keys;
        f->is_loaded = true;
        memcpy(f->stamp, stamp, sizeof(stamp)); /* of before it was read: replaced meanwhile, it is read again */
        seal_keys_wipe(&keys);
    }
    if (f->is_loaded)
        return OK;
    return err_set(err, ERR_UNAVAILABLE,
                   rc == ERR_NOT_FOUND ? "the keys of sealed values are lost (%s): 'slipform recovery restore FILE' "
                                         "brings them back"
                                       : "the keys of sealed values cannot be read (%s): 'slipform recovery restore "
                                         "FILE' brings them back",
                   why.msg);
}
