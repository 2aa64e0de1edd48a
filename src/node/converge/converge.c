/* One slot an instance, one phase field, moved by enter() only. converge_step() takes the input into its slot and then
 * lets every slot advance as far as the time allows. */
#include "node/converge/converge.h"

#include <assert.h>
#include <inttypes.h>

#include "base/map.h"
#include "base/mem.h"
#include "event/catalogue.h"

struct slot {
    struct converge_view view; /* first: converge_next() goes back from it */
    struct reported {
        enum converge_status status;
        enum converge_health health;
        int64_t restarts, boot_ms;
        bool was_started, is_failed, is_finished, is_removing, never;
        char cause[CONVERGE_CAUSE_SIZE];
    } reported;
    int64_t wait_until_ms, started_at_ms, healthy_since_ms, signal_at_ms;
    int failures, streak, checks_failed;
    bool has_been_healthy;      /* in this attempt */
    bool restart_asked;         /* its end is not a failure */
    bool failed_by_us;          /* stopped for a failure that is counted already */
    bool was_stopped_with_node; /* on purpose: its next start is no restart */
    char check_cause[CONVERGE_CAUSE_SIZE];
    UT_hash_handle hh;
};
struct tombstone {
    struct id id;
    char owner[CONVERGE_OWNER_SIZE];
    UT_hash_handle hh;
};
struct converge {
    struct slot *slots;
    struct tombstone *tombstones;
    bool is_halted;
    int64_t now_ms;
    struct converge_output *out; /* of the step under way */
};

static const int64_t GRACE_MS_DEFAULT = 10000;
static const int64_t START_TIMEOUT_MS_DEFAULT = 60000;

static void text_set(char *dst, size_t size, const char *src)
{
    (void)snprintf(dst, size, "%s", src == NULL ? "" : src);
}

static void cause_set(struct slot *s, const char *cause)
{
    text_set(s->view.cause, sizeof(s->view.cause), cause);
}

static struct converge_action *act(struct converge *c, const struct slot *s, enum converge_action_type type)
{
    struct converge_output *out = c->out;
    if (out->actions_n == out->actions_size) {
        out->actions_size = out->actions_size == 0 ? 16 : out->actions_size * 2;
        out->actions = mem_realloc(out->actions, out->actions_size * sizeof(*out->actions));
    }
    struct converge_action *a = &out->actions[out->actions_n++];
    *a = (struct converge_action){.type = type, .id = s->view.id, .attempt = s->view.attempt};
    text_set(a->owner, sizeof(a->owner), s->view.want.owner);
    return a;
}

/* REPORT when something of the view that others see, or that a restart of the agent has to know, has changed. */
static void report(struct converge *c, struct slot *s)
{
    const struct converge_view *v = &s->view;
    struct reported now = {.status = v->status,
                           .health = v->health,
                           .restarts = v->restarts,
                           .boot_ms = v->boot_ms,
                           .was_started = v->was_started,
                           .is_failed = v->is_failed,
                           .is_finished = v->is_finished,
                           .is_removing = v->is_removing};
    text_set(now.cause, sizeof(now.cause), v->cause);
    bool same = now.status == s->reported.status && now.health == s->reported.health &&
                now.restarts == s->reported.restarts && now.boot_ms == s->reported.boot_ms &&
                now.was_started == s->reported.was_started && now.is_failed == s->reported.is_failed &&
                now.is_finished == s->reported.is_finished && now.is_removing == s->reported.is_removing &&
                !s->reported.never && strcmp(now.cause, s->reported.cause) == 0;
    if (same)
        return;
    s->reported = now;
    (void)act(c, s, CONVERGE_DO_REPORT);
}

static int64_t grace_ms(const struct slot *s)
{
    return s->view.want.grace_ms > 0 ? s->view.want.grace_ms : GRACE_MS_DEFAULT;
}

static int64_t start_timeout_ms(const struct slot *s)
{
    int64_t ms = s->view.want.start_timeout_ms;
    return ms < 0 ? INT64_MAX : ms == 0 ? START_TIMEOUT_MS_DEFAULT : ms;
}

static bool is_idle(const struct slot *s)
{
    return s->view.phase == CONVERGE_PHASE_WAITING;
}

