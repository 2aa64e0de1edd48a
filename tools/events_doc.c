/* events_doc - prints docs/events.md from the catalogue of events. `events_doc docs/events.md` only compares: a test.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"
#include "event/catalogue.h"

static const char *type_name(enum field_type t)
{
    switch (t) {
    case FIELD_STR: return "text";
    case FIELD_ID: return "id";
    case FIELD_I64: return "integer";
    case FIELD_BOOL: return "true or false";
    case FIELD_TIME: return "event time";
    case FIELD_JSON: return "any JSON";
    case FIELD_STRS: return "list of texts";
    case FIELD_IDS: return "list of ids";
    case FIELD_OBJECT: return "object";
    case FIELD_OBJECTS: return "list of objects";
    }
    return "?";
}

static void add_rows(struct buf *out, const struct field_table *t, const char *prefix)
{
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct field *f = &t->fields[i];
        buf_addf(out, "| `%s%s` | %s | %s | %s |\n", prefix, f->name, type_name(f->type), f->required ? "yes" : "",
                 f->doc);
        if (f->type == FIELD_OBJECT) {
            char below[64];
            (void)snprintf(below, sizeof(below), "%s%s.", prefix, f->name);
            add_rows(out, f->table, below);
        }
    }
}

static void add_document(struct buf *out)
{
    buf_add_c(
        out,
        "# Events\n\nMade from the catalogue, `src/event/catalogue.h`: `build/events-doc > docs/events.md`. How an "
        "event is written stands in [formats/event-log.md](formats/event-log.md).\n");
    for (unsigned k = 0; k < EVENT_KIND_MAX_; k++) {
        const struct event_kind_row *row = event_kind_row((enum event_kind)k);
        buf_addf(out, "\n## %s\n\n| member | type | required | |\n|---|---|---|---|\n", row->name);
        add_rows(out, row->fields, "");
    }
}

int main(int argc, char **argv)
{
    AUTO(buf) struct buf now = {0}, was = {0};
    add_document(&now);
    if (argc < 2)
        return fputs(now.ptr, stdout) < 0;
    FILE *f = fopen(argv[1], "re");
    char bytes[4096];
    for (size_t n; f != NULL && (n = fread(bytes, 1, sizeof(bytes), f)) > 0;)
        buf_add(&was, bytes, n);
    if (f != NULL)
        (void)fclose(f);
    if (str_eq(buf_str(&now), buf_str(&was)))
        return 0;
    (void)fprintf(stderr, "'%s' is not what the catalogue says: build/events-doc > docs/events.md\n", argv[1]);
    return 1;
}
