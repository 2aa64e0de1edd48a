/* The postgres store: the connection. Every wait is bounded, and ends soon after store_cancel.
 *
 * An answer counts only when the server is ready for the next question: it tells the result of a statement before the
 * transaction around it is committed. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "store/postgres.h"

/* How soon a cancelled call ends (chosen). */
enum { POLL_MS = 50 };
/* Statements end by the server's own bounds first, whose answer is known; this much later they are given up. */
enum { GRACE_MS = 2000 };

/* SQLSTATE of a write where nothing is written any more. */
#define READ_ONLY "25006"
#define CLOCK "slipform.clock_us()"
static const char *const STATEMENTS[PG_STMT_MAX_] = {
    [PG_APPEND] = "SELECT slipform.append($1::int4, $2::int8, $3::int8, $4::uuid[], $5::int8[], $6::text[], $7::int8, "
                  "$8::int8)",
    [PG_READ] = "SELECT * FROM slipform.read($1::int4, $2::int8, $3::int8, $4::int8)",
    [PG_END] = "SELECT seq, sum, instant_ns, tiebreak, " CLOCK " FROM slipform.heads WHERE log = $1::int4",
    [PG_FIND] = "SELECT seq FROM slipform.events WHERE log = $1::int4 AND id = $2::uuid AND seq > $3::int8 "
                "ORDER BY seq LIMIT 1",
    [PG_LEASE_PUT] =
        "INSERT INTO slipform.leases VALUES ($1::int4, $2::text, $3::int8, $4::bool, $5::bool, $6::int8, $7::text) "
        "ON CONFLICT (log, name) DO UPDATE SET until_us = excluded.until_us, "
        "abstains = excluded.abstains, plans = excluded.plans, format = excluded.format, told = excluded.told",
    [PG_LEASE_DROP] = "DELETE FROM slipform.leases WHERE log = $1::int4 AND name = $2::text",
    [PG_LEASE_LIST] = "SELECT name, until_us, abstains::int4::int8, plans::int4::int8, format, told, " CLOCK
                      " FROM slipform.leases WHERE log = $1::int4 ORDER BY until_us DESC LIMIT $2::int8",
    [PG_KEY_NEW] = "INSERT INTO slipform.keys VALUES ($1::int4, $2::text, $3::text, $4::int8) "
                   "ON CONFLICT (log, name) DO NOTHING RETURNING 1::int8",
    [PG_KEY_REPLACE] = "UPDATE slipform.keys SET wrapped = $3::text, written_us = $4::int8 "
                       "WHERE log = $1::int4 AND name = $2::text AND wrapped = $5::text RETURNING 1::int8",
    [PG_KEY_GET] = "SELECT name, wrapped, written_us FROM slipform.keys WHERE log = $1::int4 AND name = $2::text",
    [PG_KEY_DROP] = "DELETE FROM slipform.keys WHERE log = $1::int4 AND name = $2::text",
    [PG_KEY_LIST] = "SELECT name, wrapped, written_us FROM slipform.keys WHERE log = $1::int4 AND name > $2::text "
                    "ORDER BY name LIMIT $3::int8",
    [PG_BULK_PUT] = "SELECT slipform.bulk_put($1::text, $2::int8, $3::int8, $4::text, $5::int8)",
    [PG_BULK_END] = "SELECT slipform.bulk_end($1::text)",
    [PG_BULK_READ] = "SELECT * FROM slipform.bulk_read($1::text, $2::int8, $3::int8)",
    [PG_BULK_TAIL] = "SELECT slipform.bulk_tail($1::text, $2::int8)",
    [PG_BULK_DROP] = "SELECT slipform.bulk_drop($1::text)",
    [PG_BULK_IDLE] = "SELECT * FROM slipform.bulk_idle($1::int8, $2::text, $3::int8)",
    [PG_BULK_SWEEP] = "SELECT slipform.bulk_sweep($1::int8, $2::int8, $3::int8, $4::int8, $5::int8)",
};

