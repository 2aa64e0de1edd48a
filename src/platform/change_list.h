#pragma once
/* platform/change_list.h - which objects changed, in order: what a reader that keeps something derived from the model
 * (platform/plan_state.h) brings up to date, instead of walking the model.
 *
 * An entry says "look at this object again", by id: by then it may be gone, or be as it was. So nothing is ever taken
 * out: when a trial is taken back (platform/model_trial.h), what it changed is entered once more by
 * changes_trial_end. The list is bounded; a reader that fell behind starts over with the whole model.
 * Layer: platform. Pure. Who includes this: model.c, changes.c and what takes back trials. */
#include <stdbool.h>
#include <stdint.h>

#include "event/id.h"

/* 65,536 of 40 bytes: 256 events (a plan) that each touch a deployment of 100 instances are 26,000 (chosen;
 * test_plan: a_reader_that_fell_behind). Allocated as it fills. */
#define CHANGES_MAX 65536u

struct change_entry {
    struct id id, scope; /* scope of an instance: its process, of a process: its project */
    int kind;            /* enum object_kind */
};

struct changes; /* of one model */
struct changes *changes_new(void);
void changes_free(struct changes *c);
void changes_add(struct changes *c, int kind, struct id id, struct id scope);
/* Between these two the model is on trial: afterwards what changed meanwhile has changed again. */
void changes_trial_begin(struct changes *c);
void changes_trial_end(struct changes *c);

/* Entries ever made. A reader that has read up to n goes on at n. */
uint64_t changes_n(const struct changes *c);
/* False: entry `from` and perhaps later ones are forgotten. */
bool changes_has(const struct changes *c, uint64_t from);
/* Entry i, kept; lent until the next changes_add. */
const struct change_entry *changes_at(const struct changes *c, uint64_t i);
size_t changes_size_bytes(const struct changes *c);
