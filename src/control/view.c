#include "control/view.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"

struct str view_text(const char *text)
{
    return str_from(text);
}

struct str view_time_ns(int64_t ns, struct arena *a)
{
    if (ns == 0)
        return (struct str){NULL, 0};
    char text[CLOCK_TEXT_SIZE];
    clock_format_us(ns / 1000, text);
    return arena_str(a, str_from(text));
}

struct str view_url(const struct control *c, const char *host, struct arena *a)
{
    int port = control_edge_https_port(c);
    if (port == 0 || port == 443)
        return str_from(arena_printf(a, "https://%s", host));
    return str_from(arena_printf(a, "https://%s:%d", host, port));
}

static struct strs texts_view(const struct text_list *list, struct arena *a)
{
    struct strs s = {.items = arena_alloc(a, (list->n + 1u) * sizeof(struct str)), .n = list->n};
    for (uint32_t i = 0; i < list->n; i++)
        s.items[i] = view_text(list->items[i]);
    return s;
}

static void config_view(const struct image *image, struct arena *a, struct image_config *ret)
{
    *ret = (struct image_config){
        .entrypoint = texts_view(&image->config.entrypoint, a),
        .cmd = texts_view(&image->config.cmd, a),
        .env = texts_view(&image->config.env, a),
        .workdir = view_text(image->config.workdir),
        .user = view_text(image->config.user),
        .stop_signal = view_text(image->config.stop_signal),
    };
}

void view_node(const struct control *c, const struct node *n, struct arena *a, struct node_resource *ret)
{
    const struct seen_node *seen = seen_node_find(control_seen(c), n->id);
    *ret = (struct node_resource){
        .node_id = n->id,
        .name = view_text(n->name),
        .zone = view_text(n->zone->name),
        .region = view_text(n->zone->region->name),
        .status = str_from(node_status_name(n->status)),
        .cause = view_text(n->cause),
        .labels = texts_view(&n->labels, a),
        .prefix = view_text(n->prefix),
        .agent_url = view_text(n->agent_url),
        .capacity = n->capacity,
        .used = node_used(n),
        .runtimes = texts_view(&n->runtimes, a),
    };
    if (seen != NULL) {
        ret->preflight = seen->report.preflight;
        ret->last_seen = view_time_ns(seen->heard_wall_us * 1000, a);
    }
}

/* A builder learns what to build from its environment: the agent gives it to the program. */
static struct strs builder_env(const struct image *image, struct arena *a)
{
    char id[ID_TEXT_SIZE];
    id_format(image->id, id);
    struct strs env = {.items = arena_alloc(a, 2 * sizeof(struct str)), .n = 2};
    env.items[0] = str_from(arena_printf(a, "SLIPFORM_IMAGE_ID=%s", id));
    env.items[1] = str_from(arena_printf(a, "SLIPFORM_CONTEXT_DIGEST=%s", image->context_digest));
    return env;
}

static struct str desired_text(enum desired d)
{
    return str_from(desired_name(d == DESIRED_DELETED ? DESIRED_STOPPED : d));
}

static void spec_place(const struct instance *i, struct instance_spec *ret)
{
    if (i->node == NULL)
        return;
    ret->zone = view_text(i->node->zone->name);
    ret->region = view_text(i->node->zone->region->name);
}

static void spec_project(const struct process *p, struct instance_spec *ret)
{
    if (p->project == NULL)
        return;
    ret->deployment_id = p->id;
    ret->project_id = p->project->id;
    ret->project = ret->name = view_text(p->project->slug);
}

static void spec_image(const struct control *c, const struct instance *i, struct arena *a, struct instance_spec *ret)
{
    const struct image *image = model_image(control_model(c), i->process->image_id);
    const struct image *built = model_image_of_builder(control_model(c), i->id);
    if (image != NULL && i->process->image_digest[0] != '\0') {
        ret->image_size_bytes = image->size_bytes;
        config_view(image, a, &ret->image_config);
    }
    if (built != NULL)
        ret->env = builder_env(built, a);
}

