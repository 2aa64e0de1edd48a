/* The waitlist: who wants an account once there are any. Anybody may ask, so it is bounded in rate and says nothing of
 * who is in it; an address is kept sealed, and found again by a keyed digest. */
#include <stdio.h>

#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/clock.h"
#include "base/own.h"
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
    struct control *control;
    struct id id;
    struct buf sealed;
    char identity[SEAL_DIGEST_TEXT_SIZE];
};

static enum err join_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct join *x = args;
    return decide_join_waitlist(d, str_from(x->identity), buf_str(&x->sealed), out, &x->id, err);
}

static void joined(void *ctx, enum err rc, size_t events_n, const struct errinfo *err)
{
    struct join *x = ctx;
    (void)events_n;
    if (rc != OK && rc != ERR_CANCELLED)
        log_err(control_logger(x->control), err, "a place in the waitlist");
    buf_done(&x->sealed);
    free(x);
}

static enum err hide(struct call *c, struct str email, struct join *x, struct errinfo *err)
{
    AUTO(buf) struct buf lower = {0};
    buf_add_str(&lower, email);
    for (size_t i = 0; i < lower.len; i++)
        if (lower.ptr[i] >= 'A' && lower.ptr[i] <= 'Z')
            lower.ptr[i] = (char)(lower.ptr[i] | 0x20); /* ASCII: is_email has looked */
    enum err rc = secret_seal(c->api->o.control, email, &x->sealed, err);
    return rc == OK ? secret_identity(c->api->o.control, buf_str(&lower), x->identity, err) : rc;
}

/* The answer is the same, takes the same time and tells no position, whether the address waits already or not. */
static void take(struct call *c, struct str email)
{
    struct errinfo err = {0};
    struct join *x = mem_alloc(sizeof(*x));
    x->control = c->api->o.control;
    if (hide(c, email, x, &err) != OK) {
        buf_done(&x->sealed);
        free(x);
        call_reply_error(c, &err);
        return;
    }
    control_submit(x->control, join_decide, x, joined, x);
    call_reply_text(c, 202, STR("{}"));
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

static void collect(struct call *c, struct feed *f)
{
    MODEL_EACH (waiting, w, &call_model(c)->waitlist) {
        if (!feed_wants(f, w->id, w->changed_seq))
            continue;
        AUTO(arena) struct arena a = {0};
        AUTO(buf) struct buf email = {0};
        struct errinfo err = {0};
        if (secret_open(c->api->o.control, w->email, "an address", &email, &err) != OK)
            buf_addf(&email, "(%s)", err.msg);
        struct waitlist_place place = {w->id, buf_str(&email), view_time_ns(w->created_ns, &a)};
        feed_add(f, &WAITLIST_PLACE_WIRE, w->id, &place);
    }
}

void waitlist_list(struct call *c)
{
    follow(c, collect);
}
