/* slipform eventlog …: logs on disk, without the control plane. Here: which one is meant, verify, hash. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/own.h"
#include "bootstrap/fold_record.h"
#include "cli/eventlog.h"
#include "event/hash.h"

const struct flag EVENTLOG_FLAGS[] = {
    {"from", FLAG_COUNT, "N", "cat: from record N on"},
    {"to", FLAG_TEXT, "N|LOG", "cat, export: up to record N; import: the log to import into"},
    {"type", FLAG_TEXT, "NAME", "cat: only events of this kind"},
    {"follow", FLAG_BOOL, "", "cat: go on with what comes"},
    {"after", FLAG_COUNT, "N", "copy: begin behind record N, into an empty log"},
    {"keep-id", FLAG_BOOL, "", "copy: a new LOG is the same log (a backup that is restored)"},
    {"keys", FLAG_BOOL, "",
     "copy: the keys of sealed values, too (wrapped); without them nobody opens those in the copy"},
    {"at", FLAG_COUNT, "N", "hash: of the model after record N"},
    {"every", FLAG_COUNT, "N", "replay: hash the model after every Nth record (1000)"},
    {"trace", FLAG_TEXT, "FILE", "replay: write the hashes, for another build to compare; '-': standard output"},
    {"against", FLAG_TEXT, "FILE", "replay: compare with the hashes that another build wrote, by the same --every"},
    {"skip-bad", FLAG_BOOL, "", "import: leave bad lines out, and say which"},
    {"any-kind", FLAG_BOOL, "", "import: kinds that the platform does not know, too"},
    {"reason", FLAG_TEXT, "TEXT", "set-aside: why; stays in the log for ever"},
    {"unchecked", FLAG_BOOL, "", "set-aside: a log that is not the platform's"},
    {0},
};
const char EVENTLOG_DETAILS[] =
    "  eventlog verify LOG            read all of it, check every sum; says the first bad record\n"
    "  eventlog cat LOG               its records, one a line\n"
    "  eventlog create LOG            an empty log, and what its store needs: tables, rights; one that is there stays\n"
    "  eventlog copy LOG LOG          copy from one store to another; again: goes on where it ended; --keys: with "
    "what\n"
    "                                 opens its sealed values\n"
    "  eventlog export LOG FILE       one JSONL file of all of it; '-': standard output\n"
    "  eventlog import FILE --to LOG  a JSONL file of this model, also one that others wrote, into a new log\n"
    "  eventlog hash LOG              hash of the platform's model that it folds to\n"
    "  eventlog replay LOG            fold it twice: is it the same model after each record, and if not, from where "
    "on?\n"
    "  eventlog set-aside LOG SEQ --reason TEXT\n"
    "                                 no fold takes record SEQ any more: the way out when the platform stalls at it\n"
    "\nLOG is a folder, a JSONL file (read only), or a store like 'files;path=DIR' or "
    "'postgres;host=…;log=NAME'.\n";

char *eventlog_spec(const char *text)
{
    struct stat st;
    if (strstr(text, ";path=") != NULL || strstr(text, ";name=") != NULL || strncmp(text, "postgres;", 9) == 0 ||
        strncmp(text, "jetstream;", 10) == 0)
        return mem_strdup(text);
    bool is_file = stat(text, &st) == 0 ? S_ISREG(st.st_mode) : str_ends(str_from(text), STR(".jsonl"));
    return mem_printf("%s;path=%s", is_file ? "jsonl" : "files", text);
}

enum err eventlog_open(const char *text, enum store_mode mode, struct store **ret, struct errinfo *err)
{
    auto_free char *spec = eventlog_spec(text);
    return store_open(spec, &(struct store_options){.mode = mode}, ret, NULL, err);
}

void eventlog_add_json(struct buf *out, const struct store *s, const struct store_record *r)
{
    char time[EVENT_TIME_TEXT_SIZE], id[ID_TEXT_SIZE];
    event_time_format(r->e.time, time);
    id_format(r->e.id, id);
    buf_add_c(out, "{\"log\":");
    buf_add_json_string(out, str_from(store_name(s)));
    buf_addf(out, ",\"seq\":%llu,\"time\":\"%s\",\"type\":", (unsigned long long)r->seq, time);
    buf_add_json_string(out, r->e.type);
    buf_addf(out, ",\"id\":\"%s\",\"payload\":", id_is_none(r->e.id) ? "" : id);
    buf_add_str(out, r->e.payload);
    buf_add_char(out, '}');
}

/* ---- verify ---- */

static json_t *verdict_json(const struct store_verdict *v)
{
    json_t *doc = json_object(), *bad = v->ok ? json_null() : json_object();
    json_object_set_new(doc, "ok", json_boolean(v->ok));
    json_object_set_new(doc, "events", json_integer((json_int_t)v->events));
    json_object_set_new(doc, "unverified", json_integer((json_int_t)v->unverified));
    if (!v->ok) {
        json_object_set_new(bad, "seq", json_integer((json_int_t)v->first_bad.seq));
        json_object_set_new(bad, "file", json_from_str(str_from(v->first_bad.file)));
        json_object_set_new(bad, "offset", json_integer((json_int_t)v->first_bad.offset));
        json_object_set_new(bad, "cause", json_from_str(str_from(v->first_bad.cause)));
    }
    json_object_set_new(doc, "first_bad", bad);
    return doc;
}

