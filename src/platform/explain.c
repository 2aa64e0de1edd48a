/* Explanations of instances and nodes. Deployments and applications: explain_process.c. */
#include "platform/explain.h"

#include "base/json.h"
#include "base/own.h"
#include "platform/explain_room.h"
#include "platform/replace_delay.h"

static struct str fmt(const char *text)
{
    return str_from(text);
}

static enum err missing(struct errinfo *err, const char *what, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%s'", what, text);
}

/* ---- Where, from `because` ---- */

static const struct {
    const char *rule, *words;
} RULES[] = {
    {"start", "it is one of its deployment's first instances"},
    {"replace", "it replaces one that failed or was lost"},
    {"replaced", "another took its place"},
    {"one is missing", "its deployment wanted one more"},
    {"its node drains", "it replaces one on a node that drains"},
    {"spread", "its node had none of its deployment, and another node had more than one, or its zone all of them"},
    {"a share has no owner", "its share of the input had no owner"},
    {"by hand", "a person asked for it"},
    {"build", "it builds an image"},
    {"build again", "it builds an image, as one before it could not"},
};

static const char *rule_words(const char *rule)
{
    for (size_t i = 0; i < sizeof(RULES) / sizeof(RULES[0]); i++)
        if (strcmp(rule, RULES[i].rule) == 0)
            return RULES[i].words;
    return rule;
}

static int64_t number(const json_t *doc, const char *object, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(doc, object), key));
}

/* What the event said that decided: {"rule", "needs", "freeAfterwards", "hereOfThisDeployment"}. */
static const char *decided_text(const char *because, struct arena *a)
{
    auto_json json_t *doc = NULL;
    if (because[0] == '\0' || json_parse(str_from(because), &doc, NULL) != OK)
        return "";
    const char *rule = json_string_value(json_object_get(doc, "rule"));
    const char *text = rule == NULL ? "" : arena_printf(a, ": %s", rule_words(rule));
    if (json_object_get(doc, "needs") != NULL)
        text = arena_printf(
            a, "%s; it needs %s, and %s were free there afterwards", text,
            size_text(a, number(doc, "needs", "vcpus"), number(doc, "needs", "memoryBytes")),
            size_text(a, number(doc, "freeAfterwards", "vcpus"), number(doc, "freeAfterwards", "memoryBytes")));
    int64_t here = json_integer_value(json_object_get(doc, "hereOfThisDeployment"));
    if (here > 0)
        text =
            arena_printf(a, "%s; with it %lld of the same %s there", text, (long long)here, here == 1 ? "was" : "were");
    return text;
}

static const char *where_instance(const struct instance *i, struct arena *a)
{
    if (i->node == NULL)
        return arena_printf(a, "on '%s', as its log says", i->runner_url);
    const char *placed = i->runner_url[0] != '\0' ? "as the bootstrap log says" : decided_text(i->because, a);
    return arena_printf(a, "on node '%s' in zone '%s' of region '%s'%s%s, since %s", i->node->name, i->node->zone->name,
                        i->node->zone->region->name, i->runner_url[0] != '\0' ? ", " : "", placed,
                        when_text(a, i->created_ns));
}

/* ---- Instances ---- */

struct telling {
    const struct model *m;
    const struct platform_settings *s;
    struct arena *a;
    struct explanation *out;
};

static const char *with_cause(struct arena *a, const char *text, const char *cause)
{
    return cause[0] == '\0' ? text : arena_printf(a, "%s: %s", text, cause);
}

static int64_t seconds_after(int64_t at_ns, int64_t seconds)
{
    return at_ns + seconds * INT64_C(1000000000);
}

static bool is_kept_whole(const struct process *p)
{
    return p->project == NULL ? process_is_application(p) && !p->is_deleted : p->status == DEPLOYMENT_LIVE;
}