/* Whether a halt has come to this rank: every lower one is down. */
static bool is_halted(const struct converge *c, const struct slot *s)
{
    if (!c->is_halted)
        return false;
    for (const struct slot *o = c->slots; o != NULL; o = o->hh.next)
        if (o->view.want.halt_rank < s->view.want.halt_rank && !is_idle(o))
            return false;
    return true;
}

static bool should_run(const struct converge *c, const struct slot *s)
{
    const struct converge_view *v = &s->view;
    if (is_halted(c, s) || (c->is_halted && is_idle(s)))
        return false;
    return !v->is_removing && v->want.desired != CONVERGE_STOPPED && !v->is_failed && !v->is_finished;
}

static int64_t back_off_ms(int streak)
{
    int64_t ms = CONVERGE_BACK_OFF_MS_MIN;
    for (int i = 1; i < streak && ms < CONVERGE_BACK_OFF_MS_MAX; i++)
        ms *= 2;
    return ms < CONVERGE_BACK_OFF_MS_MAX ? ms : CONVERGE_BACK_OFF_MS_MAX;
}

/* Count a failure of the instance itself; `cause` is what people read. */
static void fail(struct converge *c, struct slot *s, enum converge_health health, int weight, const char *cause)
{
    struct converge_view *v = &s->view;
    if (s->healthy_since_ms >= 0 && c->now_ms - s->healthy_since_ms >= CONVERGE_HEALTHY_MS_RESET)
        s->failures = s->streak = 0;
    s->failures += weight;
    s->streak++;
    s->healthy_since_ms = -1;
    v->health = health;
    cause_set(s, cause);
    if (v->want.restart_never || weight >= CONVERGE_FAILURES_MAX ||
        (!v->want.no_crash_limit && s->failures >= CONVERGE_FAILURES_MAX)) {
        v->is_failed = true;
        v->status = CONVERGE_STATUS_FAILED;
        return;
    }
    v->status = CONVERGE_STATUS_STARTING;
    s->wait_until_ms = c->now_ms + back_off_ms(s->streak);
}

static void clean(struct converge *c, struct slot *s)
{
    s->view.phase = CONVERGE_PHASE_CLEANING;
    report(c, s);
    (void)act(c, s, CONVERGE_DO_CLEAN);
}

static void stop(struct converge *c, struct slot *s)
{
    s->view.phase = CONVERGE_PHASE_STOPPING;
    s->signal_at_ms = c->now_ms + grace_ms(s);
    if (!should_run(c, s) && !s->view.is_failed)
        s->view.status = CONVERGE_STATUS_DRAINING;
    report(c, s);
    (void)act(c, s, CONVERGE_DO_STOP);
}

/* The tombstones are bounded: the oldest goes, also from disk. */
static void bury(struct converge *c, struct id id, const char *owner)
{
    struct tombstone *t;
    HASH_FIND(hh, c->tombstones, &id, sizeof(id), t);
    if (t != NULL)
        return;
    t = mem_alloc(sizeof(*t));
    t->id = id;
    text_set(t->owner, sizeof(t->owner), owner);
    HASH_ADD(hh, c->tombstones, id, sizeof(t->id), t);
}

static void unbury(struct converge *c, struct tombstone *t)
{
    struct slot gone = {.view.id = t->id};
    (void)act(c, &gone, CONVERGE_DO_UNBURY);
    HASH_DEL(c->tombstones, t);
    free(t);
}

static void forget(struct converge *c, struct slot *s)
{
    struct converge_action *a = act(c, s, CONVERGE_DO_FORGET);
    a->tombstone = s->view.leaves_tombstone;
    if (s->view.leaves_tombstone) {
        bury(c, s->view.id, s->view.want.owner);
        if (HASH_COUNT(c->tombstones) > CONVERGE_TOMBSTONES_MAX)
            unbury(c, c->tombstones);
    }
    HASH_DEL(c->slots, s);
    free(s);
}

