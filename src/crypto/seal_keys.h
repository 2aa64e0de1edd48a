#pragma once
/* crypto/seal_keys.h - the key file of an installation (ca/seal.key): under which the keys of sealed values are wrapped
 * (crypto/seal.h), and by which people are found again without being named. Layer: crypto.
 *
 * The file has one line for each key, "<word> <64 hex digits>": `current` wraps, `next` is known and wraps nothing yet,
 * `old` opens what is not wrapped anew yet, `identity` is that of seal_digest and never changes. A file of one line
 * without a word, as older releases wrote it, is its `current` and its `identity`.
 *
 * An old key that left the file may still be needed: for what was put under it late, and for values that older releases
 * sealed under it without a key of their own. So it stands in the table of keys itself, as `retired-<its id>`, wrapped
 * under a newer one, until nothing needs it. */
#include <sys/types.h>

#include "crypto/seal.h"

/* A rotation that is not finished leaves one old key; restored ones come on top (chosen). */
#define SEAL_KEYS_MAX 16u

enum seal_word { SEAL_CURRENT, SEAL_NEXT, SEAL_OLD };
struct seal_keys {
    struct seal_key keys[SEAL_KEYS_MAX]; /* the first is current, one at most is next */
    enum seal_word words[SEAL_KEYS_MAX];
    size_t n;
    struct seal_key identity;
};

/* Wiped: seal_keys_wipe. Two random keys: current and identity. */
void seal_keys_random(struct seal_keys *ret);
void seal_keys_wipe(struct seal_keys *k);
/* `what` names the text in errors. OK | ERR_CORRUPT */
must_check enum err seal_keys_parse(struct str text, const char *what, struct seal_keys *ret, struct errinfo *err);
/* Append the file's text; the caller wipes it (secret_done). */
void seal_keys_format(const struct seal_keys *k, struct buf *ret);
/* OK | ERR_NOT_FOUND | ERR_CORRUPT | ERR_IO */
must_check enum err seal_keys_load(const char *file, struct seal_keys *ret, struct errinfo *err);
/* Replace the file, durably and at once. uid, gid: -1 leaves them. OK | ERR_NOT_FOUND the folder is missing | ERR_IO */
must_check enum err seal_keys_save(const struct seal_keys *k, const char *file, int uid, int gid, struct errinfo *err);

const struct seal_key *seal_keys_find(const struct seal_keys *k, const char *id);      /* NULL */
const struct seal_key *seal_keys_with(const struct seal_keys *k, enum seal_word word); /* the first; NULL */
/* Steps of a rotation. next: made if there is none. switch: next is current, current is old; there must be a next.
 * OK | ERR_LIMIT */
must_check enum err seal_keys_make_next(struct seal_keys *k, struct errinfo *err);
void seal_keys_switch(struct seal_keys *k);
void seal_keys_forget_old(struct seal_keys *k);
/* Every key of `from` that is not here, as old; its identity is taken. *ret_n: how many. OK | ERR_LIMIT nothing done */
must_check enum err seal_keys_add_old(struct seal_keys *k, const struct seal_keys *from, size_t *ret_n,
                                      struct errinfo *err);

/* The name in the table of keys under which an old key of that id stands. */
#define SEAL_RETIRED_NAME_SIZE 25
const char *seal_retired_name(const char *id, char ret[static SEAL_RETIRED_NAME_SIZE]);
/* The id of the key whose row has that name: the name, or what follows `retired-`. */
const char *seal_id_of_name(const char *name);

/* Where rows of the table of keys come from: append the wrapped text. OK | ERR_NOT_FOUND | as the store answers */
typedef enum err (*seal_fetch_fn)(void *ctx, const char *name, struct buf *ret_wrapped, struct errinfo *err);
/* The key of that id from its wrapped text, by the keys of the file, or by one that is retired.
 * OK | ERR_INVALID, ERR_CORRUPT as seal_key_unwrap | ERR_NOT_FOUND wrapped under a key that is neither here nor retired
 * (says its id) | of fetch */
must_check enum err seal_keys_unwrap(const struct seal_keys *k, struct str wrapped, const char *id, seal_fetch_fn fetch,
                                     void *ctx, struct seal_key *ret, struct errinfo *err);
/* Append what a row is to be replaced with, nothing when it may stay: it is wrapped under the current key, or under the
 * next one, which another operator's file may have as current. Answers as seal_keys_unwrap. *ret_was_retired (may be
 * NULL): the id of the retired key that it took, or "". */
must_check enum err seal_keys_rewrap(const struct seal_keys *k, struct str wrapped, const char *name,
                                     seal_fetch_fn fetch, void *ctx, struct buf *ret_wrapped,
                                     char ret_was_retired[static 17], struct errinfo *err);

/* The file as it is now: read again when it was replaced, so that a rotation needs no restart. */
struct seal_file {
    char path[512];
    bool is_loaded;
    struct seal_keys keys; /* when is_loaded */
    int64_t stamp[4];
};
/* Path: shorter than 512. Wiped: seal_file_done. */
void seal_file_init(struct seal_file *f, const char *path);
void seal_file_done(struct seal_file *f);
/* Look, and read it if it is another one. What is damaged or gone leaves the keys that were read before.
 * OK f->is_loaded | ERR_UNAVAILABLE there never was one that can be read: says what to do */
must_check enum err seal_file_look(struct seal_file *f, struct errinfo *err);
