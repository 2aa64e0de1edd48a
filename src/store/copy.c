/* store_copy: from any store to any other, in appends of whole commands.
 *
 * Records are read in parts of half an append; a command whose end is not among them is read again, as the first of
 * the next part. What can go wrong: either store fails (the copy stops where it is, `ret` says where), somebody else
 * appends to `to` (ERR_CONFLICT: it would not be a copy any more). */
#include <inttypes.h>
#include <stdio.h>

#include "base/own.h"
#include "store/kind.h"

/* Half of an append, so that a part and the rest of its last command mostly fit in one (chosen). */
#define PART_SIZE (ENVELOPE_BATCH_SIZE_MAX / 2)

struct copy {
    struct store *from, *to;
    uint64_t until; /* the end of `from` when it began */
    struct store_copied *done;
    struct store_event *events;
    struct store_group *groups;
};

/* Lines of others may have no id; a second copy gives the same one. */
static struct id id_of(const struct store *from, const struct store_record *r)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "record %" PRIu64, r->seq);
    return id_is_none(r->e.id) ? id_derive(store_log_id(from), name) : r->e.id;
}

/* Fill in c->events and c->groups with the whole commands of the batch. *ret_n: groups. */
static size_t group_up(struct copy *c, const struct store_batch *b)
{
    size_t groups_n = 0, from = 0;
    c->events = mem_realloc(c->events, b->n * sizeof(*c->events));
    c->groups = mem_realloc(c->groups, b->n * sizeof(*c->groups));
    for (size_t i = 0; i < b->n && b->items[i].seq <= c->until; i++) {
        const struct store_record *r = &b->items[i];
        c->events[i] = (struct store_event){
            .type = r->e.type, .id = id_of(c->from, r), .payload = r->e.payload, .has_time = true, .time = r->e.time};
        if (r->e.more && r->seq < c->until)
            continue;
        c->groups[groups_n++] = (struct store_group){c->events + from, i + 1 - from};
        from = i + 1;
    }
    return groups_n;
}

static enum err append_groups(struct copy *c, const struct store_batch *b, size_t groups_n, struct errinfo *err)
{
    auto_free struct store_record *records = mem_calloc(b->n, sizeof(*records));
    size_t at = 0; /* of b->items: each event is one record */
    for (size_t i = 0, taken = 0; i < groups_n; i += taken) {
        enum err rc = store_append_many(c->to, c->done->to_at, c->groups + i, groups_n - i, records, &taken, err);
        if (rc != OK)
            return rc;
        size_t n = 0;
        for (size_t k = i; k < i + taken; k++)
            n += c->groups[k].n;
        at += n;
        c->done->to_at = (struct store_pos){records[n - 1].seq, records[n - 1].e.sum};
        c->done->from_at = (struct store_pos){b->items[at - 1].seq, b->items[at - 1].e.sum};
        c->done->records += n;
    }
    return OK;
}

static enum err copy_part(struct copy *c, size_t size_max, size_t *ret_groups_n, struct errinfo *err)
{
    AUTO(store_batch) struct store_batch b = {0};
    enum err rc = store_read(c->from, c->done->from_at.seq, 0, size_max, &b, err);
    if (rc != OK)
        return rc;
    if (b.after.sum != c->done->from_at.sum || b.n == 0)
        return err_set(err, ERR_NOT_FOUND, "log '%s' holds another record %" PRIu64 " than the one to go on from",
                       store_name(c->from), c->done->from_at.seq);
    *ret_groups_n = group_up(c, &b);
    return append_groups(c, &b, *ret_groups_n, err);
}

static enum err copy_all(struct copy *c, struct errinfo *err)
{
    while (c->done->from_at.seq < c->until) {
        size_t groups_n = 0;
        enum err rc = copy_part(c, PART_SIZE, &groups_n, err);
        if (rc == OK && groups_n == 0) /* one command is longer than that */
            rc = copy_part(c, ENVELOPE_BATCH_SIZE_MAX, &groups_n, err);
        if (rc != OK)
            return rc;
        if (groups_n == 0)
            return err_set(err, ERR_LIMIT, "the command behind record %" PRIu64 " of log '%s' is over %u bytes",
                           c->done->from_at.seq, store_name(c->from), ENVELOPE_BATCH_SIZE_MAX);
    }
    return OK;
}

enum err store_copy(struct store *from, struct store_pos after, struct store *to, struct store_copied *ret,
                    struct errinfo *err)
{
    *ret = (struct store_copied){0};
    struct store_pos end = {0}, to_end = {0};
    enum err rc = store_end(from, &end, err);
    if (rc == OK)
        rc = store_end(to, &to_end, err);
    if (rc == OK && after.seq > end.seq)
        rc = err_set(err, ERR_NOT_FOUND, "log '%s' ends at %" PRIu64 ", before %" PRIu64, store_name(from), end.seq,
                     after.seq);
    if (rc != OK)
        return rc;
    ret->from_at = after;
    ret->to_at = to_end;
    struct copy c = {.from = from, .to = to, .until = end.seq, .done = ret};
    to->takes_any_time = true;
    rc = copy_all(&c, err);
    to->takes_any_time = false;
    free(c.events);
    free(c.groups);
    return rc;
}

/* Does record `seq` of `from` have that id? OK: *ret is its place | ERR_NOT_FOUND no, or it ends before */
static enum err is_at(struct store *from, uint64_t seq, struct id id, struct store_pos *ret, struct errinfo *err)
{
    AUTO(store_batch) struct store_batch b = {0};
    enum err rc = store_read(from, seq - 1, 1, 0, &b, err);
    if (rc != OK)
        return rc;
    if (b.n == 0 || !id_eq(id_of(from, &b.items[0]), id))
        return err_set(err, ERR_NOT_FOUND, "record %" PRIu64 " of log '%s' is another one", seq, store_name(from));
    *ret = (struct store_pos){seq, b.items[0].e.sum};
    return OK;
}

static enum err look_for(struct store *from, struct id id, struct store_pos *ret, struct errinfo *err)
{
    for (uint64_t after = 0;;) {
        AUTO(store_batch) struct store_batch b = {0};
        enum err rc = store_read(from, after, 0, ENVELOPE_BATCH_SIZE_MAX, &b, err);
        if (rc != OK)
            return rc;
        if (b.n == 0)
            return err_set(err, ERR_NOT_FOUND, "log '%s' has no such event", store_name(from));
        for (size_t i = 0; i < b.n; i++) {
            *ret = (struct store_pos){b.items[i].seq, b.items[i].e.sum};
            if (id_eq(id_of(from, &b.items[i]), id))
                return OK;
        }
        after = b.items[b.n - 1].seq;
    }
}

enum err store_copy_place(struct store *from, struct store *to, struct store_pos *ret_after, struct errinfo *err)
{
    struct store_pos end = {0};
    AUTO(store_batch) struct store_batch last = {0};
    *ret_after = (struct store_pos){0};
    enum err rc = store_end(to, &end, err);
    if (rc != OK || end.seq == 0)
        return rc;
    rc = store_read(to, end.seq - 1, 1, 0, &last, err);
    if (rc != OK || last.n == 0)
        return rc;
    struct id id = last.items[0].e.id;
    rc = is_at(from, end.seq, id, ret_after, err);
    if (rc == ERR_NOT_FOUND)
        rc = look_for(from, id, ret_after, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_CONFLICT, "the last event of log '%s' is not in log '%s': it is no copy of it",
                       store_name(to), store_name(from));
    return rc;
}
