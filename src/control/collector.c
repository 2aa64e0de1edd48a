/* Happy path: tick -> its turn for long enough -> the digests that the model names are copied -> the pool lists blobs;
 * what is in the copy stays without a question -> for each other one that might go: a question -> the loop reads the
 * log to its end and answers from the model -> the pool takes it away, or not -> counts, log line. */
#include "control/collector.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "event/hash.h"

#define TICK_MS 1000u
/* Between looks whether the log's end has been seen (chosen). */
#define POLL_MS 5u
/* After a collection that did not come to its end, a folder or bucket that is away: at most this (chosen). */
#define AGAIN_MS_MAX ((int64_t)600 * 1000)

struct named {
    uint8_t (*items)[HASH_SIZE];
    size_t n, room;
};

enum question { QUESTION_NONE, QUESTION_ASKED, QUESTION_ANSWERED };

struct collector {
    struct collector_options o;
    uv_timer_t tick, poll;
    uv_async_t asked;
    uv_work_t work;
    bool is_running, is_closing;
    unsigned handles_n;
    int64_t turn_since_us; /* 0: it is not its turn */
    int64_t next_us;       /* monotonic; the earliest next collection */
    struct named named;    /* when the collection began; of the pool while it runs */
    struct blob_collection collection;
    struct blob_collected done, total;
    uint64_t runs;
    enum err rc;
    struct errinfo err;

    uv_mutex_t lock; /* of the question */
    uv_cond_t answered;
    enum question question;
    const char *digest; /* asked for; lent by the pool, which waits */
    int64_t asked_us;
    bool is_used;
    enum err answer;
    struct errinfo answer_err;

    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ---- what the model names ---- */

/* A digest or "". True ends the walk. */
typedef bool named_fn(const char *digest, void *ctx);

static bool process_needs_context(const struct model *m, const struct process *p)
{
    return p->project != NULL && !deployment_is_over(p) && model_image(m, p->image_id) == NULL;
}

static bool each_named(const struct model *m, named_fn *fn, void *ctx)
{
    bool found = false;
    MODEL_EACH (image, i, &m->images) {
        if (!found && i->status != IMAGE_FAILED)
            found = fn(i->digest, ctx) || fn(i->context_digest, ctx);
    }
    MODEL_EACH (process, p, &m->processes) {
        if (!found)
            found = (p->image_digest != NULL && fn(p->image_digest, ctx)) ||
                    (process_needs_context(m, p) && fn(p->context_digest, ctx));
    }
    return found;
}

static bool is_this(const char *digest, void *ctx)
{
    return strcmp(digest, ctx) == 0;
}

bool blob_is_named(const struct model *m, const char *digest)
{
    auto_free char *copy = mem_strdup(digest);
    return each_named(m, is_this, copy);
}

static bool keep_named(const char *digest, void *ctx)
{
    struct named *named = ctx;
    if (named->n == named->room) {
        named->room = named->room == 0 ? 256 : named->room * 2;
        named->items = mem_realloc(named->items, named->room * sizeof(*named->items));
    }
    named->n += hash_digest_parse(str_from(digest), named->items[named->n]);
    return false;
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, HASH_SIZE);
}

/* ---- in the pool ---- */

static enum err ask(struct collector *c, const char *digest, bool *ret_used, struct errinfo *err)
{
    uv_mutex_lock(&c->lock);
    c->digest = digest;
    c->asked_us = clock_mono_us();
    c->question = QUESTION_ASKED;
    (void)uv_async_send(&c->asked);
    while (c->question != QUESTION_ANSWERED)
        uv_cond_wait(&c->answered, &c->lock);
    c->question = QUESTION_NONE;
    *ret_used = c->is_used;
    enum err rc = c->answer;
    if (rc != OK && err != NULL)
        *err = c->answer_err;
    uv_mutex_unlock(&c->lock);
    return rc;
}