int64_t pg_i64(const PGresult *r, int row, int column)
{
    uint64_t v = 0;
    const unsigned char *bytes = (const unsigned char *)PQgetvalue(r, row, column);
    for (int i = 0; i < PQgetlength(r, row, column) && i < 8; i++)
        v = v << 8 | bytes[i];
    return (int64_t)v;
}

void pg_one_line(const char *text, char *ret, size_t size)
{
    size_t n = 0;
    for (; *text != '\0' && n + 1 < size; text++) {
        if (*text != '\n' && *text != '\t')
            ret[n++] = *text;
        else if (text[1] != '\0' && n > 0 && ret[n - 1] != ' ')
            ret[n++] = ' ';
    }
    ret[n] = '\0';
}

void pg_disconnect(struct postgres *p)
{
    PQfinish(p->conn); /* NULL is fine */
    p->conn = NULL;
    p->is_held = false;
    memset(p->is_prepared, 0, sizeof(p->is_prepared));
}

static enum err wait_for(const struct store *s, const struct postgres *p, short events, int64_t until_us,
                         struct errinfo *err)
{
    for (;;) {
        int64_t left_ms = (until_us - clock_mono_us()) / 1000;
        if (atomic_load(&s->is_cancelled))
            return err_set(err, ERR_CANCELLED, "log '%s': asked to stop", s->name);
        if (left_ms <= 0)
            return err_set(err, ERR_UNAVAILABLE, "log '%s': the database did not answer in time", s->name);
        struct pollfd fd = {.fd = PQsocket(p->conn), .events = events};
        int n = poll(&fd, 1, left_ms < POLL_MS ? (int)left_ms : POLL_MS);
        if (n > 0)
            return OK;
        if (n < 0 && errno != EINTR)
            return err_set_os(err, ERR_UNAVAILABLE, errno, "log '%s': wait for the database", s->name);
    }
}

static enum err lost_err(const struct store *s, const struct postgres *p, struct errinfo *err)
{
    char text[320];
    pg_one_line(PQerrorMessage(p->conn), text, sizeof(text));
    return err_set(err, ERR_UNAVAILABLE, "log '%s': the connection to the database was lost: %s", s->name, text);
}

/* ---- questions ---- */

/* By the classes of SQLSTATE (PostgreSQL's documentation, appendix A). */
static enum err code_of(const char *state)
{
    static const struct {
        const char *prefix;
        enum err code;
    } CODES[] = {{"40", ERR_CONFLICT},    /* serialisation failure, deadlock: the read was overtaken */
                 {"42501", ERR_DENIED},   /* insufficient privilege */
                 {"28", ERR_DENIED},      /* authorisation */
                 {"XX001", ERR_CORRUPT},  /* data corrupted */
                 {"XX002", ERR_CORRUPT}}; /* index corrupted */
    for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++)
        if (strncmp(state, CODES[i].prefix, strlen(CODES[i].prefix)) == 0)
            return CODES[i].code;
    return ERR_UNAVAILABLE;
}

static enum err refused_err(const struct store *s, const PGresult *r, struct errinfo *err)
{
    char text[320];
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE), *say = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    pg_one_line(say != NULL ? say : PQresultErrorMessage(r), text, sizeof(text));
    if (state != NULL && strcmp(state, "55P03") == 0)
        return err_set(err, ERR_UNAVAILABLE, "log '%s' was held by somebody else for too long: %s", s->name, text);
    return err_set(err, state == NULL ? ERR_UNAVAILABLE : code_of(state), "log '%s': the database refuses: %s", s->name,
                   text);
}

static bool is_bad(const PGresult *r)
{
    ExecStatusType status = PQresultStatus(r);
    return status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY;
}

/* Take what has come. True: the server is ready for the next question. *kept: the first bad result, or the last. */
static bool take_results(struct postgres *p, PGresult **kept)
{
    while (PQisBusy(p->conn) == 0) {
        PGresult *r = PQgetResult(p->conn);
        if (r == NULL)
            return true;
        if (*kept != NULL && is_bad(*kept)) {
            PQclear(r);
        } else {
            PQclear(*kept);
            *kept = r;
        }
    }
    return false;
}

