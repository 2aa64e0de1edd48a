/* The tables of members. What is written down here once, in the order of its encoding, is encoded, decoded, hashed,
 * taken back after a trial and freed. */
#include "platform/members.h"

#include "platform/journal.h"
#include "platform/model_write.h"

/* The kind follows from the type where it can. */
#define KIND(x)                                                                                                        \
    _Generic((x),                                                                                                      \
        struct id: MEMBER_ID,                                                                                          \
        uint64_t: MEMBER_U64,                                                                                          \
        int64_t: MEMBER_I64,                                                                                           \
        uint32_t: MEMBER_U32,                                                                                          \
        uint8_t: MEMBER_U8,                                                                                            \
        bool: MEMBER_BOOL,                                                                                             \
        const char *: MEMBER_TEXT,                                                                                     \
        struct text_list: MEMBER_TEXTS,                                                                                \
        struct id_list: MEMBER_IDS,                                                                                    \
        struct id_index: MEMBER_INDEX)
#define OF(type, member) (((struct type *)0)->member)
#define AS(type, member_, kind_, ...)                                                                                  \
    {.name = #member_,                                                                                                 \
     .offset = offsetof(struct type, member_),                                                                         \
     .size = sizeof(OF(type, member_)),                                                                                \
     .kind = (kind_),                                                                                                  \
     __VA_ARGS__}
#define PLAIN(type, member) AS(type, member, KIND(OF(type, member)), .max = 0)
#define SEQ(type, member) AS(type, member, MEMBER_SEQ, .max = 0)
#define ENUM(type, member, max_) AS(type, member, MEMBER_ENUM, .max = (max_))
#define REF(type, member, to, ...) AS(type, member, MEMBER_REF, .of = &MEMBERS_##to, __VA_ARGS__)
#define BACK(to, index) .back_offset = offsetof(struct to, index)
#define ARRAY(type, member, count, max_, to)                                                                           \
    AS(type, member, MEMBER_ARRAY, .count_offset = offsetof(struct type, count), .max = (max_), .of = &MEMBERS_##to)
#define COUNT(type, member) AS(type, member, MEMBER_DERIVED, .max = 0) /* of an array, written in front of it */
#define DERIVED(type, member) AS(type, member, MEMBER_DERIVED, .max = 0)
#define OBJECTS(member, type) AS(model, member, MEMBER_OBJECTS, .of = &MEMBERS_##type)
#define OUTSIDE(type, member) AS(type, member, MEMBER_OUTSIDE, .max = 0)
#define RESOURCES(type, member)                                                                                        \
    PLAIN(type, member.vcpus), PLAIN(type, member.memory_bytes), PLAIN(type, member.disk_bytes)
#define SCALING(type, member)                                                                                          \
    PLAIN(type, member.min), PLAIN(type, member.max), PLAIN(type, member.target_percent),                              \
        PLAIN(type, member.cool_down_seconds), PLAIN(type, member.metric)
#define TABLE(type, items_, ...)                                                                                       \
    const struct members MEMBERS_##type = {.name = #type,                                                              \
                                           .size = sizeof(struct type),                                                \
                                           .items = (items_),                                                          \
                                           .n = sizeof(items_) / sizeof((items_)[0]),                                  \
                                           __VA_ARGS__}

static const struct member REGION[] = {PLAIN(region, id), SEQ(region, changed_seq), PLAIN(region, name)};
TABLE(region, REGION);

static const struct member ZONE[] = {PLAIN(zone, id), SEQ(zone, changed_seq), PLAIN(zone, name),
                                     REF(zone, region, region, .is_required = true)};
TABLE(zone, ZONE);

static const struct member NODE[] = {
    PLAIN(node, id),
    SEQ(node, changed_seq),
    SEQ(node, instances_seq),
    PLAIN(node, name),
    PLAIN(node, agent_url),
    PLAIN(node, cause),
    REF(node, zone, zone, .is_required = true),
    PLAIN(node, labels),
    PLAIN(node, runtimes),
    PLAIN(node, suspected_by),
    PLAIN(node, is_heard_again),
    PLAIN(node, past_boots),
    PLAIN(node, boot_id),
    PLAIN(node, prefix),
    DERIVED(node, prefix_u64),
    PLAIN(node, host_next),
    ENUM(node, status, NODE_STATUS_MAX_),
    ENUM(node, reported, NODE_STATUS_MAX_),
    RESOURCES(node, capacity),
    PLAIN(node, report_seq),
    PLAIN(node, since_ns),
    PLAIN(node, instances),
};

