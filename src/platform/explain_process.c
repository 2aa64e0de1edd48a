/* Explanations of deployments and of event-sourced applications. */
#include "platform/explain.h"

#include "base/buf.h"
#include "base/own.h"
#include "platform/explain_room.h"
#include "platform/plan.h"

struct telling {
    const struct model *m;
    const struct platform_settings *s;
    struct arena *a;
    struct explanation *out;
};

static enum err missing(struct errinfo *err, const char *what, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%s'", what, text);
}

/* Where its instances are: "2 on 'w1', 1 on 'w2'". */
static const char *where_process(const struct model *m, const struct process *p, struct arena *a)
{
    AUTO(buf) struct buf out = {0};
    size_t nodes_n = 0;
    MODEL_EACH (node, n, &m->nodes) {
        size_t here = 0;
        MODEL_EACH (instance, i, &p->instances)
            here += i->node == n && i->wanted != DESIRED_DELETED;
        if (here == 0)
            continue;
        if (nodes_n++ < 8)
            buf_addf(&out, "%s%zu on '%s' (zone '%s')", nodes_n == 1 ? "" : ", ", here, n->name, n->zone->name);
    }
    if (nodes_n == 0)
        return "";
    return arena_printf(a,
                        "%s%s: spread over nodes, then zones, as far as there is room; each instance says why it is "
                        "where it is",
                        out.ptr, nodes_n > 8 ? ", …" : "");
}

static const char *image_text(const struct telling *t, const struct process *d)
{
    const struct image *image = model_image(t->m, d->image_id);
    const struct instance *builder = image == NULL ? NULL : model_instance(t->m, image->builder_instance_id);
    if (builder == NULL || builder->node == NULL)
        return "";
    return arena_printf(t->a, " by its builder on node '%s', which is %s", builder->node->name,
                        instance_status_name((enum instance_status)builder->status));
}

static int64_t missing_n(const struct process *p)
{
    int64_t n = p->instances_wanted;
    MODEL_EACH (instance, i, &p->instances)
        n -= i->wanted != DESIRED_DELETED && i->status != INSTANCE_LOST && i->status != INSTANCE_FAILED;
    return n < 0 ? 0 : n;
}

/* True: there is none, and that was said. */
static bool tell_room(struct telling *t, const struct process *p, int64_t n)
{
    struct room room = room_for(t->m, t->s, p, n, t->a);
    if (n == 0 || room.fits_n >= n)
        return false;
    /* What the planner said, unless it says the same in other words. */
    bool is_more = p->cause[0] != '\0' && !str_starts(str_from(p->cause), STR(CAUSE_WAITS_ROOM));
    t->out->why =
        str_from(arena_printf(t->a, "%s%sit needs room for %s, and there is room for %lld: %s", is_more ? p->cause : "",
                              is_more ? "; " : "", room.needs, (long long)room.fits_n, room.free));
    t->out->change = str_from(room.change);
    return true;
}

static void tell_unplaced(struct telling *t, const struct process *d)
{
    const struct image *image = model_image(t->m, d->image_id);
    if (image != NULL && image->status == IMAGE_READY) {
        if (!tell_room(t, d, d->instances_wanted))
            t->out->change = STR("its instances are placed with the next plan");
        return;
    }
    t->out->why = str_from(d->cause[0] != '\0' ? d->cause
                           : image == NULL     ? "its image is not being built yet"
                                               : arena_printf(t->a, "its image is being built%s", image_text(t, d)));
    t->out->change = image == NULL
                         ? STR("a ready node labelled 'control' builds it: 'slipform nodes'")
                         : str_from(arena_printf(t->a,
                                                 "when the build is done it goes on; after %lld s it counts as "
                                                 "failed",
                                                 (long long)t->s->build_timeout_seconds));
}

/* The first that is not well, told in a few words. */
static const char *sick_text(const struct process *p, struct arena *a)
{
    MODEL_EACH (instance, i, &p->instances) {
        if (instance_is_healthy(i) || i->wanted == DESIRED_DELETED)
            continue;
        char id[ID_TEXT_SIZE];
        id_format(i->id, id);
        return arena_printf(a, "; instance %s on '%s' is %s%s%s%s%s", id, i->node == NULL ? "" : i->node->name,
                            instance_status_name((enum instance_status)i->status),
                            i->health == HEALTH_UNKNOWN ? "" : " and ", health_name((enum health)i->health),
                            i->cause[0] == '\0' ? "" : ": ", i->cause);
    }
    return "";
}

static void tell_starting(struct telling *t, const struct process *d)
{
    uint32_t healthy = process_healthy_n(d);
    int64_t timeout =
        d->health.start_timeout_seconds != 0 ? d->health.start_timeout_seconds : t->s->start_timeout_seconds;
    int64_t from_ns = d->since_ns;
    MODEL_EACH (instance, i, &d->instances)
        from_ns = i->created_ns > from_ns ? i->created_ns : from_ns;
    t->out->why =
        str_from(arena_printf(t->a, "%u of %lld instances are healthy%s%s%s", healthy, (long long)d->instances_wanted,
                              d->cause[0] == '\0' ? "" : "; ", d->cause, sick_text(d, t->a)));
    if (healthy >= d->instances_wanted)
        t->out->change = STR("the route switches once all have stayed healthy for a moment and each host has a "
                             "certificate");
    else
        t->out->change = str_from(arena_printf(
            t->a, "the route switches when all are healthy; if they are not by %s, it fails and what served goes on",
            when_text(t->a, from_ns + timeout * INT64_C(1000000000))));
}

