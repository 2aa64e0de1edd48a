/* What a planner keeps, brought up to date from the model's change list: see plan_state.h and
 * docs/internals/planning.md.
 *
 * Happy path: planner_sync reads the new entries of the list; each brings places up to date and marks what a rule must
 * look at. What has nothing to be done about it leaves no trace. Failure modes: another model, other settings, a list
 * that has forgotten too much: everything is thrown away and the whole model is looked at once. */
#include "platform/plan_state.h"

#include "base/mem.h"
#include "platform/planner.h"

struct plan_state {
    struct planner planner;
};

struct plan_state *plan_state_new(void)
{
    return mem_alloc(sizeof(struct plan_state));
}

void plan_state_reset(struct plan_state *ps)
{
    struct planner *p = &ps->planner;
    places_done(&p->places);
    work_done(&p->work);
    id_links_done(&p->open);
    id_links_done(&p->unplaced);
    id_links_done(&p->builds);
    id_links_done(&p->hosts);
    free(p->kept);
    free(p->rounds);
    *p = (struct planner){0};
}

void plan_state_free(struct plan_state *ps)
{
    if (ps == NULL)
        return;
    plan_state_reset(ps);
    free(ps);
}

size_t plan_state_size_bytes(const struct plan_state *ps)
{
    const struct planner *p = &ps->planner;
    return sizeof(*ps) + places_size_bytes(&p->places) + work_size_bytes(&p->work) + id_links_size_bytes(&p->open) +
           id_links_size_bytes(&p->unplaced) + id_links_size_bytes(&p->builds) + id_links_size_bytes(&p->hosts) +
           p->kept_size * sizeof(*p->kept) + p->rounds_size * sizeof(*p->rounds);
}

/* ---- Marking: whose rule reads what ---- */

static struct work_key key_of(enum object_kind kind, struct id id)
{
    return (struct work_key){.id = id, .kind = (uint32_t)kind};
}

static bool is_unplaced(const struct process *d)
{
    return d->project != NULL && (d->status == DEPLOYMENT_QUEUED || d->status == DEPLOYMENT_BUILDING);
}

bool deployment_waits_for_room(const struct process *d)
{
    return is_unplaced(d) && str_starts(str_from(d->cause), STR(CAUSE_WAITS_ROOM));
}

static void link(struct id_links *l, struct id from, struct id to, bool is_there)
{
    if (is_there)
        id_links_add(l, from, to);
    else
        id_links_remove(l, from, to);
}

static void mark_node(struct planner *p, const struct node *n)
{
    work_mark(&p->work, key_of(OBJECT_NODE, n->id), WORK_NODE, 0, ID_NONE);
}

static void mark_image(struct planner *p, const struct image *i);

static void mark_process(struct planner *p, const struct process *d)
{
    struct work_key key = key_of(OBJECT_PROCESS, d->id);
    if (d->project == NULL) {
        link(&p->open, ID_NONE, d->id, true); /* what it folds is in definitions, which are few: all are asked */
        work_mark(&p->work, key, WORK_PROCESS, 0, ID_NONE);
        return;
    }
    bool is_open = !deployment_is_quiet(d);
    link(&p->open, d->project->id, d->id, is_open);
    link(&p->unplaced, d->image_id, d->id, is_unplaced(d));
    const struct image *image = model_image(p->model, d->image_id);
    if (image != NULL && image->status == IMAGE_BUILDING)
        mark_image(p, image); /* it is built again only while somebody waits for it */
    if (is_unplaced(d))
        work_mark(&p->work, key, WORK_UNPLACED, d->created_seq, ID_NONE);
    else if (is_open || work_has(&p->work, key))
        work_mark(&p->work, key, WORK_PROCESS, 0, d->project->id);
    if (deployment_waits_for_room(d))
        work_wait(&p->work, key, WORK_WAITS_TURN);
}

static void mark_linked(struct planner *p, const struct id_links *links, struct id from)
{
    size_t n = 0;
    const struct id *ids = id_links_find(links, from, &n);
    if (n == 0)
        return;
    struct id *copy = mem_calloc(n, sizeof(*copy)); /* marking may change the links */
    memcpy(copy, ids, n * sizeof(*copy));
    for (size_t i = 0; i < n; i++) {
        const struct process *d = model_process(p->model, copy[i]);
        if (d != NULL)
            mark_process(p, d);
    }
    free(copy);
}

/* What one deployment may do depends on the others of its project: who is newer, who serves, who is healthy. */
static void mark_with_siblings(struct planner *p, const struct process *d)
{
    mark_process(p, d);
    if (d->project != NULL)
        mark_linked(p, &p->open, d->project->id);
}

static void mark_image(struct planner *p, const struct image *i)
{
    bool has_builder = !id_is_none(i->builder_instance_id);
    bool is_open =
        i->status == IMAGE_BUILDING || (has_builder && model_instance(p->model, i->builder_instance_id) != NULL);
    struct work_key key = key_of(OBJECT_IMAGE, i->id);
    if (has_builder)
        link(&p->builds, i->builder_instance_id, i->id, is_open);
    if (is_open || work_has(&p->work, key))
        work_mark(&p->work, key, WORK_IMAGE, 0, ID_NONE);
}

