#include "install/database.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/own.h"
#include "os/child.h"
#include "os/file.h"
#include "os/run.h"

#define VERSIONS_FOLDER "/usr/lib/postgresql" /* Debian's: <major>/bin/postgres */
enum { VERSION_MIN = 14, INITDB_TIMEOUT_MS = 120000 };
/* 60 s: a checkpoint on a slow disk (chosen). */
enum { DATABASE_STOP_MS = 60000 };

static const char *program(const char *name, int version, char ret[static PATH_SIZE])
{
    (void)snprintf(ret, PATH_SIZE, VERSIONS_FOLDER "/%d/bin/%s", version, name);
    return ret;
}

/* A cluster is run by the version that made it, a new one is made by the newest. */
static enum err find_version(const struct home *h, int *ret, struct errinfo *err)
{
    char path[PATH_SIZE];
    AUTO(buf) struct buf text = {0};
    *ret = 0;
    if (file_read(home_path(h, path, "store/postgres/data/PG_VERSION"), 32, &text, NULL) == OK) {
        buf_add_char(&text, '\0');
        *ret = (int)strtol(text.ptr, NULL, 10);
        if (file_exists(program("postgres", *ret, path)))
            return OK;
        return err_set(err, ERR_NOT_FOUND, "the database of '%s' is of PostgreSQL %d, and '%s' is missing: install it",
                       h->path, *ret, path);
    }
    DIR *dir = opendir(VERSIONS_FOLDER);
    for (const struct dirent *e = NULL; dir != NULL && (e = readdir(dir)) != NULL;) {
        int version = (int)strtol(e->d_name, NULL, 10);
        if (version > *ret && file_exists(program("initdb", version, path)))
            *ret = version;
    }
    if (dir != NULL)
        (void)closedir(dir);
    if (*ret < VERSION_MIN)
        return err_set(err, ERR_NOT_FOUND,
                       "this installation keeps its log in PostgreSQL (%d or later), which is not installed: 'apt-get "
                       "install postgresql'",
                       VERSION_MIN);
    return OK;
}

static enum err check_socket_name(const struct home *h, struct errinfo *err)
{
    char path[PATH_SIZE];
    struct sockaddr_un limit;
    if (strlen(home_path(h, path, DATABASE_SOCKET_FOLDER "/.s.PGSQL.5432")) < sizeof(limit.sun_path))
        return OK;
    return err_set(err, ERR_INVALID, "'%s' is too long for the name of a socket: choose a shorter SLIPFORM_HOME", path);
}

/* Beside the cluster, not in it: initdb wants an empty folder, and its own files stay as they were made. */
static enum err write_settings(const struct home *h, struct errinfo *err)
{
    char path[PATH_SIZE], socket_folder[PATH_SIZE], hba[PATH_SIZE], ident[PATH_SIZE];
    AUTO(buf) struct buf b = {0};
    home_path(h, hba, "store/postgres/pg_hba.conf");
    home_path(h, ident, "store/postgres/pg_ident.conf");
    /* 64 connections: each platform program has a few for each log (chosen). */
    buf_addf(&b,
             "listen_addresses = ''\nunix_socket_directories = '%s'\nhba_file = '%s'\nident_file = '%s'\n"
             "max_connections = 64\nshared_buffers = 64MB\nfsync = on\nsynchronous_commit = on\nfull_page_writes = on\n"
             "log_timezone = 'UTC'\ntimezone = 'UTC'\nlc_messages = 'C'\n",
             home_path(h, socket_folder, DATABASE_SOCKET_FOLDER), hba, ident);
    enum err rc = file_replace(home_path(h, path, "store/postgres/postgresql.conf"), buf_str(&b), 0644, err);
    if (rc == OK)
        rc = file_replace(hba,
                          STR("local all " DATABASE_ADMIN " peer map=slipform\n"
                              "local " DATABASE_NAME " " DATABASE_OWNER " peer map=slipform\n"
                              "local " DATABASE_NAME " " DATABASE_REPLICA " peer map=slipform\n"),
                          0644, err);
    if (rc == OK)
        rc = file_replace(ident,
                          STR("slipform root " DATABASE_ADMIN "\n"
                              "slipform root " DATABASE_OWNER "\n"
                              "slipform root " DATABASE_REPLICA "\n"
                              "slipform slipform " DATABASE_REPLICA "\n"),
                          0644, err);
    return rc;
}

