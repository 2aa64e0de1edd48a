/* The jetstream store: the stream that is a log, and the bucket of its leases: made, and checked. */
#include <stdio.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/random.h"
#include "store/jetstream.h"

enum { STREAM_NOT_FOUND = 10059, STREAM_NAME_IN_USE = 10058 };

static void note_clock(struct store *s, const json_t *doc, int64_t before_us)
{
    int64_t ns = 0, now_us = clock_mono_us();
    if (clock_parse_ns(json_member_str(doc, "ts"), &ns))
        atomic_store(&s->clock_offset_us, ns / 1000 - (before_us + (now_us - before_us) / 2));
}

enum err jet_stream_info(struct store *s, json_t **ret_doc, struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_free char *subject = mem_printf("$JS.API.STREAM.INFO.%s", j->stream);
    int code = 0;
    int64_t before_us = clock_mono_us();
    enum err rc = jet_api(s, subject, (struct str){NULL, 0}, ret_doc, &code, err);
    if (code == STREAM_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "there is no stream '%s' in NATS", j->stream);
    if (rc == OK)
        note_clock(s, *ret_doc, before_us);
    return rc;
}

/* ---- making ---- */

static json_t *wanted(const struct jet *j, struct id log)
{
    char id[ID_TEXT_SIZE];
    id_format(log, id);
    auto_free char *grown = mem_printf("slipform.grown.%s", j->stream);
    /* Whoever watches is told by the server after it has stored, by the headers only. */
    return json_pack("{s:s, s:[s], s:s, s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:b, s:b, s:b, s:{s:s, s:s, s:b}, "
                     "s:{s:s}, s:s}",
                     "name", j->stream, "subjects", j->subject, "retention", "limits", "storage", "file", "discard",
                     "new", "num_replicas", (json_int_t)j->replicas, "max_consumers", -1, "max_msgs", -1, "max_bytes",
                     -1, "max_age", 0, "max_msgs_per_subject", -1, "deny_delete", 1, "deny_purge", 1, "allow_direct", 1,
                     "republish", "src", j->subject, "dest", grown, "headers_only", 1, "metadata", "slipform-log", id,
                     "description", "an event log of slipform: never edit, purge or delete it");
}

static struct id choose_log(const struct store *s)
{
    uint8_t random[10];
    random_bytes(random, sizeof(random));
    return id_is_none(s->log_wanted) ? id_make(clock_wall_us() / 1000, random) : s->log_wanted;
}

static enum err make_stream(struct store *s, const char *name, const json_t *config, struct errinfo *err)
{
    auto_free char *subject = mem_printf("$JS.API.STREAM.CREATE.%s", name);
    auto_free char *text = json_format(config);
    auto_json json_t *doc = NULL;
    int code = 0;
    struct errinfo why = {0};
    enum err rc = jet_api(s, subject, str_from(text), &doc, &code, &why);
    if (rc == OK || code == STREAM_NAME_IN_USE) /* somebody made it at the same time: it is looked at next */
        return OK;
    if (err != NULL)
        *err = why;
    if (code == 10074 || code == 10005) /* not as many servers as replicas */
        return err_set(err, ERR_INVALID,
                       "stream '%s' cannot be kept by that many servers: start them, or name fewer "
                       "'replicas': %s",
                       name, why.msg);
    return rc;
}

/* ---- checking ---- */

static enum err wrong(const struct jet *j, const char *what, const char *mend, struct errinfo *err)
{
    return err_set(err, ERR_INVALID, "stream '%s' %s, so it keeps no log: %s", j->stream, what, mend);
}

static bool is_unlimited(const json_t *config, const char *key)
{
    return json_integer_value(json_object_get(config, key)) <= 0; /* the server has -1 for none, 0 for no age */
}

