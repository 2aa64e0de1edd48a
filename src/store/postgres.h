#pragma once
/* store/postgres.h - the postgres store: logs in tables of a PostgreSQL server; for the files of this room only.
 * Layer: store. docs/decisions/postgres-store.md says why the tables and functions are as they are.
 *
 * A handle has one connection, and every call is one question in it and its answer, waited for with a bound. An answer
 * to an append that does not come leaves the handle failed (ERR_IO: state unknown); any other that does not come is
 * ERR_UNAVAILABLE, and the next call connects anew. */
#include <libpq-fe.h>

#include "store/kind.h"
#include "store/lines.h"

/* How long another appender is waited for, as with the files store; and the server's answer beyond that (chosen). */
#define POSTGRES_LOCK_WAIT_MS 5000u
#define POSTGRES_TIMEOUT_MS 10000u
/* Whoever watches a log looks at its end that often (chosen: other replicas wait no longer for what one appends). */
#define POSTGRES_WATCH_MS 200u
/* Hosts of one spec, and how long the others are waited for when one of them is good: a handle that has met none yet
 * waits longer, since it does not know a newer timeline from an older one (chosen). */
#define POSTGRES_HOSTS_MAX 8u
#define POSTGRES_OTHERS_MS 100u
#define POSTGRES_OTHERS_FIRST_MS 2000u

/* Of the record that pg_prove takes back: of a common size, and stored as it is (compressed from 2 KB on). */
#define POSTGRES_PROOF_SIZE 1024u

enum pg_stmt {
    PG_APPEND,
    PG_READ,
    PG_END,
    PG_FIND,
    PG_LEASE_PUT,
    PG_LEASE_DROP,
    PG_LEASE_LIST,
    PG_KEY_NEW,
    PG_KEY_REPLACE,
    PG_KEY_GET,
    PG_KEY_DROP,
    PG_KEY_LIST,
    PG_BULK_PUT,
    PG_BULK_END,
    PG_BULK_READ,
    PG_BULK_TAIL,
    PG_BULK_DROP,
    PG_BULK_IDLE,
    PG_BULK_SWEEP,
    PG_STMT_MAX_
};

struct postgres {
    PGconn *conn;          /* NULL: lost, the next call connects */
    int64_t pid, since_us; /* the server's process for it */
    bool is_prepared[PG_STMT_MAX_];
    bool is_failed; /* an append whose answer was lost */
    bool is_held;   /* in a transaction that has the head's row */
    bool is_warned; /* the server warned during this call: what it did may not outlive it */
    char log[16];   /* its number in the tables */
    uint64_t lock_wait_ms, timeout_ms;
    bool is_owner; /* rights=owner */
    bool knows_end;
    struct lines_end end; /* as last met */
    struct buf text;
};

/* What became of a question. */
enum pg_outcome {
    PG_ANSWERED,
    PG_REFUSED, /* the server said no: nothing was done */
    PG_LOST,    /* no answer: anything may have been done. The connection is gone */
};

/* ---- postgres_spec.c ---- */

struct pg_conninfo {
    const char *keys[40], *values[40]; /* for libpq, NULL behind the last */
    size_t n;
    struct arena arena;
};
/* Check every key of the spec; what is for libpq goes to *ret (pg_conninfo_done, also on an error).
 * OK | ERR_INVALID a key that is not known or missing, a password, an sslmode, a number out of bounds */
must_check enum err pg_spec_read(const struct store *s, struct postgres *p, struct pg_conninfo *ret,
                                 struct errinfo *err);
static inline void pg_conninfo_cleanup(struct pg_conninfo *c)
{
    arena_done(&c->arena);
}

/* ---- postgres_dial.c ---- */

/* What a server says of itself. */
struct pg_seen {
    char commit[16]; /* its synchronous_commit */
    int64_t pid, since_us;
    uint64_t system; /* of the cluster; a standby has its primary's */
    uint32_t timeline;
};
/* Connect p->conn to the one server of the spec's hosts to decide on: takes writes, keeps what it acknowledges, UTF-8,
 * and none of the others has taken over from it. All hosts are asked at once: one that does not answer costs nothing.
 * OK | ERR_DENIED | ERR_UNAVAILABLE | ERR_CANCELLED | ERR_INVALID spec, settings of the server, hosts of two databases
 */
must_check enum err pg_dial(struct store *s, struct postgres *p, struct pg_seen *ret, struct errinfo *err);

/* ---- postgres_session.c ---- */

/* libpq's messages are lines; ours are one. */
void pg_one_line(const char *text, char *ret, size_t size);
/* Connect p->conn, as pg_dial. Ends what an older connection of this handle may still be doing, and sees that what it
 * did is kept.
 * OK | ERR_DENIED | ERR_UNAVAILABLE | ERR_CANCELLED | ERR_INVALID spec, or settings of the server */
