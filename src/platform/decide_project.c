/* Decisions about projects, images and certificates. */
#include "event/hash.h"
#include "platform/decide_check.h"

bool project_slug(struct str name, char ret_slug[static DECIDE_NAME_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < name.len && n < DECIDE_NAME_MAX; i++) {
        char c = name.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (is_letter)
            ret_slug[n++] = c;
        else if (n > 0 && ret_slug[n - 1] != '-')
            ret_slug[n++] = '-';
    }
    while (n > 0 && ret_slug[n - 1] == '-')
        n--;
    ret_slug[n] = '\0';
    return n > 0;
}

enum err decide_create_project(const struct decide *d, struct str name, struct event_list *out, struct id *ret_id,
                               struct errinfo *err)
{
    char slug[DECIDE_NAME_MAX + 1];
    enum err rc = check_name("name", name, err);
    if (rc != OK)
        return rc;
    if (!project_slug(name, slug))
        return err_set(err, ERR_INVALID, "name '%.*s' has no letter or digit to make a host name of", STR_ARG(name));
    const struct project *same = model_project_by_slug(d->model, str_from(slug));
    if (same != NULL) {
        *ret_id = same->id;
        return err_set(err, ERR_CONFLICT,
                       "project '%s' has the host label '%s' already: deploy to it, or choose another "
                       "name",
                       same->name, slug);
    }
    const struct process *application = model_application_by_host_label(d->model, str_from(slug));
    if (application != NULL) {
        *ret_id = ID_NONE;
        return err_set(err, ERR_CONFLICT, "application '%s' has the host label '%s' already: choose another name",
                       application->name, slug);
    }
    *ret_id = id_next(d->ids);
    struct arena *a = out->arena;
    event_list_add(out, EVENT_CREATE_PROJECT, d->ids)->create_project =
        (struct create_project){*ret_id, arena_str(a, name), arena_str(a, str_from(slug))};
    return OK;
}

enum err decide_delete_project(const struct decide *d, struct id project_id, struct event_list *out,
                               struct errinfo *err)
{
    const struct project *p = model_project(d->model, project_id);
    if (p == NULL || p->is_deleted)
        return not_found(err, "project", project_id);
    event_list_add(out, EVENT_DELETE_PROJECT, d->ids)->delete_project = (struct delete_project){project_id};
    return OK;
}

static enum err check_update(const struct decide *d, const struct project_update *c, struct errinfo *err)
{
    const struct platform_settings *s = d->settings;
    enum err rc = c->name.len == 0 ? OK : check_name("name", c->name, err);
    if (rc == OK)
        rc = check_text("repository", c->repository, 1024, false, err);
    if (rc == OK)
        rc = check_text("branch", c->branch, 255, false, err);
    if (rc == OK && c->instances != 0)
        rc = check_range("instances", c->instances, s->instances_min, s->instances_max, err);
    if (rc == OK && c->drain_seconds != 0)
        rc = check_range("drain_seconds", c->drain_seconds, 1, s->drain_seconds_max, err);
    if (rc == OK && c->port != 0)
        rc = check_range("port", c->port, 1, 65535, err);
    if (rc == OK && c->resources.vcpus != 0)
        rc = check_range("resources.vcpus", c->resources.vcpus, 1, 64, err);
    if (rc == OK && c->resources.memory_bytes != 0)
        rc = check_range("resources.memory_bytes", c->resources.memory_bytes, INT64_C(96) << 20, INT64_C(256) << 30,
                         err);
    if (rc == OK)
        rc = check_range("resources.disk_bytes", c->resources.disk_bytes, 0, INT64_C(16) << 40, err);
    if (rc == OK)
        rc = c->cleared.n > 6 ? err_set(err, ERR_LIMIT, "'cleared' has %zu entries: at most 6", c->cleared.n) : OK;
    for (size_t i = 0; rc == OK && i < c->cleared.n; i++)
        rc = project_may_clear(c->cleared.items[i])
                 ? OK
                 : err_set(err, ERR_INVALID, "'%.*s' has no default to go back to", STR_ARG(c->cleared.items[i]));
    return rc;
}

