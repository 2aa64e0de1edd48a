#include "store/store.h"

#include <assert.h>

#include "base/json.h"
#include "base/own.h"
#include "store/kind.h"

static const struct store_kind *kind_find(struct str name)
{
    for (const struct store_kind *const *k = STORE_KINDS; *k != NULL; k++)
        if (str_eq_c(name, (*k)->name))
            return *k;
    return NULL;
}

struct str store_spec_get(const struct store *s, const char *key)
{
    struct str rest = str_from(s->spec), part, name;
    while (str_next(&rest, ';', &part)) {
        struct str value = part;
        if (str_next(&value, '=', &name) && str_eq_c(name, key) && name.len < part.len)
            return value;
    }
    return (struct str){NULL, 0};
}

enum err store_spec_number(const struct store *s, const char *key, uint64_t max, uint64_t otherwise, uint64_t *ret,
                           struct errinfo *err)
{
    struct str text = store_spec_get(s, key);
    *ret = otherwise;
    if (text.ptr == NULL || str_parse_u64(text, max, ret))
        return OK;
    return err_set(err, ERR_INVALID, "event store '%s': '%s' must be a number up to %llu", s->spec, key,
                   (unsigned long long)max);
}

enum err store_open_damaged(const char *spec, const struct store_options *opt, struct store **ret_store,
                            struct store_repair *ret_repair, struct store_damage *ret_damage, struct errinfo *err)
{
    static const struct store_options DEFAULTS = {.mode = STORE_CREATE};
    if (opt == NULL)
        opt = &DEFAULTS;
    struct str rest = str_from(spec), name = {NULL, 0};
    (void)str_next(&rest, ';', &name);
    const struct store_kind *kind = kind_find(name);
    if (kind == NULL)
        return err_set(err, ERR_INVALID, "event store '%s': kind '%.*s' is not known, use 'files;path=DIR'", spec,
                       STR_ARG(name));
    struct store *s = mem_alloc(sizeof(*s));
    *s = (struct store){.kind = kind,
                        .spec = mem_strdup(spec),
                        .mode = opt->mode,
                        .log_wanted = opt->log,
                        .disk = opt->disk,
                        .world = opt->world,
                        .news_fd = -1};
    struct str path = store_spec_get(s, "path");
    s->name = path.len > 0 ? mem_strndup(path.ptr, path.len) : mem_strdup(spec);
    struct store_repair repair = {0};
    enum err rc = kind->open(s, &repair, err);
    if (rc != OK) {
        *ret_damage = s->damage;
        store_close(s);
        return rc;
    }
    if (ret_repair != NULL)
        *ret_repair = repair;
    *ret_store = s;
    return OK;
}

enum err store_open(const char *spec, const struct store_options *opt, struct store **ret_store,
                    struct store_repair *ret_repair, struct errinfo *err)
{
    struct store_damage ignored;
    return store_open_damaged(spec, opt, ret_store, ret_repair, &ignored, err);
}

enum err store_reopen(struct store *s, struct store_repair *ret_repair, struct errinfo *err)
{
    struct id before = s->log;
    struct store_repair repair = {0};
    if (s->impl != NULL)
        s->kind->close(s);
    s->impl = NULL;
    s->is_damaged = false;
    enum err rc = s->kind->open(s, &repair, err);
    if (rc != OK)
        return rc;
    if (ret_repair != NULL)
        *ret_repair = repair;
    if (id_eq(before, s->log))
        return OK;
    s->kind->close(s);
    s->impl = NULL;
    return err_set(err, ERR_CONFLICT, "log '%s' was replaced by another one", s->name);
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (s->impl != NULL)
        s->kind->close(s);
    if (s->news_fd >= 0)
        (void)close(s->news_fd);
    free(s->spec);
    free(s->name);
    free(s);
}

const char *store_name(const struct store *s)
{
    return s->name;
}

struct id store_log_id(const struct store *s)
{
    return s->log;
}

