/* OpenAPI 3.1 out of the route table: what is served is what is documented. Schemas come from the tables of fields. */
#include "api/parts.h"
#include "base/own.h"
#include "event/fields.h"
#include "wire/deployment.h"

/* Tables that have been named so far; small, so a list does. */
struct schemas {
    const struct field_table *items[128];
    size_t n;
};

static void want(struct schemas *s, const struct field_table *t)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i] == t)
            return;
    assert(s->n < sizeof(s->items) / sizeof(s->items[0]));
    s->items[s->n++] = t;
    for (size_t i = 0; i < t->fields_n; i++)
        if (t->fields[i].table != NULL)
            want(s, t->fields[i].table);
}

static void add_ref(struct buf *out, const struct field_table *t)
{
    buf_addf(out, "{\"$ref\":\"#/components/schemas/%s\"}", t->name);
}

static void add_type(struct buf *out, const struct field *f)
{
    switch (f->type) {
    case FIELD_STR: buf_add_c(out, "{\"type\":\"string\""); break;
    case FIELD_ID: buf_add_c(out, "{\"type\":\"string\",\"format\":\"uuid\""); break;
    case FIELD_I64: buf_add_c(out, "{\"type\":\"integer\""); break;
    case FIELD_BOOL: buf_add_c(out, "{\"type\":\"boolean\""); break;
    case FIELD_TIME: buf_add_c(out, "{\"type\":\"string\""); break;
    case FIELD_JSON:
        buf_add_c(out, "{\"type\":[\"object\",\"array\",\"string\",\"number\",\"boolean\",\"null\"]");
        break;
    case FIELD_STRS: buf_add_c(out, "{\"type\":\"array\",\"items\":{\"type\":\"string\"}"); break;
    case FIELD_IDS: buf_add_c(out, "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"format\":\"uuid\"}"); break;
    case FIELD_OBJECT: buf_addf(out, "{\"$ref\":\"#/components/schemas/%s\"", f->table->name); break;
    case FIELD_OBJECTS:
        buf_add_c(out, "{\"type\":\"array\",\"items\":");
        add_ref(out, f->table);
        break;
    }
    buf_add_c(out, ",\"description\":");
    buf_add_json_string(out, str_from(f->doc));
    buf_add_char(out, '}');
}

static void add_schema(struct buf *out, const struct field_table *t)
{
    AUTO(buf) struct buf required = {0};
    buf_addf(out, "\"%s\":{\"type\":\"object\",\"properties\":{", t->name);
    for (size_t i = 0; i < t->fields_n; i++) {
        buf_addf(out, "%s\"%s\":", i > 0 ? "," : "", t->fields[i].name);
        add_type(out, &t->fields[i]);
        if (t->fields[i].required)
            buf_addf(&required, "%s\"%s\"", required.len > 0 ? "," : "", t->fields[i].name);
    }
    buf_addf(out, "}%s%.*s%s}", required.len > 0 ? ",\"required\":[" : "", STR_ARG(buf_str(&required)),
             required.len > 0 ? "]" : "");
}

static void add_list(struct buf *out, const struct api_route *r)
{
    buf_add_c(out, "{\"type\":\"object\",\"properties\":{\"items\":{\"type\":\"array\",\"items\":");
    add_ref(out, r->answer);
    buf_add_c(out, "},\"next\":{\"type\":\"string\"}");
    if ((r->flags & ROUTE_FEED) != 0)
        buf_add_c(out,
                  ",\"removed\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"cursor\":{\"type\":\"string\"},"
                  "\"full\":{\"type\":\"boolean\"}");
    buf_add_c(out, "},\"required\":[\"items\"]}");
}

/* What every answer that rests on the model carries; of reads also that it is old, if it is. */
static void add_headers(struct buf *out, const struct api_route *r)
{
    static const char *const TEXT = "{\"schema\":{\"type\":\"string\"},\"description\":";
    if ((r->flags & (ROUTE_EARLY | ROUTE_BYTES)) != 0)
        return;
    buf_addf(out, "\"headers\":{\"Slipform-Position\":%s\"what the answer holds; sent back: sees at least that\"}",
             TEXT);
    if (strcmp(r->method, "GET") == 0)
        buf_addf(out, ",\"Slipform-Stale\":%s\"why it may be old: stalled, unseen; absent: it is not\"}", TEXT);
    buf_add_c(out, "},");
}

static void add_answer(struct buf *out, const struct api_route *r)
{
    const char *type = (r->flags & ROUTE_LINES) != 0   ? "application/x-ndjson"
                       : (r->flags & ROUTE_BYTES) != 0 ? "application/octet-stream"
                                                       : "application/json";
    buf_addf(out, "\"%d\":{\"description\":\"done\",", r->status);
    add_headers(out, r);
    buf_addf(out, "\"content\":{\"%s\":{\"schema\":", type);
    if ((r->flags & ROUTE_LIST) != 0)
        add_list(out, r);
    else if ((r->flags & ROUTE_BYTES) != 0)
        buf_add_c(out, "{\"type\":\"string\"}");
    else if (r->answer != NULL && r->answer->fields_n > 0)
        add_ref(out, r->answer);
    else
        buf_add_c(out, "{\"type\":\"object\"}");
    buf_add_c(out, "}}}");
}

