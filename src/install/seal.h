#pragma once
/* install/seal.h - rotation of the keys under which the keys of sealed values are wrapped (crypto/seal_keys.h), beside
 * replicas that go on. Layer: install. Blocks.
 *
 * rotate, happy path: a next key is put into the file; it becomes the current one and the current one old, at once; the
 * old one is put into the table as retired; every row is wrapped anew until a walk finds none; the old one leaves the
 * file. Interrupted anywhere, the same call goes on: the file says how far it was. Replicas read the file when it was
 * replaced; one that had read it before puts a row under the old key at worst, which is found by the retired one and
 * wrapped anew by the sweep (control/keyring.h). */
#include "crypto/seal_keys.h"

struct seal_place {
    const char *key_file; /* keeps its owner */
    const char *log_spec; /* whose table of keys it is: store/store.h */
};

/* What the file and the table have. */
struct seal_report {
    struct {
        char id[17];
        const char *word;   /* "current", "next", "old"; "retired", "missing": not in the file */
        uint64_t wrapped_n; /* rows under it */
    } keys[2 * SEAL_KEYS_MAX];
    size_t n;
    uint64_t rows_n;
};

/* Reads only. OK | ERR_LIMIT more keys than a report takes | of the file and the store */
must_check enum err seal_look(const struct seal_place *p, struct seal_report *ret, struct errinfo *err);
/* A next key in the file, if it has none: to be copied to all operators before a rotation. */
must_check enum err seal_add(const struct seal_place *p, char ret_id[static 17], struct errinfo *err);
/* *ret_rows: how many were wrapped anew. OK all is under the current key | ERR_UNAVAILABLE a row is under a key that is
 * not here (says which): nothing is lost, run it again when it is | of the file and the store */
must_check enum err seal_rotate(const struct seal_place *p, uint64_t *ret_rows, char ret_id[static 17],
                                struct errinfo *err);
/* A file with new keys where it was lost for good: what was sealed stays closed. OK | ERR_CONFLICT it is there | ERR_IO
 */
must_check enum err seal_new(const struct seal_place *p, int uid, int gid, struct errinfo *err);
