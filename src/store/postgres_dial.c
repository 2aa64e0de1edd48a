/* The postgres store: which server.
 *
 * All hosts of a spec are dialled at once. One that answers is judged: a standby, or one whose word does not last, is
 * no server to decide on. Of several that take writes the one on the newest timeline has taken over from the others: a
 * promotion begins one. A handle remembers the newest that it met and goes back to none before it, so a primary that
 * comes back behind a promotion is not written to, whatever it believes itself. */
#include <assert.h>
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
/* client_connection_check_interval, SQL functions with bodies that are checked when they are made. */
enum { SERVER_VERSION_MIN = 140000 };

struct host {
    PGconn *conn; /* NULL: it failed */
    PostgresPollingStatusType next;
};

struct dial {
    struct host hosts[POSTGRES_HOSTS_MAX];
    size_t n;
    int64_t until_us;  /* the first good one came, and the others had their time; or all of it is over */
    struct buf faults; /* of those that failed, "; " in between */
    enum err fault;
};

static void dial_cleanup(struct dial *d)
{
    for (size_t i = 0; i < d->n; i++)
        PQfinish(d->hosts[i].conn);
    buf_done(&d->faults);
}

/* A warning is no notice: a commit that was not replicated is told so. */
static void on_notice(void *ctx, const PGresult *r)
{
    struct postgres *p = ctx;
    const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    p->is_warned = p->is_warned || (severity != NULL && strcmp(severity, "WARNING") == 0);
}

/* ---- the hosts of a spec ---- */

static size_t index_of(const struct pg_conninfo *c, const char *key)
{
    size_t i = 0;
    while (i < c->n && strcmp(c->keys[i], key) != 0)
        i++;
    return i;
}

/* Elements of a list; 0: there is none. */
static size_t count(const struct pg_conninfo *c, const char *key)
{
    size_t i = index_of(c, key), n = 1;
    if (i == c->n)
        return 0;
    for (const char *at = c->values[i]; *at != '\0'; at++)
        n += *at == ',';
    return n;
}

/* Element `at` of a list; the only one stands for each. */
static void choose(struct pg_conninfo *c, const char *key, size_t at)
{
    size_t i = index_of(c, key);
    if (count(c, key) < 2)
        return;
    struct str rest = str_from(c->values[i]), one = {NULL, 0};
    for (size_t k = 0; k <= at; k++) {
        one = (struct str){rest.ptr, strcspn(rest.ptr, ",")};
        rest.ptr += one.len + (rest.ptr[one.len] == ',');
    }
    c->values[i] = arena_str(&c->arena, one).ptr;
}

static enum err count_hosts(const struct pg_conninfo *c, size_t *ret, struct errinfo *err)
{
    size_t hosts = count(c, "host"), addresses = count(c, "hostaddr"), ports = count(c, "port");
    *ret = hosts > addresses ? hosts : addresses;
    *ret = *ret == 0 ? 1 : *ret;
    if ((hosts > 0 && addresses > 0 && hosts != addresses) || (ports > 1 && ports != *ret))
        return err_set(err, ERR_INVALID, "a postgres store with several hosts needs as many ports and addresses");
    if (*ret > POSTGRES_HOSTS_MAX)
        return err_set(err, ERR_INVALID, "a postgres store has at most %u hosts", POSTGRES_HOSTS_MAX);
    return OK;
}

/* ---- dialling ---- */

static void add_fault(struct dial *d, enum err code, const char *text)
{
    if (d->faults.len > 0)
        buf_add_c(&d->faults, "; ");
    buf_add_c(&d->faults, text);
    if (d->fault == OK || d->fault == ERR_UNAVAILABLE)
        d->fault = code;
}

/* What libpq leaves unsaid. */
static const char *hint_of(const char *text)
{
    static const struct {
        const char *said, *hint;
    } HINTS[] = {
        {"certificate verify failed", ": the server's certificate has expired, or is of another CA than 'sslrootcert'"},
        {"no password supplied", ": 'passfile' names a file (0600) with it, which the user of this program can read"},
        {"root certificate file", ": name the CA of the database by 'sslrootcert'"},
        {"server does not support SSL", ": a database is spoken to over a network by TLS only, set it up there"},
    };
    for (size_t i = 0; i < sizeof(HINTS) / sizeof(HINTS[0]); i++)
        if (strstr(text, HINTS[i].said) != NULL)
            return HINTS[i].hint;
    return "";
}

static void give_up(struct dial *d, struct host *h)
{
    char text[320];
    bool is_login =
        h->conn != NULL && (PQconnectionNeedsPassword(h->conn) == 1 || PQconnectionUsedPassword(h->conn) == 1);
    pg_one_line(h->conn == NULL ? "out of memory" : PQerrorMessage(h->conn), text, sizeof(text));
    auto_free char *whole = mem_printf("%s%s", text, hint_of(text));
    add_fault(d, is_login ? ERR_DENIED : ERR_UNAVAILABLE, whole);
    PQfinish(h->conn);
    h->conn = NULL;
}