static int verify(struct cli *c, const char *path)
{
    struct store_verdict v = {0};
    struct errinfo err;
    if (store_verify(path, &v, &err) != OK)
        return cli_fail(c, &err);
    if (c->json) {
        auto_json json_t *doc = verdict_json(&v);
        auto_free char *text = json_format(doc);
        (void)puts(text);
    } else if (v.ok) {
        (void)printf("%llu events, all good\n", (unsigned long long)v.events);
    } else {
        (void)printf("%llu events are good; event %llu at byte %llu of '%s' is damaged: %s\n",
                     (unsigned long long)v.events, (unsigned long long)v.first_bad.seq,
                     (unsigned long long)v.first_bad.offset, v.first_bad.file, v.first_bad.cause);
    }
    return v.ok ? 0 : 1;
}

/* ---- create ---- */

static int create(struct cli *c, const char *log)
{
    struct store *s = NULL;
    struct store_pos end = {0};
    struct errinfo err = {0};
    enum err rc = eventlog_open(log, STORE_CREATE, &s, &err);
    if (rc == OK)
        rc = store_end(s, &end, &err);
    char id[ID_TEXT_SIZE] = "";
    if (rc == OK)
        id_format(store_log_id(s), id);
    store_close(s);
    if (rc != OK)
        return cli_fail(c, &err);
    (void)printf(c->json ? "{\"log\":\"%s\",\"events\":%llu}\n" : "log %s is there, with %llu events\n", id,
                 (unsigned long long)end.seq);
    return 0;
}

/* ---- hash ---- */

enum err eventlog_fold(struct store *s, struct model *m, uint64_t until, struct errinfo *err)
{
    for (;;) {
        AUTO(store_batch) struct store_batch batch = {0};
        enum err rc = store_read(s, m->seq, 1000, ENVELOPE_BATCH_SIZE_MAX, &batch, err);
        if (rc != OK || batch.n == 0)
            return rc;
        for (size_t i = 0; i < batch.n; i++) {
            const struct store_record *r = &batch.items[i];
            if (until > 0 && r->seq > until)
                return OK;
            rc = fold_record(s, m, r, err);
            if (rc != OK)
                return err_wrap(err, rc, "event %llu of log '%s'", (unsigned long long)r->seq, store_name(s));
        }
    }
}

static int hash(struct cli *c, const char *log)
{
    struct store *s = NULL;
    struct errinfo err = {0};
    int64_t at = cli_count(c, "at", 0);
    enum err rc = eventlog_open(log, STORE_READ, &s, &err);
    struct model *m = model_new();
    if (rc == OK)
        rc = eventlog_fold(s, m, (uint64_t)at, &err);
    if (rc == OK && m->seq < (uint64_t)at)
        rc = err_set(&err, ERR_NOT_FOUND, "log '%s' ends at %llu, before %lld", log, (unsigned long long)m->seq,
                     (long long)at);
    store_close(s);
    if (rc == OK) {
        uint8_t digest[HASH_SIZE];
        char text[HASH_TEXT_SIZE];
        model_hash(m, digest);
        hex_format(digest, sizeof(digest), text);
        (void)printf(c->json ? "{\"seq\":%llu,\"model_hash\":\"%s\"}\n" : "%llu %s\n", (unsigned long long)m->seq,
                     text);
    }
    model_free(m);
    return rc == OK ? 0 : cli_fail(c, &err);
}

/* ---- which ---- */

int verb_eventlog(struct cli *c)
{
    const char *verb = c->args[0], *log = c->args[1], *more = c->args_n > 2 ? c->args[2] : NULL;
    static const struct {
        const char *name;
        int args_n;
    } VERBS[] = {{"verify", 2}, {"hash", 2},   {"cat", 2},    {"copy", 3},     {"create", 2},
                 {"export", 3}, {"import", 2}, {"replay", 2}, {"set-aside", 3}};
    int wanted = 0;
    for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++)
        if (strcmp(VERBS[i].name, verb) == 0)
            wanted = VERBS[i].args_n;
    if (wanted == 0 || c->args_n != wanted) {
        (void)cli_failf(c, ERR_INVALID,
                        wanted == 0 ? "'eventlog %s' is not known: --help lists what is"
                                    : "'eventlog %s' wants other arguments: --help tells which",
                        verb);
        return 2;
    }
    if (strcmp(verb, "verify") == 0)
        return verify(c, log);
    if (strcmp(verb, "hash") == 0)
        return hash(c, log);
    if (strcmp(verb, "cat") == 0)
        return eventlog_cat(c, log);
    if (strcmp(verb, "create") == 0)
        return create(c, log);
    if (strcmp(verb, "copy") == 0)
        return eventlog_copy(c, log, more);
    if (strcmp(verb, "export") == 0)
        return eventlog_export(c, log, more);
    if (strcmp(verb, "import") == 0)
        return eventlog_import(c, log);
    if (strcmp(verb, "replay") == 0)
        return eventlog_replay(c, log);
    return eventlog_set_aside(c, log, more);
}
