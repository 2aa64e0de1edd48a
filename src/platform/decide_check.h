#pragma once
/* platform/decide_check.h - what every decision checks about its inputs. Only decide_*.c include it.
 * Layer: platform. Pure. */
#include "platform/decide.h"
#include "platform/emit.h"

/* At most max bytes, without control characters (a newline and a tab are fine when `lines`).
 * ERR_INVALID | ERR_LIMIT naming the field */
must_check enum err check_text(const char *field, struct str text, size_t max, bool lines, struct errinfo *err);
/* The same and not empty. */
must_check enum err check_name(const char *field, struct str text, struct errinfo *err);
/* Kinds of a newer format are written once RaiseFormat says that every replica reads them. ERR_UNAVAILABLE */
must_check enum err check_format(const struct decide *d, enum event_kind kind, struct errinfo *err);
/* Lists of the caller's, into the arena. */
struct strs copy_strs(struct arena *a, struct strs from);
/* What every process may ask for. */
must_check enum err check_range(const char *field, int64_t v, int64_t min, int64_t max, struct errinfo *err);
must_check enum err check_process_sizes(const struct platform_settings *s, int64_t instances_min, int64_t instances,
                                        const struct resources *resources, const struct health_check *health,
                                        int64_t port, struct errinfo *err);
must_check enum err check_process_texts(struct str runtime, const struct health_check *health, struct errinfo *err);
/* ERR_NOT_FOUND */
must_check static inline enum err not_found(struct errinfo *err, const char *what, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%s'", what, text);
}