static bool node_derive(void *object)
{
    struct node *n = object;
    return n->prefix[0] == '\0' || prefix_parse(str_from(n->prefix), &n->prefix_u64);
}
TABLE(node, NODE, .derive = node_derive);

static const struct member INSTANCE_HISTORY[] = {
    PLAIN(instance_history, at_ns),
    PLAIN(instance_history, cause),
    ENUM(instance_history, status, INSTANCE_STATUS_MAX_),
    ENUM(instance_history, health, HEALTH_MAX_),
};
TABLE(instance_history, INSTANCE_HISTORY);

static const struct member INSTANCE[] = {
    PLAIN(instance, id),
    SEQ(instance, changed_seq),
    REF(instance, process, process, .is_required = true, BACK(process, instances)),
    REF(instance, node, node, BACK(node, instances)),
    PLAIN(instance, runner_url),
    PLAIN(instance, owner),
    PLAIN(instance, runtime),
    PLAIN(instance, address),
    PLAIN(instance, cause),
    PLAIN(instance, because),
    PLAIN(instance, boot_id),
    PLAIN(instance, report_seq),
    PLAIN(instance, created_ns),
    PLAIN(instance, since_ns),
    COUNT(instance, history_n),
    ARRAY(instance, history, history_n, INSTANCE_HISTORY_MAX, instance_history),
    PLAIN(instance, workloads),
    PLAIN(instance, partition_ranges),
    PLAIN(instance, log_ids),
    PLAIN(instance, restarts),
    ENUM(instance, status, INSTANCE_STATUS_MAX_),
    ENUM(instance, health, HEALTH_MAX_),
    ENUM(instance, wanted, DESIRED_DELETED + 1),
    ENUM(instance, reported, HEALTH_MAX_),
    ENUM(instance, watched, HEALTH_MAX_),
    PLAIN(instance, restart_never),
    SEQ(instance, withdraw_seq),
};
TABLE(instance, INSTANCE);

static const struct member GONE_INSTANCE[] = {
    PLAIN(gone_instance, id),
    PLAIN(gone_instance, created_ns),
    PLAIN(gone_instance, status_ns),
    PLAIN(gone_instance, deleted_ns),
    PLAIN(gone_instance, node_name),
    PLAIN(gone_instance, cause),
    PLAIN(gone_instance, because),
    ENUM(gone_instance, status, INSTANCE_STATUS_MAX_),
    ENUM(gone_instance, health, HEALTH_MAX_),
};
TABLE(gone_instance, GONE_INSTANCE);

static const struct member PROCESS[] = {
    PLAIN(process, id),
    SEQ(process, changed_seq),
    PLAIN(process, name),
    PLAIN(process, version),
    PLAIN(process, artifact_url),
    PLAIN(process, config),
    PLAIN(process, secret_refs),
    PLAIN(process, runtime),
    PLAIN(process, because),
    PLAIN(process, availability_zones),
    PLAIN(process, input_stream_ids),
    PLAIN(process, output_stream_id),
    RESOURCES(process, resources),
    PLAIN(process, health.path),
    PLAIN(process, health.interval_seconds),
    PLAIN(process, health.timeout_seconds),
    PLAIN(process, health.start_timeout_seconds),
    PLAIN(process, instances_wanted),
    PLAIN(process, instances_asked),
    SEQ(process, scaled_seq),
    SCALING(process, scaling),
    COUNT(process, gone_n),
    ARRAY(process, gone, gone_n, PROCESS_GONE_MAX, gone_instance),
    PLAIN(process, is_deleted),
    PLAIN(process, port),
    PLAIN(process, image_id),
    PLAIN(process, image_digest),
    PLAIN(process, instances),
    REF(process, project, project, BACK(project, deployments)),
    ENUM(process, status, DEPLOYMENT_STATUS_MAX_),
    PLAIN(process, is_placed),
    PLAIN(process, cause),
    PLAIN(process, context_digest),
    PLAIN(process, requested_by),
    PLAIN(process, status_because),
    PLAIN(process, number),
    SEQ(process, created_seq),
    SEQ(process, route_seq),
    SEQ(process, replaced_seq),
    PLAIN(process, created_ns),
    PLAIN(process, since_ns),
    PLAIN(process, said_ns),
    PLAIN(process, drain_seconds),
    PLAIN(process, drain_wait_seconds),
    PLAIN(process, drain_from_ns),
    PLAIN(process, edges_confirmed),
    PLAIN(process, failures_n),
    PLAIN(process, failure_ns),
    PLAIN(process, host_label),
    PLAIN(process, hosts),
    SEQ(process, edges_seq),
};
TABLE(process, PROCESS);

