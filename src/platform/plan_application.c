/* Rules for event-sourced applications.
 *
 * A process wants n instances; each owns a share of its input: part k of n of the hash ranges (event/partition.h), cut
 * to what each log of the input streams holds. One instance has all ("*"). A share has one owner: an instance that may
 * still run keeps its share until it is gone, so that no event is folded by two at once on purpose. (By accident, when
 * a lost node is not dead, two may: appends are conditional and ids of emitted events follow from their causes, so that
 * is harmless.)
 *   an instance whose share is none of the n (the process was scaled), or on a node that drains: it goes
 *   all shares have a healthy owner, and it is exposed: edges lead to this version
 *   a share without an owner: an instance is placed, like a deployment's
 *   an owner that failed is replaced later each time, as in a live deployment; a lost one at once
 *   a deleted process: all go, and it goes with the last of them (platform/apply_instance.c) */
#include "event/partition.h"
#include "platform/planner.h"

/* What an instance folds: parallel lists, as CreateInstance has them. Without input one range and no logs. */
struct share {
    struct ids log_ids;
    struct strs ranges;
};

static struct str range_text(struct planner *p, struct partition range)
{
    char text[PARTITION_TEXT_SIZE];
    partition_format(range, text);
    return arena_str(p->out->arena, str_from(text));
}

static bool is_input(const struct process *d, const struct definition *log)
{
    for (uint32_t i = 0; i < d->input_stream_ids.n; i++)
        if (log->kind == EVENT_CREATE_EVENT_LOG && id_eq(log->stream_id, d->input_stream_ids.items[i]))
            return true;
    return false;
}

static struct share share_of(struct planner *p, const struct process *d, uint32_t k, uint32_t n)
{
    const struct model *m = p->model;
    struct arena *a = p->out->arena;
    struct partition part = partition_split(k, n), log_range, cut_range;
    size_t max = 0;
    MODEL_EACH (definition, log, &m->definitions)
        max += is_input(d, log);
    struct share s = {{arena_alloc(a, max * sizeof(struct id)), 0},
                      {arena_alloc(a, (max + 1) * sizeof(struct str)), 0}};
    MODEL_EACH (definition, log, &m->definitions) {
        if (!is_input(d, log) || !partition_parse(str_from(log->text), &log_range) ||
            !partition_intersect(part, log_range, &cut_range))
            continue;
        s.log_ids.items[s.log_ids.n++] = log->id;
        s.ranges.items[s.ranges.n++] = range_text(p, cut_range);
    }
    if (s.ranges.n == 0)
        s.ranges.items[s.ranges.n++] = range_text(p, part);
    return s;
}

static bool owns(const struct instance *i, const struct share *s)
{
    if (i->log_ids.n != s->log_ids.n || i->partition_ranges.n != s->ranges.n)
        return false;
    for (uint32_t k = 0; k < i->log_ids.n; k++)
        if (!id_eq(i->log_ids.items[k], s->log_ids.items[k]))
            return false;
    for (uint32_t k = 0; k < i->partition_ranges.n; k++)
        if (!str_eq_c(s->ranges.items[k], i->partition_ranges.items[k]))
            return false;
    return true;
}

static bool may_run(const struct instance *i)
{
    return i->status != INSTANCE_STOPPED && i->status != INSTANCE_FAILED && i->status != INSTANCE_LOST;
}

/* Entry k of its share, and of which log; no logs: of none. */
static struct id log_at(const struct id *logs, size_t logs_n, size_t k)
{
    return k < logs_n ? logs[k] : ID_NONE;
}

static bool overlaps(const struct instance *i, const struct share *s)
{
    struct partition mine, theirs, both;
    for (uint32_t a = 0; a < i->partition_ranges.n; a++)
        for (size_t b = 0; b < s->ranges.n; b++) {
            bool is_same_log =
                id_eq(log_at(i->log_ids.items, i->log_ids.n, a), log_at(s->log_ids.items, s->log_ids.n, b));
            if (is_same_log && partition_parse(str_from(i->partition_ranges.items[a]), &theirs) &&
                partition_parse(s->ranges.items[b], &mine) && partition_intersect(mine, theirs, &both))
                return true;
        }
    return false;
}

/* One that may still fold some of it. */
static bool is_taken(const struct process *d, const struct share *s)
{
    MODEL_EACH (instance, i, &d->instances)
        if (may_run(i) && overlaps(i, s))
            return true;
    return false;
}

static struct wish wish_of(const struct process *d, const struct instance *old)
{
    return (struct wish){.process = d,
                         .label = "worker",
                         .runtime = str_from(d->runtime),
                         .needs = &d->resources,
                         .avoid = old == NULL ? NULL : old->node,
                         .has_address = true};
}

static bool place(struct planner *p, const struct process *d, const struct share *s, const struct instance *old)
{
    struct wish wish = wish_of(d, old);
    struct placement at;
    const char *why = "";
    if (!places_take(&p->places, &wish, 1, &at, &why))
        return false; /* explain_process says why; room on a node is news */
    struct event *e =
        emit_create_instance(p->out, p->ids, d->id, p->settings->installation, &at,
                             placement_because(p, old == NULL ? "a share has no owner" : "replace", d, &at));
    struct str *all = arena_alloc(p->out->arena, sizeof(*all));
    *all = STR("*");
    e->create_instance.log_ids = s->log_ids;
    e->create_instance.partition_ranges = s->ranges;
    e->create_instance.workloads = (struct strs){all, 1};
    if (old != NULL)
        emit_delete_instance(p->out, p->ids, old,
                             because(p->out, "{\"rule\":\"replaced\",\"status\":\"%s\",\"cause\":%s}",
                                     instance_status_name((enum instance_status)old->status),
                                     quoted(p->out, cut(p->out, old->cause, CAUSE_PASSED_ON_MAX))));
    return true;
}

