/* slipform what-if [LOG]: what another planner would have decided where this history says what was decided. */
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "cli/table.h"
#include "cli/what_if.h"
#include "install/log_place.h"
#include "platform/describe.h"

const struct flag WHAT_IF_FLAGS[] = {
    {"planner", FLAG_TEXT, "PROGRAM", "the planner of another build: its 'slipform'"},
    {"set", FLAG_TEXT, "NAME=N,…", "this planner with other figures, such as start_timeout_seconds=30"},
    {"recorded-with", FLAG_TEXT, "NAME=N,…", "figures that the installation ran with, where they were not the default"},
    {"limit", FLAG_COUNT, "N", "show so many differences (100); all are counted"},
    {"answer", FLAG_BOOL, "", "answer another build's questions on standard input (docs/formats/what-if.md)"},
    {0},
};
const char WHAT_IF_DETAILS[] =
    "Without options: does this build decide today what was decided then? LOG is a folder, a JSONL file, or a store\n"
    "like 'files;path=DIR'; default: the log of this installation. Exit code 1: something would have been decided\n"
    "otherwise.\n";

struct what_if_run {
    struct cli *c;
    struct history history;
    struct model *m;
    struct arena texts;
    struct platform_settings recorded, set;
    json_t *given; /* what another build is told */
    struct what_if_own own, other;
    struct asked_planner *asked;
    const char *build; /* of it; NULL: this one */
    struct what_if *what_if;
    json_t *rows, *counts;
    uint64_t rows_max, left_out;
    int64_t told_us;
};

/* ---- differences ---- */

static void set_event(json_t *row, const char *key, const struct model *m, const struct event *ev)
{
    AUTO(buf) struct buf words = {0}, payload = {0};
    auto_free char *payload_key = mem_printf("%s_payload", key);
    json_object_set_new(row, key, json_null());
    json_object_set_new(row, payload_key, json_null());
    if (ev == NULL)
        return;
    json_t *doc = NULL;
    event_describe(m, ev, &words);
    event_encode_payload(ev, &payload);
    json_object_set_new(row, key, json_from_str(buf_str(&words)));
    if (json_parse(buf_str(&payload), &doc, NULL) == OK)
        json_object_set_new(row, payload_key, doc);
}

static json_t *row_of(const struct what_if_difference *d, const char *kind, struct str rule)
{
    json_t *row = json_object();
    char time[CLOCK_TEXT_SIZE];
    clock_format_us(d->at_ms * 1000, time);
    json_object_set_new(row, "change", json_string(what_if_change_name(d->change)));
    json_object_set_new(row, "position", json_integer((json_int_t)d->seq));
    json_object_set_new(row, "seq", d->recorded_seq == 0 ? json_null() : json_integer((json_int_t)d->recorded_seq));
    json_object_set_new(row, "time", json_string(time));
    json_object_set_new(row, "kind", json_string(kind));
    json_object_set_new(row, "rule", json_from_str(rule));
    set_event(row, "recorded", d->model, d->recorded);
    set_event(row, "instead", d->model, d->instead);
    return row;
}

static void count(json_t *counts, const char *change, const char *kind, struct str rule)
{
    auto_free char *key = mem_printf("%s %s %.*s", change, kind, STR_ARG(rule));
    json_t *row = json_object_get(counts, key);
    if (row == NULL) {
        row = json_pack("{s:s, s:s, s:I}", "change", change, "kind", kind, "n", (json_int_t)0);
        json_object_set_new(row, "rule", json_from_str(rule));
        json_object_set_new(counts, key, row);
    }
    json_object_set_new(row, "n", json_integer(json_integer_value(json_object_get(row, "n")) + 1));
}

static void on_differs(void *ctx, const struct what_if_difference *d)
{
    struct what_if_run *r = ctx;
    const struct event *ev = d->recorded != NULL ? d->recorded : d->instead;
    const char *kind = event_kind_row(ev->kind)->name;
    struct str rule = what_if_rule(ev);
    count(r->counts, what_if_change_name(d->change), kind, rule);
    if (json_array_size(r->rows) < r->rows_max)
        json_array_append_new(r->rows, row_of(d, kind, rule));
    else
        r->left_out++;
}

