/* Looking things up, and the questions that more than one room asks. */
#include "platform/model.h"

const char *desired_name(enum desired d)
{
    switch (d) {
    case DESIRED_RUNNING: return "running";
    case DESIRED_DRAINING: return "draining";
    case DESIRED_STOPPED: return "stopped";
    case DESIRED_DELETED: return "deleted";
    }
    return "";
}

const struct region *model_region(const struct model *m, struct id id)
{
    return id_index_find(&m->regions, id);
}

const struct region *model_region_by_name(const struct model *m, struct str name)
{
    MODEL_EACH (region, r, &m->regions)
        if (str_eq_c(name, r->name))
            return r;
    return NULL;
}

const struct zone *model_zone(const struct model *m, struct id id)
{
    return id_index_find(&m->zones, id);
}

const struct zone *model_zone_by_name(const struct model *m, const struct region *region, struct str name)
{
    MODEL_EACH (zone, z, &m->zones)
        if (z->region == region && str_eq_c(name, z->name))
            return z;
    return NULL;
}

const struct node *model_node(const struct model *m, struct id id)
{
    return id_index_find(&m->nodes, id);
}

const struct node *model_node_by_name(const struct model *m, struct str name)
{
    size_t at = 0;
    for (const struct node *n; (n = key_index_next(&m->keys[KEY_NODE_NAME], key_of_str(name), &at)) != NULL;)
        if (str_eq_c(name, n->name))
            return n;
    return NULL;
}

const struct project *model_project(const struct model *m, struct id id)
{
    return id_index_find(&m->projects, id);
}

const struct project *model_project_by_slug(const struct model *m, struct str slug)
{
    size_t at = 0;
    for (const struct project *p; (p = key_index_next(&m->keys[KEY_PROJECT_SLUG], key_of_str(slug), &at)) != NULL;)
        if (!p->is_deleted && str_eq_c(slug, p->slug))
            return p;
    return NULL;
}

const struct process *model_process(const struct model *m, struct id id)
{
    return id_index_find(&m->processes, id);
}

const struct process *model_process_by_name(const struct model *m, struct str name)
{
    MODEL_EACH (process, p, &m->processes)
        if (p->project == NULL && !process_is_application(p) && str_eq_c(name, p->name))
            return p;
    return NULL;
}

const struct process *model_deployment(const struct model *m, struct id id)
{
    const struct process *p = model_process(m, id);
    return p != NULL && p->project != NULL ? p : NULL;
}

const struct instance *model_instance(const struct model *m, struct id id)
{
    return id_index_find(&m->instances, id);
}

const struct image *model_image(const struct model *m, struct id id)
{
    return id_index_find(&m->images, id);
}

const struct image *model_image_by_digest(const struct model *m, struct str digest)
{
    for (size_t i = m->images.n; i > 0; i--) {
        const struct image *image = m->images.items[i - 1];
        if (image->status == IMAGE_READY && str_eq_c(digest, image->digest))
            return image;
    }
    return NULL;
}

const struct image *model_image_of_builder(const struct model *m, struct id instance_id)
{
    const struct image *newest = NULL;
    size_t at = 0;
    for (const struct image *i; (i = key_index_next(&m->keys[KEY_IMAGE_BUILDER], key_of_id(instance_id), &at)) != NULL;)
        if (id_eq(i->builder_instance_id, instance_id) && (newest == NULL || id_cmp(i->id, newest->id) > 0))
            newest = i;
    return newest;
}

const struct certificate *model_certificate_by_host(const struct model *m, struct str host)
{
    const struct certificate *newest = NULL;
    size_t at = 0;
    for (const struct certificate *c;
         (c = key_index_next(&m->keys[KEY_CERTIFICATE_HOST], key_of_str(host), &at)) != NULL;)
        if (str_eq_c(host, c->host) && (newest == NULL || c->changed_seq > newest->changed_seq))
            newest = c;
    return newest;
}

bool instance_is_healthy(const struct instance *i)
{
    return i->health == HEALTH_NOMINAL && instance_serves(i);
}

bool instance_serves(const struct instance *i)
{
    bool may_serve = i->health == HEALTH_NOMINAL || i->health == HEALTH_WARNING;
    return i->status == INSTANCE_RUNNING && may_serve && i->wanted == DESIRED_RUNNING &&
           (i->node == NULL || i->node->status != NODE_LOST);
}

enum health health_worse(enum health reported, enum health watched)
{
    return watched > HEALTH_NOMINAL && watched > reported ? watched : reported;
}

