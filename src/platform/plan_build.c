/* Rules for images: a builder is placed once per image; one that ends without an image has failed. A build is not tried
 * twice: what must not run twice is an instance that never restarts, and whoever asked is told. */
#include "platform/planner.h"

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

static void plan_unfinished(struct planner *p, const struct image *i, const struct instance *builder)
{
    if (builder == NULL) {
        if (!id_is_none(i->builder_instance_id))
            image_fails(p, i, STR("its builder was deleted before it had an image: deploy again"));
        return;
    }
    bool has_ended = builder->status == INSTANCE_STOPPED || builder->status == INSTANCE_FAILED;
    if (builder->status == INSTANCE_LOST)
        image_fails(p, i,
                    say(p->out, "node '%s', which built it, is lost: deploy again",
                        builder->node == NULL ? "" : builder->node->name));
    else if (has_ended)
        image_fails(
            p, i,
            say(p->out, "its builder ended without an image: %s; read the build's log",
                builder->cause[0] == '\0' ? "no cause was given" : cut(p->out, builder->cause, CAUSE_PASSED_ON_MAX)));
    else if (planner_is_due(p, i->created_ns, p->settings->build_timeout_seconds))
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