/* WAITING: begin, settle or go. True when the slot is gone. */
static bool advance_waiting(struct converge *c, struct slot *s)
{
    struct converge_view *v = &s->view;
    if (v->is_removing && !c->is_halted) {
        forget(c, s);
        return true;
    }
    if (!should_run(c, s)) {
        if (!c->is_halted || v->want.desired == CONVERGE_STOPPED)
            v->status = v->is_failed ? CONVERGE_STATUS_FAILED : CONVERGE_STATUS_STOPPED;
        return false;
    }
    if (c->now_ms < s->wait_until_ms)
        return false;
    v->attempt++;
    v->phase = CONVERGE_PHASE_PREPARING;
    v->status = CONVERGE_STATUS_STARTING;
    v->restarts += v->was_started && !s->was_stopped_with_node ? 1 : 0;
    s->was_stopped_with_node = false;
    s->has_been_healthy = s->restart_asked = s->failed_by_us = false;
    s->checks_failed = 0;
    s->check_cause[0] = '\0';
    report(c, s);
    (void)act(c, s, CONVERGE_DO_PREPARE);
    return false;
}

static void advance_up(struct converge *c, struct slot *s)
{
    if (!should_run(c, s) || s->restart_asked) {
        stop(c, s);
        return;
    }
    int64_t limit = start_timeout_ms(s);
    if (s->has_been_healthy || limit == INT64_MAX || c->now_ms - s->started_at_ms < limit)
        return;
    char text[CONVERGE_CAUSE_SIZE];
    (void)snprintf(text, sizeof(text), "%.400s within %" PRId64 " s",
                   s->check_cause[0] == '\0' ? "was not healthy" : s->check_cause, limit / 1000);
    fail(c, s, CONVERGE_HEALTH_TIMEOUT, CONVERGE_START_TIMEOUT_WEIGHT, text);
    s->failed_by_us = true;
    stop(c, s);
}

static void advance_stopping(struct converge *c, struct slot *s)
{
    if (c->now_ms < s->signal_at_ms)
        return;
    s->signal_at_ms = c->now_ms + CONVERGE_KILL_AGAIN_MS;
    (void)act(c, s, CONVERGE_DO_KILL);
}

/* As far as the time allows. True when the slot is gone. */
static bool advance(struct converge *c, struct slot *s)
{
    switch (s->view.phase) {
    case CONVERGE_PHASE_WAITING:
        if (advance_waiting(c, s))
            return true;
        break;
    case CONVERGE_PHASE_PREPARING:
        if (!should_run(c, s) || s->restart_asked)
            clean(c, s);
        break;
    case CONVERGE_PHASE_UP: advance_up(c, s); break;
    case CONVERGE_PHASE_STOPPING: advance_stopping(c, s); break;
    case CONVERGE_PHASE_STARTING:
    case CONVERGE_PHASE_CLEANING: break;
    }
    report(c, s);
    return false;
}

static struct slot *slot_find(const struct converge *c, struct id id)
{
    struct slot *s;
    HASH_FIND(hh, c->slots, &id, sizeof(id), s);
    return s;
}

static struct slot *slot_add(struct converge *c, const struct converge_input *in)
{
    struct slot *s = mem_alloc(sizeof(*s));
    s->view.id = in->id;
    s->view.want = *in->want;
    s->healthy_since_ms = -1;
    s->reported.never = true;
    HASH_ADD(hh, c->slots, view.id, sizeof(s->view.id), s);
    return s;
}

static void forgive(struct converge *c, struct slot *s)
{
    s->view.is_failed = s->view.is_finished = false;
    s->failures = s->streak = 0;
    s->wait_until_ms = c->now_ms;
}

static void on_want(struct converge *c, const struct converge_input *in)
{
    if (converge_is_deleted(c, in->id))
        return;
    struct slot *s = slot_find(c, in->id);
    if (s == NULL) {
        s = slot_add(c, in);
        s->wait_until_ms = c->now_ms;
        return;
    }
    struct converge_view *v = &s->view;
    if (v->is_removing && v->leaves_tombstone)
        return;
    bool once = v->want.restart_never; /* nothing starts that one again */
    bool again = !once && v->want.desired == CONVERGE_STOPPED && in->want->desired != CONVERGE_STOPPED;
    bool other = !once && in->want->revision != 0 && in->want->revision != v->want.revision;
    if (again || other)
        forgive(c, s);
    if ((other || v->is_removing) && !is_idle(s))
        s->restart_asked = true;
    v->is_removing = false;
    v->want = *in->want;
    if (v->status == CONVERGE_STATUS_RUNNING && v->want.desired == CONVERGE_DRAINING)
        v->status = CONVERGE_STATUS_DRAINING;
    if (v->status == CONVERGE_STATUS_DRAINING && v->want.desired == CONVERGE_RUNNING && v->phase == CONVERGE_PHASE_UP &&
        s->has_been_healthy)
        v->status = CONVERGE_STATUS_RUNNING;
}

