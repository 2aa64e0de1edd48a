/* Checkpoint files of a process: what the runtime keeps as one line of JSON, then the model's bytes.
 *
 * Loading: in the pool the file is read and held against all input logs; in the loop the model is decoded and its hash
 * compared. Whatever does not fit is thrown away and said, and everything is folded from the first event. Saving:
 * encoded in the loop between two events, written in the pool while the fold goes on. */
#include <inttypes.h>

#include "app/inside.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/own.h"

/* --- encoding --- */

static void set_id(json_t *to, const char *key, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    json_object_set_new(to, key, json_string(text));
}

static void set_pos(json_t *to, struct id log, struct store_pos pos)
{
    set_id(to, "log", log);
    json_object_set_new(to, "seq", json_integer((json_int_t)pos.seq));
    json_object_set_new(to, "sum", json_integer((json_int_t)pos.sum));
}

static void set_event(json_t *to, struct id id, struct str type, struct str payload)
{
    set_id(to, "id", id);
    json_object_set_new(to, "type", json_from_str(type));
    json_object_set_new(to, "payload", json_from_str(payload));
}

static void set_bytes(json_t *to, const char *key, struct str bytes)
{
    AUTO(buf) struct buf text = {0};
    base64url_add(&text, bytes.ptr, bytes.len);
    json_object_set_new(to, key, json_from_str(buf_str(&text)));
}

static json_t *add_to(json_t *list)
{
    json_t *o = json_object();
    json_array_append_new(list, o);
    return o;
}

static void add_effect(void *ctx, const char *gateway, const struct app_effect *e)
{
    json_t *o = add_to(ctx);
    json_object_set_new(o, "gateway", json_string(gateway));
    set_pos(o, e->cause.log, (struct store_pos){e->cause.seq, e->cause.sum});
    json_object_set_new(o, "index", json_integer(e->index));
    set_id(o, "id", e->id);
    set_bytes(o, "object", e->object);
    set_bytes(o, "what", e->what);
}

static json_t *encode_lists(const struct app *a)
{
    json_t *dues = json_array(), *timers = json_array(), *effects = json_array(), *schedules = json_array();
    const struct app_due *d = NULL;
    TAILQ_FOREACH(d, &a->due_list, link)
    set_event(add_to(dues), d->id, d->type, d->payload);
    for (const struct app_timer *t = a->timers; t != NULL; t = t->hh.next) {
        json_t *o = add_to(timers);
        set_event(o, t->id, t->type, t->payload);
        json_object_set_new(o, "at_us", json_integer(t->at_us));
    }
    effects_each(a, add_effect, effects);
    for (size_t i = 0; i < a->schedules_n; i++) {
        json_t *o = add_to(schedules);
        json_object_set_new(o, "name", json_string(a->schedules[i].s.name));
        json_object_set_new(o, "every_us", json_integer(a->schedules[i].s.every_us));
        json_object_set_new(o, "next_us", json_integer(a->schedules[i].next_us));
    }
    return json_pack("{s:o,s:o,s:o,s:o}", "dues", dues, "timers", timers, "effects", effects, "schedules", schedules);
}

static void encode(struct app *a, struct buf *out)
{
    auto_json json_t *doc = encode_lists(a);
    json_t *inputs = json_array();
    for (size_t i = 0; i < a->inputs_n; i++)
        set_pos(add_to(inputs), a->inputs[i].log, a->inputs[i].at);
    char time[EVENT_TIME_TEXT_SIZE];
    event_time_format(a->last_time, time);
    json_object_set_new(doc, "inputs", inputs);
    json_object_set_new(doc, "ranges", json_string(a->ranges_text));
    json_object_set_new(doc, "time", json_string(time));
    json_object_set_new(doc, "last_input", json_integer((json_int_t)a->last_input));
    json_object_set_new(doc, "read_us", json_integer(a->read_us));
    json_add_to(out, doc, true);
    a->opt.snapshot.encode(a->opt.model, out);
}

/* --- saving --- */

static void save_work(uv_work_t *req)
{
    struct app *a = req->data;
    a->snapshot_rc = checkpoint_save(a->opt.snapshot.path, &a->snapshot_saved, &a->snapshot_err);
}

static void on_saved(uv_work_t *req, int status)
{
    (void)status;
    struct app *a = req->data;
    a->is_saving = false;
    buf_done(&a->snapshot_bytes);
    a->snapshot_trouble = (struct errinfo){0};
    if (a->snapshot_rc == OK)
        a->counts.snapshot_seq = a->snapshot_saved.pos.seq;
    else
        err_ignore(
            err_set(&a->snapshot_trouble, a->snapshot_rc, "the checkpoint was not written: %s", a->snapshot_err.msg));
    app_tick(a);
}

