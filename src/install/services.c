#include "install/services.h"

#include <assert.h>
#include <signal.h>

#include "base/own.h"
#include "install/database.h"
#include "install/nats.h"
#include "install/s3_server.h"
#include "install/supervise.h"

size_t services_of(const struct home *h, struct service ret[static SERVICES_MAX])
{
    size_t n = 0;
    if (home_store_is(h, "postgres")) {
        database_services(h, ret);
        n = 2;
    }
    for (size_t i = 0; nats_is_wanted(h) && i < h->inst.nodes.n; i++) {
        if (home_is_operator(home_node(h, i)))
            ret[n++] = nats_service(h, home_node(h, i));
    }
    if (s3_server_is_wanted(h))
        ret[n++] = s3_server_service(h);
    assert(n <= SERVICES_MAX);
    return n;
}

static void reload(const struct home *h, const struct service *s)
{
    AUTO(arena) struct arena a = {0};
    struct supervise_state state;
    supervise_state_read(h, &a, &state);
    const struct supervised *runs = supervise_find_service(&state, s->name);
    if (s->reload_signal != 0 && runs != NULL && runs->pid != 0)
        (void)kill((pid_t)runs->pid, s->reload_signal); /* it has ended meanwhile: then it reads its files anew */
}

enum err services_create(const struct home *h, int uid, int gid, struct errinfo *err)
{
    struct service list[SERVICES_MAX];
    size_t n = services_of(h, list);
    for (size_t i = 0; i < n; i++) {
        bool has_changed = false;
        if (list[i].create == NULL)
            continue;
        enum err rc = list[i].create(h, &list[i], uid, gid, &has_changed, err);
        if (rc != OK)
            return rc;
        if (has_changed)
            reload(h, &list[i]);
    }
    return OK;
}

static enum err are_well(const struct home *h, bool also_last, struct errinfo *err)
{
    struct service list[SERVICES_MAX];
    size_t n = services_of(h, list);
    for (size_t i = 0; i < n; i++) {
        if (list[i].is_made_last && !also_last)
            continue;
        enum err rc = list[i].is_well(h, &list[i], err);
        if (rc != OK)
            return err_wrap(err, ERR_UNAVAILABLE, "%s", list[i].title);
    }
    return OK;
}

enum err services_are_well(const struct home *h, struct errinfo *err)
{
    return are_well(h, true, err);
}

enum err services_can_be_prepared(const struct home *h, struct errinfo *err)
{
    return are_well(h, false, err);
}

enum err services_prepare(const struct home *h, struct errinfo *err)
{
    struct service list[SERVICES_MAX];
    size_t n = services_of(h, list);
    for (size_t i = 0; i < n; i++) {
        enum err rc = list[i].prepare != NULL ? list[i].prepare(h, &list[i], err) : OK;
        if (rc != OK)
            return rc;
    }
    return OK;
}
