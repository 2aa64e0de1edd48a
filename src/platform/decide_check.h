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
/* ERR_NOT_FOUND */
must_check static inline enum err not_found(struct errinfo *err, const char *what, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%s'", what, text);
}
