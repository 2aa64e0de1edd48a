#pragma once
/* platform/model_trial.h - apply events to a model for the time being, and take them back.
 * A batch of commands is decided this way: each against the model after the ones before it, though nothing is durable
 * yet and so nobody may see it.
 * How it is taken back: docs/internals/model.md. Layer: platform (may use base, event). Pure. */
struct model;

/* From here on model_apply works as always, until model_trial_end takes back whatever was applied: the model has the
 * same hash, the same snapshot, the same objects at the same addresses, the same counts of texts. Only room that arrays
 * had to grow into is kept. Objects that are new in the trial are gone with it: what is kept of it by the caller must
 * be copies. No trial is within another, and no snapshot is made within one (asserted). Cost: proportional to what the
 * events change; outside of a trial one branch a change. */
void model_trial_begin(struct model *m);
void model_trial_end(struct model *m);
