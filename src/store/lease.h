#pragma once
/* store/lease.h - leases of the files store; for the files of this room only. Layer: store. */
#include "store/store.h"

must_check enum err files_lease_put(struct store *s, const struct store_lease *lease, struct errinfo *err);
must_check enum err files_lease_drop(struct store *s, const char *name, struct errinfo *err);
must_check enum err files_lease_list(struct store *s, struct store_lease *ret, size_t max, size_t *ret_n,
                                     struct errinfo *err);
