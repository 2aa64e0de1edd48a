/* What must hold of single kinds of events, beside deployments: formats, applications, domains, people. */
#include "sim.h"

#include "event/partition.h"

/* ---- Formats ---- */

/* A replica that has held a lease since before the news about leases are too old to act on cannot read it. */
static void check_raise(struct world *w, int64_t format)
{
    if (w->appending == NULL || w->appending->planned_format_min < format)
        broken(w, RULE_format_known, "the format is raised to %lld by who has read a lease that does not read it",
               (long long)format);
    for (size_t i = 0; i < w->replicas_n; i++) {
        const struct lease *l = &w->store.leases[i];
        if (l->until_ms > w->now_ms && w->now_ms - l->since_ms > LEASE_MS && l->format < format)
            broken(w, RULE_format_known, "the format is raised to %lld, which replica %s does not read",
                   (long long)format, w->replicas[i].name);
    }
}

static void check_format_of(struct world *w, const struct event *ev)
{
    bool is_raised = ev->kind == EVENT_RAISE_FORMAT;
    int64_t format = is_raised ? ev->raise_format.format : w->oracle->format;
    checked(w, RULE_format_known);
    if (event_kind_format(ev->kind) > format)
        broken(w, RULE_format_known, "%s is written before the log's format has it", event_kind_row(ev->kind)->name);
    if (is_raised)
        check_raise(w, format);
}

/* ---- Applications ---- */

static bool may_fold(const struct instance *i)
{
    return i->status != INSTANCE_STOPPED && i->status != INSTANCE_FAILED && i->status != INSTANCE_LOST;
}

/* Range a of one and range b of the other are of one log, and meet. */
static bool meet(const struct create_instance *e, size_t a, const struct instance *i, size_t b)
{
    struct partition x, y, both;
    struct id mine = a < e->log_ids.n ? e->log_ids.items[a] : ID_NONE;
    struct id theirs = b < i->log_ids.n ? i->log_ids.items[b] : ID_NONE;
    return id_eq(mine, theirs) && partition_parse(e->partition_ranges.items[a], &x) &&
           partition_parse(str_from(i->partition_ranges.items[b]), &y) && partition_intersect(x, y, &both);
}

static void check_share(struct world *w, const struct create_instance *e)
{
    const struct process *p = model_process(w->oracle, e->process_id);
    if (p == NULL || !process_is_application(p))
        return;
    checked(w, RULE_one_owner);
    if (e->partition_ranges.n == 0)
        broken(w, RULE_one_owner, "an instance of '%s' has no part of its input", p->name);
    MODEL_EACH (instance, i, &p->instances)
        for (size_t a = 0; may_fold(i) && a < e->partition_ranges.n; a++)
            for (size_t b = 0; b < i->partition_ranges.n; b++)
                if (meet(e, a, i, b))
                    broken(w, RULE_one_owner, "two instances of '%s' own %.*s", p->name,
                           STR_ARG(e->partition_ranges.items[a]));
    if (p->instances.n > 0)
        happened(w, OUTCOME_input_shared);
}

/* All of its input is owned, once, by what runs. */
bool application_is_covered(const struct process *p)
{
    uint64_t sum = 0; /* of the first log, or of what there is without one */
    MODEL_EACH (instance, i, &p->instances) {
        struct partition range;
        struct id first = i->log_ids.n > 0 ? i->log_ids.items[0] : ID_NONE;
        if (!instance_is_healthy(i))
            return false;
        for (size_t k = 0; k < i->partition_ranges.n; k++)
            if ((i->log_ids.n == 0 || id_eq(i->log_ids.items[k], first)) &&
                partition_parse(str_from(i->partition_ranges.items[k]), &range))
                sum += (uint64_t)range.last - range.first + 1;
    }
    return p->instances.n == (uint64_t)p->instances_wanted && sum > 0 && sum <= UINT64_C(1) << 32;
}

/* ---- Domains ---- */

