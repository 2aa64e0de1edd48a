/* Choosing a node: the preferences of place.h, in their order. */
#include <arpa/inet.h>

#include "base/mem.h"
#include "platform/place_tree.h"

/* A zone as one wish sees it: the groups in it that may be asked. */
struct zone_view {
    struct id zone_id, region_id;
    int64_t memory_all, memory_used;
    uint32_t here_n, region_n; /* instances of the process */
    struct place_group **groups;
    size_t groups_n;
};

struct choice {
    struct places *places;
    const struct wish *wish;
    struct zone_view *zones;
    size_t zones_n;
    struct arena scratch;
};

/* NULL: this node has not proved what is asked for. host and null isolate nothing: only by name. */
static const char *choose_runtime(const char *const *runtimes, size_t n, const struct wish *w)
{
    if (str_eq(w->runtime, STR("host")))
        return "host";
    for (size_t i = 0; i < n; i++) {
        const char *r = runtimes[i];
        bool isolates = strcmp(r, "host") != 0 && strcmp(r, "null") != 0;
        if (w->runtime.len > 0 ? str_eq_c(w->runtime, r) : isolates)
            return r;
    }
    return NULL;
}

/* An application may say in which zones it may run; the platform's own programs stand where their log says. */
static bool may_zone(const struct place_group *g, const struct wish *w)
{
    const struct process *p = w->process;
    return p == NULL || !process_is_application(p) || p->availability_zones.n == 0 ||
           text_list_has(&p->availability_zones, g->zone_name);
}

bool place_group_may(const struct place_group *g, const struct wish *w)
{
    bool has_label = false;
    for (size_t i = 0; i < g->labels.n; i++)
        has_label |= strcmp(g->labels.items[i], w->label) == 0;
    return has_label && choose_runtime(g->runtimes.items, g->runtimes.n, w) != NULL &&
           (!w->has_address || g->has_prefix) && may_zone(g, w);
}

/* ---- Instances of the process that is being placed ---- */

static void lift(struct places *p, struct place *place)
{
    if (place->is_lifted)
        return;
    if (p->lifted_n == p->lifted_size) {
        p->lifted_size = p->lifted_size == 0 ? 16 : p->lifted_size * 2;
        p->lifted = mem_realloc(p->lifted, p->lifted_size * sizeof(struct place *));
    }
    p->lifted[p->lifted_n++] = place;
    place->is_lifted = true;
    place_group_update(place->group, place);
}

static void put_back(struct places *p)
{
    for (size_t i = 0; i < p->lifted_n; i++) {
        struct place *place = p->lifted[i];
        place->is_lifted = false;
        place->here_n = 0;
        place_group_update(place->group, place);
    }
    p->lifted_n = 0;
    p->process_id = ID_NONE;
}

static struct place *find(const struct places *p, const struct node *n)
{
    return (struct place *)(uintptr_t)places_find(p, n->id);
}

/* Several wishes of one process in a row, as replacements are, see what the ones before took. */
static void count_here(struct places *p, const struct process *process)
{
    if (process != NULL && id_eq(p->process_id, process->id))
        return;
    put_back(p);
    if (process == NULL)
        return;
    p->process_id = process->id;
    MODEL_EACH (instance, i, &process->instances) {
        struct place *place = i->node == NULL || !instance_is_hopeful(i) ? NULL : find(p, i->node);
        if (place == NULL)
            continue;
        place->here_n++;
        lift(p, place);
    }
    for (size_t i = 0; i < p->takes_n; i++) {
        if (!id_eq(p->takes[i].process_id, process->id))
            continue;
        p->takes[i].place->here_n++;
        lift(p, p->takes[i].place);
    }
}

/* ---- Zones ---- */

