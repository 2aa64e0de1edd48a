/* Which of the two servers is the primary, and how that changes.
 *
 * A standby is waited for at every commit (synchronous.conf of its primary) from the moment at which it has caught up
 * ('in-step' is beside it then): who takes over lacks nothing that was acknowledged. A primary that was taken over from
 * is started no more before it was made a standby by a base backup; what it had is kept in data.before. */
#include "install/database_pair.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "install/files.h"
#include "install/supervise.h"
#include "os/file.h"

/* A standby that was made catches up within; the supervisor starts one that ended after 30 s at most (chosen). */
enum { FOLLOW_MS = 90000, LOOK_US = 100000, PROMOTE_MS = 70000 };
/* A start of the old primary that was under way when it was fenced is over by then (chosen). */
enum { QUIET_LOOKS = 5, STOP_LOOKS = 100 };

const char *database_other(const char *name)
{
    return strcmp(name, DATABASE_FIRST) == 0 ? DATABASE_SECOND : DATABASE_FIRST;
}

const char *database_primary(const struct home *h)
{
    char path[PATH_SIZE];
    AUTO(buf) struct buf text = {0};
    if (file_read(home_path(h, path, "store/primary"), 32, &text, NULL) != OK)
        return DATABASE_FIRST;
    return str_eq(buf_str(&text), STR(DATABASE_SECOND "\n")) ? DATABASE_SECOND : DATABASE_FIRST;
}

bool database_is_primary(const struct home *h, const char *name)
{
    return strcmp(database_primary(h), name) == 0;
}

const char *database_slot(const char *name, char ret[static DATABASE_SLOT_SIZE])
{
    (void)snprintf(ret, DATABASE_SLOT_SIZE, "%s", name);
    for (char *at = strchr(ret, '-'); at != NULL; at = strchr(at, '-'))
        *at = '_';
    return ret;
}

static bool is_made_standby(const struct home *h, const char *name)
{
    char path[PATH_SIZE];
    return file_exists(home_path(h, path, "store/%s/data/standby.signal", name));
}

/* The primary has read synchronous.conf, and its standby was in step then: the file alone says what was wanted. */
static bool is_waited_for(const struct home *h, const char *primary)
{
    char path[PATH_SIZE];
    return file_exists(home_path(h, path, "store/%s/in-step", primary));
}

enum err database_may_start(const struct home *h, const char *name, struct errinfo *err)
{
    if (database_is_primary(h, name) || is_made_standby(h, name))
        return OK;
    return err_set(err, ERR_CONFLICT, "it is no standby of '%s' yet: 'slipform up' makes it one", database_other(name));
}

/* ---- health ---- */

enum err database_primary_is_well(const struct home *h, const char *name, struct errinfo *err)
{
    char answer[DATABASE_ANSWER_SIZE];
    enum err rc = database_sql(h, name, STR("SELECT pg_is_in_recovery();\n"), DATABASE_ASK_MS, answer, err);
    if (rc == OK && strcmp(answer, "f") != 0)
        rc = err_set(err, ERR_UNAVAILABLE, "'%s' does not take writes yet: 'slipform store promote' goes on", name);
    return rc;
}

static enum err standby_follows(const struct home *h, const char *name, struct errinfo *err)
{
    char answer[DATABASE_ANSWER_SIZE];
    if (!is_made_standby(h, name))
        return err_set(err, ERR_UNAVAILABLE, "'%s' is no standby of '%s' yet: 'slipform up' makes it one", name,
                       database_other(name));
    enum err rc =
        database_sql(h, name, STR("SELECT status FROM pg_stat_wal_receiver;\n"), DATABASE_ASK_MS, answer, err);
    if (rc == OK && strcmp(answer, "streaming") != 0)
        rc = err_set(err, ERR_UNAVAILABLE, "'%s' does not follow '%s'", name, database_other(name));
    return rc;
}

enum err database_standby_is_well(const struct home *h, const char *name, struct errinfo *err)
{
    enum err rc = standby_follows(h, name, err);
    if (rc == OK && !is_waited_for(h, database_other(name)))
        rc = err_set(err, ERR_UNAVAILABLE, "'%s' acknowledges without '%s': 'slipform up' ends that",
                     database_other(name), name);
    return rc;
}

void database_tell(const struct home *h, const struct service *s, char ret[static SERVICE_TELL_SIZE])
{
    char behind[DATABASE_ANSWER_SIZE];
    bool is_primary = database_is_primary(h, s->name);
    const char *primary = is_primary ? s->name : database_other(s->name);
    if (is_primary) {
        (void)snprintf(ret, SERVICE_TELL_SIZE, is_waited_for(h, primary) ? "primary" : "primary, alone");
        return;
    }
    auto_free char *sql =
        mem_printf("SELECT sync_state || ', ' || pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) || "
                   "' bytes behind' FROM pg_stat_replication WHERE application_name = '%s';\n",
                   s->name);
    if (database_sql(h, primary, str_from(sql), DATABASE_ASK_MS, behind, NULL) != OK || behind[0] == '\0')
        (void)snprintf(behind, sizeof(behind), "not following");
    (void)snprintf(ret, SERVICE_TELL_SIZE, "standby, %.60s", behind);
}

