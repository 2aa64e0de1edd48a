/* What leaves the model though no event names it: of what is over, all but the newest (struct retention). Without it
 * the model, a checkpoint and a start from one grow with how often people deployed instead of with what there is.
 *
 * Which ones go follows from the events alone, so every replica that folded the same log has forgotten the same. Only
 * what nothing more happens to may go: an event that names it afterwards would be refused, and stop who folds it.
 * That is why an existing log forgets only from its RaiseFormat on (EVENT_FORMAT_FORGETS): before it a replica of an
 * older version may have used what this one had dropped. docs/internals/retention.md */
#include "platform/model_write.h"

static bool forgets(const struct model *m)
{
    return m->format >= EVENT_FORMAT_FORGETS;
}

/* The newest `max` of what it is offered: all that is not before `oldest`, once there are more. */
struct newest {
    struct ended {
        int64_t ns;
        uint64_t seq; /* tells those apart that ended in one instant */
    } items[MODEL_KEPT_MAX];
    uint32_t max, n;
    uint32_t oldest; /* among items, when they are `max` */
    bool is_over;    /* more were offered */
};

/* Its items are as they lie: they are 16 KiB, and it is asked for often. */
static void newest_init(struct newest *ret, uint32_t max)
{
    ret->max = max < MODEL_KEPT_MAX ? max : MODEL_KEPT_MAX;
    ret->n = ret->oldest = 0;
    ret->is_over = false;
}

static bool is_before(struct ended a, struct ended b)
{
    return a.ns < b.ns || (a.ns == b.ns && a.seq < b.seq);
}

static void newest_offer(struct newest *x, struct ended e)
{
    if (x->n < x->max) {
        x->items[x->n] = e;
        x->oldest = x->n == 0 || is_before(e, x->items[x->oldest]) ? x->n : x->oldest;
        x->n++;
        return;
    }
    x->is_over = true;
    if (x->max == 0 || is_before(e, x->items[x->oldest]))
        return;
    x->items[x->oldest] = e;
    for (uint32_t i = 0; i < x->n; i++)
        x->oldest = is_before(x->items[i], x->items[x->oldest]) ? i : x->oldest;
}

static bool newest_has(const struct newest *x, struct ended e)
{
    return x->max > 0 && !is_before(e, x->items[x->oldest]);
}

/* ---- Deployments ---- */

static bool may_go(const struct model *m, const struct process *d, bool served)
{
    return (d->route_seq != 0) == served && deployment_is_settled(m, d);
}

/* More than may_go, at least: their images are not looked up, which most calls are spared. */
static bool are_too_many(const struct model *m, const struct project *p, bool served)
{
    size_t n = 0;
    MODEL_EACH (process, d, &p->deployments)
        n += (d->route_seq != 0) == served && deployment_is_quiet(d) ? 1 : 0;
    return n > m->kept.deployments;
}

static struct ended process_ended(const struct process *d)
{
    return (struct ended){d->since_ns, d->created_seq};
}

static void forget_image(struct model *m, struct id id)
{
    const struct image *i = model_image(m, id);
    if (i != NULL && i->project != NULL && image_is_settled(m, i) && !model_image_is_named(m, id))
        image_drop(m, i);
}

static void forget_deployment(struct model *m, const struct process *d)
{
    struct id image_id = d->image_id;
    touch_deployment(m, d); /* for the planner, and those who follow its project */
    process_drop(m, d);
    forget_image(m, image_id);
}

/* Those that served are what one goes back to: a series of failures does not push them out. */
static void retain_deployments_that(struct model *m, const struct project *p, bool served)
{
    if (!are_too_many(m, p, served))
        return;
    struct newest newest;
    newest_init(&newest, m->kept.deployments);
    MODEL_EACH (process, d, &p->deployments)
        if (may_go(m, d, served))
            newest_offer(&newest, process_ended(d));
    for (size_t i = newest.is_over ? p->deployments.n : 0; i > 0; i--) {
        const struct process *d = p->deployments.items[i - 1];
        if (!newest_has(&newest, process_ended(d)) && may_go(m, d, served))
            forget_deployment(m, d);
    }
}

static void retain_deployments(struct model *m, const struct project *p)
{
    if (p->deployments.n <= m->kept.deployments)
        return;
    retain_deployments_that(m, p, true);
    retain_deployments_that(m, p, false);
}

/* ---- Projects that were deleted ---- */

static bool project_is_settled(const struct model *m, const struct project *p)
{
    if (!p->is_deleted)
        return false;
    MODEL_EACH (process, d, &p->deployments)
        if (!deployment_is_settled(m, d))
            return false;
    return true;
}

static struct ended project_ended(const struct project *p)
{
    return (struct ended){0, p->changed_seq};
}

/* Its images that somebody else runs stay, and are nobody's. */
static void disown_images(struct model *m, const struct project *p)
{
    for (size_t i = m->images.n; i > 0; i--) {
        const struct image *image = m->images.items[i - 1];
        if (image->project != p)
            continue;
        forget_image(m, image->id);
        if (i <= m->images.n && m->images.items[i - 1] == image) {
            image_edit(m, image)->project = NULL;
            touch_image(m, image);
        }
    }
}