static void tell_live(struct telling *t, const struct process *d)
{
    uint32_t healthy = process_healthy_n(d);
    if (healthy >= d->instances_wanted && d->cause[0] == '\0')
        return;
    if (tell_room(t, d, missing_n(d)))
        return;
    t->out->why =
        str_from(arena_printf(t->a, "%u of %lld instances are healthy%s%s%s", healthy, (long long)d->instances_wanted,
                              d->cause[0] == '\0' ? "" : "; ", d->cause, sick_text(d, t->a)));
    t->out->change = STR("what failed or is lost is replaced by itself, later after each failure of a series; the "
                         "instance says when");
}

static void tell_draining(struct telling *t, const struct process *d)
{
    t->out->why = str_from(d->cause[0] != '\0' ? d->cause : "nothing leads to it any more");
    if (!d->edges_confirmed)
        t->out->change = STR("it goes on until every live edge has confirmed the switch, then for its drain time");
    else
        t->out->change =
            str_from(arena_printf(t->a, "its instances end at %s",
                                  when_text(t->a, d->drain_from_ns + d->drain_wait_seconds * INT64_C(1000000000))));
}

static void tell_deployment(struct telling *t, const struct process *d)
{
    switch (d->status) {
    case DEPLOYMENT_QUEUED:
    case DEPLOYMENT_BUILDING: tell_unplaced(t, d); return;
    case DEPLOYMENT_STARTING: tell_starting(t, d); return;
    case DEPLOYMENT_LIVE: tell_live(t, d); return;
    case DEPLOYMENT_DRAINING: tell_draining(t, d); return;
    case DEPLOYMENT_FAILED:
        t->out->why = str_from(d->cause);
        t->out->change =
            str_from(arena_printf(t->a, "mend it and deploy again; 'slipform logs' with its id says more%s",
                                  d->project->live == NULL ? "" : "; what was live before goes on serving"));
        return;
    case DEPLOYMENT_STOPPED:
    case DEPLOYMENT_CANCELLED:
        t->out->why = str_from(d->cause);
        t->out->change = STR("it is over; roll back to it, or deploy again");
        return;
    case DEPLOYMENT_STATUS_MAX_: break;
    }
    assert(0 && "a deployment has a status");
}

/* "" while it wants as many as it was deployed with. */
static const char *scaled_text(const struct process *d, struct arena *a)
{
    if (d->instances_wanted == d->instances_asked)
        return "";
    return arena_printf(a, "; it was deployed with %lld and has been scaled since", (long long)d->instances_asked);
}

enum err explain_deployment(const struct model *m, const struct platform_settings *s, struct id id, struct arena *a,
                            struct explanation *ret, struct errinfo *err)
{
    const struct process *d = model_deployment(m, id);
    if (d == NULL)
        return missing(err, "deployment", id);
    struct telling t = {m, s, a, ret};
    *ret = (struct explanation){
        .where = str_from(where_process(m, d, a)),
        .state = str_from(arena_printf(a, "%s since %s, %u of %lld instances healthy%s",
                                       deployment_status_name(d->status), when_text(a, d->since_ns),
                                       process_healthy_n(d), (long long)d->instances_wanted, scaled_text(d, a)))};
    tell_deployment(&t, d);
    return OK;
}

enum err explain_application(const struct model *m, const struct platform_settings *s, struct id process_id,
                             struct arena *a, struct explanation *ret, struct errinfo *err)
{
    const struct process *p = model_process(m, process_id);
    if (p == NULL || !process_is_application(p))
        return missing(err, "application", process_id);
    struct telling t = {m, s, a, ret};
    uint32_t healthy = process_healthy_n(p);
    *ret = (struct explanation){.where = str_from(where_process(m, p, a)),
                                .state = str_from(arena_printf(
                                    a,
                                    "version '%s' since %s, %u of %lld instances healthy, each with its share of "
                                    "the input",
                                    p->version, when_text(a, p->created_ns), healthy, (long long)p->instances_wanted))};
    if (p->is_deleted) {
        ret->why = STR("it was deleted");
        ret->change = STR("it goes with the last of its instances");
    } else if (healthy < p->instances_wanted && !tell_room(&t, p, missing_n(p))) {
        ret->why = str_from(arena_printf(a, "%u of %lld shares have a healthy owner%s", healthy,
                                         (long long)p->instances_wanted, sick_text(p, a)));
        ret->change = STR("what failed or is lost is replaced by itself, later after each failure of a series; what "
                          "runs and is in ERROR, STALL or TIMEOUT is not: its instance says what would change that");
    } else if (p->host_label[0] != '\0' && !process_is_routed(m, p)) {
        const char *host = process_host(p, s->app_domain, a);
        bool lacks_certificate = s->needs_certificate != 0 && model_certificate_by_host(m, str_from(host)) == NULL;
        ret->why = str_from(arena_printf(a, "edges do not lead '%s' to it: %s", host,
                                         p->route_seq != 0   ? "a later version took its place"
                                         : lacks_certificate ? "the host has no certificate yet"
                                                             : "its instances became healthy just now, or a later "
                                                               "version serves"));
        ret->change = STR("the route goes to the version that was put last once all its instances are healthy; delete "
                          "that one and it goes back");
    } else if (ret->why.len == 0) {
        const char *sick = sick_text(p, a); /* a warning: all serve */
        if (sick[0] != '\0') {
            ret->why = str_from(sick + 2);
            ret->change = STR("nothing is out of service; the instance says what would change it");
        }
    }
    return OK;
}
