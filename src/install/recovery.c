#include "install/recovery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "crypto/file.h"
#include "crypto/seal_keys.h"
#include "os/file.h"

/* ---- making one ---- */

static enum err read_part(const struct home *h, const char *name, struct buf *ret, struct errinfo *err)
{
    char path[PATH_SIZE];
    enum err rc = crypto_file_read(home_path(h, path, "%s", name), ret, err);
    return rc == OK ? OK : err_wrap(err, rc, "for a recovery key");
}

/* Read it before the text is taken apart: what is sealed is what was looked at. */
static enum err collect(const struct home *h, struct recovery *ret, struct errinfo *err)
{
    struct seal_keys keys;
    *ret = (struct recovery){0};
    if (!str_copy_to(h->inst.name, ret->installation, sizeof(ret->installation)))
        return err_set(err, ERR_INVALID, "there is no installation in '%s'", h->path);
    char now[CLOCK_TEXT_SIZE];
    clock_format_us(clock_wall_us(), now);
    (void)snprintf(ret->made, sizeof(ret->made), "%s", now);
    enum err rc = read_part(h, "ca/ca.crt", &ret->ca_cert, err);
    if (rc == OK)
        rc = read_part(h, "ca/ca.key", &ret->ca_key, err);
    if (rc == OK)
        rc = read_part(h, "ca/seal.key", &ret->seal_keys, err);
    if (rc == OK)
        rc = read_part(h, "installation.json", &ret->installation_json, err);
    if (rc == OK)
        rc = seal_keys_parse(buf_str(&ret->seal_keys), "ca/seal.key", &keys, err);
    if (rc != OK) {
        recovery_done(ret);
        return rc;
    }
    memcpy(ret->key_id, keys.keys[0].id, sizeof(ret->key_id));
    recovery_ca_id(buf_str(&ret->ca_cert), ret->ca_id);
    seal_keys_wipe(&keys);
    return OK;
}

static char *state_of(const struct recovery *r)
{
    return mem_printf("%s %s\n", r->key_id, r->ca_id);
}

static enum err write_it(const struct home *h, const struct recovery *r, const char *file, struct str passphrase,
                         const struct recovery_cost *cost, struct errinfo *err)
{
    char path[PATH_SIZE];
    AUTO(buf) struct buf text = {0};
    auto_free char *state = state_of(r);
    enum err rc = recovery_seal(r, passphrase, cost == NULL ? &RECOVERY_COST : cost, &text, err);
    if (rc == OK)
        rc = crypto_file_write(file, buf_str(&text), 0600, -1, -1, err);
    return rc == OK ? crypto_file_write(home_path(h, path, RECOVERY_STATE_FILE), str_from(state), 0600, -1, -1, err)
                    : rc;
}

enum err recovery_create(const struct home *h, const char *file, struct str passphrase,
                         const struct recovery_cost *cost, struct errinfo *err)
{
    AUTO(recovery) struct recovery r = {0};
    if (file_exists(file))
        return err_set(err, ERR_CONFLICT, "'%s' is there: name a file that is not", file);
    enum err rc = collect(h, &r, err);
    return rc == OK ? write_it(h, &r, file, passphrase, cost, err) : rc;
}

/* *ret: the code that is there, or a new one. */
static enum err code_of(const struct home *h, struct buf *ret, struct errinfo *err)
{
    char path[PATH_SIZE], code[RECOVERY_CODE_SIZE];
    enum err rc = crypto_file_read(home_path(h, path, RECOVERY_CODE_FILE), ret, err);
    if (rc != ERR_NOT_FOUND)
        return rc;
    recovery_code(code);
    buf_add_c(ret, code);
    explicit_bzero(code, sizeof(code));
    return crypto_file_write(path, buf_str(ret), 0600, -1, -1, err);
}

