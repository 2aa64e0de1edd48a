/* docs/internals/set-aside.md. Happy path: a record is refused -> aside_look (pool) -> a SetAside names it -> fold.c
 * passes over it. None: the process stalls; at each hint of growth it looks again, and when there is one it replays on.
 * Not to be read (ERR_IO): it stalls as well, and looks again. */
#include "app/set_aside.h"

#include "app/inside.h"
#include "base/own.h"
#include "event/catalogue.h"

/* One whose payload is malformed names nothing: the fold that comes to it refuses it. */
static bool names(const struct store *s, const struct store_record *r, uint64_t seq)
{
    AUTO(arena) struct arena a = {0};
    struct event ev;
    if (!str_eq(r->e.type, STR("SetAside")) || event_decode(&r->e, &a, &ev, NULL) != OK)
        return false;
    struct id log = ev.set_aside.log_id;
    return ev.set_aside.seq >= 0 && (uint64_t)ev.set_aside.seq == seq &&
           (id_is_none(log) || id_eq(log, store_log_id(s)));
}

enum err app_set_aside_find(struct store *s, uint64_t seq, uint64_t *after, struct errinfo *err)
{
    *after = *after < seq ? seq : *after;
    for (;;) {
        AUTO(store_batch) struct store_batch b = {0};
        enum err rc = store_read(s, *after, 0, ENVELOPE_BATCH_SIZE_MAX, &b, err);
        if (rc != OK)
            return rc;
        if (b.n == 0)
            return err_set(err, ERR_NOT_FOUND, "record %llu of log '%s' is not set aside", (unsigned long long)seq,
                           store_name(s));
        for (size_t i = 0; i < b.n; i++)
            if (names(s, &b.items[i], seq))
                return OK;
        *after = b.items[b.n - 1].seq;
    }
}

bool aside_refused(struct app *a, size_t input, const struct store_record *r)
{
    if (a->opt.pass_over == NULL || (a->refused.seq == r->seq && a->refused.input == input))
        return false;
    a->refused = (struct app_refused){.seq = r->seq, .input = input, .after = r->seq};
    return true;
}

bool aside_is_open(const struct app *a)
{
    return a->refused.seq != 0 && !a->refused.is_looked;
}

static void look_work(uv_work_t *req)
{
    struct app *a = req->data;
    a->work_rc = app_set_aside_find(a->inputs[a->refused.input].store, a->refused.seq, &a->refused.after, &a->work_err);
}

static void on_looked(uv_work_t *req, int status)
{
    (void)status;
    struct app *a = req->data;
    a->work = WORK_NONE;
    a->refused.is_looked = true;
    a->refused.is_aside = a->work_rc == OK;
    if (a->refused.is_aside && a->state == APP_STALLED) { /* replay on, muted, and be live again at the end */
        a->state = APP_REPLAYING;
        a->stall = (struct errinfo){0};
        tell_goes_on(a);
        inputs_hint(a);
    }
    app_tick(a);
}

bool aside_look(struct app *a)
{
    if (a->refused.seq == 0 || a->refused.is_aside)
        return false;
    if (a->state == APP_STALLED && a->inputs[a->refused.input].has_news) {
        a->inputs[a->refused.input].has_news = false;
        a->refused.is_looked = false;
    }
    if (a->refused.is_looked)
        return false;
    app_work_start(a, WORK_LOOK, look_work, on_looked);
    return true;
}
