/* Rules for images: an image has one builder at a time. A builder never runs twice: it is an instance that never
 * restarts. One that the machine has failed (its node is lost, it was killed) gives way to another one, on another node
 * if there is one; from that event on only the new one's word counts, so of two that still run one is heard. A build
 * that fails by itself (its Dockerfile) is reported, and is not tried again. */
#include "platform/planner.h"

/* A node and the one that was tried next may go down together (a zone, an upgrade one by one); what a third one does
 * not build is probably what brought the others down (chosen). */
enum { BUILD_TRIES_MAX = 3 };

void plan_build(struct planner *p, const struct process *d)
{
    struct resources nothing = {0};
    struct wish wish = {.process = model_process(p->model, p->builder_process),
                        .label = "control",
                        .runtime = STR("host"),
                        .needs = &nothing};
    struct placement at;
    const char *why = "";
    if (!places_take(&p->places, &wish, 1, &at, &why)) {
        plan_wait(p, d, say(p->out, "waits for a node that builds: %s", why));
        return;
    }
    struct build build = {.builder_process = p->builder_process,
                          .image_id = d->image_id,
                          .project_id = d->project->id,
                          .context_digest = str_from(d->context_digest),
                          .because =
                              because(p->out, "{\"rule\":\"build\",\"deploymentId\":\"%s\"}", id_text(p->out, d->id))};
    struct id builder_id = emit_build(p->out, p->ids, p->model, p->settings->installation, &build, &at);
    emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_BUILDING, STR(""),
                           because(p->out, "{\"rule\":\"build\",\"node\":%s,\"builderInstanceId\":\"%s\"}",
                                   quoted(p->out, at.node->name), id_text(p->out, builder_id)));
}

static void image_fails(struct planner *p, const struct image *i, struct str cause)
{
    event_list_add(p->out, EVENT_IMAGE_STATUS_CHANGE, p->ids)->image_status_change =
        (struct image_status_change){.image_id = i->id,
                                     .status = str_from(image_status_name(IMAGE_FAILED)),
                                     .cause = cause,
                                     .because = because(p->out, "{\"rule\":\"build failed\",\"timeoutSeconds\":%lld}",
                                                        (long long)p->settings->build_timeout_seconds)};
}

/* How a builder ended that has no image; {NULL, 0}: it has not. A build that fails says so itself, as the status of
 * its image: what is left is what befell the machine, or the builder on it. */
static struct str how_it_ended(struct planner *p, const struct instance *builder)
{
    const char *node = builder->node == NULL ? "" : builder->node->name;
    if (builder->status == INSTANCE_LOST)
        return say(p->out, "on '%s': the node is lost", node);
    if (builder->status == INSTANCE_STOPPED || builder->status == INSTANCE_FAILED)
        return say(p->out, "on '%s': its builder ended without an image: %s", node,
                   builder->cause[0] == '\0'
                       ? "no cause was given"
                       : cut(p->out, builder->cause, CAUSE_PASSED_ON_MAX / (BUILD_TRIES_MAX + 1)));
    return (struct str){NULL, 0};
}

#define CAUSE_WAITS_BUILDER "waits for another node that builds: "

/* Those that wait for it say what becomes of it. */
static void tell_waiting(struct planner *p, const struct image *i, struct str cause, bool is_placed)
{
    size_t n = 0;
    const struct id *ids = id_links_find(&p->unplaced, i->id, &n);
    for (size_t k = 0; k < n; k++) {
        const struct process *d = model_process(p->model, ids[k]);
        if (d == NULL || d->status != DEPLOYMENT_BUILDING)
            continue;
        if (is_placed || !str_starts(str_from(d->cause), STR(CAUSE_WAITS_BUILDER))) /* else: again, now and then */
            emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_BUILDING, cause,
                                   because(p->out, "{\"rule\":\"build again\"}"));
        else
            plan_wait(p, d, cause);
    }
}

/* Somebody wants it still; an image of no project is wanted by who asked for it. */
static bool is_waited_for(const struct planner *p, const struct image *i)
{
    size_t n = 0;
    (void)id_links_find(&p->unplaced, i->id, &n);
    return n > 0 || i->project == NULL;
}

