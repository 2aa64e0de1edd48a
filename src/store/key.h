#pragma once
/* store/key.h - keys of the files store; for the files of this room only. Layer: store. */
#include "store/store.h"

must_check enum err files_key_put(struct store *s, const struct store_key *key, const char *was, struct errinfo *err);
must_check enum err files_key_get(struct store *s, const char *name, struct store_key *ret, struct errinfo *err);
must_check enum err files_key_drop(struct store *s, const char *name, struct errinfo *err);
must_check enum err files_key_list(struct store *s, const char *after, struct store_key *ret, size_t max, size_t *ret_n,
                                   struct errinfo *err);
/* "<written_us> <wrapped>", as files and buckets have it. false: damaged; ret is set on true only, but for its name. */
bool store_key_text_read(struct str text, struct store_key *ret);
/* Returned. */
char *store_key_text(const struct store_key *key);