/* {id} of the path, then the row's query parameters. */
static void add_parameters(struct buf *out, const struct api_route *r)
{
    const char *sep = "";
    struct str rest = str_from(r->pattern), part;
    buf_add_c(out, "\"parameters\":[");
    while (str_next(&rest, '/', &part)) {
        if (!str_starts(part, STR("{")))
            continue;
        buf_addf(out, "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}", sep,
                 STR_ARG(str_slice(part, 1, part.len - 1)));
        sep = ",";
    }
    for (rest = str_from(r->query); rest.ptr != NULL && str_next(&rest, ' ', &part);) {
        buf_addf(out, "%s{\"name\":\"%.*s\",\"in\":\"query\",\"schema\":{\"type\":\"string\"}}", sep, STR_ARG(part));
        sep = ",";
    }
    buf_add_c(out, "],");
}

static void add_operation(struct buf *out, const struct api_route *r, const char *method)
{
    char who[96];
    caller_mask_describe(r->callers, who, sizeof(who));
    buf_addf(out, "\"%s\":{\"summary\":", method);
    buf_add_json_string(out, str_from(r->doc));
    buf_addf(out, ",\"x-callers\":\"%s\",", who);
    add_parameters(out, r);
    if (r->request != NULL) {
        buf_add_c(out, "\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":");
        add_ref(out, r->request);
        buf_add_c(out, "}}},");
    }
    if (r->callers == CALLER_ANYBODY)
        buf_add_c(out, "\"security\":[],");
    buf_add_c(out, "\"responses\":{");
    if (r->status < 400) {
        add_answer(out, r);
        buf_add_char(out, ',');
    }
    buf_add_c(out, "\"default\":{\"description\":\"problem\",\"content\":{\"application/problem+json\":{\"schema\":");
    add_ref(out, &PROBLEM_WIRE);
    buf_add_c(out, "}}}}}");
}

static void add_method(struct buf *out, const struct api_route *r)
{
    static const char *const ANY[] = {"get", "post"};
    static const char *const METHODS[][2] = {
        {"GET", "get"}, {"POST", "post"}, {"PUT", "put"}, {"PATCH", "patch"}, {"DELETE", "delete"}};
    if (strcmp(r->method, "*") == 0) {
        add_operation(out, r, ANY[0]);
        buf_add_char(out, ',');
        add_operation(out, r, ANY[1]);
    }
    for (size_t i = 0; i < sizeof(METHODS) / sizeof(METHODS[0]); i++)
        if (strcmp(r->method, METHODS[i][0]) == 0)
            add_operation(out, r, METHODS[i][1]);
}

/* A path is written at its first row, with the methods of all rows that have it. */
static void add_paths(const struct api *api, struct schemas *schemas, struct buf *out)
{
    const char *sep = "";
    for (size_t i = 0; i < api->rows_n; i++) {
        const char *pattern = api->rows[i].pattern;
        bool is_first = true, is_first_row = true;
        for (size_t j = 0; j < i; j++)
            is_first_row = is_first_row && strcmp(api->rows[j].pattern, pattern) != 0;
        if (!is_first_row)
            continue;
        buf_addf(out, "%s\"%s\":{", sep, pattern);
        sep = ",";
        for (size_t j = i; j < api->rows_n; j++) {
            const struct api_route *r = &api->rows[j];
            if (strcmp(r->pattern, pattern) != 0)
                continue;
            buf_add_c(out, is_first ? "" : ",");
            is_first = false;
            add_method(out, r);
            if (r->request != NULL)
                want(schemas, r->request);
            if (r->answer != NULL && r->answer->fields_n > 0)
                want(schemas, r->answer);
        }
        buf_add_char(out, '}');
    }
}

void api_openapi(const struct api *api, struct buf *out)
{
    struct schemas schemas = {0};
    want(&schemas, &PROBLEM_WIRE);
    buf_addf(out,
             "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"slipform %s\",\"version\":\"%s\"},"
             "\"security\":[{\"token\":[]},{\"certificate\":[]}],\"paths\":{",
             api->o.management && api->o.is_public ? "API"
             : api->o.management                   ? "management API"
                                                   : "public API",
             SLIPFORM_VERSION);
    add_paths(api, &schemas, out);
    buf_add_c(out, "},\"components\":{\"securitySchemes\":{\"token\":{\"type\":\"http\",\"scheme\":\"bearer\"},"
                   "\"certificate\":{\"type\":\"mutualTLS\"}},\"schemas\":{");
    for (size_t i = 0; i < schemas.n; i++) {
        buf_add_c(out, i > 0 ? "," : "");
        add_schema(out, schemas.items[i]);
    }
    buf_add_c(out, "}}}");
}
