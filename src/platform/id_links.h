#pragma once
/* platform/id_links.h - which objects look at which: from one id to several others, in id order.
 * Layer: platform. Pure. */
#include <stddef.h>

#include "event/id.h"

struct id_links {
    struct id_links_from *heads;
    size_t n;
};

void id_links_add(struct id_links *l, struct id from, struct id to); /* nothing when it is there */
void id_links_remove(struct id_links *l, struct id from, struct id to);
/* Lent until the next change; *ret_n 0: none. */
const struct id *id_links_find(const struct id_links *l, struct id from, size_t *ret_n);
void id_links_done(struct id_links *l);
size_t id_links_size_bytes(const struct id_links *l);
