/* Writing a model as bytes, for a file or for its hash: one walk over the tables of members. */
#include "platform/snapshot.h"

#include "base/mem.h"
#include "event/hash.h"
#include "platform/snapshot_form.h"

/* 64 KiB between two calls of the hash (chosen). */
#define CHUNK_SIZE 65536u
/* The longest thing that is written without asking for room again: a varint. */
#define VARINT_SIZE_MAX 10u

/* Numbers of what is named more than once, by address: texts as they come, objects by their place in the index. */
struct numbers {
    struct number {
        const void *at;
        uint64_t n;
    } *slots;
    size_t used, size; /* a power of two */
};

struct writer {
    uint8_t chunk[CHUNK_SIZE];
    size_t n;
    struct buf *out;   /* one of these two */
    struct hash *hash; /* … is NULL */
    struct numbers numbers;
    uint64_t texts_n;
};

/* ---- bytes ---- */

static void flush(struct writer *w)
{
    if (w->out != NULL)
        buf_add(w->out, w->chunk, w->n);
    else
        hash_add(w->hash, w->chunk, w->n);
    w->n = 0;
}

static void put_bytes(struct writer *w, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;
    while (n > 0) {
        if (w->n == CHUNK_SIZE)
            flush(w);
        size_t part = n < CHUNK_SIZE - w->n ? n : CHUNK_SIZE - w->n;
        memcpy(w->chunk + w->n, from, part);
        w->n += part;
        from += part;
        n -= part;
    }
}

static void put_u64(struct writer *w, uint64_t v)
{
    if (CHUNK_SIZE - w->n < VARINT_SIZE_MAX)
        flush(w);
    for (; v >= 0x80; v >>= 7)
        w->chunk[w->n++] = (uint8_t)(v | 0x80);
    w->chunk[w->n++] = (uint8_t)v;
}

/* Small numbers of either sign are short. */
static void put_i64(struct writer *w, int64_t v)
{
    put_u64(w, (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0));
}

/* ---- numbers ---- */

static struct number *number_slot(const struct numbers *x, const void *at)
{
    size_t i = (size_t)((uintptr_t)at >> 3) * (size_t)0x9e3779b97f4a7c15u >> 20 & (x->size - 1);
    while (x->slots[i].at != NULL && x->slots[i].at != at)
        i = (i + 1) & (x->size - 1);
    return &x->slots[i];
}

static void numbers_grow(struct numbers *x)
{
    struct numbers old = *x;
    x->size = old.size == 0 ? 1024 : old.size * 2;
    x->slots = mem_calloc(x->size, sizeof(*x->slots));
    for (size_t i = 0; i < old.size; i++)
        if (old.slots[i].at != NULL)
            *number_slot(x, old.slots[i].at) = old.slots[i];
    free(old.slots);
}

/* The number of what is at this address; n if it has none yet: then it has n from now on. */
static uint64_t number(struct numbers *x, const void *at, uint64_t n)
{
    if (x->used * 4 >= x->size * 3)
        numbers_grow(x);
    struct number *slot = number_slot(x, at);
    if (slot->at == NULL) {
        *slot = (struct number){at, n};
        x->used++;
    }
    return slot->n;
}

/* ---- members ---- */

static void put_text(struct writer *w, const char *text)
{
    if (text[0] == '\0') {
        put_u64(w, TEXT_EMPTY);
        return;
    }
    uint64_t n = number(&w->numbers, text, w->texts_n);
    if (n < w->texts_n) {
        put_u64(w, TEXT_KNOWN + n);
        return;
    }
    w->texts_n++;
    size_t len = strlen(text);
    put_u64(w, TEXT_NEW);
    put_u64(w, len);
    put_bytes(w, text, len);
}

static void put_texts(struct writer *w, const struct text_list *list)
{
    put_u64(w, list->n);
    for (uint32_t i = 0; i < list->n; i++)
        put_text(w, list->items[i]);
}

static void put_ids(struct writer *w, const struct id_list *list)
{
    put_u64(w, list->n);
    for (uint32_t i = 0; i < list->n; i++)
        put_bytes(w, &list->items[i], sizeof(list->items[i]));
}

/* 0 for none, else one more than its place among those of its type. */
static void put_ref(struct writer *w, const void *object)
{
    put_u64(w, object == NULL ? 0 : number(&w->numbers, object, UINT64_MAX) + 1);
}

static void put_members(struct writer *w, const struct members *members, const void *object);

static void put_array(struct writer *w, const struct member *m, const void *object)
{
    const char *items = *(void *const *)member_in(m, object);
    uint32_t n = *(const uint32_t *)(const void *)((const char *)object + m->count_offset);
    put_u64(w, n);
    for (uint32_t i = 0; i < n; i++)
        put_members(w, m->of, items + i * m->of->size);
}

