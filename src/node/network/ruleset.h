#pragma once
/* node/network/ruleset.h - the nftables scripts of a node: text in, text out. Layer: node. Format: nft(8). */
#include "base/buf.h"
#include "node/network/network.h"

struct ruleset {
    const char *table; /* slipform_<installation>_<tag> */
    const char *taps;  /* "slp<tag>": what their names begin with */
    struct network_options options;
    struct ip node;
};

/* The whole table with these guests, instead of whatever was there: one transaction. */
void ruleset_full(const struct ruleset *r, const struct network_guest *guests, size_t guests_n, struct buf *out);
/* Let one guest through; take its rights away. */
void ruleset_add_guest(const struct ruleset *r, const struct network_guest *g, struct buf *out);
void ruleset_delete_guest(const struct ruleset *r, const struct network_guest *g, struct buf *out);
/* Nothing left. */
void ruleset_delete(const struct ruleset *r, struct buf *out);