/* That something was named a moment ago is enough to keep it; that it is not, only the newest state can say. */
static enum err is_used(const char *digest, void *ctx, bool *ret_used, struct errinfo *err)
{
    struct collector *c = ctx;
    uint8_t bytes[HASH_SIZE];
    *ret_used = hash_digest_parse(str_from(digest), bytes) && c->named.n > 0 &&
                bsearch(bytes, c->named.items, c->named.n, sizeof(*c->named.items), by_bytes) != NULL;
    return *ret_used ? OK : ask(c, digest, ret_used, err);
}

static void collect_work(uv_work_t *work)
{
    struct collector *c = work->data;
    if (c->named.n > 0)
        qsort(c->named.items, c->named.n, sizeof(*c->named.items), by_bytes);
    c->rc = blob_collect(c->o.store, &c->collection, &c->done, &c->err);
}

/* ---- answers ---- */

static void answer(struct collector *c, enum err rc, bool used)
{
    (void)uv_timer_stop(&c->poll);
    c->answer = rc;
    c->is_used = used;
    c->question = QUESTION_ANSWERED;
    uv_cond_signal(&c->answered);
}

/* With the lock. */
static void try_answer(struct collector *c)
{
    if (c->is_closing)
        answer(c, err_set(&c->answer_err, ERR_CANCELLED, "the program stops"), true);
    else if (!c->o.may(c->o.ctx))
        answer(c, err_set(&c->answer_err, ERR_UNAVAILABLE, "it is another replica's turn, or this one is blind"), true);
    else if (c->o.end_seen_us(c->o.ctx) > c->asked_us)
        answer(c, OK, blob_is_named(c->o.model(c->o.ctx), c->digest));
    else if (clock_mono_us() - c->asked_us > (int64_t)COLLECTOR_ANSWER_MS * 1000)
        answer(c, err_set(&c->answer_err, ERR_UNAVAILABLE, "the log's end was not seen for %u ms", COLLECTOR_ANSWER_MS),
               true);
    else
        c->o.look(c->o.ctx);
}

static void look_for_question(struct collector *c)
{
    uv_mutex_lock(&c->lock);
    if (c->question == QUESTION_ASKED)
        try_answer(c);
    uv_mutex_unlock(&c->lock);
}

static void on_poll(uv_timer_t *timer)
{
    look_for_question(timer->data);
}

static void on_asked(uv_async_t *async)
{
    struct collector *c = async->data;
    if (!c->is_closing)
        (void)uv_timer_start(&c->poll, on_poll, POLL_MS, POLL_MS);
    look_for_question(c);
}

/* ---- in the loop ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct collector *c = handle->data;
    if (--c->handles_n > 0)
        return;
    void (*closed)(void *) = c->closed;
    void *ctx = c->closed_ctx;
    uv_mutex_destroy(&c->lock);
    uv_cond_destroy(&c->answered);
    free(c->named.items);
    free(c);
    if (closed != NULL)
        closed(ctx);
}

static void close_handles(struct collector *c)
{
    uv_close((uv_handle_t *)&c->tick, on_handle_closed);
    uv_close((uv_handle_t *)&c->poll, on_handle_closed);
    uv_close((uv_handle_t *)&c->asked, on_handle_closed);
}

static void add_up(struct collector *c)
{
    const struct blob_collected *d = &c->done;
    c->total.kept = d->kept;
    c->total.put_aside += d->put_aside;
    c->total.came_back += d->came_back;
    c->total.removed += d->removed;
    c->total.removed_bytes += d->removed_bytes;
    c->total.uploads_ended += d->uploads_ended;
    c->runs += c->rc == OK;
}

static void tell(const struct collector *c)
{
    const struct blob_collected *d = &c->done;
    if (d->put_aside + d->came_back + d->removed + d->uploads_ended > 0)
        log_info(c->o.log,
                 "garbage among blobs: %llu set aside, %llu came back, %llu removed (%llu bytes), %llu uploads ended, "
                 "%llu kept",
                 (unsigned long long)d->put_aside, (unsigned long long)d->came_back, (unsigned long long)d->removed,
                 (unsigned long long)d->removed_bytes, (unsigned long long)d->uploads_ended,
                 (unsigned long long)d->kept);
    if (c->rc != OK && c->rc != ERR_CANCELLED)
        log_warn(c->o.log, "garbage among blobs is collected another time: %s", c->err.msg);
}

static void on_collected(uv_work_t *work, int status)
{
    struct collector *c = work->data;
    (void)status; /* never cancelled */
    c->is_running = false;
    c->named.n = 0;
    add_up(c);
    tell(c);
    int64_t pause_ms = c->rc != OK && c->o.every_ms > AGAIN_MS_MAX ? AGAIN_MS_MAX : c->o.every_ms;
    c->next_us = clock_mono_us() + pause_ms * 1000;
    if (c->is_closing)
        close_handles(c);
}

