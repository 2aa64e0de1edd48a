#include "platform/explain_room.h"

#include "base/buf.h"
#include "base/own.h"

/* Nodes that are named one by one (chosen: a sentence that can be read). */
enum { TELL_NODES_MAX = 6 };

struct resources node_free(const struct platform_settings *s, const struct node *n)
{
    struct resources used = node_used(n);
    return (struct resources){
        .vcpus = n->capacity.vcpus * s->vcpus_overcommit_percent / 100 - used.vcpus,
        .memory_bytes = n->capacity.memory_bytes / 100 * s->memory_overcommit_percent - used.memory_bytes,
        .disk_bytes = n->capacity.disk_bytes - used.disk_bytes,
    };
}

const char *size_text(struct arena *a, int64_t vcpus, int64_t memory_bytes)
{
    return arena_printf(a, "%lld vcpu%s and %lld MiB", (long long)vcpus, vcpus == 1 ? "" : "s",
                        (long long)(memory_bytes >> 20));
}

const char *when_text(struct arena *a, int64_t at_ns)
{
    char text[EVENT_TIME_TEXT_SIZE];
    event_time_format((struct event_time){at_ns, 0}, text);
    struct str t = str_from(text);
    size_t end = str_find(t, '.');
    if (end == t.len)
        end = str_find(t, 'Z');
    return arena_printf(a, "%.*sZ", (int)end, text);
}

static bool has_runtime(const struct node *n, const char *asked)
{
    for (uint32_t i = 0; i < n->runtimes.n; i++) {
        const char *r = n->runtimes.items[i];
        bool isolates = strcmp(r, "host") != 0 && strcmp(r, "null") != 0;
        if (asked[0] != '\0' ? strcmp(r, asked) == 0 : isolates)
            return true;
    }
    return false;
}

static bool in_zones(const struct node *n, const struct process *p)
{
    return p->availability_zones.n == 0 || text_list_has(&p->availability_zones, n->zone->name);
}

/* "": it can take instances of p when it has room. */
static const char *why_not(const struct node *n, const struct process *p, struct arena *a)
{
    if (!in_zones(n, p))
        return arena_printf(a, "'%s' is in zone '%s', where it may not run", n->name, n->zone->name);
    if (n->status != NODE_READY)
        return arena_printf(a, "'%s' is %s", n->name, node_status_name(n->status));
    if (!has_runtime(n, p->runtime))
        return p->runtime[0] == '\0' ? arena_printf(a, "'%s' has proved no runtime that isolates", n->name)
                                     : arena_printf(a, "'%s' has not proved runtime '%s'", n->name, p->runtime);
    if (n->prefix[0] == '\0')
        return arena_printf(a, "'%s' has no addresses to give", n->name);
    return "";
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t fit_n(const struct resources *free, const struct resources *needs)
{
    int64_t n = INT64_MAX;
    if (needs->vcpus > 0)
        n = least(n, free->vcpus / needs->vcpus);
    if (needs->memory_bytes > 0)
        n = least(n, free->memory_bytes / needs->memory_bytes);
    return n < 0 || n == INT64_MAX ? (n < 0 ? 0 : 1) : n;
}

static void tell_node(struct buf *out, size_t *told_n, const char *text)
{
    if (++*told_n == TELL_NODES_MAX + 1)
        buf_add_c(out, "; …");
    if (*told_n > TELL_NODES_MAX)
        return;
    buf_addf(out, "%s%s", *told_n > 1 ? "; " : "", text);
}

struct room room_for(const struct model *m, const struct platform_settings *s, const struct process *p, int64_t n,
                     struct arena *a)
{
    AUTO(buf) struct buf free_text = {0};
    struct room room = {0};
    size_t told_n = 0, fit_nodes_n = 0;
    MODEL_EACH (node, node, &m->nodes) {
        if (!text_list_has(&node->labels, "worker") || node->status == NODE_GONE)
            continue;
        const char *why = why_not(node, p, a);
        if (why[0] != '\0') {
            tell_node(&free_text, &told_n, why);
            continue;
        }
        struct resources free = node_free(s, node);
        fit_nodes_n++;
        room.fits_n += fit_n(&free, &p->resources);
        tell_node(&free_text, &told_n,
                  arena_printf(a, "'%s' has %s free", node->name, size_text(a, free.vcpus, free.memory_bytes)));
    }
    room.needs = arena_printf(a, "%lld instance%s of %s", (long long)n, n == 1 ? "" : "s",
                              size_text(a, p->resources.vcpus, p->resources.memory_bytes));
    room.free = told_n == 0 ? "there is no worker" : arena_str(a, buf_str(&free_text)).ptr;
    room.change =
        fit_nodes_n == 0
            ? arena_printf(a, "add a worker, or make one ready ('slipform nodes' says what is wrong with each)")
            : arena_printf(a,
                           "add a worker with %s free, stop a deployment, or ask for fewer or smaller "
                           "instances",
                           size_text(a, p->resources.vcpus, p->resources.memory_bytes));
    return room;
}