static void tell_failed(struct telling *t, const struct instance *i)
{
    const struct process *p = i->process;
    t->out->why = fmt(with_cause(t->a, "its program ended too often, or could not be started", i->cause));
    if (i->restart_never)
        t->out->change = STR("nothing: it is run once; whoever asked for it is told");
    else if (is_kept_whole(p)) {
        int64_t delay = replace_delay(t->s, p->failures_n);
        t->out->change =
            fmt(arena_printf(t->a,
                             "it is replaced at %s, %lld s after it failed (failure %u of a series); its "
                             "log says more: 'slipform logs' with its id",
                             when_text(t->a, seconds_after(i->since_ns, delay)), (long long)delay, p->failures_n));
    } else if (p->project != NULL)
        t->out->change = STR("mend the program and deploy again; its log says more: 'slipform logs' with its id");
    else
        t->out->change = STR("its node-agent starts it again; its log says more: 'slipform logs' with its id");
}

static void tell_lost(struct telling *t, const struct instance *i)
{
    t->out->why = fmt(with_cause(t->a, "its node is not heard of", i->cause));
    if (!is_kept_whole(i->process)) {
        t->out->change = STR("it is back when its node is");
        return;
    }
    struct room room = room_for(t->m, t->s, i->process, 1, t->a);
    t->out->change = room.fits_n > 0 ? STR("it is replaced at once on another node")
                                     : fmt(arena_printf(t->a,
                                                        "its replacement needs room for %s, and there is none: %s; %s, "
                                                        "or bring its node back",
                                                        room.needs, room.free, room.change));
}

static void tell_starting(struct telling *t, const struct instance *i)
{
    const struct process *p = i->process;
    int64_t timeout =
        p->health.start_timeout_seconds != 0 ? p->health.start_timeout_seconds : t->s->start_timeout_seconds;
    bool is_waiting = i->status == INSTANCE_PENDING;
    const char *node = i->node == NULL ? "" : i->node->name;
    if (is_waiting && i->node != NULL && i->node->status != NODE_READY && i->node->status != NODE_DRAINING)
        t->out->why = fmt(arena_printf(t->a, "node '%s' is %s", node, node_status_name(i->node->status)));
    else
        t->out->why = fmt(with_cause(
            t->a,
            is_waiting ? arena_printf(t->a, "node '%s' has not reported it yet", node)
                       : arena_printf(t->a, "it is not healthy yet (%s on port %lld)",
                                      p->health.path[0] == '\0' ? "a TCP connect" : p->health.path, (long long)p->port),
            i->cause));
    if (p->project != NULL && p->status == DEPLOYMENT_STARTING)
        t->out->change = fmt(arena_printf(t->a, "when it is healthy it goes on; if not by %s, its deployment fails",
                                          when_text(t->a, seconds_after(i->created_ns, timeout))));
    else
        t->out->change = STR("nothing to do: its node-agent goes on");
}

static void tell_going(struct telling *t, const struct instance *i)
{
    t->out->why = fmt(with_cause(t->a, "it was told to go", i->cause));
    if (i->withdraw_seq != 0) {
        t->out->change = fmt(arena_printf(
            t->a, "its node is told to stop it when no live edge leads to it any more, at the latest at %s",
            when_text(t->a, seconds_after(i->since_ns, t->s->withdraw_timeout_seconds))));
        return;
    }
    t->out->change = fmt(arena_printf(t->a, "it is deleted when its node reports its end, at the latest at %s",
                                      when_text(t->a, seconds_after(i->since_ns, t->s->stop_timeout_seconds))));
}

static void tell_stopped(struct telling *t, const struct instance *i)
{
    t->out->why =
        fmt(with_cause(t->a, i->wanted == DESIRED_STOPPED ? "a person stopped it" : "its program ended", i->cause));
    t->out->change = i->wanted == DESIRED_STOPPED
                         ? STR("PUT /v1/instances/{id}/state with {\"desired\":\"running\"} starts it again")
                     : i->restart_never ? STR("nothing: it is run once")
                                        : STR("its node-agent starts it again");
}

