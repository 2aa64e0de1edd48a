/* Folds of what belongs to a project: its settings, domains and secrets. */
#include "platform/model_write.h"

/* Which status may follow which: bit `to` of row `from`. A domain that failed is tried again. */
#define TO(s) (1u << DOMAIN_##s)
static const unsigned DOMAIN_MOVES[DOMAIN_STATUS_MAX_] = {
    [DOMAIN_PENDING] = TO(PENDING) | TO(VERIFIED) | TO(FAILED),
    [DOMAIN_VERIFIED] = TO(VERIFIED) | TO(SERVING) | TO(FAILED),
    [DOMAIN_SERVING] = TO(SERVING) | TO(VERIFIED) | TO(FAILED),
    [DOMAIN_FAILED] = TO(FAILED) | TO(VERIFIED) | TO(PENDING),
};
#undef TO

static const struct project *find_living(const struct model *m, struct id id)
{
    const struct project *p = model_project(m, id);
    return p != NULL && !p->is_deleted ? p : NULL;
}

/* ---- Settings ---- */

static int64_t newer(int64_t v, int64_t old)
{
    return v != 0 ? v : old;
}

static bool clear_member(struct model *m, struct project *p, struct str key)
{
    if (str_eq(key, STR("repository")))
        texts_set(&m->texts, &p->repository, STR(""));
    else if (str_eq(key, STR("branch")))
        texts_set(&m->texts, &p->branch, STR(""));
    else if (str_eq(key, STR("instancesWanted")))
        p->instances_wanted = 0;
    else if (str_eq(key, STR("drainSeconds")))
        p->drain_seconds = 0;
    else if (str_eq(key, STR("port")))
        p->port = 0;
    else if (str_eq(key, STR("resources")))
        p->resources = (struct resources){0};
    else
        return false;
    return true;
}

bool project_may_clear(struct str key)
{
    static const char *const KEYS[] = {"repository", "branch", "instancesWanted", "drainSeconds", "port", "resources"};
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++)
        if (str_eq_c(key, KEYS[i]))
            return true;
    return false;
}

static enum err apply_update_project(struct model *m, const struct update_project *e, struct errinfo *err)
{
    const struct project *was = find_living(m, e->project_id);
    if (was == NULL)
        return refuse_missing(err, "project", e->project_id);
    if (e->instances_wanted < 0 || e->drain_seconds < 0 || e->port < 0 || e->port > 65535)
        return err_set(err, ERR_CORRUPT, "a setting of project '%s' is out of its range", was->slug);
    for (size_t i = 0; i < e->cleared.n; i++)
        if (!project_may_clear(e->cleared.items[i]))
            return err_set(err, ERR_CORRUPT, "'%.*s' has no default to go back to", STR_ARG(e->cleared.items[i]));
    struct project *p = project_edit(m, was);
    for (size_t i = 0; i < e->cleared.n; i++) {
        bool is_known = clear_member(m, p, e->cleared.items[i]);
        assert(is_known);
    }
    if (e->name.len > 0)
        texts_set(&m->texts, &p->name, e->name);
    if (e->repository.len > 0)
        texts_set(&m->texts, &p->repository, e->repository);
    if (e->branch.len > 0)
        texts_set(&m->texts, &p->branch, e->branch);
    p->instances_wanted = newer(e->instances_wanted, p->instances_wanted);
    p->drain_seconds = newer(e->drain_seconds, p->drain_seconds);
    p->port = newer(e->port, p->port);
    p->resources.vcpus = newer(e->resources.vcpus, p->resources.vcpus);
    p->resources.memory_bytes = newer(e->resources.memory_bytes, p->resources.memory_bytes);
    p->resources.disk_bytes = newer(e->resources.disk_bytes, p->resources.disk_bytes);
    touch_project(m, p);
    return OK;
}

/* ---- Domains ---- */

static enum err apply_attach_domain(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct attach_domain *e = &ev->attach_domain;
    const struct project *p = find_living(m, e->project_id);
    if (id_index_find(&m->domains, e->domain_id) != NULL)
        return refuse_twice(err, "domain", e->domain_id);
    if (p == NULL)
        return refuse_missing(err, "project", e->project_id);
    if (e->host.len == 0 || model_domain_by_host(m, e->host) != NULL)
        return err_set(err, ERR_CORRUPT, "domain '%.*s' is attached already", STR_ARG(e->host));
    struct domain *d = object_new(m, domain);
    *d = (struct domain){.id = e->domain_id,
                         .project = p,
                         .host = texts_ref(&m->texts, e->host),
                         .challenge = texts_ref(&m->texts, e->challenge),
                         .cause = "",
                         .created_ns = ev->time.instant_ns,
                         .since_ns = ev->time.instant_ns};
    index_add(m, &m->domains, d);
    keys_add(m, KEY_DOMAIN_HOST, d);
    index_add(m, &project_edit(m, p)->domains, d);
    touch_domain(m, d);
    return OK;
}

