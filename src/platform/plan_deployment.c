/* Rules for deployments: one function a status. plan.h tells the story. */
#include "base/own.h"
#include "platform/planner.h"
#include "platform/replace_delay.h"

void plan_wait(struct planner *p, const struct process *d, struct str cause)
{
    if (str_eq_c(cause, d->cause))
        return;
    if (d->cause[0] != '\0' && !planner_is_due(p, d->said_ns, p->settings->cause_repeat_seconds))
        return;
    emit_deployment_status(p->out, p->ids, d, d->status, cause, STR("{\"rule\":\"waits\"}"));
}

static void fail(struct planner *p, const struct process *d, struct str cause, struct str because)
{
    emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_FAILED, cause, because);
}

static void remove_instances(struct planner *p, const struct process *d, struct str cause, struct str because)
{
    MODEL_EACH (instance, i, &d->instances)
        if (i->wanted != DESIRED_DELETED)
            emit_instance_removal(p->out, p->ids, i, cause, because);
}

/* ---- queued, building: until there is an image and room ---- */

static struct wish wish_of(const struct process *d)
{
    return (struct wish){
        .process = d, .label = "worker", .runtime = str_from(d->runtime), .needs = &d->resources, .has_address = true};
}

struct str placement_because(struct planner *p, const char *rule, const struct process *d, const struct placement *at)
{
    const struct place *place = NULL;
    for (size_t i = 0; i < p->places.n; i++)
        if (p->places.items[i].node == at->node)
            place = &p->places.items[i];
    assert(place != NULL);
    return because(p->out,
                   "{\"rule\":%s,\"node\":%s,\"zone\":%s,\"needs\":{\"vcpus\":%lld,\"memoryBytes\":%lld},"
                   "\"freeAfterwards\":{\"vcpus\":%lld,\"memoryBytes\":%lld},\"hereOfThisDeployment\":%u}",
                   quoted(p->out, rule), quoted(p->out, at->node->name), quoted(p->out, at->node->zone->name),
                   (long long)d->resources.vcpus, (long long)d->resources.memory_bytes, (long long)place->vcpus_free,
                   (long long)place->memory_free, place->here_n);
}

static void emit_process(struct planner *p, const struct process *d, const struct image *image)
{
    event_list_add(p->out, EVENT_CREATE_PROCESS, p->ids)->create_process =
        (struct create_process){.process_id = d->id,
                                .name = str_from(d->project->slug),
                                .version = str_from(id_text(p->out, d->id)),
                                .project_id = d->project->id,
                                .image_digest = str_from(image->digest),
                                .image_id = image->id,
                                .resources = d->resources,
                                .instances_wanted = d->instances_wanted,
                                .health = {.path = str_from(d->health.path),
                                           .interval_seconds = d->health.interval_seconds,
                                           .timeout_seconds = d->health.timeout_seconds,
                                           .start_timeout_seconds = d->health.start_timeout_seconds},
                                .port = d->port,
                                .drain_seconds = d->drain_seconds,
                                .runtime = str_from(d->runtime),
                                .because = STR("{\"rule\":\"its image is ready\"}")};
}

static void start(struct planner *p, const struct process *d, const struct image *image)
{
    size_t n = (size_t)d->instances_wanted;
    struct wish wish = wish_of(d);
    struct placement *at = arena_alloc(p->out->arena, n * sizeof(*at));
    const char *why = "";
    if (!places_take(&p->places, &wish, n, at, &why)) {
        plan_wait(p, d, say(p->out, "waits for capacity: %s", why));
        return;
    }
    emit_process(p, d, image);
    for (size_t i = 0; i < n; i++)
        emit_create_instance(p->out, p->ids, d->id, p->settings->installation, &at[i],
                             placement_because(p, "start", d, &at[i]));
    emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_STARTING, STR(""), STR("{\"rule\":\"its image is ready\"}"));
}