static bool is_new_text(struct str v, const char *was)
{
    return v.len > 0 && !str_eq_c(v, was);
}

static bool is_new(int64_t v, int64_t was)
{
    return v != 0 && v != was;
}

static bool changes(const struct project *p, const struct project_update *c)
{
    return c->cleared.n > 0 || is_new_text(c->name, p->name) || is_new_text(c->repository, p->repository) ||
           is_new_text(c->branch, p->branch) || is_new(c->instances, p->instances_wanted) ||
           is_new(c->drain_seconds, p->drain_seconds) || is_new(c->port, p->port) ||
           is_new(c->resources.vcpus, p->resources.vcpus) ||
           is_new(c->resources.memory_bytes, p->resources.memory_bytes) ||
           is_new(c->resources.disk_bytes, p->resources.disk_bytes);
}

enum err decide_update_project(const struct decide *d, const struct project_update *c, struct event_list *out,
                               struct errinfo *err)
{
    const struct project *p = model_project(d->model, c->project_id);
    if (p == NULL || p->is_deleted)
        return not_found(err, "project", c->project_id);
    enum err rc = check_update(d, c, err);
    if (rc == OK)
        rc = check_format(d, EVENT_UPDATE_PROJECT, err);
    if (rc != OK || !changes(p, c))
        return rc;
    struct arena *a = out->arena;
    event_list_add(out, EVENT_UPDATE_PROJECT, d->ids)->update_project =
        (struct update_project){.project_id = p->id,
                                .name = arena_str(a, c->name),
                                .repository = arena_str(a, c->repository),
                                .branch = arena_str(a, c->branch),
                                .instances_wanted = c->instances,
                                .drain_seconds = c->drain_seconds,
                                .port = c->port,
                                .resources = c->resources,
                                .cleared = copy_strs(a, c->cleared)};
    return OK;
}

enum err decide_delete_image(const struct decide *d, struct id image_id, struct event_list *out, struct errinfo *err)
{
    const struct image *i = model_image(d->model, image_id);
    if (i == NULL)
        return not_found(err, "image", image_id);
    const struct process *user = model_user_of_image(d->model, i);
    if (user != NULL)
        return err_set(err, ERR_CONFLICT, "the image is used by %s '%s' (%s): stop that first",
                       user->project == NULL ? "application" : "a deployment of", user->name, id_text(out, user->id));
    if (i->status == IMAGE_BUILDING)
        return err_set(err, ERR_CONFLICT, "the image is being built: cancel its deployment first");
    enum err rc = check_format(d, EVENT_DELETE_IMAGE, err);
    if (rc != OK)
        return rc;
    event_list_add(out, EVENT_DELETE_IMAGE, d->ids)->delete_image =
        (struct delete_image){i->id, STR("{\"rule\":\"deleted by a person\"}")};
    return OK;
}

/* 64 entries of 4 KiB: more than any image that was looked at carries (chosen; an event is at most 256 KiB). */
enum { IMAGE_LIST_MAX = 64, IMAGE_TEXT_MAX = 4096, IMAGE_CONFIG_MAX = 128 * 1024 };

static enum err check_image_list(const char *field, struct strs list, size_t *total, struct errinfo *err)
{
    if (list.n > IMAGE_LIST_MAX)
        return err_set(err, ERR_LIMIT, "'config.%s' has %zu entries: at most %d", field, list.n, IMAGE_LIST_MAX);
    for (size_t i = 0; i < list.n; i++) {
        *total += list.items[i].len;
        if (list.items[i].len > IMAGE_TEXT_MAX)
            return err_set(err, ERR_LIMIT, "'config.%s[%zu]' is longer than %d bytes", field, i, IMAGE_TEXT_MAX);
    }
    return OK;
}

