#include "blob/garbage.h"

#include "base/mem.h"

/* Uploads last hours at most. */
#define UPLOAD_STALE_S ((int64_t)24 * 3600)

enum blob_fate blob_fate(enum blob_place place, bool is_used, int64_t since_s, int64_t now_s, int64_t grace_s)
{
    if (is_used)
        return place == BLOB_ASIDE ? BLOB_COME_BACK : BLOB_KEEP;
    if (now_s < since_s || now_s - since_s < grace_s)
        return BLOB_KEEP;
    return place == BLOB_ASIDE ? BLOB_REMOVE : BLOB_PUT_ASIDE;
}

struct pass {
    struct blob_store *store;
    const struct blob_collection *c;
    struct blob_collected *ret;
    enum blob_place place;
};

static enum err fate_of(const struct pass *p, const struct blob_entry *e, enum blob_fate *ret, struct errinfo *err)
{
    bool is_used = true;
    enum err rc = p->c->is_used(e->digest, p->c->ctx, &is_used, err);
    if (rc == OK)
        *ret = blob_fate(p->place, is_used, e->since_s, p->c->now_s, p->c->grace_s);
    return rc;
}

static enum err carry_out(const struct pass *p, const struct blob_entry *e, enum blob_fate fate, struct errinfo *err)
{
    enum err rc = OK;
    switch (fate) {
    case BLOB_KEEP: p->ret->kept++; return OK;
    case BLOB_PUT_ASIDE:
        rc = blob_set_aside(p->store, e->digest, err);
        p->ret->put_aside += rc == OK;
        break;
    case BLOB_COME_BACK:
        rc = blob_bring_back(p->store, e->digest, err);
        p->ret->came_back += rc == OK;
        break;
    case BLOB_REMOVE:
        rc = blob_remove_aside(p->store, e->digest, err);
        p->ret->removed += rc == OK;
        p->ret->removed_bytes += rc == OK ? e->size_bytes : 0;
        break;
    }
    p->ret->kept += rc == ERR_LIMIT;                         /* too big to be moved: it stays */
    return rc == ERR_NOT_FOUND || rc == ERR_LIMIT ? OK : rc; /* not found: somebody was first */
}

/* A list may be old when its end is reached: look again before anything is taken away. */
static enum err look_at(const struct blob_entry *listed, void *ctx, struct errinfo *err)
{
    const struct pass *p = ctx;
    enum blob_fate fate = BLOB_KEEP;
    enum err rc = fate_of(p, listed, &fate, err);
    struct blob_entry now = *listed;
    if (rc == OK && fate != BLOB_KEEP) {
        rc = blob_stat_place(p->store, p->place, listed->digest, &now, err);
        if (rc == ERR_NOT_FOUND)
            return OK;
        if (rc == OK)
            rc = fate_of(p, &now, &fate, err);
    }
    return rc == OK ? carry_out(p, &now, fate, err) : rc;
}

enum err blob_collect(struct blob_store *store, const struct blob_collection *c, struct blob_collected *ret,
                      struct errinfo *err)
{
    *ret = (struct blob_collected){0};
    if (c->grace_s < BLOB_GRACE_MIN_S)
        return err_set(err, ERR_INVALID, "garbage must lie for at least %lld s", (long long)BLOB_GRACE_MIN_S);
    /* Aside first: what is set aside now is not looked at twice. */
    struct pass p = {store, c, ret, BLOB_ASIDE};
    enum err rc = blob_list_place(store, BLOB_ASIDE, look_at, &p, err);
    p.place = BLOB_STORED;
    if (rc == OK)
        rc = blob_list_place(store, BLOB_STORED, look_at, &p, err);
    return rc == OK ? blob_sweep(store, UPLOAD_STALE_S, &ret->uploads_ended, err) : rc;
}
