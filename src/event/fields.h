#pragma once
/* event/fields.h - a struct and its JSON object, by one table: decode, encode, documentation and hashing use the same
 * rows. Layer: event. Pure. Event payloads (catalogue.h) and the documents of wire/ are described this way. */
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "event/id.h"
#include "event/time.h"

enum field_type {
    FIELD_STR,     /* struct str */
    FIELD_ID,      /* struct id; absent = ID_NONE */
    FIELD_I64,     /* int64_t */
    FIELD_BOOL,    /* bool */
    FIELD_TIME,    /* struct event_time */
    FIELD_JSON,    /* struct str: compact JSON text of any value; absent = {NULL,0} */
    FIELD_STRS,    /* struct strs */
    FIELD_IDS,     /* struct ids */
    FIELD_OBJECT,  /* a struct by `table`, always there (zero when absent) */
    FIELD_OBJECTS, /* struct objects of structs by `table` */
};

struct strs {
    struct str *items;
    size_t n;
};
struct ids {
    struct id *items;
    size_t n;
};
struct objects {
    void *items; /* array of n structs of table->size */
    size_t n;
};

struct field {
    const char *name; /* JSON key */
    size_t name_len;
    enum field_type type;
    size_t offset;
    bool required;
    const struct field_table *table; /* FIELD_OBJECT, FIELD_OBJECTS */
    const char *doc;
};
struct field_table {
    const char *name;
    size_t size; /* of the struct */
    const struct field *fields;
    size_t fields_n;
};

#define FIELD_REQ(type_, struct_, member, key, doc_)                                                                   \
    {key, sizeof(key) - 1, FIELD_##type_, offsetof(struct struct_, member), true, NULL, doc_}
#define FIELD_OPT(type_, struct_, member, key, doc_)                                                                   \
    {key, sizeof(key) - 1, FIELD_##type_, offsetof(struct struct_, member), false, NULL, doc_}
#define FIELD_SUB(type_, struct_, member, key, table_, doc_)                                                           \
    {key, sizeof(key) - 1, FIELD_##type_, offsetof(struct struct_, member), false, &(table_), doc_}
#define FIELD_TABLE(struct_, rows) {#struct_, sizeof(struct struct_), rows, sizeof(rows) / sizeof((rows)[0])}

/* 10,000: longest list of a document (chosen, never measured; test_event: list_too_long). */
#define FIELDS_LIST_MAX 10000

/* Fill *ret_struct (zeroed first) from a JSON object. Members that the table does not name are ignored: formats grow.
 * Strings and lists are copied into the arena, so doc may go.
 * OK | ERR_INVALID naming the field by path, e.g. "field 'resources.vcpus' must be an integer" */
must_check enum err fields_decode(const struct field_table *t, const json_t *doc, struct arena *a, void *ret_struct,
                                  struct errinfo *err);
/* The same from text. */
must_check enum err fields_parse(const struct field_table *t, struct str text, struct arena *a, void *ret_struct,
                                 struct errinfo *err);
/* Compact JSON in the order of the table; optional members that are empty (zero, none, "") are left out, false too. */
void fields_encode(const struct field_table *t, const void *value, struct buf *out);
/* The same as a jansson object. Returned. */
json_t *fields_to_json(const struct field_table *t, const void *value);
