#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#undef err_set /* wrapped for the analyzer */
#undef err_set_os
#undef err_wrap

static const struct err_row {
    const char *name;
    int http_status, exit_code;
} ERR_ROWS[ERR_MAX_] = {
    [OK] = {"ok", 200, 0},
    [ERR_INVALID] = {"invalid", 400, 1},
    [ERR_NOT_FOUND] = {"not-found", 404, 3},
    [ERR_CONFLICT] = {"conflict", 409, 1},
    [ERR_LIMIT] = {"limit", 413, 1},
    [ERR_UNAVAILABLE] = {"unavailable", 503, 5},
    [ERR_DENIED] = {"denied", 403, 4},
    [ERR_CORRUPT] = {"corrupt", 500, 1},
    [ERR_IO] = {"io", 500, 1},
    [ERR_CANCELLED] = {"cancelled", 503, 1},
};

static void mark_cut(char *msg, size_t size)
{
    memcpy(msg + size - 4, "...", 4);
}

__attribute__((format(printf, 4, 0))) static void set_text(struct errinfo *e, enum err code, int os_errno,
                                                           const char *fmt, va_list ap)
{
    e->code = code;
    e->os_errno = os_errno;
    int n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
    if (n < 0) {
        e->msg[0] = '\0';
        return;
    }
    if ((size_t)n >= sizeof(e->msg)) {
        mark_cut(e->msg, sizeof(e->msg));
        return;
    }
    if (os_errno != 0) {
        char reason[128];
        const char *text = strerror_r(os_errno, reason, sizeof(reason));
        size_t room = sizeof(e->msg) - (size_t)n;
        int m = snprintf(e->msg + n, room, ": %s", text);
        if (m < 0 || (size_t)m >= room)
            mark_cut(e->msg, sizeof(e->msg));
    }
}

enum err err_set(struct errinfo *e, enum err code, const char *fmt, ...)
{
    assert(code != OK && code < ERR_MAX_);
    if (e != NULL) {
        va_list ap;
        va_start(ap, fmt);
        set_text(e, code, 0, fmt, ap);
        va_end(ap);
    }
    return code;
}

enum err err_set_os(struct errinfo *e, enum err code, int os_errno, const char *fmt, ...)
{
    assert(code != OK && code < ERR_MAX_);
    if (e != NULL) {
        va_list ap;
        va_start(ap, fmt);
        set_text(e, code, os_errno, fmt, ap);
        va_end(ap);
    }
    return code;
}

enum err err_wrap(struct errinfo *e, enum err code, const char *fmt, ...)
{
    if (e == NULL)
        return code;
    char inner[sizeof(e->msg)];
    memcpy(inner, e->msg, sizeof(inner));
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(e->msg))
        return e->code;
    size_t room = sizeof(e->msg) - (size_t)n;
    int m = snprintf(e->msg + n, room, ": %s", inner);
    if (m < 0 || (size_t)m >= room)
        mark_cut(e->msg, sizeof(e->msg));
    return e->code;
}

const char *err_name(enum err code)
{
    assert(code < ERR_MAX_);
    return ERR_ROWS[code].name;
}

enum err err_from_name(const char *name)
{
    for (unsigned i = 0; i < ERR_MAX_; i++)
        if (strcmp(ERR_ROWS[i].name, name) == 0)
            return (enum err)i;
    return ERR_IO;
}

int err_exit_code(enum err code)
{
    assert(code < ERR_MAX_);
    return ERR_ROWS[code].exit_code;
}

int err_http_status(enum err code)
{
    assert(code < ERR_MAX_);
    return ERR_ROWS[code].http_status;
}

enum err err_from_http_status(int status)
{
    switch (status) {
    case 401:
    case 403: return ERR_DENIED;
    case 404:
    case 410: return ERR_NOT_FOUND;
    case 409:
    case 412: return ERR_CONFLICT;
    case 413:
    case 429: return ERR_LIMIT;
    case 502:
    case 503:
    case 504: return ERR_UNAVAILABLE;
    default: break;
    }
    if (status >= 200 && status < 300)
        return OK;
    return status >= 400 && status < 500 ? ERR_INVALID : ERR_IO;
}