static enum err wait_answer(struct store *s, struct postgres *p, PGresult **kept, struct errinfo *err)
{
    int64_t until_us = clock_mono_us() + (int64_t)(p->lock_wait_ms + p->timeout_ms + GRACE_MS) * 1000;
    for (;;) {
        int flush = PQflush(p->conn);
        if (flush < 0)
            return lost_err(s, p, err);
        if (flush == 0 && take_results(p, kept))
            return OK;
        enum err rc = wait_for(s, p, flush > 0 ? POLLIN | POLLOUT : POLLIN, until_us, err);
        if (rc != OK)
            return rc;
        if (PQconsumeInput(p->conn) == 0)
            return lost_err(s, p, err);
    }
}

static enum pg_outcome finish(struct store *s, struct postgres *p, bool is_sent, PGresult **ret, struct errinfo *err)
{
    auto_result PGresult *kept = NULL;
    enum err rc = is_sent ? wait_answer(s, p, &kept, err) : lost_err(s, p, err);
    if (rc == OK && PQstatus(p->conn) != CONNECTION_OK)
        rc = lost_err(s, p, err);
    if (rc != OK) {
        pg_disconnect(p);
        return PG_LOST;
    }
    if (kept == NULL || is_bad(kept)) {
        const char *state = PQresultErrorField(kept, PG_DIAG_SQLSTATE);
        err_ignore(refused_err(s, kept, err));
        if (state != NULL && strcmp(state, READ_ONLY) == 0)
            pg_disconnect(p); /* another server may have taken over */
        return PG_REFUSED;
    }
    if (ret != NULL)
        *ret = TAKE(kept);
    return PG_ANSWERED;
}

enum pg_outcome pg_ask(struct store *s, enum pg_stmt stmt, const struct pg_params *params, PGresult **ret,
                       struct errinfo *err)
{
    struct postgres *p = s->impl;
    char name[16];
    (void)snprintf(name, sizeof(name), "s%d", (int)stmt);
    p->is_warned = false;
    if (!p->is_prepared[stmt]) {
        enum pg_outcome o = finish(s, p, PQsendPrepare(p->conn, name, STATEMENTS[stmt], 0, NULL) == 1, NULL, err);
        if (o != PG_ANSWERED)
            return o;
        p->is_prepared[stmt] = true;
    }
    bool is_sent = PQsendQueryPrepared(p->conn, name, params->n, params->values, params->sizes, params->is_binary, 1);
    return finish(s, p, is_sent, ret, err);
}

enum err pg_call(struct store *s, enum pg_stmt stmt, int n, const char *const *values, PGresult **ret,
                 struct errinfo *err)
{
    struct errinfo why = {0};
    enum err rc = pg_ready(s, err);
    if (rc != OK)
        return rc;
    if (pg_ask(s, stmt, &(struct pg_params){.n = n, .values = values}, ret, &why) == PG_ANSWERED)
        return OK;
    return err_set(err, why.code, "%s", why.msg);
}

enum pg_outcome pg_ask_sql(struct store *s, struct postgres *p, const char *sql, PGresult **ret, struct errinfo *err)
{
    p->is_warned = false;
    return finish(s, p, PQsendQuery(p->conn, sql) == 1, ret, err);
}

enum err pg_query(struct store *s, struct postgres *p, const char *sql, const struct pg_params *params, PGresult **ret,
                  struct errinfo *err)
{
    struct errinfo why = {0};
    bool is_sent = params == NULL ? PQsendQuery(p->conn, sql)
                                  : PQsendQueryParams(p->conn, sql, params->n, NULL, params->values, NULL, NULL, 0);
    if (finish(s, p, is_sent, ret, &why) == PG_ANSWERED)
        return OK;
    return err_set(err, why.code, "%s", why.msg);
}

/* ---- connecting ---- */

