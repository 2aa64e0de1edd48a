#include "build/trace.h"

#include "base/own.h"
#include "base/str.h"

/* "[1/2] STEP 2/5: RUN x" -> the parts behind; false when the line is none. */
static bool parse_step(struct str line, struct str *ret_number, struct str *ret_count, struct str *ret_text)
{
    if (str_starts(line, STR("["))) {
        size_t end = str_find(line, ']');
        if (end + 2 > line.len)
            return false;
        line = str_slice(line, end + 2, line.len);
    }
    if (!str_starts(line, STR("STEP ")))
        return false;
    struct str rest = str_slice(line, 5, line.len), head;
    size_t colon = str_find(rest, ':');
    if (colon + 2 > rest.len)
        return false;
    head = str_slice(rest, 0, colon);
    *ret_text = str_slice(rest, colon + 2, rest.len);
    uint64_t n;
    return str_next(&head, '/', ret_number) && str_next(&head, '/', ret_count) &&
           str_parse_u64(*ret_number, 9999, &n) && str_parse_u64(*ret_count, 9999, &n);
}

static bool holds(struct str text, const char *part)
{
    return text.ptr != NULL && text.len > 0 && memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

static void tail_add(struct trace *t, struct str line)
{
    if (line.len > TRACE_TAIL_SIZE_MAX / 4) { /* one long line must not push out all others */
        line.len = TRACE_TAIL_SIZE_MAX / 4;
        while (line.len > 0 && ((unsigned char)line.ptr[line.len] & 0xC0) == 0x80)
            line.len--; /* not within a UTF-8 character */
    }
    buf_add_str(&t->tail, line);
    buf_add_char(&t->tail, '\n');
    while (t->tail.len > TRACE_TAIL_SIZE_MAX)
        buf_consume(&t->tail, str_find(buf_str(&t->tail), '\n') + 1);
}

void trace_add_line(struct trace *t, struct str line)
{
    struct str number, count, text;
    if (parse_step(line, &number, &count, &text)) {
        buf_clear(&t->step);
        buf_clear(&t->step_text);
        buf_clear(&t->tail);
        buf_add_str(&t->step_text, str_slice(text, 0, text.len > 1000 ? 1000 : text.len));
        buf_addf(&t->step, "step %.*s of %.*s, '%.*s'", STR_ARG(number), STR_ARG(count),
                 (int)(text.len > 300 ? 300 : text.len), text.ptr);
        return;
    }
    if (str_starts(line, STR("Error: "))) {
        buf_clear(&t->error);
        buf_add_str(&t->error, str_slice(line, 7, line.len > 1000 ? 1000 : line.len));
        return;
    }
    /* logrus lines of buildah about itself */
    if (line.len > 0 && !(str_starts(line, STR("time=\"")) && holds(line, "UNHANDLED LOGLEVEL")))
        tail_add(t, line);
}

/* What comes behind the first `mark`; all of it when there is none. */
static struct str behind(struct str text, const char *mark)
{
    const char *at = text.len == 0 ? NULL : memmem(text.ptr, text.len, mark, strlen(mark));
    return at == NULL ? text : str_slice(text, (size_t)(at - text.ptr) + strlen(mark), text.len);
}

/* buildah repeats the step in its error, `building at STEP "RUN x": why`, and may show where it unpacked the context.
 */
static struct str error_reason(const struct trace *t)
{
    struct str error = buf_str(&t->error);
    AUTO(buf) struct buf repeated = {0};
    buf_addf(&repeated, "building at STEP \"%s\": ", t->step_text.len > 0 ? t->step_text.ptr : "");
    if (str_starts(error, buf_str(&repeated)))
        error = str_slice(error, repeated.len, error.len);
    else if (str_starts(error, STR("building at STEP \"")))
        error = behind(error, "\": ");
    error = behind(error, "\": copier: ");
    const char *internals = error.len == 0 ? NULL : memmem(error.ptr, error.len, " &imagebuilder.", 15);
    return internals == NULL ? error : str_slice(error, 0, (size_t)(internals - error.ptr));
}

/* What to do, by the kind of failure. */
static const char *advice(struct str reason, const char *step)
{
    static const struct {
        const char *part, *advice;
    } KINDS[] = {
        {"Unknown instruction", "the Dockerfile has an instruction that does not exist: correct its name"},
        {"no such file or directory", "the file is not in the build context: check its name and .dockerignore"},
        {"no space left on device", "the disk of the builder is full: make room on the operator node"},
    };
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
        if (holds(reason, KINDS[i].part))
            return KINDS[i].advice;
    return strncmp(step, "RUN ", 4) == 0 ? "correct the command or what it needs, and deploy again"
                                         : "correct the Dockerfile, and deploy again";
}

static void add_base_image_cause(struct str error, const char *base_images, struct buf *out)
{
    static const char MARK[] = "initializing source docker://";
    const char *at = memmem(error.ptr, error.len, MARK, sizeof(MARK) - 1);
    struct str rest = str_slice(error, (size_t)(at - error.ptr) + sizeof(MARK) - 1, error.len);
    size_t end = str_find(rest, ' ');
    if (end > 0 && rest.ptr[end - 1] == ':')
        end--;
    buf_addf(out,
             "the base image '%.*s' is neither in the local registry (%s) nor can its public registry be reached: "
             "use a base image that is there, or have an operator add it with tools/registry-add",
             (int)end, rest.ptr, base_images[0] == '\0' ? "empty" : base_images);
}

/* The step, what happened in it and what to do; without the output. */
static bool add_summary(const struct trace *t, const char *how, const char *base_images, struct buf *out)
{
    struct str error = buf_str(&t->error), reason = error_reason(t);
    const char *step = t->step_text.len > 0 ? t->step_text.ptr : "";
    if (t->step.len > 0)
        buf_addf(out, "Dockerfile %s: ", t->step.ptr);
    if (holds(error, "initializing source docker://")) {
        add_base_image_cause(error, base_images, out);
        return false;
    }
    if (str_starts(error, STR("no contents in"))) {
        buf_add_c(out, "the Dockerfile is empty: write at least FROM and CMD");
        return false;
    }
    if (reason.len == 0 || !str_starts(str_from(how), STR("exit"))) {
        buf_addf(out, "%s", how);
        return true;
    }
    buf_addf(out, "%.*s; %s", STR_ARG(reason), advice(reason, step));
    return true;
}

void trace_cause(const struct trace *t, const char *how, const char *base_images, struct buf *ret_cause)
{
    AUTO(buf) struct buf out = {0};
    bool with_output = add_summary(t, how, base_images, &out);
    struct str tail = buf_str(&t->tail);
    if (with_output && tail.len > 0 && out.len + 64 < TRACE_CAUSE_SIZE_MAX) {
        size_t room = TRACE_CAUSE_SIZE_MAX - out.len - 64;
        while (tail.len > room)
            tail = str_slice(tail, str_find(tail, '\n') + 1, tail.len);
        buf_addf(&out, "\nlast lines of its output:\n%.*s", STR_ARG(tail));
    }
    while (out.len > 0 && out.ptr[out.len - 1] == '\n')
        out.len--;
    buf_add_str(ret_cause,
                str_slice(buf_str(&out), 0, out.len < TRACE_CAUSE_SIZE_MAX ? out.len : TRACE_CAUSE_SIZE_MAX));
}

void trace_done(struct trace *t)
{
    buf_done(&t->step);
    buf_done(&t->step_text);
    buf_done(&t->error);
    buf_done(&t->tail);
}
