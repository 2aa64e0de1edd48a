#pragma once
/* platform/what_if.h - what a planner would have decided where a recorded history says what was decided.
 *
 * A history is given event by event. Where it has events of a plan (they say when it was made, `nowMs` in `because`), a
 * planner is asked on the model before them, at that time, and its answer is compared with what is recorded. The
 * history goes on as it was recorded, so a difference does not lead to others. Two things are compared with care:
 *   - what is new in a plan (ids of instances) stands for itself: another id is no difference
 *   - what a plan saw and the log does not hold (which edges have switched, whose votes count, which formats are read)
 *     is taken from what was recorded (what_if_views.h): *what* was decided is judged, not whether it was time to
 * With a reference (the planner that is thought to have written the history), the candidate is asked as well where
 * nothing was recorded: what it decides there and the reference does not, it would have decided earlier.
 *
 *   for each event: what_if_event; what_if_end; what_if_counts
 *
 * Layer: platform. Pure. How it works and what it cannot see: docs/internals/planning.md, "What if" */
#include "platform/plan.h"
#include "platform/plan_state.h"

/* ---- A planner that is asked ---- */

/* seen.live_since_ms of a question is one of these: it has heard of all edges there are; it has not, and will not. */
#define WHAT_IF_EDGES_KNOWN (INT64_MIN / 4)
#define WHAT_IF_EDGES_UNKNOWN (INT64_MAX / 4)

struct what_if_question {
    int64_t now_ms, until_ms; /* asked at now_ms; when nothing follows, at each of its deadlines up to until_ms */
    struct observations seen;
};
struct what_if_answer {
    int64_t at_ms;            /* when it decided, or was asked last */
    struct event_list events; /* of one plan; events.arena is set by the caller */
};
/* m: as of the position that is asked about. OK | what keeps a planner from answering */
typedef enum err what_if_ask_fn(void *ctx, const struct model *m, const struct what_if_question *q,
                                struct what_if_answer *ret, struct errinfo *err);
struct what_if_planner {
    what_if_ask_fn *ask;
    void *ctx;
};

/* This build's planner. Texts of the settings are borrowed as long as it lives. */
struct what_if_own {
    struct plan_state *state;
    struct platform_settings settings;
    struct id_source ids;
    int64_t last_ms;
};
void what_if_own_init(struct what_if_own *o, const struct platform_settings *s);
void what_if_own_done(struct what_if_own *o);
struct what_if_planner what_if_own_planner(struct what_if_own *o); /* lent: as long as *o lives */

/* ---- Differences ---- */

enum what_if_change {
    WHAT_IF_OTHER,   /* about the same object, but something else */
    WHAT_IF_NOT,     /* recorded, and it would not have been decided */
    WHAT_IF_ALSO,    /* it would have been decided in the same plan */
    WHAT_IF_EARLIER, /* it would have been decided at a time when nothing was recorded */
    WHAT_IF_REASON,  /* the same decision by another rule: told, but no difference */
    WHAT_IF_CHANGE_MAX_
};
const char *what_if_change_name(enum what_if_change c); /* "other", "not", "also", "earlier", "reason" */

struct what_if_difference {
    enum what_if_change change;
    uint64_t seq;                           /* decided against the first so many events */
    int64_t at_ms;                          /* when */
    uint64_t recorded_seq;                  /* of `recorded`; 0: none */
    const struct event *recorded, *instead; /* one of them may be NULL */
    const struct model *model;              /* before them */
};
/* Everything is lent for the call. */
typedef void what_if_differs_fn(void *ctx, const struct what_if_difference *d);
/* Fold one event. Default (NULL): model_apply. */
typedef enum err what_if_fold_fn(void *ctx, struct model *m, const struct event *ev, uint64_t seq, struct errinfo *err);

struct what_if_options {
    struct model *model; /* borrowed: empty, or folded up to where the history begins; folded further */
    struct what_if_planner candidate;
    struct what_if_planner reference; /* ask NULL: none */
    what_if_differs_fn *differs;
    what_if_fold_fn *fold;
    void *ctx; /* of both */
};
struct what_if_counts {
    uint64_t plans;                        /* places where events of a plan were recorded */
    uint64_t decided;                      /* these events */
    uint64_t questions;                    /* plans that were made to compare with */
    uint64_t unmatched;                    /* plans that nothing it may have seen explains, by this build */
    uint64_t changes[WHAT_IF_CHANGE_MAX_]; /* differences */
};

struct what_if;
/* *o is copied. Returned: what_if_free. */
struct what_if *what_if_new(const struct what_if_options *o);
void what_if_free(struct what_if *w);
/* The next event of the history, with its time; more: the next one was appended with it, as one decision (the mark of
 * its record). It may be folded later: see what_if_end.
 * OK | as the fold: model->seq is the one before the event | as a planner that is asked */
must_check enum err what_if_event(struct what_if *w, const struct event *ev, bool more, struct errinfo *err);
/* What has come so far is judged and folded: at the end, or before the caller looks at the model. Errors as above. */
must_check enum err what_if_end(struct what_if *w, struct errinfo *err);
const struct what_if_counts *what_if_counts(const struct what_if *w);

/* An event that a plan decided, and when. False: of a command, or of a planner that did not say when. */
bool what_if_is_planned(const struct event *ev, int64_t *ret_now_ms);
/* "rule" of its because; empty when it has none. Borrowed from the event. */
struct str what_if_rule(const struct event *ev);