static enum err check_limits(const struct jet *j, const json_t *c, struct errinfo *err)
{
    static const struct {
        const char *key, *what;
    } LIMITS[] = {{"max_age", "drops what is old"},
                  {"max_msgs", "drops what is old, or is full one day"},
                  {"max_msgs_per_subject", "drops what is old, or is full one day"},
                  {"max_bytes", "drops what is old, or is full one day"}};
    for (size_t i = 0; i < sizeof(LIMITS) / sizeof(LIMITS[0]); i++) {
        auto_free char *what = mem_printf("%s (%s)", LIMITS[i].what, LIMITS[i].key);
        if (!is_unlimited(c, LIMITS[i].key))
            return wrong(j, what, "take that limit off with 'nats stream edit'", err);
    }
    if (!is_unlimited(c, "max_msg_size") &&
        json_integer_value(json_object_get(c, "max_msg_size")) < (json_int_t)JET_PAYLOAD_MIN)
        return wrong(j, "takes no large append (max_msg_size)", "'nats stream edit --max-msg-size=-1'", err);
    return OK;
}

/* What an acknowledgement means. (A window of duplicates is of no matter: no message of ours has an id.) */
static enum err check_acks(const struct jet *j, const json_t *c, struct errinfo *err)
{
    if (json_is_true(json_object_get(c, "sealed")))
        return wrong(j, "takes no appends any more (sealed)", "it must be made anew", err);
    if (json_is_true(json_object_get(c, "no_ack")))
        return wrong(j, "acknowledges nothing (no_ack)", "'nats stream edit --ack'", err);
    if (str_eq_c(json_member_str(c, "persist_mode"), "async"))
        return wrong(j, "acknowledges what is not on disk (persist_mode)", "it must be made anew, without 'async'",
                     err);
    return OK;
}

static enum err check_kept(const struct jet *j, const json_t *c, struct errinfo *err)
{
    if (!str_eq_c(json_member_str(c, "retention"), "limits"))
        return wrong(j, "drops what was read (retention)", "it must be made anew, with retention 'limits'", err);
    if (!str_eq_c(json_member_str(c, "discard"), "new"))
        return wrong(j, "drops what is old when it is full (discard)", "'nats stream edit --discard=new'", err);
    if (!str_eq_c(json_member_str(c, "storage"), "file"))
        return wrong(j, "is in memory (storage)", "it must be made anew, with storage 'file'", err);
    if (!json_is_true(json_object_get(c, "deny_delete")) || !json_is_true(json_object_get(c, "deny_purge")))
        return wrong(j, "lets messages be deleted (deny_delete, deny_purge)",
                     "'nats stream edit --deny-delete "
                     "--deny-purge'",
                     err);
    if (json_is_true(json_object_get(c, "allow_rollup_hdrs")) || json_is_true(json_object_get(c, "allow_msg_ttl")))
        return wrong(j, "lets messages take others away (allow_rollup_hdrs, allow_msg_ttl)", "it must be made anew",
                     err);
    if (!json_is_true(json_object_get(c, "allow_direct")))
        return wrong(j, "cannot be read in parts (allow_direct)", "'nats stream edit --allow-direct'", err);
    return OK;
}

static enum err check_config(const struct jet *j, const json_t *c, struct errinfo *err)
{
    const json_t *subjects = json_object_get(c, "subjects"), *only = json_array_get(subjects, 0);
    json_int_t replicas = json_integer_value(json_object_get(c, "num_replicas"));
    if (json_array_size(subjects) != 1 || !json_is_string(only) || strcmp(json_string_value(only), j->subject) != 0)
        return err_set(err, ERR_INVALID, "stream '%s' is of other subjects than '%s' alone: name its one by 'subject='",
                       j->stream, j->subject);
    if (json_is_object(json_object_get(c, "mirror")) || json_array_size(json_object_get(c, "sources")) > 0)
        return wrong(j, "is a copy of others (mirror, sources)", "name the stream that it is copied from", err);
    if (replicas < (json_int_t)j->replicas)
        return err_set(err, ERR_INVALID,
                       "stream '%s' is kept by %lld servers, wanted are %llu: 'nats stream edit --replicas=%llu', or "
                       "'replicas=%lld' in the store's name",
                       j->stream, (long long)replicas, (unsigned long long)j->replicas, (unsigned long long)j->replicas,
                       (long long)replicas);
    enum err rc = check_kept(j, c, err);
    if (rc == OK)
        rc = check_limits(j, c, err);
    return rc == OK ? check_acks(j, c, err) : rc;
}