static enum err check_image(const struct image_observed *c, enum image_status *ret_status, struct errinfo *err)
{
    uint8_t digest[HASH_SIZE];
    size_t total = 0;
    if (!image_status_parse(c->status, ret_status))
        return err_set(err, ERR_INVALID, "'status' must be building, ready or failed, not '%.*s'", STR_ARG(c->status));
    if (*ret_status == IMAGE_READY && !hash_digest_parse(c->digest, digest))
        return err_set(err, ERR_INVALID, "'digest' must be 'sha256:' and 64 hex digits");
    if (*ret_status == IMAGE_READY && c->size_bytes <= 0)
        return err_set(err, ERR_INVALID, "'size_bytes' must be above zero");
    enum err rc = check_text("cause", c->cause, DECIDE_CAUSE_MAX, true, err);
    if (rc == OK)
        rc = check_image_list("entrypoint", c->config.entrypoint, &total, err);
    if (rc == OK)
        rc = check_image_list("cmd", c->config.cmd, &total, err);
    if (rc == OK)
        rc = check_image_list("env", c->config.env, &total, err);
    if (rc != OK)
        return rc;
    total += c->config.workdir.len + c->config.user.len + c->config.stop_signal.len;
    if (total > IMAGE_CONFIG_MAX)
        return err_set(err, ERR_LIMIT, "'config' has %zu bytes: at most %d", total, IMAGE_CONFIG_MAX);
    return OK;
}

static struct image_status_change image_event(struct arena *a, const struct image_observed *c)
{
    return (struct image_status_change){.image_id = c->image_id,
                                        .status = arena_str(a, c->status),
                                        .digest = arena_str(a, c->digest),
                                        .size_bytes = c->size_bytes,
                                        .cause = arena_str(a, c->cause),
                                        .config = {.entrypoint = copy_strs(a, c->config.entrypoint),
                                                   .cmd = copy_strs(a, c->config.cmd),
                                                   .env = copy_strs(a, c->config.env),
                                                   .workdir = arena_str(a, c->config.workdir),
                                                   .user = arena_str(a, c->config.user),
                                                   .stop_signal = arena_str(a, c->config.stop_signal)}};
}

enum err decide_image_observed(const struct decide *d, const struct image_observed *c, struct event_list *out,
                               struct errinfo *err)
{
    enum image_status status;
    enum err rc = check_image(c, &status, err);
    if (rc != OK)
        return rc;
    const struct image *i = model_image(d->model, c->image_id);
    if (i == NULL)
        return not_found(err, "image", c->image_id);
    if (!id_is_none(c->builder_instance_id) && !id_eq(c->builder_instance_id, i->builder_instance_id))
        return err_set(err, ERR_DENIED, "only the builder of this image may report it");
    if (i->status == status && (status != IMAGE_READY || str_eq_c(c->digest, i->digest)))
        return OK;
    if (i->status != IMAGE_BUILDING)
        return err_set(err, ERR_CONFLICT, "the image is %s already", image_status_name(i->status));
    event_list_add(out, EVENT_IMAGE_STATUS_CHANGE, d->ids)->image_status_change = image_event(out->arena, c);
    return OK;
}

/* Within a minute another replica had the same idea (chosen). */
enum { CERTIFICATE_JUST_MS = 60000 };

enum err decide_issue_certificate(const struct decide *d, struct str host, struct str not_after, struct event_list *out,
                                  struct id *ret_id, struct errinfo *err)
{
    if (host.len == 0)
        return err_set(err, ERR_INVALID, "'host' is empty");
    enum err rc = check_text("host", host, DECIDE_HOST_MAX, false, err);
    if (rc == OK)
        rc = check_text("not_after", not_after, 64, false, err);
    if (rc != OK)
        return rc;
    const struct certificate *last = model_certificate_by_host(d->model, host);
    if (last != NULL && d->now_ms - last->issued_ns / 1000000 < CERTIFICATE_JUST_MS) {
        *ret_id = last->id;
        return err_set(err, ERR_CONFLICT, "'%s' has had a new certificate just now", last->host);
    }
    *ret_id = id_next(d->ids);
    event_list_add(out, EVENT_ISSUE_CERTIFICATE, d->ids)->issue_certificate =
        (struct issue_certificate){*ret_id, arena_str(out->arena, host), arena_str(out->arena, not_after)};
    return OK;
}