static void plan_unplaced(struct planner *p, const struct process *d)
{
    const struct image *image = model_image(p->model, d->image_id);
    if (image == NULL)
        plan_build(p, d);
    else if (image->status == IMAGE_READY)
        start(p, d, image);
    else if (image->status == IMAGE_FAILED)
        fail(p, d, say(p->out, "the build failed: %s", cut(p->out, image->cause, CAUSE_PASSED_ON_MAX)),
             STR("{\"rule\":\"its image failed\"}"));
    else if (d->status == DEPLOYMENT_QUEUED)
        plan_wait(p, d, STR("waits for its image, which is being built"));
}

/* ---- replacing what failed or is lost ---- */

int64_t replace_delay_seconds(const struct planner *p, const struct process *d)
{
    return replace_delay(p->settings, d->failures_n);
}

/* It will not run again by itself, and is to be replaced now. */
static bool is_given_up(struct planner *p, const struct process *d, const struct instance *i)
{
    if (i->wanted != DESIRED_RUNNING)
        return false;
    if (i->status == INSTANCE_LOST)
        return true;
    return i->status == INSTANCE_FAILED && planner_is_due(p, i->since_ns, replace_delay_seconds(p, d));
}

static bool replace_one(struct planner *p, const struct process *d, const struct instance *old)
{
    struct wish wish = wish_of(d);
    struct placement at;
    const char *why = "";
    wish.avoid = old == NULL ? NULL : old->node;
    if (!places_take(&p->places, &wish, 1, &at, &why)) {
        plan_wait(p, d, say(p->out, "an instance cannot be replaced: %s", why));
        return false;
    }
    const char *rule = old == NULL ? "one is missing" : "replace";
    emit_create_instance(p->out, p->ids, d->id, p->settings->installation, &at, placement_because(p, rule, d, &at));
    if (old != NULL)
        emit_delete_instance(p->out, p->ids, old,
                             because(p->out, "{\"rule\":\"replaced\",\"status\":\"%s\",\"cause\":%s}",
                                     instance_status_name((enum instance_status)old->status),
                                     quoted(p->out, old->cause)));
    return true;
}

/* True: as many as wanted are there or on their way. An instance that a person stopped keeps its place. */
static bool replace(struct planner *p, const struct process *d)
{
    int64_t have = 0;
    MODEL_EACH (instance, i, &d->instances) {
        if (i->wanted == DESIRED_DELETED)
            continue;
        have++;
        if (is_given_up(p, d, i) && !replace_one(p, d, i))
            return false;
    }
    for (; have < d->instances_wanted; have++)
        if (!replace_one(p, d, NULL))
            return false;
    return true;
}

/* ---- starting: until all wanted are healthy ---- */

/* The instance whose trouble tells most: failed, then not healthy. */
static const struct instance *worst(const struct process *d)
{
    const struct instance *found = NULL;
    MODEL_EACH (instance, i, &d->instances) {
        if (i->status == INSTANCE_FAILED && i->wanted == DESIRED_RUNNING)
            return i;
        if (!instance_is_healthy(i) && (found == NULL || (found->cause[0] == '\0' && i->cause[0] != '\0')))
            found = i;
    }
    return found;
}

static struct str instance_story(struct planner *p, const struct instance *i)
{
    return say(p->out, "instance %s on node '%s' is %s%s%s%s%s", id_text(p->out, i->id),
               i->node == NULL ? "" : i->node->name, instance_status_name((enum instance_status)i->status),
               i->health == HEALTH_UNKNOWN ? "" : " and ", health_name((enum health)i->health),
               i->cause[0] == '\0' ? "" : ": ", cut(p->out, i->cause, CAUSE_PASSED_ON_MAX));
}

static void fail_late(struct planner *p, const struct process *d, uint32_t healthy, int64_t timeout)
{
    const struct instance *i = worst(d);
    struct str story = i == NULL ? STR("") : instance_story(p, i);
    fail(p, d,
         say(p->out,
             "%u of %lld instances were healthy after %lld s: does the program listen on port %lld (it is told by "
             "PORT)? "
             "%.*s",
             healthy, (long long)d->instances_wanted, (long long)timeout, (long long)d->port, STR_ARG(story)),
         because(p->out, "{\"rule\":\"start timeout\",\"seconds\":%lld,\"healthy\":%u}", (long long)timeout, healthy));
}

