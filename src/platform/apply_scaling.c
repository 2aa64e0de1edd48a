/* Folds of how many instances a process wants, and what a process remembers of those that are gone. */
#include "platform/model_write.h"

void process_remember_gone(struct model *m, const struct instance *i, struct str because, int64_t now_ns)
{
    struct process *p = process_edit(m, i->process);
    uint32_t n = p->gone_n;
    bool is_full = n == PROCESS_GONE_MAX;
    size_t size = n * sizeof(*p->gone);
    p->gone = journal_resize(m->journal, p->gone, size, is_full ? size : size + sizeof(*p->gone));
    if (is_full) {
        texts_unref(&m->texts, p->gone[0].node_name);
        texts_unref(&m->texts, p->gone[0].cause);
        texts_unref(&m->texts, p->gone[0].because);
        memmove(p->gone, p->gone + 1, size - sizeof(*p->gone));
        n--;
    }
    p->gone[n] =
        (struct gone_instance){.id = i->id,
                               .created_ns = i->created_ns,
                               .status_ns = i->since_ns,
                               .deleted_ns = now_ns,
                               .node_name = texts_ref(&m->texts, str_from(i->node == NULL ? "" : i->node->name)),
                               .cause = texts_ref(&m->texts, str_from(i->cause)),
                               .because = texts_ref(&m->texts, because),
                               .status = i->status,
                               .health = i->health};
    p->gone_n = n + 1;
}

static enum err apply_scale_process(struct model *m, const struct scale_process *e, struct errinfo *err)
{
    const struct process *p = model_process(m, e->process_id);
    if (p == NULL)
        return refuse_missing(err, "process", e->process_id);
    if (p->is_deleted || (p->project != NULL && deployment_is_over(p)))
        return err_set(err, ERR_CORRUPT, "process '%s' is over: it does not scale", p->name);
    if (e->instances_wanted < 1)
        return err_set(err, ERR_CORRUPT, "process '%s' cannot have %lld instances", p->name,
                       (long long)e->instances_wanted);
    struct process *scaled = process_edit(m, p);
    scaled->instances_wanted = e->instances_wanted;
    scaled->scaled_seq = model_next_seq(m);
    touch_deployment(m, p);
    return OK;
}

static void rule_set(struct model *m, struct scaling_rule *r, const struct set_scaling_rule *e)
{
    texts_set(&m->texts, &r->metric, e->instances_max == 0 ? STR("") : e->metric);
    *r = (struct scaling_rule){.metric = r->metric};
    if (e->instances_max == 0)
        return;
    r->min = e->instances_min;
    r->max = e->instances_max;
    r->target_percent = e->target_percent;
    r->cool_down_seconds = e->cool_down_seconds;
}

static enum err apply_set_scaling_rule(struct model *m, const struct set_scaling_rule *e, struct errinfo *err)
{
    const struct project *project = model_project(m, e->project_id);
    const struct process *p = model_process(m, e->process_id);
    if (id_is_none(e->project_id) == id_is_none(e->process_id))
        return err_set(err, ERR_CORRUPT, "a scaling rule is of a project or of a process");
    if (!id_is_none(e->project_id) && (project == NULL || project->is_deleted))
        return refuse_missing(err, "project", e->project_id);
    if (!id_is_none(e->process_id) && (p == NULL || p->project != NULL))
        return refuse_missing(err, "application", e->process_id);
    if (e->instances_max != 0 && (e->instances_min < 1 || e->instances_max < e->instances_min))
        return err_set(err, ERR_CORRUPT, "a scaling rule from %lld to %lld instances", (long long)e->instances_min,
                       (long long)e->instances_max);
    if (project != NULL) {
        rule_set(m, &project_edit(m, project)->scaling, e);
        touch_project(m, project);
    } else {
        rule_set(m, &process_edit(m, p)->scaling, e);
        touch_deployment(m, p);
    }
    return OK;
}

enum err apply_scaling_event(struct model *m, const struct event *ev, struct errinfo *err)
{
    if (ev->kind == EVENT_SCALE_PROCESS)
        return apply_scale_process(m, &ev->scale_process, err);
    assert(ev->kind == EVENT_SET_SCALING_RULE);
    return apply_set_scaling_rule(m, &ev->set_scaling_rule, err);
}
