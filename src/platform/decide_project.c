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

static struct strs copy_strs(struct arena *a, struct strs from)
{
    struct strs to = {arena_alloc(a, from.n * sizeof(*to.items)), from.n};
    for (size_t i = 0; i < from.n; i++)
        to.items[i] = arena_str(a, from.items[i]);
    return to;
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
