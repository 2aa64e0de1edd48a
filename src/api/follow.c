#include "api/follow.h"

#include "api/parts.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/own.h"

/* All that wait are looked at this often, whatever is known of news: a net under the list of nodes (chosen). */
#define SWEEP_US 1000000

/* Those that wait for one node: nearly always one. */
struct wait_node {
    struct id node_id;
    struct wait *waits; /* by next_of_node */
    UT_hash_handle hh;
};

struct wait {
    struct call *call;
    collect_fn collect;
    finish_fn finish; /* NULL: what was collected is the answer */
    uint64_t since;
    bool is_full;
    struct id after;
    size_t limit;
    int64_t until_us;
    struct wait *next, **at; /* in the api's list */
    struct id node_id;       /* ID_NONE: any event may be news */
    struct wait_node *of_node;
    struct wait *next_of_node;
};

bool feed_wants(struct feed *f, struct id id, uint64_t changed_seq)
{
    if (!f->is_full && changed_seq <= f->since)
        return false;
    if (!id_is_none(f->after) && id_cmp(id, f->after) <= 0)
        return false;
    if (f->items_n < f->limit)
        return true;
    f->has_more = true;
    return false;
}

void feed_add(struct feed *f, const struct field_table *table, struct id id, const void *document)
{
    if (f->items_n++ > 0)
        buf_add_char(&f->items, ',');
    fields_encode(table, document, &f->items);
    f->last = id;
}

void feed_remove(struct feed *f, struct id id)
{
    char text[ID_TEXT_SIZE];
    if (f->is_full)
        return;
    id_format(id, text);
    buf_addf(&f->removed, "%s\"%s\"", f->removed_n++ > 0 ? "," : "", text);
}

void feed_remove_gone(struct call *c, struct feed *f, enum object_kind kind, struct id scope)
{
    if (f->is_full)
        return;
    const struct model *m = call_model(c);
    size_t n = model_removed(m, kind, scope, f->since, NULL, 0);
    struct id *ids = mem_calloc(n + 1, sizeof(*ids));
    (void)model_removed(m, kind, scope, f->since, ids, n);
    for (size_t i = 0; i < n; i++)
        feed_remove(f, ids[i]);
    free(ids);
}

void follow_reply(struct call *c, const struct feed *f)
{
    char next[ID_TEXT_SIZE];
    AUTO(buf) struct buf text = {0};
    buf_addf(&text, "{\"items\":[%.*s],\"removed\":[%.*s],\"cursor\":\"%s\",\"full\":%s", STR_ARG(buf_str(&f->items)),
             STR_ARG(buf_str(&f->removed)), f->cursor, f->is_full ? "true" : "false");
    if (f->has_more) {
        id_format(f->last, next);
        buf_addf(&text, ",\"next\":\"%s\"", next);
    }
    buf_add_char(&text, '}');
    call_reply_text(c, 200, buf_str(&text));
}

/* ---- by node ---- */

static struct wait_node *wait_node_find(struct api *api, struct id node_id)
{
    struct wait_node *n = NULL;
    HASH_FIND(hh, api->wait_nodes, &node_id, sizeof(node_id), n);
    return n;
}

static void link_node(struct api *api, struct wait *w)
{
    if (id_is_none(w->node_id))
        return;
    struct wait_node *n = wait_node_find(api, w->node_id);
    if (n == NULL) {
        n = mem_alloc(sizeof(*n));
        n->node_id = w->node_id;
        HASH_ADD(hh, api->wait_nodes, node_id, sizeof(n->node_id), n);
    }
    w->of_node = n;
    w->next_of_node = n->waits;
    n->waits = w;
}

static void unlink_node(struct wait *w)
{
    struct wait_node *n = w->of_node;
    struct api *api = w->call->api;
    if (n == NULL)
        return;
    struct wait **at = &n->waits;
    while (*at != w)
        at = &(*at)->next_of_node;
    *at = w->next_of_node;
    if (n->waits != NULL)
        return;
    HASH_DEL(api->wait_nodes, n);
    free(n);
}

static void unlink_wait(struct wait *w)
{
    unlink_node(w);
    *w->at = w->next;
    if (w->next != NULL)
        w->next->at = w->at;
}

void follow_forget(struct wait *w)
{
    unlink_wait(w);
    free(w);
}

/* Collect, and answer when there is something or `must`. True: answered, *w and its call are gone. */
static bool answer(struct wait *w, bool must)
{
    struct call *c = w->call;
    if (!w->is_full && !model_can_follow(call_model(c), w->since)) /* so much went while it waited */
        w->is_full = true;
    struct feed f = {.since = w->since, .is_full = w->is_full, .after = w->after, .limit = w->limit};
    finish_fn finish = w->finish == NULL ? follow_reply : w->finish;
    struct app_position at = control_position(c->api->o.control);
    app_cursor_format(&at, f.cursor);
    w->collect(c, &f);
    bool is_done = must || f.is_full || f.items_n > 0 || f.removed_n > 0;
    if (!is_done)
        w->since = control_position(c->api->o.control).seq; /* up to here there is nothing for this reader */
    if (is_done && c->wait != NULL)
        follow_forget(TAKE(c->wait));
    if (is_done && call_may_answer(c)) /* it may have waited while the sight of the log was lost */
    {
        http_request_on_cancel(c->r, NULL, NULL); /* what finishes later holds the call until it has answered */
        finish(c, &f);
    }
    buf_done(&f.items);
    buf_done(&f.removed);
    return is_done;
}