static struct zone_view *view_of(struct choice *c, const struct place_group *g)
{
    for (size_t i = 0; i < c->zones_n; i++)
        if (id_eq(c->zones[i].zone_id, g->zone_id))
            return &c->zones[i];
    struct zone_view *z = &c->zones[c->zones_n++];
    *z = (struct zone_view){.zone_id = g->zone_id,
                            .region_id = g->region_id,
                            .groups = arena_alloc(&c->scratch, c->places->groups_n * sizeof(struct place_group *))};
    return z;
}

static void count_in_zones(struct choice *c, const struct place *place, uint32_t n)
{
    for (size_t i = 0; i < c->zones_n; i++) {
        struct zone_view *z = &c->zones[i];
        z->here_n += id_eq(z->zone_id, place->group->zone_id) ? n : 0;
        z->region_n += id_eq(z->region_id, place->group->region_id) ? n : 0;
    }
}

static void choice_init(struct choice *c, struct places *p, const struct wish *w)
{
    *c = (struct choice){.places = p, .wish = w};
    c->zones = arena_alloc(&c->scratch, (p->groups_n + 1) * sizeof(*c->zones));
    for (size_t i = 0; i < p->groups_n; i++) {
        struct place_group *g = p->groups[i];
        if (!place_group_may(g, w) || g->open_n == 0)
            continue;
        struct zone_view *z = view_of(c, g);
        z->groups[z->groups_n++] = g;
    }
    for (size_t i = 0; i < p->lifted_n; i++)
        count_in_zones(c, p->lifted[i], p->lifted[i]->here_n);
}

/* Loads change with each choice. Returns the load of all together, in permille. */
static int64_t weigh(struct choice *c)
{
    int64_t all = 0, used = 0;
    for (size_t i = 0; i < c->zones_n; i++) {
        struct zone_view *z = &c->zones[i];
        z->memory_all = z->memory_used = 0;
        for (size_t k = 0; k < z->groups_n; k++) {
            z->memory_all += z->groups[k]->memory_all >> 20;
            z->memory_used += z->groups[k]->memory_used >> 20;
        }
        all += z->memory_all;
        used += z->memory_used;
    }
    return all == 0 ? 0 : used * 1000 / all;
}

static int64_t load_of(const struct zone_view *z)
{
    return z->memory_all == 0 ? 0 : z->memory_used * 1000 / z->memory_all;
}

static bool spans_one(const struct choice *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->zones_n; i++)
        n += c->zones[i].here_n > 0;
    return n == 1;
}

/* Is a the better zone? */
static bool is_better_zone(const struct choice *c, const struct zone_view *a, const struct zone_view *b, int64_t mean)
{
    bool in_a = a->here_n > 0, in_b = b->here_n > 0;
    if (in_a != in_b && spans_one(c))
        return in_b;
    bool hot_a = load_of(a) > mean + PLACE_HOT_PERMILLE, hot_b = load_of(b) > mean + PLACE_HOT_PERMILLE;
    if (hot_a != hot_b)
        return hot_b;
    if (a->region_n != b->region_n)
        return a->region_n < b->region_n;
    if (a->here_n != b->here_n)
        return a->here_n < b->here_n;
    if (load_of(a) != load_of(b))
        return load_of(a) < load_of(b);
    return id_cmp(a->zone_id, b->zone_id) < 0;
}

/* ---- Nodes ---- */

static bool is_roomier(const struct place *a, const struct place *b)
{
    if (a->memory_free != b->memory_free)
        return a->memory_free > b->memory_free;
    return id_cmp(a->id, b->id) < 0;
}

static bool has_room(const struct place *p, const struct wish *w)
{
    return p->is_open && p->vcpus_free >= w->needs->vcpus && p->memory_free >= w->needs->memory_bytes;
}

/* A node of the zone with none of the process's instances. NULL: none has room. */
static struct place *best_fresh(const struct choice *c, const struct zone_view *z)
{
    struct place *best = NULL;
    for (size_t i = 0; i < z->groups_n; i++) {
        struct place *at = place_group_best(z->groups[i], c->wish->needs->vcpus, c->wish->needs->memory_bytes);
        if (at != NULL && (best == NULL || is_roomier(at, best)))
            best = at;
    }
    return best;
}

