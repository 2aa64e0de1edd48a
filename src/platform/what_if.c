/* Happy path: what_if_event gathers the events of one plan -> judge: the reference (or the candidate) is asked under
 * each view that the plan may have had until it decides what is recorded -> the candidate under that view -> what
 * differs is told -> the recorded events are folded. Between two events: quiet. */
#include "platform/what_if.h"

#include "base/own.h"
#include "event/hash.h"
#include "platform/what_if_compare.h"
#include "platform/what_if_views.h"

/* A plan has up to PLAN_EVENTS_MAX events and what one more rule adds; a group beyond that is no plan of ours, and is
 * judged in parts. */
enum { GROUP_MAX = 5000 };
/* More than a planner ever asks for without deciding anything (chosen): it would hang what asks. */
enum { DEADLINES_MAX = 10000 };
/* Wants of the candidate that are remembered, so that each is told once (chosen). */
enum { STANDING_MAX = 1000 };

struct what_if {
    struct what_if_options o;
    struct what_if_counts counts;
    struct arena texts, asking; /* of the group; of the questions about one position */
    struct event *group;
    size_t group_n, group_size;
    int64_t group_ms, last_replicas_n;
    uint64_t switch_seq; /* of the last switch of a route */
    struct standing {
        uint32_t sums[STANDING_MAX]; /* what the candidate wanted when it was asked last, and nobody decided */
        size_t n;
    } standing, told; /* told: in the making */
};

/* ---- this build's planner ---- */

void what_if_own_init(struct what_if_own *o, const struct platform_settings *s)
{
    *o = (struct what_if_own){.state = plan_state_new(), .settings = *s, .last_ms = INT64_MIN};
}

void what_if_own_done(struct what_if_own *o)
{
    plan_state_free(o->state);
    o->state = NULL;
}

static enum err own_ask(void *ctx, const struct model *m, const struct what_if_question *q, struct what_if_answer *ret,
                        struct errinfo *err)
{
    struct what_if_own *o = ctx;
    struct plan plan = {.events.arena = ret->events.arena};
    (void)err;
    if (q->now_ms < o->last_ms) /* what it was to be woken for lies behind */
        plan_state_reset(o->state);
    int64_t now_ms = q->now_ms;
    for (int i = 0; i < DEADLINES_MAX; i++) {
        plan_next(o->state, m, &o->settings, now_ms, &q->seen, &o->ids, &plan);
        o->last_ms = now_ms;
        if (plan.events.n > 0 || plan.deadline_ms > q->until_ms)
            break;
        now_ms = plan.deadline_ms > now_ms ? plan.deadline_ms : now_ms + 1;
        if (now_ms > q->until_ms)
            break;
    }
    *ret = (struct what_if_answer){.at_ms = o->last_ms, .events = plan.events};
    return OK;
}

struct what_if_planner what_if_own_planner(struct what_if_own *o)
{
    return (struct what_if_planner){own_ask, o};
}

/* ---- telling ---- */

static const char *const CHANGE_NAMES[] = {"other", "not", "also", "earlier", "reason"};

const char *what_if_change_name(enum what_if_change c)
{
    return CHANGE_NAMES[c];
}

static void tell(struct what_if *w, enum what_if_change change, int64_t at_ms, const struct event *recorded,
                 const struct event *instead)
{
    struct what_if_difference d = {.change = change,
                                   .seq = w->o.model->seq,
                                   .at_ms = at_ms,
                                   .recorded = recorded,
                                   .instead = instead,
                                   .model = w->o.model};
    if (recorded != NULL)
        d.recorded_seq = w->o.model->seq + 1 + (uint64_t)(recorded - w->group);
    w->counts.changes[change]++;
    if (w->o.differs != NULL)
        w->o.differs(w->o.ctx, &d);
}

static bool has_sum(const struct standing *s, uint32_t sum)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->sums[i] == sum)
            return true;
    return false;
}

/* It wants what nobody decided, and goes on wanting it at each position until something else happens: told once. Other
 * words for the same are the same. */
static void tell_wanted(struct what_if *w, enum what_if_change change, int64_t at_ms, const struct decision *d)
{
    uint32_t sum = crc32c((uint32_t)d->event->kind, d->about.bytes, sizeof(d->about.bytes));
    sum = crc32c(sum, d->rule.ptr, d->rule.len);
    if (!has_sum(&w->standing, sum))
        tell(w, change, at_ms, NULL, d->event);
    if (w->told.n < STANDING_MAX && !has_sum(&w->told, sum))
        w->told.sums[w->told.n++] = sum;
}

/* What was told is not told again, beside what was told before. */
static void stand(struct what_if *w)
{
    for (size_t i = 0; i < w->told.n; i++)
        if (w->standing.n < STANDING_MAX && !has_sum(&w->standing, w->told.sums[i]))
            w->standing.sums[w->standing.n++] = w->told.sums[i];
}

