/* slipform what-if LOG --answer: this build's planner, asked by another build. */
#include "bootstrap/fold_record.h"
#include "cli/what_if.h"

#include "base/json.h"
#include "base/own.h"

enum { LINE_MAX_BYTES = 1 << 20 };

struct answering {
    struct history history;
    struct model *m;
    struct what_if_own own;
    struct arena texts, asking;
    struct buf out;
};

static enum err say(struct answering *a, struct errinfo *err)
{
    bool is_good = fwrite(a->out.ptr, 1, a->out.len, stdout) == a->out.len && fflush(stdout) == 0;
    buf_clear(&a->out);
    return is_good ? OK : err_set(err, ERR_IO, "whoever asks has gone");
}

/* Whoever asks is told, then it is over. */
static enum err give_up(struct answering *a, struct errinfo *err)
{
    AUTO(buf) struct buf line = {0};
    struct errinfo ignored;
    fields_encode(&ANSWER_LINE, &(struct answer_line){.error = str_from(err->msg)}, &line);
    buf_clear(&a->out);
    buf_add_str(&a->out, buf_str(&line));
    buf_add_char(&a->out, '\n');
    err_ignore(say(a, &ignored));
    return err->code;
}

static enum err read_line(char **line, size_t *size, struct str *ret, struct errinfo *err)
{
    ssize_t n = getline(line, size, stdin);
    *ret = (struct str){0};
    if (n <= 0)
        return OK; /* no more questions */
    if (n > LINE_MAX_BYTES || (*line)[n - 1] != '\n')
        return err_set(err, ERR_LIMIT, "a question is too long");
    *ret = (struct str){*line, (size_t)n - 1};
    return OK;
}

static enum err greet(struct answering *a, struct str line, struct errinfo *err)
{
    auto_json json_t *hello = NULL;
    const char *key = NULL;
    json_t *value = NULL;
    struct platform_settings s;
    platform_settings_init(&s);
    enum err rc = json_parse(line, &hello, err);
    if (rc == OK && json_integer_value(json_object_get(hello, "what_if")) != WHAT_IF_FORMAT)
        rc = err_set(err, ERR_INVALID, "this build answers questions of format %d", WHAT_IF_FORMAT);
    json_object_foreach(json_object_get(hello, "settings"), key, value)
    {
        auto_free char *text = json_is_string(value) ? mem_strdup(json_string_value(value)) : json_format(value);
        auto_free char *one = mem_printf("%s=%s", key, text);
        if (rc == OK)
            rc = what_if_settings_parse(one, &a->texts, &s, NULL, err);
    }
    if (rc != OK)
        return rc;
    what_if_own_init(&a->own, &s);
    buf_addf(&a->out, "{\"what_if\":%d,\"build\":\"%s\"}\n", WHAT_IF_FORMAT, SLIPFORM_VERSION);
    return say(a, err);
}

static enum err fold_up_to(struct answering *a, uint64_t seq, struct errinfo *err)
{
    while (a->m->seq < seq) {
        const struct store_record *r = NULL;
        arena_reset(&a->asking);
        enum err rc = history_next(&a->history, &r, err);
        if (rc == OK && r == NULL)
            return err_set(err, ERR_NOT_FOUND, "the log ends at event %llu", (unsigned long long)a->m->seq);
        if (rc == OK)
            rc = fold_record(a->history.store, a->m, r, err);
        if (rc != OK)
            return err_wrap(err, rc, "event %llu", (unsigned long long)a->m->seq + 1);
    }
    return a->m->seq == seq ? OK : err_set(err, ERR_INVALID, "questions go forward only");
}

static struct what_if_question question_of(const struct question_line *l, struct arena *a)
{
    struct edge_observed *edges = arena_alloc(a, (l->edges.n + 1) * sizeof(*edges));
    const struct edge_line *lines = l->edges.items;
    for (size_t i = 0; i < l->edges.n; i++)
        edges[i] = (struct edge_observed){.name = lines[i].name,
                                          .confirmed_seq = (uint64_t)lines[i].confirmed_seq,
                                          .seen_ms = l->now_ms - lines[i].silent_ms};
    return (struct what_if_question){
        .now_ms = l->now_ms,
        .until_ms = l->until_ms,
        .seen = {.edges = edges,
                 .edges_n = l->edges.n,
                 .live_since_ms = l->edges_known ? WHAT_IF_EDGES_KNOWN : WHAT_IF_EDGES_UNKNOWN,
                 .format_min = l->format,
                 .replicas_n = l->replicas_n,
                 .replicas = l->replicas}};
}

static void add_answer(struct answering *a, const struct what_if_answer *answer)
{
    struct answer_line line = {.seq = (int64_t)a->m->seq, .at_ms = answer->at_ms, .n = (int64_t)answer->events.n};
    fields_encode(&ANSWER_LINE, &line, &a->out);
    buf_add_char(&a->out, '\n');
    for (size_t i = 0; i < answer->events.n; i++) {
        const struct event *ev = &answer->events.items[i];
        buf_addf(&a->out, "{\"type\":\"%s\",\"payload\":", event_kind_row(ev->kind)->name);
        event_encode_payload(ev, &a->out);
        buf_add_c(&a->out, "}\n");
    }
}

static enum err answer_one(struct answering *a, struct str line, struct errinfo *err)
{
    AUTO(arena) struct arena texts = {0};
    struct question_line l;
    struct what_if_answer answer = {.events.arena = &texts};
    enum err rc = fields_parse(&QUESTION_LINE, line, &texts, &l, err);
    if (rc == OK)
        rc = fold_up_to(a, (uint64_t)l.seq, err);
    if (rc != OK)
        return rc;
    struct what_if_question q = question_of(&l, &texts);
    struct what_if_planner own = what_if_own_planner(&a->own);
    rc = own.ask(own.ctx, a->m, &q, &answer, err);
    if (rc != OK)
        return rc;
    add_answer(a, &answer);
    return say(a, err);
}

static enum err answer_all(struct answering *a, struct errinfo *err)
{
    auto_free char *bytes = NULL;
    size_t size = 0;
    struct str line;
    enum err rc = read_line(&bytes, &size, &line, err);
    if (rc == OK && line.len > 0)
        rc = greet(a, line, err);
    while (rc == OK && line.len > 0) {
        rc = read_line(&bytes, &size, &line, err);
        if (rc == OK && line.len > 0)
            rc = answer_one(a, line, err);
    }
    return rc == OK ? OK : give_up(a, err);
}

int what_if_answer(struct cli *c, const char *log)
{
    struct answering a = {.m = model_new()};
    struct errinfo err = {0};
    enum err rc = eventlog_open(log, STORE_READ, &a.history.store, &err);
    rc = rc == OK ? answer_all(&a, &err) : give_up(&a, &err);
    if (a.own.state != NULL)
        what_if_own_done(&a.own);
    history_done(&a.history);
    store_close(a.history.store);
    model_free(a.m);
    arena_done(&a.texts);
    arena_done(&a.asking);
    buf_done(&a.out);
    return rc == OK ? 0 : cli_fail(c, &err);
}
