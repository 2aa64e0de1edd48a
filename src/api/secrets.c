/* Secrets of a project: environment variables of its instances. A value comes in once, is sealed, and leaves only to
 * the node of an instance that is to have it (GET /v1/instances/{id}/secrets). */
#include <string.h>

#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/own.h"
#include "control/secret.h"
#include "platform/decide_owned.h"
#include "wire/owned.h"

static void view(const struct secret *s, struct arena *a, struct secret_resource *ret)
{
    const struct process *live = s->project->live;
    *ret = (struct secret_resource){
        .secret_id = s->id,
        .project_id = s->project->id,
        .name = view_text(s->name),
        .set = view_time_ns(s->set_ns, a),
        .is_live = live != NULL && live->created_seq > s->changed_seq,
    };
}

static void collect(struct call *c, struct feed *f)
{
    const struct id *project_id = c->data;
    MODEL_EACH (secret, s, &call_model(c)->secrets) {
        if (s->project == NULL || !id_eq(s->project->id, *project_id) || !feed_wants(f, s->id, s->changed_seq))
            continue;
        AUTO(arena) struct arena a = {0};
        struct secret_resource resource;
        view(s, &a, &resource);
        feed_add(f, &SECRET_RESOURCE_WIRE, s->id, &resource);
    }
    feed_remove_gone(c, f, OBJECT_SECRET, *project_id);
}

void secrets_list(struct call *c)
{
    const struct project *p = project_of(c);
    if (p == NULL)
        return;
    struct id *id = arena_alloc(&c->arena, sizeof(*id));
    *id = p->id;
    c->data = id;
    follow(c, collect);
}

/* ---- set, unset ---- */

struct change {
    struct id project_id, id;
    struct str name, sealed;
    bool is_new;
};

static enum err set_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct change *x = args;
    x->is_new = model_secret_by_name(d->model, model_project(d->model, x->project_id), x->name) == NULL;
    return decide_set_secret(d, x->project_id, x->name, x->sealed, out, &x->id, err);
}

static void was_set(struct call *c, void *args, size_t events_n)
{
    const struct change *x = args;
    const struct secret *s = id_index_find(&call_model(c)->secrets, x->id);
    (void)events_n;
    if (s == NULL) {
        call_reply_missing(c, "secret");
        return;
    }
    struct secret_resource resource;
    view(s, &c->arena, &resource);
    call_reply_status(c, x->is_new ? 201 : 200, &SECRET_RESOURCE_WIRE, &resource);
}

static enum err seal_value(struct call *c, struct str value, struct str *ret_sealed, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    if (value.len == 0 || value.len > SECRET_VALUE_MAX)
        return err_set(err, ERR_INVALID, "'value' has %zu bytes: 1 to %u", value.len, SECRET_VALUE_MAX);
    enum err rc = secret_seal(c->api->o.control, value, &text, err);
    *ret_sealed = arena_str(&c->arena, buf_str(&text));
    return rc;
}

/* The value is wiped from the call's arena before anything is answered. */
void secret_put(struct call *c)
{
    struct secret_value body;
    struct errinfo err = {0};
    const struct project *p = project_of(c);
    if (p == NULL || !call_read(c, &SECRET_VALUE_WIRE, &body))
        return;
    struct change *x = arena_alloc(&c->arena, sizeof(*x));
    *x = (struct change){.project_id = p->id, .name = str_from(http_request_param(c->r, "name"))};
    enum err rc = seal_value(c, body.value, &x->sealed, &err);
    secrets_wipe((struct strs){&body.value, 1});
    if (rc == OK)
        call_submit(c, set_decide, x, was_set);
    else
        call_reply_error(c, &err);
}

static enum err unset_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct change *x = args;
    return decide_unset_secret(d, x->project_id, x->name, out, err);
}

static void was_unset(struct call *c, void *args, size_t events_n)
{
    (void)args;
    (void)events_n;
    call_reply_text(c, 202, STR("{}"));
}

void secret_delete(struct call *c)
{
    const struct project *p = project_of(c);
    if (p == NULL)
        return;
    struct change *x = arena_alloc(&c->arena, sizeof(*x));
    *x = (struct change){.project_id = p->id, .name = str_from(http_request_param(c->r, "name"))};
    call_submit(c, unset_decide, x, was_unset);
}

/* ---- for the node of an instance ---- */

void secrets_wipe(struct strs env)
{
    for (size_t i = 0; i < env.n; i++)
        if (env.items[i].len > 0)
            explicit_bzero((void *)(uintptr_t)env.items[i].ptr, env.items[i].len);
}

static enum err open_one(struct call *c, const struct secret *s, struct arena *arena, struct str *ret,
                         struct errinfo *err)
{
    AUTO(buf) struct buf plain = {0};
    buf_addf(&plain, "%s=", s->name);
    enum err rc = secret_open(c->api->o.control, s->value, arena_printf(arena, "secret '%s'", s->name), &plain, err);
    *ret = arena_str(arena, buf_str(&plain));
    if (plain.ptr != NULL)
        explicit_bzero(plain.ptr, plain.size);
    return rc;
}

bool secrets_open(struct call *c, const struct process *p, struct arena *arena, struct strs *ret_env)
{
    struct errinfo err = {0};
    struct strs names = view_secret_names(p, arena);
    *ret_env = (struct strs){arena_alloc(arena, (names.n + 1) * sizeof(struct str)), 0};
    for (size_t i = 0; i < names.n; i++) {
        const struct secret *s = model_secret_by_name(call_model(c), p->project, names.items[i]);
        if (s == NULL)
            continue; /* unset since */
        if (open_one(c, s, arena, &ret_env->items[ret_env->n], &err) != OK) {
            secrets_wipe(*ret_env);
            call_reply_error(c, &err);
            return false;
        }
        ret_env->n++;
    }
    return true;
}