static const struct zone_view *zone_of(const struct choice *c, const struct place *p)
{
    for (size_t i = 0; i < c->zones_n; i++)
        for (size_t k = 0; k < c->zones[i].groups_n; k++)
            if (c->zones[i].groups[k] == p->group)
                return &c->zones[i];
    return NULL;
}

/* Among those that have some already, or are to be avoided. */
static struct place *best_lifted(const struct choice *c, int64_t mean)
{
    struct place *best = NULL;
    for (size_t i = 0; i < c->places->lifted_n; i++) {
        struct place *a = c->places->lifted[i];
        const struct zone_view *zone_a = zone_of(c, a), *zone_b = best == NULL ? NULL : zone_of(c, best);
        if (zone_a == NULL || !has_room(a, c->wish))
            continue;
        bool avoid_a = a->node == c->wish->avoid, avoid_b = best != NULL && best->node == c->wish->avoid;
        bool is_better = true;
        if (best == NULL)
            is_better = true;
        else if (avoid_a != avoid_b)
            is_better = avoid_b;
        else if (a->here_n != best->here_n)
            is_better = a->here_n < best->here_n;
        else if (zone_a != zone_b)
            is_better = is_better_zone(c, zone_a, zone_b, mean);
        else
            is_better = is_roomier(a, best);
        best = is_better ? a : best;
    }
    return best;
}

/* In the best zone where one has room. */
static struct place *choose_fresh(const struct choice *c, int64_t mean)
{
    struct place *best = NULL;
    const struct zone_view *zone = NULL;
    for (size_t i = 0; i < c->zones_n; i++) {
        struct place *at = best_fresh(c, &c->zones[i]);
        if (at != NULL && (zone == NULL || is_better_zone(c, &c->zones[i], zone, mean))) {
            best = at;
            zone = &c->zones[i];
        }
    }
    return best;
}

static struct place *choose(struct choice *c)
{
    int64_t mean = weigh(c);
    struct place *best = choose_fresh(c, mean);
    return best != NULL ? best : best_lifted(c, mean);
}

static const char *format_address(struct arena *a, uint64_t prefix, uint64_t host)
{
    struct in6_addr address;
    for (int i = 0; i < 8; i++) {
        address.s6_addr[i] = (uint8_t)(prefix >> (56 - 8 * i));
        address.s6_addr[8 + i] = (uint8_t)(host >> (56 - 8 * i));
    }
    char text[INET6_ADDRSTRLEN];
    const char *ok = inet_ntop(AF_INET6, &address, text, sizeof(text));
    assert(ok != NULL); /* the room is there */
    return arena_strdup(a, ok);
}

/* ---- Taking ---- */

void places_take_here(struct places *p, struct place *place, struct id process_id, int64_t vcpus, int64_t memory)
{
    if (p->takes_n == p->takes_size) {
        p->takes_size = p->takes_size == 0 ? 64 : p->takes_size * 2;
        p->takes = mem_realloc(p->takes, p->takes_size * sizeof(*p->takes));
    }
    p->takes[p->takes_n++] = (struct place_take){place, process_id, vcpus, memory, place->hosts_taken, false};
    place_use(place, vcpus, memory);
}

void places_give_back(struct places *p, size_t until)
{
    put_back(p);
    while (p->takes_n > until) {
        struct place_take *t = &p->takes[--p->takes_n];
        place_use(t->place, -t->vcpus, -t->memory);
        t->place->hosts_taken = t->hosts_taken;
        t->place->memory_held -= t->is_hold ? t->memory : 0;
    }
}

void places_forget(struct places *p)
{
    places_give_back(p, 0);
}