static void check_hosts(struct world *w, const struct route_deployment *e)
{
    const struct process *d = model_deployment(w->oracle, e->deployment_id);
    for (size_t i = 1; !e->beside && d != NULL && i < e->hosts.n; i++) {
        const struct domain *domain = model_domain_by_host(w->oracle, e->hosts.items[i]);
        checked(w, RULE_domains);
        if (domain == NULL || domain->project != d->project || !domain_is_proved(domain))
            broken(w, RULE_domains, "a route leads from %.*s, which is not proved to be its project's",
                   STR_ARG(e->hosts.items[i]));
    }
}

static void check_serving(struct world *w, const struct verify_domain *e)
{
    const struct domain *d = id_index_find(&w->oracle->domains, e->domain_id);
    if (!str_eq(e->status, STR("serving")))
        return;
    checked(w, RULE_domains);
    if (d == NULL || !domain_is_proved(d) || !text_list_has(&d->project->hosts, d->host))
        broken(w, RULE_domains, "a domain is said to serve that no route leads from");
    happened(w, OUTCOME_domain_served);
}

/* ---- Images ---- */

static void remember_builder(struct world *w, struct id image_id)
{
    const struct image *i = model_image(w->oracle, image_id);
    if (i != NULL)
        w->unbuilt[w->unbuilt_n++ % UNBUILT_MAX] = i->builder_instance_id;
}

bool builder_was_relieved(const struct world *w, struct id builder)
{
    for (size_t k = 0; k < UNBUILT_MAX; k++)
        if (id_eq(w->unbuilt[k], builder))
            return true;
    return false;
}

/* Another builder takes over: the one before has ended, and so few have tried it that it may be worth it. */
enum { TRIES_MAX = 3 };
static void check_rebuilt(struct world *w, const struct rebuild_image *e)
{
    const struct image *image = model_image(w->oracle, e->image_id);
    const struct instance *next = model_instance(w->oracle, e->builder_instance_id);
    const struct instance *former = image == NULL ? NULL : model_instance(w->oracle, image->builder_instance_id);
    checked(w, RULE_tries);
    if (image == NULL || next == NULL || next->node == NULL || former == NULL)
        return; /* the fold refuses it */
    if (image->tries_n >= TRIES_MAX)
        broken(w, RULE_tries, "a build is tried a fourth time");
    if (next->node->status != NODE_READY)
        broken(w, RULE_tries, "a build is tried again on %s, which is %s", next->node->name,
               node_status_name(next->node->status));
    if (former->status != INSTANCE_LOST && former->status != INSTANCE_FAILED && former->status != INSTANCE_STOPPED)
        broken(w, RULE_tries, "a build is given to another builder while one builds it");
    happened(w, next->node == former->node ? OUTCOME_build_again_here : OUTCOME_build_elsewhere);
    remember_builder(w, e->image_id);
}

static void check_given_up(struct world *w, const struct image_status_change *e)
{
    const struct image *image = model_image(w->oracle, e->image_id);
    if (image != NULL && image->tries_n == TRIES_MAX && str_eq_c(e->status, "failed"))
        happened(w, OUTCOME_build_given_up);
}

/* ---- People ---- */

void check_erased(struct world *w, struct id subject)
{
    const struct user *u = id_index_find(&w->oracle->users, subject);
    checked(w, RULE_erased);
    if (id_index_find(&w->oracle->waitlist, subject) != NULL)
        broken(w, RULE_erased, "somebody who was erased waits");
    if (u != NULL && (!u->is_erased || u->name[0] != '\0' || u->email[0] != '\0'))
        broken(w, RULE_erased, "something is left of a user who was erased");
}

void check_kind(struct world *w, const struct event *ev)
{
    check_format_of(w, ev);
    if (ev->kind == EVENT_CREATE_INSTANCE)
        check_share(w, &ev->create_instance);
    if (ev->kind == EVENT_ROUTE_DEPLOYMENT)
        check_hosts(w, &ev->route_deployment);
    if (ev->kind == EVENT_DELETE_IMAGE)
        remember_builder(w, ev->delete_image.image_id);
    if (ev->kind == EVENT_REBUILD_IMAGE)
        check_rebuilt(w, &ev->rebuild_image);
    if (ev->kind == EVENT_IMAGE_STATUS_CHANGE)
        check_given_up(w, &ev->image_status_change);
    if (ev->kind == EVENT_VERIFY_DOMAIN)
        check_serving(w, &ev->verify_domain);
}