static const char *watched_words(enum health watched)
{
    switch (watched) {
    case HEALTH_WARNING: return "its program reports errors, and goes on";
    case HEALTH_ERROR: return "its program cannot fold its input any further";
    case HEALTH_STALL: return "its input has more for it, and it does not go on";
    case HEALTH_TIMEOUT: return "its program does not report any more, though its node does";
    case HEALTH_UNKNOWN:
    case HEALTH_NOMINAL:
    case HEALTH_EXIT:
    case HEALTH_MAX_: break;
    }
    return "";
}

static const char *watched_change(enum health watched)
{
    switch (watched) {
    case HEALTH_WARNING:
        return "it serves meanwhile; it is NOMINAL again a minute after the last error, and once no effect is parked";
    case HEALTH_ERROR:
        return "mend the program, or set the event aside ('slipform eventlog set-aside'); it is not replaced, as "
               "another instance would meet the same event";
    case HEALTH_STALL: return "it is NOMINAL again as soon as it folds an event; see 'slipform apps timeline'";
    case HEALTH_TIMEOUT:
        return "it is NOMINAL again with its next report; its log says more: 'slipform logs' with its id";
    case HEALTH_UNKNOWN:
    case HEALTH_NOMINAL:
    case HEALTH_EXIT:
    case HEALTH_MAX_: break;
    }
    return "";
}

/* What the watchdog says of its program. */
static void tell_watched(struct telling *t, const struct instance *i)
{
    enum health watched = (enum health)i->watched;
    t->out->why = fmt(with_cause(t->a, watched_words(watched), i->cause));
    t->out->change = fmt(watched_change(watched));
}

static void tell_unhealthy(struct telling *t, const struct instance *i)
{
    const struct process *p = i->process;
    t->out->why =
        fmt(with_cause(t->a,
                       arena_printf(t->a, "it runs but is not healthy (%s on port %lld)",
                                    p->health.path[0] == '\0' ? "a TCP connect" : p->health.path, (long long)p->port),
                       i->cause));
    t->out->change =
        STR("no requests are sent to it until it answers again; its log says more: 'slipform logs' with its "
            "id");
}

static void tell_instance(struct telling *t, const struct instance *i)
{
    if (i->wanted == DESIRED_DELETED) {
        tell_going(t, i);
        return;
    }
    switch ((enum instance_status)i->status) {
    case INSTANCE_PENDING:
    case INSTANCE_STARTING: tell_starting(t, i); return;
    case INSTANCE_RUNNING:
        if (i->watched > HEALTH_NOMINAL && i->health == i->watched)
            tell_watched(t, i);
        else if (i->health != HEALTH_NOMINAL)
            tell_unhealthy(t, i);
        else if (i->node != NULL && i->node->status == NODE_DRAINING)
            t->out->change = STR("its node drains: it goes once another one serves in its place");
        return;
    case INSTANCE_DRAINING: tell_going(t, i); return;
    case INSTANCE_STOPPED: tell_stopped(t, i); return;
    case INSTANCE_FAILED: tell_failed(t, i); return;
    case INSTANCE_LOST: tell_lost(t, i); return;
    case INSTANCE_SUSPENDED:
        t->out->why = fmt(with_cause(t->a, "its node has suspended it", i->cause));
        t->out->change = STR("its node wakes it when it is wanted");
        return;
    case INSTANCE_STATUS_MAX_: break;
    }
    assert(0 && "an instance has a status");
}

