/* Rules for deployments: one function a status. plan.h tells the story; plan_unplaced.c, plan_replace.c, plan_spread.c
 * and plan_roll.c have parts of it. */
#include "base/own.h"
#include "platform/planner.h"

/* The same but for what is free, which always changes. */
static bool says_the_same(struct str cause, const char *was)
{
    static const char FREE[] = "; free on ";
    const char *free_was = strstr(was, FREE);
    size_t n = free_was == NULL ? strlen(was) : (size_t)(free_was - was);
    const char *free_now = cause.len == 0 ? NULL : memmem(cause.ptr, cause.len, FREE, sizeof(FREE) - 1);
    size_t now_n = free_now == NULL ? cause.len : (size_t)(free_now - cause.ptr);
    return now_n == n && memcmp(cause.ptr, was, n) == 0;
}

void plan_wait(struct planner *p, const struct process *d, struct str cause)
{
    if (says_the_same(cause, d->cause))
        return;
    if (d->cause[0] != '\0' && !planner_is_due(p, d->said_ns, p->settings->cause_repeat_seconds))
        return;
    emit_deployment_status(p->out, p->ids, d, d->status, cause, because(p->out, "{\"rule\":\"waits\"}"));
}

void plan_fail(struct planner *p, const struct process *d, struct str cause, struct str because)
{
    emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_FAILED, cause, because);
}

/* Of a deployment that edges have left. */
static void end_instances(struct planner *p, const struct process *d, struct str cause, struct str because)
{
    MODEL_EACH (instance, i, &d->instances)
        if (i->wanted != DESIRED_DELETED)
            emit_instance_end(p->out, p->ids, i, "deleted", cause, because);
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
    plan_fail(
        p, d,
        say(p->out,
            "%u of %lld instances were healthy after %lld s: does the program listen on port %lld (it is told by "
            "PORT)? "
            "%.*s",
            healthy, (long long)d->instances_wanted, (long long)timeout, (long long)d->port, STR_ARG(story)),
        because(p->out, "{\"rule\":\"start timeout\",\"seconds\":%lld,\"healthy\":%u}", (long long)timeout, healthy));
}

static bool lacks_certificate(const struct planner *p, const char *host)
{
    return p->settings->needs_certificate != 0 && !plan_has_certificate(p, str_from(host));
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
                               because(p->out, "{\"rule\":\"replaced\"}"));
}

/* When one of its instances last changed. */
int64_t plan_last_news_ns(const struct process *d)
{
    int64_t at_ns = 0;
    MODEL_EACH (instance, i, &d->instances)
        at_ns = i->history[i->history_n - 1].at_ns > at_ns ? i->history[i->history_n - 1].at_ns : at_ns;
    return at_ns;
}

static void plan_healthy(struct planner *p, const struct process *d, uint32_t healthy)
{
    if (!planner_is_due(p, plan_last_news_ns(d), p->settings->settle_seconds))
        return;
    const char *host = project_host(d->project, p->settings->app_domain, p->out->arena);
    if (lacks_certificate(p, host)) {
        planner_waits(p, WORK_WAITS_CERTIFICATE);
        plan_wait(p, d, say(p->out, "waits for a certificate for '%s'", host));
    } else {
        route_to(p, d, healthy);
    }
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
    bool may_roll = d->project->live != NULL && d->project->live != d;
    bool is_in_time = may_roll && healthy == process_present_n(d); /* the rest is not there yet, for want of room */
    if (bad != NULL && bad->status == INSTANCE_FAILED && bad->wanted == DESIRED_RUNNING)
        plan_fail(p, d, instance_story(p, bad), because(p->out, "{\"rule\":\"an instance failed\"}"));
    else if (healthy >= d->instances_wanted)
        plan_healthy(p, d, healthy);
    else if (!is_in_time && planner_is_due(p, since_ns, timeout))
        fail_late(p, d, healthy, timeout);
    else if (!plan_replace(p, d) && may_roll)
        plan_roll(p, d);
}

/* ---- live ---- */

