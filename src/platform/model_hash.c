/* The canonical encoding of a model, hashed: numbers as eight bytes little-endian, texts with their length, lists with
 * their count, objects in id order, references as ids. Everything that a fold or a plan reads is in it. */
#include "event/hash.h"
#include "platform/model.h"

static void add_u64(struct hash *h, uint64_t v)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    hash_add(h, bytes, sizeof(bytes));
}

static void add_i64(struct hash *h, int64_t v)
{
    add_u64(h, (uint64_t)v);
}

static void add_id(struct hash *h, struct id id)
{
    hash_add(h, id.bytes, sizeof(id.bytes));
}

/* By the id that every object begins with. */
static void add_ref(struct hash *h, const void *object)
{
    add_id(h, object == NULL ? ID_NONE : *(const struct id *)object);
}

static void add_text(struct hash *h, const char *text)
{
    size_t n = strlen(text);
    add_u64(h, n);
    hash_add(h, text, n);
}

static void add_texts(struct hash *h, const struct text_list *list)
{
    add_u64(h, list->n);
    for (uint32_t i = 0; i < list->n; i++)
        add_text(h, list->items[i]);
}

static void add_ids(struct hash *h, const struct id_list *list)
{
    add_u64(h, list->n);
    for (uint32_t i = 0; i < list->n; i++)
        add_id(h, list->items[i]);
}

static void add_resources(struct hash *h, const struct resources *r)
{
    add_i64(h, r->vcpus);
    add_i64(h, r->memory_bytes);
    add_i64(h, r->disk_bytes);
}

static void add_places(struct hash *h, const struct model *m)
{
    add_u64(h, m->regions.n);
    MODEL_EACH (region, r, &m->regions) {
        add_id(h, r->id);
        add_u64(h, r->changed_seq);
        add_text(h, r->name);
    }
    add_u64(h, m->zones.n);
    MODEL_EACH (zone, z, &m->zones) {
        add_id(h, z->id);
        add_u64(h, z->changed_seq);
        add_text(h, z->name);
        add_ref(h, z->region);
    }
}

static void add_scaling(struct hash *h, const struct scaling_rule *r)
{
    add_i64(h, r->min);
    add_i64(h, r->max);
    add_i64(h, r->target_percent);
    add_i64(h, r->cool_down_seconds);
    add_text(h, r->metric);
}

static void add_node(struct hash *h, const struct node *n)
{
    add_id(h, n->id);
    add_u64(h, n->changed_seq);
    add_u64(h, n->instances_seq);
    add_ref(h, n->zone);
    add_text(h, n->name);
    add_text(h, n->agent_url);
    add_text(h, n->cause);
    add_text(h, n->boot_id);
    add_text(h, n->prefix);
    add_texts(h, &n->labels);
    add_texts(h, &n->runtimes);
    add_texts(h, &n->suspected_by);
    add_texts(h, &n->past_boots);
    add_u64(h, n->is_heard_again);
    add_u64(h, n->host_next);
    add_u64(h, n->status);
    add_u64(h, n->reported);
    add_resources(h, &n->capacity);
    add_i64(h, n->report_seq);
    add_i64(h, n->since_ns);
}

static void add_instance(struct hash *h, const struct instance *i)
{
    add_id(h, i->id);
    add_u64(h, i->changed_seq);
    add_ref(h, i->process);
    add_ref(h, i->node);
    const char *texts[] = {i->runner_url, i->owner, i->runtime, i->address, i->cause, i->because, i->boot_id};
    for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
        add_text(h, texts[k]);
    add_i64(h, i->report_seq);
    add_i64(h, i->created_ns);
    add_i64(h, i->since_ns);
    add_texts(h, &i->workloads);
    add_texts(h, &i->partition_ranges);
    add_ids(h, &i->log_ids);
    add_u64(h, i->restarts);
    add_u64(h, i->status);
    add_u64(h, i->health);
    add_u64(h, i->wanted);
    add_u64(h, i->restart_never);
    add_u64(h, i->history_n);
    for (uint32_t k = 0; k < i->history_n; k++) {
        add_i64(h, i->history[k].at_ns);
        add_text(h, i->history[k].cause);
        add_u64(h, i->history[k].status);
        add_u64(h, i->history[k].health);
    }
}

