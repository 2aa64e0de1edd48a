/* The postgres store: its tables. Numbered migrations, each in one transaction that records its checksum, one migrator
 * at a time; and what must be true of a database before anything is read or decided in it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "event/hash.h"
#include "store/migrations.h"
#include "store/postgres.h"

static const struct {
    const char *name, *sql;
} MIGRATIONS[] = {
    {"0001_events", MIGRATION_0001_EVENTS_SQL},
    {"0002_keys", MIGRATION_0002_KEYS_SQL},
    {"0003_bulk", MIGRATION_0003_BULK_SQL},
    {"0004_lease_text", MIGRATION_0004_LEASE_TEXT_SQL},
};
enum { MIGRATIONS_N = sizeof(MIGRATIONS) / sizeof(MIGRATIONS[0]) };

/* Of pg_advisory_lock: "slipform" in ASCII. */
#define MIGRATION_LOCK "8317138543322296941"

static void checksum(size_t i, char ret[static DIGEST_TEXT_SIZE])
{
    uint8_t digest[HASH_SIZE];
    hash_bytes(MIGRATIONS[i].sql, strlen(MIGRATIONS[i].sql), digest);
    hash_digest_format(digest, ret);
}

/* The one text that `sql` answers; *ret is empty for null or no row. Returned. */
static enum err ask_text(struct store *s, struct postgres *p, const char *sql, char **ret, struct errinfo *err)
{
    auto_result PGresult *r = NULL;
    enum err rc = pg_query(s, p, sql, NULL, &r, err);
    if (rc == OK)
        *ret = mem_strdup(PQntuples(r) > 0 ? PQgetvalue(r, 0, 0) : "");
    return rc;
}

/* ---- whose it is ---- */

/* What belongs to an extension is nobody's data: who hosts databases puts some into each. */
static enum err check_empty(struct store *s, struct postgres *p, struct errinfo *err)
{
    auto_free char *table = NULL;
    enum err rc = ask_text(s, p,
                           "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n "
                           "ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' "
                           "AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT EXISTS (SELECT FROM pg_depend d "
                           "WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') "
                           "ORDER BY 1 LIMIT 1",
                           &table, err);
    if (rc == OK && table[0] != '\0')
        rc =
            err_set(err, ERR_CONFLICT, "database '%s' is somebody else's, it holds '%s': slipform needs one of its own",
                    PQdb(p->conn), table);
    return rc;
}

static enum err check_installation(struct store *s, struct postgres *p, struct errinfo *err)
{
    auto_free char *name = NULL;
    struct str wanted = store_spec_get(s, "installation");
    enum err rc = ask_text(s, p, "SELECT name FROM slipform.installation", &name, err);
    if (rc == OK && name[0] == '\0')
        rc = err_set(err, ERR_CORRUPT, "database '%s' does not say whose it is: slipform.installation is empty",
                     PQdb(p->conn));
    if (rc == OK && wanted.ptr != NULL && !str_eq_c(wanted, name))
        rc = err_set(err, ERR_CONFLICT, "database '%s' is of installation '%s', not of '%.*s'", PQdb(p->conn), name,
                     STR_ARG(wanted));
    return rc;
}

/* ---- what was done ---- */

static enum err check_row(const struct postgres *p, const PGresult *r, int row, struct errinfo *err)
{
    char sum[DIGEST_TEXT_SIZE], n[16];
    (void)snprintf(n, sizeof(n), "%d", row + 1);
    if (strcmp(PQgetvalue(r, row, 0), n) != 0)
        return err_set(err, ERR_CORRUPT, "database '%s' is half-migrated: migration %d is missing, %s is there",
                       PQdb(p->conn), row + 1, PQgetvalue(r, row, 0));
    checksum((size_t)row, sum);
    if (strcmp(PQgetvalue(r, row, 1), MIGRATIONS[row].name) != 0 || strcmp(PQgetvalue(r, row, 2), sum) != 0)
        return err_set(err, ERR_CORRUPT,
                       "database '%s': migration %d was '%s' (%s) there, here it is '%s' (%s): not by a release",
                       PQdb(p->conn), row + 1, PQgetvalue(r, row, 1), PQgetvalue(r, row, 2), MIGRATIONS[row].name, sum);
    return OK;
}

