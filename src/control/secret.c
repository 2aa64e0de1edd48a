#include "control/secret.h"

#include "control/parts.h"

enum err secret_identity(struct control *c, struct str text, char ret[static SEAL_DIGEST_TEXT_SIZE],
                         struct errinfo *err)
{
    if (c->o.seal_key_file == NULL)
        return err_set(err, ERR_UNAVAILABLE, "this replica has no key for secrets: set 'seal_key_file'");
    enum err rc = seal_file_look(&c->seal_file, err);
    if (rc == OK)
        seal_digest(&c->seal_file.keys.identity, text, ret);
    return rc;
}