static void save(struct app *a)
{
    struct app_position at = app_position(a);
    a->snapshot_due = a->counts.events_in + a->counts.events_else + a->opt.snapshot.every_events;
    a->snapshot_saved = (struct checkpoint){.log = at.log, .pos = {at.seq, at.sum}, .format = a->opt.snapshot.format};
    encode(a, &a->snapshot_bytes);
    a->snapshot_saved.bytes = buf_str(&a->snapshot_bytes);
    if (a->opt.snapshot.hash != NULL)
        a->opt.snapshot.hash(a->opt.model, a->snapshot_saved.model_hash);
    a->is_saving = true;
    a->snapshot_req.data = a;
    (void)uv_queue_work(a->loop, &a->snapshot_req, save_work, on_saved); /* fails only without a work function */
}

void snapshot_step(struct app *a)
{
    uint64_t n = a->counts.events_in + a->counts.events_else, every = a->opt.snapshot.every_events;
    if (a->opt.snapshot.path == NULL || every == 0 || a->is_saving)
        return;
    if (a->snapshot_due == 0)
        a->snapshot_due = every;
    if (n >= a->snapshot_due && app_output(a)->at.seq > 0)
        save(a);
}

bool snapshot_last(struct app *a)
{
    if (a->must_save && !a->is_saving) {
        a->must_save = false;
        if (app_output(a)->at.seq > a->counts.snapshot_seq)
            save(a);
    }
    return a->is_saving;
}

/* --- loading --- */

static enum err no_fit(struct errinfo *err, const char *why)
{
    return err_set(err, ERR_NOT_FOUND, "the checkpoint is thrown away: %s", why);
}

static bool get_id(const json_t *from, const char *key, struct id *ret)
{
    return id_parse(json_member_str(from, key), ret);
}

static bool get_pos(const json_t *from, struct id *ret_log, struct store_pos *ret)
{
    ret->seq = (uint64_t)json_integer_value(json_object_get(from, "seq"));
    ret->sum = (uint32_t)json_integer_value(json_object_get(from, "sum"));
    return get_id(from, "log", ret_log);
}

/* Every input still holds what was folded of it. In the pool. */
static enum err check_inputs(const struct app *a, const json_t *inputs, struct errinfo *err)
{
    if (json_array_size(inputs) != a->inputs_n)
        return no_fit(err, "it is of another list of inputs");
    for (size_t i = 0; i < a->inputs_n; i++) {
        struct id log;
        struct store_pos pos;
        AUTO(store_batch) struct store_batch b = {0};
        if (!get_pos(json_array_get(inputs, i), &log, &pos) || !id_eq(log, a->inputs[i].log))
            return no_fit(err, "it is of another log");
        struct errinfo why = {0};
        enum err rc = store_read(a->inputs[i].store, pos.seq, 1, 0, &b, &why);
        if (rc != OK)
            return no_fit(err, why.msg);
        if (b.after.sum != pos.sum)
            return no_fit(err, "a log does not hold the event that it ends with");
    }
    return OK;
}

static enum err check_schedules(const struct app *a, const json_t *schedules, struct errinfo *err)
{
    if (json_array_size(schedules) != a->schedules_n)
        return no_fit(err, "it is of another list of schedules");
    for (size_t i = 0; i < a->schedules_n; i++) {
        const json_t *o = json_array_get(schedules, i);
        if (!str_eq_c(json_member_str(o, "name"), a->schedules[i].s.name) ||
            json_integer_value(json_object_get(o, "every_us")) != a->schedules[i].s.every_us)
            return no_fit(err, "it is of another list of schedules");
    }
    return OK;
}

static void load_work(uv_work_t *req)
{
    struct app *a = req->data;
    struct errinfo *err = &a->work_err;
    struct str rest = {NULL, 0}, line = {NULL, 0};
    a->snapshot_state = NULL;
    a->work_rc = checkpoint_load(a->opt.snapshot.path, app_output(a)->store, a->opt.snapshot.format, &a->snapshot_bytes,
                                 &a->snapshot_loaded, err);
    if (a->work_rc != OK)
        return;
    rest = a->snapshot_loaded.bytes;
    if (!str_next(&rest, '\n', &line) || json_parse(line, &a->snapshot_state, NULL) != OK)
        a->work_rc = no_fit(err, "its first part is not the runtime's");
    else if (!str_eq_c(json_member_str(a->snapshot_state, "ranges"), a->ranges_text))
        a->work_rc = no_fit(err, "it is of other partition ranges");
    if (a->work_rc == OK)
        a->work_rc = check_inputs(a, json_object_get(a->snapshot_state, "inputs"), err);
    if (a->work_rc == OK)
        a->work_rc = check_schedules(a, json_object_get(a->snapshot_state, "schedules"), err);
    a->snapshot_loaded.bytes = rest;
}

