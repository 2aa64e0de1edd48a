#pragma once
/* platform/journal.h - what a trial must take back (platform/model_trial.h): the bytes of objects before they changed,
 * what came into indexes and left them, memory and texts that were taken. A model has one only during a trial, so every
 * function takes NULL: then it does the plain thing at once. Layer: platform. Pure.
 *
 * The rules that make taking back simple. In a trial
 *   - memory that was there is never written to in place (but after journal_image) and never given back;
 *   - memory that is asked for is given back when the trial ends, whether it was freed by then or not;
 *   - texts that are let go of are kept, texts that are taken are let go of at the end. */
#include <stddef.h>

#include "platform/id_index.h"
#include "platform/key_index.h"

struct journal;
struct members;
struct model;

/* The memory of objects and of their arrays. Zeroed. */
void *journal_alloc(struct journal *j, size_t size);
void journal_free(struct journal *j, void *p);
/* An array of old_size bytes that may be written to and has room for new_size: in a trial a copy. NULL for no bytes. */
void *journal_resize(struct journal *j, void *p, size_t old_size, size_t new_size);

/* An object that begins in this trial: the arrays of its indexes go with it. */
void journal_new(struct journal *j, void *object, const struct members *members);
/* Remember members of an object as they are; the first time in a trial counts. Not its indexes, which have their own
 * entries. */
void journal_object(struct journal *j, void *object, const struct members *members);
/* Remember bytes in place: of a ring, where there are many and few change. */
void journal_bytes(struct journal *j, void *at, size_t size);
void journal_index_add(struct journal *j, struct id_index *x, void *object);
void journal_index_remove(struct journal *j, struct id_index *x, struct id id);
/* Into and out of a hash table, likewise. */
void journal_key_add(struct journal *j, struct key_index *x, uint64_t key, void *object);
void journal_key_remove(struct journal *j, struct key_index *x, uint64_t key, void *object);
/* A count of this text was taken (platform/texts.c). */
void journal_text(struct journal *j, const char *text);
