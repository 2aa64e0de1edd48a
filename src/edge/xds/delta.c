#include "edge/xds/delta.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/own.h"
#include "service_discovery_v3.pb-c.h"

typedef Envoy__Service__Discovery__V3__DeltaDiscoveryRequest request_t;
typedef Envoy__Service__Discovery__V3__DeltaDiscoveryResponse response_t;
typedef Envoy__Service__Discovery__V3__Resource resource_t;

struct delta {
    struct rollout *rollout;
    struct rollout_message message; /* big: not on the stack */
};

struct delta *delta_new(void)
{
    struct delta *d = mem_alloc(sizeof(*d));
    d->rollout = rollout_new();
    return d;
}

void delta_free(struct delta *d)
{
    if (d == NULL)
        return;
    rollout_free(d->rollout);
    free(d);
}

const struct rollout *delta_rollout(const struct delta *d)
{
    return d->rollout;
}

static struct str *names_of(char **names, size_t n)
{
    struct str *list = mem_calloc(n + 1, sizeof(*list));
    for (size_t i = 0; i < n; i++)
        list[i] = str_from(names[i]);
    return list;
}

static void take_request(struct delta *d, const request_t *m, struct delta_event *e)
{
    auto_free struct str *subscribe = names_of(m->resource_names_subscribe, m->n_resource_names_subscribe);
    auto_free struct str *unsubscribe = names_of(m->resource_names_unsubscribe, m->n_resource_names_unsubscribe);
    auto_free struct rollout_version *initial = mem_calloc(m->n_initial_resource_versions + 1, sizeof(*initial));
    for (size_t i = 0; i < m->n_initial_resource_versions; i++)
        initial[i] = (struct rollout_version){str_from(m->initial_resource_versions[i]->key),
                                              str_from(m->initial_resource_versions[i]->value)};
    struct rollout_request r = {
        .type = e->type,
        .subscribe = subscribe,
        .subscribe_n = m->n_resource_names_subscribe,
        .unsubscribe = unsubscribe,
        .unsubscribe_n = m->n_resource_names_unsubscribe,
        .initial = initial,
        .initial_n = m->n_initial_resource_versions,
        .nonce = str_from(m->response_nonce),
        .is_refusal = m->error_detail != NULL,
    };
    e->resources_n = rollout_request(d->rollout, &r);
    e->is_refusal = r.is_refusal;
    e->is_ack = r.nonce.len > 0 && !r.is_refusal;
    if (r.is_refusal)
        (void)snprintf(e->text, sizeof(e->text), "%s", m->error_detail->message);
}

enum err delta_receive(struct delta *d, struct str bytes, struct delta_event *ret_event, struct errinfo *err)
{
    *ret_event = (struct delta_event){0};
    request_t *m =
        envoy__service__discovery__v3__delta_discovery_request__unpack(NULL, bytes.len, (const uint8_t *)bytes.ptr);
    if (m == NULL)
        return err_set(err, ERR_INVALID, "%zu bytes that are not a DeltaDiscoveryRequest", bytes.len);
    ret_event->is_known_type = xds_type_find(str_from(m->type_url), &ret_event->type);
    if (ret_event->is_known_type)
        take_request(d, m, ret_event);
    envoy__service__discovery__v3__delta_discovery_request__free_unpacked(m, NULL);
    return OK;
}

/* protobuf-c's structs have no const. */
static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* The parts of one message, which live until it is packed. */
struct parts {
    resource_t resources[ROLLOUT_BATCH_MAX];
    resource_t *resource_ptrs[ROLLOUT_BATCH_MAX];
    Google__Protobuf__Any bodies[ROLLOUT_BATCH_MAX];
    char *names[ROLLOUT_BATCH_MAX]; /* alias of a virtual host: the name that was asked for */
    char *removed[ROLLOUT_BATCH_MAX];
    size_t resources_n, removed_n;
};

static void add_resource(struct parts *p, enum xds_type type, const struct rollout_item *item)
{
    resource_t *r = &p->resources[p->resources_n];
    Google__Protobuf__Any *body = &p->bodies[p->resources_n];
    envoy__service__discovery__v3__resource__init(r);
    google__protobuf__any__init(body);
    r->name = unconst(item->name);
    r->version = unconst(item->resource->is_present ? item->resource->version : "absent");
    if (type == XDS_VIRTUAL_HOST) {
        p->names[p->resources_n] = r->name;
        r->aliases = &p->names[p->resources_n];
        r->n_aliases = 1;
    }
    if (item->resource->is_present) {
        body->type_url = unconst(xds_type_url(type));
        body->value.data = (uint8_t *)unconst(item->resource->bytes);
        body->value.len = item->resource->size;
        r->resource = body;
    }
    p->resource_ptrs[p->resources_n++] = r;
}

static void pack(const struct rollout_message *m, struct parts *p, struct buf *out)
{
    char nonce[24];
    response_t response;
    envoy__service__discovery__v3__delta_discovery_response__init(&response);
    (void)snprintf(nonce, sizeof(nonce), "%llu", (unsigned long long)m->nonce);
    for (size_t i = 0; i < m->items_n; i++)
        if (m->items[i].resource != NULL)
            add_resource(p, m->type, &m->items[i]);
        else
            p->removed[p->removed_n++] = unconst(m->items[i].name);
    response.type_url = unconst(xds_type_url(m->type));
    response.nonce = nonce;
    response.resources = p->resource_ptrs;
    response.n_resources = p->resources_n;
    response.removed_resources = p->removed;
    response.n_removed_resources = p->removed_n;
    size_t size = envoy__service__discovery__v3__delta_discovery_response__get_packed_size(&response);
    buf_reserve(out, size);
    envoy__service__discovery__v3__delta_discovery_response__pack(&response, (uint8_t *)out->ptr + out->len);
    out->len += size;
}

bool delta_next(struct delta *d, const struct catalogue *c, struct buf *out)
{
    if (!rollout_next(d->rollout, c, &d->message))
        return false;
    struct parts *parts = mem_alloc(sizeof(*parts));
    pack(&d->message, parts, out);
    free(parts);
    return true;
}
