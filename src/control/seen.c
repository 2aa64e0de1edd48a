#include "control/seen.h"
#include "base/map.h"

#include <stdlib.h>

struct node_row {
    struct seen_node node; /* its id is the key */
    struct arena arena;    /* of the report */
    UT_hash_handle hh;
};

struct instance_row {
    struct id instance_id;
    struct instance_statistics statistics;
    int64_t heard_us;
    char *runtime, *metrics_url;
    UT_hash_handle hh;
};

struct seen {
    struct node_row *nodes;
    struct instance_row *instances;
    struct seen_edge *edges; /* in order of name; names are owned */
    size_t edges_n;
};

struct seen *seen_new(void)
{
    return mem_alloc(sizeof(struct seen));
}

static void instance_row_free(struct seen *s, struct instance_row *row)
{
    HASH_DEL(s->instances, row);
    free(row->runtime);
    free(row->metrics_url);
    free(row);
}

void seen_free(struct seen *s)
{
    if (s == NULL)
        return;
    struct node_row *n = NULL, *next_n = NULL;
    HASH_ITER(hh, s->nodes, n, next_n)
    {
        HASH_DEL(s->nodes, n);
        arena_done(&n->arena);
        free(n);
    }
    struct instance_row *i = NULL, *next_i = NULL;
    HASH_ITER(hh, s->instances, i, next_i)
    {
        instance_row_free(s, i);
    }
    for (size_t e = 0; e < s->edges_n; e++)
        free((void *)(uintptr_t)s->edges[e].name.ptr);
    free(s->edges);
    free(s);
}

static struct node_row *node_get(struct seen *s, struct id node_id)
{
    struct node_row *row = NULL;
    HASH_FIND(hh, s->nodes, &node_id, sizeof(node_id), row);
    if (row == NULL) {
        row = mem_alloc(sizeof(*row));
        row->node.node_id = node_id;
        HASH_ADD(hh, s->nodes, node.node_id, sizeof(row->node.node_id), row);
    }
    return row;
}

void seen_node_alive(struct seen *s, struct id node_id, int64_t now_us, int64_t wall_us)
{
    struct node_row *row = node_get(s, node_id);
    row->node.heard_us = now_us;
    row->node.heard_wall_us = wall_us;
}

bool seen_node_report(struct seen *s, struct id node_id, const struct node_report *report, struct arena *arena,
                      int64_t now_us, int64_t wall_us)
{
    struct node_row *row = node_get(s, node_id);
    const struct node_report *last = &row->node.report;
    seen_node_alive(s, node_id, now_us, wall_us);
    if (str_eq(last->boot_id, report->boot_id) && report->report_seq <= last->report_seq) {
        arena_done(arena);
        return false;
    }
    struct arena old = row->arena;
    row->arena = *arena;
    row->node.report = *report;
    *arena = (struct arena){0};
    arena_done(&old);
    return true;
}

const struct seen_node *seen_node_find(const struct seen *s, struct id node_id)
{
    struct node_row *row = NULL;
    HASH_FIND(hh, s->nodes, &node_id, sizeof(node_id), row);
    return row == NULL ? NULL : &row->node;
}

const struct instance_report *seen_instance_report(const struct seen *s, struct id node_id, struct id instance_id)
{
    const struct seen_node *n = seen_node_find(s, node_id);
    const struct instance_report *items = n == NULL ? NULL : n->report.instances.items;
    for (size_t i = 0; items != NULL && i < n->report.instances.n; i++)
        if (id_eq(items[i].instance_id, instance_id))
            return &items[i];
    return NULL;
}

static struct instance_row *instance_find(const struct seen *s, struct id instance_id)
{
    struct instance_row *row = NULL;
    HASH_FIND(hh, s->instances, &instance_id, sizeof(instance_id), row);
    return row;
}

static struct str text_replace(char **kept, struct str text)
{
    if (*kept != NULL && str_eq_c(text, *kept)) /* as nearly always */
        return (struct str){*kept, text.len};
    free(*kept);
    *kept = mem_strndup(text.ptr == NULL ? "" : text.ptr, text.len);
    return (struct str){*kept, text.len};
}

void seen_instance_statistics(struct seen *s, struct id instance_id, const struct instance_statistics *statistics,
                              int64_t now_us)
{
    struct instance_row *row = instance_find(s, instance_id);
    if (row == NULL) {
        row = mem_alloc(sizeof(*row));
        row->instance_id = instance_id;
        HASH_ADD(hh, s->instances, instance_id, sizeof(row->instance_id), row);
    }
    row->heard_us = now_us;
    row->statistics = *statistics;
    row->statistics.runtime = text_replace(&row->runtime, statistics->runtime);
    row->statistics.metrics_url = text_replace(&row->metrics_url, statistics->metrics_url);
}

const struct instance_statistics *seen_instance_find(const struct seen *s, struct id instance_id)
{
    const struct instance_row *row = instance_find(s, instance_id);
    return row == NULL ? NULL : &row->statistics;
}

void seen_forget_silent(struct seen *s, int64_t before_us)
{
    struct instance_row *row = NULL, *next = NULL;
    HASH_ITER(hh, s->instances, row, next)
    {
        if (row->heard_us < before_us)
            instance_row_free(s, row);
    }
}

static struct seen_edge *edge_get(struct seen *s, const char *name)
{
    size_t at = 0;
    for (; at < s->edges_n; at++) {
        int order = str_cmp(s->edges[at].name, str_from(name));
        if (order == 0)
            return &s->edges[at];
        if (order > 0)
            break;
    }
    s->edges = mem_realloc(s->edges, (s->edges_n + 1) * sizeof(*s->edges));
    memmove(&s->edges[at + 1], &s->edges[at], (s->edges_n - at) * sizeof(*s->edges));
    s->edges_n++;
    s->edges[at] = (struct seen_edge){.name = str_from(mem_strdup(name))};
    return &s->edges[at];
}

bool seen_edge_poll_begin(struct seen *s, const char *name, uint64_t confirmed_seq, int64_t now_us)
{
    struct seen_edge *e = edge_get(s, name);
    bool was_silent = e->polls_n == 0 && now_us - e->heard_us > SEEN_EDGE_SILENT_US;
    bool is_news = e->confirmed_seq != confirmed_seq || e->heard_us == 0 || was_silent;
    e->confirmed_seq = confirmed_seq;
    e->heard_us = now_us;
    e->polls_n++;
    return is_news;
}

void seen_edge_poll_end(struct seen *s, const char *name, int64_t now_us)
{
    struct seen_edge *e = edge_get(s, name);
    e->heard_us = now_us;
    if (e->polls_n > 0)
        e->polls_n--;
}

size_t seen_edges_n(const struct seen *s)
{
    return s->edges_n;
}

const struct seen_edge *seen_edge_at(const struct seen *s, size_t i)
{
    return &s->edges[i];
}
