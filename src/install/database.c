/* The servers: their files, how they are run, what they are asked. Which of them is the primary, and how that changes:
 * database_pair.c. */
#include "install/database.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/own.h"
#include "install/database_pair.h"
#include "install/files.h"
#include "os/child.h"
#include "os/file.h"
#include "os/run.h"

#define VERSIONS_FOLDER "/usr/lib/postgresql" /* Debian's: <major>/bin/postgres */
enum { VERSION_MIN = 14, INITDB_TIMEOUT_MS = 120000 };
/* 60 s: a checkpoint on a slow disk (chosen). */
enum { DATABASE_STOP_MS = 60000 };
/* 10 min: a base backup of some 10 GB (chosen). */
enum { BACKUP_TIMEOUT_MS = 600000 };

static const char *program(const char *name, int version, char ret[static PATH_SIZE])
{
    (void)snprintf(ret, PATH_SIZE, VERSIONS_FOLDER "/%d/bin/%s", version, name);
    return ret;
}

static int version_of(const struct home *h, const char *name)
{
    char path[PATH_SIZE];
    AUTO(buf) struct buf text = {0};
    if (file_read(home_path(h, path, "store/%s/data/PG_VERSION", name), 32, &text, NULL) != OK)
        return 0;
    buf_add_char(&text, '\0');
    return (int)strtol(text.ptr, NULL, 10);
}

/* A cluster is run by the version that made it, a standby by its primary's, a new one is made by the newest. */
static enum err find_version(const struct home *h, const char *name, int *ret, struct errinfo *err)
{
    char path[PATH_SIZE];
    *ret = version_of(h, name);
    if (*ret == 0)
        *ret = version_of(h, database_other(name));
    if (*ret != 0 && file_exists(program("postgres", *ret, path)))
        return OK;
    if (*ret != 0)
        return err_set(err, ERR_NOT_FOUND, "the database of '%s' is of PostgreSQL %d, and '%s' is missing: install it",
                       h->path, *ret, path);
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
    if (strlen(home_path(h, path, "run/" DATABASE_SECOND "/.s.PGSQL.5432")) < sizeof(limit.sun_path))
        return OK;
    return err_set(err, ERR_INVALID, "'%s' is too long for the name of a socket: choose a shorter SLIPFORM_HOME", path);
}

static enum err write_if_new(const char *path, struct str text, bool *ret_changed, struct errinfo *err)
{
    AUTO(buf) struct buf was = {0};
    if (file_read(path, 1048576, &was, NULL) == OK && str_eq(buf_str(&was), text))
        return OK;
    *ret_changed = true;
    return file_replace(path, text, 0644, err);
}

/* The same for both: what is for a standby counts where 'standby.signal' is, and only who is in step is waited for. */
static void format_settings(const struct home *h, const char *name, const char *hba, const char *ident, struct buf *b)
{
    char folder[PATH_SIZE], other[PATH_SIZE], synchronous[PATH_SIZE], slot[DATABASE_SLOT_SIZE];
    /* 200 connections: each of six programs has one a log, for keys, leases and lines, and up to eight for logs of
     * applications (chosen). Shared memory is a file of the cluster, so that it goes with it. 1 GB: a standby that is
     * away for longer is made anew instead of filling the disk (chosen). */
    buf_addf(b,
             "listen_addresses = ''\nunix_socket_directories = '%s'\nhba_file = '%s'\nident_file = '%s'\n"
             "max_connections = 200\ndynamic_shared_memory_type = mmap\nshared_buffers = 64MB\nfsync = "
             "on\nsynchronous_commit = on\nfull_page_writes = on\n"
             "log_timezone = 'UTC'\ntimezone = 'UTC'\nlc_messages = 'C'\nmax_slot_wal_keep_size = '1GB'\n"
             "primary_conninfo = 'host=%s user=" DATABASE_STANDBY " application_name=%s'\nprimary_slot_name = '%s'\n"
             "include_if_exists = '%s'\n",
             home_path(h, folder, "run/%s", name), hba, ident, home_path(h, other, "run/%s", database_other(name)),
             name, database_slot(name, slot), home_path(h, synchronous, "store/%s/synchronous.conf", name));
}