static const struct member PROJECT[] = {
    PLAIN(project, id),
    SEQ(project, changed_seq),
    SEQ(project, route_seq),
    PLAIN(project, name),
    PLAIN(project, slug),
    REF(project, live, process),
    PLAIN(project, hosts),
    PLAIN(project, deployments),
    PLAIN(project, deployments_n),
    PLAIN(project, is_deleted),
    PLAIN(project, created_ns),
    PLAIN(project, domains),
    PLAIN(project, repository),
    PLAIN(project, branch),
    PLAIN(project, instances_wanted),
    PLAIN(project, drain_seconds),
    PLAIN(project, port),
    RESOURCES(project, resources),
    SCALING(project, scaling),
};

static bool project_derive(void *object)
{
    const struct project *p = object;
    return p->live == NULL || p->live->project == p;
}
TABLE(project, PROJECT, .derive = project_derive);

static const struct member DOMAIN[] = {
    PLAIN(domain, id),
    SEQ(domain, changed_seq),
    REF(domain, project, project, .is_required = true, BACK(project, domains)),
    PLAIN(domain, host),
    PLAIN(domain, challenge),
    PLAIN(domain, cause),
    ENUM(domain, status, DOMAIN_STATUS_MAX_),
    PLAIN(domain, created_ns),
    PLAIN(domain, since_ns),
};
TABLE(domain, DOMAIN);

static const struct member USER[] = {
    PLAIN(user, id),    SEQ(user, changed_seq), PLAIN(user, identity),   PLAIN(user, name),
    PLAIN(user, email), PLAIN(user, is_erased), PLAIN(user, created_ns),
};
TABLE(user, USER);

static const struct member WAITING[] = {
    PLAIN(waiting, id),    SEQ(waiting, changed_seq),  PLAIN(waiting, identity),
    PLAIN(waiting, email), PLAIN(waiting, created_ns),
};
TABLE(waiting, WAITING);

static const struct member SECRET[] = {
    PLAIN(secret, id),   SEQ(secret, changed_seq), REF(secret, project, project),
    PLAIN(secret, name), PLAIN(secret, value),     PLAIN(secret, set_ns),
};
TABLE(secret, SECRET);

static const struct member PASSED_RECORD[] = {
    PLAIN(passed_record, id),
    SEQ(passed_record, seq),
    PLAIN(passed_record, reason),
    PLAIN(passed_record, requested_by),
};
TABLE(passed_record, PASSED_RECORD);

static const struct member IMAGE[] = {
    PLAIN(image, id),
    SEQ(image, changed_seq),
    REF(image, project, project),
    PLAIN(image, context_digest),
    PLAIN(image, digest),
    PLAIN(image, cause),
    PLAIN(image, because),
    PLAIN(image, builder_instance_id),
    PLAIN(image, tries_n),
    PLAIN(image, tried_ns),
    PLAIN(image, size_bytes),
    PLAIN(image, created_ns),
    PLAIN(image, since_ns),
    PLAIN(image, config.entrypoint),
    PLAIN(image, config.cmd),
    PLAIN(image, config.env),
    PLAIN(image, config.workdir),
    PLAIN(image, config.user),
    PLAIN(image, config.stop_signal),
    ENUM(image, status, IMAGE_STATUS_MAX_),
};
TABLE(image, IMAGE);