static enum err begin(struct dial *d, const struct store *s, struct postgres *p, struct errinfo *err)
{
    AUTO(pg_conninfo) struct pg_conninfo info = {0};
    size_t n = 0;
    enum err rc = pg_spec_read(s, p, &info, err);
    if (rc == OK)
        rc = count_hosts(&info, &n, err);
    if (rc != OK)
        return rc;
    d->until_us = clock_mono_us() + (int64_t)p->timeout_ms * 1000;
    for (size_t i = 0; i < n; i++) {
        struct pg_conninfo one = info;
        choose(&one, "host", i);
        choose(&one, "hostaddr", i);
        choose(&one, "port", i);
        struct host *h = &d->hosts[d->n++];
        *h = (struct host){PQconnectStartParams(one.keys, one.values, 0), PGRES_POLLING_WRITING};
        info.arena = one.arena; /* it has grown */
        if (h->conn == NULL || PQstatus(h->conn) == CONNECTION_BAD)
            give_up(d, h);
    }
    return OK;
}

static bool is_pending(const struct host *h)
{
    return h->conn != NULL && h->next != PGRES_POLLING_OK;
}

static void move_on(struct dial *d, const struct store *s, struct host *h)
{
    h->next = PQconnectPoll(h->conn);
    int64_t others_ms = s->timeline == 0 ? POSTGRES_OTHERS_FIRST_MS : POSTGRES_OTHERS_MS;
    int64_t others_us = clock_mono_us() + others_ms * 1000;
    if (h->next == PGRES_POLLING_FAILED)
        give_up(d, h);
    else if (h->next == PGRES_POLLING_OK && others_us < d->until_us)
        d->until_us = others_us;
}

/* Those that are not there in time are left out. */
static void leave_out(struct dial *d, const struct store *s)
{
    for (size_t i = 0; i < d->n; i++) {
        struct host *h = &d->hosts[i];
        if (!is_pending(h))
            continue;
        auto_free char *text = mem_printf("log '%s': the database at '%s' did not answer in time", s->name,
                                          PQhost(h->conn) == NULL ? "" : PQhost(h->conn));
        add_fault(d, ERR_UNAVAILABLE, text);
        PQfinish(h->conn);
        h->conn = NULL;
    }
}

static enum err wait_all(struct dial *d, const struct store *s, struct errinfo *err)
{
    for (;;) {
        struct pollfd fds[POSTGRES_HOSTS_MAX];
        struct host *of[POSTGRES_HOSTS_MAX];
        nfds_t n = 0;
        for (size_t i = 0; i < d->n; i++) {
            struct host *h = &d->hosts[i];
            if (!is_pending(h))
                continue;
            fds[n] = (struct pollfd){PQsocket(h->conn), h->next == PGRES_POLLING_READING ? POLLIN : POLLOUT, 0};
            of[n++] = h;
        }
        int64_t left_ms = (d->until_us - clock_mono_us()) / 1000;
        if (atomic_load(&s->is_cancelled))
            return err_set(err, ERR_CANCELLED, "log '%s': asked to stop", s->name);
        if (n == 0 || left_ms <= 0)
            break;
        if (poll(fds, n, left_ms < POLL_MS ? (int)left_ms : POLL_MS) < 0 && errno != EINTR)
            return err_set_os(err, ERR_UNAVAILABLE, errno, "log '%s': wait for the database", s->name);
        for (nfds_t i = 0; i < n; i++)
            if (fds[i].revents != 0)
                move_on(d, s, of[i]);
    }
    leave_out(d, s);
    return OK;
}

/* ---- judging ---- */

/* A server whose word does not last: what it acknowledged may be gone after a crash or a fail-over. */
static enum err check_server(const struct store *s, const PGresult *r, struct errinfo *err)
{
    const char *commit = PQgetvalue(r, 0, 1);
    if (strcmp(PQgetvalue(r, 0, 0), "f") != 0)
        return err_set(err, ERR_UNAVAILABLE, "log '%s': the database is a standby, which nothing is decided on",
                       s->name);
    if (strcmp(commit, "on") != 0 && strcmp(commit, "remote_apply") != 0)
        return err_set(err, ERR_INVALID, "log '%s': the database has synchronous_commit = %s, it must be on", s->name,
                       commit);
    if (strcmp(PQgetvalue(r, 0, 2), "on") != 0)
        return err_set(err, ERR_INVALID, "log '%s': the database has fsync = off, it must be on", s->name);
    if (strcmp(PQgetvalue(r, 0, 3), "UTF8") != 0)
        return err_set(err, ERR_INVALID, "log '%s': the database's encoding is %s, it must be UTF8", s->name,
                       PQgetvalue(r, 0, 3));
    return OK;
}

