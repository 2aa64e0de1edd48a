/* The waitlist: who wants an account once there are any. Anybody may ask, so it is bounded in rate and says nothing of
 * who is in it; an address is kept sealed, and found again by a keyed digest. It is erased in subjects.c. */
#include <stdio.h>
#include <string.h>

#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/clock.h"
#include "base/own.h"
#include "control/keyring.h"
#include "control/secret.h"
#include "platform/decide_owned.h"
#include "wire/owned.h"

/* 20 at once, then one every 6 s, all callers together (chosen: a page that somebody shares, and at most 5 MB of log a
 * day by who means ill; test_api: test_waitlist). 254: an address in SMTP (RFC 5321). */
enum { JOINS_AT_ONCE = 20, JOIN_EVERY_S = 6, EMAIL_MAX = 254 };

/* True: one more may join now. */
static bool take_turn(struct joins *j, int64_t now_us)
{
    const int64_t every_us = (int64_t)JOIN_EVERY_S * 1000000;
    int64_t more = j->at_us == 0 ? JOINS_AT_ONCE : (now_us - j->at_us) / every_us;
    if (more > 0) {
        j->left_n = j->left_n + more < JOINS_AT_ONCE ? j->left_n + more : JOINS_AT_ONCE;
        j->at_us = j->at_us == 0 ? now_us : j->at_us + more * every_us;
    }
    if (j->left_n == 0)
        return false;
    j->left_n--;
    return true;
}

/* Something before one '@', something with a dot behind it, printable and without white space; more is for who writes
 * to it to find out. */
static bool is_email(struct str s)
{
    size_t at = str_find(s, '@');
    if (s.len > EMAIL_MAX || at == 0 || at >= s.len || str_find(str_slice(s, at + 1, s.len), '@') < s.len - at - 1)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
            return false;
    size_t dot = str_find(str_slice(s, at + 1, s.len), '.');
    return dot > 0 && dot + 1 < s.len - at - 1;
}

/* Lives on the heap: the caller is answered before anything is decided. */
struct join {
    struct call *call; /* until it is answered */
    struct control *control;
    struct id id;
    struct buf sealed;
    char identity[SEAL_DIGEST_TEXT_SIZE];
};

static void join_free(struct join *x)
{
    buf_done(&x->sealed);
    free(x);
}

static enum err join_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct join *x = args;
    return decide_join_waitlist(d, str_from(x->identity), buf_str(&x->sealed), out, &x->id, err);
}

static void joined(void *ctx, enum err rc, size_t events_n, const struct errinfo *err)
{
    struct join *x = ctx;
    struct keyring *k = control_keyring(x->control, NULL);
    if (rc != OK && rc != ERR_CANCELLED)
        log_err(control_logger(x->control), err, "a place in the waitlist");
    if (rc == OK && events_n == 0 && k != NULL) /* it waits already, under another key */
        keyring_drop(k, buf_str(&x->sealed));
    join_free(x);
}

static enum err identify(struct control *control, struct str email, struct join *x, struct errinfo *err)
{
    AUTO(buf) struct buf lower = {0};
    buf_add_str(&lower, email);
    for (size_t i = 0; i < lower.len; i++)
        if (lower.ptr[i] >= 'A' && lower.ptr[i] <= 'Z')
            lower.ptr[i] = (char)(lower.ptr[i] | 0x20); /* ASCII: is_email has looked */
    return secret_identity(control, buf_str(&lower), x->identity, err);
}

/* The answer is the same, takes the same time and tells no position, whether the address waits already or not. */
static void email_sealed(void *ctx, enum err rc, struct str sealed, const struct errinfo *err)
{
    struct join *x = ctx;
    struct call *c = TAKE(x->call);
    if (rc != OK) {
        join_free(x);
        call_reply_error(c, err);
        return;
    }
    buf_add_str(&x->sealed, sealed);
    control_submit(x->control, join_decide, x, joined, x);
    call_reply_text(c, 202, STR("{}"));
}

