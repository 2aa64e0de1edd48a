/* slipform eventlog copy, set-aside: what is written to a log by hand. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "base/random.h"
#include "cli/eventlog.h"
#include "platform/decide.h"

/* ---- copy ---- */

static enum err place_by_hand(struct store *from, uint64_t after, struct store_pos *ret, struct errinfo *err)
{
    AUTO(store_batch) struct store_batch b = {0};
    enum err rc = store_read(from, after, 1, 0, &b, err);
    *ret = b.after;
    return rc;
}

/* Where to go on: behind what `to` holds, or where the user says. */
static enum err find_place(struct cli *c, struct store *from, struct store *to, struct store_pos *ret,
                           struct errinfo *err)
{
    struct store_pos end;
    enum err rc = store_end(to, &end, err);
    if (rc == OK && end.seq == 0 && cli_text(c, "after") != NULL)
        return place_by_hand(from, (uint64_t)cli_count(c, "after", 0), ret, err);
    if (rc == OK)
        rc = store_copy_place(from, to, ret, err);
    return rc;
}

int eventlog_copy(struct cli *c, const char *from_text, const char *to_text)
{
    struct store *from = NULL, *to = NULL;
    struct errinfo err = {0};
    struct store_pos after = {0};
    struct store_copied copied = {0};
    uint64_t keys = 0;
    auto_free char *to_spec = eventlog_spec(to_text);
    enum err rc = eventlog_open(from_text, STORE_READ, &from, &err);
    struct store_options o = {.mode = STORE_CREATE};
    if (rc == OK && cli_flag(c, "keep-id"))
        o.log = store_log_id(from);
    if (rc == OK)
        rc = store_open(to_spec, &o, &to, NULL, &err);
    if (rc == OK)
        rc = find_place(c, from, to, &after, &err);
    if (rc == OK)
        rc = store_copy(from, after, to, &copied, &err);
    if (rc == OK && cli_flag(c, "keys"))
        rc = store_copy_keys(from, to, &keys, &err);
    store_close(from);
    store_close(to);
    if (rc != OK && copied.records > 0)
        cli_say(c, "%llu events were copied, up to %llu: the same command goes on from there",
                (unsigned long long)copied.records, (unsigned long long)copied.from_at.seq);
    if (rc != OK)
        return cli_fail(c, &err);
    (void)printf(c->json ? "{\"copied\":%llu,\"from_seq\":%llu,\"to_seq\":%llu"
                         : "%llu events copied, up to %llu; the copy ends at %llu",
                 (unsigned long long)copied.records, (unsigned long long)copied.from_at.seq,
                 (unsigned long long)copied.to_at.seq);
    if (cli_flag(c, "keys"))
        (void)printf(c->json ? ",\"keys\":%llu" : ", with %llu keys", (unsigned long long)keys);
    (void)puts(c->json ? "}" : "");
    return 0;
}

/* ---- set-aside ---- */

/* The fold of this version refuses the record, and no SetAside names it yet. */
static enum err check_refused(struct store *s, uint64_t seq, struct errinfo *err)
{
    struct model *m = model_new();
    struct errinfo why = {0};
    enum err rc = eventlog_fold(s, m, seq, &why);
    uint64_t refused = rc == ERR_CORRUPT && store_damage(s) == NULL ? m->seq + 1 : 0;
    model_free(m);
    if (refused == seq)
        return OK;
    if (refused != 0)
        return err_set(err, ERR_CONFLICT, "the fold stops at an earlier record: %s", why.msg);
    if (rc != OK)
        return err_set(err, rc, "%s", why.msg);
    return err_set(
        err, ERR_CONFLICT,
        "record %llu of log '%s' is folded, or set aside already: only a record that the fold refuses is set "
        "aside",
        (unsigned long long)seq, store_name(s));
}

static enum err check_there(struct store *s, uint64_t seq, struct errinfo *err)
{
    struct store_pos end;
    enum err rc = store_end(s, &end, err);
    if (rc == OK && (seq == 0 || seq > end.seq))
        rc = err_set(err, ERR_NOT_FOUND, "log '%s' ends at %llu: it has no record %llu", store_name(s),
                     (unsigned long long)end.seq, (unsigned long long)seq);
    return rc;
}

static const char *user_name(void)
{
    const char *name = getenv("SUDO_USER");
    if (name == NULL || name[0] == '\0')
        name = getenv("USER");
    return name != NULL && name[0] != '\0' ? name : "operator";
}

static enum err append_set_aside(struct store *s, uint64_t seq, const char *reason, struct store_record *ret,
                                 struct errinfo *err)
{
    enum { ATTEMPTS = 100 }; /* others append meanwhile; they change nothing about the record */
    struct event ev = {
        .kind = EVENT_SET_ASIDE,
        .set_aside = {.seq = (int64_t)seq, .reason = str_from(reason), .requested_by = str_from(user_name())}};
    AUTO(buf) struct buf payload = {0};
    event_encode_payload(&ev, &payload);
    struct store_event e = {.type = str_from(event_kind_row(ev.kind)->name), .payload = buf_str(&payload)};
    random_bytes(&e.id, sizeof(e.id));
    enum err rc = ERR_CONFLICT;
    for (int i = 0; i < ATTEMPTS && rc == ERR_CONFLICT; i++) {
        struct store_pos end;
        rc = store_end(s, &end, err);
        if (rc == OK)
            rc = store_append(s, end, &e, 1, ret, err);
    }
    return rc;
}

int eventlog_set_aside(struct cli *c, const char *log, const char *seq_text)
{
    struct store *s = NULL;
    struct errinfo err = {0};
    struct store_record written = {0};
    uint64_t seq = 0;
    const char *reason = cli_text(c, "reason");
    if (!str_parse_u64(str_from(seq_text), INT64_MAX, &seq) || seq == 0 || reason == NULL ||
        str_is_empty(str_trim(str_from(reason))) || strlen(reason) > DECIDE_CAUSE_MAX) {
        (void)cli_failf(c, ERR_INVALID,
                        "'eventlog set-aside LOG SEQ' needs the number of a record and '--reason TEXT' of at most %u "
                        "bytes",
                        DECIDE_CAUSE_MAX);
        return 2;
    }
    enum err rc = eventlog_open(log, STORE_APPEND, &s, &err);
    if (rc == OK)
        rc = check_there(s, seq, &err);
    if (rc == OK && !cli_flag(c, "unchecked"))
        rc = check_refused(s, seq, &err);
    if (rc == OK)
        rc = append_set_aside(s, seq, reason, &written, &err);
    store_close(s);
    if (rc != OK)
        return cli_fail(c, &err);
    (void)printf(c->json ? "{\"set_aside\":%llu,\"seq\":%llu}\n"
                         : "record %llu is set aside by record %llu: no fold takes it any more\n",
                 (unsigned long long)seq, (unsigned long long)written.seq);
    return 0;
}
