#pragma once
/* crypto/identity.h - names of programs: slipform://<installation>/<role>/<id>, a URI SAN of every certificate of ours.
 * Layer: crypto. Pure. */
#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

/* 63: a DNS label, because the parts also become host names; roles are few and short. */
#define IDENTITY_PART_SIZE 64
#define IDENTITY_ROLE_SIZE 32
/* "slipform://" + parts + two slashes and the NUL. */
#define IDENTITY_URI_SIZE 176

struct identity {
    char installation[IDENTITY_PART_SIZE];
    char role[IDENTITY_ROLE_SIZE];
    char id[IDENTITY_PART_SIZE];
};

/* Parts are 1..63 (role 1..31) of [a-z0-9._-]; exactly three of them; no user, port, query or fragment.
 * OK | ERR_INVALID saying which part. */
must_check enum err identity_parse(struct str uri, struct identity *ret_identity, struct errinfo *err);
/* OK | ERR_INVALID: a part is empty, too long or has other characters. */
must_check enum err identity_make(const char *installation, const char *role, const char *id,
                                  struct identity *ret_identity, struct errinfo *err);
void identity_format(const struct identity *i, char ret_uri[static IDENTITY_URI_SIZE]);
/* `pattern` is a URI as above whose id, or role and id, may be a star.
 * Anything that is not such a pattern matches nothing. */
bool identity_matches(const struct identity *i, const char *pattern);
/* Whether `pattern` could match anything: check settings early. OK | ERR_INVALID. */
must_check enum err identity_pattern_check(const char *pattern, struct errinfo *err);
