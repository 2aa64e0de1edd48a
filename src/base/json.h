#pragma once
/* base/json.h - JSON documents by jansson, with bounded parsing and owned texts.
 * Layer: base. Structs are read and written by event/fields.h; this is for documents without a fixed shape. */
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* 64: deeper nesting than any document of ours (chosen, never measured; test_base: json_depth). */
#define JSON_DEPTH_MAX 64

/* Parse one document. text.len is bounded by the caller. *ret_doc is returned: json_decref.
 * OK | ERR_INVALID with line and column (duplicate keys, trailing bytes, NUL in strings, too deep are errors). */
must_check enum err json_parse(struct str text, json_t **ret_doc, struct errinfo *err);
/* Compact text, keys sorted, NUL-terminated. Returned: free(). */
char *json_format(const json_t *doc);
/* The same into a buffer, with a newline behind it when `newline`. */
void json_add_to(struct buf *b, const json_t *doc, bool newline);
/* Member as str; {NULL,0} when absent or not a string. Lent until doc changes. */
struct str json_member_str(const json_t *object, const char *key);
/* json_string of borrowed bytes; bytes that are not UTF-8 become U+FFFD. Returned. */
json_t *json_from_str(struct str s);

static inline void json_decref_cleanup_(json_t **doc)
{
    json_decref(*doc);
}
#define auto_json __attribute__((cleanup(json_decref_cleanup_)))