/* ---- the history ---- */

static enum err pass_over(struct what_if_run *r, struct event_time time, struct errinfo *err)
{
    uint64_t after = 0;
    struct errinfo cause = *err;
    enum err rc = app_set_aside_find(r->history.store, r->m->seq + 1, &after, err);
    if (rc == OK)
        model_pass_over(r->m, time);
    return rc == ERR_NOT_FOUND
               ? err_set(err, ERR_CORRUPT, "event %llu: %s", (unsigned long long)r->m->seq + 1, cause.msg)
               : rc;
}

static enum err fold(void *ctx, struct model *m, const struct event *ev, uint64_t seq, struct errinfo *err)
{
    (void)seq;
    return model_apply(m, ev, err) == OK ? OK : pass_over(ctx, ev->time, err);
}

static enum err one(struct what_if_run *r, const struct store_record *record, struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    struct event ev;
    struct errinfo cause = {0};
    if (event_decode(&record->e, &a, &ev, &cause) == OK)
        return what_if_event(r->what_if, &ev, record->e.more, err);
    enum err rc = what_if_end(r->what_if, err);
    if (rc != OK)
        return rc;
    *err = cause;
    return pass_over(r, record->e.time, err);
}

/* Every 2 s. */
static void say_progress(struct what_if_run *r)
{
    int64_t now_us = clock_mono_us();
    if (r->told_us == 0)
        r->told_us = now_us;
    if (now_us - r->told_us < 2000000)
        return;
    r->told_us = now_us;
    cli_say(r->c, "%llu events, %llu plans", (unsigned long long)r->history.seq,
            (unsigned long long)what_if_counts(r->what_if)->plans);
}

static enum err read_all(struct what_if_run *r, struct errinfo *err)
{
    for (;;) {
        const struct store_record *record = NULL;
        enum err rc = history_next(&r->history, &record, err);
        if (rc == OK && record == NULL)
            return what_if_end(r->what_if, err);
        if (rc == OK)
            rc = one(r, record, err);
        if (rc != OK)
            return rc;
        if (r->history.seq % 1000 == 0)
            say_progress(r);
    }
}

/* ---- what the installation was called ---- */

/* From what its planner decided: the owner of an instance, the host of a project. */
static bool learn(struct what_if_run *r, const struct event *ev, bool *has_owner, bool *has_domain)
{
    int64_t now_ms = 0;
    if (!what_if_is_planned(ev, &now_ms))
        return false;
    if (ev->kind == EVENT_CREATE_INSTANCE && !*has_owner) {
        r->recorded.installation = arena_str(&r->texts, ev->create_instance.owner);
        *has_owner = true;
    }
    if (ev->kind == EVENT_ROUTE_DEPLOYMENT && ev->route_deployment.hosts.n > 0 && !*has_domain) {
        struct str host = ev->route_deployment.hosts.items[0], slug;
        *has_domain = str_next(&host, '.', &slug);
        r->recorded.app_domain = arena_str(&r->texts, host);
    }
    return *has_owner && *has_domain;
}

static enum err learn_names(struct what_if_run *r, struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    bool has_owner = false, has_domain = false;
    struct history h = {.store = r->history.store};
    enum err rc = OK;
    for (bool is_done = false; rc == OK && !is_done;) {
        const struct store_record *record = NULL;
        struct event ev;
        rc = history_next(&h, &record, err);
        if (rc != OK || record == NULL)
            break;
        arena_reset(&a);
        bool is_of_interest = str_eq_c(record->e.type, "CreateInstance") || str_eq_c(record->e.type, "RouteDeployment");
        if (is_of_interest && event_decode(&record->e, &a, &ev, NULL) == OK)
            is_done = learn(r, &ev, &has_owner, &has_domain);
    }
    history_done(&h);
    return rc;
}

/* ---- planners ---- */