static enum err closed_err(const struct store *s, struct errinfo *err)
{
    return err_set(err, ERR_IO, "log '%s' is closed after a failure", s->name);
}

static bool is_type_name(struct str type)
{
    for (size_t i = 0; i < type.len; i++) {
        char c = type.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return type.len > 0;
}

/* Strict, because an event that a reader cannot decode would stop every fold of the log for ever. */
static enum err event_check(const struct store_event *e, struct errinfo *err)
{
    if (!is_type_name(e->type))
        return err_set(err, ERR_INVALID, "'%.*s' is no name of an event", STR_ARG(e->type));
    if (id_is_none(e->id))
        return err_set(err, ERR_INVALID, "a '%.*s' without id cannot be appended", STR_ARG(e->type));
    if (e->payload.len > ENVELOPE_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "the payload of a '%.*s' has %zu bytes, an event at most %u", STR_ARG(e->type),
                       e->payload.len, ENVELOPE_SIZE_MAX);
    auto_json json_t *doc = NULL;
    enum err rc = json_parse(e->payload, &doc, err);
    if (rc != OK)
        return err_wrap(err, rc, "the payload of a '%.*s'", STR_ARG(e->type));
    if (!json_is_object(doc) || memchr(e->payload.ptr, '\n', e->payload.len) != NULL)
        return err_set(err, ERR_INVALID, "the payload of a '%.*s' must be one JSON object on one line",
                       STR_ARG(e->type));
    return OK;
}

/* Contract: an instant later than the clock by more than this, and than the log's last, is refused. */
#define CLOCK_AHEAD_NS_MAX 500000000

enum err store_choose_time(const struct store *s, const struct store_event *e, struct event_time last, int64_t now_ns,
                           struct event_time *ret, struct errinfo *err)
{
    *ret = e->has_time ? e->time : event_time_next(last, now_ns);
    if (event_time_cmp(*ret, last) <= 0)
        return err_set(err, ERR_INVALID, "the time of a '%.*s' is not later than the log's last", STR_ARG(e->type));
    if (!s->takes_any_time && ret->instant_ns > now_ns + CLOCK_AHEAD_NS_MAX && ret->instant_ns > last.instant_ns)
        return err_set(err, ERR_INVALID, "the time of a '%.*s' is more than 500 ms ahead of the store's clock",
                       STR_ARG(e->type));
    return OK;
}

enum err store_append(struct store *s, struct store_pos expect, const struct store_event *events, size_t n,
                      struct store_record *ret_records, struct errinfo *err)
{
    size_t taken = 0;
    return store_append_many(s, expect, &(struct store_group){events, n}, 1, ret_records, &taken, err);
}

static enum err group_check(const struct store_group *g, struct errinfo *err)
{
    assert(g->n > 0);
    enum err rc = OK;
    for (size_t i = 0; i < g->n && rc == OK; i++)
        rc = event_check(&g->events[i], err);
    return rc;
}

enum err store_append_many(struct store *s, struct store_pos expect, const struct store_group *groups, size_t groups_n,
                           struct store_record *ret_records, size_t *ret_taken, struct errinfo *err)
{
    assert(groups_n > 0);
    if (s->kind->append == NULL || s->mode == STORE_READ)
        return err_set(err, ERR_DENIED, "log '%s' is open for reading only", s->name);
    if (s->impl == NULL)
        return closed_err(s, err);
    enum err rc = group_check(&groups[0], err);
    size_t good = 1, taken = 0;
    while (rc == OK && good < groups_n && group_check(&groups[good], NULL) == OK)
        good++;
    if (rc == OK)
        rc = s->kind->append(s, expect, groups, good, ret_records, &taken, err);
    if (rc == OK)
        *ret_taken = taken;
    store_release(s);
    return rc;
}

enum err store_hold(struct store *s, struct errinfo *err)
{
    if (s->kind->append == NULL || s->mode == STORE_READ)
        return err_set(err, ERR_DENIED, "log '%s' is open for reading only", s->name);
    if (s->impl == NULL)
        return closed_err(s, err);
    return s->kind->hold == NULL ? OK : s->kind->hold(s, err);
}

void store_release(struct store *s)
{
    if (s->impl != NULL && s->kind->release != NULL)
        s->kind->release(s);
}

enum err store_prove(struct store *s, struct errinfo *err)
{
    if (s->kind->append == NULL || s->mode == STORE_READ)
        return err_set(err, ERR_DENIED, "log '%s' is open for reading only", s->name);
    if (s->kind->prove == NULL)
        return err_set(err, ERR_DENIED, "whether log '%s' takes an append is seen by the next one only", s->name);
    return s->impl == NULL ? closed_err(s, err) : s->kind->prove(s, err);
}

enum err store_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max,
                    struct store_batch *ret_batch, struct errinfo *err)
{
    if (s->impl == NULL)
        return closed_err(s, err);
    struct store_batch b = {0};
    enum err rc = s->kind->read(s, after_seq, records_max, size_max, &b, err);
    if (rc != OK) {
        store_batch_done(&b);
        return rc;
    }
    if (b.n > 0)
        store_clock_saw(s, b.items[b.n - 1].e.time);
    *ret_batch = b;
    return OK;
}