/* ---- making a standby ---- */

static enum err make_slot(const struct home *h, const char *name, struct errinfo *err)
{
    char answer[DATABASE_ANSWER_SIZE], slot[DATABASE_SLOT_SIZE];
    database_slot(name, slot);
    auto_free char *sql = mem_printf("SELECT pg_create_physical_replication_slot('%s') WHERE NOT EXISTS (SELECT FROM "
                                     "pg_replication_slots WHERE slot_name = '%s');\n",
                                     slot, slot);
    return database_sql(h, database_other(name), str_from(sql), DATABASE_ASK_MS, answer, err);
}

static enum err remove_if_there(const char *path, struct errinfo *err)
{
    enum err rc = folder_remove(path, err);
    return rc == ERR_NOT_FOUND ? OK : rc;
}

/* data.new takes the place of data, which stays as data.before. */
static enum err change_places(const struct home *h, const char *name, struct errinfo *err)
{
    char data[PATH_SIZE], fresh[PATH_SIZE], before[PATH_SIZE];
    home_path(h, data, "store/%s/data", name);
    home_path(h, fresh, "store/%s/data.new", name);
    enum err rc = OK;
    if (file_exists(data)) {
        rc = remove_if_there(home_path(h, before, "store/%s/data.before", name), err);
        if (rc == OK)
            rc = file_rename(data, before, err);
    }
    return rc == OK ? file_rename(fresh, data, err) : rc;
}

static enum err make_standby(const struct home *h, const char *name, struct errinfo *err)
{
    char path[PATH_SIZE];
    int uid = 0, gid = 0;
    enum err rc = files_user(&uid, &gid, err);
    if (rc == OK)
        rc = remove_if_there(home_path(h, path, "store/%s/data.new", name), err);
    if (rc == OK)
        rc = make_slot(h, name, err);
    if (rc == OK)
        rc = database_base_backup(h, name, err);
    if (rc == OK) /* first: without it the copy would be a second primary */
        rc = file_replace_owned(home_path(h, path, "store/%s/data.new/standby.signal", name), STR(""), 0600, (uid_t)uid,
                                (gid_t)gid, err);
    if (rc == OK)
        rc = change_places(h, name, err);
    return rc == OK ? OK : err_wrap(err, rc, "while making '%s' a standby", name);
}

static enum err wait_until(enum err (*check)(const struct home *h, const char *name, struct errinfo *err),
                           const struct home *h, const char *name, struct errinfo *err)
{
    int64_t until_us = clock_mono_us() + (int64_t)FOLLOW_MS * 1000;
    for (;;) {
        enum err rc = check(h, name, err);
        if (rc == OK || clock_mono_us() > until_us)
            return rc;
        usleep(LOOK_US);
    }
}

static enum err reload(const struct home *h, const char *name, struct errinfo *err)
{
    char answer[DATABASE_ANSWER_SIZE];
    return database_sql(h, name, STR("SELECT pg_reload_conf();\n"), DATABASE_ASK_MS, answer, err);
}

static enum err is_synchronous(const struct home *h, const char *name, struct errinfo *err)
{
    char answer[DATABASE_ANSWER_SIZE];
    auto_free char *sql =
        mem_printf("SELECT sync_state FROM pg_stat_replication WHERE application_name = '%s';\n", name);
    enum err rc = database_sql(h, database_other(name), str_from(sql), DATABASE_ASK_MS, answer, err);
    if (rc == OK && strcmp(answer, "sync") != 0)
        rc = err_set(err, ERR_UNAVAILABLE, "'%s' is not in step with '%s' yet", name, database_other(name));
    return rc;
}

/* From here on the primary acknowledges nothing that the standby has not. */
static enum err wait_for_it(const struct home *h, const char *name, struct errinfo *err)
{
    char path[PATH_SIZE];
    auto_free char *text = mem_printf("synchronous_standby_names = '\"%s\"'\n", name);
    enum err rc =
        file_replace(home_path(h, path, "store/%s/synchronous.conf", database_other(name)), str_from(text), 0644, err);
    if (rc == OK)
        rc = reload(h, database_other(name), err);
    if (rc == OK)
        rc = wait_until(is_synchronous, h, name, err);
    return rc == OK ? file_replace(home_path(h, path, "store/%s/in-step", database_other(name)), STR(""), 0644, err)
                    : rc;
}

enum err database_prepare_standby(const struct home *h, const char *name, struct errinfo *err)
{
    enum err rc = is_made_standby(h, name) ? OK : make_standby(h, name, err);
    if (rc == OK)
        rc = wait_until(standby_follows, h, name, err);
    if (rc == OK)
        rc = wait_for_it(h, name, err);
    return rc == OK ? OK
                    : err_wrap(err, rc,
                               "the standby of the log's database ('slipform store alone' goes on without it; with "
                               "'%s/store/%s/data' removed the next 'up' makes it anew)",
                               h->path, name);
}