enum err explain_instance(const struct model *m, const struct platform_settings *s, struct id id, struct arena *a,
                          struct explanation *ret, struct errinfo *err)
{
    const struct instance *i = model_instance(m, id);
    if (i == NULL)
        return missing(err, "instance", id);
    struct telling t = {m, s, a, ret};
    *ret = (struct explanation){.where = fmt(where_instance(i, a))};
    ret->state = fmt(arena_printf(
        a, "%s%s%s since %s%s", instance_status_name((enum instance_status)i->status),
        i->health == HEALTH_UNKNOWN ? "" : " and ", health_name((enum health)i->health), when_text(a, i->since_ns),
        i->restarts == 0 ? "" : arena_printf(a, ", restarted %u times in place", i->restarts)));
    tell_instance(&t, i);
    return OK;
}

/* ---- Nodes ---- */

static const char *votes_text(const struct node *n, struct arena *a)
{
    const char *text = "";
    for (uint32_t i = 0; i < n->suspected_by.n && i < 8; i++)
        text = arena_printf(a, "%s%s%s", text, i == 0 ? "" : ", ", n->suspected_by.items[i]);
    return text;
}

static void tell_node(struct telling *t, const struct node *n)
{
    size_t moving = 0, fixed = 0;
    MODEL_EACH (instance, i, &n->instances) {
        bool is_ours = i->process->project != NULL || process_is_application(i->process);
        moving += is_ours;
        fixed += !is_ours;
    }
    switch (n->status) {
    case NODE_JOINING:
        t->out->why = fmt(with_cause(t->a, "its agent has not said that it is ready", n->cause));
        t->out->change = STR("its pre-flight says what is missing: 'slipform nodes', 'slipform doctor' on that host");
        return;
    case NODE_READY:
        if (n->suspected_by.n > 0)
            t->out->why = fmt(arena_printf(t->a, "some replicas hear nothing of it: %s", votes_text(n, t->a)));
        return;
    case NODE_DRAINING:
        t->out->why = fmt(with_cause(t->a, "it drains: nothing new is placed there", n->cause));
        t->out->change =
            moving > 0  ? fmt(arena_printf(t->a,
                                           "%zu instances are still there; each goes once another one serves in its "
                                            "place on another node with room",
                                           moving))
            : fixed > 0 ? fmt(arena_printf(t->a,
                                           "it has drained: only %zu of the platform's own programs are there, which "
                                           "stay",
                                           fixed))
                        : STR("it has drained: it can be switched off, may leave, or be taken back");
        return;
    case NODE_GONE:
        t->out->why = fmt(with_cause(t->a, "it has left", n->cause));
        t->out->change = STR("it may join again: start its node-agent");
        return;
    case NODE_LOST:
        t->out->why = fmt(with_cause(
            t->a, arena_printf(t->a, "these replicas hear nothing of it: %s", votes_text(n, t->a)), n->cause));
        t->out->change =
            STR("it is back as soon as its agent is heard again: is the host up, does its network reach the "
                "control plane?");
        return;
    case NODE_STATUS_MAX_: break;
    }
    assert(0 && "a node has a status");
}

enum err explain_node(const struct model *m, const struct platform_settings *s, struct id id, struct arena *a,
                      struct explanation *ret, struct errinfo *err)
{
    const struct node *n = model_node(m, id);
    if (n == NULL)
        return missing(err, "node", id);
    struct telling t = {m, s, a, ret};
    struct resources free = node_free(s, n);
    const char *labels = "";
    for (uint32_t i = 0; i < n->labels.n; i++)
        labels = arena_printf(a, "%s%s%s", labels, i == 0 ? "" : ", ", n->labels.items[i]);
    *ret =
        (struct explanation){.where = fmt(arena_printf(a, "in zone '%s' of region '%s', as it joined; labels: %s",
                                                       n->zone->name, n->zone->region->name, labels)),
                             .state = fmt(arena_printf(a, "%s since %s; %zu instances, %s free",
                                                       node_status_name(n->status), when_text(a, n->since_ns),
                                                       n->instances.n, size_text(a, free.vcpus, free.memory_bytes)))};
    tell_node(&t, n);
    return OK;
}
