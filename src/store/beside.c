/* The spec of another log beside one, in the same store. */
#include "base/own.h"
#include "store/store.h"

static char *beside_in_folder(const char *folder, const char *name)
{
    return folder == NULL ? NULL : mem_printf("files;path=%s/%s", folder, name);
}

/* The spec without key `key` and key `other`. */
static void add_without(struct buf *out, const char *spec, const char *key, const char *other)
{
    struct str rest = str_from(spec), part, name;
    const char *sep = "";
    while (str_next(&rest, ';', &part)) {
        struct str value = part;
        (void)str_next(&value, '=', &name);
        if (str_eq_c(name, key) || str_eq_c(name, other))
            continue;
        buf_add_c(out, sep);
        buf_add_str(out, part);
        sep = ";";
    }
}

static struct str value_of(const char *spec, const char *key)
{
    struct str rest = str_from(spec), part, name;
    while (str_next(&rest, ';', &part)) {
        struct str value = part;
        if (str_next(&value, '=', &name) && str_eq_c(name, key) && name.len < part.len)
            return value;
    }
    return (struct str){NULL, 0};
}

char *store_spec_beside(const char *spec, const char *folder, const char *name)
{
    struct str rest = str_from(spec), kind;
    AUTO(buf) struct buf out = {0};
    (void)str_next(&rest, ';', &kind);
    if (str_eq_c(kind, "files"))
        return beside_in_folder(folder, name);
    if (str_eq_c(kind, "postgres")) {
        add_without(&out, spec, "log", "log");
        buf_addf(&out, ";log=%s", name);
    } else if (str_eq_c(kind, "jetstream")) { /* nobody shares work on it, and nothing in it is sealed */
        add_without(&out, spec, "stream", "subject");
        buf_addf(&out, ";stream=%.*s-%s;beside=no", STR_ARG(value_of(spec, "stream")), name);
    } else if (str_eq_c(kind, "simulated")) {
        add_without(&out, spec, "name", "name");
        buf_addf(&out, ";name=%.*s-%s", STR_ARG(value_of(spec, "name")), name);
    } else {
        return NULL;
    }
    return mem_strndup(out.ptr, out.len);
}