static enum err wait_for_nobody(const struct home *h, const char *primary, struct errinfo *err)
{
    static const char *const FILES[] = {"in-step", "synchronous.conf"}; /* the word about the other one goes first */
    enum err rc = OK;
    for (size_t i = 0; rc == OK && i < sizeof(FILES) / sizeof(FILES[0]); i++) {
        char path[PATH_SIZE];
        rc = file_remove(home_path(h, path, "store/%s/%s", primary, FILES[i]), err);
    }
    return rc;
}

enum err database_alone(const struct home *h, struct errinfo *err)
{
    const char *primary = database_primary(h);
    enum err rc = wait_for_nobody(h, primary, err);
    return rc == OK ? reload(h, primary, err) : rc;
}

/* ---- taking over ---- */

static bool answers(const struct home *h, const char *name)
{
    char answer[DATABASE_ANSWER_SIZE];
    return database_sql(h, name, STR("SELECT 1;\n"), DATABASE_ASK_MS, answer, NULL) == OK;
}

static enum err check_promotion(const struct home *h, const struct database_promotion *o, const char *primary,
                                struct errinfo *err)
{
    const char *standby = database_other(primary);
    char answer[DATABASE_ANSWER_SIZE];
    if (!is_made_standby(h, standby))
        return err_set(err, ERR_CONFLICT, "'%s' is no standby: 'slipform up' makes it one, as long as '%s' answers",
                       standby, primary);
    if (!is_waited_for(h, primary) && !o->may_lose)
        return err_set(err, ERR_CONFLICT,
                       "'%s' acknowledged without '%s', which may lack what was appended then: '--may-lose' takes it "
                       "nevertheless",
                       primary, standby);
    enum err rc = database_sql(h, standby, STR("SELECT 1;\n"), DATABASE_ASK_MS, answer, err);
    if (rc != OK)
        return err_wrap(err, ERR_UNAVAILABLE, "the standby '%s'", standby);
    if (!o->stops && answers(h, primary))
        return err_set(err, ERR_CONFLICT,
                       "the primary '%s' answers, and two would take writes: '--stop' stops it first", primary);
    return OK;
}

/* It is named in store/primary no more, so it is not started again; who was just starting it is waited for. */
static enum err fence(const struct home *h, const char *old, struct errinfo *err)
{
    char path[PATH_SIZE];
    auto_free char *text = mem_printf("%s\n", database_other(old));
    struct service services[2];
    enum err rc = file_replace(home_path(h, path, "store/primary"), str_from(text), 0644, err);
    database_services(h, services);
    int quiet = 0;
    for (int i = 0; rc == OK && quiet < QUIET_LOOKS; i++) {
        bool has_run = false;
        rc = supervise_stop_service(h, &services[1], &has_run, err);
        quiet = has_run ? 0 : quiet + 1;
        if (rc == OK && i > STOP_LOOKS)
            rc = err_set(err, ERR_UNAVAILABLE, "'%s' is started again and again", old);
        usleep(LOOK_US);
    }
    return rc == OK && answers(h, old) ? err_set(err, ERR_UNAVAILABLE, "'%s' still answers", old) : rc;
}

static enum err take_over(const struct home *h, const char *name, struct errinfo *err)
{
    char answer[DATABASE_ANSWER_SIZE];
    enum err rc = wait_for_nobody(h, name, err); /* it has no standby of its own yet */
    if (rc == OK)
        rc = reload(h, name, err);
    if (rc == OK)
        rc = database_sql(h, name, STR("SELECT NOT pg_is_in_recovery() OR pg_promote(true, 60);\n"), PROMOTE_MS, answer,
                          err);
    if (rc == OK && strcmp(answer, "t") != 0)
        rc = err_set(err, ERR_UNAVAILABLE, "'%s' did not take over in time", name);
    return rc;
}

enum err database_promote(const struct home *h, const struct database_promotion *o, const char **ret_name,
                          struct errinfo *err)
{
    char path[PATH_SIZE];
    auto_close int lock = -1;
    enum err rc = file_lock(home_path(h, path, "run/install.lock"), &lock, err);
    if (rc == ERR_CONFLICT)
        return err_set(err, rc, "another 'slipform up' or 'down' is at work in '%s': wait for it to end", h->path);
    const char *primary = database_primary(h);
    bool is_interrupted = is_made_standby(h, primary); /* fenced off, and not promoted yet */
    *ret_name = is_interrupted ? primary : database_other(primary);
    if (rc == OK && !is_interrupted)
        rc = check_promotion(h, o, primary, err);
    if (rc == OK)
        rc = fence(h, database_other(*ret_name), err);
    return rc == OK ? take_over(h, *ret_name, err) : rc;
}
