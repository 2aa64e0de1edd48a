/* A plan: the rules of what is dirty, in order, until there is nothing left or the batch is full. */
#include "platform/plan.h"
#include "base/mem.h"
#include "base/own.h"

#include "platform/planner.h"

void planner_wake(struct planner *p, int64_t at_ms)
{
    if (at_ms < p->deadline_ms)
        p->deadline_ms = at_ms;
}

bool planner_is_due(struct planner *p, int64_t since_ns, int64_t seconds)
{
    int64_t at_ms = (since_ns + 999999) / 1000000 + seconds * 1000;
    if (p->now_ms >= at_ms)
        return true;
    planner_wake(p, at_ms);
    return false;
}

void planner_waits(struct planner *p, uint32_t waits)
{
    p->waits |= waits;
}

/* It gets no new requests once every live edge has confirmed routes without it; only then is its node told to stop it.
 * An edge that polls and never confirms is not waited for for ever. */
static void plan_withdrawal(struct planner *p, const struct instance *i)
{
    bool is_known = plan_edges_know(p, i->withdraw_seq);
    bool is_behind = !is_known && plan_edge_behind(p, i->withdraw_seq) != NULL; /* else there may be one unheard of */
    if (!is_known && !(is_behind && planner_is_due(p, i->since_ns, p->settings->withdraw_timeout_seconds)))
        return;
    const char *rule = is_known ? "every live edge has withdrawn it" : "an edge does not confirm";
    emit_instance_end(p->out, p->ids, i, desired_name((enum desired)i->wanted),
                      arena_str(p->out->arena, str_from(i->cause)), plan_edges_because(p, rule, i->withdraw_seq));
}

/* What was told to go has gone, or has had its time. */
static void plan_removal(struct planner *p, const struct instance *i)
{
    if (i->withdraw_seq != 0 && i->status == INSTANCE_DRAINING) {
        plan_withdrawal(p, i);
        return;
    }
    if (i->wanted != DESIRED_DELETED)
        return;
    if (i->status != INSTANCE_DRAINING)
        emit_delete_instance(
            p->out, p->ids, i,
            because(p->out, "{\"rule\":\"it is %s\"}", instance_status_name((enum instance_status)i->status)));
    else if (planner_is_due(p, i->since_ns, p->settings->stop_timeout_seconds))
        emit_delete_instance(p->out, p->ids, i,
                             because(p->out, "{\"rule\":\"its node did not report its end\",\"timeoutSeconds\":%lld}",
                                     (long long)p->settings->stop_timeout_seconds));
}

/* ---- Who has waited longest ---- */

/* In its turn, what becomes free is held for it; afterwards it is somebody else's turn, so that one that waits in vain
 * does not stop everybody. */
static bool has_turn(const struct planner *p, const struct process *d)
{
    int64_t waited_ms = p->now_ms - d->said_ns / 1000000;
    return waited_ms >= p->settings->turn_after_seconds * 1000 &&
           waited_ms < (p->settings->turn_after_seconds + p->settings->turn_seconds) * 1000;
}

static const struct process *whose_turn(const struct planner *p)
{
    const struct process *first = NULL;
    for (const struct work *w = p->work.waiting[WORK_TURNS]; w != NULL; w = w->next[WORK_TURNS]) {
        const struct process *d = model_process(p->model, w->key.id);
        if (d != NULL && deployment_waits_for_room(d) && has_turn(p, d) &&
            (first == NULL || d->created_seq < first->created_seq))
            first = d;
    }
    return first;
}

static void evaluate(struct planner *p, struct work *w);

/* Before anything new is placed: who has waited longest is asked first, and what it does not take yet is held. */
static void hold_for_longest(struct planner *p)
{
    const struct process *d = whose_turn(p);
    struct work_key key = {d == NULL ? ID_NONE : d->id, OBJECT_PROCESS};
    struct work *w = d == NULL ? NULL : work_find(&p->work, key);
    size_t before = p->out->n;
    uint64_t hold = 0;
    if (w != NULL && work_is_dirty(w))
        evaluate(p, w);
    if (d != NULL && p->out->n == before) {
        struct wish wish = plan_wish(d);
        hold = places_hold(&p->places, &wish, (size_t)d->instances_wanted);
    }
    struct id whom = hold == 0 ? ID_NONE : d->id;
    if (hold != p->hold || !id_eq(whom, p->hold_for)) { /* what was held before may be free now */
        work_mark_waiting(&p->work, WORK_WAITS_ROOM, WORK_UNPLACED);
        w = work_find(&p->work, key);
        if (w != NULL)
            work_unmark(&p->work, w); /* it has been asked */
    }
    p->hold = hold;
    p->hold_for = whom;
}

/* ---- The rules, one object after the other ---- */

static void keep(struct planner *p, const struct work *w)
{
    if (p->kept_n == p->kept_size) {
        p->kept_size = p->kept_size == 0 ? 64 : p->kept_size * 2;
        p->kept = mem_realloc(p->kept, p->kept_size * sizeof(*p->kept));
    }
    p->kept[p->kept_n++] = (struct plan_kept){w->key, w->class, w->seq, w->scope};
}

static bool has_had_its_round(const struct planner *p, struct id project_id)
{
    for (size_t i = 0; i < p->rounds_n; i++)
        if (id_eq(p->rounds[i], project_id))
            return true;
    return false;
}