static void on_kept(struct converge *c, const struct converge_input *in)
{
    if (slot_find(c, in->id) != NULL)
        return;
    struct slot *s = slot_add(c, in);
    struct converge_view *v = &s->view;
    v->attempt = 1;
    v->was_started = in->kept.was_started;
    v->is_failed = in->kept.is_failed;
    v->is_finished = in->kept.is_finished;
    v->is_removing = in->kept.is_removing;
    v->leaves_tombstone = in->kept.is_tombstone;
    v->restarts = in->kept.restarts;
    cause_set(s, in->cause);
    s->wait_until_ms = s->started_at_ms = c->now_ms;
    if (in->kept.is_up) {
        v->phase = CONVERGE_PHASE_UP;
        s->has_been_healthy = in->kept.was_healthy;
        s->healthy_since_ms = in->kept.was_healthy ? c->now_ms : -1;
        v->health = in->kept.was_healthy ? CONVERGE_HEALTH_NOMINAL : CONVERGE_HEALTH_NONE;
        v->status = !in->kept.was_healthy                 ? CONVERGE_STATUS_STARTING
                    : v->want.desired == CONVERGE_RUNNING ? CONVERGE_STATUS_RUNNING
                                                          : CONVERGE_STATUS_DRAINING;
        return;
    }
    if (v->want.restart_never && v->was_started && !v->is_failed && !v->is_finished) {
        v->is_failed = true;
        v->health = CONVERGE_HEALTH_EXIT;
        cause_set(s, "it ran when the node went down, and it is not started twice");
    }
    s->was_stopped_with_node = in->cause != NULL && strcmp(in->cause, INSTANCE_CAUSE_NODE_STOPPED) == 0;
    v->status = v->is_failed ? CONVERGE_STATUS_FAILED : CONVERGE_STATUS_STARTING;
    clean(c, s); /* what a dead one may have left */
}

static void on_prepared(struct converge *c, struct slot *s, const struct converge_input *in)
{
    if (s->view.phase != CONVERGE_PHASE_PREPARING)
        return;
    if (!in->ok && in->for_good) {
        fail(c, s, CONVERGE_HEALTH_ERROR, CONVERGE_FAILURES_MAX, in->cause);
        clean(c, s);
        return;
    }
    if (!in->ok) { /* not the fault of the instance: no limit, e.g. while the control plane is away */
        s->streak++;
        s->wait_until_ms = c->now_ms + back_off_ms(s->streak);
        cause_set(s, in->cause);
        clean(c, s);
        return;
    }
    if (!should_run(c, s) || s->restart_asked)
        return; /* advance() cleans */
    s->view.phase = CONVERGE_PHASE_STARTING;
    s->view.was_started = true;
    s->view.boot_ms = 0;
    s->started_at_ms = c->now_ms;
    report(c, s); /* before START: what must not run twice is on disk as started first */
    (void)act(c, s, CONVERGE_DO_START);
}

static void on_started(struct converge *c, struct slot *s, const struct converge_input *in)
{
    if (s->view.phase != CONVERGE_PHASE_STARTING)
        return;
    if (in->ok) {
        s->view.phase = CONVERGE_PHASE_UP;
        return;
    }
    fail(c, s, CONVERGE_HEALTH_ERROR, in->for_good ? CONVERGE_FAILURES_MAX : 1, in->cause);
    clean(c, s);
}

static void on_healthy(struct converge *c, struct slot *s)
{
    struct converge_view *v = &s->view;
    s->checks_failed = 0;
    if (!s->has_been_healthy && v->boot_ms == 0)
        v->boot_ms = c->now_ms > s->started_at_ms ? c->now_ms - s->started_at_ms : 1;
    s->has_been_healthy = true;
    if (s->healthy_since_ms < 0)
        s->healthy_since_ms = c->now_ms;
    v->health = CONVERGE_HEALTH_NOMINAL;
    v->status = v->want.desired == CONVERGE_RUNNING ? CONVERGE_STATUS_RUNNING : CONVERGE_STATUS_DRAINING;
    cause_set(s, NULL);
}

