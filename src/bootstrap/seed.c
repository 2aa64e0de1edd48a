/* The first events of an installation's own log: its region and its zones. */
#include "base/own.h"
#include "base/random.h"
#include "bootstrap/fold_record.h"
#include "bootstrap/prod_bootstrap.h"
#include "platform/decide.h"
#include "store/store.h"

static enum err fold_all(struct store *store, struct model *m, struct store_pos *ret_end, struct errinfo *err)
{
    for (;;) {
        AUTO(store_batch) struct store_batch batch = {0};
        enum err rc = store_read(store, ret_end->seq, 0, 0, &batch, err);
        if (rc != OK || batch.n == 0)
            return rc;
        for (size_t i = 0; i < batch.n; i++) {
            rc = fold_record(store, m, &batch.items[i], err);
            if (rc != OK)
                return err_wrap(err, rc, "log '%s', event %llu", store_name(store),
                                (unsigned long long)batch.items[i].seq);
        }
        *ret_end = (struct store_pos){batch.items[batch.n - 1].seq, batch.items[batch.n - 1].e.sum};
    }
}

static enum err append(struct store *store, struct store_pos end, const struct event_list *list, struct errinfo *err)
{
    struct buf payloads[32] = {{0}};
    struct store_event events[32];
    size_t n = list->n < 32 ? list->n : 32;
    for (size_t i = 0; i < n; i++) {
        event_encode_payload(&list->items[i], &payloads[i]);
        events[i] = (struct store_event){.type = str_from(event_kind_row(list->items[i].kind)->name),
                                         .id = list->items[i].id,
                                         .payload = buf_str(&payloads[i])};
    }
    enum err rc = store_append(store, end, events, n, NULL, err);
    for (size_t i = 0; i < n; i++)
        buf_done(&payloads[i]);
    return rc;
}

/* One place, decided against what the log says now. OK with *ret_news false: it is there already. */
static enum err seed_one(struct store *store, struct str region, const struct str *zone, bool *ret_news,
                         struct errinfo *err)
{
    struct model *m = model_new();
    struct store_pos end = {0};
    AUTO(arena) struct arena a = {0};
    struct platform_settings settings;
    platform_settings_init(&settings);
    struct id_source ids = {.wall_ms = store_clock_us(store) / 1000};
    random_bytes(ids.seed, sizeof(ids.seed));
    struct decide d = {.model = m, .settings = &settings, .now_ms = ids.wall_ms, .ids = &ids};
    struct event_list list = {.arena = &a};
    struct id id;
    *ret_news = false;
    enum err rc = fold_all(store, m, &end, err);
    const struct region *r = model_region_by_name(m, region);
    if (rc == OK && zone == NULL && r == NULL)
        rc = decide_create_region(&d, region, &list, &id, err);
    else if (rc == OK && zone != NULL && (r == NULL || model_zone_by_name(m, r, *zone) == NULL))
        rc = decide_create_zone(&d, region, *zone, &list, &id, err);
    if (rc == OK && list.n > 0) {
        rc = append(store, end, &list, err);
        *ret_news = rc == OK;
    }
    model_free(m);
    return rc;
}

static enum err open_log(const char *store_spec, struct id log, struct store **ret_store, struct errinfo *err)
{
    char was[ID_TEXT_SIZE], is[ID_TEXT_SIZE];
    struct store_options o = {.mode = id_is_none(log) ? STORE_CREATE : STORE_APPEND};
    enum err rc = store_open(store_spec, &o, ret_store, NULL, err);
    id_format(log, was);
    if (rc == ERR_NOT_FOUND && !id_is_none(log))
        return err_wrap(err, rc,
                        "the event log of this installation (%s) is not there: bring it back (a folder that is "
                        "not mounted?); to begin anew, with other data, take another home",
                        was);
    if (rc != OK || id_is_none(log) || id_eq(store_log_id(*ret_store), log))
        return rc;
    id_format(store_log_id(*ret_store), is);
    return err_set(err, ERR_CONFLICT, "the event log of this installation is %s, and '%s' is another one (%s)", was,
                   store_name(*ret_store), is);
}

enum err bootstrap_seed_places(const char *store_spec, struct id log, struct str region, const struct str *zones,
                               size_t zones_n, struct id *ret_log, struct errinfo *err)
{
    struct store *store = NULL;
    enum err rc = open_log(store_spec, log, &store, err);
    *ret_log = rc == OK ? store_log_id(store) : ID_NONE;
    /* A conflict means that somebody else appended meanwhile: decide again, at most ten times a place. */
    for (size_t i = 0; rc == OK && i <= zones_n; i++) {
        bool is_new = false;
        rc = ERR_CONFLICT;
        for (int k = 0; k < 10 && rc == ERR_CONFLICT; k++)
            rc = seed_one(store, region, i == 0 ? NULL : &zones[i - 1], &is_new, err);
    }
    store_close(store);
    return rc == OK ? OK : err_wrap(err, rc, "while writing region and zones");
}