enum err recovery_keep(const struct home *h, const struct recovery_cost *cost, void (*say)(void *ctx, const char *text),
                       void *ctx, struct errinfo *err)
{
    char path[PATH_SIZE], code_path[PATH_SIZE], line[2 * PATH_SIZE + 256];
    AUTO(recovery) struct recovery r = {0};
    AUTO(buf) struct buf was = {0};
    AUTO(secret) struct buf code = {0};
    enum err rc = collect(h, &r, err);
    if (rc != OK)
        return rc;
    auto_free char *state = state_of(&r);
    rc = crypto_file_read(home_path(h, path, RECOVERY_STATE_FILE), &was, err);
    if (rc == OK && str_eq_c(buf_str(&was), state))
        return OK;
    bool is_first = rc == ERR_NOT_FOUND;
    if (rc == OK || is_first)
        rc = code_of(h, &code, err);
    if (rc == OK)
        rc = write_it(h, &r, home_path(h, path, RECOVERY_FILE), str_trim(buf_str(&code)), cost, err);
    if (rc != OK)
        return rc;
    (void)snprintf(line, sizeof(line),
                   "recovery key%s: copy '%s' off this machine, and its code ('%s') to another place",
                   is_first ? "" : " (those made before are stale)", path, home_path(h, code_path, RECOVERY_CODE_FILE));
    say(ctx, line);
    return OK;
}

/* ---- looking at one ---- */

static enum err open_file(const char *file, struct str passphrase, struct recovery *ret, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    enum err rc = file_read(file, RECOVERY_SIZE_MAX, &text, err);
    if (rc == OK)
        rc = recovery_open(buf_str(&text), passphrase, ret, err);
    return rc == OK ? OK : err_wrap(err, rc, "'%s'", file);
}

static enum err check_whose(const struct home *h, const struct recovery *r, const char *file, struct errinfo *err)
{
    if (h->inst.name.len == 0 || str_eq_c(h->inst.name, r->installation))
        return OK;
    return err_set(err, ERR_CONFLICT, "'%s' is of the installation '%s', and in '%s' is '%.*s'", file, r->installation,
                   h->path, STR_ARG(h->inst.name));
}

enum err recovery_check(const struct home *h, const char *file, struct str passphrase, struct recovery *ret,
                        enum recovery_verdict *ret_verdict, char ret_why[static 256], struct errinfo *err)
{
    AUTO(recovery) struct recovery now = {0};
    struct errinfo why = {0};
    ret_why[0] = '\0';
    enum err rc = open_file(file, passphrase, ret, err);
    if (rc == OK)
        rc = check_whose(h, ret, file, err);
    if (rc != OK) {
        recovery_done(ret);
        return rc;
    }
    *ret_verdict = RECOVERY_CURRENT;
    if (collect(h, &now, &why) != OK) {
        *ret_verdict = RECOVERY_UNKNOWN;
        (void)snprintf(ret_why, 256, "%.255s", why.msg);
    } else if (strcmp(now.key_id, ret->key_id) != 0) {
        *ret_verdict = RECOVERY_STALE;
        (void)snprintf(ret_why, 256, "its current key is %s, and here it is %s", ret->key_id, now.key_id);
    } else if (strcmp(now.ca_id, ret->ca_id) != 0) {
        *ret_verdict = RECOVERY_STALE;
        (void)snprintf(ret_why, 256, "it has another CA than the one here");
    }
    return OK;
}

/* ---- restoring ---- */

struct piece {
    const char *name;
    const struct buf *bytes;
    mode_t mode;
    bool is_the_users; /* of the user that programs run as */
    bool is_missing;
};

static enum err look_at(const struct home *h, struct piece *p, struct errinfo *err)
{
    char path[PATH_SIZE];
    AUTO(secret) struct buf there = {0};
    enum err rc = crypto_file_read(home_path(h, path, "%s", p->name), &there, err);
    p->is_missing = rc == ERR_NOT_FOUND;
    if (rc != OK)
        return p->is_missing ? OK : rc;
    return str_eq(buf_str(&there), buf_str(p->bytes))
               ? OK
               : err_set(err, ERR_CONFLICT, "'%s' is another one than the recovery key has: move it away first", path);
}