static void tell_pairs(struct what_if *w, struct decisions *recorded, struct decisions *decided, int64_t at_ms)
{
    decisions_pair(recorded, decided);
    for (size_t i = 0; i < recorded->n; i++) {
        const struct decision *d = &recorded->items[i];
        if (d->other == NULL)
            tell(w, WHAT_IF_NOT, at_ms, d->event, NULL);
        else if (!d->is_same)
            tell(w, WHAT_IF_OTHER, at_ms, d->event, d->other->event);
        else if (!str_eq(d->rule, d->other->rule))
            tell(w, WHAT_IF_REASON, at_ms, d->event, d->other->event);
    }
    w->told = (struct standing){.n = 0};
    for (size_t i = 0; i < decided->n; i++)
        if (decided->items[i].other == NULL)
            tell_wanted(w, WHAT_IF_ALSO, at_ms, &decided->items[i]);
    if (w->o.reference.ask == NULL) {
        w->standing = w->told;
        return;
    }
    stand(w); /* a plan may be cut short: what it does not want may still be wanted */
}

/* ---- a plan that was recorded ---- */

static enum err ask(struct what_if *w, const struct what_if_planner *p, const struct what_if_question *q,
                    struct what_if_answer *ret, struct errinfo *err)
{
    *ret = (struct what_if_answer){.events.arena = &w->asking};
    w->counts.questions++;
    return p->ask(p->ctx, w->o.model, q, ret, err);
}

/* What was decided under one view. */
struct trial {
    struct observations seen;
    struct decisions decided;
    bool is_same;
};

static enum err try_view(struct what_if *w, const struct what_if_planner *p, const struct observations *seen,
                         const struct decisions *recorded, struct trial *ret, struct errinfo *err)
{
    struct what_if_question q = {w->group_ms, w->group_ms, *seen};
    struct what_if_answer a;
    enum err rc = ask(w, p, &q, &a, err);
    if (rc != OK)
        return rc;
    ret->seen = *seen;
    ret->decided = decisions_of(a.events.items, a.events.n, &w->asking);
    ret->is_same = decisions_are_same(recorded, &ret->decided);
    return OK;
}

/* How far it is from what is recorded. */
static size_t distance(const struct decisions *recorded, const struct decisions *decided)
{
    size_t same_n = 0;
    for (size_t i = 0; i < recorded->n && i < decided->n; i++)
        same_n += str_eq(recorded->items[i].text, decided->items[i].text);
    return recorded->n + decided->n - 2 * same_n;
}

/* *ret: under the first view that leads to what is recorded, else under the one that comes closest. */
static enum err try_views(struct what_if *w, const struct what_if_planner *p, struct views *views,
                          const struct decisions *recorded, struct trial *ret, struct errinfo *err)
{
    bool has_positions = false;
    *ret = (struct trial){0};
    for (size_t i = 0; i < views->n; i++) {
        struct trial t;
        enum err rc = try_view(w, p, &views->items[i], recorded, &t, err);
        if (rc != OK)
            return rc;
        if (i == 0 || t.is_same || distance(recorded, &t.decided) < distance(recorded, &ret->decided))
            *ret = t;
        if (t.is_same)
            return OK;
        if (i + 1 == views->n && !has_positions) { /* only the least likely ones are left */
            has_positions = true;
            views_add_positions(views, w->o.model, w->group, w->group_n, w->group_ms);
            for (size_t k = 0; k < t.decided.n; k++)
                views_add_positions(views, w->o.model, t.decided.items[k].event, 1, w->group_ms);
        }
    }
    return OK;
}

static enum err judge(struct what_if *w, struct errinfo *err)
{
    struct views views;
    struct trial reference, candidate;
    arena_reset(&w->asking);
    views_of(w->o.model, w->group, w->group_n, w->group_ms, &w->last_replicas_n, &w->asking, &views);
    struct decisions recorded = decisions_of(w->group, w->group_n, &w->asking);
    bool has_reference = w->o.reference.ask != NULL;
    const struct what_if_planner *first = has_reference ? &w->o.reference : &w->o.candidate;
    enum err rc = try_views(w, first, &views, &recorded, &reference, err);
    if (rc != OK)
        return rc;
    w->counts.unmatched += !reference.is_same;
    candidate = reference;
    if (has_reference && reference.is_same)
        rc = try_view(w, &w->o.candidate, &reference.seen, &recorded, &candidate, err);
    else if (has_reference) /* it may be the one that decided it */
        rc = try_views(w, &w->o.candidate, &views, &recorded, &candidate, err);
    if (rc == OK)
        tell_pairs(w, &recorded, &candidate.decided, w->group_ms);
    return rc;
}

/* ---- where nothing was recorded ---- */

static bool has_text(const struct decisions *list, struct str text)
{
    for (size_t i = 0; i < list->n; i++)
        if (str_eq(list->items[i].text, text))
            return true;
    return false;
}

