/* Reading a model from bytes that may be anything. Every object is made before the first is read, so that a reference
 * may name one whose turn comes later; indexes of objects are filled when all have been read. */
#include "base/mem.h"
#include "platform/snapshot.h"
#include "platform/snapshot_form.h"

/* 16 types of objects in a model (static_assert in `types`). */
#define TYPES_MAX 32u

struct reader {
    const uint8_t *start, *at, *end;
    struct model *model;
    const char **texts; /* by number */
    size_t texts_n, texts_size;
    struct decoded {
        const struct member *all; /* of struct model */
        void **items;
        size_t n;
    } types[TYPES_MAX];
    size_t types_n;
    const char *what; /* is being read, for people */
    bool is_bad;
    char cause[128];
};

static size_t rest(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

/* Only the first complaint counts; what is read after it is 0. */
__attribute__((format(printf, 2, 3))) static void bad(struct reader *r, const char *fmt, ...)
{
    if (r->is_bad)
        return;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(r->cause, sizeof(r->cause), fmt, ap);
    va_end(ap);
    r->is_bad = true;
}

/* ---- bytes ---- */

static const void *get_bytes(struct reader *r, size_t n)
{
    if (r->is_bad || n > rest(r)) {
        bad(r, "it ends too early");
        return NULL;
    }
    const void *p = r->at;
    r->at += n;
    return p;
}

static uint64_t get_u64(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; !r->is_bad; shift += 7) {
        if (r->at == r->end) {
            bad(r, "it ends too early");
            break;
        }
        uint8_t byte = *r->at++;
        if (shift > 63 || (shift == 63 && byte > 1) || (byte == 0 && shift > 0)) {
            bad(r, "a number is too long");
            break;
        }
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
    return 0;
}

static uint64_t get_up_to(struct reader *r, uint64_t max)
{
    uint64_t v = get_u64(r);
    if (v <= max)
        return v;
    bad(r, "%llu is over %llu", (unsigned long long)v, (unsigned long long)max);
    return 0;
}

static int64_t get_i64(struct reader *r)
{
    uint64_t v = get_u64(r);
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

/* How many things follow, each of at least so many bytes. */
static size_t get_count(struct reader *r, size_t size_min)
{
    assert(size_min > 0);
    return (size_t)get_up_to(r, rest(r) / size_min);
}

static void get_id(struct reader *r, struct id *ret)
{
    const void *bytes = get_bytes(r, sizeof(*ret));
    if (bytes != NULL)
        memcpy(ret, bytes, sizeof(*ret));
}

/* ---- members ---- */

static const char *get_new_text(struct reader *r)
{
    struct texts *t = &r->model->texts;
    size_t len = get_count(r, 1);
    const char *bytes = get_bytes(r, len);
    if (bytes == NULL || len == 0 || memchr(bytes, '\0', len) != NULL) {
        bad(r, "a text is empty or has a NUL");
        return "";
    }
    size_t known_n = t->used_n;
    const char *text = texts_ref(t, (struct str){bytes, len});
    if (t->used_n == known_n) {
        texts_unref(t, text);
        bad(r, "a text is written out twice");
        return "";
    }
    if (r->texts_n == r->texts_size) {
        r->texts_size = r->texts_size * 2 + 64;
        r->texts = mem_realloc(r->texts, r->texts_size * sizeof(*r->texts));
    }
    r->texts[r->texts_n++] = text;
    return text;
}

static const char *get_text(struct reader *r)
{
    uint64_t form = get_u64(r);
    if (form == TEXT_EMPTY)
        return "";
    if (form == TEXT_NEW)
        return get_new_text(r);
    if (form - TEXT_KNOWN >= r->texts_n) {
        bad(r, "a text is not known");
        return "";
    }
    return texts_again(&r->model->texts, r->texts[form - TEXT_KNOWN]);
}

static void get_texts(struct reader *r, struct text_list *list)
{
    size_t n = get_count(r, 1);
    if (n == 0 || n > UINT32_MAX)
        return;
    list->items = mem_calloc(n, sizeof(*list->items));
    for (size_t i = 0; i < n && !r->is_bad; i++)
        list->items[list->n++] = get_text(r);
}

static void get_ids(struct reader *r, struct id_list *list)
{
    size_t n = get_count(r, sizeof(struct id));
    const void *bytes = get_bytes(r, n * sizeof(struct id));
    if (bytes == NULL || n == 0 || n > UINT32_MAX)
        return;
    list->items = mem_calloc(n, sizeof(*list->items));
    list->n = (uint32_t)n;
    memcpy(list->items, bytes, n * sizeof(struct id));
}

static void get_ref(struct reader *r, const struct member *m, void *at)
{
    const struct decoded *to = r->types;
    while (to->all->of != m->of)
        to++;
    uint64_t n = get_up_to(r, to->n);
    if (n > 0)
        memcpy(at, &to->items[n - 1], sizeof(void *));
    else if (m->is_required)
        bad(r, "%s is missing", m->name);
}

static void get_members(struct reader *r, const struct members *members, void *object);

static void get_array(struct reader *r, const struct member *m, void *object)
{
    uint64_t n = get_up_to(r, m->max);
    if (n == 0)
        return;
    char *items = mem_calloc(n, m->of->size);
    memcpy(member_at(m, object), &items, sizeof(items));
    *(uint32_t *)(void *)((char *)object + m->count_offset) = (uint32_t)n;
    for (uint64_t i = 0; i < n; i++)
        members_init(m->of, items + i * m->of->size);
    for (uint64_t i = 0; i < n && !r->is_bad; i++)
        get_members(r, m->of, items + i * m->of->size);
}

static void get_enum(struct reader *r, const struct member *m, void *at)
{
    uint64_t v = get_up_to(r, m->max - 1u);
    if (m->size == 1)
        *(uint8_t *)at = (uint8_t)v;
    else
        *(uint32_t *)at = (uint32_t)v;
}

static void get_member(struct reader *r, const struct member *m, void *object)
{
    void *at = member_at(m, object);
    r->what = m->name;
    switch (m->kind) {
    case MEMBER_ID: get_id(r, at); break;
    case MEMBER_SEQ: *(uint64_t *)at = get_up_to(r, r->model->seq); break;
    case MEMBER_U64: *(uint64_t *)at = get_u64(r); break;
    case MEMBER_I64: *(int64_t *)at = get_i64(r); break;
    case MEMBER_U32: *(uint32_t *)at = (uint32_t)get_up_to(r, UINT32_MAX); break;
    case MEMBER_U8: *(uint8_t *)at = (uint8_t)get_up_to(r, UINT8_MAX); break;
    case MEMBER_BOOL: *(bool *)at = get_up_to(r, 1) == 1; break;
    case MEMBER_ENUM: get_enum(r, m, at); break;
    case MEMBER_TEXT: *(const char **)at = get_text(r); break;
    case MEMBER_TEXTS: get_texts(r, at); break;
    case MEMBER_IDS: get_ids(r, at); break;
    case MEMBER_REF: get_ref(r, m, at); break;
    case MEMBER_ARRAY: get_array(r, m, object); break;
    case MEMBER_INDEX:
    case MEMBER_OBJECTS:
    case MEMBER_DERIVED:
    case MEMBER_OUTSIDE: break;
    }
}

static void get_members(struct reader *r, const struct members *members, void *object)
{
    for (size_t i = 0; i < members->n && !r->is_bad; i++)
        get_member(r, &members->items[i], object);
}

/* ---- the model ---- */

static void get_header(struct reader *r)
{
    const char *magic = get_bytes(r, sizeof(SNAPSHOT_MAGIC) - 1);
    const uint8_t *number = get_bytes(r, 8);
    uint64_t format = 0;
    for (int i = 7; number != NULL && i >= 0; i--)
        format = format << 8 | number[i];
    if (number == NULL || memcmp(magic, SNAPSHOT_MAGIC, sizeof(SNAPSHOT_MAGIC) - 1) != 0)
        bad(r, "these are not the bytes of a model");
    else if (format != snapshot_format())
        bad(r, "they are of another version of this program");
}

/* How many objects of each type there are: all of them are made here. */
static void make_objects(struct reader *r)
{
    size_t taken = 0;
    for (size_t i = 0; i < MEMBERS_model.n; i++) {
        const struct member *all = &MEMBERS_model.items[i];
        if (all->kind != MEMBER_OBJECTS)
            continue;
        assert(r->types_n < TYPES_MAX);
        struct decoded *o = &r->types[r->types_n++];
        o->all = all;
        r->what = all->name;
        size_t n = get_count(r, members_size_min(all->of));
        taken += n * members_size_min(all->of);
        if (taken > rest(r))
            bad(r, "there are not bytes for so many");
        if (r->is_bad || n == 0)
            continue;
        o->items = mem_calloc(n, sizeof(*o->items));
        for (; o->n < n; o->n++) {
            o->items[o->n] = mem_alloc(all->of->size);
            members_init(all->of, o->items[o->n]);
        }
    }
}

static void get_tombstones(struct reader *r)
{
    struct model *m = r->model;
    r->what = "tombstones";
    m->tombstones_n = (size_t)get_up_to(r, SIZE_MAX / 2);
    uint64_t kept = tombstones_kept(m);
    if (kept > rest(r) / members_size_min(&MEMBERS_tombstone))
        bad(r, "there are not bytes for so many");
    if (r->is_bad || kept == 0) {
        m->tombstones_n = 0;
        return;
    }
    m->tombstones = mem_calloc(MODEL_TOMBSTONES_MAX, sizeof(*m->tombstones));
    for (uint64_t i = m->tombstones_n - kept, last = 0; i < m->tombstones_n && !r->is_bad; i++) {
        struct tombstone *t = &m->tombstones[i % MODEL_TOMBSTONES_MAX];
        get_members(r, &MEMBERS_tombstone, t);
        if (t->seq < last)
            bad(r, "they are not in order");
        last = t->seq;
    }
}

static void get_objects(struct reader *r, struct decoded *o)
{
    struct id_index *x = member_at(o->all, r->model);
    for (size_t i = 0; i < o->n && !r->is_bad; i++) {
        void *object = o->items[i];
        get_members(r, o->all->of, object);
        if (i > 0 && id_cmp(*(const struct id *)o->items[i - 1], *(const struct id *)object) >= 0)
            bad(r, "%s are not in the order of their ids", o->all->name);
        if (!r->is_bad)
            id_index_add(x, object);
    }
}

/* What follows from the rest: who refers to whom, and derived members. */
static void connect(struct reader *r, struct decoded *o)
{
    const struct members *members = o->all->of;
    for (size_t k = 0; k < members->n && !r->is_bad; k++) {
        const struct member *m = &members->items[k];
        for (size_t i = 0; m->kind == MEMBER_REF && m->back_offset > 0 && i < o->n; i++) {
            char *target = *(void **)member_at(m, o->items[i]);
            if (target != NULL)
                id_index_add((struct id_index *)(void *)(target + m->back_offset), o->items[i]);
        }
    }
}

static void derive(struct reader *r, struct decoded *o)
{
    for (size_t i = 0; i < o->n && !r->is_bad && o->all->of->derive != NULL; i++)
        if (!o->all->of->derive(o->items[i]))
            bad(r, "what %s number %zu says does not belong together", o->all->name, i + 1);
}

static void get_model(struct reader *r)
{
    r->what = "head";
    get_header(r);
    get_members(r, &MEMBERS_model, r->model);
    make_objects(r);
    get_tombstones(r);
    for (size_t i = 0; i < r->types_n; i++)
        get_objects(r, &r->types[i]);
    if (r->at != r->end)
        bad(r, "more follows behind the end");
    for (size_t i = 0; i < r->types_n; i++)
        connect(r, &r->types[i]);
    for (size_t i = 0; i < r->types_n; i++)
        derive(r, &r->types[i]);
    if (!r->is_bad)
        keys_make(r->model);
}

/* Objects that came into no index are not the model's yet. */
static void drop(struct reader *r)
{
    for (size_t t = 0; t < r->types_n; t++) {
        struct decoded *o = &r->types[t];
        struct id_index *x = member_at(o->all, r->model);
        for (size_t i = x->n; i < o->n; i++) {
            members_done(NULL, NULL, o->all->of, o->items[i]);
            free(o->items[i]);
        }
    }
    model_free(r->model);
}

enum err snapshot_decode(struct str bytes, struct model **ret, struct errinfo *err)
{
    struct reader *r = mem_alloc(sizeof(*r));
    r->start = r->at = (const uint8_t *)bytes.ptr;
    r->end = r->start + bytes.len;
    r->model = model_new();
    get_model(r);
    enum err rc = OK;
    if (r->is_bad) {
        rc = err_set(err, ERR_CORRUPT, "a snapshot of a model is damaged: %s (at %zu of %zu bytes, in %s)", r->cause,
                     (size_t)(r->at - r->start), bytes.len, r->what);
        drop(r);
    } else {
        *ret = r->model;
    }
    for (size_t i = 0; i < r->types_n; i++)
        free(r->types[i].items);
    free(r->texts);
    free(r);
    return rc;
}
