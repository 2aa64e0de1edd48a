/* The postgres store: opening and closing a log. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/random.h"
#include "store/postgres.h"

/* OK | ERR_NOT_FOUND | as pg_query */
static enum err find_log(struct store *s, struct postgres *p, struct id *ret, struct errinfo *err)
{
    auto_result PGresult *r = NULL;
    struct str name = store_spec_get(s, "log");
    auto_free char *text = mem_strndup(name.ptr, name.len);
    enum err rc = pg_query(s, p, "SELECT log, incarnation FROM slipform.heads WHERE name = $1::text",
                           &(struct pg_params){.n = 1, .values = (const char *const[]){text}}, &r, err);
    if (rc != OK)
        return rc;
    if (PQntuples(r) == 0)
        return err_set(err, ERR_NOT_FOUND, "there is no log '%s'", s->name);
    if (!id_parse(str_from(PQgetvalue(r, 0, 1)), ret) ||
        !str_copy_to(str_from(PQgetvalue(r, 0, 0)), p->log, sizeof(p->log)))
        return err_set(err, ERR_CORRUPT, "log '%s': its row in slipform.heads is damaged", s->name);
    return OK;
}

static enum err make_log(struct store *s, struct postgres *p, struct errinfo *err)
{
    char incarnation[ID_TEXT_SIZE];
    struct id id = s->log_wanted;
    if (id_is_none(id)) {
        uint8_t random[10];
        random_bytes(random, sizeof(random));
        id = id_make(clock_wall_us() / 1000, random);
    }
    id_format(id, incarnation);
    struct str name = store_spec_get(s, "log");
    auto_free char *text = mem_strndup(name.ptr, name.len);
    enum err rc = pg_query(s, p, "SELECT slipform.make_log($1::text, $2::uuid)",
                           &(struct pg_params){.n = 2, .values = (const char *const[]){text, incarnation}}, NULL, err);
    return rc == OK ? find_log(s, p, &s->log, err) : rc;
}

enum err pg_log_check(struct store *s, struct postgres *p, struct errinfo *err)
{
    char before[sizeof(p->log)];
    struct id now = ID_NONE;
    memcpy(before, p->log, sizeof(before));
    enum err rc = find_log(s, p, &now, err);
    if (rc != OK && rc != ERR_NOT_FOUND)
        return rc;
    if (rc == OK && id_eq(now, s->log) && strcmp(before, p->log) == 0)
        return OK;
    p->is_failed = true;
    return err_set(err, ERR_IO, "log '%s' is not the one it was, it must be opened anew", s->name);
}

static void set_name(struct store *s, const struct postgres *p)
{
    struct str log = store_spec_get(s, "log");
    free(s->name);
    s->name = p->conn == NULL ? mem_strndup(log.ptr, log.len) : mem_printf("%.*s@%s", STR_ARG(log), PQdb(p->conn));
}

static enum err open_log(struct store *s, struct postgres *p, struct errinfo *err)
{
    struct store_pos end;
    set_name(s, p);
    enum err rc = pg_connect(s, p, err);
    if (rc != OK)
        return rc;
    set_name(s, p);
    /* Opened anew, after a server went down: its tables were seen, and only the same log is taken (store_reopen). Each
     * question less is less of a gap. */
    rc = id_is_none(s->log) ? pg_schema_check(s, p, err) : OK;
    if (rc != OK)
        return rc;
    rc = find_log(s, p, &s->log, err);
    if (rc == ERR_NOT_FOUND && s->mode == STORE_CREATE)
        rc = make_log(s, p, err);
    return rc == OK ? pg_end(s, &end, err) : rc;
}

enum err pg_open(struct store *s, struct store_repair *ret_repair, struct errinfo *err)
{
    (void)ret_repair;
    struct postgres *p = mem_alloc(sizeof(*p));
    AUTO(pg_conninfo) struct pg_conninfo info = {0};
    s->impl = p;
    enum err rc = pg_spec_read(s, p, &info, err);
    if (rc == OK)
        rc = open_log(s, p, err);
    if (rc != OK) {
        pg_close(s);
        s->impl = NULL;
    }
    return rc;
}

void pg_close(struct store *s)
{
    struct postgres *p = s->impl;
    pg_disconnect(p);
    buf_done(&p->text);
    free(p);
}
