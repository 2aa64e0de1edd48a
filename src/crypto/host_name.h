#pragma once
/* crypto/host_name.h - host names as certificates, routes and listeners may carry them. Layer: crypto. Pure. */
#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

/* 253 (RFC 1035, 2.3.4, as text without the final dot). */
#define HOST_NAME_LEN_MAX 253

/* Lower-case LDH labels of 1..63, no hyphen at either end, at most 253 in all, no final dot, not an IPv4 literal (last
 * label not only digits). `*.` in front only when allow_wildcard, and then at least two labels behind it.
 * IDNs come as xn-- labels. OK | ERR_INVALID saying what is wrong with the name. */
must_check enum err host_name_check(struct str name, bool allow_wildcard, struct errinfo *err);
/* Whether the certificate name `pattern` ("a.b" or "*.b": exactly one label) covers `name`. Both checked names. */
bool host_name_matches(struct str pattern, struct str name);