static const struct member CERTIFICATE[] = {
    PLAIN(certificate, id),        SEQ(certificate, changed_seq), PLAIN(certificate, host),
    PLAIN(certificate, not_after), PLAIN(certificate, issued_ns),
};
TABLE(certificate, CERTIFICATE);

static const struct member DEFINITION[] = {
    PLAIN(definition, id),
    SEQ(definition, changed_seq),
    ENUM(definition, kind, EVENT_KIND_MAX_),
    PLAIN(definition, name),
    PLAIN(definition, text),
    PLAIN(definition, version),
    PLAIN(definition, stream_id),
    PLAIN(definition, event_types),
    PLAIN(definition, start.instant_ns),
    PLAIN(definition, start.tiebreak),
};

TABLE(definition, DEFINITION);

static const struct member TOMBSTONE[] = {
    SEQ(tombstone, seq),
    ENUM(tombstone, kind, OBJECT_KIND_MAX_),
    PLAIN(tombstone, id),
    PLAIN(tombstone, scope),
};
TABLE(tombstone, TOMBSTONE);

static const struct member MODEL[] = {
    PLAIN(model, seq), /* first: no SEQ is behind it */
    PLAIN(model, time.instant_ns),
    PLAIN(model, time.tiebreak),
    OUTSIDE(model, texts),
    OBJECTS(regions, region),
    OBJECTS(zones, zone),
    OBJECTS(nodes, node),
    OBJECTS(definitions, definition),
    OBJECTS(projects, project),
    OBJECTS(images, image),
    OBJECTS(processes, process),
    OBJECTS(instances, instance),
    OBJECTS(certificates, certificate),
    OBJECTS(domains, domain),
    OBJECTS(users, user),
    OBJECTS(waitlist, waiting),
    OBJECTS(secrets, secret),
    OBJECTS(passed, passed_record),
    PLAIN(model, format),
    PLAIN(model, kept.deployments),
    PLAIN(model, kept.projects),
    PLAIN(model, kept.images),
    PLAIN(model, kept.nodes),
    SEQ(model, instances_seq),
    SEQ(model, routes_seq),
    SEQ(model, projects_seq),
    SEQ(model, nodes_seq),
    SEQ(model, images_seq),
    OUTSIDE(model, changes),
    OUTSIDE(model, asked),
    OUTSIDE(model, journal),
    OUTSIDE(model, keys),
    DERIVED(model, tombstones), /* a ring: the snapshot's own code */
    DERIVED(model, tombstones_n),
    DERIVED(model, buried_n), /* made anew when it does not fit */
    DERIVED(model, buried_newest),
};
TABLE(model, MODEL);

void members_init(const struct members *members, void *object)
{
    for (size_t i = 0; i < members->n; i++)
        if (members->items[i].kind == MEMBER_TEXT)
            *(const char **)member_at(&members->items[i], object) = "";
}

static void array_done(struct journal *j, struct texts *texts, const struct member *m, void *object)
{
    char *items = *(void **)member_at(m, object);
    uint32_t n = *(const uint32_t *)(const void *)((char *)object + m->count_offset);
    for (uint32_t i = 0; i < n; i++)
        members_done(j, texts, m->of, items + i * m->of->size);
    journal_free(j, items);
}

void members_done(struct journal *j, struct texts *texts, const struct members *members, void *object)
{
    for (size_t i = 0; i < members->n; i++) {
        const struct member *m = &members->items[i];
        void *at = member_at(m, object);
        if (m->kind == MEMBER_TEXT && texts != NULL)
            texts_unref(texts, *(const char **)at);
        if (m->kind == MEMBER_TEXTS) {
            struct text_list *list = at;
            for (uint32_t k = 0; texts != NULL && k < list->n; k++)
                texts_unref(texts, list->items[k]);
            journal_free(j, list->items);
        }
        if (m->kind == MEMBER_IDS)
            journal_free(j, ((struct id_list *)at)->items);
        if (m->kind == MEMBER_ARRAY)
            array_done(j, texts, m, object);
        if (m->kind == MEMBER_INDEX)
            journal_free(j, ((struct id_index *)at)->items);
    }
}
