#pragma once
/* wire/umbilical.h - what an event-sourced process says about itself while it runs
 * Layer: wire. Types and tables only; JSON keys are the snake_case names of the members.
 * Format: docs/formats/documents.md
 *
 *   runtime -> POST /v1/umbilical of its node (SLIPFORM_EVENTS) -> the node's heartbeat -> every replica that hears it
 *
 * Each report holds all that matters, so any of them may be lost, repeated or late. */
#include "event/fields.h"

/* Of a report: bounds that the runtime keeps to and its node enforces. 6 windows of 5 s are half a minute: as long as a
 * control plane may be away and miss none. 8 logs: a process that reads more says the sum. (chosen;
 * test_umbilical: a_report_is_bounded) */
#define UMBILICAL_WINDOWS_MAX 6u
#define UMBILICAL_INPUTS_MAX 8u
#define UMBILICAL_TEXT_MAX 256u
/* Bytes of a report: 6 windows, 8 logs and 3 texts of which each byte is escaped take less (chosen; likewise). */
#define UMBILICAL_SIZE_MAX ((size_t)16 * 1024)

struct umbilical_input {
    struct id log_id; /* as the process names it */
    int64_t seq;      /* folded up to */
    int64_t end;      /* of the log as last seen */
};
struct umbilical_window {
    struct event_time start, end; /* on the store's clock */
    int64_t n_input_events_handled_ok, n_output_events, n_errors;
};
struct umbilical_error {
    struct event_time time;
    struct str text;
};
struct umbilical_report {
    struct id run_id;                                /* of this start of the program */
    int64_t sequence;                                /* rises within a run */
    struct str state;                                /* replaying, live, stalled */
    struct event_time checkpoint;                    /* of the last event folded; absent: none */
    int64_t n_input_events_handled, n_output_events; /* since it began */
    int64_t lag_events;                              /* read or not, of all inputs: not folded yet */
    int64_t behind_ms;                               /* so long it has been behind without folding anything */
    int64_t n_errors;
    int64_t last_error_ms; /* so long ago the last of them was, when this was said */
    struct umbilical_error first_error, last_error;
    int64_t n_effects_parked;
    struct str parked_cause; /* of one of them */
    struct str trouble;      /* why the logs cannot be read or the process does not go on; empty: they can */
    struct objects inputs;   /* of struct umbilical_input: the output first, then those furthest behind */
    struct objects windows; /* of struct umbilical_window: oldest first; those in which nothing happened are left out */
};
extern const struct field_table UMBILICAL_REPORT_WIRE;

/* In a heartbeat, of one instance: its last report, and for how long nothing has come behind it. */
struct umbilical {
    int64_t silent_ms;
    struct umbilical_report report; /* run_id none: there was none since the agent or the instance began */
};
extern const struct field_table UMBILICAL_WIRE;
