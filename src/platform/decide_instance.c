/* Decisions about instances: what their node saw, what a person wants. */
#include "platform/decide_check.h"

/* How many status events of this instance lie within the last hour, since its node was last stopped on purpose: who
 * raises an installation again and again has no crash loop. */
static int64_t events_in_hour(const struct instance *i, int64_t now_ms)
{
    int64_t n = 0, from_ns = (now_ms - 3600 * 1000) * 1000000;
    for (uint32_t k = i->history_n; k > 0; k--) {
        const struct instance_history *h = &i->history[k - 1];
        if (strcmp(h->cause, INSTANCE_CAUSE_NODE_STOPPED) == 0)
            break;
        n += h->at_ns > from_ns;
    }
    return n;
}

static enum err check_observed(const struct instance_observed *c, enum instance_status *ret_status,
                               enum health *ret_health, struct errinfo *err)
{
    if (!instance_status_parse(c->observed, ret_status) || *ret_status == INSTANCE_LOST ||
        *ret_status == INSTANCE_PENDING)
        return err_set(err, ERR_INVALID,
                       "'observed' must be starting, running, draining, stopped, failed or suspended, not '%.*s'",
                       STR_ARG(c->observed));
    if (!health_parse(c->health, ret_health))
        return err_set(err, ERR_INVALID, "'health' must be NOMINAL, WARNING, ERROR, STALL, TIMEOUT or EXIT, not '%.*s'",
                       STR_ARG(c->health));
    if (c->boot_id.len == 0 || c->report_seq <= 0 || c->restarts < 0)
        return err_set(err, ERR_INVALID, "'boot_id' and 'report_seq' (from 1) are needed in every report");
    enum err rc = check_text("boot_id", c->boot_id, 64, false, err);
    return rc != OK ? rc : check_text("cause", c->cause, DECIDE_CAUSE_MAX, true, err);
}

static bool is_old(const struct instance *i, const struct instance_observed *c)
{
    return node_boot_is_past(i->node, c->boot_id) || node_boot_is_late(i->node, c->boot_id, c->report_seq) ||
           (str_eq_c(c->boot_id, i->boot_id) && c->report_seq <= i->report_seq);
}

/* Nothing new: the same again, or an instance that was told to stop and has not yet. */
static bool says_nothing(const struct instance *i, const struct instance_observed *c, enum instance_status status,
                         enum health health)
{
    bool still_runs = status == INSTANCE_STARTING || status == INSTANCE_RUNNING || status == INSTANCE_SUSPENDED;
    if (i->wanted != DESIRED_RUNNING && still_runs)
        return true;
    if (i->status != status || i->restarts != c->restarts)
        return false;
    /* It starts, and why it starts again is known already. */
    return i->reported == health || (status == INSTANCE_STARTING && health == HEALTH_UNKNOWN);
}

static void observed_event(const struct decide *d, const struct instance_observed *c, enum instance_status status,
                           struct str health, struct str cause, struct event_list *out)
{
    event_list_add(out, EVENT_INSTANCE_STATUS_CHANGE, d->ids)->instance_status_change =
        (struct instance_status_change){.instance_id = c->instance_id,
                                        .status = str_from(instance_status_name(status)),
                                        .health = health,
                                        .cause = cause,
                                        .node_id = c->reporter_node_id,
                                        .boot_id = arena_str(out->arena, c->boot_id),
                                        .report_seq = c->report_seq,
                                        .restarts = c->restarts};
}

/* Crash loops must not fill the log: so many events an hour; the last of them says that it is the last and shows the
 * instance as not healthy. After it one in a while passes, so that what has recovered serves again: heartbeats repeat
 * what is true. An end passes always. */
enum pass { PASS, PASS_AS_LAST, PASS_NOT };
static enum pass may_pass(const struct decide *d, const struct instance *i, struct str cause,
                          enum instance_status status)
{
    if (str_eq_c(cause, INSTANCE_CAUSE_NODE_STOPPED))
        return PASS;
    int64_t limit = d->settings->status_events_per_hour, n = events_in_hour(i, d->now_ms);
    int64_t silent_ms = d->now_ms - i->history[i->history_n - 1].at_ns / 1000000;
    if (status == INSTANCE_STOPPED || status == INSTANCE_FAILED || n < limit - 1)
        return PASS;
    if (n == limit - 1)
        return PASS_AS_LAST;
    return silent_ms >= d->settings->status_repeat_seconds * 1000 ? PASS : PASS_NOT;
}

static struct str last_of_the_hour(const struct decide *d, struct str cause, enum instance_status status,
                                   struct event_list *out)
{
    return say(out, "%lld status changes within an hour, the last to %s: from now on one in %lld s is recorded; %s",
               (long long)d->settings->status_events_per_hour, instance_status_name(status),
               (long long)d->settings->status_repeat_seconds,
               cut(out, arena_str(out->arena, cause).ptr, DECIDE_CAUSE_MAX / 2));
}

