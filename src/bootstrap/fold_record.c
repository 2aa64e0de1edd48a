#include "bootstrap/fold_record.h"

#include "app/set_aside.h"
#include "base/own.h"
#include "event/catalogue.h"

enum err fold_record(struct store *s, struct model *m, const struct store_record *r, struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    struct event ev;
    struct errinfo cause = {0};
    enum err rc = event_decode(&r->e, &a, &ev, &cause);
    if (rc == OK)
        rc = model_apply(m, &ev, &cause);
    if (rc == OK)
        return OK;
    uint64_t after = 0;
    rc = app_set_aside_find(s, r->seq, &after, err);
    if (rc == OK)
        model_pass_over(m, r->e.time);
    return rc == ERR_NOT_FOUND ? err_set(err, ERR_CORRUPT, "%s", cause.msg) : rc;
}