static bool has_id(struct ids list, struct id id)
{
    for (size_t i = 0; i < list.n; i++)
        if (id_eq(list.items[i], id))
            return true;
    return false;
}

static void add_id(struct buf *out, const char *name, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    if (out->len > 0)
        buf_add_char(out, ',');
    else
        buf_addf(out, "%s=", name);
    buf_add_c(out, text);
}

/* The log of its output stream; of several the one that the instance was given. ID_NONE: it has none. */
static struct id output_log(const struct model *m, const struct instance *i)
{
    struct id found = ID_NONE;
    struct ids given = {i->log_ids.items, i->log_ids.n};
    MODEL_EACH (definition, d, &m->definitions)
        if (d->kind == EVENT_CREATE_EVENT_LOG && id_eq(d->stream_id, i->process->output_stream_id) &&
            (id_is_none(found) || has_id(given, d->id)))
            found = d->id;
    return found;
}

/* What a process of an event-sourced application is told of its logs and its part of them: settings of sdk/slipform.h.
 */
static void spec_logs(const struct control *c, const struct instance *i, struct arena *a, struct instance_spec *ret)
{
    AUTO(buf) struct buf inputs = {0}, output = {0}, ranges = {0}, workloads = {0};
    if (!process_is_application(i->process))
        return;
    struct id out = output_log(control_model(c), i);
    if (!id_is_none(out))
        add_id(&output, "SLIPFORM_OUTPUT_LOG", out);
    for (uint32_t k = 0; k < i->log_ids.n; k++)
        if (!id_eq(i->log_ids.items[k], out))
            add_id(&inputs, "SLIPFORM_INPUT_LOGS", i->log_ids.items[k]);
    for (uint32_t k = 0; k < i->partition_ranges.n;
         k++) /* a share is the same part of every log, or what it has of it */
        if (k == 0 || strcmp(i->partition_ranges.items[k], i->partition_ranges.items[k - 1]) != 0)
            buf_addf(&ranges, "%s%s", k > 0 ? "," : "SLIPFORM_PARTITION_RANGES=", i->partition_ranges.items[k]);
    for (uint32_t k = 0; k < i->workloads.n; k++)
        buf_addf(&workloads, "%s%s", k > 0 ? "," : "SLIPFORM_WORKLOADS=", i->workloads.items[k]);
    const struct buf *all[] = {&output, &inputs, &ranges, &workloads};
    struct str *items = arena_alloc(a, sizeof(all) / sizeof(all[0]) * sizeof(*items));
    ret->env.items = items;
    for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++)
        if (all[k]->len > 0)
            items[ret->env.n++] = arena_str(a, (struct str){all[k]->ptr, all[k]->len});
}

/* Names in a list, whatever else an application's secretRefs may be. */
struct strs view_secret_names(const struct process *p, struct arena *a)
{
    auto_json json_t *refs = NULL;
    struct strs names = {0};
    if (p->secret_refs[0] == '\0' || json_parse(str_from(p->secret_refs), &refs, NULL) != OK)
        return names;
    names.items = arena_alloc(a, (json_array_size(refs) + 1) * sizeof(*names.items));
    for (size_t i = 0; i < json_array_size(refs); i++) {
        const json_t *name = json_array_get(refs, i);
        if (json_is_string(name))
            names.items[names.n++] = str_from(arena_strdup(a, json_string_value(name)));
    }
    return names;
}

