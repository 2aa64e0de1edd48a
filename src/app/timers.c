/* Durable timers: SlipformSetTimer in the output log holds the event to come, SlipformCancelTimer takes it back, and
 * when the event itself is in the log the timer has fired. Those that are not over stand in a heap by their instant. */
#include "app/inside.h"

#include <inttypes.h>

#include "base/own.h"
#include "event/fields.h"

struct set_timer {
    struct id timer;
    int64_t at_us;
    struct str type, payload;
};
static const struct field SET_TIMER_FIELDS[] = {
    FIELD_REQ(ID, set_timer, timer, "timerId", "id of the event that it becomes"),
    FIELD_REQ(I64, set_timer, at_us, "atUs", "microseconds since 1970, by the store's clock"),
    FIELD_REQ(STR, set_timer, type, "type", "of the event"),
    FIELD_REQ(JSON, set_timer, payload, "payload", "of the event"),
};
static const struct field_table SET_TIMER_TABLE = FIELD_TABLE(set_timer, SET_TIMER_FIELDS);

struct cancel_timer {
    struct id timer;
};
static const struct field CANCEL_TIMER_FIELDS[] = {
    FIELD_REQ(ID, cancel_timer, timer, "timerId", "of the timer"),
};
static const struct field_table CANCEL_TIMER_TABLE = FIELD_TABLE(cancel_timer, CANCEL_TIMER_FIELDS);

void app_events_add_timer(struct app_events *e, int64_t at_us, const struct app_event *event)
{
    AUTO(buf) struct buf payload = {0};
    char id[ID_TEXT_SIZE];
    id_format(event->id, id);
    buf_addf(&payload, "{\"timerId\":\"%s\",\"atUs\":%" PRId64 ",\"type\":", id, at_us);
    buf_add_json_string(&payload, event->type);
    buf_addf(&payload, ",\"payload\":%.*s}", STR_ARG(event->payload));
    app_events_add(e, STR("SlipformSetTimer"), id_derive(event->id, "set"), buf_str(&payload));
}

void app_events_cancel_timer(struct app_events *e, struct id timer)
{
    char id[ID_TEXT_SIZE], payload[80];
    id_format(timer, id);
    int n = snprintf(payload, sizeof(payload), "{\"timerId\":\"%s\"}", id);
    app_events_add(e, STR("SlipformCancelTimer"), id_derive(timer, "cancel"), (struct str){payload, (size_t)n});
}

/* --- the heap: the earliest due_us at [0] --- */

static void put(struct app *a, struct app_timer *t, size_t at)
{
    a->heap[at] = t;
    t->place = at;
}

static void sift_up(struct app *a, struct app_timer *t, size_t at)
{
    for (; at > 0 && a->heap[(at - 1) / 2]->due_us > t->due_us; at = (at - 1) / 2)
        put(a, a->heap[(at - 1) / 2], at);
    put(a, t, at);
}

static void sift_down(struct app *a, struct app_timer *t, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < a->heap_n && a->heap[child + 1]->due_us < a->heap[child]->due_us)
            child++;
        if (child >= a->heap_n || a->heap[child]->due_us >= t->due_us)
            break;
        put(a, a->heap[child], at);
        at = child;
    }
    put(a, t, at);
}

static void heap_add(struct app *a, struct app_timer *t)
{
    if (a->heap_n == a->heap_size) {
        a->heap_size = a->heap_size == 0 ? 16 : a->heap_size * 2;
        a->heap = mem_realloc(a->heap, a->heap_size * sizeof(struct app_timer *));
    }
    sift_up(a, t, a->heap_n++);
}

static void heap_remove(struct app *a, struct app_timer *t)
{
    size_t at = t->place;
    struct app_timer *last = a->heap[--a->heap_n];
    t->place = SIZE_MAX;
    if (last == t)
        return;
    sift_down(a, last, at);
    sift_up(a, last, last->place);
}

/* --- folding --- */

static struct str copy_of(struct str s)
{
    return (struct str){mem_strndup(s.ptr, s.len), s.len};
}

void timers_set(struct app *a, struct id id, int64_t at_us, struct str type, struct str payload)
{
    if (timers_has(a, id))
        return;
    struct app_timer *t = mem_alloc(sizeof(*t));
    *t = (struct app_timer){
        .id = id, .at_us = at_us, .due_us = at_us, .type = copy_of(type), .payload = copy_of(payload)};
    HASH_ADD(hh, a->timers, id, sizeof(t->id), t);
    heap_add(a, t);
}

static void discard(struct app *a, struct app_timer *t)
{
    if (t->place != SIZE_MAX)
        heap_remove(a, t);
    HASH_DEL(a->timers, t);
    free((void *)(uintptr_t)t->type.ptr);
    free((void *)(uintptr_t)t->payload.ptr);
    free(t);
}

bool timers_has(const struct app *a, struct id id)
{
    struct app_timer *t = NULL;
    HASH_FIND(hh, a->timers, &id, sizeof(id), t);
    return t != NULL;
}

size_t app_timers_n(const struct app *a)
{
    return HASH_COUNT(a->timers);
}

void timers_on_event(struct app *a, struct id id)
{
    struct app_timer *t = NULL;
    if (a->timers == NULL)
        return;
    HASH_FIND(hh, a->timers, &id, sizeof(id), t);
    if (t != NULL)
        discard(a, t);
}

enum err timers_apply(struct app *a, const struct store_record *r, struct errinfo *err)
{
    AUTO(arena) struct arena arena = {0};
    if (str_eq_c(r->e.type, "SlipformSetTimer")) {
        struct set_timer set;
        enum err rc = fields_parse(&SET_TIMER_TABLE, r->e.payload, &arena, &set, err);
        if (rc == OK)
            timers_set(a, set.timer, set.at_us, set.type, set.payload);
        return rc;
    }
    if (str_eq_c(r->e.type, "SlipformCancelTimer")) {
        struct cancel_timer cancel;
        enum err rc = fields_parse(&CANCEL_TIMER_TABLE, r->e.payload, &arena, &cancel, err);
        if (rc == OK) {
            timers_on_event(a, cancel.timer);
            due_on_event(a, cancel.timer);
        }
        return rc;
    }
    if (str_eq_c(r->e.type, "SlipformEffectDone")) /* it is known by its id */
        return OK;
    return err_set(err, ERR_NOT_FOUND, "kind '%.*s' is not known to this runtime", STR_ARG(r->e.type));
}

/* --- firing --- */

int64_t timers_next_us(const struct app *a)
{
    return a->heap_n == 0 ? INT64_MAX : a->heap[0]->due_us;
}

void timers_fire(struct app *a)
{
    int64_t now_us = app_clock_us(a);
    while (timers_next_us(a) <= now_us) {
        struct app_timer *t = a->heap[0];
        heap_remove(a, t);
        if (!t->was_left && !is_preferred(a, t->id)) {
            t->was_left = true;
            t->due_us = now_us + (int64_t)APP_NOT_PREFERRED_MS * 1000;
            heap_add(a, t);
            continue;
        }
        due_add(a, t->id, t->type, t->payload);
        due_left(a, t->id);
    }
}

void timers_done(struct app *a)
{
    struct app_timer *t = NULL, *next = NULL;
    HASH_ITER(hh, a->timers, t, next)
    discard(a, t);
    free(a->heap);
    a->heap = NULL;
    a->heap_size = 0;
}
