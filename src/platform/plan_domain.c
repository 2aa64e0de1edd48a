/* Rules for domains: a proved one with a certificate leads to what is live; the route says so, then the domain does. */
#include "platform/planner.h"

static bool has_certificate(struct planner *p, const char *host)
{
    if (p->settings->needs_certificate == 0 || plan_has_certificate(p, str_from(host)))
        return true;
    planner_waits(p, WORK_WAITS_CERTIFICATE);
    return false;
}

struct strs route_hosts(struct planner *p, const struct project *project)
{
    struct arena *a = p->out->arena;
    struct strs hosts = {arena_alloc(a, (project->domains.n + 1) * sizeof(struct str)), 0};
    hosts.items[hosts.n++] = str_from(project_host(project, p->settings->app_domain, a));
    MODEL_EACH (domain, d, &project->domains)
        if (domain_is_proved(d) && has_certificate(p, d->host))
            hosts.items[hosts.n++] = str_from(d->host);
    return hosts;
}

static bool is_routed(const struct project *project, struct strs hosts)
{
    if (project->hosts.n != hosts.n)
        return false;
    for (size_t i = 0; i < hosts.n; i++)
        if (!str_eq_c(hosts.items[i], project->hosts.items[i]))
            return false;
    return true;
}

static void say_domain(struct planner *p, const struct domain *d, enum domain_status status, struct str cause,
                       struct str why)
{
    event_list_add(p->out, EVENT_VERIFY_DOMAIN, p->ids)->verify_domain =
        (struct verify_domain){d->id, str_from(domain_status_name(status)), cause, why};
}

bool plan_domains(struct planner *p, const struct process *live)
{
    const struct project *project = live->project;
    size_t before = p->out->n;
    struct strs hosts = route_hosts(p, project);
    /* The name of its own is as it was switched to: a changed setting takes effect with the next deployment. */
    if (project->hosts.n > 0)
        hosts.items[0] = str_from(project->hosts.items[0]);
    if (!is_routed(project, hosts)) {
        event_list_add(p->out, EVENT_ROUTE_DEPLOYMENT, p->ids)->route_deployment = (struct route_deployment){
            .deployment_id = live->id,
            .project_id = project->id,
            .hosts = hosts,
            .because = because(p->out, "{\"rule\":\"its domains changed\",\"domains\":%zu}", hosts.n - 1)};
        return true;
    }
    MODEL_EACH (domain, d, &project->domains)
        if (d->status == DOMAIN_VERIFIED && text_list_has(&project->hosts, d->host))
            say_domain(p, d, DOMAIN_SERVING, STR(""),
                       because(p->out, "{\"rule\":\"a route leads it to what is live\"}"));
    return p->out->n > before;
}