/* What the candidate wants under this view and the reference does not. */
static enum err quiet_under(struct what_if *w, struct what_if_question q, struct errinfo *err)
{
    struct what_if_answer candidate, reference;
    enum err rc = ask(w, &w->o.candidate, &q, &candidate, err);
    if (rc != OK || candidate.events.n == 0)
        return rc;
    q.now_ms = q.until_ms = candidate.at_ms;
    rc = ask(w, &w->o.reference, &q, &reference, err);
    if (rc != OK)
        return rc;
    struct decisions wants = decisions_of(candidate.events.items, candidate.events.n, &w->asking),
                     also = decisions_of(reference.events.items, reference.events.n, &w->asking);
    for (size_t i = 0; i < wants.n; i++)
        if (!has_text(&also, wants.items[i].text))
            tell_wanted(w, WHAT_IF_EARLIER, candidate.at_ms, &wants.items[i]);
    return OK;
}

/* From the last event up to until_ms nothing was decided: neither by one that does not know the edges yet, nor by one
 * that waits for an edge, which has taken all but the last change, or the last switch. */
static enum err quiet(struct what_if *w, int64_t until_ms, struct errinfo *err)
{
    const struct model *m = w->o.model;
    int64_t now_ms = (m->time.instant_ns + 999999) / 1000000;
    if (w->o.reference.ask == NULL || m->seq == 0 || until_ms <= now_ms)
        return OK; /* within a millisecond nobody plans */
    arena_reset(&w->asking);
    const struct what_if_question q = {now_ms, until_ms, view_quiet(m, w->last_replicas_n, &w->asking)};
    const uint64_t last[] = {m->routes_seq, w->switch_seq == m->routes_seq ? 0 : w->switch_seq};
    w->told = (struct standing){.n = 0};
    enum err rc = quiet_under(w, q, err);
    for (size_t i = 0; i < sizeof(last) / sizeof(last[0]) && rc == OK; i++) {
        const struct edge_observed behind = {STR("an edge"), last[i] - 1, until_ms};
        struct what_if_question other = q;
        if (last[i] == 0)
            continue;
        stand(w);
        other.seen.edges = &behind;
        other.seen.edges_n = 1;
        other.seen.live_since_ms = WHAT_IF_EDGES_KNOWN;
        rc = quiet_under(w, other, err);
    }
    w->standing = w->told;
    return rc;
}

/* ---- the history ---- */

struct what_if *what_if_new(const struct what_if_options *o)
{
    struct what_if *w = mem_alloc(sizeof(*w));
    w->o = *o;
    w->last_replicas_n = PLAN_REPLICAS_UNKNOWN;
    return w;
}

void what_if_free(struct what_if *w)
{
    if (w == NULL)
        return;
    arena_done(&w->texts);
    arena_done(&w->asking);
    free(w->group);
    free(w);
}

const struct what_if_counts *what_if_counts(const struct what_if *w)
{
    return &w->counts;
}

static enum err fold(struct what_if *w, const struct event *ev, struct errinfo *err)
{
    struct model *m = w->o.model;
    enum err rc = w->o.fold != NULL ? w->o.fold(w->o.ctx, m, ev, m->seq + 1, err) : model_apply(m, ev, err);
    if (rc == OK && ev->kind == EVENT_ROUTE_DEPLOYMENT && !ev->route_deployment.beside)
        w->switch_seq = m->seq;
    return rc;
}

enum err what_if_end(struct what_if *w, struct errinfo *err)
{
    if (w->group_n == 0)
        return OK;
    enum err rc = quiet(w, w->group_ms - 1, err);
    if (rc == OK)
        rc = judge(w, err);
    w->counts.plans++;
    w->counts.decided += w->group_n;
    for (size_t i = 0; i < w->group_n && rc == OK; i++)
        rc = fold(w, &w->group[i], err);
    w->group_n = 0;
    arena_reset(&w->texts);
    return rc;
}

/* A copy that lives until the group is judged. */
static enum err gather(struct what_if *w, const struct event *ev, struct errinfo *err)
{
    AUTO(buf) struct buf payload = {0};
    if (w->group_n == w->group_size) {
        w->group_size = w->group_size == 0 ? 64 : w->group_size * 2;
        w->group = mem_realloc(w->group, w->group_size * sizeof(*w->group));
    }
    event_encode_payload(ev, &payload);
    struct envelope e = {.time = ev->time,
                         .type = str_from(event_kind_row(ev->kind)->name),
                         .id = ev->id,
                         .payload = arena_str(&w->texts, buf_str(&payload))};
    enum err rc = event_decode(&e, &w->texts, &w->group[w->group_n], err);
    w->group_n += rc == OK;
    return rc;
}

enum err what_if_event(struct what_if *w, const struct event *ev, bool more, struct errinfo *err)
{
    int64_t now_ms = 0;
    enum err rc = OK;
    if (what_if_is_planned(ev, &now_ms)) {
        if (w->group_n > 0 && now_ms != w->group_ms)
            rc = what_if_end(w, err);
        w->group_ms = now_ms;
        if (rc == OK)
            rc = gather(w, ev, err);
        return rc == OK && (!more || w->group_n == GROUP_MAX) ? what_if_end(w, err) : rc;
    }
    rc = what_if_end(w, err);
    if (rc == OK)
        rc = quiet(w, ev->time.instant_ns / 1000000 - 1, err);
    return rc == OK ? fold(w, ev, err) : rc;
}
