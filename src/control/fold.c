/* The model as the runtime handles it: folded, tried, thrown away, kept in a checkpoint file. */
#include <stdio.h>

#include "base/encode.h"
#include "control/parts.h"
#include "platform/model_trial.h"
#include "platform/snapshot.h"

static enum err apply(void *ctx, const struct store_record *record, struct errinfo *err)
{
    struct control *c = ctx;
    struct event event;
    arena_reset(&c->event_texts);
    enum err rc = event_decode(&record->e, &c->event_texts, &event, err);
    return rc == OK ? model_apply(c->model, &event, err) : rc;
}

static void pass_over(void *ctx, const struct store_record *record)
{
    model_pass_over(((struct control *)ctx)->model, record->e.time);
}

static void trial_begin(void *ctx)
{
    model_trial_begin(((struct control *)ctx)->model);
}

static void trial_end(void *ctx)
{
    model_trial_end(((struct control *)ctx)->model);
}

static void take_model(struct control *c, struct model *m)
{
    model_free(c->model);
    c->model = m;
    c->is_hashed = false;
    if (c->planner != NULL) /* the new model may lie where the old one did */
        planner_forget(c->planner);
}

static void reset(void *ctx)
{
    ((struct control *)ctx)->checkpoint_seq = 0;
    take_model(ctx, model_new());
}

/* ---- checkpoints ---- */

static void remember_hash(struct control *c, const uint8_t hash[static HASH_SIZE])
{
    hex_format(hash, HASH_SIZE, c->hash);
    c->hash_seq = c->model->seq;
    c->is_hashed = true;
}

/* The runtime takes the bytes only through a const pointer, the cache of the hash is the control's own. */
static void encode(const void *ctx, struct buf *out)
{
    size_t from = out->len;
    uint8_t hash[HASH_SIZE];
    struct control *c = (struct control *)(uintptr_t)ctx;
    snapshot_encode(c->model, out);
    hash_bytes(out->ptr + from, out->len - from, hash); /* model_hash, without a second walk */
    remember_hash(c, hash);
}

static enum err decode(void *ctx, struct str bytes, struct errinfo *err)
{
    struct model *m = NULL;
    enum err rc = snapshot_decode(bytes, &m, err);
    if (rc != OK)
        return rc;
    take_model(ctx, m);
    ((struct control *)ctx)->checkpoint_seq = m->seq;
    return OK;
}

static void hash(const void *ctx, uint8_t ret_hash[static HASH_SIZE])
{
    struct control *c = (struct control *)(uintptr_t)ctx;
    char text[HASH_TEXT_SIZE];
    control_model_hash(c, text);
    bool is_hex = hex_parse(str_from(text), ret_hash, HASH_SIZE);
    assert(is_hex);
}

/* Another version of this program may fold the same events to something else: it begins with the first event. */
static uint64_t checkpoint_format(void)
{
    char text[64];
    uint8_t digest[HASH_SIZE];
    uint64_t format = 0;
    int n = snprintf(text, sizeof(text), "%llu %s", (unsigned long long)snapshot_format(), SLIPFORM_VERSION);
    hash_bytes(text, (size_t)n, digest);
    for (int i = 0; i < 8; i++)
        format = format << 8 | digest[i];
    return format >> 1; /* an integer of JSON */
}

static bool is_preferred(void *ctx, struct id id)
{
    return control_is_preferred(ctx, id);
}

void control_fold_options(struct control *c, struct app_options *ret)
{
    ret->model = c;
    ret->is_preferred = is_preferred;
    ret->apply = apply;
    ret->pass_over = pass_over;
    ret->trial_begin = trial_begin;
    ret->trial_end = trial_end;
    ret->reset = reset;
    if (c->o.state_folder == NULL)
        return;
    (void)snprintf(c->checkpoint_path, sizeof(c->checkpoint_path), "%s/checkpoint", c->o.state_folder);
    ret->snapshot =
        (struct app_snapshot){.path = c->checkpoint_path,
                              .format = checkpoint_format(),
                              .every_events = c->o.checkpoint_events > 0 ? (uint64_t)c->o.checkpoint_events
                                                                         : CONTROL_CHECKPOINT_EVENTS_DEFAULT,
                              .encode = encode,
                              .decode = decode,
                              .hash = hash};
}

void control_tell_checkpoint(struct control *c)
{
    const struct errinfo *trouble = app_snapshot_trouble(c->app);
    const char *text = trouble == NULL ? "" : trouble->msg;
    if (strcmp(text, c->checkpoint_trouble.msg) == 0)
        return;
    c->checkpoint_trouble = trouble == NULL ? (struct errinfo){0} : *trouble;
    if (trouble != NULL)
        log_warn(c->o.log, "%s: a start without a checkpoint folds the log from its first event", text);
}