/* Beside the cluster, not in it: initdb wants an empty folder, and a standby is not to have its primary's. */
static enum err write_settings(const struct home *h, const char *name, bool *ret_changed, struct errinfo *err)
{
    char path[PATH_SIZE], hba[PATH_SIZE], ident[PATH_SIZE];
    AUTO(buf) struct buf b = {0};
    home_path(h, hba, "store/%s/pg_hba.conf", name);
    home_path(h, ident, "store/%s/pg_ident.conf", name);
    format_settings(h, name, hba, ident, &b);
    enum err rc = write_if_new(home_path(h, path, "store/%s/postgresql.conf", name), buf_str(&b), ret_changed, err);
    if (rc == OK)
        rc = write_if_new(hba,
                          STR("local all " DATABASE_ADMIN " peer map=slipform\n"
                              "local " DATABASE_NAME " " DATABASE_OWNER " peer map=slipform\n"
                              "local " DATABASE_NAME " " DATABASE_REPLICA " peer map=slipform\n"
                              "local replication " DATABASE_STANDBY " peer map=slipform\n"),
                          ret_changed, err);
    if (rc == OK)
        rc = write_if_new(ident,
                          STR("slipform root " DATABASE_ADMIN "\n"
                              "slipform root " DATABASE_OWNER "\n"
                              "slipform root " DATABASE_REPLICA "\n"
                              "slipform slipform " DATABASE_REPLICA "\n"
                              "slipform slipform " DATABASE_STANDBY "\n"),
                          ret_changed, err);
    return rc;
}

/* One of PostgreSQL's own programs, to its end, as the user that the server runs as. */
static enum err run_as(const char *const *argv, int uid, int gid, int64_t timeout_ms, struct errinfo *err)
{
    static const char *const ENV[] = {"PATH=/usr/sbin:/sbin:/usr/bin:/bin", "LANG=C", NULL};
    struct child_spec spec = {.argv = argv,
                              .env = ENV,
                              .drop_user = true,
                              .uid = (uid_t)uid,
                              .gid = (gid_t)gid,
                              .drop_caps = true,
                              .die_with_parent = true};
    AUTO(buf) struct buf said = {0};
    return child_run(&spec, timeout_ms, &said, err);
}

static enum err make_cluster(const struct home *h, const char *name, int version, int uid, int gid, struct errinfo *err)
{
    char initdb[PATH_SIZE], fresh[PATH_SIZE], data[PATH_SIZE];
    if (file_exists(home_path(h, data, "store/%s/data/PG_VERSION", name)))
        return OK;
    home_path(h, data, "store/%s/data", name);
    /* Made beside its name: one that was interrupted is begun anew. */
    enum err rc = folder_remove(home_path(h, fresh, "store/%s/data.new", name), err);
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
    rc = run_as(argv, uid, gid, INITDB_TIMEOUT_MS, err);
    if (rc == OK)
        rc = file_rename(fresh, data, err);
    return rc == OK ? OK : err_wrap(err, rc, "while making the database");
}

static enum err make_folders(const struct home *h, const char *name, int uid, int gid, struct errinfo *err)
{
    char path[PATH_SIZE];
    enum err rc = folder_make_owned(home_path(h, path, "store"), 0755, 0, 0, err);
    if (rc == OK)
        rc = folder_make_owned(home_path(h, path, "store/%s", name), 0750, (uid_t)uid, (gid_t)gid, err);
    if (rc == OK)
        rc = folder_make_owned(home_path(h, path, "run/%s", name), 0750, (uid_t)uid, (gid_t)gid, err);
    return rc;
}

static enum err database_create(const struct home *h, const struct service *s, int uid, int gid, bool *ret_changed,
                                struct errinfo *err)
{
    int version = 0;
    enum err rc = check_socket_name(h, err);
    if (rc == OK)
        rc = find_version(h, s->name, &version, err);
    if (rc == OK)
        rc = make_folders(h, s->name, uid, gid, err);
    if (rc == OK)
        rc = write_settings(h, s->name, ret_changed, err);
    return rc == OK && database_is_primary(h, s->name) ? make_cluster(h, s->name, version, uid, gid, err) : rc;
}

static enum err database_command(const struct home *h, const struct service *s, struct arena *a,
                                 struct service_command *ret, struct errinfo *err)
{
    char path[PATH_SIZE];
    int version = 0;
    enum err rc = find_version(h, s->name, &version, err);
    if (rc == OK)
        rc = database_may_start(h, s->name, err);
    if (rc != OK)
        return rc;
    size_t n = 0;
    ret->argv[n++] = arena_strdup(a, program("postgres", version, path));
    ret->argv[n++] = "-D";
    ret->argv[n++] = arena_strdup(a, home_path(h, path, "store/%s/data", s->name));
    ret->argv[n++] = "-c";
    ret->argv[n++] = arena_printf(a, "config_file=%s", home_path(h, path, "store/%s/postgresql.conf", s->name));
    return OK;
}

