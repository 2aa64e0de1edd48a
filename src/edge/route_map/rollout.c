#include "edge/route_map/rollout.h"

#include <assert.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/own.h"

/* Version of "there is no such thing" as the client holds it. */
#define ABSENT_VERSION "absent"
/* Longest version that a client can say it holds: anything longer is not ours. */
#define HELD_SIZE 24

/* One name of one type, as this client knows it. */
struct item {
    char *name;
    bool is_subscribed;      /* by name */
    bool answer_due;         /* asked for (again): answer even if nothing changed */
    char held[HELD_SIZE];    /* version acknowledged; "": holds nothing */
    char *held_needs;        /* cluster that the held virtual host names; NULL: none, or not known */
    bool held_needs_known;   /* false for what a client brought along from an earlier stream */
    char sent[HELD_SIZE];    /* version under way; "": nothing */
    bool is_removal;         /* what is under way takes it away */
    char *sent_needs;        /* as held_needs, of what is under way */
    char refused[HELD_SIZE]; /* version that the client refused last */
    bool is_suspect;         /* was in a refused message with others: goes alone next time */
    UT_hash_handle hh;
};

struct type_state {
    struct item *items;
    bool has_spoken; /* a request came */
    bool answer_due; /* the first request gets an answer, also an empty one */
    uint64_t nonce;  /* of the answer under way; 0: none */
    size_t sent_n;   /* items in it */
};

struct rollout {
    struct type_state types[XDS_TYPES_N];
    uint64_t nonce_last;
};

struct rollout *rollout_new(void)
{
    return mem_alloc(sizeof(struct rollout));
}

static void item_free(struct type_state *t, struct item *i)
{
    HASH_DEL(t->items, i);
    free(i->name);
    free(i->held_needs);
    free(i->sent_needs);
    free(i);
}

void rollout_free(struct rollout *r)
{
    if (r == NULL)
        return;
    for (size_t t = 0; t < XDS_TYPES_N; t++) {
        struct item *i, *tmp;
        HASH_ITER(hh, r->types[t].items, i, tmp)
        item_free(&r->types[t], i);
    }
    free(r);
}

/* Types of which the client wants all there is; the others it names. */
static bool is_wildcard(enum xds_type type)
{
    return type == XDS_CLUSTER || type == XDS_LISTENER;
}

static struct item *item_find(const struct type_state *t, struct str name)
{
    struct item *i = NULL;
    HASH_FIND(hh, t->items, name.ptr, name.len, i);
    return i;
}

static struct item *item_get(struct type_state *t, struct str name)
{
    struct item *i = item_find(t, name);
    if (i != NULL)
        return i;
    i = mem_alloc(sizeof(*i));
    i->name = mem_strndup(name.ptr, name.len);
    HASH_ADD_KEYPTR(hh, t->items, i->name, name.len, i);
    return i;
}

/* What is under way was acknowledged. */
static void item_accept(struct item *i)
{
    memcpy(i->held, i->is_removal ? "" : i->sent, i->is_removal ? 1 : sizeof(i->held));
    free(i->held_needs);
    i->held_needs = TAKE(i->sent_needs);
    i->held_needs_known = true;
    i->refused[0] = '\0';
    i->is_suspect = false;
}

/* `alone`: nothing else was in the message, so this is what was refused. */
static void item_settle(struct item *i, bool is_refusal, bool alone)
{
    if (!is_refusal)
        item_accept(i);
    else if (alone)
        memcpy(i->refused, i->sent, sizeof(i->refused));
    else
        i->is_suspect = true;
    free(TAKE(i->sent_needs));
    i->sent[0] = '\0';
    i->is_removal = false;
}

/* A cluster that the client replaced waits for its endpoints anew, though their name stays subscribed. */
static void repeat_endpoints(struct rollout *r, const struct item *cluster)
{
    struct item *i = item_find(&r->types[XDS_ENDPOINTS], str_from(cluster->name));
    if (i != NULL)
        i->answer_due = true;
}

