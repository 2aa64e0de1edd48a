/* Secrets of a project: environment variables of its instances. A value comes in once, is sealed, and leaves only to
 * the node of an instance that is to have it (GET /v1/instances/{id}/secrets). */
#include <string.h>

#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/clock.h"
#include "base/own.h"
#include "control/keyring.h"
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
    follow_of_project(c, collect);
}

/* ---- set, unset ---- */

struct change {
    struct call *call;
    struct id project_id, id;
    struct str name, sealed;
    struct str ended; /* the sealed value that this ends; empty: none */
    int64_t sealed_mono_us;
    bool is_new;
};

static struct change *change_new(struct call *c, const struct project *p)
{
    struct change *x = arena_alloc(&c->arena, sizeof(*x));
    *x = (struct change){.call = c, .project_id = p->id, .name = str_from(http_request_param(c->r, "name"))};
    return x;
}

/* Note what is ended if this decision stands. NULL: there is none of that name. */
static const struct secret *note_ended(const struct decide *d, struct change *x)
{
    const struct secret *s = model_secret_by_name(d->model, model_project(d->model, x->project_id), x->name);
    x->ended = s == NULL ? (struct str){0} : arena_str(&x->call->arena, str_from(s->value));
    return s;
}

/* Its event is durable: nobody is to open that value again. What dies before is finished by the sweep. */
static void drop_ended(struct call *c, const struct change *x, size_t events_n)
{
    struct keyring *k = control_keyring(c->api->o.control, NULL);
    if (k != NULL && events_n > 0 && x->ended.len > 0)
        keyring_drop(k, x->ended);
}

static enum err set_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct change *x = args;
    if (clock_mono_us() - x->sealed_mono_us > (int64_t)KEYRING_GRACE_S / 2 * 1000000)
        return err_set(err, ERR_UNAVAILABLE, "this took so long that its key may be gone: set it again");
    x->is_new = note_ended(d, x) == NULL;
    return decide_set_secret(d, x->project_id, x->name, x->sealed, out, &x->id, err);
}

static void was_set(struct call *c, void *args, size_t events_n)
{
    const struct change *x = args;
    const struct secret *s = id_index_find(&call_model(c)->secrets, x->id);
    drop_ended(c, x, events_n);
    if (s == NULL) {
        call_reply_missing(c, "secret");
        return;
    }
    struct secret_resource resource;
    view(s, &c->arena, &resource);
    call_reply_status(c, x->is_new ? 201 : 200, &SECRET_RESOURCE_WIRE, &resource);
}

static void value_sealed(void *ctx, enum err rc, struct str sealed, const struct errinfo *err)
{
    struct change *x = ctx;
    struct call *c = x->call;
    if (rc != OK) {
        call_reply_error(c, err);
        return;
    }
    x->sealed = arena_str(&c->arena, sealed);
    x->sealed_mono_us = clock_mono_us();
    call_submit(c, set_decide, x, was_set);
}

/* The value is wiped from the call's arena before anything is answered; its key is durable before it is decided. */
void secret_put(struct call *c)
{
    struct secret_value body;
    struct errinfo err = {0};
    const struct project *p = project_of(c);
    if (p == NULL || !call_read(c, &SECRET_VALUE_WIRE, &body))
        return;
    struct keyring *k = control_keyring(c->api->o.control, &err);
    if (k != NULL && (body.value.len == 0 || body.value.len > SECRET_VALUE_MAX))
        err_ignore(err_set(&err, ERR_INVALID, "'value' has %zu bytes: 1 to %u", body.value.len, SECRET_VALUE_MAX));
    if (err.code == OK)
        keyring_seal(k, body.value, value_sealed, change_new(c, p));
    secrets_wipe((struct strs){&body.value, 1});
    if (err.code != OK)
        call_reply_error(c, &err);
}

static enum err unset_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct change *x = args;
    (void)note_ended(d, x);
    return decide_unset_secret(d, x->project_id, x->name, out, err);
}

static void was_unset(struct call *c, void *args, size_t events_n)
{
    drop_ended(c, args, events_n);
    call_reply_text(c, 202, STR("{}"));
}

void secret_delete(struct call *c)
{
    const struct project *p = project_of(c);
    if (p == NULL)
        return;
    call_submit(c, unset_decide, change_new(c, p), was_unset);
}

/* ---- for the node of an instance ---- */

void secrets_wipe(struct strs env)
{
    for (size_t i = 0; i < env.n; i++)
        if (env.items[i].len > 0)
            explicit_bzero((void *)(uintptr_t)env.items[i].ptr, env.items[i].len);
}

struct opening {
    struct call *call;
    struct strs names;
    void (*done)(struct call *c, struct strs env);
};

/* The model here may be behind the one that erased a value: whoever asks again later meets the news. */
static void reply_unopened(struct call *c, const struct errinfo *err)
{
    struct errinfo why = *err;
    why.code = why.code == ERR_NOT_FOUND ? ERR_UNAVAILABLE : why.code;
    call_reply_error(c, &why);
}

static void opened(void *ctx, enum err rc, const struct str *values, size_t n, const struct errinfo *err)
{
    struct opening *o = ctx;
    AUTO(arena) struct arena a = {0}; /* not the call's, which an answer ends */
    struct strs env = {arena_alloc(&a, (n + 1) * sizeof(struct str)), n};
    if (rc != OK) {
        reply_unopened(o->call, err);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t size = o->names.items[i].len + 1 + values[i].len;
        char *text = arena_alloc(&a, size + 1);
        memcpy(text, o->names.items[i].ptr, o->names.items[i].len);
        text[o->names.items[i].len] = '=';
        memcpy(text + size - values[i].len, values[i].ptr, values[i].len);
        env.items[i] = (struct str){text, size};
    }
    o->done(o->call, env);
    secrets_wipe(env);
}

void secrets_open(struct call *c, const struct process *p, void (*done)(struct call *c, struct strs env))
{
    struct errinfo err = {0};
    struct strs names = view_secret_names(p, &c->arena);
    struct keyring_value *sealed = arena_alloc(&c->arena, (names.n + 1) * sizeof(*sealed));
    struct opening *o = arena_alloc(&c->arena, sizeof(*o));
    *o = (struct opening){c, {arena_alloc(&c->arena, (names.n + 1) * sizeof(struct str)), 0}, done};
    for (size_t i = 0; i < names.n; i++) {
        const struct secret *s = model_secret_by_name(call_model(c), p->project, names.items[i]);
        if (s == NULL)
            continue; /* unset since */
        sealed[o->names.n] =
            (struct keyring_value){str_from(s->value), str_from(arena_printf(&c->arena, "secret '%s'", s->name))};
        o->names.items[o->names.n++] = arena_str(&c->arena, names.items[i]);
    }
    struct keyring *k = o->names.n == 0 ? NULL : control_keyring(c->api->o.control, &err);
    if (err.code != OK)
        call_reply_error(c, &err);
    else if (k == NULL)
        done(c, o->names);
    else
        keyring_open(k, sealed, o->names.n, opened, o);
}