enum err database_sql(const struct home *h, const char *name, struct str sql, int64_t timeout_ms,
                      char ret[static DATABASE_ANSWER_SIZE], struct errinfo *err)
{
    char psql[PATH_SIZE], folder[PATH_SIZE];
    int version = 0;
    AUTO(buf) struct buf out = {0};
    ret[0] = '\0';
    enum err rc = find_version(h, name, &version, err);
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
                          home_path(h, folder, "run/%s", name),
                          "-U",
                          DATABASE_ADMIN,
                          "-d",
                          "postgres",
                          "-f",
                          "-",
                          NULL};
    rc = run_program(&(struct run_options){.argv = argv, .stdin_text = sql, .timeout_ms = timeout_ms}, &out, err);
    struct str rest = buf_str(&out), line = {NULL, 0};
    if (rc == OK && str_next(&rest, '\n', &line) && !str_copy_to(line, ret, DATABASE_ANSWER_SIZE))
        rc = err_set(err, ERR_LIMIT, "the database says too much");
    return rc;
}

enum err database_base_backup(const struct home *h, const char *name, struct errinfo *err)
{
    char backup[PATH_SIZE], from[PATH_SIZE], fresh[PATH_SIZE], slot[DATABASE_SLOT_SIZE];
    int version = 0, uid = 0, gid = 0;
    enum err rc = find_version(h, name, &version, err);
    if (rc == OK)
        rc = files_user(&uid, &gid, err);
    if (rc != OK)
        return rc;
    const char *argv[] = {program("pg_basebackup", version, backup),
                          "-D",
                          home_path(h, fresh, "store/%s/data.new", name),
                          "-h",
                          home_path(h, from, "run/%s", database_other(name)),
                          "-U",
                          DATABASE_STANDBY,
                          "-w",
                          "-X",
                          "stream",
                          "-c",
                          "fast",
                          "-S",
                          database_slot(name, slot),
                          NULL};
    return run_as(argv, uid, gid, BACKUP_TIMEOUT_MS, err);
}

static enum err prepare_primary(const struct home *h, const char *name, struct errinfo *err)
{
    char ignored[DATABASE_ANSWER_SIZE];
    enum err rc = database_sql(
        h, name,
        STR("SELECT 'CREATE ROLE ' || name || ' LOGIN ' || more FROM (VALUES ('" DATABASE_OWNER
            "', ''), ('" DATABASE_REPLICA "', ''), ('" DATABASE_STANDBY "', 'REPLICATION')) AS wanted(name, more)"
            " WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)\n\\gexec\n"
            "SELECT 'CREATE DATABASE " DATABASE_NAME " OWNER " DATABASE_OWNER " ENCODING ''UTF8'' TEMPLATE template0'"
            " WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '" DATABASE_NAME "')\n\\gexec\n"),
        DATABASE_ASK_MS, ignored, err);
    return rc == OK ? OK : err_wrap(err, rc, "while making roles and database of the log");
}

static enum err database_is_well(const struct home *h, const struct service *s, struct errinfo *err)
{
    return database_is_primary(h, s->name) ? database_primary_is_well(h, s->name, err)
                                           : database_standby_is_well(h, s->name, err);
}

static enum err database_prepare(const struct home *h, const struct service *s, struct errinfo *err)
{
    return database_is_primary(h, s->name) ? prepare_primary(h, s->name, err)
                                           : database_prepare_standby(h, s->name, err);
}

static struct service service_of(const char *name, bool follows)
{
    struct service s = {.title = follows ? "the standby of the log's database" : "the database of the log",
                        /* PostgreSQL ends its sessions, writes a checkpoint and ends */
                        .stop_signal = SIGINT,
                        .reload_signal = SIGHUP,
                        .stop_ms = DATABASE_STOP_MS,
                        .outlives_supervisor = true,
                        .is_made_last = follows,
                        .create = database_create,
                        .command = database_command,
                        .is_well = database_is_well,
                        .prepare = database_prepare,
                        .tell = database_tell};
    (void)snprintf(s.name, sizeof(s.name), "%s", name);
    (void)snprintf(s.log_file, sizeof(s.log_file), "store/%s/server.log", name);
    return s;
}

void database_services(const struct home *h, struct service ret[static 2])
{
    const char *primary = database_primary(h);
    ret[0] = service_of(primary, false);
    ret[1] = service_of(database_other(primary), true);
}