/* "" when every host has a certificate, else the first that has none. */
static const char *host_without_certificate(const struct planner *p, const char *host)
{
    bool needs = p->settings->needs_certificate != 0;
    return needs && model_certificate_by_host(p->model, str_from(host)) == NULL ? host : "";
}

static void route_to(struct planner *p, const struct process *d, uint32_t healthy)
{
    const struct process *old = d->project->live;
    struct str why = because(p->out, "{\"rule\":\"all are healthy\",\"healthy\":%u,\"wanted\":%lld}", healthy,
                             (long long)d->instances_wanted);
    event_list_add(p->out, EVENT_ROUTE_DEPLOYMENT, p->ids)->route_deployment = (struct route_deployment){
        .deployment_id = d->id, .project_id = d->project->id, .hosts = route_hosts(p, d->project), .because = why};
    emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_LIVE, STR(""), why);
    if (old != NULL && old != d)
        emit_deployment_status(p->out, p->ids, old, DEPLOYMENT_DRAINING,
                               say(p->out, "deployment %s took its place", id_text(p->out, d->id)),
                               STR("{\"rule\":\"replaced\"}"));
}

/* When one of its instances last changed. */
static int64_t last_news_ns(const struct process *d)
{
    int64_t at_ns = 0;
    MODEL_EACH (instance, i, &d->instances)
        at_ns = i->history[i->history_n - 1].at_ns > at_ns ? i->history[i->history_n - 1].at_ns : at_ns;
    return at_ns;
}

static void plan_starting(struct planner *p, const struct process *d)
{
    const struct instance *bad = worst(d);
    uint32_t healthy = process_healthy_n(d);
    int64_t timeout =
        d->health.start_timeout_seconds != 0 ? d->health.start_timeout_seconds : p->settings->start_timeout_seconds;
    int64_t since_ns = d->since_ns;
    MODEL_EACH (instance, i, &d->instances)
        since_ns = i->created_ns > since_ns ? i->created_ns : since_ns; /* a replacement has its own time */
    if (bad != NULL && bad->status == INSTANCE_FAILED && bad->wanted == DESIRED_RUNNING) {
        fail(p, d, instance_story(p, bad), STR("{\"rule\":\"an instance failed\"}"));
    } else if (healthy >= d->instances_wanted) {
        if (!planner_is_due(p, last_news_ns(d), p->settings->settle_seconds))
            return;
        const char *host = project_host(d->project, p->settings->app_domain, p->out->arena);
        if (host_without_certificate(p, host)[0] != '\0')
            plan_wait(p, d, say(p->out, "waits for a certificate for '%s'", host));
        else
            route_to(p, d, healthy);
    } else if (planner_is_due(p, since_ns, timeout)) {
        fail_late(p, d, healthy, timeout);
    } else {
        (void)replace(p, d);
    }
}

/* ---- live ---- */

static void plan_live(struct planner *p, const struct process *d)
{
    if (d->project->live != d)
        emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_DRAINING,
                               d->project->is_deleted ? STR("its project was deleted") : STR("nothing leads to it"),
                               STR("{\"rule\":\"not routed\"}"));
    else if (plan_domains(p, d))
        return;                                                        /* the rest follows from the model after that */
    else if (plan_surplus(p, d), replace(p, d) && d->cause[0] != '\0') /* what it waited for has come */
        emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_LIVE, STR(""), STR("{\"rule\":\"complete again\"}"));
}

/* ---- draining: until edges have switched and the drain time is over ---- */

/* An edge that still sends requests the old way, as far as anybody knows. NULL: none. */
static const struct edge_observed *edge_behind(struct planner *p, uint64_t route_seq)
{
    for (size_t i = 0; i < p->seen->edges_n; i++) {
        const struct edge_observed *e = &p->seen->edges[i];
        int64_t silent_ms = p->now_ms - e->seen_ms;
        if (e->confirmed_seq >= route_seq || silent_ms > p->settings->edge_live_seconds * 1000)
            continue;
        planner_wake(p, e->seen_ms + p->settings->edge_live_seconds * 1000 + 1);
        return e;
    }
    return NULL;
}

