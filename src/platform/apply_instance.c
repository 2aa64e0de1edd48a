/* Folds of instances: created on a node, observed there, told to stop, deleted. */
#include "platform/model_write.h"

/* Which status may follow which: bit `to` of row `from`. The agent restarts in place (running, failed or stopped to
 * starting), a lost node may come back with all that it runs (lost to anything). Draining is a one-way street. */
#define TO(s) (1u << INSTANCE_##s)
static const unsigned INSTANCE_MOVES[INSTANCE_STATUS_MAX_] = {
    [INSTANCE_PENDING] =
        TO(PENDING) | TO(STARTING) | TO(RUNNING) | TO(DRAINING) | TO(STOPPED) | TO(FAILED) | TO(LOST) | TO(SUSPENDED),
    [INSTANCE_STARTING] =
        TO(PENDING) | TO(STARTING) | TO(RUNNING) | TO(DRAINING) | TO(STOPPED) | TO(FAILED) | TO(LOST) | TO(SUSPENDED),
    [INSTANCE_RUNNING] =
        TO(PENDING) | TO(STARTING) | TO(RUNNING) | TO(DRAINING) | TO(STOPPED) | TO(FAILED) | TO(LOST) | TO(SUSPENDED),
    [INSTANCE_DRAINING] = TO(DRAINING) | TO(STOPPED) | TO(FAILED) | TO(LOST),
    [INSTANCE_STOPPED] = TO(STOPPED) | TO(PENDING) | TO(STARTING) | TO(RUNNING) | TO(DRAINING) | TO(FAILED) | TO(LOST),
    [INSTANCE_FAILED] = TO(FAILED) | TO(PENDING) | TO(STARTING) | TO(RUNNING) | TO(DRAINING) | TO(STOPPED) | TO(LOST),
    [INSTANCE_LOST] =
        TO(LOST) | TO(PENDING) | TO(STARTING) | TO(RUNNING) | TO(DRAINING) | TO(STOPPED) | TO(FAILED) | TO(SUSPENDED),
    [INSTANCE_SUSPENDED] =
        TO(SUSPENDED) | TO(PENDING) | TO(STARTING) | TO(RUNNING) | TO(DRAINING) | TO(STOPPED) | TO(FAILED) | TO(LOST),
};
#undef TO

bool instance_may_become(const struct instance *i, enum instance_status to)
{
    return (INSTANCE_MOVES[i->status] & 1u << to) != 0;
}

static const struct node *node_of(const struct model *m, const struct create_instance *e)
{
    if (!id_is_none(e->node_id))
        return model_node(m, e->node_id);
    if (!str_starts(e->runner_url, STR("node:")))
        return NULL;
    return model_node_by_name(m, str_slice(e->runner_url, 5, e->runner_url.len));
}

/* One owner an address: inside its node's /64, and nobody else's. *ret_host is its host number. */
static enum err check_address(const struct node *n, struct str address, uint64_t *ret_host, struct errinfo *err)
{
    char text[64];
    uint64_t prefix = 0;
    if (!str_copy_to(address, text, sizeof(text)) || !address_parse(text, &prefix, ret_host))
        return err_set(err, ERR_CORRUPT, "address '%.*s' is not an IPv6 address", STR_ARG(address));
    if (n == NULL)
        return OK;
    if (n->prefix[0] == '\0' || n->prefix_u64 != prefix)
        return err_set(err, ERR_CORRUPT, "address '%s' is outside of node '%s' (%s)", text, n->name, n->prefix);
    if (*ret_host >= n->host_next) /* behind all that were ever given: nobody has it */
        return OK;
    MODEL_EACH (instance, i, &n->instances)
        if (str_eq_c(address, i->address))
            return err_set(err, ERR_CORRUPT, "address '%s' has an owner already", text);
    return OK;
}

/* As far back as tombstones reach. */
static bool is_buried(const struct model *m, struct id id)
{
    if (m->buried_n == m->tombstones_n && id_cmp(id, m->buried_newest) > 0)
        return false;
    size_t kept = m->tombstones_n < MODEL_TOMBSTONES_MAX ? m->tombstones_n : MODEL_TOMBSTONES_MAX;
    for (size_t i = 0; i < kept; i++)
        if (m->tombstones[i].kind == OBJECT_INSTANCE && id_eq(m->tombstones[i].id, id))
            return true;
    return false;
}