must_check enum err pg_connect(struct store *s, struct postgres *p, struct errinfo *err);
void pg_disconnect(struct postgres *p);
/* Before each call: ERR_IO when it failed before, ERR_CANCELLED; connects anew when the connection was lost. */
must_check enum err pg_ready(struct store *s, struct errinfo *err);
/* Ask. Texts of params; sizes and is_binary may be NULL when all are text. Columns of the answer are binary.
 *   ret  the last answer, PQclear; set with PG_ANSWERED only (NULL: may be left out)
 *   err  with PG_REFUSED and PG_LOST: ERR_UNAVAILABLE, ERR_CONFLICT (serialisation), ERR_DENIED, ERR_CORRUPT, … */
struct pg_params {
    int n;
    const char *const *values;
    const int *sizes, *is_binary;
};
enum pg_outcome pg_ask(struct store *s, enum pg_stmt stmt, const struct pg_params *params, PGresult **ret,
                       struct errinfo *err);
/* pg_ready, then pg_ask with texts, for what may be asked again: OK, or the code of *err. ret: as there. */
must_check enum err pg_call(struct store *s, enum pg_stmt stmt, int n, const char *const *values, PGresult **ret,
                            struct errinfo *err);
/* As pg_ask, with SQL as it stands, perhaps several statements; columns of the answer are text. */
enum pg_outcome pg_ask_sql(struct store *s, struct postgres *p, const char *sql, PGresult **ret, struct errinfo *err);
/* As pg_ask_sql with one statement and its params, columns text. OK, or the code of *err. */
must_check enum err pg_query(struct store *s, struct postgres *p, const char *sql, const struct pg_params *params,
                             PGresult **ret, struct errinfo *err);
static inline void pg_result_cleanup(PGresult **r)
{
    PQclear(*r);
}
#define auto_result __attribute__((cleanup(pg_result_cleanup)))

int64_t pg_i64(const PGresult *r, int row, int column); /* of a binary int8, not null */

/* ---- postgres_migrate.c ---- */

/* The tables are there, of this program's version, of this installation, and this role may do what it must and not
 * more. With rights=owner and STORE_CREATE: makes or completes them.
 * OK | ERR_NOT_FOUND no tables | ERR_CONFLICT of somebody else, or newer | ERR_CORRUPT half-migrated | ERR_DENIED */
must_check enum err pg_schema_check(struct store *s, struct postgres *p, struct errinfo *err);

/* ---- postgres_open.c ---- */

/* After connecting anew: it is still the same log. OK | ERR_IO another one, or none; the handle is failed */
must_check enum err pg_log_check(struct store *s, struct postgres *p, struct errinfo *err);

/* ---- the kind ---- */

must_check enum err pg_open(struct store *s, struct store_repair *ret_repair, struct errinfo *err);
void pg_close(struct store *s);
must_check enum err pg_append(struct store *s, struct store_pos expect, const struct store_group *groups,
                              size_t groups_n, struct store_record *ret_records, size_t *ret_taken,
                              struct errinfo *err);
must_check enum err pg_hold(struct store *s, struct errinfo *err);
void pg_release(struct store *s);
must_check enum err pg_prove(struct store *s, struct errinfo *err);
must_check enum err pg_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max,
                            struct store_batch *ret, struct errinfo *err);
must_check enum err pg_end(struct store *s, struct store_pos *ret_end, struct errinfo *err);
must_check enum err pg_find(struct store *s, uint64_t after_seq, struct id id, uint64_t *ret_seq, struct errinfo *err);
must_check enum err pg_lease_put(struct store *s, const struct store_lease *lease, struct errinfo *err);
must_check enum err pg_lease_drop(struct store *s, const char *name, struct errinfo *err);
must_check enum err pg_lease_list(struct store *s, struct store_lease *ret, size_t max, size_t *ret_n,
                                  struct errinfo *err);
must_check enum err pg_key_put(struct store *s, const struct store_key *key, const char *was, struct errinfo *err);
must_check enum err pg_key_get(struct store *s, const char *name, struct store_key *ret, struct errinfo *err);
must_check enum err pg_key_drop(struct store *s, const char *name, struct errinfo *err);
must_check enum err pg_key_list(struct store *s, const char *after, struct store_key *ret, size_t max, size_t *ret_n,
                                struct errinfo *err);
/* Note the end, and the server's clock at about mono_us. */
void pg_saw_end(struct store *s, const struct lines_end *end);
void pg_saw_clock(struct store *s, int64_t server_us, int64_t mono_us);