/* The former one goes: should it come back with its node, it is told to stop, and what it says of the image is refused.
 */
static void build_elsewhere(struct planner *p, const struct image *i, const struct instance *former, struct str causes)
{
    struct resources nothing = {0};
    struct wish wish = {.process = former->process,
                        .label = "control",
                        .runtime = STR("host"),
                        .needs = &nothing,
                        .avoid = former->node};
    struct placement at;
    const char *why = "";
    if (!places_take(&p->places, &wish, 1, &at, &why)) {
        tell_waiting(p, i, say(p->out, CAUSE_WAITS_BUILDER "%s; so far: %.*s", why, STR_ARG(causes)), false);
        return;
    }
    struct build build = {
        .builder_process = former->process->id,
        .image_id = i->id,
        .because =
            because(p->out, "{\"rule\":\"build again\",\"try\":%lld,\"of\":%d,\"formerBuilderInstanceId\":\"%s\"}",
                    (long long)i->tries_n + 1, BUILD_TRIES_MAX, id_text(p->out, former->id))};
    emit_rebuild(p->out, p->ids, p->settings->installation, &build, &at, causes);
    if (former->wanted != DESIRED_DELETED) /* else it may be gone with this plan */
        emit_instance_removal(p->out, p->ids, former, STR("its image is built elsewhere"),
                              because(p->out, "{\"rule\":\"build again\"}"));
    tell_waiting(p, i,
                 say(p->out, "is built on '%s', try %lld of %d, after: %.*s", at.node->name, (long long)i->tries_n + 1,
                     BUILD_TRIES_MAX, STR_ARG(causes)),
                 true);
}

static void build_again(struct planner *p, const struct image *i, const struct instance *builder, struct str ended)
{
    struct str causes = say(p->out, "%s%s%.*s", i->cause, i->cause[0] == '\0' ? "" : "; ", STR_ARG(ended));
    bool is_known = p->model->format >= event_kind_format(EVENT_REBUILD_IMAGE);
    if (i->tries_n >= BUILD_TRIES_MAX)
        image_fails(p, i,
                    say(p->out, "tried %lld times, %.*s; its log may say more, or deploy again", (long long)i->tries_n,
                        STR_ARG(causes)));
    else if (!is_known || !is_waited_for(p, i))
        image_fails(
            p, i, say(p->out, "%.*s; %s", STR_ARG(causes), is_known ? "nobody waits for it any more" : "deploy again"));
    else if (planner_is_due(p, i->tried_ns, p->settings->build_timeout_seconds))
        image_fails(p, i, say(p->out, "no other node was there to build it: %.*s; deploy again", STR_ARG(causes)));
    else
        build_elsewhere(p, i, builder, causes);
}

static void plan_unfinished(struct planner *p, const struct image *i, const struct instance *builder)
{
    if (builder == NULL) {
        if (!id_is_none(i->builder_instance_id))
            image_fails(p, i, STR("its builder was deleted before it had an image: deploy again"));
        return;
    }
    struct str ended = how_it_ended(p, builder);
    if (ended.len > 0)
        build_again(p, i, builder, ended);
    else if (planner_is_due(p, i->tried_ns, p->settings->build_timeout_seconds))
        image_fails(p, i,
                    say(p->out, "the build took longer than %lld s: make it smaller or deploy again",
                        (long long)p->settings->build_timeout_seconds));
}

void plan_image(struct planner *p, const struct image *i)
{
    const struct instance *builder = model_instance(p->model, i->builder_instance_id);
    if (i->status == IMAGE_BUILDING) {
        plan_unfinished(p, i, builder);
        return;
    }
    /* The builder is done; it stays a while, so that its agent delivers the rest of its log. */
    if (builder != NULL && builder->wanted == DESIRED_RUNNING &&
        planner_is_due(p, i->since_ns, p->settings->builder_linger_seconds))
        emit_instance_removal(p->out, p->ids, builder, STR("its build is over"),
                              because(p->out, "{\"rule\":\"build is over\"}"));
}