static enum err start_session(struct store *s, struct postgres *p, const struct pg_seen *seen, struct errinfo *err)
{
    p->pid = seen->pid;
    p->since_us = seen->since_us;
    /* A holder that stands still loses its hold when others stop waiting for it. Who has gone is noticed. */
    auto_free char *sql = mem_printf(
        "SET search_path = pg_catalog, pg_temp; SET default_transaction_isolation = 'read committed'; "
        "SET synchronous_commit = '%s'; SET lock_timeout = %" PRIu64 "; SET statement_timeout = %" PRIu64 "; "
        "SET idle_in_transaction_session_timeout = %" PRIu64 "; SET client_connection_check_interval = 1000; "
        "SET client_min_messages = warning",
        seen->commit, p->lock_wait_ms, p->lock_wait_ms + p->timeout_ms, p->lock_wait_ms);
    return pg_query(s, p, sql, NULL, NULL, err);
}

/* What is found now was perhaps committed here and is on no standby yet: the wait for one was cut short, or the server
 * went down in it. A commit of now is acknowledged behind it. */
static enum err check_kept(struct store *s, struct postgres *p, struct errinfo *err)
{
    enum err rc = pg_query(s, p, "SELECT pg_logical_emit_message(true, 'slipform', '')", NULL, NULL, err);
    if (rc == OK && p->is_warned)
        return err_set(err, ERR_UNAVAILABLE, "log '%s': the database cannot keep what it wrote: it waits for a standby",
                       s->name);
    return rc;
}

/* Nothing that was asked before may still happen after what is asked now: end the process that had the lost question.
 * Its pid alone could be another's by now, or be one of another server. */
static enum err settle(struct store *s, struct postgres *p, struct errinfo *err)
{
    if (s->unsettled_pid == 0)
        return OK;
    char pid[24], since[24], wait[24];
    (void)snprintf(pid, sizeof(pid), "%" PRId64, s->unsettled_pid);
    (void)snprintf(since, sizeof(since), "%" PRId64, s->unsettled_since_us);
    (void)snprintf(wait, sizeof(wait), "%" PRIu64, p->lock_wait_ms);
    auto_result PGresult *r = NULL;
    enum err rc = pg_query(s, p,
                           "SELECT pg_terminate_backend(pid, $3::int8) FROM pg_catalog.pg_stat_get_activity($1::int4) "
                           "WHERE (extract(epoch FROM backend_start) * 1000000)::bigint = $2::int8",
                           &(struct pg_params){.n = 3, .values = (const char *const[]){pid, since, wait}}, &r, err);
    if (rc == OK && PQntuples(r) > 0 && strcmp(PQgetvalue(r, 0, 0), "t") != 0)
        rc = err_set(err, ERR_UNAVAILABLE, "log '%s': the database is still at work on an older question", s->name);
    if (rc == OK)
        rc = check_kept(s, p, err);
    if (rc == OK)
        s->unsettled_pid = 0;
    return rc;
}

enum err pg_connect(struct store *s, struct postgres *p, struct errinfo *err)
{
    struct pg_seen seen;
    enum err rc = pg_dial(s, p, &seen, err);
    if (rc == OK)
        rc = start_session(s, p, &seen, err);
    if (rc == OK)
        rc = settle(s, p, err);
    if (rc != OK)
        pg_disconnect(p);
    return rc;
}

/* The server says so by itself, with any answer. It is to be written no more: nothing is decided on it. */
static bool is_read_only(const struct postgres *p)
{
    const char *standby = PQparameterStatus(p->conn, "in_hot_standby");
    const char *read_only = PQparameterStatus(p->conn, "default_transaction_read_only");
    return (standby != NULL && strcmp(standby, "on") == 0) || (read_only != NULL && strcmp(read_only, "on") == 0);
}

enum err pg_ready(struct store *s, struct errinfo *err)
{
    struct postgres *p = s->impl;
    if (p->is_failed)
        return err_set(err, ERR_IO, "log '%s' failed before, it must be opened anew", s->name);
    if (atomic_load(&s->is_cancelled))
        return err_set(err, ERR_CANCELLED, "log '%s': asked to stop", s->name);
    if (p->conn != NULL && is_read_only(p))
        pg_disconnect(p);
    if (p->conn != NULL)
        return OK;
    enum err rc = pg_connect(s, p, err);
    return rc == OK ? pg_log_check(s, p, err) : rc;
}
