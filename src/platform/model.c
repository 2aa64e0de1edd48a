/* The model's memory: made, freed, measured. */
#include "platform/model.h"

#include "base/mem.h"
#include "platform/model_write.h"

struct model *model_new(void)
{
    struct model *m = mem_alloc(sizeof(*m));
    m->time = EVENT_TIME_MIN;
    m->changes = changes_new();
    return m;
}

void instance_free(struct model *m, struct instance *i)
{
    const char *texts[] = {i->runner_url, i->owner, i->runtime, i->address, i->cause, i->because, i->boot_id};
    for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
        texts_unref(&m->texts, texts[k]);
    for (uint32_t k = 0; k < i->history_n; k++)
        texts_unref(&m->texts, i->history[k].cause);
    free(i->history);
    text_list_clear(&m->texts, &i->workloads);
    text_list_clear(&m->texts, &i->partition_ranges);
    free(i->log_ids.items);
    free(i);
}

/* Texts are freed all at once afterwards; here only the arrays. */
static void list_free(struct text_list *list)
{
    free(list->items);
}

static void nodes_free(struct id_index *nodes)
{
    MODEL_EACH (node, n, nodes) {
        list_free(&n->labels);
        list_free(&n->runtimes);
        list_free(&n->suspected_by);
        list_free(&n->past_boots);
        id_index_done(&n->instances);
        free(n);
    }
    id_index_done(nodes);
}

static void processes_free(struct id_index *processes)
{
    MODEL_EACH (process, p, processes) {
        list_free(&p->availability_zones);
        free(p->input_stream_ids.items);
        id_index_done(&p->instances);
        free(p);
    }
    id_index_done(processes);
}

static void projects_free(struct id_index *projects)
{
    MODEL_EACH (project, p, projects) {
        list_free(&p->hosts);
        id_index_done(&p->deployments);
        free(p);
    }
    id_index_done(projects);
}

static void images_free(struct id_index *images)
{
    MODEL_EACH (image, i, images) {
        list_free(&i->config.entrypoint);
        list_free(&i->config.cmd);
        list_free(&i->config.env);
        free(i);
    }
    id_index_done(images);
}

static void plain_free(struct id_index *objects)
{
    for (size_t i = 0; i < objects->n; i++)
        free(objects->items[i]);
    id_index_done(objects);
}

void model_free(struct model *m)
{
    if (m == NULL)
        return;
    MODEL_EACH (instance, i, &m->instances)
        instance_free(m, i);
    id_index_done(&m->instances);
    nodes_free(&m->nodes);
    processes_free(&m->processes);
    projects_free(&m->projects);
    images_free(&m->images);
    MODEL_EACH (definition, d, &m->definitions)
        list_free(&d->event_types);
    plain_free(&m->definitions);
    plain_free(&m->regions);
    plain_free(&m->zones);
    plain_free(&m->certificates);
    texts_done(&m->texts);
    free(m->tombstones);
    changes_free(m->changes);
    free(m);
}

static size_t index_size(const struct id_index *x, size_t object_size)
{
    return x->size * sizeof(void *) + x->n * object_size;
}

size_t model_size_bytes(const struct model *m)
{
    size_t size = sizeof(*m) + texts_size_bytes(&m->texts);
    size += index_size(&m->nodes, sizeof(struct node)) + index_size(&m->projects, sizeof(struct project));
    size += index_size(&m->processes, sizeof(struct process)) + index_size(&m->images, sizeof(struct image));
    size += index_size(&m->instances, sizeof(struct instance)) + index_size(&m->zones, sizeof(struct zone));
    size += index_size(&m->regions, sizeof(struct region)) + index_size(&m->definitions, sizeof(struct definition));
    size += index_size(&m->certificates, sizeof(struct certificate));
    size += changes_size_bytes(m->changes);
    size += m->tombstones == NULL ? 0 : MODEL_TOMBSTONES_MAX * sizeof(*m->tombstones);
    MODEL_EACH (instance, i, &m->instances)
        size += i->history_n * sizeof(*i->history) + 3 * sizeof(void *); /* a list item or two, its nodes' index */
    MODEL_EACH (node, n, &m->nodes)
        size += index_size(&n->instances, 0);
    MODEL_EACH (process, p, &m->processes)
        size += index_size(&p->instances, 0);
    return size;
}