enum err store_end(struct store *s, struct store_pos *ret_end, struct errinfo *err)
{
    return s->impl == NULL ? closed_err(s, err) : s->kind->end(s, ret_end, err);
}

enum err store_find_id(struct store *s, uint64_t after_seq, struct id id, uint64_t *ret_seq, struct errinfo *err)
{
    if (s->impl != NULL && s->kind->find != NULL)
        return s->kind->find(s, after_seq, id, ret_seq, err);
    for (;;) {
        AUTO(store_batch) struct store_batch b = {0};
        enum err rc = store_read(s, after_seq, 0, ENVELOPE_BATCH_SIZE_MAX, &b, err);
        if (rc != OK)
            return rc;
        for (size_t i = 0; i < b.n; i++) {
            if (id_eq(b.items[i].e.id, id)) {
                *ret_seq = b.items[i].seq;
                return OK;
            }
        }
        if (b.n == 0)
            return err_set(err, ERR_NOT_FOUND, "log '%s' has no such event up to %llu", s->name,
                           (unsigned long long)b.end.seq);
        after_seq = b.items[b.n - 1].seq;
    }
}

int64_t store_clock_us(struct store *s)
{
    int64_t now = s->kind->clock_us(s), floor = atomic_load(&s->clock_floor);
    return now < floor ? floor : now;
}

void store_clock_saw(struct store *s, struct event_time t)
{
    int64_t us = t.instant_ns / 1000;
    if (us > atomic_load(&s->clock_floor))
        atomic_store(&s->clock_floor, us);
}

void store_cancel(struct store *s)
{
    atomic_store(&s->is_cancelled, true);
}

const struct store_damage *store_damage(const struct store *s)
{
    return s->is_damaged ? &s->damage : NULL;
}

enum err store_set_damage(struct store *s, const struct store_damage *d, struct errinfo *err)
{
    if (!s->is_damaged)
        s->damage = *d;
    s->is_damaged = true;
    return err_set(err, ERR_CORRUPT, "log '%s' is damaged at seq %llu, byte %llu of '%s': %s", s->name,
                   (unsigned long long)d->seq, (unsigned long long)d->offset, d->file, d->cause);
}

void store_batch_done(struct store_batch *b)
{
    free(b->items);
    arena_done(&b->arena);
    *b = (struct store_batch){0};
}

void store_batch_add(struct store_batch *b, size_t *size, uint64_t seq, const struct envelope *e)
{
    if (b->n == *size) {
        *size = *size == 0 ? 16 : *size * 2;
        b->items = mem_realloc(b->items, *size * sizeof(*b->items));
    }
    struct store_record *r = &b->items[b->n++];
    *r = (struct store_record){.seq = seq, .e = *e};
    r->e.type = arena_str(&b->arena, e->type);
    r->e.payload = arena_str(&b->arena, e->payload);
}
