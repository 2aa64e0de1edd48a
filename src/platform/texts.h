#pragma once
/* platform/texts.h - the texts of a model: each is kept once, counted, NUL-terminated; "" for an empty one.
 * Names, causes and runtimes repeat over thousands of instances: a pointer each instead of a copy.
 * Layer: platform. Pure. */
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct journal;

struct texts {
    struct text_entry **slots; /* open addressing, a power of two */
    size_t slots_n, used_n;
    struct journal *journal; /* during a trial, else NULL */
};

/* A counted text with the bytes of s (a NUL inside ends it). Never NULL; lent until texts_unref. */
const char *texts_ref(struct texts *t, struct str s);
/* One count more of a text that is held already. */
const char *texts_again(struct texts *t, const char *text);
/* Give one count back; texts_ref's own pointers only. NULL and "" are fine. In a trial nothing is given back. */
void texts_unref(struct texts *t, const char *text);
/* *member becomes the text of s, what was there is given back. */
void texts_set(struct texts *t, const char **member, struct str s);
/* Counts that are held, of all texts together. */
uint64_t texts_refs(const struct texts *t);
size_t texts_size_bytes(const struct texts *t);
void texts_done(struct texts *t); /* frees every text; {0} again */

/* A list of such texts. */
struct text_list {
    const char **items;
    uint32_t n;
};
void text_list_add(struct texts *t, struct text_list *list, struct str s);
/* The first one that is equal; `text` must not be the list's own pointer. */
void text_list_remove(struct texts *t, struct text_list *list, const char *text);
void text_list_clear(struct texts *t, struct text_list *list);
bool text_list_has(const struct text_list *list, const char *text);