static enum err make_cluster(const struct home *h, int version, int uid, int gid, struct errinfo *err)
{
    char initdb[PATH_SIZE], fresh[PATH_SIZE], data[PATH_SIZE];
    if (file_exists(home_path(h, data, "store/postgres/data/PG_VERSION")))
        return OK;
    home_path(h, data, "store/postgres/data");
    /* Made beside its name: one that was interrupted is begun anew. */
    enum err rc = folder_remove(home_path(h, fresh, "store/postgres/data.new"), err);
    if (rc == ERR_NOT_FOUND)
        rc = OK;
    if (rc != OK)
        return rc;
    const char *argv[] = {program("initdb", version, initdb),
                          "-D",
                          fresh,
                          "-U",
                          DATABASE_ADMIN,
                          "-A",
                          "peer",
                          "-E",
                          "UTF8",
                          "--locale=C",
                          "--no-instructions",
                          NULL};
    static const char *const ENV[] = {"PATH=/usr/sbin:/sbin:/usr/bin:/bin", "LANG=C", NULL};
    struct child_spec spec = {.argv = argv,
                              .env = ENV,
                              .drop_user = true,
                              .uid = (uid_t)uid,
                              .gid = (gid_t)gid,
                              .drop_caps = true,
                              .die_with_parent = true};
    AUTO(buf) struct buf said = {0};
    rc = child_run(&spec, INITDB_TIMEOUT_MS, &said, err);
    if (rc == OK && rename(fresh, data) != 0)
        rc = err_set(err, ERR_IO, "can't rename '%s'", fresh);
    return rc == OK ? OK : err_wrap(err, rc, "while making the database");
}

static enum err database_create(const struct home *h, const struct service *s, int uid, int gid, bool *ret_changed,
                                struct errinfo *err)
{
    (void)s, (void)ret_changed; /* its settings are those of the program: a new one restarts it */
    char path[PATH_SIZE];
    int version = 0;
    enum err rc = check_socket_name(h, err);
    if (rc == OK)
        rc = find_version(h, &version, err);
    if (rc == OK)
        rc = folder_make_owned(home_path(h, path, "store"), 0755, 0, 0, err);
    if (rc == OK)
        rc = folder_make_owned(home_path(h, path, "store/postgres"), 0750, (uid_t)uid, (gid_t)gid, err);
    if (rc == OK)
        rc = folder_make_owned(home_path(h, path, DATABASE_SOCKET_FOLDER), 0750, (uid_t)uid, (gid_t)gid, err);
    if (rc == OK)
        rc = write_settings(h, err);
    return rc == OK ? make_cluster(h, version, uid, gid, err) : rc;
}

static enum err database_command(const struct home *h, const struct service *s, struct arena *a,
                                 struct service_command *ret, struct errinfo *err)
{
    (void)s;
    char path[PATH_SIZE];
    int version = 0;
    enum err rc = find_version(h, &version, err);
    if (rc != OK)
        return rc;
    size_t n = 0;
    ret->argv[n++] = arena_strdup(a, program("postgres", version, path));
    ret->argv[n++] = "-D";
    ret->argv[n++] = arena_strdup(a, home_path(h, path, "store/postgres/data"));
    ret->argv[n++] = "-c";
    ret->argv[n++] = arena_printf(a, "config_file=%s", home_path(h, path, "store/postgres/postgresql.conf"));
    return OK;
}

static enum err run_sql(const struct home *h, struct str sql, struct errinfo *err)
{
    char psql[PATH_SIZE], folder[PATH_SIZE];
    int version = 0;
    enum err rc = find_version(h, &version, err);
    if (rc != OK)
        return rc;
    const char *argv[] = {program("psql", version, psql),
                          "-X",
                          "-q",
                          "-A",
                          "-t",
                          "-v",
                          "ON_ERROR_STOP=1",
                          "-h",
                          home_path(h, folder, DATABASE_SOCKET_FOLDER),
                          "-U",
                          DATABASE_ADMIN,
                          "-d",
                          "postgres",
                          "-f",
                          "-",
                          NULL};
    return run_program(&(struct run_options){.argv = argv, .stdin_text = sql, .timeout_ms = 10000}, NULL, err);
}

static enum err database_is_well(const struct home *h, const struct service *s, struct errinfo *err)
{
    (void)s;
    return run_sql(h, STR("SELECT 1;\n"), err);
}

static enum err database_prepare(const struct home *h, const struct service *s, struct errinfo *err)
{
    (void)s;
    enum err rc = run_sql(
        h,
        STR("SELECT 'CREATE ROLE ' || name || ' LOGIN' FROM (VALUES ('" DATABASE_OWNER "'), ('" DATABASE_REPLICA
            "')) AS wanted(name)"
            " WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)\n\\gexec\n"
            "SELECT 'CREATE DATABASE " DATABASE_NAME " OWNER " DATABASE_OWNER " ENCODING ''UTF8'' TEMPLATE template0'"
            " WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '" DATABASE_NAME "')\n\\gexec\n"),
        err);
    return rc == OK ? OK : err_wrap(err, rc, "while making roles and database of the log");
}

struct service database_service(void)
{
    return (struct service){.name = "postgres",
                            .title = "the database of the log",
                            .log_file = "store/postgres/server.log",
                            /* PostgreSQL ends its sessions, writes a checkpoint and ends */
                            .stop_signal = SIGINT,
                            .stop_ms = DATABASE_STOP_MS,
                            .outlives_supervisor = true,
                            .create = database_create,
                            .command = database_command,
                            .is_well = database_is_well,
                            .prepare = database_prepare};
}
