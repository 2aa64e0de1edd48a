#pragma once
/* node/converge/converge.h - what a node does next: desired and observed in, actions and the next deadline out.
 * Layer: node. Pure: no clock, I/O or randomness, so that the agent and the simulator run the same code.
 *
 * The happy path of one instance: WANT -> action PREPARE; PREPARED -> START; STARTED, then HEALTH ok -> REPORT running;
 * WANT stopped -> STOP; EXITED -> CLEAN; CLEANED -> REPORT stopped; REMOVE -> FORGET.
 * What can go wrong: it exits or never gets healthy -> CLEAN, back-off, PREPARE again (same id, same address), `failed`
 * after the crash-loop limit; it does not stop -> KILL after its grace; the agent dies -> KEPT at its next start says
 * what is still there. An input about an older attempt is ignored, so late answers do no harm. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/id.h"

/* 1 s doubling to 30 s; chosen, never measured (test_converge: back_off_doubles). */
#define CONVERGE_BACK_OFF_MS_MIN 1000
#define CONVERGE_BACK_OFF_MS_MAX 30000
/* Healthy for that long: the next failure begins at the shortest back-off again (test_converge: healthy_resets). */
#define CONVERGE_HEALTHY_MS_RESET 60000
/* Failures in a row until `failed`. A start that timed out weighs more, it has cost a minute each (test_converge:
 * crash_loop_fails, start_timeout_fails). Chosen, never measured. */
#define CONVERGE_FAILURES_MAX 8
#define CONVERGE_START_TIMEOUT_WEIGHT 4
/* Failed checks in a row until ERROR, and until it is restarted in place: between the two the edges go elsewhere and a
 * merely overloaded program can recover (test_converge: unhealthy_restarts). Chosen, never measured. */
#define CONVERGE_CHECKS_ERROR 3
#define CONVERGE_CHECKS_RESTART 6
/* Signals that were not followed by an exit are sent again after that long. */
#define CONVERGE_KILL_AGAIN_MS 5000
/* Remembered deleted ids; the oldest go first. */
#define CONVERGE_TOMBSTONES_MAX 10000
#define CONVERGE_OWNER_SIZE 64
#define CONVERGE_CAUSE_SIZE 512

enum converge_desired { CONVERGE_RUNNING, CONVERGE_DRAINING, CONVERGE_STOPPED };

/* What matters of an instance_spec here. */
struct converge_want {
    char owner[CONVERGE_OWNER_SIZE];
    enum converge_desired desired;
    bool restart_never;       /* started once at most, whatever becomes of it */
    bool no_crash_limit;      /* the platform's own programs: nobody would replace them */
    int64_t grace_ms;         /* between STOP and KILL; 0: 10 s */
    int64_t start_timeout_ms; /* until the first healthy check; 0: 60 s; < 0: none */
    uint64_t revision;        /* another one restarts it in place at once; 0: never */
    int halt_rank;            /* CONVERGE_HALT stops rank 0 first, the next rank once those are gone */
};

enum converge_input_type {
    CONVERGE_TICK,     /* time passed */
    CONVERGE_WANT,     /* id, want: accepted (again); ignored for a deleted id */
    CONVERGE_KEPT,     /* id, want, kept: at the agent's start, an instance from its disk */
    CONVERGE_REMOVE,   /* id, tombstone: stop, clean, forget */
    CONVERGE_SYNC,     /* owner, ids: a complete list; what else this owner has is removed without a tombstone */
    CONVERGE_WIPE,     /* owner: all of its instances and tombstones go */
    CONVERGE_BURY,     /* id, owner: a tombstone from disk */
    CONVERGE_HALT,     /* stop everything and start nothing; what is desired stays as it is */
    CONVERGE_PREPARED, /* id, attempt, ok, cause: image and OS objects are there */
    CONVERGE_STARTED,  /* id, attempt, ok, cause */
    CONVERGE_HEALTH,   /* id, attempt, ok, cause: one check; timed_out when nothing answered */
    CONVERGE_EXITED,   /* id, attempt, ok (exit status 0), cause */
    CONVERGE_CLEANED,  /* id, attempt: its OS objects are gone */
};

/* What the agent's disk and the host say about an instance when the agent starts. */
struct converge_kept {
    bool is_up;        /* its process is still there */
    bool was_started;  /* it had been started at least once */
    bool was_healthy;  /* and was healthy when last seen */
    bool is_failed;    /* was given up */
    bool is_finished;  /* restart: never, and it has ended well */
    bool is_removing;  /* its removal was under way */
    bool is_tombstone; /* which leaves a tombstone */
    int64_t restarts;
};