/* The project that this event of a plan makes another one of for all its deployments: it is switched, or one of those
 * that serve goes. ID_NONE: none. */
static struct id project_changed_by(const struct planner *p, const struct event *e)
{
    if (e->kind == EVENT_ROUTE_DEPLOYMENT)
        return e->route_deployment.project_id;
    if (e->kind != EVENT_INSTANCE_STATUS_CHANGE || e->instance_status_change.desired.len == 0)
        return ID_NONE;
    const struct instance *i = model_instance(p->model, e->instance_status_change.instance_id);
    bool is_withdrawn = i != NULL && i->withdraw_seq != 0 && !e->instance_status_change.withdraw; /* went before */
    return i == NULL || is_withdrawn || i->process->project == NULL ? ID_NONE : i->process->project->id;
}

/* It ends the round for its project: what the others of it do follows from the model after it, else two of them would
 * each let the last go that can be spared. */
static void remember_projects(struct planner *p, size_t from)
{
    for (size_t i = from; i < p->out->n; i++) {
        struct id id = project_changed_by(p, &p->out->items[i]);
        if (id_is_none(id) || has_had_its_round(p, id))
            continue;
        if (p->rounds_n == p->rounds_size) {
            p->rounds_size = p->rounds_size == 0 ? 16 : p->rounds_size * 2;
            p->rounds = mem_realloc(p->rounds, p->rounds_size * sizeof(*p->rounds));
        }
        p->rounds[p->rounds_n++] = id;
    }
}

static void plan_process(struct planner *p, const struct process *process)
{
    if (process->project != NULL)
        plan_deployment(p, process);
    else
        plan_application(p, process);
}

static void call_rule(struct planner *p, const struct work *w)
{
    const struct model *m = p->model;
    const struct node *node = w->class == WORK_NODE ? model_node(m, w->key.id) : NULL;
    const struct instance *instance = w->class == WORK_INSTANCE ? model_instance(m, w->key.id) : NULL;
    const struct image *image = w->class == WORK_IMAGE ? model_image(m, w->key.id) : NULL;
    bool is_process = w->class == WORK_PROCESS || w->class == WORK_UNPLACED;
    const struct process *process = is_process ? model_process(m, w->key.id) : NULL;
    if (node != NULL)
        plan_node(p, node);
    if (instance != NULL)
        plan_removal(p, instance);
    if (image != NULL)
        plan_image(p, image);
    if (process != NULL)
        plan_process(p, process);
    if (process != NULL && deployment_waits_for_room(process)) {
        p->waits |= WORK_WAITS_TURN;
        (void)(planner_is_due(p, process->said_ns, p->settings->turn_after_seconds) &&
               planner_is_due(p, process->said_ns, p->settings->turn_after_seconds + p->settings->turn_seconds));
    }
}

/* What says something stays dirty until nothing follows any more: its events may lose a race, or the log may be away.
 */
static void evaluate(struct planner *p, struct work *w)
{
    size_t before = p->out->n, refused = p->places.refused_n;
    p->deadline_ms = PLAN_NEVER;
    p->waits = 0;
    p->asked_n++;
    call_rule(p, w);
    if (p->places.refused_n != refused)
        p->waits |= WORK_WAITS_ROOM;
    if (p->out->n > before)
        keep(p, w);
    work_settle(&p->work, w, p->deadline_ms, p->waits);
    remember_projects(p, before);
}

static void skip(struct planner *p, struct work *w)
{
    keep(p, w);
    work_settle(&p->work, w, w->at_ms, w->waits);
}

static struct id project_of(const struct planner *p, const struct work *w)
{
    const struct process *d = w->key.kind == OBJECT_PROCESS ? model_process(p->model, w->key.id) : NULL;
    return d == NULL || d->project == NULL ? ID_NONE : d->project->id;
}

static void run_rules(struct planner *p)
{
    bool has_held = false;
    plan_format(p);
    if (p->out->n > 0)
        return;
    for (;;) {
        struct work *w = work_first(&p->work);
        bool is_new_round = w != NULL && w->class != WORK_NODE && p->kept_n > 0 && p->kept[0].class == WORK_NODE;
        if (w != NULL && (is_new_round || p->out->n >= PLAN_EVENTS_MAX)) {
            return; /* the rest follows from the model after that */
        }
        /* Also when nothing new is asked for: what was held may be free now. */
        bool asks_hold = w == NULL ? p->hold != 0 : w->class == WORK_UNPLACED;
        if (asks_hold && !has_held) {
            has_held = true;
            hold_for_longest(p);
            continue;
        }
        if (w == NULL)
            return;
        if (p->rounds_n > 0 && has_had_its_round(p, project_of(p, w)))
            skip(p, w);
        else
            evaluate(p, w);
    }
}

int64_t planner_run(struct planner *p)
{
    p->kept_n = p->rounds_n = p->asked_n = 0;
    size_t refused = p->places.refused_n;
    run_rules(p);
    /* Who was refused only because of what this plan took is asked again, should that not come to be. */
    p->places.has_grown = p->places.refused_n != refused && p->places.takes_n > 0;
    for (size_t i = 0; i < p->kept_n; i++)
        work_mark(&p->work, p->kept[i].key, p->kept[i].class, p->kept[i].seq, p->kept[i].scope);
    places_forget(&p->places);
    return p->out->n > 0 ? p->now_ms : work_soonest(&p->work); /* what follows from these events */
}