static struct app_gateway *gateway_named(const struct app *a, struct str name)
{
    for (size_t i = 0; i < a->gateways_n; i++)
        if (a->gateways[i]->g != NULL && str_eq_c(name, a->gateways[i]->g->name))
            return a->gateways[i];
    return NULL;
}

static bool restore_effect(struct app *a, const json_t *o)
{
    AUTO(buf) struct buf object = {0}, what = {0};
    struct app_effect e = {.index = (unsigned)json_integer_value(json_object_get(o, "index"))};
    struct store_pos pos;
    struct app_gateway *gw = gateway_named(a, json_member_str(o, "gateway"));
    if (!get_pos(o, &e.cause.log, &pos) || !get_id(o, "id", &e.id) ||
        !base64url_parse(json_member_str(o, "object"), &object) || !base64url_parse(json_member_str(o, "what"), &what))
        return false;
    e.cause.seq = pos.seq;
    e.cause.sum = pos.sum;
    e.object = buf_str(&object);
    e.what = buf_str(&what);
    if (gw != NULL) /* one that is no longer there has nothing to carry out */
        effects_add_item(a, gw, &e);
    return true;
}

static bool restore_lists(struct app *a, const json_t *doc)
{
    bool is_good = true;
    size_t i = 0;
    json_t *o = NULL;
    struct id id;
    json_array_foreach(json_object_get(doc, "dues"), i, o)
    {
        is_good = is_good && get_id(o, "id", &id);
        if (is_good)
            due_add(a, id, json_member_str(o, "type"), json_member_str(o, "payload"));
    }
    json_array_foreach(json_object_get(doc, "timers"), i, o)
    {
        is_good = is_good && get_id(o, "id", &id);
        if (is_good)
            timers_set(a, id, json_integer_value(json_object_get(o, "at_us")), json_member_str(o, "type"),
                       json_member_str(o, "payload"));
    }
    json_array_foreach(json_object_get(doc, "effects"), i, o) is_good = is_good && restore_effect(a, o);
    for (i = 0; i < a->schedules_n; i++)
        a->schedules[i].next_us =
            json_integer_value(json_object_get(json_array_get(json_object_get(doc, "schedules"), i), "next_us"));
    return is_good;
}

/* The pool says that it fits the logs. */
static enum err restore(struct app *a, const json_t *doc, struct errinfo *err)
{
    uint8_t hash[HASH_SIZE];
    enum err rc = a->opt.snapshot.decode(a->opt.model, a->snapshot_loaded.bytes, err);
    if (rc != OK)
        return err_wrap(err, rc, "the checkpoint is thrown away");
    if (a->opt.snapshot.hash != NULL) {
        a->opt.snapshot.hash(a->opt.model, hash);
        if (memcmp(hash, a->snapshot_loaded.model_hash, HASH_SIZE) != 0)
            return no_fit(err, "the model has not the hash that was written");
    }
    if (!restore_lists(a, doc) || !event_time_parse(json_member_str(doc, "time"), &a->last_time))
        return no_fit(err, "its first part is not the runtime's");
    a->last_input = (size_t)json_integer_value(json_object_get(doc, "last_input"));
    a->read_us = json_integer_value(json_object_get(doc, "read_us"));
    for (size_t i = 0; i < a->inputs_n; i++) {
        struct app_input *in = &a->inputs[i];
        (void)get_pos(json_array_get(json_object_get(doc, "inputs"), i), &in->log, &in->at);
        in->read = in->at;
        in->end_seq = in->at.seq;
    }
    a->counts.snapshot_seq = app_output(a)->at.seq;
    a->counts.input_us = a->last_time.instant_ns / 1000;
    ids_restart(&a->ids, app_output(a)->at.seq, a->counts.input_us);
    return OK;
}

static void on_loaded(uv_work_t *req, int status)
{
    (void)status;
    struct app *a = req->data;
    a->work = WORK_NONE;
    enum err rc = a->work_rc;
    if (a->state != APP_CLOSING && rc == OK) {
        rc = restore(a, a->snapshot_state, &a->work_err);
        if (rc != OK)
            fold_restart(a);
    }
    if (rc != OK && a->work_err.os_errno != ENOENT) /* there was one */
        a->snapshot_trouble = a->work_err;
    json_decref(a->snapshot_state);
    a->snapshot_state = NULL;
    buf_done(&a->snapshot_bytes);
    app_tick(a);
}

bool snapshot_load(struct app *a)
{
    if (!a->must_load)
        return false;
    a->must_load = false;
    app_work_start(a, WORK_LOAD, load_work, on_loaded);
    return true;
}
