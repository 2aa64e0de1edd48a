#pragma once
/* sdk/umbilical.h - the line by which a process tells the control plane how it is: where it stands in its logs, what it
 * counted, what went wrong (wire/umbilical.h). Layer: sdk. Thread: loop. Not for applications: slipform_main holds it.
 *
 * tick -> look at the process -> due? -> POST /v1/umbilical of SLIPFORM_EVENTS -> answered, refused or lost: the same
 * One report is on its way at a time and none is kept: what is sent is how things are then, so a control plane that is
 * away costs nothing and learns all that counts from the next one. No handler waits for it. */
#include "app/app.h"
#include "app/progress.h"
#include "base/buf.h"

/* 5 s: a node's heartbeat carries it on, and comes as often (chosen). */
#define UMBILICAL_EVERY_MS 5000
/* How often the process is looked at; and two reports are never nearer (chosen). */
#define UMBILICAL_TICK_MS 1000
/* Of one POST: the node answers itself, so it takes less or the node is away (chosen). */
#define UMBILICAL_CALL_MS 4000

/* What is told at once when it is another. */
struct umbilical_state {
    enum app_state state;
    bool is_troubled;
    uint64_t errors_n;
    size_t parked_n;
};
/* When to send. Zero at first; instants are monotonic. Pure. */
struct umbilical_pace {
    bool has_sent, is_under_way;
    int64_t sent_ms;
    struct umbilical_state sent;
};
bool umbilical_is_due(const struct umbilical_pace *p, int64_t now_ms, const struct umbilical_state *now);

/* For how long the process has been behind without folding anything. Zero at first. Pure. */
struct umbilical_behind {
    uint64_t folded;
    int64_t since_ms;
    bool has_begun;
};
/* folded: records that were folded or passed over. Returned: 0 while it moves on, or is behind nothing. */
int64_t umbilical_behind_ms(struct umbilical_behind *b, int64_t now_ms, uint64_t lag, uint64_t folded);

struct umbilical_line;
/* events: SLIPFORM_EVENTS. Both borrowed until umbilical_close. run: of this start. Returned: umbilical_close. */
struct umbilical_line *umbilical_open(struct uv_loop_s *loop, struct app *app, const char *events, struct id run);
/* Before app_close. closed(ctx) when the loop has nothing of it any more. */
void umbilical_close(struct umbilical_line *u, void (*closed)(void *ctx), void *ctx);