static size_t settle(struct rollout *r, enum xds_type type, bool is_refusal)
{
    struct type_state *t = &r->types[type];
    size_t n = t->sent_n;
    struct item *i, *tmp;
    t->nonce = t->sent_n = 0;
    HASH_ITER(hh, t->items, i, tmp)
    {
        if (i->sent[0] == '\0')
            continue;
        bool is_replaced = type == XDS_CLUSTER && !is_refusal && !i->is_removal && i->held[0] != '\0';
        item_settle(i, is_refusal, n == 1);
        if (is_replaced)
            repeat_endpoints(r, i);
    }
    return n;
}

static void take_initial(struct type_state *t, const struct rollout_version *v)
{
    struct item *i = item_get(t, v->name);
    if (!str_copy_to(v->version, i->held, sizeof(i->held)) || i->held[0] == '\0')
        memcpy(i->held, "?", 2); /* it holds something that is not ours: it will be replaced */
}

static void take_subscription(struct type_state *t, enum xds_type type, struct str name)
{
    if (is_wildcard(type) && str_eq_c(name, "*"))
        return;
    struct item *i = item_get(t, name);
    /* On a new stream everything is named again; what it says it holds needs no answer. */
    i->answer_due = i->is_subscribed || i->held[0] == '\0';
    i->is_subscribed = true;
}

/* Forgotten: should the client want it again, it is sent anew. A cluster's answer under way is not disturbed. */
static void take_unsubscription(struct type_state *t, struct str name)
{
    struct item *i = item_find(t, name);
    if (i == NULL)
        return;
    i->is_subscribed = i->answer_due = false;
    i->held[0] = '\0';
    if (i->sent[0] == '\0')
        item_free(t, i);
}

size_t rollout_request(struct rollout *r, const struct rollout_request *request)
{
    struct type_state *t = &r->types[request->type];
    uint64_t nonce = 0;
    size_t settled_n = 0;
    if (!t->has_spoken) {
        t->has_spoken = t->answer_due = true;
        /* An empty first answer would hold the client's listeners until a timeout. */
        if (request->type == XDS_VIRTUAL_HOST)
            item_get(t, STR(ROLLOUT_PLACEHOLDER))->is_subscribed = true;
    }
    if (str_parse_u64(request->nonce, UINT64_MAX, &nonce) && nonce != 0 && nonce == t->nonce)
        settled_n = settle(r, request->type, request->is_refusal);
    for (size_t i = 0; i < request->initial_n; i++)
        take_initial(t, &request->initial[i]);
    for (size_t i = 0; i < request->subscribe_n; i++)
        take_subscription(t, request->type, request->subscribe[i]);
    for (size_t i = 0; i < request->unsubscribe_n; i++)
        take_unsubscription(t, request->unsubscribe[i]);
    return settled_n;
}

static bool holds(const struct rollout *r, enum xds_type type, const char *name)
{
    const struct item *i = item_find(&r->types[type], str_from(name));
    return i != NULL && i->held[0] != '\0' && strcmp(i->held, ABSENT_VERSION) != 0 && !i->is_removal;
}

/* The cluster that a virtual host needs is there, with endpoints. */
static bool needs_are_met(const struct rollout *r, const char *needs)
{
    return needs == NULL || (holds(r, XDS_CLUSTER, needs) && holds(r, XDS_ENDPOINTS, needs));
}

static bool names_cluster(const char *needs, const char *cluster)
{
    return needs != NULL && strcmp(needs, cluster) == 0;
}

static bool is_current(const struct item *i, const struct resource *want)
{
    return want != NULL && strcmp(i->held, want->is_present ? want->version : ABSENT_VERSION) == 0;
}