static void view_spec(const struct control *c, const struct instance *i, struct arena *a, struct instance_spec *ret)
{
    const struct process *p = i->process;
    *ret = (struct instance_spec){
        .instance_id = i->id,
        .process_id = p->id,
        .name = view_text(p->name),
        .owner = view_text(i->owner),
        .runtime = view_text(i->runtime[0] != '\0' ? i->runtime : p->runtime),
        .restart = i->restart_never ? STR("never") : STR("always"),
        .desired = desired_text(instance_told(i)),
        .artifact_url = view_text(p->artifact_url),
        .image_id = p->image_id,
        .image_digest = view_text(p->image_digest),
        .address = view_text(i->address),
        .port = p->port,
        .workloads = texts_view(&i->workloads, a),
        .secret_names = view_secret_names(p, a),
        .config = view_text(p->config),
        .resources = p->resources,
        .health = {view_text(p->health.path), p->health.interval_seconds, p->health.timeout_seconds,
                   p->health.start_timeout_seconds},
    };
    spec_place(i, ret);
    spec_project(p, ret);
    spec_image(c, i, a, ret);
    spec_logs(c, i, a, ret);
}

static struct objects history_view(const struct instance *i, struct arena *a)
{
    struct instance_event *items = arena_alloc(a, (i->history_n + 1u) * sizeof(*items));
    for (uint32_t h = 0; h < i->history_n; h++) {
        const struct instance_history *row = &i->history[h];
        items[h] = (struct instance_event){
            .time = {row->at_ns, 0},
            .status = str_from(instance_status_name((enum instance_status)row->status)),
            .health = str_from(health_name((enum health)row->health)),
            .cause = view_text(row->cause),
        };
    }
    return (struct objects){items, i->history_n};
}

void view_instance(const struct control *c, const struct instance *i, struct arena *a, struct instance_resource *ret)
{
    const struct process *p = i->process;
    const struct instance_statistics *seen = seen_instance_find(control_seen(c), i->id);
    *ret = (struct instance_resource){
        .instance_id = i->id,
        .deployment_id = p->project != NULL ? p->id : ID_NONE,
        .project = p->project != NULL ? view_text(p->project->slug) : (struct str){NULL, 0},
        .owner = view_text(i->owner),
        .desired = desired_text(instance_desired(i)),
        .status = str_from(instance_status_name((enum instance_status)i->status)),
        .health = str_from(health_name((enum health)i->health)),
        .cause = view_text(i->cause),
        .since = view_time_ns(i->since_ns, a),
        .ipv6 = view_text(i->address),
        .port = p->port,
        .history = history_view(i, a),
        .because = view_text(i->because),
    };
    if (i->node != NULL) {
        ret->node_id = i->node->id;
        ret->node = view_text(i->node->name);
        ret->zone = view_text(i->node->zone->name);
        ret->region = view_text(i->node->zone->region->name);
    }
    if (seen != NULL)
        ret->statistics = *seen;
    view_spec(c, i, a, &ret->spec);
}

void view_image(const struct image *i, struct arena *a, struct image_resource *ret)
{
    *ret = (struct image_resource){
        .image_id = i->id,
        .project_id = i->project != NULL ? i->project->id : ID_NONE,
        .status = str_from(image_status_name(i->status)),
        .digest = view_text(i->digest),
        .size_bytes = i->size_bytes,
        .context_digest = view_text(i->context_digest),
        .builder_instance_id = i->builder_instance_id,
        .cause = view_text(i->cause),
        .created = view_time_ns(i->created_ns, a),
    };
    config_view(i, a, &ret->config);
}

static struct objects route_hosts(const struct control *c, const struct text_list *hosts, struct arena *a)
{
    struct route_host *items = arena_alloc(a, (hosts->n + 1u) * sizeof(*items));
    for (uint32_t h = 0; h < hosts->n; h++) {
        const struct certificate *cert = model_certificate_by_host(control_model(c), str_from(hosts->items[h]));
        items[h] = (struct route_host){view_text(hosts->items[h]), cert != NULL ? cert->id : ID_NONE};
    }
    return (struct objects){items, hosts->n};
}

static struct objects route_endpoints(const struct control *c, const struct instance *const *instances, size_t n,
                                      struct arena *a)
{
    struct route_endpoint *items = arena_alloc(a, (n + 1) * sizeof(*items));
    for (size_t i = 0; i < n; i++)
        items[i] = (struct route_endpoint){
            .instance_id = instances[i]->id,
            .address = view_text(instances[i]->address),
            .port = instances[i]->process->port,
            .node = view_text(instances[i]->node->name),
            .node_dns = str_from(arena_printf(a, "%s.node.%s", instances[i]->node->name, control_installation(c))),
            .healthy = true,
        };
    return (struct objects){items, n};
}