static void remove_all(struct planner *p, const struct process *d, struct str cause)
{
    MODEL_EACH (instance, i, &d->instances)
        if (i->wanted != DESIRED_DELETED)
            emit_instance_removal(p->out, p->ids, i, cause, because(p->out, "{\"rule\":\"process deleted\"}"));
}

/* The better of two that own one share. NULL is no owner. */
static const struct instance *better(const struct instance *a, const struct instance *b)
{
    if (a == NULL)
        return b;
    if (instance_serves(a) != instance_serves(b))
        return instance_serves(a) ? a : b;
    return instance_is_hopeful(b) && !instance_is_hopeful(a) ? b : a;
}

static const struct instance *owner_of(const struct process *d, const struct share *s)
{
    const struct instance *owner = NULL;
    MODEL_EACH (instance, i, &d->instances)
        if (i->wanted != DESIRED_DELETED && owns(i, s))
            owner = better(owner, i);
    return owner;
}

static bool is_one_of(const struct instance *i, const struct instance *const *owners, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++)
        if (owners[k] == i)
            return true;
    return false;
}

/* Is there room somewhere else? What is taken here is not given away: the plan ends with it, or the next one counts
 * anew. */
static bool can_move(struct planner *p, const struct process *d, const struct instance *i)
{
    struct wish wish = wish_of(d, i);
    struct placement at;
    const char *why = "";
    return i->node != NULL && i->node->status == NODE_DRAINING && places_take(&p->places, &wish, 1, &at, &why);
}

static void plan_owner(struct planner *p, const struct process *d, const struct share *s, const struct instance *i)
{
    if (i->wanted != DESIRED_RUNNING)
        return; /* a person stopped it */
    if (i->status == INSTANCE_LOST)
        (void)place(p, d, s, i);
    else if (i->status == INSTANCE_FAILED && planner_is_due(p, i->since_ns, replace_delay_seconds(p, d)))
        (void)place(p, d, s, i);
    else if (may_run(i) && can_move(p, d, i))
        emit_instance_removal(p->out, p->ids, i, say(p->out, "node '%s' drains", i->node->name),
                              because(p->out, "{\"rule\":\"node drains\"}"));
}

/* Once all its shares have a healthy owner edges lead to it, unless they lead to a later version already. It happens
 * once: a version that fails later is mended or replaced by another one, requests do not jump back and forth. */
static void plan_application_route(struct planner *p, const struct process *d)
{
    uint32_t healthy = process_healthy_n(d);
    if (d->host_label[0] == '\0' || d->route_seq != 0 || healthy < d->instances_wanted)
        return;
    MODEL_EACH (process, other, &p->model->processes)
        if (other->created_seq > d->created_seq && strcmp(other->host_label, d->host_label) == 0 &&
            process_is_routed(p->model, other))
            return;
    if (!planner_is_due(p, plan_last_news_ns(d), p->settings->settle_seconds))
        return;
    struct str host = arena_str(p->out->arena, str_from(process_host(d, p->settings->app_domain, p->out->arena)));
    if (p->settings->needs_certificate != 0 && !plan_has_certificate(p, host)) {
        planner_waits(p, WORK_WAITS_CERTIFICATE);
        return;
    }
    struct str *hosts = arena_alloc(p->out->arena, sizeof(*hosts));
    *hosts = host;
    event_list_add(p->out, EVENT_ROUTE_DEPLOYMENT, p->ids)->route_deployment = (struct route_deployment){
        .deployment_id = d->id,
        .hosts = {hosts, 1},
        .because = because(p->out, "{\"rule\":\"all are healthy\",\"healthy\":%u,\"wanted\":%lld}", healthy,
                           (long long)d->instances_wanted)};
}

/* Each share has one. As many instances of other shares, after it was scaled, are on their way out. */
static bool are_healthy(const struct instance *const *owners, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++)
        if (owners[k] == NULL || !instance_is_healthy(owners[k]))
            return false;
    return true;
}

void plan_application(struct planner *p, const struct process *d)
{
    if (d->is_deleted) {
        remove_all(p, d, STR("its process was deleted"));
        return;
    }
    if (!process_is_application(d) || d->instances_wanted < 1 || d->instances_wanted > APPLICATION_INSTANCES_MAX)
        return;
    uint32_t n = (uint32_t)d->instances_wanted;
    struct share *shares = arena_alloc(p->out->arena, n * sizeof(*shares));
    const struct instance **owners = arena_alloc(p->out->arena, n * sizeof(*owners));
    for (uint32_t k = 0; k < n; k++) {
        shares[k] = share_of(p, d, k, n);
        owners[k] = owner_of(d, &shares[k]);
    }
    MODEL_EACH (instance, i, &d->instances)
        if (i->wanted != DESIRED_DELETED && !is_one_of(i, owners, n))
            emit_instance_removal(p->out, p->ids, i, STR("its share of the input is another instance's now"),
                                  because(p->out, "{\"rule\":\"not a share\",\"instancesWanted\":%u}", n));
    for (uint32_t k = 0; k < n; k++) {
        if (owners[k] != NULL)
            plan_owner(p, d, &shares[k], owners[k]);
        else if (!is_taken(d, &shares[k]))
            (void)place(p, d, &shares[k], NULL);
    }
    if (are_healthy(owners, n))
        plan_application_route(p, d);
}