static void on_health(struct converge *c, struct slot *s, const struct converge_input *in)
{
    if (s->view.phase != CONVERGE_PHASE_UP || s->restart_asked)
        return;
    if (in->ok) {
        on_healthy(c, s);
        return;
    }
    text_set(s->check_cause, sizeof(s->check_cause), in->cause);
    if (!s->has_been_healthy || ++s->checks_failed < CONVERGE_CHECKS_ERROR)
        return;
    enum converge_health health = in->timed_out ? CONVERGE_HEALTH_TIMEOUT : CONVERGE_HEALTH_ERROR;
    if (s->checks_failed < CONVERGE_CHECKS_RESTART) {
        s->view.health = health;
        cause_set(s, in->cause);
        return;
    }
    fail(c, s, health, 1, in->cause);
    s->failed_by_us = true;
    stop(c, s);
}

static void on_exited(struct converge *c, struct slot *s, const struct converge_input *in)
{
    struct converge_view *v = &s->view;
    if (v->phase != CONVERGE_PHASE_STARTING && v->phase != CONVERGE_PHASE_UP && v->phase != CONVERGE_PHASE_STOPPING)
        return;
    bool wanted = v->phase == CONVERGE_PHASE_STOPPING && !s->failed_by_us;
    if (wanted) {
        s->wait_until_ms = c->now_ms;
        v->health = CONVERGE_HEALTH_NONE;
        cause_set(s, c->is_halted ? INSTANCE_CAUSE_NODE_STOPPED : NULL);
        if (v->want.restart_never && (v->is_removing || v->want.desired == CONVERGE_STOPPED)) {
            v->is_finished = true;
        } else if (v->want.restart_never) {
            v->is_failed = true;
            cause_set(s, "it was stopped with its node before it had ended, and it is not started twice");
        }
    } else if (!s->failed_by_us && v->want.restart_never && in->ok) {
        v->is_finished = true;
        v->status = CONVERGE_STATUS_STOPPED;
        v->health = CONVERGE_HEALTH_EXIT;
        cause_set(s, NULL);
    } else if (!s->failed_by_us) {
        fail(c, s, CONVERGE_HEALTH_EXIT, 1, in->cause);
    }
    clean(c, s);
}

static void on_remove(struct slot *s, bool tombstone)
{
    s->view.is_removing = true;
    s->view.leaves_tombstone = s->view.leaves_tombstone || tombstone;
}

static int id_cmp_void(const void *a, const void *b)
{
    return id_cmp(*(const struct id *)a, *(const struct id *)b);
}

static void on_sync(struct converge *c, const struct converge_input *in)
{
    struct id *ids = mem_calloc(in->ids_n + 1, sizeof(*ids));
    if (in->ids_n > 0)
        memcpy(ids, in->ids, in->ids_n * sizeof(*ids));
    qsort(ids, in->ids_n, sizeof(*ids), id_cmp_void);
    for (struct slot *s = c->slots; s != NULL; s = s->hh.next)
        if (strcmp(s->view.want.owner, in->owner) == 0 &&
            bsearch(&s->view.id, ids, in->ids_n, sizeof(*ids), id_cmp_void) == NULL)
            on_remove(s, false);
    free(ids);
}

static void on_wipe(struct converge *c, const char *owner)
{
    for (struct slot *s = c->slots; s != NULL; s = s->hh.next)
        if (strcmp(s->view.want.owner, owner) == 0) {
            s->view.is_removing = true;
            s->view.leaves_tombstone = false;
        }
    struct tombstone *t, *next;
    HASH_ITER(hh, c->tombstones, t, next)
    if (strcmp(t->owner, owner) == 0)
        unbury(c, t);
}

static void on_answer(struct converge *c, const struct converge_input *in)
{
    struct slot *s = slot_find(c, in->id);
    if (s == NULL || (in->attempt != 0 && in->attempt != s->view.attempt))
        return;
    if (in->type == CONVERGE_PREPARED)
        on_prepared(c, s, in);
    else if (in->type == CONVERGE_STARTED)
        on_started(c, s, in);
    else if (in->type == CONVERGE_HEALTH)
        on_health(c, s, in);
    else if (in->type == CONVERGE_EXITED)
        on_exited(c, s, in);
    else if (s->view.phase == CONVERGE_PHASE_CLEANING)
        s->view.phase = CONVERGE_PHASE_WAITING;
}

