/* The simulated store: logs in memory, virtual time, faults by odds. A record is kept as its line, and read as any
 * other store reads it: checked against the one before. */
#include "store/simulated.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/own.h"
#include "base/queue.h"
#include "store/kind.h"
#include "store/lines.h"

/* 2026-01-01T00:00:00Z. */
#define WORLD_BEGINS_US 1767225600000000
/* An append to a disk nearby, and a question (chosen). */
enum { TOOK_APPEND_US = 100, TOOK_OTHER_US = 10 };

struct sim_handle {
    struct store *store;
    struct sim_log *log;
    bool is_failed; /* an append whose answer was lost */
    int64_t took_us;
    struct buf text;
    TAILQ_ENTRY(sim_handle) link;
};

struct sim_log {
    char *name;
    struct id id;
    char **lines; /* of record i + 1, without its newline */
    uint32_t *sums;
    size_t n, size;
    struct event_time last;
    bool is_unreachable;
    struct store_lease leases[STORE_LEASES_MAX];
    size_t leases_n;
    struct store_key *keys; /* in the order of their names */
    size_t keys_n;
    TAILQ_HEAD(, sim_handle) handles;
    TAILQ_ENTRY(sim_log) link;
};

struct store_world {
    uint64_t random;
    int64_t now_us;
    uint32_t logs_n;
    struct store_odds odds;
    TAILQ_HEAD(, sim_log) logs;
};

struct store_world *store_world_new(uint64_t seed)
{
    struct store_world *w = mem_alloc(sizeof(*w));
    *w = (struct store_world){.random = seed, .now_us = WORLD_BEGINS_US};
    TAILQ_INIT(&w->logs);
    return w;
}

static void cut_to(struct sim_log *l, size_t n)
{
    while (l->n > n)
        free(l->lines[--l->n]);
}

void store_world_free(struct store_world *w)
{
    if (w == NULL)
        return;
    while (!TAILQ_EMPTY(&w->logs)) {
        struct sim_log *l = TAILQ_FIRST(&w->logs);
        TAILQ_REMOVE(&w->logs, l, link);
        assert(TAILQ_EMPTY(&l->handles));
        cut_to(l, 0);
        free(l->lines);
        free(l->keys);
        free(l->sums);
        free(l->name);
        free(l);
    }
    free(w);
}

void store_world_set_now_us(struct store_world *w, int64_t now_us)
{
    w->now_us = now_us;
}

void store_world_set_odds(struct store_world *w, const struct store_odds *odds)
{
    w->odds = *odds;
}

static struct sim_log *find(const struct store_world *w, struct str name)
{
    struct sim_log *l;
    TAILQ_FOREACH(l, &w->logs, link)
    {
        if (str_eq_c(name, l->name))
            return l;
    }
    return NULL;
}

static struct sim_log *get(const struct store_world *w, const char *name)
{
    struct sim_log *l = find(w, str_from(name));
    assert(l != NULL);
    return l;
}

void store_world_set_unreachable(struct store_world *w, const char *name, bool is_unreachable)
{
    get(w, name)->is_unreachable = is_unreachable;
}

/* Sum and time of the last record, as it was before those behind it came. */
static void set_last(struct sim_log *l)
{
    l->last = EVENT_TIME_MIN;
    struct envelope e;
    if (l->n > 0 && envelope_decode(str_from(l->lines[l->n - 1]), l->n > 1 ? l->sums[l->n - 2] : 0, &e, NULL) == OK)
        l->last = e.time;
}

void store_world_rewind(struct store_world *w, const char *name, uint64_t seq)
{
    struct sim_log *l = get(w, name);
    cut_to(l, seq < l->n ? (size_t)seq : l->n);
    set_last(l);
}

void store_world_damage(struct store_world *w, const char *name, uint64_t seq)
{
    struct sim_log *l = get(w, name);
    assert(seq >= 1 && seq <= l->n);
    char *line = l->lines[seq - 1];
    line[strlen(line) / 2] ^= 1;
}