static enum err check_create_instance(const struct model *m, const struct create_instance *e, const struct node *n,
                                      uint64_t *ret_host, struct errinfo *err)
{
    if (model_instance(m, e->instance_id) != NULL)
        return refuse_twice(err, "instance", e->instance_id);
    if (is_buried(m, e->instance_id))
        return err_set(err, ERR_CORRUPT, "the instance has been deleted: an id is not used twice");
    const struct process *p = model_process(m, e->process_id);
    if (p == NULL)
        return refuse_missing(err, "process", e->process_id);
    if (p->is_deleted)
        return err_set(err, ERR_CORRUPT, "process '%s' is being deleted: it takes no instances", p->name);
    if (p->project != NULL && (!p->is_placed || deployment_is_over(p)))
        return err_set(err, ERR_CORRUPT, "deployment '%s' is %s: it takes no instances", p->name,
                       deployment_status_name(p->status));
    if (n == NULL && !id_is_none(e->node_id))
        return refuse_missing(err, "node", e->node_id);
    for (size_t i = 0; i < e->log_ids.n; i++) {
        const struct definition *log = id_index_find(&m->definitions, e->log_ids.items[i]);
        if (log == NULL || log->kind != EVENT_CREATE_EVENT_LOG)
            return refuse_missing(err, "event log", e->log_ids.items[i]);
    }
    return e->address.len == 0 ? OK : check_address(n, e->address, ret_host, err);
}

static enum err apply_create_instance(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct create_instance *e = &ev->create_instance;
    const struct node *n = node_of(m, e);
    uint64_t host = 0;
    enum err rc = check_create_instance(m, e, n, &host, err);
    if (rc != OK)
        return rc;
    struct texts *t = &m->texts;
    struct instance *i = object_new(m, instance);
    *i = (struct instance){.id = e->instance_id,
                           .process = model_process(m, e->process_id),
                           .node = n,
                           .runner_url = texts_ref(t, e->runner_url),
                           .owner = texts_ref(t, e->owner),
                           .runtime = texts_ref(t, e->runtime),
                           .address = texts_ref(t, e->address),
                           .cause = "",
                           .because = texts_ref(t, e->because),
                           .boot_id = "",
                           .created_ns = ev->time.instant_ns,
                           .since_ns = ev->time.instant_ns,
                           .restart_never = str_eq(e->restart, STR("never"))};
    text_list_set(t, &i->workloads, e->workloads);
    text_list_set(t, &i->partition_ranges, e->partition_ranges);
    id_list_set(m, &i->log_ids, e->log_ids);
    instance_remember(m, i, i->since_ns);
    index_add(m, &m->instances, i);
    index_add(m, &process_edit(m, i->process)->instances, i);
    if (n != NULL)
        index_add(m, &node_edit(m, n)->instances, i);
    if (n != NULL && host >= n->host_next)
        node_edit(m, n)->host_next = host + 1;
    touch_instance(m, i);
    return OK;
}

static enum err apply_delete_instance(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct delete_instance *e = &ev->delete_instance;
    const struct instance *i = model_instance(m, e->instance_id);
    if (i == NULL)
        return refuse_missing(err, "instance", e->instance_id);
    touch_instance(m, i); /* for those who follow its node or its route */
    bury(m, OBJECT_INSTANCE, i->id, i->node == NULL ? ID_NONE : i->node->id);
    index_remove(m, &m->instances, i->id);
    index_remove(m, &process_edit(m, i->process)->instances, i->id);
    if (i->node != NULL)
        index_remove(m, &node_edit(m, i->node)->instances, i->id);
    const struct process *p = i->process;
    process_remember_gone(m, i, e->because, ev->time.instant_ns);
    object_free(m, instance, i);
    const struct project *project = p->project;
    bool is_last = p->instances.n == 0;
    if (is_last && p->is_deleted) {
        process_drop(m, p);
        retain_images(m);
    }
    if (is_last && project != NULL)
        retain_of_project(m, project);
    retain_image(m, model_image_of_builder(m, e->instance_id));
    return OK;
}

static bool desired_parse(struct str text, uint8_t was, uint8_t *ret)
{
    *ret = was;
    if (str_is_empty(text))
        return true;
    if (str_eq(text, STR("running")))
        *ret = DESIRED_RUNNING;
    else if (str_eq(text, STR("stopped")))
        *ret = DESIRED_STOPPED;
    else if (str_eq(text, STR("deleted")))
        *ret = DESIRED_DELETED;
    else
        return false;
    return true;
}

/* Status and health of the event. The upstream form of this event writes a health where we write a status. */
static enum err read_status(const struct instance_status_change *e, const struct instance *i,
                            enum instance_status *ret_status, enum health *ret_health, struct errinfo *err)
{
    *ret_status = (enum instance_status)i->status;
    if (!instance_status_parse(e->status, ret_status)) {
        if (e->status.len > 0 && health_parse(e->status, ret_health)) {
            *ret_status = *ret_health == HEALTH_EXIT ? INSTANCE_STOPPED : INSTANCE_RUNNING;
            return OK;
        }
        return err_set(err, ERR_CORRUPT, "'%.*s' is not a status of an instance", STR_ARG(e->status));
    }
    if (!health_parse(e->health, ret_health))
        return err_set(err, ERR_CORRUPT, "'%.*s' is not a health", STR_ARG(e->health));
    return OK;
}

