/* What is free on which node, kept up to date. Choosing is in place_choose.c. */
#include "platform/place.h"

#include "base/map.h"
#include "base/mem.h"
#include "platform/place_tree.h"

/* What one instance uses. Empty slot: id none. */
struct holding {
    struct id id;
    struct place *place;
    int64_t memory;
    int32_t vcpus;
    bool is_leaving;
};

void places_init(struct places *p, const struct platform_settings *s)
{
    *p = (struct places){.settings = s};
}

void places_done(struct places *p)
{
    for (size_t i = 0; i < p->nodes.n; i++)
        free(p->nodes.items[i]);
    id_index_done(&p->nodes);
    key_index_done(&p->by_node);
    for (size_t i = 0; i < p->groups_n; i++)
        place_group_free(p->groups[i]);
    free(p->groups);
    free(p->holdings);
    free(p->takes);
    free(p->lifted);
    *p = (struct places){0};
}

size_t places_size_bytes(const struct places *p)
{
    size_t size = p->holdings_size * sizeof(*p->holdings) + p->nodes.size * sizeof(void *);
    size += p->by_node.size * sizeof(*p->by_node.slots);
    size += p->takes_size * sizeof(*p->takes) + p->lifted_size * sizeof(struct place *);
    for (size_t i = 0; i < p->groups_n; i++)
        size += place_group_size_bytes(p->groups[i]);
    return size;
}

static struct place *find(const struct places *p, struct id node_id)
{
    struct place *place = NULL;
    for (size_t at = 0; (place = key_index_next(&p->by_node, key_of_id(node_id), &at)) != NULL;)
        if (id_eq(place->id, node_id))
            break;
    return place;
}

const struct place *places_find(const struct places *p, struct id node_id)
{
    return find(p, node_id);
}

/* ---- Nodes ---- */

static void count_in_group(struct place *p, int64_t sign)
{
    if (!p->is_open)
        return;
    p->group->open_n += (size_t)sign;
    p->group->memory_all += sign * p->memory_all;
    p->group->memory_used += sign * (p->memory_all - p->memory_free);
}

void place_use(struct place *p, int64_t vcpus, int64_t memory)
{
    p->vcpus_free -= vcpus;
    p->memory_free -= memory;
    if (p->is_open)
        p->group->memory_used += memory;
    place_group_update(p->group, p);
}

static struct place_group *group_of(struct places *p, const struct node *n)
{
    for (size_t i = 0; i < p->groups_n; i++)
        if (place_group_fits(p->groups[i], n))
            return p->groups[i];
    p->groups = mem_realloc(p->groups, (p->groups_n + 1) * sizeof(struct place_group *));
    return p->groups[p->groups_n++] = place_group_new(n);
}

bool places_set_node(struct places *p, const struct node *n)
{
    struct place *place = find(p, n->id);
    bool is_new = place == NULL;
    if (is_new) {
        place = mem_alloc(sizeof(*place));
        place->id = n->id;
        id_index_add(&p->nodes, place);
        key_index_add(&p->by_node, key_of_id(n->id), place);
        place_group_add(group_of(p, n), place);
    } else if (!place_group_fits(place->group, n)) {
        count_in_group(place, -1);
        place_group_remove(place->group, place);
        place->is_open = false;
        place_group_add(group_of(p, n), place);
    }
    int64_t vcpus_all = n->capacity.vcpus * p->settings->vcpus_overcommit_percent / 100;
    int64_t memory_all = n->capacity.memory_bytes / 100 * p->settings->memory_overcommit_percent;
    bool was_open = place->is_open; /* not after it went to another group */
    count_in_group(place, -1);
    place->node = n;
    place->vcpus_free += vcpus_all - place->vcpus_all;
    place->memory_free += memory_all - place->memory_all;
    place->vcpus_all = vcpus_all;
    place->memory_all = memory_all;
    place->is_open = n->status == NODE_READY;
    count_in_group(place, 1);
    place_group_update(place->group, place);
    p->has_grown = true; /* or not: whoever waits looks once in vain */
    p->has_turned |= place->is_open != was_open || (was_open && place->since_ns != n->since_ns);
    p->has_zone |= place->is_open && !was_open && place->group->open_n == 1;
    place->since_ns = n->since_ns;
    if (place->is_open && n->since_ns > p->newest_ns)
        p->newest_ns = n->since_ns;
    bool is_other = is_new || place->status != n->status;
    place->status = n->status;
    return is_other;
}