enum err jet_stream_check(struct store *s, struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_json json_t *doc = NULL, *config = NULL;
    enum err rc = jet_stream_info(s, &doc, err);
    if (rc == ERR_NOT_FOUND && s->mode == STORE_CREATE) {
        config = wanted(j, choose_log(s));
        rc = make_stream(s, j->stream, config, err);
        json_decref(doc);
        doc = NULL;
        if (rc == OK)
            rc = jet_stream_info(s, &doc, err);
        if (rc == ERR_NOT_FOUND)
            rc = err_set(err, ERR_UNAVAILABLE, "stream '%s' is being made by another one just now", j->stream);
    }
    if (rc != OK)
        return rc;
    const json_t *c = json_object_get(doc, "config");
    if (!id_parse(json_member_str(json_object_get(c, "metadata"), "slipform-log"), &s->log))
        return err_set(err, ERR_INVALID, "stream '%s' was not made by slipform: its metadata has no 'slipform-log'",
                       j->stream);
    return check_config(j, c, err);
}

static enum err make_leases(struct store *s, struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_free char *name = mem_printf("KV_%s", j->bucket), *subjects = mem_printf("$KV.%s.>", j->bucket);
    auto_json json_t *config =
        json_pack("{s:s, s:[s], s:s, s:s, s:s, s:I, s:i, s:I, s:i, s:i, s:b, s:b, s:b}", "name", name, "subjects",
                  subjects, "retention", "limits", "storage", "file", "discard", "new", "num_replicas",
                  (json_int_t)j->replicas, "max_msgs_per_subject", 1, "max_age", (json_int_t)86400 * 1000000000,
                  "max_msgs", -1, "max_bytes", -1, "deny_delete", 1, "allow_direct", 1, "allow_rollup_hdrs", 1);
    return make_stream(s, name, config, err);
}

/* It may be there already, made or edited by somebody: what drops keys makes what they sealed unreadable. */
static enum err check_keys_bucket(struct store *s, const char *name, struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_free char *subject = mem_printf("$JS.API.STREAM.INFO.%s", name);
    auto_json json_t *doc = NULL;
    int code = 0;
    enum err rc = jet_api(s, subject, (struct str){NULL, 0}, &doc, &code, err);
    if (rc != OK)
        return rc;
    const json_t *c = json_object_get(doc, "config");
    json_int_t replicas = json_integer_value(json_object_get(c, "num_replicas"));
    const char *what = NULL;
    if (!is_unlimited(c, "max_age"))
        what = "drops keys by their age (max_age)";
    else if (!str_eq_c(json_member_str(c, "discard"), "new"))
        what = "drops keys when it is full (discard)";
    else if (!str_eq_c(json_member_str(c, "storage"), "file"))
        what = "is in memory (storage)";
    else if (json_is_true(json_object_get(c, "deny_delete")))
        what = "keeps keys that are dropped (deny_delete)";
    else if (replicas < (json_int_t)j->replicas)
        what = "is kept by fewer servers than the log (num_replicas)";
    if (what == NULL)
        return OK;
    return err_set(err, ERR_INVALID,
                   "stream '%s', where keys of sealed fields are, %s: mend it with 'nats stream edit', or make it anew "
                   "with 'nats stream backup' and 'restore'",
                   name, what);
}

/* One value a name, kept for ever; a message can be deleted, and its bytes are overwritten then. */
static enum err make_keys(struct store *s, struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_free char *name = mem_printf("KV_%s", j->keys), *subjects = mem_printf("$KV.%s.>", j->keys);
    auto_json json_t *config = json_pack(
        "{s:s, s:[s], s:s, s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:b, s:b, s:s}", "name", name, "subjects", subjects,
        "retention", "limits", "storage", "file", "discard", "new", "num_replicas", (json_int_t)j->replicas,
        "max_msgs_per_subject", 1, "max_age", 0, "max_msgs", -1, "max_bytes", -1, "deny_delete", 0, "allow_direct", 1,
        "description", "keys of sealed fields of slipform: without them nobody reads those again");
    enum err rc = make_stream(s, name, config, err);
    return rc == OK ? check_keys_bucket(s, name, err) : rc;
}

enum err jet_bucket_make(struct store *s, struct errinfo *err)
{
    enum err rc = make_leases(s, err);
    return rc == OK ? make_keys(s, err) : rc;
}
