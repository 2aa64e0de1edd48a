#include "base/log.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/own.h"

static const char *const LEVEL_NAMES[] = {"debug", "info", "warn", "error"};

static void write_all(int fd, struct str s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);
        if (n <= 0)
            return; /* nowhere to report it */
        s = str_slice(s, (size_t)n, s.len);
    }
}

static void log_text(const struct logger *l, enum log_level level, struct str text)
{
    AUTO(buf) struct buf line = {0};
    if (l->plain) {
        buf_addf(&line, "%s: %.*s\n", l->program, STR_ARG(text));
    } else {
        char now[CLOCK_TEXT_SIZE];
        clock_format_us(clock_wall_us(), now);
        buf_addf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\"", now, LEVEL_NAMES[level], l->program);
        if (l->instance != NULL)
            buf_addf(&line, ",\"instance\":\"%s\"", l->instance);
        buf_add_c(&line, ",\"msg\":");
        buf_add_json_string(&line, text);
        buf_add_c(&line, "}\n");
    }
    write_all(l->fd, buf_str(&line));
}

__attribute__((format(printf, 3, 0))) static void vlog(const struct logger *l, enum log_level level, const char *fmt,
                                                       va_list ap)
{
    if (l == NULL || level < l->level_min)
        return;
    AUTO(buf) struct buf text = {0};
    buf_vaddf(&text, fmt, ap);
    log_text(l, level, buf_str(&text));
}

void log_debug(const struct logger *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vlog(l, LOG_DEBUG, fmt, ap);
    va_end(ap);
}

void log_info(const struct logger *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vlog(l, LOG_INFO, fmt, ap);
    va_end(ap);
}

void log_warn(const struct logger *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vlog(l, LOG_WARN, fmt, ap);
    va_end(ap);
}

void log_error(const struct logger *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vlog(l, LOG_ERROR, fmt, ap);
    va_end(ap);
}

void log_err(const struct logger *l, const struct errinfo *err, const char *fmt, ...)
{
    if (l == NULL)
        return;
    AUTO(buf) struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    buf_addf(&text, ": %s (%s)", err->msg, err_name(err->code));
    log_text(l, LOG_ERROR, buf_str(&text));
}

bool log_level_parse(const char *text, enum log_level *ret_level)
{
    for (unsigned i = 0; i < sizeof(LEVEL_NAMES) / sizeof(LEVEL_NAMES[0]); i++)
        if (strcmp(text, LEVEL_NAMES[i]) == 0) {
            *ret_level = (enum log_level)i;
            return true;
        }
    return false;
}
