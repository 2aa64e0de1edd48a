#include "api/follow.h"

#include "api/parts.h"
#include "base/clock.h"
#include "base/own.h"

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

static void unlink_wait(struct wait *w)
{
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
    struct feed f = {.since = w->since, .is_full = w->is_full, .after = w->after, .limit = w->limit};
    struct call *c = w->call;
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
    w->next = c->api->waits;
    w->at = &c->api->waits;
    if (w->next != NULL)
        w->next->at = &w->next;
    c->api->waits = w;
    c->wait = w;
    http_request_on_cancel(c->r, cancelled, c);
    api_tick_needed(c->api);
}

void follow(struct call *c, collect_fn collect)
{
    follow_finished(c, collect, NULL);
}

void follow_finished(struct call *c, collect_fn collect, finish_fn finish)
{
    struct wait w = {.call = c, .collect = collect, .finish = finish};
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

void follow_look(struct api *api, int64_t now_us, bool is_stopping)
{
    for (struct wait *w = api->waits, *next = NULL; w != NULL; w = next) {
        next = w->next;
        bool must = is_stopping || now_us >= w->until_us;
        if (must || control_position(api->o.control).seq > w->since)
            (void)answer(w, must);
    }
}