/* splitmix64 (Vigna), the generator that java.util.SplittableRandom has. */
static uint64_t next_random(struct store_world *w)
{
    uint64_t z = w->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool happens(struct store_world *w, uint32_t odds)
{
    return odds > 0 && next_random(w) % 1000 < odds;
}

int64_t store_simulated_took_us(const struct store *s)
{
    const struct sim_handle *h = s->impl;
    return h == NULL ? TOOK_OTHER_US : h->took_us;
}

/* Begin of a call. OK | ERR_UNAVAILABLE | ERR_CANCELLED */
static enum err reach(struct store *s, const struct sim_log *l, struct sim_handle *h, int64_t base_us,
                      struct errinfo *err)
{
    struct store_world *w = s->world;
    if (atomic_load(&s->is_cancelled))
        return err_set(err, ERR_CANCELLED, "log '%s': asked to stop", s->name);
    if (h != NULL) {
        h->took_us = base_us;
        if (happens(w, w->odds.slow) && w->odds.delay_us_max > 0)
            h->took_us += (int64_t)(next_random(w) % (uint64_t)w->odds.delay_us_max);
    }
    if ((l != NULL && l->is_unreachable) || happens(w, w->odds.unavailable))
        return err_set(err, ERR_UNAVAILABLE, "log '%s' cannot be reached", s->name);
    return OK;
}

static struct sim_log *make(struct store *s, struct str name)
{
    struct store_world *w = s->world;
    struct sim_log *l = mem_alloc(sizeof(*l));
    *l = (struct sim_log){.name = mem_strndup(name.ptr, name.len), .id = s->log_wanted, .last = EVENT_TIME_MIN};
    TAILQ_INIT(&l->handles);
    char text[32];
    (void)snprintf(text, sizeof(text), "log %" PRIu32, ++w->logs_n);
    if (id_is_none(l->id))
        l->id = id_derive(ID_NONE, text);
    TAILQ_INSERT_TAIL(&w->logs, l, link);
    return l;
}

static enum err simulated_open(struct store *s, struct store_repair *ret_repair, struct errinfo *err)
{
    (void)ret_repair;
    struct str name = store_spec_get(s, "name");
    if (name.len == 0)
        return err_set(err, ERR_INVALID, "event store '%s' needs 'name=X'", s->spec);
    if (s->world == NULL)
        return err_set(err, ERR_INVALID, "event store '%s' exists in simulators and tests only", s->spec);
    struct sim_log *l = find(s->world, name);
    enum err rc = reach(s, l, NULL, TOOK_OTHER_US, err);
    if (rc != OK)
        return rc;
    if (l == NULL && s->mode != STORE_CREATE)
        return err_set(err, ERR_NOT_FOUND, "there is no log '%s'", s->name);
    if (l == NULL)
        l = make(s, name);
    struct sim_handle *h = mem_alloc(sizeof(*h));
    *h = (struct sim_handle){.store = s, .log = l, .took_us = TOOK_OTHER_US};
    TAILQ_INSERT_TAIL(&l->handles, h, link);
    store_clock_saw(s, l->last);
    s->impl = h;
    s->log = l->id;
    return OK;
}

static void simulated_close(struct store *s)
{
    struct sim_handle *h = s->impl;
    TAILQ_REMOVE(&h->log->handles, h, link);
    buf_done(&h->text);
    free(h);
}

static struct store_pos end_of(const struct sim_log *l)
{
    return (struct store_pos){l->n, l->n == 0 ? 0 : l->sums[l->n - 1]};
}

static void keep(struct sim_log *l, struct str line, uint32_t sum)
{
    if (l->n == l->size) {
        l->size = l->size == 0 ? 16 : l->size * 2;
        l->lines = mem_realloc(l->lines, l->size * sizeof(*l->lines));
        l->sums = mem_realloc(l->sums, l->size * sizeof(*l->sums));
    }
    l->lines[l->n] = mem_strndup(line.ptr, line.len);
    l->sums[l->n++] = sum;
}

/* Keep the first n lines of h->text, and tell those who watch. */
static void write_lines(struct sim_handle *h, size_t n)
{
    struct sim_log *l = h->log;
    struct str rest = buf_str(&h->text), line;
    for (size_t i = 0; i < n && str_next(&rest, '\n', &line); i++) {
        struct envelope e = {0};
        enum err rc = envelope_decode(line, end_of(l).sum, &e, NULL);
        assert(rc == OK);
        (void)rc;
        keep(l, line, e.sum);
        l->last = e.time;
    }
    struct sim_handle *other;
    TAILQ_FOREACH(other, &l->handles, link)
    {
        if (other->store->changed != NULL)
            other->store->changed(other->store->changed_ctx);
    }
}

static enum err lost(struct sim_handle *h, struct errinfo *err)
{
    h->is_failed = true;
    return err_set(err, ERR_IO, "log '%s': the answer was lost, it must be opened anew", h->store->name);
}

static size_t records_of(const struct store_group *groups, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += groups[i].n;
    return sum;
}

static enum err simulated_append(struct store *s, struct store_pos expect, const struct store_group *groups,
                                 size_t groups_n, struct store_record *ret_records, size_t *ret_taken,
                                 struct errinfo *err)
{
    struct sim_handle *h = s->impl;
    struct store_world *w = s->world;
    if (h->is_failed)
        return err_set(err, ERR_IO, "log '%s' failed before, it must be opened anew", s->name);
    enum err rc = reach(s, h->log, h, TOOK_APPEND_US, err);
    if (rc != OK)
        return rc;
    struct store_pos end = end_of(h->log);
    if (end.seq != expect.seq || end.sum != expect.sum || happens(w, w->odds.conflict))
        return err_set(err, ERR_CONFLICT, "log '%s' ends at %" PRIu64 ", expected was %" PRIu64, s->name, end.seq,
                       expect.seq);
    struct lines_end at = {end.seq, end.sum, h->log->last};
    rc = lines_build(s, groups, groups_n, store_clock_us(s), &at, &h->text, ret_records, ret_taken, err);
    if (rc != OK)
        return rc;
    if (happens(w, w->odds.lost_before))
        return lost(h, err);
    bool is_torn = *ret_taken > 1 && happens(w, w->odds.torn);
    size_t whole = is_torn ? (size_t)(next_random(w) % *ret_taken) : *ret_taken;
    write_lines(h, records_of(groups, whole));
    if (is_torn || happens(w, w->odds.lost_after))
        return lost(h, err);
    store_clock_saw(s, h->log->last);
    return OK;
}

static enum err simulated_prove(struct store *s, struct errinfo *err)
{
    struct sim_handle *h = s->impl;
    struct store_world *w = s->world;
    if (h->is_failed)
        return err_set(err, ERR_IO, "log '%s' failed before, it must be opened anew", s->name);
    enum err rc = reach(s, h->log, h, TOOK_APPEND_US, err);
    if (rc == OK && (happens(w, w->odds.lost_before) || happens(w, w->odds.lost_after)))
        rc = lost(h, err);
    return rc;
}

static enum err decode(struct store *s, const struct sim_log *l, size_t i, struct envelope *ret, struct errinfo *err)
{
    struct errinfo why = {0};
    if (envelope_decode(str_from(l->lines[i]), i == 0 ? 0 : l->sums[i - 1], ret, &why) == OK && ret->sum == l->sums[i])
        return OK;
    struct store_damage d = {.seq = i + 1};
    (void)snprintf(d.file, sizeof(d.file), "%.63s", l->name);
    (void)snprintf(d.cause, sizeof(d.cause), "%.255s", why.msg);
    return store_set_damage(s, &d, err);
}

static enum err simulated_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max,
                               struct store_batch *ret, struct errinfo *err)
{
    struct sim_handle *h = s->impl;
    const struct sim_log *l = h->log;
    enum err rc = reach(s, l, h, TOOK_OTHER_US, err);
    if (rc != OK)
        return rc;
    if (after_seq > l->n)
        return err_set(err, ERR_NOT_FOUND, "log '%s' ends at %zu, before %" PRIu64, s->name, l->n, after_seq);
    ret->end = end_of(l);
    ret->after = (struct store_pos){after_seq, after_seq == 0 ? 0 : l->sums[after_seq - 1]};
    size_t room = 0, bytes = 0;
    for (size_t i = (size_t)after_seq; i < l->n && (records_max == 0 || ret->n < records_max); i++) {
        struct envelope e;
        rc = decode(s, l, i, &e, err);
        if (rc != OK && ret->n > 0) { /* what is good first; the next read meets it again */
            s->is_damaged = false;
            return OK;
        }
        if (rc != OK)
            return rc;
        bytes += strlen(l->lines[i]) + 1;
        if (size_max > 0 && ret->n > 0 && bytes > size_max)
            break;
        store_batch_add(ret, &room, i + 1, &e);
    }
    return OK;
}