/* Whether a virtual host that the client holds, or is being sent, may name the cluster. */
static bool is_named(const struct rollout *r, const struct catalogue *c, const char *cluster)
{
    const struct type_state *hosts = &r->types[XDS_VIRTUAL_HOST];
    if (!hosts->has_spoken)
        return true; /* not known yet what it holds */
    struct item *i, *tmp;
    HASH_ITER(hh, hosts->items, i, tmp)
    {
        if (names_cluster(i->sent_needs, cluster))
            return true;
        if (i->held[0] == '\0')
            continue;
        const struct resource *want = catalogue_find(c, XDS_VIRTUAL_HOST, str_from(i->name));
        if (i->held_needs_known ? names_cluster(i->held_needs, cluster)
                                : !is_current(i, want) || names_cluster(want->needs, cluster))
            return true;
    }
    return false;
}

enum action { ACTION_NONE, ACTION_WAIT, ACTION_SEND, ACTION_REMOVE, ACTION_SAY_ABSENT };

/* A resource that the catalogue says is not there. */
static enum action decide_absent(const struct rollout *r, const struct catalogue *c, enum xds_type type,
                                 const struct item *i)
{
    bool has_something = i->held[0] != '\0' && strcmp(i->held, ABSENT_VERSION) != 0;
    switch (type) {
    case XDS_VIRTUAL_HOST:
        return has_something || i->answer_due || i->held[0] == '\0' ? ACTION_SAY_ABSENT : ACTION_NONE;
    case XDS_CLUSTER:
    case XDS_LISTENER:
        if (!has_something)
            return ACTION_NONE;
        return type == XDS_CLUSTER && is_named(r, c, i->name) ? ACTION_WAIT : ACTION_REMOVE;
    case XDS_SECRET:
    case XDS_ENDPOINTS: /* go with the cluster that they belong to */
    case XDS_ROUTES:
    case XDS_TYPES_N: break;
    }
    return ACTION_NONE;
}

/* What this client needs to be told of one name. */
static enum action decide(const struct rollout *r, const struct catalogue *c, enum xds_type type, const struct item *i,
                          const struct resource *want)
{
    if (want == NULL)
        return ACTION_NONE;
    if (!is_wildcard(type) && !i->is_subscribed)
        return ACTION_NONE;
    if (!want->is_present)
        return decide_absent(r, c, type, i);
    if (is_current(i, want) && !i->answer_due)
        return ACTION_NONE;
    if (strcmp(i->refused, want->version) == 0)
        return ACTION_NONE;
    return needs_are_met(r, want->needs) ? ACTION_SEND : ACTION_WAIT;
}

/* Put one item into the message and note it as under way. */
static void send_item(struct rollout_message *m, struct item *i, const struct resource *want, enum action action)
{
    const char *version = action == ACTION_SEND ? want->version : ABSENT_VERSION;
    bool fits = str_copy_to(str_from(version), i->sent, sizeof(i->sent));
    assert(fits);
    i->is_removal = action == ACTION_REMOVE;
    i->answer_due = false;
    free(i->sent_needs);
    i->sent_needs = action == ACTION_SEND && want->needs != NULL ? mem_strdup(want->needs) : NULL;
    m->items[m->items_n++] = (struct rollout_item){i->name, action == ACTION_REMOVE ? NULL : want};
}

struct adding {
    struct type_state *type;
};

static void add_wildcard_item(void *ctx, const struct resource *want)
{
    struct adding *a = ctx;
    if (want->is_present)
        (void)item_get(a->type, str_from(want->name));
}

