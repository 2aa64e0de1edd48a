#pragma once
/* base/err.h - one error type for every room.
 * Layer: base. Pure. The code is what a caller can act on; the text is for people. */
#include <stdbool.h>

enum err {
    OK = 0,
    ERR_INVALID,     /* the input is wrong: say what, the caller mends it */
    ERR_NOT_FOUND,   /* no such thing */
    ERR_CONFLICT,    /* somebody was first, or the state forbids it: read the news, decide again */
    ERR_LIMIT,       /* too big, too many: nothing was done */
    ERR_UNAVAILABLE, /* not now: try again later */
    ERR_DENIED,      /* the peer or the user may not */
    ERR_CORRUPT,     /* stored bytes or events that cannot be right: stop and say where */
    ERR_IO,          /* the operating system or a peer failed; state unknown unless the function says otherwise */
    ERR_CANCELLED,   /* asked to stop */
    ERR_MAX_
};

/* Caller-owned, on the stack, no heap: it cannot leak. 512: a path and a sentence (chosen, never measured). */
struct errinfo {
    enum err code;
    int os_errno; /* 0 if no system call was involved */
    char msg[512];
};

#define must_check __attribute__((warn_unused_result))

/* Set *e (may be NULL) and return `code`, which is never OK. Text: lower case, no full stop, values in single quotes.
 */
must_check enum err err_set(struct errinfo *e, enum err code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, with ": <strerror>" behind the text and os_errno set. */
must_check enum err err_set_os(struct errinfo *e, enum err code, int os_errno, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Put "<text>: " before the message of *e; shows "..." when the cause was cut. Returns e->code (`code` if e is NULL).
 */
must_check enum err err_wrap(struct errinfo *e, enum err code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __clang_analyzer__
/* The bodies are in another file: without this the analyzer follows ways on which an error was set and OK returned. */
#define ERR_NOT_OK_(call, code)                                                                                        \
    __extension__({                                                                                                    \
        enum err code_ = (code);                                                                                       \
        (void)(call);                                                                                                  \
        if (code_ == OK)                                                                                               \
            __builtin_unreachable();                                                                                   \
        code_;                                                                                                         \
    })
#define err_set(e, code, ...) ERR_NOT_OK_(err_set(e, code_, __VA_ARGS__), code)
#define err_set_os(e, code, os_errno, ...) ERR_NOT_OK_(err_set_os(e, code_, os_errno, __VA_ARGS__), code)
#define err_wrap(e, code, ...) ERR_NOT_OK_(err_wrap(e, code_, __VA_ARGS__), code)
#endif

/* Stable kebab-case name, as metrics and problem+json carry it. */
const char *err_name(enum err code);
/* Inverse of err_name; ERR_IO for a name that is not known. */
enum err err_from_name(const char *name);
/* Exit code of a program for this error (docs: black-box contract). */
int err_exit_code(enum err code);
/* HTTP status for this error, and back. */
int err_http_status(enum err code);
enum err err_from_http_status(int status);

/* Name the reason at the call site, e.g. err_ignore(unlink_file(p)): it is gone either way. */
static inline void err_ignore(enum err rc)
{
    (void)rc;
}