static enum err apply_verify_domain(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct verify_domain *e = &ev->verify_domain;
    const struct domain *was = id_index_find(&m->domains, e->domain_id);
    enum domain_status status;
    if (was == NULL)
        return refuse_missing(err, "domain", e->domain_id);
    if (!domain_status_parse(e->status, &status))
        return err_set(err, ERR_CORRUPT, "'%.*s' is not a status of a domain", STR_ARG(e->status));
    if ((DOMAIN_MOVES[was->status] & 1u << status) == 0)
        return err_set(err, ERR_CORRUPT, "domain '%s' is %s and cannot become %s", was->host,
                       domain_status_name(was->status), domain_status_name(status));
    struct domain *d = domain_edit(m, was);
    if (d->status != status)
        d->since_ns = ev->time.instant_ns;
    d->status = status;
    texts_set(&m->texts, &d->cause, e->cause);
    touch_domain(m, d);
    return OK;
}

static void domain_drop(struct model *m, const struct domain *d)
{
    touch_domain(m, d);
    bury(m, OBJECT_DOMAIN, d->id, d->project->id);
    index_remove(m, &m->domains, d->id);
    keys_remove(m, KEY_DOMAIN_HOST, d);
    index_remove(m, &project_edit(m, d->project)->domains, d->id);
    object_free(m, domain, d);
}

void project_drop_domains(struct model *m, const struct project *p)
{
    while (p->domains.n > 0)
        domain_drop(m, p->domains.items[p->domains.n - 1]);
}

/* Edges forget it with the next RouteDeployment. */
static enum err apply_detach_domain(struct model *m, const struct detach_domain *e, struct errinfo *err)
{
    const struct domain *d = id_index_find(&m->domains, e->domain_id);
    if (d == NULL)
        return refuse_missing(err, "domain", e->domain_id);
    domain_drop(m, d);
    return OK;
}

/* ---- Secrets ---- */

static enum err apply_set_secret(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct set_secret *e = &ev->set_secret;
    const struct secret *was = id_index_find(&m->secrets, e->secret_id);
    const struct project *p = find_living(m, e->project_id);
    if (p == NULL && !id_is_none(e->project_id))
        return refuse_missing(err, "project", e->project_id);
    if (!is_sealed(e->value))
        return err_set(err, ERR_CORRUPT, "the value of secret '%.*s' is not sealed", STR_ARG(e->name));
    const struct secret *same = model_secret_by_name(m, p, e->name);
    if (e->name.len == 0 || (same != NULL && same != was) || (was != NULL && same == NULL))
        return err_set(err, ERR_CORRUPT, "secret '%.*s' has another id or another name already", STR_ARG(e->name));
    struct secret *s = was == NULL ? object_new(m, secret) : secret_edit(m, was);
    if (was == NULL) {
        *s = (struct secret){.id = e->secret_id, .project = p, .name = texts_ref(&m->texts, e->name), .value = ""};
        index_add(m, &m->secrets, s);
        keys_add(m, KEY_SECRET_NAME, s);
    }
    texts_set(&m->texts, &s->value, e->value);
    s->set_ns = ev->time.instant_ns;
    s->changed_seq = model_next_seq(m);
    return OK;
}

static void secret_drop(struct model *m, const struct secret *s)
{
    bury(m, OBJECT_SECRET, s->id, s->project == NULL ? ID_NONE : s->project->id);
    index_remove(m, &m->secrets, s->id);
    keys_remove(m, KEY_SECRET_NAME, s);
    object_free(m, secret, s);
}

void project_drop_secrets(struct model *m, const struct project *p)
{
    for (size_t i = m->secrets.n; i > 0; i--) {
        const struct secret *s = m->secrets.items[i - 1];
        if (s->project == p)
            secret_drop(m, s);
    }
}

static enum err apply_unset_secret(struct model *m, const struct unset_secret *e, struct errinfo *err)
{
    const struct secret *s = id_index_find(&m->secrets, e->secret_id);
    if (s == NULL)
        return refuse_missing(err, "secret", e->secret_id);
    secret_drop(m, s);
    return OK;
}

enum err apply_project_event(struct model *m, const struct event *ev, struct errinfo *err)
{
    if (ev->kind == EVENT_UPDATE_PROJECT)
        return apply_update_project(m, &ev->update_project, err);
    if (ev->kind == EVENT_ATTACH_DOMAIN)
        return apply_attach_domain(m, ev, err);
    if (ev->kind == EVENT_VERIFY_DOMAIN)
        return apply_verify_domain(m, ev, err);
    if (ev->kind == EVENT_DETACH_DOMAIN)
        return apply_detach_domain(m, &ev->detach_domain, err);
    if (ev->kind == EVENT_SET_SECRET)
        return apply_set_secret(m, ev, err);
    assert(ev->kind == EVENT_UNSET_SECRET);
    return apply_unset_secret(m, &ev->unset_secret, err);
}