/* The planner waits longer each time an instance of a live deployment fails, and starts over after a calm. */
static void count_failure(struct model *m, const struct instance *i, int64_t now_ns)
{
    bool is_live =
        i->process->project == NULL ? process_is_application(i->process) : i->process->status == DEPLOYMENT_LIVE;
    if (!is_live)
        return;
    struct process *p = process_edit(m, i->process);
    bool is_calm = now_ns - p->failure_ns > MODEL_CALM_SECONDS * INT64_C(1000000000);
    p->failures_n = is_calm ? 1 : p->failures_n + 1;
    p->failure_ns = now_ns;
}

/* The watchdog's word stands until it says another one, or the program that it is about has ended. */
static void set_health(struct instance *i, const struct instance_status_change *e, enum instance_status status,
                       enum health reported, enum health watched)
{
    bool is_another_run = status != INSTANCE_RUNNING || (e->boot_id.len > 0 && (uint32_t)e->restarts != i->restarts);
    if (e->watched.len > 0)
        i->watched = (uint8_t)watched;
    else
        i->reported = (uint8_t)reported;
    if (is_another_run)
        i->watched = HEALTH_UNKNOWN;
    i->health = (uint8_t)health_worse((enum health)i->reported, (enum health)i->watched);
}

static enum err apply_instance_status_change(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct instance_status_change *e = &ev->instance_status_change;
    const struct instance *was = model_instance(m, e->instance_id);
    enum instance_status status;
    enum health health, watched;
    uint8_t wanted;
    if (was == NULL)
        return refuse_missing(err, "instance", e->instance_id);
    if (!id_is_none(e->node_id) && (was->node == NULL || !id_eq(e->node_id, was->node->id)))
        return err_set(err, ERR_CORRUPT, "the reporting node is not the one that the instance is placed on");
    enum err rc = read_status(e, was, &status, &health, err);
    if (rc != OK)
        return rc;
    if (!health_parse(e->watched, &watched))
        return err_set(err, ERR_CORRUPT, "'%.*s' is not a health", STR_ARG(e->watched));
    if (!desired_parse(e->desired, was->wanted, &wanted))
        return err_set(err, ERR_CORRUPT, "'%.*s' is not a desired state", STR_ARG(e->desired));
    if (e->withdraw && (status != INSTANCE_DRAINING || e->desired.len == 0 || wanted == DESIRED_RUNNING))
        return err_set(err, ERR_CORRUPT, "only an instance that is to stop can be withdrawn");
    bool is_report = e->boot_id.len > 0 && was->node != NULL;
    if (is_report && node_report_is_old(was->node, e->boot_id, e->report_seq, was->boot_id, was->report_seq))
        return OK;
    if (!instance_may_become(was, status))
        return err_set(err, ERR_CORRUPT, "the instance is %s and cannot become %s",
                       instance_status_name((enum instance_status)was->status), instance_status_name(status));
    struct instance *i = instance_edit(m, was);
    enum desired told = instance_told(was);
    set_health(i, e, status, health, watched); /* before the restarts are another number */
    if (is_report) {
        node_hears(m, i->node, e->boot_id);
        texts_set(&m->texts, &i->boot_id, e->boot_id);
        i->report_seq = e->report_seq;
        i->restarts = (uint32_t)e->restarts;
    }
    if (status == INSTANCE_FAILED && i->status != INSTANCE_FAILED)
        count_failure(m, i, ev->time.instant_ns);
    bool is_withdrawn = was->withdraw_seq != 0 && e->desired.len > 0 && !e->withdraw; /* its node is told only now */
    if (i->status != status || is_withdrawn || e->withdraw) /* edges have their time from then on */
        i->since_ns = ev->time.instant_ns;
    i->status = (uint8_t)status;
    i->wanted = wanted;
    texts_set(&m->texts, &i->cause, e->cause);
    instance_remember(m, i, ev->time.instant_ns);
    touch_instance_state(m, i);
    if (e->withdraw)
        i->withdraw_seq = m->routes_seq; /* whoever knows the routes up to here knows them without it */
    else if (e->desired.len > 0 || status == INSTANCE_STOPPED || status == INSTANCE_FAILED)
        i->withdraw_seq = 0;
    if (!is_report || instance_told(i) != told) /* else its node hears nothing but its own report */
        touch_asked(m, i->node);
    return OK;
}

enum err apply_instance_event(struct model *m, const struct event *ev, struct errinfo *err)
{
    if (ev->kind == EVENT_CREATE_INSTANCE)
        return apply_create_instance(m, ev, err);
    if (ev->kind == EVENT_DELETE_INSTANCE)
        return apply_delete_instance(m, ev, err);
    assert(ev->kind == EVENT_INSTANCE_STATUS_CHANGE);
    return apply_instance_status_change(m, ev, err);
}