/* Its tombstone is of its deletion. */
static void forget_project(struct model *m, const struct project *p)
{
    while (p->deployments.n > 0)
        forget_deployment(m, p->deployments.items[p->deployments.n - 1]);
    disown_images(m, p);
    touch_project(m, p);
    index_remove(m, &m->projects, p->id);
    keys_remove(m, KEY_PROJECT_SLUG, p);
    object_free(m, project, p);
}

static void retain_projects(struct model *m)
{
    struct newest newest;
    newest_init(&newest, m->kept.projects);
    MODEL_EACH (project, p, &m->projects)
        if (project_is_settled(m, p))
            newest_offer(&newest, project_ended(p));
    for (size_t i = newest.is_over ? m->projects.n : 0; i > 0; i--) {
        const struct project *p = m->projects.items[i - 1];
        if (project_is_settled(m, p) && !newest_has(&newest, project_ended(p)))
            forget_project(m, p);
    }
    if (newest.is_over)
        retain_images(m);
}

void retain_of_project(struct model *m, const struct project *p)
{
    if (!forgets(m))
        return;
    bool is_deleted = p->is_deleted;
    retain_deployments(m, p);
    if (is_deleted)
        retain_projects(m);
}

/* ---- Images ---- */

void retain_image(struct model *m, const struct image *i)
{
    if (!forgets(m) || i == NULL || !image_is_settled(m, i))
        return;
    struct id id = i->id;
    if (i->project == NULL) {
        retain_images(m);
        return;
    }
    retain_of_project(m, i->project);
    forget_image(m, id); /* its deployment was deleted before it was built */
}

static bool is_idle(const struct model *m, const struct image *i)
{
    return i->project == NULL && image_is_settled(m, i) && !model_image_is_named(m, i->id);
}

static struct ended image_ended(const struct image *i)
{
    return (struct ended){i->since_ns, i->changed_seq};
}

void retain_images(struct model *m)
{
    if (!forgets(m))
        return;
    struct newest newest;
    newest_init(&newest, m->kept.images);
    MODEL_EACH (image, i, &m->images)
        if (is_idle(m, i))
            newest_offer(&newest, image_ended(i));
    for (size_t k = newest.is_over ? m->images.n : 0; k > 0; k--) {
        const struct image *i = m->images.items[k - 1];
        if (is_idle(m, i) && !newest_has(&newest, image_ended(i)))
            image_drop(m, i);
    }
}

/* ---- Nodes, certificates ---- */

static struct ended node_ended(const struct node *n)
{
    return (struct ended){n->since_ns, n->changed_seq};
}

static void forget_node(struct model *m, const struct node *n)
{
    touch_node(m, n);
    bury(m, OBJECT_NODE, n->id, ID_NONE);
    index_remove(m, &m->nodes, n->id);
    keys_remove(m, KEY_NODE_NAME, n);
    keys_remove(m, KEY_NODE_PREFIX, n);
    object_free(m, node, n);
}

static bool node_has_left(const struct node *n)
{
    return n->status == NODE_GONE && n->instances.n == 0;
}

void retain_nodes(struct model *m)
{
    if (!forgets(m))
        return;
    struct newest newest;
    newest_init(&newest, m->kept.nodes);
    MODEL_EACH (node, n, &m->nodes)
        if (node_has_left(n))
            newest_offer(&newest, node_ended(n));
    for (size_t i = newest.is_over ? m->nodes.n : 0; i > 0; i--) {
        const struct node *n = m->nodes.items[i - 1];
        if (node_has_left(n) && !newest_has(&newest, node_ended(n)))
            forget_node(m, n);
    }
}

/* RFC 3339 in UTC compares as text does; what is written otherwise is told by its age alone. */
static bool has_expired(const struct certificate *c, int64_t now_ns, const char *now_text)
{
    int64_t age_ns = now_ns - c->issued_ns;
    return age_ns > MODEL_CERTIFICATE_DAYS * INT64_C(86400) * 1000000000 && strcmp(c->not_after, now_text) < 0;
}

void retain_certificates(struct model *m, int64_t now_ns)
{
    char now_text[EVENT_TIME_TEXT_SIZE];
    if (!forgets(m))
        return;
    event_time_format((struct event_time){now_ns, 0}, now_text);
    for (size_t i = m->certificates.n; i > 0; i--) {
        const struct certificate *c = m->certificates.items[i - 1];
        if (has_expired(c, now_ns, now_text))
            certificate_drop(m, c);
    }
}

void retain_everything(struct model *m, int64_t now_ns)
{
    if (!forgets(m))
        return;
    MODEL_EACH (project, p, &m->projects)
        retain_deployments(m, p);
    retain_projects(m);
    retain_images(m);
    retain_nodes(m);
    retain_certificates(m, now_ns);
}
