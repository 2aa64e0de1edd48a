#pragma once
/* api/caller.h - who calls, and what class of callers a route is for.
 * Layer: api. A caller is known by its certificate (mTLS, read by net/peer.h) or by an operator's bearer token; a token
 * wins, because a person's tool may run beside a program's certificate. */
#include "base/err.h"
#include "base/str.h"
#include "control/operator_token.h"
#include "net/peer.h"

/* Roles, as the mask of a route row. The texts are those of certificates. */
enum caller_role {
    CALLER_ANYBODY = 0, /* as a mask: no authentication is asked for; as a role: nobody known */
    CALLER_OPERATOR = 1,
    CALLER_NODE = 2,
    CALLER_EDGE = 4,
    CALLER_BUILDER = 8,
    CALLER_CONTROL = 16,
};

struct caller {
    enum caller_role role;
    char id[IDENTITY_PART_SIZE]; /* node name, instance id or name of a person; "token" for a bearer token */
};

/* Fill *ret_caller from peer and bearer token ({NULL,0}: none).
 * OK, also for an anonymous one | ERR_DENIED a token that is not ours, or a certificate of another installation or of
 * a role that calls nobody here */
must_check enum err caller_read(const struct peer *peer, struct str token, struct operator_tokens *tokens,
                                const char *installation, struct caller *ret_caller, struct errinfo *err);
/* "operator", …; "anybody". For texts. */
const char *caller_role_name(enum caller_role role);
/* The roles of a mask for people: "operator or node". */
void caller_mask_describe(int mask, char *ret_text, size_t size);
