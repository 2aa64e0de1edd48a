/* What leaves the model though no event names it (platform/apply_retain.c), against the story itself: before an event
 * is noted what there is, behind it everything that is gone must have been over, and no more than that may be kept. */
#include "sim.h"

static unsigned kept_of(const struct world *w, const struct process *d)
{
    unsigned n = 0;
    MODEL_EACH (process, other, &d->project->deployments)
        n += deployment_is_settled(w->oracle, other) && (other->route_seq != 0) == (d->route_seq != 0);
    return n;
}

struct retention story_retention(const struct story *s)
{
    uint32_t n = (uint32_t)(s->seed % 12);
    return (struct retention){.deployments = 1 + n % 3, .projects = n / 3 % 2, .images = n / 6 % 2};
}

/* ---- before ---- */

void check_kept_before(struct world *w)
{
    const struct model *m = w->oracle;
    w->there_n = 0;
    MODEL_EACH (process, d, &m->processes) {
        if (w->there_n == THERE_MAX)
            broken(w, RULE_bounded, "the model has more than %d deployments and images", THERE_MAX);
        if (d->project != NULL)
            w->there[w->there_n++] = (struct there){.id = d->id,
                                                    .project_id = d->project->id,
                                                    .is_served = d->route_seq != 0,
                                                    .is_over = deployment_is_over(d),
                                                    .instances_n = d->instances.n,
                                                    .since_ns = d->since_ns};
    }
    MODEL_EACH (image, i, &m->images) {
        if (w->there_n == THERE_MAX)
            broken(w, RULE_bounded, "the model has more than %d deployments and images", THERE_MAX);
        w->there[w->there_n++] =
            (struct there){.id = i->id, .is_image = true, .is_building = i->status == IMAGE_BUILDING};
    }
}

/* ---- behind ---- */

/* One that was deployed, and is not there any more. */
static void check_gone(struct world *w, const struct there *t, const struct event *ev)
{
    const struct project *p = model_project(w->oracle, t->project_id);
    bool ends_now =
        ev->kind == EVENT_DEPLOYMENT_STATUS_CHANGE && id_eq(ev->deployment_status_change.deployment_id, t->id);
    size_t last = ev->kind == EVENT_DELETE_INSTANCE;
    if (!t->is_over && !ends_now)
        broken(w, RULE_kept, "a deployment leaves the model that is not over");
    if (t->instances_n > last)
        broken(w, RULE_kept, "a deployment leaves the model that has %zu instances", t->instances_n);
    happened(w, p == NULL ? OUTCOME_project_forgotten : OUTCOME_deployment_forgotten);
    if (p == NULL)
        return;
    uint32_t newer = 0;
    MODEL_EACH (process, d, &p->deployments)
        newer += (d->route_seq != 0) == t->is_served && deployment_is_settled(w->oracle, d) &&
                 (ends_now || d->since_ns >= t->since_ns);
    if (newer < w->oracle->kept.deployments)
        broken(w, RULE_kept, "a deployment leaves the model while %u that ended after it are there, not %u", newer,
               w->oracle->kept.deployments);
}

static void check_gone_image(struct world *w, const struct there *t, const struct event *ev)
{
    if (ev->kind == EVENT_DELETE_IMAGE)
        return;
    bool ends_now = ev->kind == EVENT_IMAGE_STATUS_CHANGE && id_eq(ev->image_status_change.image_id, t->id);
    if (t->is_building && !ends_now)
        broken(w, RULE_kept, "an image leaves the model that is being built");
    MODEL_EACH (process, p, &w->oracle->processes)
        if (id_eq(p->image_id, t->id))
            broken(w, RULE_kept, "the image of '%s' leaves the model, and that does not", p->name);
    happened(w, OUTCOME_image_forgotten);
}

/* Nobody is kept beyond what is to be kept; whoever is not over has what it runs. */
static void check_there(struct world *w)
{
    const struct model *m = w->oracle;
    MODEL_EACH (process, d, &m->processes) {
        if (d->project == NULL)
            continue;
        if (d->is_placed && !deployment_is_over(d) && model_image(m, d->image_id) == NULL)
            broken(w, RULE_kept, "a deployment of '%s' that is not over has lost its image", d->project->slug);
        if (m->format >= EVENT_FORMAT_FORGETS && deployment_is_settled(m, d) && kept_of(w, d) > m->kept.deployments)
            broken(w, RULE_kept, "'%s' keeps %u deployments that are over, not %u", d->project->slug, kept_of(w, d),
                   m->kept.deployments);
    }
}

void check_kept(struct world *w, const struct event *ev)
{
    const struct model *m = w->oracle;
    checked(w, RULE_kept);
    for (size_t i = 0; i < w->there_n; i++) {
        const struct there *t = &w->there[i];
        if (t->is_image && model_image(m, t->id) == NULL)
            check_gone_image(w, t, ev);
        else if (!t->is_image && model_process(m, t->id) == NULL && ev->kind != EVENT_DELETE_PROCESS)
            check_gone(w, t, ev);
    }
    check_there(w);
}