void places_remove_node(struct places *p, struct id node_id)
{
    struct place *place = find(p, node_id);
    if (place == NULL)
        return;
    count_in_group(place, -1);
    place_group_remove(place->group, place);
    id_index_remove(&p->nodes, node_id);
    key_index_remove(&p->by_node, key_of_id(node_id), place);
    for (size_t i = 0; i < p->holdings_size; i++) /* seldom: a node is never taken out of a log */
        if (p->holdings[i].place == place)
            p->holdings[i].place = NULL;
    free(place);
}

/* ---- Instances ---- */

static size_t slot_of(const struct places *p, struct id id)
{
    return map_hash(id.bytes, sizeof(id.bytes)) & (p->holdings_size - 1);
}

static struct holding *holding_find(const struct places *p, struct id id)
{
    if (p->holdings_size == 0)
        return NULL;
    size_t at = slot_of(p, id);
    for (; !id_is_none(p->holdings[at].id); at = (at + 1) & (p->holdings_size - 1))
        if (id_eq(p->holdings[at].id, id))
            return &p->holdings[at];
    return NULL;
}

static struct holding *holding_put(struct places *p, const struct holding *h)
{
    size_t at = slot_of(p, h->id);
    while (!id_is_none(p->holdings[at].id))
        at = (at + 1) & (p->holdings_size - 1);
    p->holdings[at] = *h;
    return &p->holdings[at];
}

static struct holding *holding_add(struct places *p, struct id id)
{
    if (p->holdings_n * 4 >= p->holdings_size * 3) { /* three quarters full: a search ends soon */
        struct holding *old = p->holdings;
        size_t old_size = p->holdings_size;
        p->holdings_size = old_size == 0 ? 64 : old_size * 2;
        p->holdings = mem_calloc(p->holdings_size, sizeof(*p->holdings));
        for (size_t i = 0; i < old_size; i++)
            if (!id_is_none(old[i].id))
                (void)holding_put(p, &old[i]);
        free(old);
    }
    p->holdings_n++;
    return holding_put(p, &(struct holding){.id = id});
}

/* What stands behind a freed slot is put anew, up to the next gap. */
static void holding_remove(struct places *p, struct holding *h)
{
    size_t mask = p->holdings_size - 1, at = (size_t)(h - p->holdings);
    p->holdings[at] = (struct holding){0};
    for (at = (at + 1) & mask; !id_is_none(p->holdings[at].id); at = (at + 1) & mask) {
        struct holding moved = p->holdings[at];
        p->holdings[at] = (struct holding){0};
        (void)holding_put(p, &moved);
    }
    p->holdings_n--;
}

static void give_back(struct places *p, struct holding *h)
{
    if (h->place == NULL)
        return;
    place_use(h->place, -h->vcpus, -h->memory);
    h->place->memory_leaving -= h->is_leaving ? h->memory : 0;
    p->has_grown = true;
    h->place = NULL;
}

void places_set_instance(struct places *p, const struct instance *i)
{
    const struct process *process = i->process;
    bool goes = i->wanted == DESIRED_DELETED ||
                (process->project != NULL && (process->status == DEPLOYMENT_DRAINING || deployment_is_over(process)));
    struct place *place = i->node == NULL || !instance_takes_room(i) ? NULL : find(p, i->node->id);
    struct holding *h = holding_find(p, i->id), now = {.id = i->id,
                                                       .place = place,
                                                       .memory = process->resources.memory_bytes,
                                                       .vcpus = (int32_t)process->resources.vcpus,
                                                       .is_leaving = goes};
    if (h != NULL && h->place == place && h->memory == now.memory && h->vcpus == now.vcpus && h->is_leaving == goes)
        return;
    if (h != NULL)
        give_back(p, h);
    else if (place != NULL)
        h = holding_add(p, i->id);
    if (h == NULL)
        return;
    *h = now;
    if (place == NULL)
        return;
    place_use(place, now.vcpus, now.memory);
    place->memory_leaving += goes ? now.memory : 0;
}

void places_remove_instance(struct places *p, struct id instance_id)
{
    struct holding *h = holding_find(p, instance_id);
    if (h == NULL)
        return;
    give_back(p, h);
    holding_remove(p, h);
}

void places_of_model(struct places *p, const struct model *m, const struct platform_settings *s, struct arena *a,
                     struct id node_id)
{
    places_init(p, s);
    p->arena = a;
    MODEL_EACH (node, n, &m->nodes) {
        if (!id_is_none(node_id) && !id_eq(n->id, node_id))
            continue;
        (void)places_set_node(p, n);
        MODEL_EACH (instance, i, &n->instances)
            places_set_instance(p, i);
    }
}
