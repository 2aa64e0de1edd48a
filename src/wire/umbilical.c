#include "wire/umbilical.h"

#include <stddef.h>

static const struct field INPUT_FIELDS[] = {
    FIELD_REQ(ID, umbilical_input, log_id, "log_id", "log"),
    FIELD_OPT(I64, umbilical_input, seq, "seq", "folded up to"),
    FIELD_OPT(I64, umbilical_input, end, "end", "end of the log as last seen"),
};
static const struct field_table INPUT_WIRE = FIELD_TABLE(umbilical_input, INPUT_FIELDS);

static const struct field WINDOW_FIELDS[] = {
    FIELD_REQ(TIME, umbilical_window, start, "start", "on the clock of the log's store"),
    FIELD_REQ(TIME, umbilical_window, end, "end", "likewise"),
    FIELD_OPT(I64, umbilical_window, n_input_events_handled_ok, "n_input_events_handled_ok", "folded within it"),
    FIELD_OPT(I64, umbilical_window, n_output_events, "n_output_events", "appended within it"),
    FIELD_OPT(I64, umbilical_window, n_errors, "n_errors", "that happened within it"),
};
static const struct field_table WINDOW_WIRE = FIELD_TABLE(umbilical_window, WINDOW_FIELDS);

static const struct field ERROR_FIELDS[] = {
    FIELD_OPT(TIME, umbilical_error, time, "time", "on the clock of the log's store"),
    FIELD_OPT(STR, umbilical_error, text, "text", "what happened"),
};
static const struct field_table ERROR_WIRE = FIELD_TABLE(umbilical_error, ERROR_FIELDS);

static const struct field REPORT_FIELDS[] = {
    FIELD_REQ(ID, umbilical_report, run_id, "run_id", "of this start of the program"),
    FIELD_REQ(I64, umbilical_report, sequence, "sequence", "rises within a run; a repeated or older one is ignored"),
    FIELD_REQ(STR, umbilical_report, state, "state", "replaying, live, stalled"),
    FIELD_OPT(TIME, umbilical_report, checkpoint, "checkpoint", "event time of the last event that was folded"),
    FIELD_OPT(I64, umbilical_report, n_input_events_handled, "n_input_events_handled", "since the program began"),
    FIELD_OPT(I64, umbilical_report, n_output_events, "n_output_events", "likewise"),
    FIELD_OPT(I64, umbilical_report, lag_events, "lag_events", "of all inputs, not folded yet"),
    FIELD_OPT(I64, umbilical_report, behind_ms, "behind_ms", "so long it has been behind without folding anything"),
    FIELD_OPT(I64, umbilical_report, n_errors, "n_errors", "since the program began"),
    FIELD_OPT(I64, umbilical_report, last_error_ms, "last_error_ms", "so long ago the last of them was"),
    FIELD_SUB(OBJECT, umbilical_report, first_error, "first_error", ERROR_WIRE, "the first since the program began"),
    FIELD_SUB(OBJECT, umbilical_report, last_error, "last_error", ERROR_WIRE, "the last"),
    FIELD_OPT(I64, umbilical_report, n_effects_parked, "n_effects_parked", "that failed too often, for now"),
    FIELD_OPT(STR, umbilical_report, parked_cause, "parked_cause", "of one of them"),
    FIELD_OPT(STR, umbilical_report, trouble, "trouble", "why it does not go on"),
    FIELD_SUB(OBJECTS, umbilical_report, inputs, "inputs", INPUT_WIRE, "where it is; at most 8, the output first"),
    FIELD_SUB(OBJECTS, umbilical_report, windows, "windows", WINDOW_WIRE, "the last ones with any count, at most 6"),
};
const struct field_table UMBILICAL_REPORT_WIRE = FIELD_TABLE(umbilical_report, REPORT_FIELDS);

static const struct field UMBILICAL_FIELDS[] = {
    FIELD_OPT(I64, umbilical, silent_ms, "silent_ms", "nothing came for so long"),
    FIELD_SUB(OBJECT, umbilical, report, "report", UMBILICAL_REPORT_WIRE, "the last one"),
};
const struct field_table UMBILICAL_WIRE = FIELD_TABLE(umbilical, UMBILICAL_FIELDS);