bool instance_is_hopeful(const struct instance *i)
{
    bool can_run = i->status == INSTANCE_PENDING || i->status == INSTANCE_STARTING || i->status == INSTANCE_RUNNING;
    return can_run && i->wanted == DESIRED_RUNNING;
}

bool instance_takes_room(const struct instance *i)
{
    bool is_over = i->status == INSTANCE_STOPPED || i->status == INSTANCE_FAILED || i->status == INSTANCE_LOST;
    return !is_over || i->wanted == DESIRED_STOPPED;
}

enum desired instance_told(const struct instance *i)
{
    return i->withdraw_seq != 0 ? DESIRED_DRAINING : instance_desired(i);
}

enum desired instance_desired(const struct instance *i)
{
    if (i->wanted == DESIRED_RUNNING && i->process->project != NULL && i->process->status == DEPLOYMENT_DRAINING)
        return DESIRED_DRAINING;
    return (enum desired)i->wanted;
}

bool deployment_is_over(const struct process *d)
{
    return d->status == DEPLOYMENT_STOPPED || d->status == DEPLOYMENT_FAILED || d->status == DEPLOYMENT_CANCELLED;
}

bool deployment_is_beside(const struct process *d)
{
    bool may_be =
        d->status == DEPLOYMENT_STARTING || d->status == DEPLOYMENT_FAILED || d->status == DEPLOYMENT_CANCELLED;
    return may_be && d->route_seq != 0 && d->project->live != NULL && d->project->live != d;
}

uint32_t process_present_n(const struct process *p)
{
    uint32_t n = 0;
    MODEL_EACH (instance, i, &p->instances)
        n += i->wanted != DESIRED_DELETED;
    return n;
}

uint32_t process_healthy_n(const struct process *p)
{
    uint32_t n = 0;
    MODEL_EACH (instance, i, &p->instances)
        n += instance_is_healthy(i);
    return n;
}

struct resources node_used(const struct node *n)
{
    struct resources used = {0};
    MODEL_EACH (instance, i, &n->instances) {
        if (!instance_takes_room(i))
            continue;
        used.vcpus += i->process->resources.vcpus;
        used.memory_bytes += i->process->resources.memory_bytes;
        used.disk_bytes += i->process->resources.disk_bytes;
    }
    return used;
}

const char *project_host(const struct project *p, struct str app_domain, struct arena *a)
{
    return arena_printf(a, "%s.%.*s", p->slug, STR_ARG(app_domain));
}

const char *process_host(const struct process *p, struct str app_domain, struct arena *a)
{
    return arena_printf(a, "%s.%.*s", p->host_label, STR_ARG(app_domain));
}

static size_t add_endpoints(const struct process *d, const struct instance **ret, size_t n, size_t max)
{
    MODEL_EACH (instance, i, &d->instances) {
        if (!instance_serves(i))
            continue;
        if (n < max)
            ret[n] = i;
        n++;
    }
    return n;
}

size_t project_endpoints(const struct project *p, const struct instance **ret, size_t max)
{
    size_t n = 0;
    if (p->live == NULL)
        return 0;
    n = add_endpoints(p->live, ret, n, max);
    MODEL_EACH (process, d, &p->deployments)
        if (deployment_is_beside(d))
            n = add_endpoints(d, ret, n, max);
    return n;
}

size_t process_endpoints(const struct process *p, const struct instance **ret, size_t max)
{
    return add_endpoints(p, ret, 0, max);
}

bool model_host_without_certificate(const struct model *m, struct str app_domain, struct arena *a, struct str *ret_host)
{
    MODEL_EACH (project, p, &m->projects) {
        if (p->is_deleted)
            continue;
        struct str host = str_from(project_host(p, app_domain, a));
        if (model_certificate_by_host(m, host) == NULL) {
            *ret_host = host;
            return true;
        }
    }
    MODEL_EACH (process, p, &m->processes) {
        if (p->host_label[0] == '\0' || p->is_deleted)
            continue;
        struct str host = str_from(process_host(p, app_domain, a));
        if (model_certificate_by_host(m, host) == NULL) {
            *ret_host = host;
            return true;
        }
    }
    MODEL_EACH (domain, d, &m->domains)
        if (domain_is_proved(d) && model_certificate_by_host(m, str_from(d->host)) == NULL) {
            *ret_host = arena_str(a, str_from(d->host));
            return true;
        }
    return false;
}