/* It was told to stop and, before that was heard to have happened, to run again: it runs, so it had stopped or never
 * did. Without this it would drain for ever. */
static bool came_back(const struct instance *i, enum instance_status status)
{
    return i->status == INSTANCE_DRAINING && instance_desired(i) == DESIRED_RUNNING &&
           (status == INSTANCE_STARTING || status == INSTANCE_RUNNING);
}

enum err decide_instance_observed(const struct decide *d, const struct instance_observed *c, struct event_list *out,
                                  struct errinfo *err)
{
    enum instance_status status;
    enum health health;
    enum err rc = check_observed(c, &status, &health, err);
    if (rc != OK)
        return rc;
    const struct instance *i = model_instance(d->model, c->instance_id);
    if (i == NULL)
        return not_found(err, "instance", c->instance_id);
    if (i->node == NULL || !id_eq(i->node->id, c->reporter_node_id))
        return err_set(err, ERR_DENIED, "only node '%s' may report this instance: it is placed there",
                       i->node == NULL ? "" : i->node->name);
    if (i->node->status == NODE_LOST)
        return err_set(err, ERR_UNAVAILABLE, "node '%s' counts as lost: report again once it is trusted",
                       i->node->name);
    if (is_old(i, c) || says_nothing(i, c, status, health))
        return OK;
    bool is_back = came_back(i, status);
    if (!is_back && !instance_may_become(i, status))
        return err_set(err, ERR_CONFLICT, "the instance is %s and cannot become %s",
                       instance_status_name((enum instance_status)i->status), instance_status_name(status));
    enum pass pass = may_pass(d, i, c->cause, status);
    if (pass == PASS_NOT)
        return OK;
    if (is_back)
        emit_instance_status(out, d->ids, i, INSTANCE_STOPPED, "", STR("nobody has heard of its end"), (struct str){0});
    if (pass == PASS_AS_LAST) {
        observed_event(d, c, status, STR("ERROR"), last_of_the_hour(d, c->cause, status, out), out);
        return OK;
    }
    observed_event(d, c, status, str_from(health_name(health)), arena_str(out->arena, c->cause), out);
    return OK;
}

/* What the watchdog says of what runs, and only of that: an end is the node's to tell. */
static bool may_be_watched(const struct instance *i)
{
    return process_is_application(i->process) && i->status == INSTANCE_RUNNING && i->wanted == DESIRED_RUNNING &&
           i->node != NULL && i->node->status != NODE_LOST;
}

enum err decide_instance_watched(const struct decide *d, const struct instance_watched *c, struct event_list *out,
                                 struct errinfo *err)
{
    enum err rc = check_text("cause", c->cause, DECIDE_CAUSE_MAX, true, err);
    if (rc != OK)
        return rc;
    assert(c->health >= HEALTH_NOMINAL && c->health <= HEALTH_TIMEOUT);
    const struct instance *i = model_instance(d->model, c->instance_id);
    if (i == NULL)
        return not_found(err, "instance", c->instance_id);
    enum health was = i->watched == HEALTH_UNKNOWN ? HEALTH_NOMINAL : (enum health)i->watched;
    enum pass pass = may_pass(d, i, c->cause, INSTANCE_RUNNING);
    if (!may_be_watched(i) || was == c->health || pass == PASS_NOT)
        return OK;
    event_list_add(out, EVENT_INSTANCE_STATUS_CHANGE, d->ids)->instance_status_change = (struct instance_status_change){
        .instance_id = i->id,
        .status = str_from(instance_status_name(INSTANCE_RUNNING)),
        .health = str_from(health_name(health_worse((enum health)i->reported, c->health))),
        .cause = pass == PASS_AS_LAST ? last_of_the_hour(d, c->cause, INSTANCE_RUNNING, out)
                                      : arena_str(out->arena, c->cause),
        .because = because(out,
                           "{\"rule\":\"watchdog\",\"silentMs\":%lld,\"behindMs\":%lld,\"lagEvents\":%lld,"
                           "\"nErrors\":%lld,\"nEffectsParked\":%lld}",
                           (long long)c->silent_ms, (long long)c->behind_ms, (long long)c->lag_events,
                           (long long)c->n_errors, (long long)c->n_effects_parked),
        .watched = str_from(health_name(c->health))};
    return OK;
}

