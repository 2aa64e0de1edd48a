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

enum err secret_identity(const struct control *c, struct str text, char ret[static SEAL_DIGEST_TEXT_SIZE],
                         struct errinfo *err)
{
    const struct seal_key *key = key_of(c, err);
    if (key == NULL)
        return ERR_UNAVAILABLE;
    seal_digest(key, text, ret);
    return OK;
}
