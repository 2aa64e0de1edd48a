#include "control/secret.h"

#include "base/json.h"
#include "base/own.h"
#include "control/parts.h"

static const struct seal_key *key_of(const struct control *c, struct errinfo *err)
{
    if (c->o.seal_key_file != NULL)
        return &c->seal_key;
    err_ignore(err_set(err, ERR_UNAVAILABLE, "this replica has no key for secrets: set 'seal_key_file'"));
    return NULL;
}

enum err secret_seal(const struct control *c, struct str value, struct buf *ret_sealed, struct errinfo *err)
{
    const struct seal_key *key = key_of(c, err);
    if (key == NULL)
        return ERR_UNAVAILABLE;
    buf_add_c(ret_sealed, "{\"sealed\":\"");
    enum err rc = seal(key, value, ret_sealed, err);
    buf_add_c(ret_sealed, "\"}");
    return rc;
}

enum err secret_identity(const struct control *c, struct str text, char ret[static SEAL_DIGEST_TEXT_SIZE],
                         struct errinfo *err)
{
    const struct seal_key *key = key_of(c, err);
    if (key == NULL)
        return ERR_UNAVAILABLE;
    seal_digest(key, text, ret);
    return OK;
}

enum err secret_open(const struct control *c, const char *sealed, const char *what, struct buf *ret_value,
                     struct errinfo *err)
{
    const struct seal_key *key = key_of(c, err);
    auto_json json_t *doc = NULL;
    if (key == NULL)
        return ERR_UNAVAILABLE;
    enum err rc = json_parse(str_from(sealed), &doc, err);
    if (rc == OK)
        rc = unseal(key, json_member_str(doc, "sealed"), ret_value, err);
    if (rc != ERR_NOT_FOUND)
        return rc;
    return err_set(err, ERR_UNAVAILABLE, "%s is sealed under a key that is not here", what);
}
