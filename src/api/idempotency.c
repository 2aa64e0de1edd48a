#include <assert.h>

#include "api/parts.h"
#include "base/map.h"
#include "base/own.h"
#include "event/hash.h"

/* 1024 answers of at most some KiB (chosen, never measured); the oldest goes first. */
#define IDEMPOTENT_N_MAX 1024u
#define KEY_LEN_MAX 128u

struct idempotent {
    struct idempotency *all;
    char *name;                   /* caller, method, path, key */
    uint8_t body_hash[HASH_SIZE]; /* of the request */
    int status;                   /* 0: still under way */
    char *body, *location, *position;
    size_t body_len;
    UT_hash_handle hh; /* in order of their begin */
};

struct idempotency {
    struct idempotent *rows;
};

struct idempotency *idempotency_new(void)
{
    return mem_alloc(sizeof(struct idempotency));
}

void idempotency_drop(struct idempotent *i)
{
    HASH_DEL(i->all->rows, i);
    free(i->name);
    free(i->body);
    free(i->location);
    free(i->position);
    free(i);
}

void idempotency_free(struct idempotency *x)
{
    struct idempotent *i = NULL, *next = NULL;
    HASH_ITER(hh, x->rows, i, next)
    {
        idempotency_drop(i);
    }
    free(x);
}

void idempotency_keep(struct idempotent *i, int status, struct str body, const char *location, const char *position)
{
    i->status = status;
    i->body = mem_strndup(body.ptr == NULL ? "" : body.ptr, body.len);
    i->body_len = body.len;
    i->location = location == NULL ? NULL : mem_strdup(location);
    i->position = position == NULL ? NULL : mem_strdup(position);
}

static void replay(const struct idempotent *i, struct call *c)
{
    if (i->location != NULL)
        http_respond_header(c->r, "Location", i->location);
    if (i->position != NULL)
        http_respond_header(c->r, "Slipform-Position", i->position);
    http_respond_header(c->r, "Idempotency-Replayed", "true");
    call_reply_text(c, i->status, (struct str){i->body, i->body_len});
}

/* Room for one more: the oldest that is finished goes. */
static void make_room(struct idempotency *x)
{
    struct idempotent *i = NULL, *next = NULL;
    if (HASH_COUNT(x->rows) < IDEMPOTENT_N_MAX)
        return;
    HASH_ITER(hh, x->rows, i, next)
    {
        if (i->status != 0) {
            assert(i->all == x);
            idempotency_drop(i);
            return;
        }
    }
}

static void begin(struct idempotency *x, struct call *c, char *name, const uint8_t body_hash[HASH_SIZE])
{
    make_room(x);
    struct idempotent *i = mem_alloc(sizeof(*i));
    i->all = x;
    i->name = name;
    memcpy(i->body_hash, body_hash, HASH_SIZE);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the row that made room is out of the table */
    HASH_ADD_KEYPTR(hh, x->rows, i->name, strlen(i->name), i);
    c->idempotent = i;
}

bool idempotency_begin(struct idempotency *x, struct call *c)
{
    const char *key = http_request_header(c->r, "Idempotency-Key");
    /* Who is nobody has no place in the table: a flood of keys would push out what others need. */
    if (key == NULL || strcmp(c->route->method, "POST") != 0 || c->caller.role == CALLER_ANYBODY)
        return true;
    size_t key_len = strlen(key);
    if (key_len == 0 || key_len > KEY_LEN_MAX) {
        call_reply_problem(c, 400, err_name(ERR_INVALID), "Idempotency-Key must have 1 to %u characters", KEY_LEN_MAX);
        return false;
    }
    uint8_t hash[HASH_SIZE];
    struct str body = http_request_body(c->r), path = http_request_path(c->r);
    hash_bytes(body.ptr, body.len, hash);
    auto_free char *name = mem_printf("%d/%s %.*s %s", (int)c->caller.role, c->caller.id, STR_ARG(path), key);
    struct idempotent *i = NULL;
    HASH_FIND(hh, x->rows, name, strlen(name), i);
    if (i == NULL) {
        begin(x, c, TAKE(name), hash);
        return true;
    }
    if (memcmp(i->body_hash, hash, HASH_SIZE) != 0)
        call_reply_problem(c, 422, err_name(ERR_CONFLICT),
                           "this Idempotency-Key was used with another body: use a new key for a new request");
    else if (i->status == 0)
        call_reply_problem(c, 409, err_name(ERR_CONFLICT), "the first request with this Idempotency-Key is under way");
    else
        replay(i, c);
    return false;
}
