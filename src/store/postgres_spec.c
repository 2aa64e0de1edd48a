/* The postgres store: what its spec says, and what libpq is told.
 *
 * No password is in a spec, which stands in settings, logs and process lists: libpq takes it from its passfile, from
 * PGPASSWORD, or needs none (a client certificate, the peer's uid on a Unix socket). Every connection over a network
 * checks the server's certificate and name: libpq leaves sslmode out of account on a Unix socket, and only there. */
#include <string.h>

#include "store/postgres.h"

enum key_use { FOR_LIBPQ, FOR_US, REFUSED };
static const struct {
    const char *name;
    enum key_use use;
    const char *why; /* it is refused */
} KEYS[] = {
    {"host", FOR_LIBPQ, NULL},
    {"hostaddr", FOR_LIBPQ, NULL},
    {"port", FOR_LIBPQ, NULL},
    {"dbname", FOR_LIBPQ, NULL},
    {"user", FOR_LIBPQ, NULL},
    {"service", FOR_LIBPQ, NULL},
    {"passfile", FOR_LIBPQ, NULL},
    {"sslrootcert", FOR_LIBPQ, NULL},
    {"sslcert", FOR_LIBPQ, NULL},
    {"sslkey", FOR_LIBPQ, NULL},
    {"sslcrl", FOR_LIBPQ, NULL},
    {"uri", FOR_US, NULL},
    {"log", FOR_US, NULL},
    {"installation", FOR_US, NULL},
    {"rights", FOR_US, NULL},
    {"replicas", FOR_US, NULL},
    {"lock_wait_ms", FOR_US, NULL},
    {"timeout_ms", FOR_US, NULL},
    {"password", REFUSED, "specs are seen by others: use 'passfile=FILE' or a client certificate"},
    {"sslmode", REFUSED, "it is always verify-full, but on a Unix socket, where it has no meaning"},
};

static enum err key_check(struct str key, bool is_of_uri, enum key_use *ret, struct errinfo *err)
{
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
        if (!str_eq_c(key, KEYS[i].name))
            continue;
        *ret = KEYS[i].use;
        if (KEYS[i].use == REFUSED)
            return err_set(err, ERR_INVALID, "a postgres store must not name '%s': %s", KEYS[i].name, KEYS[i].why);
        if (!is_of_uri || KEYS[i].use == FOR_LIBPQ)
            return OK;
    }
    return err_set(err, ERR_INVALID, "'%.*s' is no setting of a postgres store", STR_ARG(key));
}

static void put(struct pg_conninfo *c, const char *key, struct str value)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->keys[i], key) == 0) {
            c->values[i] = arena_str(&c->arena, value).ptr;
            return;
        }
    c->keys[c->n] = arena_strdup(&c->arena, key);
    c->values[c->n++] = arena_str(&c->arena, value).ptr;
}

/* A text of the spec is not shown whole in an error: a URI may hold a password. */
static enum err take_uri(struct str uri, struct pg_conninfo *c, struct errinfo *err)
{
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(arena_str(&c->arena, uri).ptr, &why);
    if (options == NULL) {
        PQfreemem(why);
        return err_set(err, ERR_INVALID, "the 'uri' of a postgres store cannot be read: postgresql://HOST/DATABASE");
    }
    enum err rc = OK;
    for (const PQconninfoOption *o = options; o->keyword != NULL && rc == OK; o++) {
        enum key_use use;
        if (o->val == NULL)
            continue;
        rc = key_check(str_from(o->keyword), true, &use, err);
        if (rc == OK)
            put(c, o->keyword, str_from(o->val));
    }
    PQconninfoFree(options);
    return rc;
}

static enum err take_parts(const struct store *s, struct pg_conninfo *c, struct errinfo *err)
{
    struct str rest = str_from(s->spec), part, key;
    (void)str_next(&rest, ';', &part); /* the kind */
    while (str_next(&rest, ';', &part)) {
        enum key_use use = FOR_US;
        struct str value = part;
        if (!str_next(&value, '=', &key) || key.len == part.len)
            return err_set(err, ERR_INVALID, "a postgres store is 'postgres;key=value;…', without 'key=' is '%.*s'",
                           STR_ARG(part));
        enum err rc = key_check(key, false, &use, err);
        if (rc != OK)
            return rc;
        if (use == FOR_LIBPQ)
            put(c, arena_str(&c->arena, key).ptr, value);
    }
    return OK;
}

/* Up to 63 bytes, the longest of PostgreSQL's own names. */
static bool is_name(struct str name)
{
    return name.len > 0 && name.len < STORE_LEASE_NAME_SIZE;
}

static enum err take_ours(const struct store *s, struct postgres *p, struct errinfo *err)
{
    struct str rights = store_spec_get(s, "rights"), installation = store_spec_get(s, "installation");
    if (!is_name(store_spec_get(s, "log")))
        return err_set(err, ERR_INVALID, "a postgres store needs 'log=NAME', of up to 63 bytes");
    if (installation.ptr != NULL && !is_name(installation))
        return err_set(err, ERR_INVALID, "the 'installation' of a postgres store has 1 to 63 bytes");
    if (installation.ptr == NULL && s->mode != STORE_READ)
        return err_set(err, ERR_INVALID,
                       "a postgres store that is written needs 'installation=NAME': a database is of one installation");
    p->is_owner = str_eq_c(rights, "owner");
    if (rights.ptr != NULL && !p->is_owner && !str_eq_c(rights, "replica"))
        return err_set(err, ERR_INVALID, "the 'rights' of a postgres store are 'replica' or 'owner'");
    enum err rc = store_spec_number(s, "lock_wait_ms", 60000, POSTGRES_LOCK_WAIT_MS, &p->lock_wait_ms, err);
    if (rc == OK)
        rc = store_spec_number(s, "timeout_ms", 600000, POSTGRES_TIMEOUT_MS, &p->timeout_ms, err);
    if (rc == OK && (p->lock_wait_ms == 0 || p->timeout_ms == 0))
        rc = err_set(err, ERR_INVALID, "'lock_wait_ms' and 'timeout_ms' of a postgres store are at least 1");
    return rc;
}

enum err pg_spec_read(const struct store *s, struct postgres *p, struct pg_conninfo *ret, struct errinfo *err)
{
    struct str uri = store_spec_get(s, "uri");
    enum err rc = uri.ptr == NULL ? OK : take_uri(uri, ret, err);
    if (rc == OK)
        rc = take_parts(s, ret, err);
    if (rc == OK)
        rc = take_ours(s, p, err);
    put(ret, "sslmode", STR("verify-full"));
    put(ret, "gssencmode", STR("disable")); /* it would go before TLS */
    put(ret, "target_session_attrs", STR("read-write"));
    put(ret, "client_encoding", STR("UTF8"));
    put(ret, "application_name", STR("slipform"));
    /* A host that has gone is noticed after some 5 s (chosen); a server that works does answer these. */
    put(ret, "keepalives_idle", STR("2"));
    put(ret, "keepalives_interval", STR("1"));
    put(ret, "keepalives_count", STR("3"));
    put(ret, "tcp_user_timeout", STR("5000"));
    return rc;
}