static void mark_instance(struct planner *p, const struct instance *i)
{
    struct work_key key = key_of(OBJECT_INSTANCE, i->id);
    if (i->wanted == DESIRED_DELETED || i->withdraw_seq != 0 || work_has(&p->work, key))
        work_mark(&p->work, key, WORK_INSTANCE, 0, ID_NONE);
}

/* ---- Changes, by kind ---- */

static void node_changed(struct planner *p, struct id id)
{
    const struct node *n = model_node(p->model, id);
    if (n == NULL) {
        places_remove_node(&p->places, id);
        work_drop(&p->work, key_of(OBJECT_NODE, id));
        return;
    }
    bool is_new = places_find(&p->places, id) == NULL;
    bool is_other = places_set_node(&p->places, n);
    mark_node(p, n);
    if (!is_other)
        return;
    MODEL_EACH (instance, i, &n->instances) { /* those on a draining node are replaced */
        if (is_new)
            places_set_instance(&p->places, i);
        mark_process(p, i->process);
    }
}

static void builder_changed(struct planner *p, struct id instance_id)
{
    size_t n = 0;
    const struct id *ids = id_links_find(&p->builds, instance_id, &n);
    struct id image_id = n == 0 ? ID_NONE : ids[0]; /* it builds one */
    const struct image *image = n == 0 ? NULL : model_image(p->model, image_id);
    if (image != NULL)
        mark_image(p, image);
    if (n > 0 && model_instance(p->model, instance_id) == NULL &&
        (image == NULL || !id_eq(image->builder_instance_id, instance_id)))
        id_links_remove(&p->builds, instance_id, image_id); /* another one took its place */
}

static void instance_changed(struct planner *p, struct id id, struct id process_id)
{
    const struct instance *i = model_instance(p->model, id);
    const struct process *process = model_process(p->model, process_id);
    if (i == NULL) {
        places_remove_instance(&p->places, id);
        work_drop(&p->work, key_of(OBJECT_INSTANCE, id));
    } else {
        places_set_instance(&p->places, i);
        mark_instance(p, i);
    }
    builder_changed(p, id);
    if (process != NULL)
        mark_with_siblings(p, process);
}

static void know_builder_process(struct planner *p, struct id id)
{
    const struct process *process = model_process(p->model, id);
    bool is_one = process != NULL && process->project == NULL && strcmp(process->name, BUILDER_PROGRAM) == 0;
    if (is_one && (id_is_none(p->builder_process) || id_cmp(id, p->builder_process) < 0)) {
        p->builder_process = id;
    } else if (!is_one && id_eq(id, p->builder_process)) {
        process = model_process_by_name(p->model, STR(BUILDER_PROGRAM));
        p->builder_process = process == NULL ? ID_NONE : process->id;
    }
}

static void process_changed(struct planner *p, struct id id, struct id project_id)
{
    const struct process *process = model_process(p->model, id);
    know_builder_process(p, id);
    if (process != NULL) {
        mark_with_siblings(p, process);
        return;
    }
    work_drop(&p->work, key_of(OBJECT_PROCESS, id));
    id_links_remove(&p->open, project_id, id);
}

static void image_changed(struct planner *p, struct id id)
{
    const struct image *i = model_image(p->model, id);
    if (i == NULL)
        work_drop(&p->work, key_of(OBJECT_IMAGE, id));
    else
        mark_image(p, i);
    mark_linked(p, &p->unplaced, id);
}

static struct id host_key(struct str host)
{
    struct id key = {{0}};
    uint64_t a = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < host.len; i++)
        a = (a ^ (unsigned char)host.ptr[i]) * UINT64_C(0x100000001b3); /* FNV-1a; the certificate's name is compared */
    memcpy(key.bytes, &a, sizeof(a));
    return key;
}

static void certificate_changed(struct planner *p, struct id id)
{
    const struct certificate *c = id_index_find(&p->model->certificates, id);
    if (c != NULL)
        id_links_add(&p->hosts, host_key(str_from(c->host)), id);
    work_mark_waiting(&p->work, WORK_WAITS_CERTIFICATE, WORK_NODE);
}

bool plan_has_certificate(const struct planner *p, struct str host)
{
    size_t n = 0;
    const struct id *ids = id_links_find(&p->hosts, host_key(host), &n);
    for (size_t i = 0; i < n; i++) {
        const struct certificate *c = id_index_find(&p->model->certificates, ids[i]);
        if (c != NULL && str_eq_c(host, c->host))
            return true;
    }
    return false;
}