static void take(struct converge *c, const struct converge_input *in)
{
    struct slot *s;
    switch (in->type) {
    case CONVERGE_TICK: break;
    case CONVERGE_WANT: on_want(c, in); break;
    case CONVERGE_KEPT: on_kept(c, in); break;
    case CONVERGE_REMOVE:
        s = slot_find(c, in->id);
        if (s != NULL)
            on_remove(s, in->tombstone);
        break;
    case CONVERGE_SYNC: on_sync(c, in); break;
    case CONVERGE_WIPE: on_wipe(c, in->owner); break;
    case CONVERGE_BURY: bury(c, in->id, in->owner); break;
    case CONVERGE_HALT: c->is_halted = true; break;
    case CONVERGE_PREPARED:
    case CONVERGE_STARTED:
    case CONVERGE_HEALTH:
    case CONVERGE_EXITED:
    case CONVERGE_CLEANED: on_answer(c, in); break;
    }
}

static int64_t slot_deadline_ms(const struct converge *c, const struct slot *s)
{
    switch (s->view.phase) {
    case CONVERGE_PHASE_WAITING: return should_run(c, s) ? s->wait_until_ms : INT64_MAX;
    case CONVERGE_PHASE_UP: {
        int64_t limit = start_timeout_ms(s);
        return s->has_been_healthy || limit == INT64_MAX ? INT64_MAX : s->started_at_ms + limit;
    }
    case CONVERGE_PHASE_STOPPING: return s->signal_at_ms;
    case CONVERGE_PHASE_PREPARING:
    case CONVERGE_PHASE_STARTING:
    case CONVERGE_PHASE_CLEANING: break;
    }
    return INT64_MAX;
}

void converge_step(struct converge *c, const struct converge_input *in, struct converge_output *ret_out)
{
    assert(in->at_ms >= c->now_ms);
    c->now_ms = in->at_ms;
    c->out = ret_out;
    ret_out->actions_n = 0;
    take(c, in);
    ret_out->deadline_ms = INT64_MAX;
    struct slot *s, *next;
    HASH_ITER(hh, c->slots, s, next)
    if (!advance(c, s)) {
        int64_t at_ms = slot_deadline_ms(c, s);
        ret_out->deadline_ms = at_ms < ret_out->deadline_ms ? at_ms : ret_out->deadline_ms;
    }
    c->out = NULL;
}

void converge_output_done(struct converge_output *out)
{
    free(out->actions);
    *out = (struct converge_output){0};
}

struct converge *converge_new(void)
{
    return mem_alloc(sizeof(struct converge));
}

void converge_free(struct converge *c)
{
    if (c == NULL)
        return;
    struct slot *s, *s_next;
    HASH_ITER(hh, c->slots, s, s_next)
    {
        HASH_DEL(c->slots, s);
        free(s);
    }
    struct tombstone *t, *t_next;
    HASH_ITER(hh, c->tombstones, t, t_next)
    {
        HASH_DEL(c->tombstones, t);
        free(t);
    }
    free(c);
}

const struct converge_view *converge_find(const struct converge *c, struct id id)
{
    const struct slot *s = slot_find(c, id);
    return s == NULL ? NULL : &s->view;
}

const struct converge_view *converge_next(const struct converge *c, const struct converge_view *before)
{
    const struct slot *s = before == NULL ? c->slots : slot_find(c, before->id)->hh.next;
    return s == NULL ? NULL : &s->view;
}

size_t converge_count(const struct converge *c)
{
    return HASH_COUNT(c->slots);
}

bool converge_is_deleted(const struct converge *c, struct id id)
{
    struct tombstone *t;
    HASH_FIND(hh, c->tombstones, &id, sizeof(id), t);
    if (t != NULL)
        return true;
    const struct slot *s = slot_find(c, id);
    return s != NULL && s->view.is_removing && s->view.leaves_tombstone;
}

bool converge_is_quiet(const struct converge *c)
{
    for (const struct slot *s = c->slots; s != NULL; s = s->hh.next)
        if (!is_idle(s) || should_run(c, s))
            return false;
    return true;
}

const char *converge_status_name(enum converge_status s)
{
    static const char *const NAMES[] = {"starting", "running", "draining", "stopped", "failed"};
    return NAMES[s];
}

const char *converge_health_name(enum converge_health h)
{
    static const char *const NAMES[] = {"", "NOMINAL", "ERROR", "TIMEOUT", "EXIT"};
    return NAMES[h];
}