static enum err settle(struct what_if_run *r, const char *log, struct errinfo *err)
{
    const char *with = cli_text(r->c, "recorded-with"), *set = cli_text(r->c, "set");
    enum err rc = OK;
    platform_settings_init(&r->recorded);
    if (log == NULL) {
        r->recorded.installation = r->c->home.inst.name;
        r->recorded.app_domain = r->c->home.inst.app_domain;
    } else {
        rc = learn_names(r, err);
    }
    if (rc == OK && with != NULL)
        rc = what_if_settings_parse(with, &r->texts, &r->recorded, r->given, err);
    json_object_set_new(r->given, "installation", json_from_str(r->recorded.installation));
    json_object_set_new(r->given, "app_domain", json_from_str(r->recorded.app_domain));
    r->set = r->recorded;
    if (rc == OK && set != NULL)
        rc = what_if_settings_parse(set, &r->texts, &r->set, r->given, err);
    return rc;
}

static enum err choose(struct what_if_run *r, const char *log, struct errinfo *err)
{
    struct what_if_options o = {.model = r->m, .differs = on_differs, .fold = fold, .ctx = r};
    const char *program = cli_text(r->c, "planner");
    bool has_other = program != NULL || cli_text(r->c, "set") != NULL;
    what_if_own_init(&r->own, &r->recorded);
    what_if_own_init(&r->other, &r->set);
    o.candidate = what_if_own_planner(has_other ? &r->other : &r->own);
    if (has_other)
        o.reference = what_if_own_planner(&r->own);
    if (program != NULL) {
        char own[LOG_SPEC_SIZE];
        auto_free char *spec =
            log != NULL ? eventlog_spec(log) : mem_strdup(log_spec(&r->c->home, LOG_AS_REPLICA, own));
        (void)signal(SIGPIPE, SIG_IGN); /* one that ends is an answer that does not come */
        enum err rc = asked_planner_open(program, spec, r->given, &r->asked, &r->build, err);
        if (rc != OK)
            return rc;
        o.candidate = asked_planner(r->asked);
    }
    r->what_if = what_if_new(&o);
    return OK;
}

/* ---- saying it ---- */

static uint64_t differences_n(const struct what_if_counts *n)
{
    return n->changes[WHAT_IF_OTHER] + n->changes[WHAT_IF_NOT] + n->changes[WHAT_IF_ALSO] + n->changes[WHAT_IF_EARLIER];
}

static json_t *summary(struct what_if_run *r)
{
    const struct what_if_counts *n = what_if_counts(r->what_if);
    json_t *doc = json_object(), *changes = json_object(), *counts = json_array(), *row = NULL;
    const char *key = NULL;
    for (int i = 0; i < WHAT_IF_CHANGE_MAX_; i++)
        json_object_set_new(changes, what_if_change_name((enum what_if_change)i),
                            json_integer((json_int_t)n->changes[i]));
    json_object_foreach(r->counts, key, row) json_array_append(counts, row);
    json_object_set_new(doc, "same", json_boolean(differences_n(n) == 0));
    json_object_set_new(doc, "events", json_integer((json_int_t)r->m->seq));
    json_object_set_new(doc, "plans", json_integer((json_int_t)n->plans));
    json_object_set_new(doc, "decisions", json_integer((json_int_t)n->decided));
    json_object_set_new(doc, "unexplained", json_integer((json_int_t)n->unmatched));
    json_object_set_new(doc, "planner", json_string(r->build != NULL ? r->build : SLIPFORM_VERSION));
    json_object_set(doc, "figures", r->given);
    json_object_set_new(doc, "changes", changes);
    json_object_set_new(doc, "counts", counts);
    json_object_set(doc, "differences", r->rows);
    json_object_set_new(doc, "differences_left_out", json_integer((json_int_t)r->left_out));
    return doc;
}