/* Keys that are there stay. Those of the recovery key are among them, or are added. */
static enum err look_at_keys(const char *file, const struct recovery *r, bool adds, size_t *ret_n, bool *ret_is_missing,
                             struct errinfo *err)
{
    struct seal_keys there = {0}, from = {0};
    struct stat st;
    enum err rc = seal_keys_load(file, &there, err);
    *ret_is_missing = rc == ERR_NOT_FOUND;
    if (rc == OK)
        rc = seal_keys_parse(buf_str(&r->seal_keys), "the recovery key", &from, err);
    if (rc == OK && seal_keys_find(&there, from.keys[0].id) == NULL && !adds)
        rc = err_set(err, ERR_CONFLICT,
                     "'%s' has other keys. If they were made after a loss, '--add' brings the old ones back beside "
                     "them; if they are of a later rotation, nothing is missing",
                     file);
    if (rc == OK && adds)
        rc = seal_keys_add_old(&there, &from, ret_n, err);
    if (rc == OK && *ret_n > 0 && stat(file, &st) != 0)
        rc = err_set_os(err, ERR_IO, errno, "look at '%s'", file);
    if (rc == OK && *ret_n > 0)
        rc = seal_keys_save(&there, file, (int)st.st_uid, (int)st.st_gid, err);
    seal_keys_wipe(&there);
    seal_keys_wipe(&from);
    return *ret_is_missing ? OK : rc;
}

static enum err put_back(const struct home *h, const struct piece *p, const struct recovery_order *o,
                         struct recovery_restored *ret, struct errinfo *err)
{
    char path[PATH_SIZE];
    home_path(h, path, "%s", p->name);
    enum err rc = crypto_file_write(path, buf_str(p->bytes), p->mode, p->is_the_users ? o->uid : -1,
                                    p->is_the_users ? o->gid : -1, err);
    if (rc == OK)
        (void)snprintf(ret->written[ret->written_n++], sizeof(ret->written[0]), "%s", p->name);
    return rc;
}

static enum err restore(const struct home *h, const struct recovery *r, const struct recovery_order *o,
                        struct recovery_restored *ret, struct errinfo *err)
{
    struct piece pieces[] = {{"installation.json", &r->installation_json, 0644, false, false},
                             {"ca/ca.key", &r->ca_key, 0400, true, false},
                             {"ca/ca.crt", &r->ca_cert, 0644, false, false},
                             {"ca/seal.key", &r->seal_keys, 0400, true, false}};
    enum { N = sizeof(pieces) / sizeof(pieces[0]) };
    char path[PATH_SIZE];
    enum err rc = OK;
    pieces[0].is_missing = !file_exists(home_path(h, path, "installation.json")); /* else it may have grown since */
    for (size_t i = 1; rc == OK && i + 1 < N; i++)
        rc = look_at(h, &pieces[i], err);
    if (rc == OK)
        rc = look_at_keys(home_path(h, path, "ca/seal.key"), r, o->adds, &ret->added_n, &pieces[N - 1].is_missing, err);
    if (rc == OK)
        rc = folder_make(home_path(h, path, "ca"), 0755, err);
    for (size_t i = 0; rc == OK && i < N; i++)
        if (pieces[i].is_missing && pieces[i].bytes->len > 0)
            rc = put_back(h, &pieces[i], o, ret, err);
    return rc;
}

enum err recovery_restore(const struct home *h, const struct recovery_order *o, struct recovery_restored *ret,
                          struct errinfo *err)
{
    AUTO(recovery) struct recovery r = {0};
    *ret = (struct recovery_restored){0};
    enum err rc = open_file(o->file, o->passphrase, &r, err);
    if (rc == OK)
        rc = check_whose(h, &r, o->file, err);
    return rc == OK ? restore(h, &r, o, ret, err) : rc;
}