static struct str edges_because(struct planner *p, uint64_t route_seq)
{
    AUTO(buf) struct buf b = {0};
    buf_addf(&b, "{\"rule\":\"every live edge has switched\",\"routeSeq\":%llu,\"edges\":[",
             (unsigned long long)route_seq);
    for (size_t i = 0; i < p->seen->edges_n; i++) {
        const struct edge_observed *e = &p->seen->edges[i];
        buf_add_c(&b, i == 0 ? "{\"name\":" : ",{\"name\":");
        buf_add_json_string(&b, e->name);
        buf_addf(&b, ",\"confirmedSeq\":%llu,\"silentMs\":%lld}", (unsigned long long)e->confirmed_seq,
                 (long long)(p->now_ms - e->seen_ms));
    }
    buf_add_c(&b, "]}");
    return because(p->out, "%s", b.ptr);
}

static void plan_unconfirmed(struct planner *p, const struct process *d)
{
    int64_t listened_ms = p->now_ms - p->seen->live_since_ms, listen_ms = p->settings->edge_live_seconds * 1000;
    if (listened_ms < listen_ms) {
        planner_wake(p, p->seen->live_since_ms + listen_ms);
        return;
    }
    const struct edge_observed *behind = edge_behind(p, d->replaced_seq);
    if (behind != NULL) {
        if (planner_is_due(p, d->since_ns, p->settings->cause_repeat_seconds))
            plan_wait(p, d, say(p->out, "waits for edge '%.*s' to switch", STR_ARG(behind->name)));
        return;
    }
    struct event *e = emit_deployment_status(
        p->out, p->ids, d, DEPLOYMENT_DRAINING,
        say(p->out, "no edge leads to it any more: it ends after %lld s", (long long)d->drain_wait_seconds),
        edges_because(p, d->replaced_seq));
    e->deployment_status_change.edges_confirmed = true;
}

static void plan_draining(struct planner *p, const struct process *d)
{
    if (d->instances.n == 0)
        emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_STOPPED, STR(""),
                               STR("{\"rule\":\"no instance is left\"}"));
    else if (!d->edges_confirmed)
        plan_unconfirmed(p, d);
    else if (planner_is_due(p, d->drain_from_ns, d->drain_wait_seconds))
        remove_instances(p, d, STR("its deployment has drained"),
                         because(p->out, "{\"rule\":\"drained\",\"seconds\":%lld}", (long long)d->drain_wait_seconds));
}

/* ---- all ---- */

static const struct process *newer_one(const struct process *d)
{
    MODEL_EACH (process, other, &d->project->deployments)
        if (other->created_seq > d->created_seq && other->status != DEPLOYMENT_FAILED &&
            other->status != DEPLOYMENT_CANCELLED)
            return other;
    return NULL;
}

/* Not live yet, and nobody waits for it any more. */
static bool cancel(struct planner *p, const struct process *d)
{
    const struct process *newer = newer_one(d);
    if (d->project->is_deleted)
        emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_CANCELLED, STR("its project was deleted"),
                               STR("{\"rule\":\"project deleted\"}"));
    else if (newer != NULL)
        emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_CANCELLED,
                               say(p->out, "deployment %s is newer", id_text(p->out, newer->id)),
                               STR("{\"rule\":\"superseded\"}"));
    else
        return false;
    return true;
}

void plan_deployment(struct planner *p, const struct process *d)
{
    switch (d->status) {
    case DEPLOYMENT_QUEUED:
    case DEPLOYMENT_BUILDING:
        if (!cancel(p, d))
            plan_unplaced(p, d);
        return;
    case DEPLOYMENT_STARTING:
        if (!cancel(p, d))
            plan_starting(p, d);
        return;
    case DEPLOYMENT_LIVE: plan_live(p, d); return;
    case DEPLOYMENT_DRAINING: plan_draining(p, d); return;
    case DEPLOYMENT_STOPPED:
    case DEPLOYMENT_FAILED:
    case DEPLOYMENT_CANCELLED:
        remove_instances(p, d, say(p->out, "its deployment is %s", deployment_status_name(d->status)),
                         STR("{\"rule\":\"deployment is over\"}"));
        return;
    case DEPLOYMENT_STATUS_MAX_: break;
    }
    assert(0 && "a deployment has a status");
}