static struct placement take(struct places *p, const struct wish *w, struct place *at)
{
    struct placement taken = {
        .node = at->node, .runtime = choose_runtime(at->node->runtimes.items, at->node->runtimes.n, w), .address = ""};
    places_take_here(p, at, w->process == NULL ? ID_NONE : w->process->id, w->needs->vcpus, w->needs->memory_bytes);
    if (w->has_address)
        taken.address = format_address(p->arena, at->node->prefix_u64, at->node->host_next + at->hosts_taken++);
    return taken;
}

static size_t take_some(struct places *p, const struct wish *w, size_t n, struct placement *ret)
{
    struct choice c;
    struct place *avoided = w->avoid == NULL ? NULL : find(p, w->avoid);
    count_here(p, w->process);
    if (avoided != NULL)
        lift(p, avoided);
    choice_init(&c, p, w);
    size_t i = 0;
    for (; i < n; i++) {
        struct place *at = choose(&c);
        if (at == NULL)
            break;
        ret[i] = take(p, w, at);
        at->here_n++;
        lift(p, at);
        count_in_zones(&c, at, 1);
    }
    arena_done(&c.scratch);
    if (w->process == NULL || avoided != NULL)
        put_back(p); /* the next one counts anew */
    return i;
}

bool places_take(struct places *p, const struct wish *w, size_t n, struct placement *ret, const char **ret_why)
{
    size_t before = p->takes_n;
    if (take_some(p, w, n, ret) == n)
        return true;
    places_give_back(p, before);
    p->refused_n++;
    if (ret_why != NULL)
        *ret_why = places_say_why(p, w, n);
    return false;
}

size_t places_take_some(struct places *p, const struct wish *w, size_t n, struct placement *ret)
{
    size_t got = take_some(p, w, n, ret);
    p->refused_n += got < n;
    return got;
}

/* ---- On a node of its own ---- */

static bool is_out_of(const struct place_group *g, const struct zone *zone)
{
    return zone == NULL || !id_eq(g->zone_id, zone->id);
}

size_t places_suited_n(const struct places *p, const struct wish *w, const struct zone *out_of)
{
    size_t n = 0;
    for (size_t i = 0; i < p->groups_n; i++) {
        const struct place_group *g = p->groups[i];
        if (g->open_n > 0 && is_out_of(g, out_of) && place_group_may(g, w))
            n += g->open_n;
    }
    return n;
}

bool places_is_suited(const struct places *p, const struct wish *w, const struct node *n)
{
    const struct place *at = places_find(p, n->id);
    return at != NULL && at->is_open && place_group_may(at->group, w);
}

/* Of those that have none of the process, which is counted. */
static int64_t next_ready_ns(const struct places *p, const struct wish *w, const struct zone *out_of, int64_t before_ns)
{
    int64_t next_ns = INT64_MAX;
    for (size_t i = 0; i < p->groups_n && p->newest_ns > before_ns; i++) {
        const struct place_group *g = p->groups[i];
        for (size_t k = 0; k < g->n && is_out_of(g, out_of) && place_group_may(g, w); k++) {
            const struct place *at = g->slots[k];
            if (at->is_open && at->here_n == 0 && at->since_ns > before_ns && at->since_ns < next_ns)
                next_ns = at->since_ns;
        }
    }
    return next_ns;
}

bool places_take_fresh(struct places *p, const struct wish *w, const struct zone *out_of, int64_t before_ns,
                       struct placement *ret, int64_t *ret_next_ns)
{
    struct choice c;
    count_here(p, w->process);
    choice_init(&c, p, w);
    int64_t mean = weigh(&c);
    struct place *at = choose_fresh(&c, mean);
    for (; at != NULL && at->since_ns > before_ns; at = choose_fresh(&c, mean))
        lift(p, at); /* too new: the others */
    arena_done(&c.scratch);
    *ret_next_ns = next_ready_ns(p, w, out_of, before_ns);
    bool is_found = at != NULL && is_out_of(at->group, out_of); /* another zone comes first wherever it has room */
    if (is_found)
        *ret = take(p, w, at);
    p->refused_n += !is_found;
    put_back(p); /* the next one counts anew */
    return is_found;
}