static bool fill(struct rollout *r, const struct catalogue *c, enum xds_type type, struct rollout_message *m)
{
    struct type_state *t = &r->types[type];
    if (!t->has_spoken || t->nonce != 0)
        return false;
    if (is_wildcard(type))
        catalogue_each(c, type, add_wildcard_item, &(struct adding){t});
    m->type = type;
    m->items_n = 0;
    struct item *i, *tmp;
    HASH_ITER(hh, t->items, i, tmp)
    {
        if (m->items_n == ROLLOUT_BATCH_MAX)
            break;
        const struct resource *want = catalogue_find(c, type, str_from(i->name));
        enum action action = decide(r, c, type, i, want);
        if (i->is_suspect && m->items_n > 0)
            continue;
        if (action == ACTION_SEND || action == ACTION_REMOVE || action == ACTION_SAY_ABSENT)
            send_item(m, i, want, action);
        if (i->is_suspect && m->items_n > 0)
            break;
    }
    t->sent_n = m->items_n;
    bool is_first = t->answer_due && is_wildcard(type);
    t->answer_due = false;
    return m->items_n > 0 || is_first;
}

bool rollout_next(struct rollout *r, const struct catalogue *c, struct rollout_message *ret_message)
{
    for (enum xds_type type = 0; type < XDS_TYPES_N; type++)
        if (fill(r, c, type, ret_message)) {
            ret_message->nonce = r->types[type].nonce = ++r->nonce_last;
            return true;
        }
    return false;
}

void rollout_wanted(const struct rollout *r, const struct catalogue *c,
                    void (*each)(void *ctx, enum xds_type type, struct str name, bool is_held), void *ctx)
{
    for (enum xds_type type = 0; type < XDS_TYPES_N; type++) {
        struct item *i, *tmp;
        HASH_ITER(hh, r->types[type].items, i, tmp)
        if (catalogue_find(c, type, str_from(i->name)) == NULL)
            each(ctx, type, str_from(i->name), i->held[0] != '\0' && strcmp(i->held, ABSENT_VERSION) != 0);
    }
}

static bool type_is_settled(const struct rollout *r, const struct catalogue *c, enum xds_type type)
{
    const struct type_state *t = &r->types[type];
    struct item *i, *tmp;
    if (t->nonce != 0)
        return false;
    HASH_ITER(hh, t->items, i, tmp)
    {
        const struct resource *want = catalogue_find(c, type, str_from(i->name));
        if (want == NULL && (is_wildcard(type) || i->is_subscribed))
            return false;
        if (decide(r, c, type, i, want) != ACTION_NONE ||
            (want != NULL && strcmp(i->refused, want->version) == 0 && want->is_present))
            return false;
    }
    return true;
}

struct missing {
    const struct type_state *type;
    bool found;
};

static void look_missing(void *ctx, const struct resource *want)
{
    struct missing *m = ctx;
    m->found |= want->is_present && item_find(m->type, str_from(want->name)) == NULL;
}

bool rollout_is_settled(const struct rollout *r, const struct catalogue *c)
{
    if (!r->types[XDS_CLUSTER].has_spoken || !r->types[XDS_LISTENER].has_spoken ||
        !r->types[XDS_VIRTUAL_HOST].has_spoken)
        return false;
    for (enum xds_type type = 0; type < XDS_TYPES_N; type++) {
        if (type == XDS_SECRET)
            continue;
        if (!type_is_settled(r, c, type))
            return false;
        struct missing m = {&r->types[type], false};
        if (is_wildcard(type))
            catalogue_each(c, type, look_missing, &m);
        if (m.found)
            return false;
    }
    return true;
}

size_t rollout_held(const struct rollout *r, enum xds_type type)
{
    size_t n = 0;
    struct item *i, *tmp;
    HASH_ITER(hh, r->types[type].items, i, tmp)
    n += i->held[0] != '\0' && strcmp(i->held, ABSENT_VERSION) != 0;
    return n;
}

size_t rollout_refused(const struct rollout *r, const struct catalogue *c)
{
    size_t n = 0;
    for (enum xds_type type = 0; type < XDS_TYPES_N; type++) {
        struct item *i, *tmp;
        HASH_ITER(hh, r->types[type].items, i, tmp)
        {
            const struct resource *want = catalogue_find(c, type, str_from(i->name));
            n += want != NULL && want->is_present && strcmp(i->refused, want->version) == 0;
        }
    }
    return n;
}
