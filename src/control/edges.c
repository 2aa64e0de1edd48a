#include "control/edges.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The one that stands for those that did not fit; no certificate names it. */
#define THE_REST "*"
/* Room for it in every text: its name, two numbers. */
enum { REST_SIZE = 48 };

void edges_heard_done(struct edges_heard *h)
{
    free(h->rows);
    *h = (struct edges_heard){0};
}

/* ---- what is told ---- */

static void add_to_rest(struct edge_observed *rest, const struct edge_observed *e)
{
    bool is_first = rest->name.len == 0;
    rest->name = STR(THE_REST);
    rest->confirmed_seq = is_first || e->confirmed_seq < rest->confirmed_seq ? e->confirmed_seq : rest->confirmed_seq;
    rest->seen_ms = is_first || e->seen_ms > rest->seen_ms ? e->seen_ms : rest->seen_ms;
}

/* False: it does not fit. */
static bool tell_one(const struct edge_observed *e, int64_t now_ms, char *ret, size_t size, size_t *at)
{
    int64_t silent_ms = e->seen_ms < now_ms ? now_ms - e->seen_ms : 0;
    int n =
        snprintf(ret + *at, size - *at, "%.*s %" PRIu64 " %" PRId64 ";", STR_ARG(e->name), e->confirmed_seq, silent_ms);
    bool fits = n > 0 && (size_t)n < size - *at;
    ret[ *at += fits ? (size_t)n : 0] = '\0';
    return fits;
}

void edges_tell(const struct edge_observed *edges, size_t n, int64_t now_ms, int64_t live_ms, char *ret, size_t size)
{
    struct edge_observed rest = {0};
    size_t at = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < n; i++)
        if (now_ms - edges[i].seen_ms <= live_ms && !tell_one(&edges[i], now_ms, ret, size - REST_SIZE, &at))
            add_to_rest(&rest, &edges[i]);
    if (rest.name.len > 0)
        (void)tell_one(&rest, now_ms, ret, size, &at);
}

/* ---- what is heard ---- */

static struct edge_row *row_of(struct edges_heard *h, struct str by, struct str name)
{
    for (size_t i = 0; i < h->n; i++)
        if (str_eq_c(by, h->rows[i].by) && str_eq_c(name, h->rows[i].name))
            return &h->rows[i];
    if (h->n == EDGES_HEARD_MAX) { /* the last row is for all that have none */
        struct edge_row *rest = &h->rows[h->n - 1];
        *rest = (struct edge_row){.name = THE_REST, .seen_ms = rest->seen_ms};
        return rest;
    }
    h->rows = mem_realloc(h->rows, (h->n + 1) * sizeof(*h->rows));
    struct edge_row *row = &h->rows[h->n];
    *row = (struct edge_row){.seen_ms = INT64_MIN};
    if (!str_copy_to(by, row->by, sizeof(row->by)) || !str_copy_to(name, row->name, sizeof(row->name)) || name.len == 0)
        return NULL;
    h->n++;
    return row;
}

/* A text up to `end`, taken off *rest. False: there is none. */
static bool take_until(struct str *rest, char end, struct str *ret)
{
    const char *at = rest->len == 0 ? NULL : memchr(rest->ptr, end, rest->len);
    if (at == NULL)
        return false;
    *ret = (struct str){rest->ptr, (size_t)(at - rest->ptr)};
    *rest = (struct str){at + 1, rest->len - ret->len - 1};
    return true;
}

bool edges_hear(struct edges_heard *h, struct str by, struct str text, int64_t now_ms)
{
    struct str one, name, seq_text;
    bool is_news = false;
    while (take_until(&text, ';', &one)) {
        uint64_t seq = 0, silent_ms = 0;
        bool is_fine = take_until(&one, ' ', &name) && take_until(&one, ' ', &seq_text) &&
                       str_parse_u64(seq_text, UINT64_MAX, &seq) && str_parse_u64(one, INT32_MAX, &silent_ms);
        struct edge_row *row = is_fine ? row_of(h, by, name) : NULL;
        if (row == NULL)
            continue;
        int64_t seen_ms = now_ms - (int64_t)silent_ms;
        seq = row->by[0] != '\0' ? seq : 0;
        is_news = is_news || row->seen_ms == INT64_MIN || row->confirmed_seq != seq;
        row->confirmed_seq = seq;
        row->seen_ms = seen_ms > row->seen_ms ? seen_ms : row->seen_ms;
    }
    return is_news;
}

void edges_forget(struct edges_heard *h, int64_t before_ms)
{
    size_t kept = 0;
    for (size_t i = 0; i < h->n; i++)
        if (h->rows[i].seen_ms >= before_ms)
            h->rows[kept++] = h->rows[i];
    h->n = kept;
}

/* ---- what is known ---- */

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct edge_observed *)a)->name, ((const struct edge_observed *)b)->name);
}

/* The same edge, heard by two: there since the later word, with the lower confirmation. */
static void merge(struct edge_observed *to, const struct edge_observed *e)
{
    if (e->confirmed_seq < to->confirmed_seq)
        to->confirmed_seq = e->confirmed_seq;
    if (e->seen_ms > to->seen_ms)
        to->seen_ms = e->seen_ms;
}

struct edge_observed *edges_observe(const struct edges_heard *h, const struct edge_observed *own, size_t own_n,
                                    int64_t now_ms, int64_t live_ms, struct arena *a, size_t *ret_n)
{
    size_t n = 0, merged = 0, told_n = h == NULL ? 0 : h->n;
    struct edge_observed *all = arena_alloc(a, (own_n + told_n + 1) * sizeof(*all));
    for (size_t i = 0; i < own_n; i++)
        if (now_ms - own[i].seen_ms <= live_ms)
            all[n++] = own[i];
    for (size_t i = 0; i < told_n; i++)
        if (now_ms - h->rows[i].seen_ms <= live_ms)
            all[n++] = (struct edge_observed){arena_str(a, str_from(h->rows[i].name)), h->rows[i].confirmed_seq,
                                              h->rows[i].seen_ms};
    if (n > 1)
        qsort(all, n, sizeof(*all), by_name);
    for (size_t i = 0; i < n; i++)
        if (merged > 0 && str_eq(all[merged - 1].name, all[i].name))
            merge(&all[merged - 1], &all[i]);
        else
            all[merged++] = all[i];
    *ret_n = merged;
    return all;
}
