#include "api/caller.h"

#include "base/buf.h"
#include "base/own.h"

static const struct {
    enum caller_role role;
    const char *name;
} ROLES[] = {
    {CALLER_OPERATOR, "operator"}, {CALLER_NODE, "node"},       {CALLER_EDGE, "edge"},
    {CALLER_BUILDER, "builder"},   {CALLER_CONTROL, "control"},
};
#define ROLES_N (sizeof(ROLES) / sizeof(ROLES[0]))

static enum err by_token(struct str token, struct operator_tokens *tokens, struct caller *ret, struct errinfo *err)
{
    if (!operator_tokens_match(tokens, token))
        return err_set(err, ERR_DENIED,
                       "the bearer token is not one of this installation: see 'token_file' of "
                       "'slipform status --json'");
    ret->role = CALLER_OPERATOR;
    (void)str_copy_to(STR("token"), ret->id, sizeof(ret->id));
    return OK;
}

enum err caller_read(const struct peer *peer, struct str token, struct operator_tokens *tokens,
                     const char *installation, struct caller *ret_caller, struct errinfo *err)
{
    *ret_caller = (struct caller){0};
    if (token.ptr != NULL)
        return by_token(token, tokens, ret_caller, err);
    if (!peer->authenticated)
        return OK;
    if (strcmp(peer->installation, installation) != 0)
        return err_set(err, ERR_DENIED, "the client certificate is of installation '%s', this is '%s'",
                       peer->installation, installation);
    for (size_t i = 0; i < ROLES_N; i++)
        if (strcmp(ROLES[i].name, peer->role) == 0) {
            ret_caller->role = ROLES[i].role;
            (void)str_copy_to(str_from(peer->id), ret_caller->id, sizeof(ret_caller->id));
            return OK;
        }
    return err_set(err, ERR_DENIED, "a certificate of role '%s' calls nothing here", peer->role);
}

const char *caller_role_name(enum caller_role role)
{
    for (size_t i = 0; i < ROLES_N; i++)
        if (ROLES[i].role == role)
            return ROLES[i].name;
    return "anybody";
}

void caller_mask_describe(int mask, char *ret_text, size_t size)
{
    AUTO(buf) struct buf b = {0};
    for (size_t i = 0; i < ROLES_N; i++)
        if ((mask & (int)ROLES[i].role) != 0)
            buf_addf(&b, "%s%s", b.len == 0 ? "" : " or ", ROLES[i].name);
    if (b.len == 0 || !str_copy_to(buf_str(&b), ret_text, size))
        (void)str_copy_to(STR("anybody"), ret_text, size);
}