static enum err simulated_end(struct store *s, struct store_pos *ret_end, struct errinfo *err)
{
    struct sim_handle *h = s->impl;
    enum err rc = reach(s, h->log, h, TOOK_OTHER_US, err);
    if (rc == OK)
        *ret_end = end_of(h->log);
    return rc;
}

static int64_t simulated_clock_us(struct store *s)
{
    return s->world->now_us;
}

static struct sim_log *leased_log(struct store *s, struct errinfo *err)
{
    struct sim_log *l = ((struct sim_handle *)s->impl)->log;
    if (l->is_unreachable)
        err_ignore(err_set(err, ERR_UNAVAILABLE, "log '%s' cannot be reached", s->name));
    return l->is_unreachable ? NULL : l;
}

static struct store_lease *lease_of(struct sim_log *l, const char *name)
{
    for (size_t i = 0; i < l->leases_n; i++)
        if (strcmp(l->leases[i].name, name) == 0)
            return &l->leases[i];
    return NULL;
}

static enum err simulated_lease_put(struct store *s, const struct store_lease *lease, struct errinfo *err)
{
    struct sim_log *l = leased_log(s, err);
    if (l == NULL)
        return ERR_UNAVAILABLE;
    struct store_lease *known = lease_of(l, lease->name);
    if (known == NULL && l->leases_n == STORE_LEASES_MAX)
        return err_set(err, ERR_LIMIT, "log '%s' keeps at most %u leases", s->name, STORE_LEASES_MAX);
    if (known == NULL)
        known = &l->leases[l->leases_n++];
    *known = *lease;
    return OK;
}