static void plan_live(struct planner *p, const struct process *d)
{
    if (d->project->live != d) {
        emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_DRAINING,
                               d->project->is_deleted ? STR("its project was deleted") : STR("nothing leads to it"),
                               because(p->out, "{\"rule\":\"not routed\"}"));
        return;
    }
    if (plan_domains(p, d))
        return; /* the rest follows from the model after that */
    if (plan_surplus(p, d))
        return; /* likewise: what goes is not replaced as well */
    size_t before = p->out->n;
    bool is_complete = plan_replace(p, d);
    if (is_complete && d->cause[0] != '\0') /* what it waited for has come */
        emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_LIVE, STR(""),
                               because(p->out, "{\"rule\":\"complete again\"}"));
    else if (is_complete && p->out->n == before)
        plan_spread(p, d);
}

/* ---- draining: until edges have switched and the drain time is over ---- */

/* An edge that still sends requests the old way, as far as anybody knows. NULL: none. */
const struct edge_observed *plan_edge_behind(struct planner *p, uint64_t route_seq)
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

/* False while it has not listened long enough to know all edges. */
static bool knows_edges(struct planner *p)
{
    int64_t listened_ms = p->now_ms - p->seen->live_since_ms, listen_ms = p->settings->edge_live_seconds * 1000;
    planner_waits(p, WORK_WAITS_EDGES);
    if (listened_ms >= listen_ms)
        return true;
    planner_wake(p, p->seen->live_since_ms + listen_ms);
    return false;
}

bool plan_edges_know(struct planner *p, uint64_t route_seq)
{
    return knows_edges(p) && plan_edge_behind(p, route_seq) == NULL;
}

struct str plan_edges_because(struct planner *p, const char *rule, uint64_t route_seq)
{
    AUTO(buf) struct buf b = {0};
    buf_addf(&b, "{\"rule\":\"%s\",\"routeSeq\":%llu,\"edges\":[", rule, (unsigned long long)route_seq);
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
    if (!knows_edges(p))
        return;
    const struct edge_observed *behind = plan_edge_behind(p, d->replaced_seq);
    if (behind != NULL) {
        if (planner_is_due(p, d->since_ns, p->settings->cause_repeat_seconds))
            plan_wait(p, d, say(p->out, CAUSE_WAITS_EDGE "%.*s' to switch", STR_ARG(behind->name)));
        return;
    }
    struct event *e = emit_deployment_status(
        p->out, p->ids, d, DEPLOYMENT_DRAINING,
        say(p->out, "no edge leads to it any more: it ends after %lld s", (long long)d->drain_wait_seconds),
        plan_edges_because(p, "every live edge has switched", d->replaced_seq));
    e->deployment_status_change.edges_confirmed = true;
}

static void plan_draining(struct planner *p, const struct process *d)
{
    if (d->instances.n == 0)
        emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_STOPPED, STR(""),
                               because(p->out, "{\"rule\":\"no instance is left\"}"));
    else if (!d->edges_confirmed)
        plan_unconfirmed(p, d);
    else if (planner_is_due(p, d->drain_from_ns, d->drain_wait_seconds) && plan_edges_know(p, d->replaced_seq))
        /* An edge that was silent when the others confirmed may have come back meanwhile, with the routes of before. */
        end_instances(p, d, STR("its deployment has drained"),
                      because(p->out, "{\"rule\":\"drained\",\"seconds\":%lld}", (long long)d->drain_wait_seconds));
}

/* ---- all ---- */

void plan_deployment(struct planner *p, const struct process *d)
{
    switch (d->status) {
    case DEPLOYMENT_QUEUED:
    case DEPLOYMENT_BUILDING: plan_unplaced(p, d); return;
    case DEPLOYMENT_STARTING:
        if (!plan_cancel(p, d))
            plan_starting(p, d);
        return;
    case DEPLOYMENT_LIVE: plan_live(p, d); return;
    case DEPLOYMENT_DRAINING: plan_draining(p, d); return;
    case DEPLOYMENT_STOPPED:
    case DEPLOYMENT_FAILED:
    case DEPLOYMENT_CANCELLED: plan_over(p, d); return;
    case DEPLOYMENT_STATUS_MAX_: break;
    }
    assert(0 && "a deployment has a status");
}
