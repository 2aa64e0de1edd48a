#pragma once
/* event/fields_read.h - the quick way through the text of a document that was written as fields_encode writes it.
 * Layer: event. Pure. fields_parse (fields.h) tries it first; nobody else needs it, except the tests that hold both
 * ways against each other (test_decode: both_ways_agree). */
#include "event/fields.h"

/* Fill *ret_struct from the text of one JSON object, without a tree; memory comes from the arena only.
 * True: *ret_struct is what fields_parse_tree makes of it. False: the text is not in the plain form (white space,
 * escapes or bytes beyond ASCII in strings, members that the table does not name, numbers over 18 digits) or it is
 * wrong: ask fields_parse_tree, which knows both and says what is wrong; *ret_struct is undefined.
 * Cost: one pass. Bounded: depth by the tables and JSON_DEPTH_MAX, lists by FIELDS_LIST_MAX, memory by text.len. */
bool fields_read(const struct field_table *t, struct str text, struct arena *a, void *ret_struct);

/* The way over jansson's tree: what is accepted, and every error. As fields_parse. */
must_check enum err fields_parse_tree(const struct field_table *t, struct str text, struct arena *a, void *ret_struct,
                                      struct errinfo *err);
