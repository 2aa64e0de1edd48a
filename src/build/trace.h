#pragma once
/* build/trace.h - reads along with a build's output: in which step of the Dockerfile it is, and what a person needs to
 * know when it fails. Layer: build. Pure. Format: buildah 1.28's lines "STEP 2/5: RUN …", "Error: …". */
#include "base/buf.h"
#include "base/err.h"

/* A cause is stored in an event and shown in lists (docs/formats/documents.md). */
#define TRACE_CAUSE_SIZE_MAX 4096u
/* Output kept for the cause: the last lines that fit beside the other text. */
#define TRACE_TAIL_SIZE_MAX 3000u

struct trace {
    struct buf step;      /* "step 2 of 5, 'RUN …'"; empty before the first */
    struct buf step_text; /* "RUN …" */
    struct buf error;     /* behind the last "Error: " */
    struct buf tail;      /* last output lines of the step, each with its newline */
};

/* One line without its newline, at most a few KiB. */
void trace_add_line(struct trace *t, struct str line);
/* Why the build failed, at most TRACE_CAUSE_SIZE_MAX bytes: the step, its exit status, the last lines of its output,
 * what to do. Appended to ret_cause.
 *   how         what became of the build: "exit status 125" (the errors in the output say more), "it took longer than
 * …" base_images names in the local registry, for a base image that was not found; may be "" */
void trace_cause(const struct trace *t, const char *how, const char *base_images, struct buf *ret_cause);
void trace_done(struct trace *t);
static inline void trace_cleanup(struct trace *t)
{
    trace_done(t);
}
