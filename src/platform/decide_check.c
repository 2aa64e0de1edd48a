#include "platform/decide_check.h"

#include "base/json.h"

/* NULL: not UTF-8. */
static json_t *json_from_valid(struct str text)
{
    return json_stringn(text.len == 0 ? "" : text.ptr, text.len);
}

enum err check_text(const char *field, struct str text, size_t max, bool lines, struct errinfo *err)
{
    if (text.len > max)
        return err_set(err, ERR_LIMIT, "'%s' is %zu bytes long: at most %zu", field, text.len, max);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < 0x20 && !(lines && (c == '\n' || c == '\t' || c == '\r'))) || c == 0x7f)
            return err_set(err, ERR_INVALID, "'%s' has a control character at byte %zu", field, i);
    }
    auto_json json_t *utf8 = json_from_valid(text);
    if (utf8 == NULL)
        return err_set(err, ERR_INVALID, "'%s' is not UTF-8", field);
    return OK;
}

enum err check_name(const char *field, struct str text, struct errinfo *err)
{
    if (str_is_empty(str_trim(text)))
        return err_set(err, ERR_INVALID, "'%s' is empty", field);
    return check_text(field, text, DECIDE_NAME_MAX, false, err);
}

enum err check_range(const char *field, int64_t v, int64_t min, int64_t max, struct errinfo *err)
{
    if (v < min || v > max)
        return err_set(err, ERR_INVALID, "'%s' must be %lld to %lld, not %lld", field, (long long)min, (long long)max,
                       (long long)v);
    return OK;
}

/* 1 to 64 virtual processors, 96 MiB to 256 GiB: the least that the qemu runtime takes, and the largest machines in use
 * (chosen). */
enum err check_process_sizes(const struct platform_settings *s, int64_t instances_min, int64_t instances,
                             const struct resources *resources, const struct health_check *health, int64_t port,
                             struct errinfo *err)
{
    enum err rc = check_range("instances", instances, instances_min, s->instances_max, err);
    if (rc == OK)
        rc = check_range("port", port, 1, 65535, err);
    if (rc == OK)
        rc = check_range("resources.vcpus", resources->vcpus, 1, 64, err);
    if (rc == OK)
        rc = check_range("resources.memory_bytes", resources->memory_bytes, INT64_C(96) << 20, INT64_C(256) << 30, err);
    if (rc == OK)
        rc = check_range("resources.disk_bytes", resources->disk_bytes, 0, INT64_C(16) << 40, err);
    if (rc == OK)
        rc = check_range("health.interval_seconds", health->interval_seconds, 0, 3600, err);
    if (rc == OK)
        rc = check_range("health.timeout_seconds", health->timeout_seconds, 0, 3600, err);
    if (rc == OK)
        rc = check_range("health.start_timeout_seconds", health->start_timeout_seconds, 0, 3600, err);
    return rc;
}

enum err check_process_texts(struct str runtime, const struct health_check *health, struct errinfo *err)
{
    static const char *const RUNTIMES[] = {"", "firecracker", "qemu", "oci", "null"};
    bool is_known = false;
    for (size_t i = 0; i < sizeof(RUNTIMES) / sizeof(RUNTIMES[0]); i++)
        is_known = is_known || str_eq_c(runtime, RUNTIMES[i]);
    if (str_eq(runtime, STR("host")))
        return err_set(err, ERR_DENIED, "runtime 'host' is for the platform's own programs: it isolates nothing");
    if (!is_known)
        return err_set(err, ERR_INVALID, "'runtime' must be firecracker, qemu, oci or null, not '%.*s'",
                       STR_ARG(runtime));
    if (health->path.len > 0 && health->path.ptr[0] != '/')
        return err_set(err, ERR_INVALID, "'health.path' must begin with '/'");
    return check_text("health.path", health->path, 1024, false, err);
}

enum err check_format(const struct decide *d, enum event_kind kind, struct errinfo *err)
{
    int format = event_kind_format(kind);
    if (d->model->format >= format)
        return OK;
    return err_set(
        err, ERR_UNAVAILABLE,
        "'%s' is written from format %d on, and the log has %lld: it rises once every replica of the control "
        "plane runs this version",
        event_kind_row(kind)->name, format, (long long)d->model->format);
}

struct strs copy_strs(struct arena *a, struct strs from)
{
    struct strs to = {arena_alloc(a, from.n * sizeof(*to.items)), from.n};
    for (size_t i = 0; i < from.n; i++)
        to.items[i] = arena_str(a, from.items[i]);
    return to;
}
