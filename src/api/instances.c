/* Instances: what runs where, what nodes are asked for, what they report. */
#include "api/explain.h"
#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/clock.h"
#include "base/own.h"
#include "platform/decide.h"

/* POST /v1/instances */
struct instance_order {
    struct id process_id, node_id;
    struct str runtime;
};
static const struct field INSTANCE_ORDER_FIELDS[] = {
    FIELD_REQ(ID, instance_order, process_id, "process_id", "process, or deployment, to run once more"),
    FIELD_OPT(ID, instance_order, node_id, "node_id", "where; none: placed by the planner's rules"),
    FIELD_OPT(STR, instance_order, runtime, "runtime", "empty: that of the process, or the best that is proved"),
};
const struct field_table INSTANCE_ORDER_WIRE = FIELD_TABLE(instance_order, INSTANCE_ORDER_FIELDS);

struct secrets {
    struct strs env;
    struct str cert_pem, key_pem;
};
static const struct field SECRETS_FIELDS[] = {
    FIELD_REQ(STRS, secrets, env, "env", "NAME=value, secret ones"),
    FIELD_OPT(STR, secrets, cert_pem, "cert_pem", "identity of the program, for role builder"),
    FIELD_OPT(STR, secrets, key_pem, "key_pem", "its private key"),
};
const struct field_table SECRETS_WIRE = FIELD_TABLE(secrets, SECRETS_FIELDS);

struct log_seq {
    int64_t seq;
};
static const struct field LOG_SEQ_FIELDS[] = {
    FIELD_REQ(I64, log_seq, seq, "seq", "of the last line that is kept"),
};
const struct field_table LOG_SEQ_WIRE = FIELD_TABLE(log_seq, LOG_SEQ_FIELDS);

/* ---- listing ---- */

struct filter {
    struct id node_id, deployment_id, project_id;
    struct str status;
};

static bool matches(const struct filter *f, const struct instance *i)
{
    const struct process *p = i->process;
    return (id_is_none(f->deployment_id) || id_eq(p->id, f->deployment_id)) &&
           (id_is_none(f->project_id) || (p->project != NULL && id_eq(p->project->id, f->project_id))) &&
           (f->status.len == 0 || str_eq_c(f->status, instance_status_name((enum instance_status)i->status)));
}

static void add_instance(struct call *c, struct feed *f, const struct filter *filter, const struct instance *i)
{
    if (!feed_wants(f, i->id, i->changed_seq))
        return;
    if (!matches(filter, i)) {
        feed_remove(f, i->id);
        return;
    }
    AUTO(arena) struct arena a = {0};
    struct instance_resource resource;
    view_instance(c->api->o.control, i, &a, &resource);
    feed_add(f, &INSTANCE_RESOURCE_WIRE, i->id, &resource);
}

static void collect(struct call *c, struct feed *f)
{
    const struct filter *filter = c->data;
    const struct model *m = call_model(c);
    const struct node *node = model_node(m, filter->node_id);
    bool is_its_own = c->caller.role == CALLER_NODE; /* it waits for what it is asked for, not for what it has said */
    if (!id_is_none(filter->node_id) &&
        (node == NULL || (is_its_own && !f->is_full && node->instances_seq <= f->since)))
        return;
    const struct id_index *index = node != NULL ? &node->instances : &m->instances;
    MODEL_EACH (instance, i, index) {
        add_instance(c, f, filter, i);
    }
    feed_remove_gone(c, f, OBJECT_INSTANCE, filter->node_id);
}

/* A node sees its own instances. False: answered. */
static bool only_own(struct call *c, struct filter *filter)
{
    if (c->caller.role != CALLER_NODE)
        return true;
    const struct node *own = model_node_by_name(call_model(c), str_from(c->caller.id));
    if (own == NULL) {
        call_reply_problem(c, 404, err_name(ERR_NOT_FOUND), "node '%s' has not joined: POST /v1/nodes first",
                           c->caller.id);
        return false;
    }
    if (!id_is_none(filter->node_id) && !id_eq(filter->node_id, own->id)) {
        call_reply_problem(c, 403, err_name(ERR_DENIED), "node '%s' may list its own instances only", c->caller.id);
        return false;
    }
    filter->node_id = own->id;
    return true;
}