/* An older primary that goes on, or came back, behind the one that took over. */
static enum err check_timeline(const struct store *s, const struct postgres *p, const struct pg_seen *seen,
                               struct errinfo *err)
{
    if (seen->system != s->system || seen->timeline >= s->timeline)
        return OK;
    return err_set(err, ERR_UNAVAILABLE,
                   "log '%s': the database at '%s' is on timeline %" PRIu32 ", another server took over on %" PRIu32
                   ": stop this one, or make it a standby",
                   s->name, PQhost(p->conn), seen->timeline, s->timeline);
}

static enum err look(struct store *s, struct postgres *p, struct pg_seen *ret, struct errinfo *err)
{
    auto_result PGresult *r = NULL;
    (void)PQsetNoticeReceiver(p->conn, on_notice, p);
    if (PQserverVersion(p->conn) < SERVER_VERSION_MIN)
        return err_set(err, ERR_INVALID, "log '%s': the database is PostgreSQL %d, at least %d is needed", s->name,
                       PQserverVersion(p->conn) / 10000, SERVER_VERSION_MIN / 10000);
    if (PQsetnonblocking(p->conn, 1) != 0)
        return err_set(err, ERR_UNAVAILABLE, "log '%s': the connection to the database was lost", s->name);
    enum err rc = pg_query(s, p,
                           "SELECT pg_is_in_recovery(), current_setting('synchronous_commit'), "
                           "current_setting('fsync'), current_setting('server_encoding'), pg_backend_pid(), "
                           "(SELECT (extract(epoch FROM backend_start) * 1000000)::bigint "
                           "FROM pg_catalog.pg_stat_get_activity(pg_backend_pid())), "
                           "(SELECT system_identifier FROM pg_control_system()), CASE WHEN pg_is_in_recovery() THEN '' "
                           "ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END",
                           NULL, &r, err);
    if (rc == OK)
        rc = check_server(s, r, err);
    if (rc != OK)
        return rc;
    *ret = (struct pg_seen){.pid = strtoll(PQgetvalue(r, 0, 4), NULL, 10),
                            .since_us = strtoll(PQgetvalue(r, 0, 5), NULL, 10),
                            .system = strtoull(PQgetvalue(r, 0, 6), NULL, 10),
                            .timeline = (uint32_t)strtoul(PQgetvalue(r, 0, 7), NULL, 16)};
    (void)snprintf(ret->commit, sizeof(ret->commit), "%s", PQgetvalue(r, 0, 1));
    return check_timeline(s, p, ret, err);
}

/* Is `b` to be taken instead of `a`? Both take writes. */
static enum err compare(const struct store *s, const struct pg_seen *a, const struct pg_seen *b, bool *ret,
                        struct errinfo *err)
{
    *ret = b->timeline > a->timeline;
    if (a->system != b->system)
        return err_set(err, ERR_INVALID, "log '%s': the hosts of its spec are servers of different databases", s->name);
    if (a->timeline == b->timeline)
        return err_set(err, ERR_INVALID,
                       "log '%s': two hosts of its spec take writes on timeline %" PRIu32 ": one is a copy, or both "
                       "names lead to one server",
                       s->name, a->timeline);
    return OK;
}

/* p->conn: the best of those that answered. */
static enum err judge(struct dial *d, struct store *s, struct postgres *p, struct pg_seen *ret, struct errinfo *err)
{
    struct host *best = NULL;
    enum err rc = OK;
    for (size_t i = 0; i < d->n && rc == OK; i++) {
        struct host *h = &d->hosts[i];
        struct pg_seen seen;
        struct errinfo why = {0};
        bool is_better = true;
        if (h->conn == NULL)
            continue;
        p->conn = h->conn;
        enum err one = look(s, p, &seen, &why);
        h->conn = p->conn; /* it may be lost by now */
        p->conn = NULL;
        if (one == OK && best != NULL)
            rc = compare(s, ret, &seen, &is_better, err);
        if (one == OK && is_better) {
            best = h;
            *ret = seen;
        } else if (one != OK) {
            add_fault(d, one, why.msg);
        }
    }
    if (rc != OK || best == NULL)
        return rc != OK ? rc : err_set(err, d->fault, "log '%s': %s", s->name, d->faults.ptr);
    p->conn = TAKE(best->conn);
    s->system = ret->system;
    s->timeline = ret->timeline;
    return OK;
}

enum err pg_dial(struct store *s, struct postgres *p, struct pg_seen *ret, struct errinfo *err)
{
    AUTO(dial) struct dial d = {0};
    assert(p->conn == NULL);
    enum err rc = begin(&d, s, p, err);
    if (rc == OK)
        rc = wait_all(&d, s, err);
    return rc == OK ? judge(&d, s, p, ret, err) : rc;
}
