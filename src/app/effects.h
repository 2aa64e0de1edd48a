#pragma once
/* app/effects.h - effects of events on the outside world, at least once each, one queue per gateway.
 * Layer: app. Thread: loop.
 *
 * A gateway with `effects` says, of each event folded, what has to be done outside. What is not yet done is pending: a
 * fold too, because a done effect is an event of the output log (SlipformEffectDone), so a replay knows what is left
 * and does nothing twice but what a crash left between the doing and the log. Live, effects of one object are carried
 * out in order, those of different objects side by side. One that fails is tried again after a back-off; after
 * APP_EFFECT_TRIES failures it is parked with its reason and no longer stands in the way of anything; it is tried again
 * on app_retry_parked and every APP_EFFECT_PARKED_MS. */
#include "app/app.h"

/* Chosen: five failures with waits of 0.5, 1, 2, 4 s are 7.5 s of trouble (test_app_effects: poison_is_parked). */
#define APP_EFFECT_TRIES 5u
#define APP_EFFECT_BACK_OFF_MS 500u
/* 10 minutes, chosen, never measured. */
#define APP_EFFECT_PARKED_MS 600000u
/* Carried out at the same time by one gateway (chosen; test_app_effects: objects_side_by_side). */
#define APP_EFFECTS_AT_ONCE 16u

/* What one event asks for. Filled by gateway.effects; texts are copied. */
struct app_effects;
/* object  effects with the same one are carried out in order; at most 256 bytes     what  opaque */
void app_effects_add(struct app_effects *e, struct str object, struct str what);

struct app_effect {
    struct app_position cause; /* the event; with `index` the idempotency key, the same in every try and replica */
    unsigned index;            /* of the effects of that event in this gateway */
    struct id id;              /* the same as one id */
    struct str object, what;   /* lent while it is under way */
    unsigned tries;            /* so far, this one included */
};

/* A try that is under way. */
struct app_effect_run;
/* End it: OK, or why it failed. Exactly once for each carry_out, also from inside of it. */
void app_effect_done(struct app_effect_run *run, enum err rc, const struct errinfo *err);

struct app_effects_counts {
    size_t pending, running, parked; /* pending includes the others */
};
struct app_effects_counts app_effects_counts(const struct app *a, const char *gateway);
/* Call f for each parked effect of all gateways. Lent for the call. */
typedef void (*app_parked_fn)(void *ctx, const char *gateway, const struct app_effect *e, const struct errinfo *why);
void app_each_parked(const struct app *a, app_parked_fn f, void *ctx);
/* Try again now. id ID_NONE: all of them. OK | ERR_NOT_FOUND no such one is parked */
must_check enum err app_retry_parked(struct app *a, struct id id, struct errinfo *err);