void instances_list(struct call *c)
{
    struct filter *f = arena_alloc(&c->arena, sizeof(*f));
    enum instance_status status;
    if (!call_query_id(c, "node_id", &f->node_id) || !call_query_id(c, "deployment_id", &f->deployment_id) ||
        !call_query_id(c, "project_id", &f->project_id) || !only_own(c, f))
        return;
    f->status = call_query_str(c, "status");
    if (f->status.len > 0 && !instance_status_parse(f->status, &status)) {
        call_reply_problem(c, 400, err_name(ERR_INVALID), "'%s' is no status of an instance", f->status.ptr);
        return;
    }
    c->data = f;
    if (c->caller.role == CALLER_NODE)
        follow_asked(c, collect, f->node_id);
    else
        follow(c, collect);
}

/* ---- one instance ---- */

/* The instance of the path, which the caller may see. NULL: answered. */
static const struct instance *instance_of(struct call *c)
{
    struct id id;
    if (!call_id(c, "id", "instance", &id))
        return NULL;
    const struct instance *i = model_instance(call_model(c), id);
    bool is_foreign =
        i != NULL && c->caller.role == CALLER_NODE && (i->node == NULL || strcmp(i->node->name, c->caller.id) != 0);
    if (i == NULL)
        call_reply_missing(c, "instance");
    else if (is_foreign)
        call_reply_problem(c, 403, err_name(ERR_DENIED), "this instance is not placed on node '%s'", c->caller.id);
    return is_foreign ? NULL : i;
}

static void reply_instance(struct call *c, int status, struct id id)
{
    const struct instance *i = model_instance(call_model(c), id);
    if (i == NULL) {
        call_reply_missing(c, "instance");
        return;
    }
    struct instance_resource resource;
    view_instance(c->api->o.control, i, &c->arena, &resource);
    resource.explanation = explanation_of(c, explain_instance, i->id);
    call_reply_status(c, status, &INSTANCE_RESOURCE_WIRE, &resource);
}

void instance_get(struct call *c)
{
    const struct instance *i = instance_of(c);
    if (i != NULL)
        reply_instance(c, 200, i->id);
}

struct create {
    struct instance_create order;
    struct id id;
};

static enum err create_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct create *x = args;
    return decide_create_instance(d, &x->order, out, &x->id, err);
}

static void created(struct call *c, void *args, size_t events_n)
{
    const struct create *x = args;
    (void)events_n;
    call_location(c, "/v1/instances/", x->id);
    reply_instance(c, 201, x->id);
}

void instances_create(struct call *c)
{
    struct instance_order order;
    struct create *x = arena_alloc(&c->arena, sizeof(*x));
    if (!call_read(c, &INSTANCE_ORDER_WIRE, &order))
        return;
    x->order = (struct instance_create){order.process_id, order.node_id, order.runtime};
    call_submit(c, create_decide, x, created);
}

static enum err delete_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct id *id = args;
    return decide_delete_instance(d, *id, out, err);
}

static void deleted(struct call *c, void *args, size_t events_n)
{
    (void)args;
    (void)events_n;
    call_reply_text(c, 202, STR("{}"));
}

void instance_delete(struct call *c)
{
    const struct instance *i = instance_of(c);
    if (i == NULL)
        return;
    struct id *id = arena_alloc(&c->arena, sizeof(*id));
    *id = i->id;
    call_submit(c, delete_decide, id, deleted);
}

/* ---- state ---- */

struct state {
    struct id id;
    struct str desired;
    struct instance_observed observed;
};

static enum err desired_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct state *s = args;
    return decide_instance_desired(d, s->id, s->desired, out, err);
}

static void desired_done(struct call *c, void *args, size_t events_n)
{
    const struct state *s = args;
    (void)events_n;
    reply_instance(c, 200, s->id);
}

static enum err observed_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct state *s = args;
    return decide_instance_observed(d, &s->observed, out, err);
}

