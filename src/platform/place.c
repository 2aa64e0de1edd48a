#include "platform/place.h"

#include <arpa/inet.h>

void places_init(struct places *p, const struct model *m, const struct platform_settings *s, struct arena *a)
{
    *p = (struct places){.arena = a, .settings = s, .n = m->nodes.n};
    p->items = arena_alloc(a, p->n * sizeof(*p->items));
    size_t at = 0;
    MODEL_EACH (node, n, &m->nodes) {
        struct resources used = node_used(n);
        p->items[at++] = (struct place){
            .node = n,
            .vcpus_free = n->capacity.vcpus * s->vcpus_overcommit_percent / 100 - used.vcpus,
            .memory_free = n->capacity.memory_bytes / 100 * s->memory_overcommit_percent - used.memory_bytes,
            .host_next = n->host_next};
    }
}

/* NULL: this node has not proved what is asked for. host and null isolate nothing: only by name. */
static const char *choose_runtime(const struct node *n, const struct wish *w)
{
    if (str_eq(w->runtime, STR("host")))
        return "host";
    for (uint32_t i = 0; i < n->runtimes.n; i++) {
        const char *r = n->runtimes.items[i];
        bool isolates = strcmp(r, "host") != 0 && strcmp(r, "null") != 0;
        if (w->runtime.len > 0 ? str_eq_c(w->runtime, r) : isolates)
            return r;
    }
    return NULL;
}

static bool can_take(const struct place *p, const struct wish *w)
{
    const struct node *n = p->node;
    if (n->status != NODE_READY || !text_list_has(&n->labels, w->label) || choose_runtime(n, w) == NULL)
        return false;
    return !w->has_address || n->prefix[0] != '\0';
}

static bool has_room(const struct place *p, const struct wish *w)
{
    return p->vcpus_free >= w->needs->vcpus && p->memory_free >= w->needs->memory_bytes;
}

static uint32_t in_zone(const struct places *p, const struct zone *zone)
{
    uint32_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        n += p->items[i].node->zone == zone ? p->items[i].here_n : 0;
    return n;
}

/* Is a the better place? Nodes are compared in id order, so equal ones keep it. */
static bool is_better(const struct places *p, const struct place *a, const struct place *b, const struct wish *w)
{
    bool avoid_a = a->node == w->avoid, avoid_b = b->node == w->avoid;
    if (avoid_a != avoid_b)
        return avoid_b;
    if (a->here_n != b->here_n)
        return a->here_n < b->here_n;
    uint32_t zone_a = in_zone(p, a->node->zone), zone_b = in_zone(p, b->node->zone);
    if (zone_a != zone_b)
        return zone_a < zone_b;
    return a->memory_free > b->memory_free;
}

static struct place *best_place(struct places *p, const struct wish *w)
{
    struct place *best = NULL;
    for (size_t i = 0; i < p->n; i++) {
        struct place *at = &p->items[i];
        if (can_take(at, w) && has_room(at, w) && (best == NULL || is_better(p, at, best, w)))
            best = at;
    }
    return best;
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

static void count_here(struct places *p, const struct process *process)
{
    for (size_t i = 0; i < p->n; i++) {
        p->items[i].here_n = 0;
        if (process != NULL)
            MODEL_EACH (instance, on, &p->items[i].node->instances)
                p->items[i].here_n += on->process == process && instance_is_hopeful(on);
    }
}

static const char *say_needs(struct arena *a, const struct wish *w, size_t n)
{
    const char *runtime = w->runtime.len == 0 || str_eq(w->runtime, STR("host"))
                              ? ""
                              : arena_printf(a, ", runtime '%.*s'", STR_ARG(w->runtime));
    if (w->needs->vcpus == 0 && w->needs->memory_bytes == 0)
        return arena_printf(a, "needs a ready node labelled '%s'%s", w->label, runtime);
    return arena_printf(a, "needs room for %zu x (%lld vcpus, %lld MiB%s) on ready nodes labelled '%s'", n,
                        (long long)w->needs->vcpus, (long long)(w->needs->memory_bytes >> 20), runtime, w->label);
}

/* At most this many nodes are told one by one (chosen: a sentence that can be read). */
enum { TELL_NODES_MAX = 4 };

static const char *say_why(struct places *p, const struct wish *w, size_t n)
{
    struct arena *a = p->arena;
    const char *free_text = "";
    size_t fit_n = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct place *at = &p->items[i];
        if (!can_take(at, w) || ++fit_n > TELL_NODES_MAX)
            continue;
        free_text = arena_printf(a, "%s%s'%s' %lld vcpus, %lld MiB", free_text, fit_n > 1 ? "; " : "", at->node->name,
                                 (long long)at->vcpus_free, (long long)(at->memory_free >> 20));
    }
    if (fit_n == 0)
        return arena_printf(a,
                            "%s; there is none: add one, or see 'slipform nodes' for what is wrong with those that "
                            "are there",
                            say_needs(a, w, n));
    return arena_printf(a, "%s; free on %zu: %s%s; add a node, ask for less, or stop something", say_needs(a, w, n),
                        fit_n, free_text, fit_n > TELL_NODES_MAX ? "; ..." : "");
}

bool places_take(struct places *p, const struct wish *w, size_t n, struct placement *ret, const char **ret_why)
{
    struct place *before = arena_alloc(p->arena, p->n * sizeof(*before));
    if (p->n > 0)
        memcpy(before, p->items, p->n * sizeof(*before));
    count_here(p, w->process);
    for (size_t i = 0; i < n; i++) {
        struct place *at = best_place(p, w);
        if (at == NULL) {
            if (p->n > 0)
                memcpy(p->items, before, p->n * sizeof(*before));
            *ret_why = say_why(p, w, n);
            return false;
        }
        ret[i] = (struct placement){.node = at->node, .runtime = choose_runtime(at->node, w), .address = ""};
        if (w->has_address)
            ret[i].address = format_address(p->arena, at->node->prefix_u64, at->host_next++);
        at->vcpus_free -= w->needs->vcpus;
        at->memory_free -= w->needs->memory_bytes;
        at->here_n++;
    }
    return true;
}
