/* What goes over the pipe between two builds, reading of histories, settings as words. */
#include "cli/what_if.h"

#include "base/json.h"

#define REQ(type, member, doc) FIELD_REQ(type, question_line, member, #member, doc)
static const struct field EDGE_FIELDS[] = {
    FIELD_REQ(STR, edge_line, name, "name", "of the edge"),
    FIELD_REQ(I64, edge_line, confirmed_seq, "confirmed_seq", "position of the routes that it has acknowledged"),
    FIELD_REQ(I64, edge_line, silent_ms, "silent_ms", "since it was heard last"),
};
static const struct field_table EDGE_LINE = FIELD_TABLE(edge_line, EDGE_FIELDS);
static const struct field QUESTION_FIELDS[] = {
    REQ(I64, seq, "the model after so many events"),
    REQ(I64, now_ms, "what is decided now?"),
    REQ(I64, until_ms, "nothing: what is decided at the next deadline, up to this"),
    FIELD_OPT(I64, question_line, format, "format", "lowest that every replica reads; 0: not known"),
    FIELD_OPT(BOOL, question_line, edges_known, "edges_known", "these are all the edges there are"),
    FIELD_SUB(OBJECTS, question_line, edges, "edges", EDGE_LINE, "live ones"),
    FIELD_OPT(I64, question_line, replicas_n, "replicas_n", "that vote"),
    FIELD_OPT(STRS, question_line, replicas, "replicas", "whose votes count; none: all"),
};
#undef REQ
const struct field_table QUESTION_LINE = FIELD_TABLE(question_line, QUESTION_FIELDS);
static const struct field ANSWER_FIELDS[] = {
    FIELD_OPT(I64, answer_line, seq, "seq", "of the question"),
    FIELD_OPT(I64, answer_line, at_ms, "at_ms", "when it was decided"),
    FIELD_OPT(I64, answer_line, n, "n", "so many events follow, one a line"),
    FIELD_OPT(STR, answer_line, error, "error", "why there is no answer"),
};
const struct field_table ANSWER_LINE = FIELD_TABLE(answer_line, ANSWER_FIELDS);
static const struct field EVENT_FIELDS[] = {
    FIELD_REQ(STR, event_line, type, "type", "kind of the event"),
    FIELD_REQ(JSON, event_line, payload, "payload", "as in the log"),
};
const struct field_table EVENT_LINE = FIELD_TABLE(event_line, EVENT_FIELDS);

/* ---- history ---- */

enum err history_next(struct history *h, const struct store_record **ret_record, struct errinfo *err)
{
    *ret_record = NULL;
    if (h->at == h->batch.n) {
        store_batch_done(&h->batch);
        h->at = 0;
        enum err rc = store_read(h->store, h->seq, 1000, ENVELOPE_BATCH_SIZE_MAX, &h->batch, err);
        if (rc != OK || h->batch.n == 0)
            return rc;
    }
    *ret_record = &h->batch.items[h->at++];
    h->seq = (*ret_record)->seq;
    return OK;
}

void history_done(struct history *h)
{
    store_batch_done(&h->batch);
    *h = (struct history){.store = h->store};
}

/* ---- settings ---- */

static enum err set_one(struct str name, struct str value, struct arena *a, struct platform_settings *s,
                        json_t *ret_doc, struct errinfo *err)
{
    bool is_domain = str_eq_c(name, "app_domain"), is_text = is_domain || str_eq_c(name, "installation");
    enum err rc = OK;
    if (is_domain)
        s->app_domain = arena_str(a, value);
    else if (is_text)
        s->installation = arena_str(a, value);
    else
        rc = platform_settings_tune(s, name, value, err);
    if (rc != OK || ret_doc == NULL)
        return rc;
    struct str key = arena_str(a, name);
    int64_t figure = 0;
    (void)str_parse_i64(value, &figure);
    json_object_set_new(ret_doc, key.ptr, is_text ? json_from_str(value) : json_integer(figure));
    return OK;
}

enum err what_if_settings_parse(const char *text, struct arena *a, struct platform_settings *s, json_t *ret_doc,
                                struct errinfo *err)
{
    struct str rest = str_from(text), one, name;
    while (rest.len > 0 && str_next(&rest, ',', &one)) {
        (void)str_next(&one, '=', &name);
        enum err rc = set_one(name, one, a, s, ret_doc, err);
        if (rc != OK)
            return rc;
    }
    return OK;
}
