/* The newest ids of the output log, so that a command is known by its event's id without reading the log: a ring of
 * APP_REMEMBERED_N and an open-addressed table of twice as many slots that points into it. */
#include "app/inside.h"

#include <assert.h>

enum { SLOTS = 2 * APP_REMEMBERED_N };
static_assert((SLOTS & (SLOTS - 1)) == 0, "masks are cheap");
/* A UUIDv7 is made before it is appended, by a clock that is at most an hour ahead of the store's. */
#define IDS_SKEW_US 3600000000

static size_t slot_of(struct id id)
{
    return map_hash(id.bytes, sizeof(id.bytes)) & (SLOTS - 1);
}

/* Put index + 1 into the first free slot from its own on. */
static void slot_put(struct app_ids *ids, uint32_t entry)
{
    size_t i = slot_of(ids->ring[entry - 1].id);
    while (ids->slots[i] != 0)
        i = (i + 1) & (SLOTS - 1);
    ids->slots[i] = entry;
}

static void slot_remove(struct app_ids *ids, size_t index)
{
    size_t i = slot_of(ids->ring[index].id);
    while (ids->slots[i] != index + 1)
        i = (i + 1) & (SLOTS - 1);
    ids->slots[i] = 0;
    /* What it pushed on moves back. */
    for (size_t k = (i + 1) & (SLOTS - 1); ids->slots[k] != 0; k = (k + 1) & (SLOTS - 1)) {
        uint32_t moved = ids->slots[k];
        ids->slots[k] = 0;
        slot_put(ids, moved);
    }
}

void ids_add(struct app_ids *ids, const struct store_record *r)
{
    if (ids->ring == NULL) {
        ids->ring = mem_calloc(APP_REMEMBERED_N, sizeof(*ids->ring));
        ids->slots = mem_calloc(SLOTS, sizeof(*ids->slots));
    }
    struct app_known *known = &ids->ring[ids->next];
    if (ids->n == APP_REMEMBERED_N) {
        ids->since_seq = known->pos.seq;
        ids->since_us = known->instant_us;
        slot_remove(ids, ids->next);
    } else {
        ids->n++;
    }
    *known = (struct app_known){r->e.id, {r->seq, r->e.sum}, r->e.time.instant_ns / 1000};
    slot_put(ids, (uint32_t)ids->next + 1);
    ids->next = (ids->next + 1) % APP_REMEMBERED_N;
}

static bool is_younger(struct id id, int64_t since_us)
{
    if (id.bytes[6] >> 4 != 7)
        return false;
    int64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.bytes[i];
    return ms * 1000 > since_us && ms * 1000 - since_us > IDS_SKEW_US;
}

enum ids_answer ids_find(const struct app_ids *ids, struct id id, struct store_pos *ret)
{
    size_t i = slot_of(id);
    bool is_found = false;
    for (; ids->slots != NULL && ids->slots[i] != 0; i = (i + 1) & (SLOTS - 1)) {
        const struct app_known *known = &ids->ring[ids->slots[i] - 1];
        if (!id_eq(known->id, id) || (is_found && known->pos.seq > ret->seq))
            continue;
        *ret = known->pos; /* the first of them */
        is_found = true;
    }
    if (is_found)
        return IDS_FOUND;
    return ids->since_seq == 0 || is_younger(id, ids->since_us) ? IDS_ABSENT : IDS_UNKNOWN;
}

void ids_restart(struct app_ids *ids, uint64_t seq, int64_t instant_us)
{
    ids_done(ids);
    ids->since_seq = seq;
    ids->since_us = instant_us;
}

void ids_done(struct app_ids *ids)
{
    free(ids->ring);
    free(ids->slots);
    *ids = (struct app_ids){0};
}