struct converge_input {
    int64_t at_ms; /* monotonic; never before the one of the last step */
    enum converge_input_type type;
    struct id id;
    uint32_t attempt; /* of the action that this answers; 0: whatever is current */
    bool ok, timed_out, tombstone;
    bool for_good;     /* PREPARED, STARTED: not ok, and trying again is of no use */
    const char *cause; /* borrowed; NULL: none */
    const char *owner; /* borrowed; SYNC, WIPE, BURY */
    const struct id *ids;
    size_t ids_n;                     /* SYNC */
    const struct converge_want *want; /* borrowed; WANT, KEPT */
    struct converge_kept kept;
};

enum converge_action_type {
    CONVERGE_DO_PREPARE, /* fetch the image, make tap and cgroup; answer PREPARED */
    CONVERGE_DO_START,   /* answer STARTED, then EXITED one day */
    CONVERGE_DO_STOP,    /* ask it to end (SIGTERM) */
    CONVERGE_DO_KILL,    /* end it */
    CONVERGE_DO_CLEAN,   /* OS objects away, route first; answer CLEANED. Also cancels a PREPARE under way */
    CONVERGE_DO_REPORT,  /* its view has changed: keep it on disk, push it */
    CONVERGE_DO_FORGET,  /* take it from disk; with `tombstone`: remember that the id is deleted */
    CONVERGE_DO_UNBURY,  /* take the tombstone of id from disk */
};
struct converge_action {
    enum converge_action_type type;
    struct id id;
    uint32_t attempt;
    bool tombstone;
    char owner[CONVERGE_OWNER_SIZE]; /* FORGET */
};
/* Filled by converge_step; the actions are lent until the next step with the same output. {0} before the first. */
struct converge_output {
    struct converge_action *actions;
    size_t actions_n, actions_size;
    int64_t deadline_ms; /* when to step again though nothing happened; INT64_MAX: never */
};
void converge_output_done(struct converge_output *out);

enum converge_status {
    CONVERGE_STATUS_STARTING,
    CONVERGE_STATUS_RUNNING,
    CONVERGE_STATUS_DRAINING,
    CONVERGE_STATUS_STOPPED,
    CONVERGE_STATUS_FAILED,
};
enum converge_health {
    CONVERGE_HEALTH_NONE, /* not known yet */
    CONVERGE_HEALTH_NOMINAL,
    CONVERGE_HEALTH_ERROR,
    CONVERGE_HEALTH_TIMEOUT,
    CONVERGE_HEALTH_EXIT,
};
enum converge_phase {
    CONVERGE_PHASE_WAITING,   /* for its back-off, or for nothing when it need not run */
    CONVERGE_PHASE_PREPARING, /* PREPARE is under way */
    CONVERGE_PHASE_STARTING,  /* START is under way */
    CONVERGE_PHASE_UP,        /* its process runs */
    CONVERGE_PHASE_STOPPING,  /* and was asked to end */
    CONVERGE_PHASE_CLEANING,  /* CLEAN is under way */
};
/* What is known of one instance. */
struct converge_view {
    struct id id;
    struct converge_want want;
    enum converge_phase phase;
    enum converge_status status;
    enum converge_health health;
    char cause[CONVERGE_CAUSE_SIZE];
    uint32_t attempt;
    int64_t restarts; /* in place */
    int64_t boot_ms;  /* from START to the first healthy check; 0: not yet */
    bool was_started, is_failed, is_finished, is_removing, leaves_tombstone;
};

struct converge;
struct converge *converge_new(void);
void converge_free(struct converge *c);
/* Take one input in, say what to do. Actions are in the order in which they have to begin. */
void converge_step(struct converge *c, const struct converge_input *in, struct converge_output *ret_out);
/* NULL: no such instance. Lent until the next step. */
const struct converge_view *converge_find(const struct converge *c, struct id id);
/* The i-th instance, in the order in which they came; NULL behind the last. Lent until the next step. */
const struct converge_view *converge_next(const struct converge *c, const struct converge_view *before);
size_t converge_count(const struct converge *c);
bool converge_is_deleted(const struct converge *c, struct id id);
/* Nothing runs, and nothing is under way (after CONVERGE_HALT: the agent may go). */
bool converge_is_quiet(const struct converge *c);
/* "starting", "NOMINAL", "preparing"; health NONE is "". */
const char *converge_status_name(enum converge_status s);
const char *converge_health_name(enum converge_health h);
