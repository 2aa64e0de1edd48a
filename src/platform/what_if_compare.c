#include "platform/what_if_compare.h"

#include "base/own.h"
#include "event/time.h"

static const struct field *because_field(enum event_kind kind)
{
    const struct field_table *t = event_kind_row(kind)->fields;
    for (size_t i = 0; i < t->fields_n; i++)
        if (t->fields[i].type == FIELD_JSON && str_eq_c(STR("because"), t->fields[i].name))
            return &t->fields[i];
    return NULL;
}

/* Every payload begins where the union does. */
static struct str *because_of(struct event *ev)
{
    const struct field *f = because_field(ev->kind);
    return f == NULL ? NULL : (void *)((char *)&ev->create_region + f->offset);
}

/* What stands behind a key of a because, which is flat where it matters; {NULL, 0}: there is no such key. */
static struct str value_of(const struct event *ev, struct str key)
{
    const struct field *f = because_field(ev->kind);
    const struct str *text = f == NULL ? NULL : (const void *)((const char *)&ev->create_region + f->offset);
    const char *at = text == NULL || text->len == 0 ? NULL : memmem(text->ptr, text->len, key.ptr, key.len);
    return at == NULL ? (struct str){0} : str_slice(*text, (size_t)(at - text->ptr) + key.len, text->len);
}

struct str what_if_rule(const struct event *ev)
{
    struct str rule = value_of(ev, STR("\"rule\":\""));
    return str_slice(rule, 0, rule.len == 0 ? 0 : str_find(rule, '"'));
}

bool what_if_is_planned(const struct event *ev, int64_t *ret_now_ms)
{
    struct str text = value_of(ev, STR("\"nowMs\":"));
    size_t n = 0;
    while (n < text.len && text.ptr[n] >= '0' && text.ptr[n] <= '9')
        n++;
    return n > 0 && str_parse_i64(str_slice(text, 0, n), ret_now_ms) && what_if_rule(ev).len > 0;
}

/* ---- As it is compared ---- */

struct id decision_about(const struct event *ev)
{
    const struct field *first = &event_kind_row(ev->kind)->fields->fields[0];
    if (ev->kind == EVENT_CREATE_INSTANCE)
        return ev->create_instance.process_id;
    if (first->type != FIELD_ID)
        return ID_NONE; /* of the whole log */
    return *(const struct id *)(const void *)((const char *)&ev->create_region + first->offset);
}

/* Made in this list before event i. */
static bool is_new(const struct event *events, size_t i, struct id instance_id)
{
    for (size_t k = 0; k < i; k++)
        if (events[k].kind == EVENT_CREATE_INSTANCE && id_eq(events[k].create_instance.instance_id, instance_id))
            return true;
    return false;
}

static struct decision decision_of(const struct event *events, size_t i, struct arena *a)
{
    AUTO(buf) struct buf text = {0};
    struct event ev = events[i];
    struct str *because = because_of(&ev);
    if (because != NULL)
        *because = (struct str){0};
    if (ev.kind == EVENT_CREATE_INSTANCE)
        ev.create_instance.instance_id = ID_NONE;
    if (ev.kind == EVENT_CREATE_IMAGE && is_new(events, i, ev.create_image.builder_instance_id))
        ev.create_image.builder_instance_id = ID_NONE;
    if (ev.kind == EVENT_REBUILD_IMAGE && is_new(events, i, ev.rebuild_image.builder_instance_id))
        ev.rebuild_image.builder_instance_id = ID_NONE;
    buf_add_c(&text, event_kind_row(ev.kind)->name);
    event_encode_payload(&ev, &text);
    return (struct decision){.text = arena_str(a, buf_str(&text)),
                             .rule = what_if_rule(&events[i]),
                             .about = decision_about(&ev),
                             .event = &events[i]};
}

struct decisions decisions_of(const struct event *events, size_t n, struct arena *a)
{
    struct decisions d = {arena_alloc(a, (n + 1) * sizeof(*d.items)), n};
    for (size_t i = 0; i < n; i++)
        d.items[i] = decision_of(events, i, a);
    return d;
}

bool decisions_are_same(const struct decisions *a, const struct decisions *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!str_eq(a->items[i].text, b->items[i].text))
            return false;
    return true;
}

static bool is_pair(const struct decision *a, const struct decision *b, bool must_be_same)
{
    if (a->other != NULL || b->other != NULL)
        return false;
    return must_be_same ? str_eq(a->text, b->text) : a->event->kind == b->event->kind && id_eq(a->about, b->about);
}

static void pair(struct decisions *a, struct decisions *b, bool must_be_same)
{
    size_t from = 0; /* all before it have their pair: lists are alike, mostly */
    for (size_t i = 0; i < a->n; i++) {
        while (from < b->n && b->items[from].other != NULL)
            from++;
        for (size_t k = from; k < b->n; k++)
            if (is_pair(&a->items[i], &b->items[k], must_be_same)) {
                a->items[i].other = &b->items[k];
                b->items[k].other = &a->items[i];
                a->items[i].is_same = b->items[k].is_same = must_be_same;
                break;
            }
    }
}

void decisions_pair(struct decisions *a, struct decisions *b)
{
    pair(a, b, true);
    pair(a, b, false);
}
