#pragma once
/* base/log.h - one JSON object a line on a descriptor, stderr by default: {"time","level","program","msg"}.
 * Layer: base. Only a program's main and its loop log; library code returns errors. Secrets never come here. */
#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct logger {
    const char *program;  /* borrowed for ever */
    const char *instance; /* borrowed for ever; NULL: none */
    enum log_level level_min;
    int fd;
    bool plain; /* for a person: "program: text", no JSON */
};

void log_debug(const struct logger *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_info(const struct logger *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_warn(const struct logger *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_error(const struct logger *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "<text>: <err->msg> (<code>)" at level ERROR. */
void log_err(const struct logger *l, const struct errinfo *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool log_level_parse(const char *text, enum log_level *ret_level);
