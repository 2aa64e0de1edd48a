#include "build/image_config.h"

#include "base/json.h"

/* 1,000 words or variables (chosen): the whole has to fit into an event. */
#define LIST_MAX 1000
#define TEXTS_SIZE_MAX ((size_t)64 * 1024)

static enum err copy_list(const json_t *config, const char *key, struct arena *arena, struct strs *ret,
                          size_t *texts_size, struct errinfo *err)
{
    const json_t *list = json_object_get(config, key);
    size_t n = json_array_size(list); /* 0 for null or absent */
    if (n > LIST_MAX)
        return err_set(err, ERR_LIMIT, "the image's %s has more than %d items", key, LIST_MAX);
    ret->items = n == 0 ? NULL : arena_alloc(arena, n * sizeof(*ret->items));
    ret->n = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_string(item))
            return err_set(err, ERR_INVALID, "the image's %s holds something that is no text", key);
        ret->items[i] = arena_str(arena, (struct str){json_string_value(item), json_string_length(item)});
        *texts_size += ret->items[i].len;
    }
    return OK;
}

static struct str copy_text(const json_t *config, const char *key, struct arena *arena, size_t *texts_size)
{
    struct str text = json_member_str(config, key);
    *texts_size += text.len;
    return text.len == 0 ? (struct str){0} : arena_str(arena, text);
}

enum err image_config_parse(struct str text, struct arena *arena, struct image_config *ret, struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    enum err rc = json_parse(text, &doc, err);
    if (rc != OK)
        return err_wrap(err, rc, "read the image's configuration");
    const json_t *config = json_object_get(json_object_get(doc, "OCIv1"), "config");
    if (!json_is_object(config))
        return err_set(err, ERR_INVALID, "the image's configuration has no member 'OCIv1.config'");
    struct image_config c = {0};
    size_t texts_size = 0;
    rc = copy_list(config, "Entrypoint", arena, &c.entrypoint, &texts_size, err);
    if (rc == OK)
        rc = copy_list(config, "Cmd", arena, &c.cmd, &texts_size, err);
    if (rc == OK)
        rc = copy_list(config, "Env", arena, &c.env, &texts_size, err);
    if (rc != OK)
        return rc;
    c.workdir = copy_text(config, "WorkingDir", arena, &texts_size);
    c.user = copy_text(config, "User", arena, &texts_size);
    c.stop_signal = copy_text(config, "StopSignal", arena, &texts_size);
    if (texts_size > TEXTS_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "the image's configuration (ENV, CMD, …) is over %zu bytes", TEXTS_SIZE_MAX);
    if (c.entrypoint.n + c.cmd.n == 0)
        return err_set(err, ERR_INVALID, "the image says nothing to start: end the Dockerfile with CMD or ENTRYPOINT");
    *ret = c;
    return OK;
}
