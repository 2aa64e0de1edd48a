/* Rules for deployments that are not placed yet: queued, building, until there is an image and room. */
#include "base/own.h"
#include "platform/planner.h"

struct wish plan_wish(const struct process *d)
{
    return (struct wish){
        .process = d, .label = "worker", .runtime = str_from(d->runtime), .needs = &d->resources, .has_address = true};
}

struct str placement_because(struct planner *p, const char *rule, const struct process *d, const struct placement *at)
{
    const struct place *place = places_find(&p->places, at->node->id);
    assert(place != NULL);
    /* Written in the canonical form (keys sorted, compact; test_plan: every_because_is_canonical): there are many. */
    return say(p->out,
               "{\"freeAfterwards\":{\"memoryBytes\":%lld,\"vcpus\":%lld},\"hereOfThisDeployment\":%u,"
               "\"needs\":{\"memoryBytes\":%lld,\"vcpus\":%lld},\"node\":%s,\"nowMs\":%lld,\"rule\":%s,\"zone\":%s}",
               (long long)place->memory_free, (long long)place->vcpus_free, place->here_n,
               (long long)d->resources.memory_bytes, (long long)d->resources.vcpus, quoted(p->out, at->node->name),
               (long long)p->now_ms, quoted(p->out, rule), quoted(p->out, at->node->zone->name));
}

/* Names of what the project has now: a deployment sees no secret that is set later. "": none. */
static struct str secret_refs(struct planner *p, const struct project *project)
{
    AUTO(buf) struct buf names = {0};
    MODEL_EACH (secret, s, &p->model->secrets)
        if (s->project == project)
            buf_addf(&names, "%s%s", names.len == 0 ? "[" : ",", quoted(p->out, s->name));
    if (names.len > 0)
        buf_add_char(&names, ']');
    return arena_str(p->out->arena, buf_str(&names));
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
                                .secret_refs = secret_refs(p, d->project),
                                .resources = d->resources,
                                .instances_wanted = d->instances_wanted,
                                .health = {.path = str_from(d->health.path),
                                           .interval_seconds = d->health.interval_seconds,
                                           .timeout_seconds = d->health.timeout_seconds,
                                           .start_timeout_seconds = d->health.start_timeout_seconds},
                                .port = d->port,
                                .drain_seconds = d->drain_seconds,
                                .runtime = str_from(d->runtime),
                                .because = because(p->out, "{\"rule\":\"its image is ready\"}")};
}

static void start_on(struct planner *p, const struct process *d, const struct image *image, const struct placement *at,
                     size_t n, struct str cause, struct str why)
{
    emit_process(p, d, image);
    for (size_t i = 0; i < n; i++)
        emit_create_instance(p->out, p->ids, d->id, p->settings->installation, &at[i],
                             placement_because(p, "start", d, &at[i]));
    emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_STARTING, cause, why);
}

/* Old and new do not fit side by side: as many as there is room for; plan_roll goes on from there. */
static bool start_rolling(struct planner *p, const struct process *d, const struct image *image, struct placement *at,
                          const char *why)
{
    const struct wish wish = plan_wish(d);
    const struct process *live = d->project->live;
    size_t n = live == NULL ? 0 : places_take_some(&p->places, &wish, (size_t)d->instances_wanted, at);
    if (n == 0)
        return false;
    start_on(p, d, image, at, n,
             say(p->out, "rolls one at a time: there is room for %zu of %lld beside the %zu that serve: %s", n,
                 (long long)d->instances_wanted, live->instances.n, why),
             because(p->out, "{\"rule\":\"old and new do not fit side by side\",\"placed\":%zu,\"wanted\":%lld}", n,
                     (long long)d->instances_wanted));
    return true;
}

static void start(struct planner *p, const struct process *d, const struct image *image)
{
    size_t n = (size_t)d->instances_wanted;
    struct wish wish = plan_wish(d);
    struct placement *at = arena_alloc(p->out->arena, n * sizeof(*at));
    const char *why = "";
    if (places_take(&p->places, &wish, n, at, &why))
        start_on(p, d, image, at, n, STR(""), because(p->out, "{\"rule\":\"its image is ready\"}"));
    else if (!start_rolling(p, d, image, at, why))
        plan_wait(p, d, say(p->out, CAUSE_WAITS_ROOM "%s", why));
}

/* Before anything is built for it, or said about it: if not even one instance more fits beside those that serve, now or
 * when what is on its way out has left, then nothing could ever be switched without going below the wanted number. */
static bool refuse(struct planner *p, const struct process *d)
{
    const struct process *live = d->project->live;
    const struct wish wish = plan_wish(d);
    if (d->status != DEPLOYMENT_QUEUED || d->cause[0] != '\0' || live == NULL ||
        places_has_room_for_one(&p->places, &wish) || places_may_fit_soon(&p->places, &wish))
        return false;
    plan_fail(p, d,
              say(p->out, "refused before building: not one instance more fits beside the %zu that serve: %s",
                  live->instances.n, places_say_why(&p->places, &wish, 1)),
              because(p->out, "{\"rule\":\"no room for one more\",\"needs\":{\"memoryBytes\":%lld,\"vcpus\":%lld}}",
                      (long long)d->resources.memory_bytes, (long long)d->resources.vcpus));
    return true;
}

static const struct process *newer_one(const struct process *d)
{
    MODEL_EACH (process, other, &d->project->deployments)
        if (other->created_seq > d->created_seq && other->status != DEPLOYMENT_FAILED &&
            other->status != DEPLOYMENT_CANCELLED)
            return other;
    return NULL;
}

/* Not live yet, and nobody waits for it any more. */
bool plan_cancel(struct planner *p, const struct process *d)
{
    const struct process *newer = newer_one(d);
    if (d->project->is_deleted)
        emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_CANCELLED, STR("its project was deleted"),
                               because(p->out, "{\"rule\":\"project deleted\"}"));
    else if (newer != NULL)
        emit_deployment_status(p->out, p->ids, d, DEPLOYMENT_CANCELLED,
                               say(p->out, "deployment %s is newer", id_text(p->out, newer->id)),
                               because(p->out, "{\"rule\":\"superseded\"}"));
    else
        return false;
    return true;
}

void plan_unplaced(struct planner *p, const struct process *d)
{
    const struct image *image = model_image(p->model, d->image_id);
    if (plan_cancel(p, d) || refuse(p, d))
        return;
    if (image == NULL)
        plan_build(p, d);
    else if (image->status == IMAGE_READY)
        start(p, d, image);
    else if (image->status == IMAGE_FAILED)
        plan_fail(p, d, say(p->out, "the build failed: %s", cut(p->out, image->cause, CAUSE_PASSED_ON_MAX)),
                  because(p->out, "{\"rule\":\"its image failed\"}"));
    else if (d->status == DEPLOYMENT_QUEUED)
        plan_wait(p, d, STR("waits for its image, which is being built"));
}