static void say_one(const json_t *row)
{
    auto_free char *position = table_cell(row, "position"), *time = table_cell(row, "time"),
                   *rule = table_cell(row, "rule"), *recorded = table_cell(row, "recorded"),
                   *instead = table_cell(row, "instead");
    struct str change = json_member_str(row, "change");
    (void)printf("after event %s, at %s, by rule '%s':\n", position, time, rule);
    if (str_eq_c(change, "earlier"))
        (void)printf("    recorded  nothing\n    instead   %s\n", instead);
    else if (str_eq_c(change, "also"))
        (void)printf("    recorded  -\n    also      %s\n", instead);
    else if (str_eq_c(change, "not"))
        (void)printf("    recorded  %s\n    instead   -\n", recorded);
    else
        (void)printf("    recorded  %s\n    instead   %s\n", recorded, instead);
}

static void say(struct what_if_run *r, const json_t *doc)
{
    static const struct column COLUMNS[] = {{"CHANGE", "change", COLUMN_TEXT},
                                            {"KIND", "kind", COLUMN_TEXT},
                                            {"RULE", "rule", COLUMN_TEXT},
                                            {"COUNT", "n", COLUMN_TEXT},
                                            {0}};
    const struct what_if_counts *n = what_if_counts(r->what_if);
    size_t i = 0;
    json_t *row = NULL;
    json_array_foreach(r->rows, i, row) say_one(row);
    if (r->left_out > 0)
        (void)printf("… and %llu more (--limit)\n", (unsigned long long)r->left_out);
    if (json_object_size(r->counts) > 0) {
        (void)putchar('\n');
        table_print(json_object_get(doc, "counts"), COLUMNS);
        (void)putchar('\n');
    }
    (void)printf("%llu events, %llu plans with %llu decisions: ", (unsigned long long)r->m->seq,
                 (unsigned long long)n->plans, (unsigned long long)n->decided);
    if (n->plans == 0)
        (void)puts("no decision of this log says when it was made, so none can be made again");
    else if (differences_n(n) == 0)
        (void)puts("no difference");
    else
        (void)printf("%llu difference%s\n", (unsigned long long)differences_n(n), differences_n(n) == 1 ? "" : "s");
}

static int finish(struct what_if_run *r)
{
    auto_json json_t *doc = summary(r);
    if (r->c->json) {
        auto_free char *text = json_format(doc);
        (void)puts(text);
    } else {
        say(r, doc);
    }
    return differences_n(what_if_counts(r->what_if)) == 0 ? 0 : 1;
}

static void done(struct what_if_run *r)
{
    what_if_free(r->what_if);
    asked_planner_close(r->asked);
    if (r->own.state != NULL)
        what_if_own_done(&r->own);
    if (r->other.state != NULL)
        what_if_own_done(&r->other);
    history_done(&r->history);
    store_close(r->history.store);
    model_free(r->m);
    arena_done(&r->texts);
    json_decref(r->given);
    json_decref(r->rows);
    json_decref(r->counts);
}

int verb_what_if(struct cli *c)
{
    struct errinfo err = {0};
    const char *log = c->args_n > 0 ? c->args[0] : NULL;
    if (log == NULL && c->home.inst.name.len == 0)
        return cli_failf(c, ERR_NOT_FOUND, "there is no installation in '%s': name a LOG", c->home.path);
    char own_log[LOG_SPEC_SIZE];
    log_spec(&c->home, LOG_AS_REPLICA, own_log);
    if (cli_flag(c, "answer"))
        return what_if_answer(c, log != NULL ? log : own_log);
    struct what_if_run r = {.c = c,
                            .m = model_new(),
                            .given = json_object(),
                            .rows = json_array(),
                            .counts = json_object(),
                            .rows_max = (uint64_t)cli_count(c, "limit", 100)};
    enum err rc = eventlog_open(log != NULL ? log : own_log, STORE_READ, &r.history.store, &err);
    if (rc == OK)
        rc = settle(&r, log, &err);
    bool is_usage = rc == ERR_INVALID;
    if (rc == OK)
        rc = choose(&r, log, &err);
    if (rc == OK)
        rc = read_all(&r, &err);
    int code = rc == OK ? finish(&r) : cli_fail(c, &err);
    code = is_usage ? 2 : code;
    done(&r);
    return code;
}
