/* Decisions about what belongs to somebody. */
#include "platform/decide_owned.h"

#include "base/json.h"
#include "base/own.h"
#include "platform/decide_check.h"
#include "platform/model_write.h"

/* ---- Domains ---- */

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

/* RFC 1035 with digits first (RFC 1123): labels of 1 to 63, at least two of them. */
static bool is_host(struct str host)
{
    struct str rest = host, label;
    size_t labels_n = 0;
    while (str_next(&rest, '.', &label)) {
        if (label.len == 0 || label.len > DECIDE_NAME_MAX || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
            return false;
        for (size_t i = 0; i < label.len; i++)
            if (!is_host_char(label.ptr[i]))
                return false;
        labels_n++;
    }
    return labels_n >= 2 && host.len <= DECIDE_HOST_MAX;
}

static bool is_ours(const struct decide *d, struct str host)
{
    struct str domain = d->settings->app_domain;
    if (!str_ends(host, domain))
        return false;
    return host.len == domain.len || host.ptr[host.len - domain.len - 1] == '.';
}

static enum err check_attach(const struct decide *d, const struct project *p, struct str host, struct errinfo *err)
{
    if (!is_host(host))
        return err_set(err, ERR_INVALID, "'host' must be a name like 'app.example.org' in lower case, not '%.*s'",
                       STR_ARG(host));
    if (is_ours(d, host))
        return err_set(err, ERR_DENIED, "'%.*s' is a name of the platform's own domain", STR_ARG(host));
    if (p->domains.n >= OWNED_PER_PROJECT_MAX)
        return err_set(err, ERR_LIMIT, "project '%s' has %zu domains: at most %u", p->slug, p->domains.n,
                       OWNED_PER_PROJECT_MAX);
    return check_format(d, EVENT_ATTACH_DOMAIN, err);
}

enum err decide_attach_domain(const struct decide *d, struct id project_id, struct str host, struct event_list *out,
                              struct id *ret_id, struct errinfo *err)
{
    const struct project *p = model_project(d->model, project_id);
    if (p == NULL || p->is_deleted)
        return not_found(err, "project", project_id);
    const struct domain *known = model_domain_by_host(d->model, host);
    if (known != NULL && known->project != p)
        return err_set(err, ERR_CONFLICT, "'%s' is attached to another project: detach it there first", known->host);
    if (known != NULL) {
        *ret_id = known->id;
        return OK;
    }
    enum err rc = check_attach(d, p, host, err);
    if (rc != OK)
        return rc;
    *ret_id = id_next(d->ids);
    event_list_add(out, EVENT_ATTACH_DOMAIN, d->ids)->attach_domain = (struct attach_domain){
        *ret_id, p->id, arena_str(out->arena, host), say(out, "slipform-verify=%s", id_text(out, id_next(d->ids)))};
    return OK;
}

static enum err find_domain(const struct decide *d, struct id domain_id, enum event_kind kind,
                            const struct domain **ret, struct errinfo *err)
{
    *ret = id_index_find(&d->model->domains, domain_id);
    return *ret == NULL ? not_found(err, "domain", domain_id) : check_format(d, kind, err);
}

static enum err domain_becomes(const struct decide *d, struct id domain_id, bool is_proved, struct str cause,
                               struct str why, struct event_list *out, struct errinfo *err)
{
    const struct domain *was = NULL;
    enum err rc = find_domain(d, domain_id, EVENT_VERIFY_DOMAIN, &was, err);
    if (rc == OK)
        rc = check_text("cause", cause, DECIDE_CAUSE_MAX, true, err);
    if (rc != OK)
        return rc;
    enum domain_status status = is_proved ? DOMAIN_VERIFIED : DOMAIN_FAILED;
    if (is_proved ? domain_is_proved(was) : was->status == DOMAIN_FAILED && str_eq_c(cause, was->cause))
        return OK;
    event_list_add(out, EVENT_VERIFY_DOMAIN, d->ids)->verify_domain =
        (struct verify_domain){.domain_id = was->id,
                               .status = str_from(domain_status_name(status)),
                               .cause = arena_str(out->arena, cause),
                               .because = why};
    return OK;
}

enum err decide_domain_observed(const struct decide *d, struct id domain_id, bool is_proved, struct str cause,
                                struct event_list *out, struct errinfo *err)
{
    return domain_becomes(d, domain_id, is_proved, cause, STR("{\"rule\":\"its records were looked up\"}"), out, err);
}

enum err decide_vouch_domain(const struct decide *d, struct id domain_id, struct event_list *out, struct errinfo *err)
{
    return domain_becomes(d, domain_id, true, STR(""), STR("{\"rule\":\"an operator vouched for it\"}"), out, err);
}

enum err decide_detach_domain(const struct decide *d, struct id domain_id, struct event_list *out, struct errinfo *err)
{
    const struct domain *was = NULL;
    enum err rc = find_domain(d, domain_id, EVENT_DETACH_DOMAIN, &was, err);
    if (rc != OK)
        return rc;
    event_list_add(out, EVENT_DETACH_DOMAIN, d->ids)->detach_domain =
        (struct detach_domain){was->id, STR("{\"rule\":\"detached by a person\"}")};
    return OK;
}

/* ---- Secrets ---- */

static enum err check_sealed(const char *field, struct str text, size_t max, struct errinfo *err)
{
    if (text.len > max)
        return err_set(err, ERR_LIMIT, "'%s' is %zu bytes long: at most %zu", field, text.len, max);
    auto_json json_t *doc = NULL;
    if (!is_sealed(text) || json_parse(text, &doc, NULL) != OK || json_object_size(doc) != 1 ||
        !json_is_string(json_object_get(doc, "sealed")))
        return err_set(err, ERR_INVALID, "'%s' must be sealed: {\"sealed\":\"<key id>:…\"} without white space", field);
    return OK;
}

/* The name of an environment variable (POSIX), and none of ours. */
static enum err check_variable(struct str name, struct errinfo *err)
{
    bool is_fine = name.len > 0 && name.len <= DECIDE_NAME_MAX && !(name.ptr[0] >= '0' && name.ptr[0] <= '9');
    for (size_t i = 0; is_fine && i < name.len; i++) {
        char c = name.ptr[i];
        is_fine = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    }
    if (!is_fine)
        return err_set(err, ERR_INVALID, "'name' must be letters, digits and '_', at most %u, not '%.*s'",
                       DECIDE_NAME_MAX, STR_ARG(name));
    if (str_eq(name, STR("PORT")) || str_starts(name, STR("SLIPFORM_")))
        return err_set(err, ERR_DENIED, "'%.*s' is set by the platform: choose another name", STR_ARG(name));
    return OK;
}

static enum err find_owner(const struct decide *d, struct id project_id, const struct project **ret,
                           struct errinfo *err)
{
    *ret = model_project(d->model, project_id);
    bool is_there = id_is_none(project_id) || (*ret != NULL && !(*ret)->is_deleted);
    return is_there ? OK : not_found(err, "project", project_id);
}

static size_t secrets_n(const struct model *m, const struct project *p)
{
    size_t n = 0;
    MODEL_EACH (secret, s, &m->secrets)
        n += s->project == p;
    return n;
}

enum err decide_set_secret(const struct decide *d, struct id project_id, struct str name, struct str sealed_value,
                           struct event_list *out, struct id *ret_id, struct errinfo *err)
{
    const struct project *p = NULL;
    enum err rc = find_owner(d, project_id, &p, err);
    if (rc == OK)
        rc = check_variable(name, err);
    if (rc == OK)
        rc = check_sealed("value", sealed_value, OWNED_SECRET_MAX, err);
    if (rc == OK)
        rc = check_format(d, EVENT_SET_SECRET, err);
    if (rc != OK)
        return rc;
    const struct secret *known = model_secret_by_name(d->model, p, name);
    if (known == NULL && secrets_n(d->model, p) >= OWNED_PER_PROJECT_MAX)
        return err_set(err, ERR_LIMIT, "there are %u secrets already: unset one first", OWNED_PER_PROJECT_MAX);
    *ret_id = known == NULL ? id_next(d->ids) : known->id;
    if (known != NULL && str_eq_c(sealed_value, known->value))
        return OK;
    event_list_add(out, EVENT_SET_SECRET, d->ids)->set_secret =
        (struct set_secret){*ret_id, project_id, arena_str(out->arena, name), arena_str(out->arena, sealed_value)};
    return OK;
}

enum err decide_unset_secret(const struct decide *d, struct id project_id, struct str name, struct event_list *out,
                             struct errinfo *err)
{
    const struct project *p = NULL;
    enum err rc = find_owner(d, project_id, &p, err);
    if (rc == OK)
        rc = check_format(d, EVENT_UNSET_SECRET, err);
    if (rc != OK)
        return rc;
    const struct secret *known = model_secret_by_name(d->model, p, name);
    if (known == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no secret '%.*s'", STR_ARG(name));
    event_list_add(out, EVENT_UNSET_SECRET, d->ids)->unset_secret.secret_id = known->id;
    return OK;
}

/* ---- People ---- */

static enum err check_person(struct str identity, struct str name, struct str email, struct errinfo *err)
{
    if (identity.len == 0)
        return err_set(err, ERR_INVALID, "'identity' is empty");
    enum err rc = check_text("identity", identity, OWNED_IDENTITY_MAX, false, err);
    if (rc == OK && name.len > 0)
        rc = check_sealed("name", name, DECIDE_CAUSE_MAX, err);
    if (rc == OK && email.len > 0)
        rc = check_sealed("email", email, DECIDE_CAUSE_MAX, err);
    return rc;
}

enum err decide_create_user(const struct decide *d, struct str identity, struct str sealed_name,
                            struct str sealed_email, struct event_list *out, struct id *ret_id, struct errinfo *err)
{
    enum err rc = check_person(identity, sealed_name, sealed_email, err);
    if (rc == OK)
        rc = check_format(d, EVENT_CREATE_USER, err);
    if (rc != OK)
        return rc;
    const struct user *known = model_user_by_identity(d->model, identity);
    *ret_id = known == NULL ? id_next(d->ids) : known->id;
    if (known != NULL)
        return OK;
    struct arena *a = out->arena;
    event_list_add(out, EVENT_CREATE_USER, d->ids)->create_user =
        (struct create_user){*ret_id, arena_str(a, identity), arena_str(a, sealed_name), arena_str(a, sealed_email)};
    return OK;
}

enum err decide_join_waitlist(const struct decide *d, struct str identity, struct str sealed_email,
                              struct event_list *out, struct id *ret_id, struct errinfo *err)
{
    enum err rc = check_person(identity, STR(""), sealed_email, err);
    if (rc == OK && sealed_email.len == 0)
        rc = err_set(err, ERR_INVALID, "'email' is missing");
    if (rc == OK)
        rc = check_format(d, EVENT_JOIN_WAITLIST, err);
    if (rc != OK)
        return rc;
    const struct waiting *known = model_waiting_by_identity(d->model, identity);
    if (known == NULL && d->model->waitlist.n >= OWNED_WAITLIST_MAX)
        return err_set(err, ERR_LIMIT, "the waitlist is full (%u): come back later", OWNED_WAITLIST_MAX);
    *ret_id = known == NULL ? id_next(d->ids) : known->id;
    if (known == NULL)
        event_list_add(out, EVENT_JOIN_WAITLIST, d->ids)->join_waitlist =
            (struct join_waitlist){*ret_id, arena_str(out->arena, identity), arena_str(out->arena, sealed_email)};
    return OK;
}

enum err decide_erase_subject(const struct decide *d, struct id subject_id, struct event_list *out, struct errinfo *err)
{
    const struct user *u = id_index_find(&d->model->users, subject_id);
    if (u == NULL && id_index_find(&d->model->waitlist, subject_id) == NULL)
        return not_found(err, "user or place in the waitlist", subject_id);
    enum err rc = check_format(d, EVENT_ERASE_SUBJECT, err);
    if (rc != OK || (u != NULL && u->is_erased))
        return rc;
    event_list_add(out, EVENT_ERASE_SUBJECT, d->ids)->erase_subject =
        (struct erase_subject){subject_id, STR("{\"rule\":\"asked for by a person\"}")};
    return OK;
}