/* What is stopped keeps its room; but its node may have become smaller meanwhile. */
static enum err check_room_again(const struct decide *d, const struct instance *i, struct arena *a, struct errinfo *err)
{
    if (i->node == NULL)
        return OK;
    struct places places;
    places_of_model(&places, d->model, d->settings, a, i->node->id);
    const struct place *place = places_find(&places, i->node->id);
    int64_t memory = place->memory_free, vcpus = place->vcpus_free;
    places_done(&places);
    if (memory >= 0 && vcpus >= 0)
        return OK;
    return err_set(err, ERR_LIMIT,
                   "node '%s' has no room for it any more: more is reserved there than it has (memory %lld MiB, vcpus "
                   "%lld); delete this instance, and the planner places another one where there is room",
                   i->node->name, memory < 0 ? (long long)(-memory / (1 << 20)) : 0LL,
                   vcpus < 0 ? (long long)-vcpus : 0LL);
}

enum err decide_instance_desired(const struct decide *d, struct id instance_id, struct str desired,
                                 struct event_list *out, struct errinfo *err)
{
    const struct instance *i = model_instance(d->model, instance_id);
    if (i == NULL)
        return not_found(err, "instance", instance_id);
    bool run = str_eq(desired, STR("running"));
    if (!run && !str_eq(desired, STR("stopped")))
        return err_set(err, ERR_INVALID, "'desired' must be 'running' or 'stopped', not '%.*s'", STR_ARG(desired));
    if (i->wanted == DESIRED_DELETED)
        return err_set(err, ERR_CONFLICT, "the instance is being deleted");
    if (i->wanted == (run ? DESIRED_RUNNING : DESIRED_STOPPED))
        return OK;
    if (run && i->status == INSTANCE_DRAINING)
        return err_set(err, ERR_CONFLICT, "the instance is stopping: start it once it is stopped");
    struct str cause = STR("asked for by a person");
    if (!run) {
        emit_instance_withdrawal(out, d->ids, i, "stopped", cause, (struct str){0});
        return OK;
    }
    enum err rc = check_room_again(d, i, out->arena, err);
    if (rc == OK)
        emit_instance_status(out, d->ids, i, INSTANCE_PENDING, "running", cause, (struct str){0});
    return rc;
}

enum err decide_delete_instance(const struct decide *d, struct id instance_id, struct event_list *out,
                                struct errinfo *err)
{
    const struct instance *i = model_instance(d->model, instance_id);
    if (i == NULL)
        return not_found(err, "instance", instance_id);
    if (i->wanted != DESIRED_DELETED)
        emit_instance_removal(out, d->ids, i, STR("deleted by a person"), (struct str){0});
    return OK;
}

static enum err place_by_hand(const struct decide *d, const struct instance_create *c, const struct process *p,
                              struct event_list *out, struct placement *ret, struct errinfo *err)
{
    bool is_program = p->image_digest[0] == '\0'; /* a program of ours: host only, on control nodes */
    struct wish wish = {.process = p,
                        .label = is_program ? "control" : "worker",
                        .runtime = is_program           ? STR("host")
                                   : c->runtime.len > 0 ? c->runtime
                                                        : str_from(p->runtime),
                        .needs = &p->resources,
                        .has_address = !is_program};
    struct places places;
    places_of_model(&places, d->model, d->settings, out->arena, c->node_id);
    const char *why = "";
    bool is_placed = places_take(&places, &wish, 1, ret, &why);
    places_done(&places);
    return is_placed ? OK : err_set(err, ERR_LIMIT, "%s", why);
}

enum err decide_create_instance(const struct decide *d, const struct instance_create *c, struct event_list *out,
                                struct id *ret_id, struct errinfo *err)
{
    const struct process *p = model_process(d->model, c->process_id);
    struct placement at;
    if (p == NULL)
        return not_found(err, "process", c->process_id);
    if (p->project != NULL && (!p->is_placed || deployment_is_over(p) || p->status == DEPLOYMENT_DRAINING))
        return err_set(err, ERR_CONFLICT, "the deployment is %s: it takes no instances",
                       deployment_status_name(p->status));
    if (process_is_application(p) || p->is_deleted)
        return err_set(err, ERR_CONFLICT,
                       "instances of an application are placed by the planner, each with its share of the input: scale "
                       "it");
    if (!id_is_none(c->node_id) && model_node(d->model, c->node_id) == NULL)
        return not_found(err, "node", c->node_id);
    if (p->image_digest[0] != '\0' && str_eq(c->runtime, STR("host")))
        return err_set(err, ERR_DENIED, "runtime 'host' is for the platform's own programs: it isolates nothing");
    enum err rc = place_by_hand(d, c, p, out, &at, err);
    if (rc != OK)
        return rc;
    struct event *e =
        emit_create_instance(out, d->ids, p->id, d->settings->installation, &at, STR("{\"rule\":\"by hand\"}"));
    *ret_id = e->create_instance.instance_id;
    return OK;
}