/* How many migrations were done. *ret 0: no schema. */
static enum err look(struct store *s, struct postgres *p, size_t *ret_done, struct errinfo *err)
{
    auto_free char *found = NULL, *missing = NULL;
    auto_result PGresult *r = NULL;
    *ret_done = 0;
    enum err rc = ask_text(s, p, "SELECT to_regnamespace('slipform')::text", &found, err);
    if (rc != OK || found[0] == '\0')
        return rc;
    rc = ask_text(s, p, "SELECT 'x' WHERE NOT has_schema_privilege('slipform', 'USAGE')", &missing, err);
    if (rc == OK && missing[0] != '\0')
        return err_set(err, ERR_DENIED, "role '%s' may not use schema slipform of database '%s': see 'replicas=ROLE'",
                       PQuser(p->conn), PQdb(p->conn));
    free(TAKE(missing));
    if (rc == OK)
        rc = ask_text(s, p, "SELECT 'x' WHERE to_regclass('slipform.migrations') IS NULL", &missing, err);
    if (rc == OK && missing[0] != '\0')
        return err_set(err, ERR_CONFLICT, "database '%s': its schema 'slipform' is somebody else's", PQdb(p->conn));
    if (rc == OK)
        rc = pg_query(s, p, "SELECT n, name, sha256 FROM slipform.migrations ORDER BY n", NULL, &r, err);
    if (rc != OK)
        return rc;
    if (PQntuples(r) > MIGRATIONS_N)
        return err_set(err, ERR_CONFLICT, "database '%s' is at migration %s, this program knows %d: use a newer one",
                       PQdb(p->conn), PQgetvalue(r, PQntuples(r) - 1, 0), MIGRATIONS_N);
    for (int row = 0; row < PQntuples(r) && rc == OK; row++)
        rc = check_row(p, r, row, err);
    *ret_done = (size_t)PQntuples(r);
    return rc == OK && *ret_done == 0
               ? err_set(err, ERR_CORRUPT, "database '%s' is half-migrated: none is recorded", PQdb(p->conn))
               : rc;
}

static enum err check_tables(struct store *s, struct postgres *p, struct errinfo *err)
{
    auto_free char *missing = NULL;
    enum err rc = ask_text(
        s, p,
        "SELECT t FROM unnest(ARRAY['installation', 'heads', 'events', 'leases', 'keys', 'bulk']) AS t "
        "WHERE to_regclass('slipform.' || t) IS NULL "
        "UNION ALL SELECT f FROM unnest(ARRAY['append', 'read', 'hold', 'make_log', 'clock_us', 'bulk_put']) f "
        "WHERE NOT EXISTS (SELECT FROM pg_proc WHERE proname = f "
        "AND pronamespace = to_regnamespace('slipform')) LIMIT 1",
        &missing, err);
    if (rc == OK && missing[0] != '\0')
        rc =
            err_set(err, ERR_CORRUPT, "database '%s' is half-migrated: slipform.%s is missing", PQdb(p->conn), missing);
    return rc;
}

/* ---- rights ---- */

static enum err check_membership(struct store *s, struct postgres *p, struct errinfo *err)
{
    auto_free char *owner = NULL;
    enum err rc = ask_text(s, p,
                           "SELECT r.rolname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner "
                           "WHERE c.oid = 'slipform.events'::regclass AND pg_has_role(r.oid, 'MEMBER')",
                           &owner, err);
    if (rc == OK && owner[0] != '\0')
        rc = err_set(err, ERR_DENIED,
                     "role '%s' may become '%s', who owns the tables of database '%s', so it could change what was "
                     "appended: revoke that (or say 'rights=owner')",
                     PQuser(p->conn), owner, PQdb(p->conn));
    return rc;
}

/* A role of replicas can append and read, and nothing that was appended can be changed by it: also not by a trigger,
 * which would run as the owner in slipform.append, nor as the owner, whom it may become by SET ROLE. */
static enum err check_rights(struct store *s, struct postgres *p, struct errinfo *err)
{
    auto_free char *missing = NULL, *too_much = NULL;
    if (s->mode == STORE_READ) /* the server says no when it comes to it */
        return OK;
    enum err rc = ask_text(
        s, p,
        "SELECT w FROM (VALUES ('events', 'SELECT'), ('heads', 'SELECT'), ('leases', 'SELECT'), ('leases', 'INSERT'), "
        "('leases', 'UPDATE'), ('leases', 'DELETE'), ('keys', 'SELECT'), ('keys', 'INSERT'), ('keys', 'UPDATE'), "
        "('keys', 'DELETE')) AS v (t, r), LATERAL (SELECT r || ' on slipform.' || t) AS l (w) "
        "WHERE NOT has_table_privilege('slipform.' || t, r) "
        "UNION ALL SELECT 'EXECUTE on slipform.' || proname FROM pg_proc "
        "WHERE pronamespace = to_regnamespace('slipform') AND NOT has_function_privilege(oid, 'EXECUTE') LIMIT 1",
        &missing, err);
    if (rc == OK && missing[0] != '\0')
        return err_set(err, ERR_DENIED, "role '%s' lacks %s in database '%s': see 'replicas=ROLE'", PQuser(p->conn),
                       missing, PQdb(p->conn));
    if (rc != OK || p->is_owner)
        return rc;
    rc = ask_text(s, p,
                  "SELECT r || ' on slipform.' || t FROM unnest(ARRAY['events', 'heads', 'migrations', "
                  "'installation']) AS t, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', "
                  "'TRIGGER']) AS r WHERE has_table_privilege('slipform.' || t, r) OR (r IN ('INSERT', 'UPDATE') AND "
                  "has_any_column_privilege('slipform.' || t, r)) LIMIT 1",
                  &too_much, err);
    if (rc == OK && too_much[0] != '\0')
        rc = err_set(err, ERR_DENIED,
                     "role '%s' has %s in database '%s', so it could change what was appended: use a role of its own "
                     "(or say 'rights=owner')",
                     PQuser(p->conn), too_much, PQdb(p->conn));
    return rc == OK ? check_membership(s, p, err) : rc;
}