static void add_deployment_part(struct hash *h, const struct process *p)
{
    add_ref(h, p->project);
    add_u64(h, p->status);
    add_u64(h, p->is_placed);
    add_text(h, p->cause);
    add_text(h, p->context_digest);
    add_text(h, p->requested_by);
    add_text(h, p->status_because);
    add_u64(h, p->route_seq);
    add_u64(h, p->replaced_seq);
    add_i64(h, p->since_ns);
    add_i64(h, p->said_ns);
    add_i64(h, p->drain_seconds);
    add_i64(h, p->drain_wait_seconds);
    add_i64(h, p->drain_from_ns);
    add_u64(h, p->edges_confirmed);
}

static void add_process(struct hash *h, const struct process *p)
{
    add_id(h, p->id);
    add_u64(h, p->changed_seq);
    const char *texts[] = {p->name,    p->version, p->artifact_url, p->config,
                           p->runtime, p->because, p->secret_refs,  p->image_digest};
    for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
        add_text(h, texts[k]);
    add_texts(h, &p->availability_zones);
    add_ids(h, &p->input_stream_ids);
    add_id(h, p->output_stream_id);
    add_resources(h, &p->resources);
    add_text(h, p->health.path);
    add_i64(h, p->health.interval_seconds);
    add_i64(h, p->health.timeout_seconds);
    add_i64(h, p->health.start_timeout_seconds);
    add_i64(h, p->instances_wanted);
    add_i64(h, p->instances_asked);
    add_i64(h, p->port);
    add_id(h, p->image_id);
    add_scaling(h, &p->scaling);
    add_u64(h, p->is_deleted);
    add_u64(h, p->created_seq);
    add_i64(h, p->created_ns);
    add_u64(h, p->failures_n);
    add_i64(h, p->failure_ns);
    add_u64(h, p->gone_n);
    for (uint32_t i = 0; i < p->gone_n; i++) {
        add_id(h, p->gone[i].id);
        add_i64(h, p->gone[i].created_ns);
        add_i64(h, p->gone[i].status_ns);
        add_i64(h, p->gone[i].deleted_ns);
        add_text(h, p->gone[i].node_name);
        add_text(h, p->gone[i].cause);
        add_text(h, p->gone[i].because);
        add_u64(h, p->gone[i].status);
        add_u64(h, p->gone[i].health);
    }
    add_deployment_part(h, p);
}

static void add_project(struct hash *h, const struct project *p)
{
    add_id(h, p->id);
    add_u64(h, p->changed_seq);
    add_u64(h, p->route_seq);
    add_text(h, p->name);
    add_text(h, p->slug);
    add_ref(h, p->live);
    add_texts(h, &p->hosts);
    add_u64(h, p->is_deleted);
    add_i64(h, p->created_ns);
    add_text(h, p->repository);
    add_text(h, p->branch);
    add_i64(h, p->instances_wanted);
    add_i64(h, p->drain_seconds);
    add_i64(h, p->port);
    add_resources(h, &p->resources);
    add_scaling(h, &p->scaling);
}

static void add_domains(struct hash *h, const struct model *m)
{
    add_u64(h, m->domains.n);
    MODEL_EACH (domain, d, &m->domains) {
        add_id(h, d->id);
        add_u64(h, d->changed_seq);
        add_ref(h, d->project);
        add_text(h, d->host);
        add_text(h, d->challenge);
        add_text(h, d->cause);
        add_u64(h, d->status);
        add_i64(h, d->created_ns);
        add_i64(h, d->since_ns);
    }
}

