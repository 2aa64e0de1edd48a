#include "store/lines.h"

#include "store/kind.h"

static enum err add_line(const struct store *s, const struct store_event *e, bool more, int64_t now_us,
                         struct lines_end *end, struct buf *text, struct store_record *ret, struct errinfo *err)
{
    struct envelope line = {.type = e->type, .id = e->id, .payload = e->payload, .more = more, .has_sum = true};
    enum err rc = store_choose_time(s, e, end->time, now_us * 1000, &line.time, err);
    if (rc != OK)
        return rc;
    size_t from = text->len;
    line.sum = envelope_encode(&line, end->sum, text);
    struct envelope back;
    rc = envelope_decode((struct str){text->ptr + from, text->len - from - 1}, end->sum, &back, err);
    if (rc == ERR_CORRUPT || (rc == OK && (!str_eq(back.payload, e->payload) || !back.has_sum)))
        return err_set(err, ERR_INVALID, "the payload of a '%.*s' is not one JSON object", STR_ARG(e->type));
    if (rc != OK)
        return err_wrap(err, rc, "append a '%.*s'", STR_ARG(e->type));
    *end = (struct lines_end){end->seq + 1, line.sum, line.time};
    if (ret != NULL)
        *ret = (struct store_record){.seq = end->seq, .e = line};
    return OK;
}

/* On an error the lines before it stay, and *end. */
static enum err add_group(const struct store *s, const struct store_group *g, int64_t now_us, struct lines_end *end,
                          struct buf *text, struct store_record *ret_records, struct errinfo *err)
{
    struct lines_end next = *end;
    size_t from = text->len;
    enum err rc = OK;
    for (size_t i = 0; i < g->n && rc == OK; i++) {
        rc = add_line(s, &g->events[i], i + 1 < g->n, now_us, &next, text, ret_records == NULL ? NULL : &ret_records[i],
                      err);
        if (rc == OK && text->len > ENVELOPE_BATCH_SIZE_MAX)
            rc = err_set(err, ERR_LIMIT, "%zu events are more than the %u bytes of an append", g->n,
                         ENVELOPE_BATCH_SIZE_MAX);
    }
    if (rc == OK)
        *end = next;
    else
        text->len = from;
    return rc;
}

enum err lines_build(const struct store *s, const struct store_group *groups, size_t groups_n, int64_t now_us,
                     struct lines_end *end, struct buf *ret_text, struct store_record *ret_records, size_t *ret_taken,
                     struct errinfo *err)
{
    buf_clear(ret_text);
    *ret_taken = 0;
    for (size_t i = 0; i < groups_n; i++) {
        enum err rc = add_group(s, &groups[i], now_us, end, ret_text, ret_records, i == 0 ? err : NULL);
        if (rc != OK)
            return i == 0 ? rc : OK;
        (*ret_taken)++;
        if (ret_records != NULL)
            ret_records += groups[i].n;
    }
    return OK;
}