static void observed_done(struct call *c, void *args, size_t events_n)
{
    (void)args;
    (void)events_n;
    call_reply_text(c, 200, STR("{}"));
}

static void put_observed(struct call *c, const struct instance *i, const struct instance_state *body, struct state *s)
{
    if (c->caller.role != CALLER_NODE) {
        call_reply_problem(c, 403, err_name(ERR_DENIED),
                           "what was observed is reported by the node of the instance; you may set 'desired'");
        return;
    }
    s->observed = (struct instance_observed){
        .instance_id = i->id,
        .reporter_node_id = i->node->id,
        .observed = body->observed,
        .health = body->health,
        .cause = body->cause,
        .boot_id = body->boot_id,
        .report_seq = body->report_seq,
        .restarts = body->statistics.restarts,
    };
    seen_instance_statistics(control_seen(c->api->o.control), i->id, &body->statistics, clock_mono_us());
    call_submit(c, observed_decide, s, observed_done);
}

void instance_put_state(struct call *c)
{
    const struct instance *i = instance_of(c);
    struct instance_state body;
    if (i == NULL || !call_read(c, &INSTANCE_STATE_WIRE, &body))
        return;
    struct state *s = arena_alloc(&c->arena, sizeof(*s));
    s->id = i->id;
    s->desired = body.desired;
    if (body.observed.len > 0) {
        put_observed(c, i, &body, s);
    } else if (body.desired.len == 0) {
        call_reply_problem(c, 400, err_name(ERR_INVALID), "one of 'desired' and 'observed' is needed");
    } else if (c->caller.role != CALLER_OPERATOR) {
        call_reply_problem(c, 403, err_name(ERR_DENIED), "only an operator sets what is desired");
    } else {
        call_submit(c, desired_decide, s, desired_done);
    }
}

/* ---- what only its node may have ---- */

static void answer_secrets(struct call *c, struct strs env)
{
    const struct id *instance_id = c->data;
    struct control *control = c->api->o.control;
    struct secrets secrets = {.env = env};
    AUTO(buf) struct buf cert = {0};
    AUTO(buf) struct buf key = {0};
    struct errinfo err = {0};
    if (model_image_of_builder(call_model(c), *instance_id) != NULL) {
        char id[ID_TEXT_SIZE];
        id_format(*instance_id, id);
        if (control_certificates(control) == NULL)
            err_ignore(err_set(&err, ERR_UNAVAILABLE, "this replica issues no identities: ask another one"));
        else
            err_ignore(certificates_issue_identity(control_certificates(control), control_installation(control),
                                                   "builder", id, CERTIFICATE_BUILDER_DAYS, &cert, &key, &err));
        if (err.code != OK) {
            call_reply_error(c, &err);
            return;
        }
        secrets.cert_pem = buf_str(&cert);
        secrets.key_pem = buf_str(&key);
    }
    http_respond_header(c->r, "Cache-Control", "no-store");
    call_reply(c, &secrets);
    if (key.ptr != NULL)
        explicit_bzero(key.ptr, key.size);
}

void instance_secrets(struct call *c)
{
    const struct instance *i = instance_of(c);
    if (i == NULL)
        return;
    struct id *id = arena_alloc(&c->arena, sizeof(*id));
    *id = i->id;
    c->data = id;
    secrets_open(c, i->process, answer_secrets);
}

static void lines_kept(void *ctx, enum err rc, int64_t seq, const struct errinfo *err)
{
    struct call *c = ctx;
    const struct log_seq ret = {.seq = seq};
    if (rc != OK)
        call_reply_error(c, err);
    else
        call_reply(c, &ret);
}

void instance_post_logs(struct call *c)
{
    const struct instance *i = instance_of(c);
    struct bulk_queue *logs = control_logs(c->api->o.control);
    struct errinfo err = {0};
    if (i == NULL)
        return;
    if (logs == NULL) {
        call_reply_problem(c, 503, err_name(ERR_UNAVAILABLE), "this replica keeps no logs of instances");
        return;
    }
    if (instance_logs_append(logs, i->id, http_request_body(c->r), lines_kept, c, &err) != OK)
        call_reply_error(c, &err);
}