static void begin(struct collector *c)
{
    c->is_running = true;
    c->err = (struct errinfo){0};
    c->collection = (struct blob_collection){
        .now_s = clock_wall_us() / 1000000, .grace_s = c->o.grace_s, .is_used = is_used, .ctx = c};
    (void)each_named(c->o.model(c->o.ctx), keep_named, &c->named);
    (void)uv_queue_work(c->o.loop, &c->work, collect_work, on_collected); /* fails only without a work function */
}

static void on_tick(uv_timer_t *timer)
{
    struct collector *c = timer->data;
    int64_t now_us = clock_mono_us();
    if (!c->o.may(c->o.ctx)) {
        c->turn_since_us = 0;
        return;
    }
    if (c->turn_since_us == 0)
        c->turn_since_us = now_us;
    if (!c->is_running && now_us >= c->next_us && now_us - c->turn_since_us >= c->o.settle_us)
        begin(c);
}

struct collector *collector_new(const struct collector_options *o)
{
    struct collector *c = mem_alloc(sizeof(*c));
    c->o = *o;
    c->o.every_ms = o->every_ms == 0 ? COLLECTOR_EVERY_MS_DEFAULT : o->every_ms;
    c->o.grace_s = o->grace_s == 0 ? BLOB_GRACE_DEFAULT_S : o->grace_s;
    c->o.settle_us = o->settle_us == 0 ? COLLECTOR_SETTLE_US : o->settle_us;
    uv_handle_t *const handles[] = {(uv_handle_t *)&c->tick, (uv_handle_t *)&c->poll, (uv_handle_t *)&c->asked};
    (void)uv_timer_init(o->loop, &c->tick);
    (void)uv_timer_init(o->loop, &c->poll);
    if (uv_async_init(o->loop, &c->asked, on_asked) != 0 || uv_mutex_init(&c->lock) != 0 ||
        uv_cond_init(&c->answered) != 0)
        abort(); /* out of memory or descriptors at the start */
    for (c->handles_n = 0; c->handles_n < 3; c->handles_n++)
        handles[c->handles_n]->data = c;
    c->work.data = c;
    c->next_us = clock_mono_us() + (c->o.every_ms < AGAIN_MS_MAX ? c->o.every_ms : AGAIN_MS_MAX) * 1000;
    uint64_t tick_ms = c->o.every_ms < TICK_MS ? (uint64_t)c->o.every_ms : TICK_MS;
    (void)uv_timer_start(&c->tick, on_tick, tick_ms, tick_ms);
    return c;
}

void collector_close(struct collector *c, void (*closed)(void *ctx), void *ctx)
{
    c->is_closing = true;
    c->closed = closed;
    c->closed_ctx = ctx;
    (void)uv_timer_stop(&c->tick);
    if (c->is_running)
        look_for_question(c); /* on_collected goes on */
    else
        close_handles(c);
}

struct blob_collected collector_counts(const struct collector *c, uint64_t *ret_runs)
{
    *ret_runs = c->runs;
    return c->total;
}
