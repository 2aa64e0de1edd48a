/* What should run: accepted from the API or from the control plane's documents, on disk before it is answered. */
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "node/agent/private.h"
#include "os/file.h"

/* A runtime that runs on the host itself is root on it: only for the platform's own. */
static bool may_run_on_host(const struct agent *a, const struct instance_spec *s)
{
    return str_eq_c(s->owner, "bootstrap") || agent_has_label(a, "control");
}

static bool is_plain_name(struct str s)
{
    if (s.len == 0 || s.len >= CONVERGE_OWNER_SIZE || s.ptr[0] == '.')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", s.ptr[i]) == NULL ||
            s.ptr[i] == '\0')
            return false;
    return true;
}

static enum err check_rights(const struct agent *a, const struct instance_spec *s, struct errinfo *err)
{
    if (!str_eq_c(s->owner, "bootstrap") && !str_eq_c(s->owner, a->o.installation))
        return err_set(err, ERR_DENIED, "this node serves the owners 'bootstrap' and '%s', not '%.*s'",
                       a->o.installation, STR_ARG(s->owner));
    bool on_host = str_eq_c(s->runtime, "host") || s->artifact_url.len > 0;
    if (on_host && !may_run_on_host(a, s))
        return err_set(err, ERR_DENIED,
                       "runtime 'host' and 'file:' artifacts are for owner 'bootstrap' and for nodes "
                       "labelled 'control': name an image by its digest");
    return OK;
}

static enum err check_spec(const struct agent *a, const struct instance_spec *s, struct errinfo *err)
{
    static const char *const DESIRED[] = {"", "running", "draining", "stopped"};
    bool known = false;
    for (size_t i = 0; i < sizeof(DESIRED) / sizeof(DESIRED[0]); i++)
        known = known || str_eq_c(s->desired, DESIRED[i]);
    if (!known)
        return err_set(err, ERR_INVALID, "field 'desired' is running, draining or stopped, not '%.*s'",
                       STR_ARG(s->desired));
    if (s->restart.len > 0 && !str_eq_c(s->restart, "always") && !str_eq_c(s->restart, "never"))
        return err_set(err, ERR_INVALID, "field 'restart' is always or never, not '%.*s'", STR_ARG(s->restart));
    if (!is_plain_name(s->name))
        return err_set(err, ERR_INVALID, "field 'name' is at most 63 letters, digits and '-_.', not '%.*s'",
                       STR_ARG(s->name));
    if (s->runtime.len > 0 && runtime_find(s->runtime) == NULL)
        return err_set(err, ERR_INVALID, "this node has no runtime '%.*s'", STR_ARG(s->runtime));
    if (s->artifact_url.len > 0 && (!str_starts(s->artifact_url, STR("file:")) ||
                                    !is_plain_name(str_slice(s->artifact_url, 5, s->artifact_url.len))))
        return err_set(err, ERR_INVALID, "artifact '%.*s' is not 'file:<program>'", STR_ARG(s->artifact_url));
    if (s->port < 0 || s->port > 65535 || s->stop_grace_seconds < 0 || s->stop_grace_seconds > 3600)
        return err_set(err, ERR_INVALID, "field 'port' or 'stop_grace_seconds' is out of range");
    return check_rights(a, s, err);
}

enum err desired_accept(struct agent *a, struct arena *arena, const struct instance_spec *spec, bool *ret_is_new,
                        struct errinfo *err)
{
    enum err rc = check_spec(a, spec, err);
    if (rc != OK)
        return rc;
    if (converge_is_deleted(a->converge, spec->instance_id))
        return err_set(err, ERR_CONFLICT, "this instance was deleted here, and its id is not used again");
    struct instance *i = instance_find(a, spec->instance_id);
    if (i != NULL && !str_eq(i->spec.owner, spec->owner))
        return err_set(err, ERR_CONFLICT, "this instance belongs to '%.*s'", STR_ARG(i->spec.owner));
    *ret_is_new = i == NULL;
    i = instance_put(a, spec->instance_id, arena, spec);
    rc = instance_keep_spec(i, err);
    if (rc != OK) {
        if (*ret_is_new)
            instance_drop(i);
        return rc;
    }
    struct converge_want want = instance_want(i);
    agent_give(a, &(struct converge_input){.type = CONVERGE_WANT, .id = i->id, .want = &want});
    return OK;
}