bool view_route(const struct control *c, const struct project *p, struct arena *a, struct route *ret)
{
    if (p->live == NULL || p->is_deleted)
        return false;
    size_t n = project_endpoints(p, NULL, 0);
    const struct instance **instances = arena_alloc(a, (n + 1) * sizeof(const struct instance *));
    (void)project_endpoints(p, instances, n);
    *ret = (struct route){
        .route_id = p->id,
        .project = view_text(p->slug),
        .deployment_id = p->live->id,
        .hosts = route_hosts(c, &p->hosts, a),
        .endpoints = route_endpoints(c, instances, n, a),
    };
    return true;
}

bool view_application_route(const struct control *c, const struct process *p, struct arena *a, struct route *ret)
{
    if (!process_is_routed(control_model(c), p))
        return false;
    size_t n = process_endpoints(p, NULL, 0);
    const struct instance **instances = arena_alloc(a, (n + 1) * sizeof(const struct instance *));
    (void)process_endpoints(p, instances, n);
    *ret = (struct route){
        .route_id = p->id,
        .project = view_text(p->host_label),
        .deployment_id = p->id,
        .hosts = route_hosts(c, &p->hosts, a),
        .endpoints = route_endpoints(c, instances, n, a),
    };
    return true;
}

void view_project(const struct control *c, const struct project *p, struct arena *a, struct project_resource *ret)
{
    const char *host = project_host(p, control_settings(c)->app_domain, a);
    *ret = (struct project_resource){
        .project_id = p->id,
        .name = view_text(p->name),
        .slug = view_text(p->slug),
        .url = view_url(c, p->hosts.n > 0 ? p->hosts.items[0] : host, a),
        .live_deployment_id = p->live != NULL ? p->live->id : ID_NONE,
        .repository = view_text(p->repository),
        .branch = view_text(p->branch),
        .instances = p->instances_wanted,
        .drain_seconds = p->drain_seconds,
        .port = p->port,
        .resources = p->resources,
        .instances_wanted = p->live != NULL ? p->live->instances_wanted : 0,
        .scaling = {view_text(p->scaling.metric), p->scaling.min, p->scaling.max, p->scaling.target_percent,
                    p->scaling.cool_down_seconds},
    };
    size_t n = p->hosts.n > 0 ? p->hosts.n : 1;
    ret->hosts = (struct strs){.items = arena_alloc(a, n * sizeof(struct str)), .n = n};
    ret->hosts.items[0] = str_from(host);
    for (uint32_t i = 0; i < p->hosts.n; i++)
        ret->hosts.items[i] = view_text(p->hosts.items[i]);
}

void view_deployment(const struct control *c, const struct process *d, struct arena *a, struct deployment_resource *ret)
{
    const struct image *image = model_image(control_model(c), d->image_id);
    const char *host = project_host(d->project, control_settings(c)->app_domain, a);
    if (d->project->hosts.n > 0)
        host = d->project->hosts.items[0];
    *ret = (struct deployment_resource){
        .deployment_id = d->id,
        .project_id = d->project->id,
        .project = view_text(d->project->slug),
        .status = str_from(deployment_status_name(d->status)),
        .cause = view_text(d->cause),
        .url = view_url(c, host, a),
        .host = str_from(host),
        .image_id = image != NULL ? image->id : ID_NONE,
        .builder_instance_id = image != NULL ? image->builder_instance_id : ID_NONE,
        .instances_wanted = d->instances_wanted,
        .instances_healthy = process_healthy_n(d),
        .drain_seconds = d->drain_seconds,
        .created = view_time_ns(d->created_ns, a),
        .since = view_time_ns(d->since_ns, a),
        .because = view_text(d->status_because),
    };
}