/* Users, those who wait to be one, secrets. */
static void add_sealed(struct hash *h, const struct model *m)
{
    add_u64(h, m->users.n);
    MODEL_EACH (user, u, &m->users) {
        add_id(h, u->id);
        add_u64(h, u->changed_seq);
        add_text(h, u->identity);
        add_text(h, u->name);
        add_text(h, u->email);
        add_u64(h, u->is_erased);
        add_i64(h, u->created_ns);
    }
    add_u64(h, m->waitlist.n);
    MODEL_EACH (waiting, e, &m->waitlist) {
        add_id(h, e->id);
        add_u64(h, e->changed_seq);
        add_text(h, e->identity);
        add_text(h, e->email);
        add_i64(h, e->created_ns);
    }
    add_u64(h, m->secrets.n);
    MODEL_EACH (secret, s, &m->secrets) {
        add_id(h, s->id);
        add_u64(h, s->changed_seq);
        add_ref(h, s->project);
        add_text(h, s->name);
        add_text(h, s->value);
        add_i64(h, s->set_ns);
    }
}

static void add_passed(struct hash *h, const struct model *m)
{
    add_u64(h, m->passed.n);
    MODEL_EACH (passed_record, r, &m->passed) {
        add_u64(h, r->seq);
        add_text(h, r->reason);
        add_text(h, r->requested_by);
    }
}

static void add_image(struct hash *h, const struct image *i)
{
    add_id(h, i->id);
    add_u64(h, i->changed_seq);
    add_ref(h, i->project);
    const char *texts[] = {i->context_digest,    i->digest, i->cause, i->because, i->config.workdir, i->config.user,
                           i->config.stop_signal};
    for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
        add_text(h, texts[k]);
    add_texts(h, &i->config.entrypoint);
    add_texts(h, &i->config.cmd);
    add_texts(h, &i->config.env);
    add_id(h, i->builder_instance_id);
    add_i64(h, i->size_bytes);
    add_i64(h, i->created_ns);
    add_i64(h, i->since_ns);
    add_u64(h, i->status);
}

static void add_definitions(struct hash *h, const struct model *m)
{
    add_u64(h, m->definitions.n);
    MODEL_EACH (definition, d, &m->definitions) {
        add_id(h, d->id);
        add_u64(h, d->changed_seq);
        add_text(h, event_kind_row(d->kind)->name);
        add_text(h, d->name);
        add_text(h, d->text);
        add_text(h, d->version);
        add_id(h, d->stream_id);
        add_texts(h, &d->event_types);
        add_i64(h, d->start.instant_ns);
        add_i64(h, d->start.tiebreak);
    }
    add_u64(h, m->certificates.n);
    MODEL_EACH (certificate, c, &m->certificates) {
        add_id(h, c->id);
        add_u64(h, c->changed_seq);
        add_text(h, c->host);
        add_text(h, c->not_after);
        add_i64(h, c->issued_ns);
    }
}

void model_hash(const struct model *m, uint8_t ret_hash[static 32])
{
    struct hash *h = hash_new();
    add_text(h, "slipform model 2");
    add_u64(h, m->seq);
    add_i64(h, m->time.instant_ns);
    add_i64(h, m->time.tiebreak);
    add_u64(h, m->tombstones_n);
    add_i64(h, m->format);
    add_passed(h, m);
    add_places(h, m);
    add_definitions(h, m);
    add_u64(h, m->nodes.n);
    MODEL_EACH (node, n, &m->nodes)
        add_node(h, n);
    add_u64(h, m->projects.n);
    MODEL_EACH (project, p, &m->projects)
        add_project(h, p);
    add_domains(h, m);
    add_sealed(h, m);
    add_u64(h, m->images.n);
    MODEL_EACH (image, i, &m->images)
        add_image(h, i);
    add_u64(h, m->processes.n);
    MODEL_EACH (process, p, &m->processes)
        add_process(h, p);
    add_u64(h, m->instances.n);
    MODEL_EACH (instance, i, &m->instances)
        add_instance(h, i);
    hash_finish(h, ret_hash);
}