/* ---- following the control plane ---- */

/* One item. What cannot be run here is told as such: a replica of ours must not wait for it in vain. */
static void take_item(struct agent *a, const json_t *item, struct id *ret_id)
{
    struct arena arena = {0};
    struct instance_resource r;
    struct errinfo err = {0};
    bool is_new = false;
    *ret_id = ID_NONE;
    enum err rc = fields_decode(&INSTANCE_RESOURCE_WIRE, item, &arena, &r, &err);
    if (rc == OK && !str_eq_c(r.spec.owner, a->o.installation)) {
        arena_done(&arena); /* e.g. the bootstrap's: those come by the API */
        return;
    }
    if (rc == OK) {
        *ret_id = r.instance_id;
        r.spec.instance_id = r.instance_id;
        if (r.spec.desired.len == 0)
            r.spec.desired = r.desired;
        rc = desired_accept(a, &arena, &r.spec, &is_new, &err);
    }
    if (rc != OK)
        log_err(a->o.log, &err, "the control plane asks for something that cannot be run here");
    arena_done(&arena);
}

static void remove_item(struct agent *a, const json_t *item)
{
    const char *text = json_string_value(item);
    struct id id;
    if (text == NULL || !id_parse(str_from(text), &id))
        return;
    const struct converge_view *v = converge_find(a->converge, id);
    if (v != NULL && agent_is_installation(a, v->want.owner))
        agent_give(a, &(struct converge_input){.type = CONVERGE_REMOVE, .id = id});
}

static enum err on_document(const json_t *doc, void *ctx, struct errinfo *err)
{
    struct agent *a = ctx;
    const json_t *items = json_object_get(doc, "items"), *removed = json_object_get(doc, "removed");
    if (!json_is_array(items))
        return err_set(err, ERR_INVALID, "the answer has no list 'items'");
    size_t n = json_array_size(items);
    struct id *ids = mem_calloc(n + 1, sizeof(*ids));
    for (size_t i = 0; i < n; i++)
        take_item(a, json_array_get(items, i), &ids[i]);
    if (json_is_true(json_object_get(doc, "full")))
        agent_give(a,
                   &(struct converge_input){.type = CONVERGE_SYNC, .owner = a->o.installation, .ids = ids, .ids_n = n});
    for (size_t i = 0; i < json_array_size(removed); i++)
        remove_item(a, json_array_get(removed, i));
    free(ids);
    return OK;
}

static void on_error(const struct errinfo *err, unsigned failures_n, void *ctx)
{
    const struct agent *a = ctx;
    if (failures_n == 1 || failures_n % 60 == 0)
        log_warn(a->o.log, "the control plane does not answer (what runs goes on): %s", err->msg);
}

void agent_hint(struct agent *a)
{
    if (a->follow != NULL)
        follow_kick(a->follow);
}

enum err desired_follow(struct agent *a, struct errinfo *err)
{
    (void)err;
    char id[ID_TEXT_SIZE];
    id_format(a->o.node_id, id);
    const char **urls = mem_calloc(a->o.management_apis_n, sizeof(*urls));
    for (size_t i = 0; i < a->o.management_apis_n; i++)
        urls[i] = mem_printf("%s/v1/instances?node_id=%s", a->o.management_apis[i], id);
    struct follow_options o = {.loop = a->o.loop,
                               .client = a->o.client,
                               .call = {.url = urls[0],
                                        .ca_file = a->o.ca_file,
                                        .cert_file = a->o.cert_file,
                                        .key_file = a->o.key_file,
                                        .peer_uri = a->peer_uri,
                                        .connect_timeout_ms = 3000},
                               .urls = urls,
                               .urls_n = a->o.management_apis_n,
                               .wait_s = 30,
                               .on_document = on_document,
                               .on_error = on_error,
                               .ctx = a};
    random_bytes(&o.seed, sizeof(o.seed));
    a->follow = follow_start(&o);
    for (size_t i = 0; i < a->o.management_apis_n; i++)
        free((void *)(uintptr_t)urls[i]);
    free(urls);
    return OK;
}