static void take(struct call *c, struct str email)
{
    struct errinfo err = {0};
    struct join *x = mem_alloc(sizeof(*x));
    x->call = c;
    x->control = c->api->o.control;
    struct keyring *k = control_keyring(x->control, &err);
    if (k == NULL || identify(x->control, email, x, &err) != OK) {
        join_free(x);
        call_reply_error(c, &err);
        return;
    }
    keyring_seal(k, email, email_sealed, x);
}

void waitlist_join(struct call *c)
{
    struct waitlist_join body;
    if (!call_read(c, &WAITLIST_JOIN_WIRE, &body))
        return;
    if (!is_email(body.email)) {
        call_reply_problem(c, 400, err_name(ERR_INVALID), "'email' must be an address like ada@example.org");
        return;
    }
    if (!take_turn(&c->api->joins, clock_mono_us())) {
        char after[8];
        (void)snprintf(after, sizeof(after), "%d", JOIN_EVERY_S);
        http_respond_header(c->r, "Retry-After", after);
        call_reply_problem(c, 429, "too-many", "too many join at once: try again in %d s", JOIN_EVERY_S);
        return;
    }
    take(c, body.email);
}

/* ---- the list: places are collected with sealed addresses, which are opened before it is answered ---- */

struct place {
    struct id id;
    struct str sealed;
    int64_t created_ns;
};

struct listing {
    struct place *places; /* FOLLOW_LIMIT_MAX at most, on the heap */
    size_t n, size;
    struct feed feed;
};

static void listing_free(void *data)
{
    struct listing *l = data;
    free(l->places);
    buf_done(&l->feed.removed);
    free(l);
}

static void collect(struct call *c, struct feed *f)
{
    struct listing *l = c->data;
    l->n = 0;
    MODEL_EACH (waiting, w, &call_model(c)->waitlist) {
        if (!feed_wants(f, w->id, w->changed_seq))
            continue;
        if (l->n == l->size) {
            l->size = l->size == 0 ? 16 : l->size * 2;
            l->places = mem_realloc(l->places, l->size * sizeof(*l->places));
        }
        l->places[l->n++] = (struct place){w->id, arena_str(&c->arena, str_from(w->email)), w->created_ns};
        f->items_n++;
        f->last = w->id;
    }
    feed_remove_gone(c, f, OBJECT_WAITING, ID_NONE);
}

static void addresses_opened(void *ctx, enum err rc, const struct str *values, size_t n, const struct errinfo *err)
{
    struct call *c = ctx;
    struct listing *l = c->data;
    if (rc != OK) {
        call_reply_error(c, err);
        return;
    }
    AUTO(arena) struct arena a = {0};
    struct feed f = l->feed;
    f.items = (struct buf){0};
    f.items_n = 0;
    for (size_t i = 0; i < n; i++) {
        struct str email = values[i].ptr == NULL ? STR("(erased)") : values[i];
        struct waitlist_place place = {l->places[i].id, email, view_time_ns(l->places[i].created_ns, &a)};
        feed_add(&f, &WAITLIST_PLACE_WIRE, place.waiting_id, &place);
    }
    follow_reply(c, &f);
    if (f.items.ptr != NULL)
        explicit_bzero(f.items.ptr, f.items.size);
    buf_done(&f.items);
}

static void finish(struct call *c, const struct feed *f)
{
    struct listing *l = c->data;
    struct errinfo err = {0};
    struct keyring *k = control_keyring(c->api->o.control, &err);
    if (k == NULL) {
        call_reply_error(c, &err);
        return;
    }
    call_position(c); /* what was collected is of now */
    l->feed = *f;
    l->feed.items = l->feed.removed = (struct buf){0};
    buf_add_str(&l->feed.removed, buf_str(&f->removed));
    struct keyring_value *sealed = mem_calloc(l->n + 1, sizeof(*sealed));
    for (size_t i = 0; i < l->n; i++)
        sealed[i] = (struct keyring_value){l->places[i].sealed, STR("an address"), true};
    keyring_open(k, sealed, l->n, addresses_opened, c);
    free(sealed);
}

void waitlist_list(struct call *c)
{
    c->data = mem_alloc(sizeof(struct listing));
    c->data_free = listing_free;
    follow_finished(c, collect, finish);
}