static enum err grant(struct store *s, struct postgres *p, struct errinfo *err)
{
    struct str role = store_spec_get(s, "replicas");
    AUTO(buf) struct buf sql = {0};
    if (role.ptr == NULL)
        return OK;
    char *quoted = PQescapeIdentifier(p->conn, role.ptr, role.len);
    if (quoted == NULL)
        return err_set(err, ERR_INVALID, "'%.*s' is no name of a role", STR_ARG(role));
    buf_add_c(&sql, "BEGIN; ");
    for (const char *at = MIGRATION_GRANTS_SQL; *at != '\0';) {
        const char *next = strstr(at, "$role");
        size_t n = next == NULL ? strlen(at) : (size_t)(next - at);
        buf_add(&sql, at, n);
        if (next != NULL)
            buf_add_c(&sql, quoted);
        at += next == NULL ? n : n + strlen("$role");
    }
    PQfreemem(quoted);
    buf_add_c(&sql, "COMMIT");
    enum err rc = pg_query(s, p, sql.ptr, NULL, NULL, err);
    return rc == OK ? OK : err_wrap(err, rc, "give rights to role '%.*s'", STR_ARG(role));
}

/* ---- making them ---- */

static enum err migrate_one(struct store *s, struct postgres *p, size_t i, struct errinfo *err)
{
    char sum[DIGEST_TEXT_SIZE];
    checksum(i, sum);
    AUTO(buf) struct buf sql = {0};
    struct str installation = store_spec_get(s, "installation");
    char *name = PQescapeLiteral(p->conn, installation.ptr, installation.len);
    if (name == NULL)
        return err_set(err, ERR_INVALID, "the name of the installation is no text");
    buf_addf(&sql, "BEGIN;\n%s;\n", MIGRATIONS[i].sql);
    if (i == 0)
        buf_addf(&sql, "INSERT INTO slipform.installation (name) VALUES (%s);\n", name);
    buf_addf(&sql, "INSERT INTO slipform.migrations (n, name, sha256, program) VALUES (%zu, '%s', '%s', '%s');\nCOMMIT",
             i + 1, MIGRATIONS[i].name, sum, SLIPFORM_VERSION);
    PQfreemem(name);
    enum err rc = pg_query(s, p, sql.ptr, NULL, NULL, err);
    if (rc == OK)
        return OK;
    if (p->conn != NULL)
        err_ignore(pg_query(s, p, "ROLLBACK", NULL, NULL, NULL)); /* the error is what counts */
    return err_wrap(err, rc, "migration %s", MIGRATIONS[i].name);
}

static enum err migrate_locked(struct store *s, struct postgres *p, struct errinfo *err)
{
    size_t done = 0;
    enum err rc = look(s, p, &done, err);
    if (rc == OK)
        rc = done == 0 ? check_empty(s, p, err) : check_installation(s, p, err);
    for (size_t i = done; i < MIGRATIONS_N && rc == OK; i++)
        rc = migrate_one(s, p, i, err);
    return rc == OK ? grant(s, p, err) : rc;
}

static enum err migrate(struct store *s, struct postgres *p, struct errinfo *err)
{
    enum err rc = pg_query(s, p, "SELECT pg_advisory_lock(" MIGRATION_LOCK ")", NULL, NULL, err);
    if (rc != OK)
        return rc;
    rc = migrate_locked(s, p, err);
    if (p->conn != NULL)
        err_ignore(pg_query(s, p, "SELECT pg_advisory_unlock(" MIGRATION_LOCK ")", NULL, NULL, NULL));
    return rc; /* an unlock that failed has lost the connection, and the lock with it */
}

enum err pg_schema_check(struct store *s, struct postgres *p, struct errinfo *err)
{
    size_t done = 0;
    enum err rc = p->is_owner && s->mode == STORE_CREATE ? migrate(s, p, err) : OK;
    if (rc == OK)
        rc = look(s, p, &done, err);
    if (rc == OK && done < MIGRATIONS_N)
        rc =
            err_set(err, ERR_NOT_FOUND,
                    "database '%s' has %zu of %d migrations of slipform: open it once with 'rights=owner', as the role "
                    "that shall own the tables",
                    PQdb(p->conn), done, MIGRATIONS_N);
    if (rc == OK)
        rc = check_tables(s, p, err);
    if (rc == OK)
        rc = check_rights(s, p, err);
    if (rc == OK)
        rc = check_installation(s, p, err);
    return rc;
}