static void changed(struct planner *p, const struct change_entry *c)
{
    switch ((enum object_kind)c->kind) {
    case OBJECT_NODE: node_changed(p, c->id); return;
    case OBJECT_PROJECT: mark_linked(p, &p->open, c->id); return;
    case OBJECT_PROCESS: process_changed(p, c->id, c->scope); return;
    case OBJECT_INSTANCE: instance_changed(p, c->id, c->scope); return;
    case OBJECT_IMAGE: image_changed(p, c->id); return;
    case OBJECT_CERTIFICATE: certificate_changed(p, c->id); return;
    case OBJECT_ROUTE:
    case OBJECT_DOMAIN:
    case OBJECT_SECRET:
    case OBJECT_WAITING: return;
    case OBJECT_KIND_MAX_: break;
    }
    if (c->kind == CHANGE_DEFINITION)
        mark_linked(p, &p->open, ID_NONE);
}

static void everything(struct planner *p)
{
    const struct model *m = p->model;
    MODEL_EACH (node, n, &m->nodes) {
        (void)places_set_node(&p->places, n);
        mark_node(p, n);
    }
    MODEL_EACH (instance, i, &m->instances) {
        places_set_instance(&p->places, i);
        mark_instance(p, i);
    }
    MODEL_EACH (image, i, &m->images)
        mark_image(p, i);
    MODEL_EACH (process, d, &m->processes) {
        know_builder_process(p, d->id);
        mark_process(p, d);
    }
    MODEL_EACH (certificate, c, &m->certificates)
        certificate_changed(p, c->id);
}

/* ---- All of it ---- */

static bool can_follow(const struct planner *p)
{
    return p->model_kept == p->model && changes_has(p->model->changes, p->changes_n) &&
           memcmp(&p->settings_kept, p->settings, sizeof(p->settings_kept)) == 0;
}

/* Who votes, as a number: another one when a vote may count that did not, or the other way round. */
static uint64_t voters_of(const struct observations *seen)
{
    uint64_t sum = (uint64_t)seen->replicas_n;
    for (size_t i = 0; i < seen->replicas.n; i++)
        for (size_t k = 0; k < seen->replicas.items[i].len + 1; k++)
            sum = (sum ^ (k == 0 ? 0xffu : (unsigned char)seen->replicas.items[i].ptr[k - 1])) * 1099511628211u;
    return sum;
}

static void start_over(struct planner *p)
{
    struct planner now = *p;
    plan_state_reset((struct plan_state *)(void *)p);
    p->model = p->model_kept = now.model;
    p->settings_kept = *now.settings;
    p->settings = now.settings;
    p->seen = now.seen;
    p->ids = now.ids;
    p->out = now.out;
    p->now_ms = now.now_ms;
    p->voters = voters_of(now.seen);
    places_init(&p->places, &p->settings_kept);
    everything(p);
}

void planner_sync(struct planner *p)
{
    uint64_t end = changes_n(p->model->changes);
    if (!can_follow(p))
        start_over(p);
    else
        for (uint64_t i = p->changes_n; i < end; i++)
            changed(p, changes_at(p->model->changes, i));
    p->changes_n = end;
    uint64_t voters = voters_of(p->seen);
    if (p->voters != voters)
        MODEL_EACH (node, n, &p->model->nodes)
            mark_node(p, n);
    p->voters = voters;
    work_mark_waiting(&p->work, WORK_WAITS_EDGES, WORK_NODE);
    if (p->now_ms < p->planned_ms)
        work_mark_waiting(&p->work, WORK_WAITS_CLOCK, WORK_NODE);
    p->planned_ms = p->now_ms;
    work_mark_due(&p->work, p->now_ms);
    if (p->places.has_grown)
        work_mark_waiting(&p->work, WORK_WAITS_ROOM, WORK_NODE);
    if (p->places.has_turned)
        work_mark_waiting(&p->work, WORK_WAITS_NODE, WORK_NODE);
    if (p->places.has_zone)
        work_mark_waiting(&p->work, WORK_WAITS_ZONE, WORK_NODE);
    p->places.has_grown = p->places.has_turned = p->places.has_zone = false;
}

void plan_next(struct plan_state *ps, const struct model *m, const struct platform_settings *s, int64_t now_ms,
               const struct observations *seen, struct id_source *ids, struct plan *ret_plan)
{
    struct planner *p = &ps->planner;
    p->model = m;
    p->settings = s;
    p->seen = seen;
    p->ids = ids;
    p->out = &ret_plan->events;
    p->now_ms = now_ms;
    p->out->items = NULL;
    p->out->n = p->out->size = 0;
    p->out->now_ms = now_ms;
    planner_sync(p);
    p->places.arena = p->out->arena;
    ret_plan->deadline_ms = planner_run(p);
    ret_plan->asked_n = p->asked_n;
    p->out = NULL;
}

void model_plan(const struct model *m, const struct platform_settings *s, int64_t now_ms,
                const struct observations *seen, struct id_source *ids, struct plan *ret_plan)
{
    struct plan_state ps = {0};
    plan_next(&ps, m, s, now_ms, seen, ids, ret_plan);
    plan_state_reset(&ps);
}