static enum err simulated_lease_drop(struct store *s, const char *name, struct errinfo *err)
{
    struct sim_log *l = leased_log(s, err);
    struct store_lease *known = l == NULL ? NULL : lease_of(l, name);
    if (known != NULL)
        *known = l->leases[--l->leases_n];
    return l == NULL ? ERR_UNAVAILABLE : OK;
}

static enum err simulated_lease_list(struct store *s, struct store_lease *ret, size_t max, size_t *ret_n,
                                     struct errinfo *err)
{
    const struct sim_log *l = leased_log(s, err);
    if (l == NULL)
        return ERR_UNAVAILABLE;
    *ret_n = l->leases_n < max ? l->leases_n : max;
    memcpy(ret, l->leases, *ret_n * sizeof(*ret));
    return OK;
}

/* The key of that name, or where it would be. */
static size_t key_place(const struct sim_log *l, const char *name, bool *ret_found)
{
    size_t i = 0;
    while (i < l->keys_n && strcmp(l->keys[i].name, name) < 0)
        i++;
    *ret_found = i < l->keys_n && strcmp(l->keys[i].name, name) == 0;
    return i;
}

static enum err simulated_key_put(struct store *s, const struct store_key *key, const char *was, struct errinfo *err)
{
    struct sim_log *l = leased_log(s, err);
    bool found = false;
    if (l == NULL)
        return ERR_UNAVAILABLE;
    size_t i = key_place(l, key->name, &found);
    if (found != (was != NULL) || (found && strcmp(l->keys[i].wrapped, was) != 0))
        return err_set(err, ERR_CONFLICT, "key '%s' of log '%s' is not as expected", key->name, s->name);
    if (!found) {
        l->keys = mem_realloc(l->keys, (l->keys_n + 1) * sizeof(*l->keys));
        memmove(&l->keys[i + 1], &l->keys[i], (l->keys_n - i) * sizeof(*l->keys));
        l->keys_n++;
    }
    l->keys[i] = *key;
    return OK;
}

static enum err simulated_key_get(struct store *s, const char *name, struct store_key *ret, struct errinfo *err)
{
    const struct sim_log *l = leased_log(s, err);
    bool found = false;
    if (l == NULL)
        return ERR_UNAVAILABLE;
    size_t i = key_place(l, name, &found);
    if (!found)
        return err_set(err, ERR_NOT_FOUND, "log '%s' has no key '%s'", s->name, name);
    *ret = l->keys[i];
    return OK;
}

static enum err simulated_key_drop(struct store *s, const char *name, struct errinfo *err)
{
    struct sim_log *l = leased_log(s, err);
    bool found = false;
    if (l == NULL)
        return ERR_UNAVAILABLE;
    size_t i = key_place(l, name, &found);
    if (found) {
        l->keys_n--;
        memmove(&l->keys[i], &l->keys[i + 1], (l->keys_n - i) * sizeof(*l->keys));
    }
    return OK;
}

static enum err simulated_key_list(struct store *s, const char *after, struct store_key *ret, size_t max, size_t *ret_n,
                                   struct errinfo *err)
{
    const struct sim_log *l = leased_log(s, err);
    bool found = false;
    *ret_n = 0;
    if (l == NULL)
        return ERR_UNAVAILABLE;
    for (size_t i = key_place(l, after, &found) + found; i < l->keys_n && *ret_n < max; i++)
        ret[(*ret_n)++] = l->keys[i];
    return OK;
}

const struct store_kind STORE_SIMULATED = {
    .name = "simulated",
    .open = simulated_open,
    .close = simulated_close,
    .append = simulated_append,
    .read = simulated_read,
    .end = simulated_end,
    .clock_us = simulated_clock_us,
    .prove = simulated_prove,
    .lease_put = simulated_lease_put,
    .lease_drop = simulated_lease_drop,
    .lease_list = simulated_lease_list,
    .key_put = simulated_key_put,
    .key_get = simulated_key_get,
    .key_drop = simulated_key_drop,
    .key_list = simulated_key_list,
    .tells = true,
};