/* What the reader has: a position of this log from which changes are still known, or nothing. */
static void read_cursor(struct call *c, struct wait *w)
{
    struct app_position at, now = control_position(c->api->o.control);
    struct str text = call_query_str(c, "cursor");
    w->is_full = text.len == 0 || app_cursor_parse(text, &at, NULL) != OK || !id_eq(at.log, now.log) ||
                 !model_can_follow(call_model(c), at.seq);
    w->since = w->is_full ? 0 : at.seq;
}

static void cancelled(struct http_request *r, void *ctx)
{
    (void)ctx;
    http_request_drop(r); /* frees the call, which forgets its wait */
}

static void begin_wait(struct call *c, const struct wait *asked)
{
    struct wait *w = mem_alloc(sizeof(*w));
    *w = *asked;
    struct wait **list = id_is_none(w->node_id) ? &c->api->waits : &c->api->node_waits;
    w->next = *list;
    w->at = list;
    if (w->next != NULL)
        w->next->at = &w->next;
    *list = w;
    c->wait = w;
    link_node(c->api, w);
    http_request_on_cancel(c->r, cancelled, c);
    api_tick_needed(c->api);
}

static void begin(struct call *c, struct wait w)
{
    int64_t wait_s = 0, limit = 0;
    if (!call_query_i64(c, "wait", 0, FOLLOW_WAIT_S_MAX, 0, &wait_s) ||
        !call_query_i64(c, "limit", 1, FOLLOW_LIMIT_MAX, FOLLOW_LIMIT_MAX, &limit) ||
        !call_query_id(c, "after", &w.after))
        return;
    w.limit = (size_t)limit;
    w.until_us = clock_mono_us() + wait_s * 1000000;
    read_cursor(c, &w);
    if (!answer(&w, wait_s == 0 || c->api->is_stopping))
        begin_wait(c, &w);
}

void follow(struct call *c, collect_fn collect)
{
    begin(c, (struct wait){.call = c, .collect = collect});
}

void follow_finished(struct call *c, collect_fn collect, finish_fn finish)
{
    begin(c, (struct wait){.call = c, .collect = collect, .finish = finish});
}

void follow_asked(struct call *c, collect_fn collect, struct id node_id)
{
    begin(c, (struct wait){.call = c, .collect = collect, .node_id = node_id});
}

/* ---- looking ---- */

static void look_at_node(struct api *api, struct id node_id)
{
    const struct wait_node *n = wait_node_find(api, node_id);
    for (struct wait *w = n == NULL ? NULL : n->waits, *next = NULL; w != NULL; w = next) {
        next = w->next_of_node;
        if (w->since < api->looked_seq) /* up to there it was looked at whenever its node was asked for something */
            w->since = api->looked_seq;
        (void)answer(w, false);
    }
}

/* Those whose nodes were asked for something since the last look. False: it is not known which. */
static bool look_at_asked(struct api *api)
{
    const struct model *m = control_model(api->o.control);
    uint64_t from = api->asked_n, end = model_asked_n(m);
    if (!model_asked_has(m, from) || control_position(api->o.control).seq < api->looked_seq)
        return false;
    api->asked_n = end;
    for (uint64_t i = from; i < end; i++)
        look_at_node(api, model_asked_at(m, i));
    return true;
}

static void look_at_list(struct wait *list, uint64_t seq, int64_t now_us, bool is_stopping)
{
    for (struct wait *w = list, *next = NULL; w != NULL; w = next) {
        next = w->next;
        bool must = is_stopping || now_us >= w->until_us;
        if (must || seq > w->since)
            (void)answer(w, must);
    }
}

void follow_look(struct api *api, int64_t now_us, bool is_stopping)
{
    uint64_t seq = control_position(api->o.control).seq;
    bool is_sweep = !look_at_asked(api) || is_stopping || now_us - api->swept_us >= SWEEP_US;
    look_at_list(api->waits, seq, now_us, is_stopping);
    if (is_sweep || now_us - api->timed_us >= API_TICK_MS * 1000) {
        look_at_list(api->node_waits, is_sweep ? seq : 0, now_us, is_stopping);
        api->timed_us = now_us;
    }
    api->asked_n = model_asked_n(control_model(api->o.control));
    api->looked_seq = seq;
    if (is_sweep)
        api->swept_us = now_us;
}

void follow_of_project(struct call *c, collect_fn collect)
{
    const struct project *p = project_of(c);
    if (p == NULL)
        return;
    struct id *id = arena_alloc(&c->arena, sizeof(*id));
    *id = p->id;
    c->data = id;
    follow(c, collect);
}