static void put_member(struct writer *w, const struct member *m, const void *object)
{
    const void *at = member_in(m, object);
    switch (m->kind) {
    case MEMBER_ID: put_bytes(w, at, sizeof(struct id)); break;
    case MEMBER_SEQ:
    case MEMBER_U64: put_u64(w, *(const uint64_t *)at); break;
    case MEMBER_I64: put_i64(w, *(const int64_t *)at); break;
    case MEMBER_U32: put_u64(w, *(const uint32_t *)at); break;
    case MEMBER_U8: put_u64(w, *(const uint8_t *)at); break;
    case MEMBER_BOOL: put_u64(w, *(const bool *)at); break;
    case MEMBER_ENUM: put_u64(w, m->size == 1 ? *(const uint8_t *)at : *(const uint32_t *)at); break;
    case MEMBER_TEXT: put_text(w, *(const char *const *)at); break;
    case MEMBER_TEXTS: put_texts(w, at); break;
    case MEMBER_IDS: put_ids(w, at); break;
    case MEMBER_REF: put_ref(w, *(const void *const *)at); break;
    case MEMBER_ARRAY: put_array(w, m, object); break;
    case MEMBER_INDEX:
    case MEMBER_OBJECTS:
    case MEMBER_DERIVED:
    case MEMBER_OUTSIDE: break;
    }
}

static void put_members(struct writer *w, const struct members *members, const void *object)
{
    for (size_t i = 0; i < members->n; i++)
        put_member(w, &members->items[i], object);
}

/* ---- the model ---- */

static void put_tombstones(struct writer *w, const struct model *m)
{
    put_u64(w, m->tombstones_n);
    for (uint64_t i = m->tombstones_n - tombstones_kept(m); i < m->tombstones_n; i++)
        put_members(w, &MEMBERS_tombstone, &m->tombstones[i % MODEL_TOMBSTONES_MAX]);
}

/* An object may be referred to before its turn comes. */
static void number_objects(struct writer *w, const struct members *members, const struct id_index *x)
{
    bool is_target = false;
    for (size_t t = 0; t < MEMBERS_model.n; t++)
        for (size_t i = 0; MEMBERS_model.items[t].kind == MEMBER_OBJECTS && i < MEMBERS_model.items[t].of->n; i++) {
            const struct member *m = &MEMBERS_model.items[t].of->items[i];
            is_target = is_target || (m->kind == MEMBER_REF && m->of == members);
        }
    for (size_t i = 0; is_target && i < x->n; i++)
        (void)number(&w->numbers, x->items[i], i);
}

static void put_model(struct writer *w, const struct model *m)
{
    assert(m->journal == NULL);
    uint64_t format = snapshot_format();
    put_bytes(w, SNAPSHOT_MAGIC, sizeof(SNAPSHOT_MAGIC) - 1);
    for (int i = 0; i < 8; i++)
        put_bytes(w, &(uint8_t){(uint8_t)(format >> (8 * i))}, 1);
    put_members(w, &MEMBERS_model, m);
    for (size_t t = 0; t < MEMBERS_model.n; t++)
        if (MEMBERS_model.items[t].kind == MEMBER_OBJECTS) {
            const struct id_index *x = member_in(&MEMBERS_model.items[t], m);
            put_u64(w, x->n);
            number_objects(w, MEMBERS_model.items[t].of, x);
        }
    put_tombstones(w, m);
    for (size_t t = 0; t < MEMBERS_model.n; t++) {
        const struct member *all = &MEMBERS_model.items[t];
        const struct id_index *x = member_in(all, m);
        for (size_t i = 0; all->kind == MEMBER_OBJECTS && i < x->n; i++)
            put_members(w, all->of, x->items[i]);
    }
    flush(w);
}

static void write_model(const struct model *m, struct buf *out, struct hash *hash)
{
    struct writer *w = mem_alloc(sizeof(*w));
    w->out = out;
    w->hash = hash;
    put_model(w, m);
    free(w->numbers.slots);
    free(w);
}

void snapshot_encode(const struct model *m, struct buf *out)
{
    write_model(m, out, NULL);
}

void snapshot_hash(const struct model *m, uint8_t ret_hash[static 32])
{
    struct hash *h = hash_new();
    write_model(m, NULL, h);
    hash_finish(h, ret_hash);
}

void model_hash(const struct model *m, uint8_t ret_hash[static 32])
{
    snapshot_hash(m, ret_hash);
}

/* ---- the format's number ---- */

static void describe_table(struct buf *out, const struct members *members)
{
    assert(members != NULL); /* OBJECTS and ARRAY say of what */
    buf_addf(out, "%s:", members->name);
    for (size_t i = 0; i < members->n; i++) {
        const struct member *m = &members->items[i];
        if (m->kind < MEMBER_INDEX || m->kind == MEMBER_OBJECTS)
            buf_addf(out, " %s %d %u %s %d,", m->name, (int)m->kind, m->max, m->of == NULL ? "" : m->of->name,
                     m->is_required);
    }
    buf_add_char(out, '\n');
    for (size_t i = 0; i < members->n; i++)
        if (members->items[i].kind == MEMBER_OBJECTS || members->items[i].kind == MEMBER_ARRAY)
            describe_table(out, members->items[i].of);
}

uint64_t snapshot_format(void)
{
    struct buf text = {0};
    buf_addf(&text, "%u %u\n", SNAPSHOT_FOLD, MODEL_TOMBSTONES_MAX);
    describe_table(&text, &MEMBERS_model);
    describe_table(&text, &MEMBERS_tombstone);
    uint8_t digest[HASH_SIZE];
    hash_bytes(text.ptr, text.len, digest);
    buf_done(&text);
    uint64_t format = 0;
    for (int i = 0; i < 8; i++)
        format = format << 8 | digest[i];
    return format >> 1;
}
