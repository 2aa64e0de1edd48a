/* Decisions about how many instances a process has. */
#include "base/json.h"
#include "base/own.h"
#include "platform/decide_check.h"

/* A day between two changes, ten times what an instance can do (chosen: beyond it is a slip). */
enum { COOL_DOWN_MAX = 86400, TARGET_PERCENT_MAX = 1000, BECAUSE_MAX = 16384 };

static enum err find_scalable(const struct decide *d, struct id process_id, const struct process **ret,
                              struct errinfo *err)
{
    const struct process *p = model_process(d->model, process_id);
    if (p == NULL)
        return not_found(err, "deployment or application", process_id);
    if (p->project == NULL && !process_is_application(p))
        return err_set(err, ERR_DENIED, "'%s' is a program of the platform: its instances are fixed", p->name);
    if (p->is_deleted)
        return err_set(err, ERR_CONFLICT, "application '%s' is being deleted", p->name);
    if (p->project != NULL && (deployment_is_over(p) || p->status == DEPLOYMENT_DRAINING))
        return err_set(err, ERR_CONFLICT, "the deployment is %s: scale the one that is live",
                       deployment_status_name(p->status));
    *ret = p;
    return OK;
}

static enum err check_rule(const struct process *p, int64_t instances, struct errinfo *err)
{
    const struct scaling_rule *r = p->project == NULL ? &p->scaling : &p->project->scaling;
    if (r->max > 0 && (instances < r->min || instances > r->max))
        return err_set(err, ERR_CONFLICT, "the scaling rule of '%s' says %lld to %lld instances: change it first",
                       p->name, (long long)r->min, (long long)r->max);
    return OK;
}

/* Those that come beside what is there must fit now: more than there is room for would be a promise that nobody keeps.
 * What has no place yet waits for one as a whole, so it is not asked. */
static enum err check_room(const struct decide *d, const struct process *p, int64_t instances, struct event_list *out,
                           struct errinfo *err)
{
    int64_t more = instances - process_present_n(p);
    if (more <= 0 || instances <= p->instances_wanted || (p->project != NULL && !p->is_placed))
        return OK;
    struct places places;
    const char *why = "";
    struct wish wish = {
        .process = p, .label = "worker", .runtime = str_from(p->runtime), .needs = &p->resources, .has_address = true};
    struct placement *at = arena_alloc(out->arena, (size_t)more * sizeof(*at));
    places_of_model(&places, d->model, d->settings, out->arena, ID_NONE);
    bool has_room = places_take(&places, &wish, (size_t)more, at, &why);
    places_done(&places);
    return has_room ? OK
                    : err_set(err, ERR_CONFLICT, "there is no room for %lld instances of '%s': %s",
                              (long long)instances, p->name, why);
}

/* Canonical, as it comes back from the log. */
static enum err because_text(struct str given, struct event_list *out, struct str *ret, struct errinfo *err)
{
    if (given.len == 0) {
        *ret = STR("{\"rule\":\"asked for by a person\"}");
        return OK;
    }
    if (given.len > BECAUSE_MAX)
        return err_set(err, ERR_LIMIT, "'because' is %zu bytes long: at most %d", given.len, BECAUSE_MAX);
    auto_json json_t *doc = NULL;
    enum err rc = json_parse(given, &doc, err);
    if (rc != OK)
        return err_wrap(err, rc, "'because'");
    auto_free char *text = json_format(doc);
    *ret = arena_str(out->arena, str_from(text));
    return OK;
}

enum err decide_scale_process(const struct decide *d, struct id process_id, int64_t instances, struct str cause,
                              struct str because, struct event_list *out, struct errinfo *err)
{
    const struct process *p = NULL;
    struct str why;
    enum err rc = find_scalable(d, process_id, &p, err);
    if (rc != OK || p == NULL)
        return rc;
    rc = check_range("instances", instances, p->project == NULL ? 1 : d->settings->instances_min,
                     d->settings->instances_max, err);
    if (rc == OK)
        rc = check_rule(p, instances, err);
    if (rc == OK)
        rc = check_room(d, p, instances, out, err);
    if (rc == OK)
        rc = check_text("cause", cause, DECIDE_CAUSE_MAX, true, err);
    if (rc == OK)
        rc = because_text(because, out, &why, err);
    if (rc == OK)
        rc = check_format(d, EVENT_SCALE_PROCESS, err);
    if (rc != OK || p->instances_wanted == instances)
        return rc;
    event_list_add(out, EVENT_SCALE_PROCESS, d->ids)->scale_process =
        (struct scale_process){p->id, instances, arena_str(out->arena, cause), why};
    return OK;
}

static enum err check_scaling(const struct decide *d, const struct scaling_set *c, int64_t min, struct errinfo *err)
{
    if (c->instances_max == 0)
        return OK;
    enum err rc = check_range("instances_max", c->instances_max, min, d->settings->instances_max, err);
    if (rc == OK)
        rc = check_range("instances_min", c->instances_min, min, c->instances_max, err);
    if (rc == OK)
        rc = check_range("target_percent", c->target_percent, 1, TARGET_PERCENT_MAX, err);
    if (rc == OK)
        rc = check_range("cool_down_seconds", c->cool_down_seconds, 0, COOL_DOWN_MAX, err);
    if (rc == OK && !str_eq(c->metric, STR("cpu")) && !str_eq(c->metric, STR("requests")))
        rc = err_set(err, ERR_INVALID, "'metric' must be 'cpu' or 'requests', not '%.*s'", STR_ARG(c->metric));
    return rc;
}

static bool is_same_rule(const struct scaling_rule *r, const struct scaling_set *c)
{
    if (c->instances_max == 0)
        return r->max == 0;
    return r->min == c->instances_min && r->max == c->instances_max && r->target_percent == c->target_percent &&
           r->cool_down_seconds == c->cool_down_seconds && str_eq_c(c->metric, r->metric);
}

enum err decide_set_scaling_rule(const struct decide *d, const struct scaling_set *c, struct event_list *out,
                                 struct errinfo *err)
{
    const struct project *project = model_project(d->model, c->project_id);
    const struct process *p = model_process(d->model, c->process_id);
    if (id_is_none(c->project_id) == id_is_none(c->process_id))
        return err_set(err, ERR_INVALID, "say either 'project_id' or 'process_id'");
    if (!id_is_none(c->project_id) && (project == NULL || project->is_deleted))
        return not_found(err, "project", c->project_id);
    if (!id_is_none(c->process_id) && (p == NULL || !process_is_application(p) || p->is_deleted))
        return not_found(err, "application", c->process_id);
    enum err rc = check_scaling(d, c, project == NULL ? 1 : d->settings->instances_min, err);
    if (rc == OK)
        rc = check_format(d, EVENT_SET_SCALING_RULE, err);
    if (rc != OK || is_same_rule(project == NULL ? &p->scaling : &project->scaling, c))
        return rc;
    event_list_add(out, EVENT_SET_SCALING_RULE, d->ids)->set_scaling_rule =
        (struct set_scaling_rule){.project_id = c->project_id,
                                  .process_id = c->process_id,
                                  .instances_min = c->instances_min,
                                  .instances_max = c->instances_max,
                                  .target_percent = c->target_percent,
                                  .cool_down_seconds = c->cool_down_seconds,
                                  .metric = arena_str(out->arena, c->metric)};
    return OK;
}
