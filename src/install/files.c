#include "install/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "event/hash.h"
#include "install/nats.h"
#include "install/s3_server.h"
#include "os/file.h"
#include "os/run.h"

enum err files_user(int *ret_uid, int *ret_gid, struct errinfo *err)
{
    struct passwd *user = getpwnam(INSTALL_USER);
    if (user == NULL) {
        static const char *const ARGV[] = {"useradd",           "--system",     "--no-create-home",
                                           "--home-dir",        "/nonexistent", "--shell",
                                           "/usr/sbin/nologin", INSTALL_USER,   NULL};
        enum err rc = run_program(&(struct run_options){.argv = ARGV}, NULL, err);
        if (rc != OK)
            return err_wrap(err, rc, "while making the user '" INSTALL_USER "'");
        user = getpwnam(INSTALL_USER);
    }
    if (user == NULL)
        return err_set(err, ERR_IO, "the user '" INSTALL_USER "' can't be looked up");
    *ret_uid = (int)user->pw_uid;
    *ret_gid = (int)user->pw_gid;
    return OK;
}

enum err files_act_as(uid_t uid, gid_t gid, struct errinfo *err)
{
    bool is_root_again = geteuid() != 0;
    if (is_root_again && seteuid(uid) != 0)
        return err_set_os(err, ERR_DENIED, errno, "act as user %u", (unsigned)uid);
    if (setegid(gid) != 0 || seteuid(uid) != 0)
        return err_set_os(err, ERR_DENIED, errno, "act as user %u", (unsigned)uid);
    return OK;
}

struct str files_run_name(const struct installation_node *n)
{
    return home_is_operator(n) && !n->has_namespace ? STR("edge") : n->name;
}

enum err files_folders(const struct home *h, int uid, int gid, struct errinfo *err)
{
    /* root's, and those that the platform's programs write in */
    static const struct {
        const char *name;
        mode_t mode;
        bool is_users;
    } FOLDERS[] = {{"", 0755, false},      {"run", 0755, false},         {"programs", 0755, false},
                   {"nodes", 0755, false}, {"log", 0755, true},          {"blobs", 0755, true},
                   {"logs", 0750, true},   {"certificates", 0700, true}, {"log/platform", 0755, true}};
    enum err rc = OK;
    for (size_t i = 0; rc == OK && i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++) {
        char path[PATH_SIZE];
        rc = folder_make_owned(home_path(h, path, "%s", FOLDERS[i].name), FOLDERS[i].mode,
                               FOLDERS[i].is_users ? (uid_t)uid : 0, FOLDERS[i].is_users ? (gid_t)gid : 0, err);
    }
    for (size_t i = 0; rc == OK && i < h->inst.nodes.n; i++) {
        char path[PATH_SIZE];
        static const char *const BELOW[] = {"", "/settings", "/identities"};
        const struct installation_node *n = home_node(h, i);
        home_path(h, path, "run/%.*s", STR_ARG(files_run_name(n)));
        rc = folder_make_owned(path, 0750, (uid_t)uid, (gid_t)gid, err);
        for (size_t k = 0; rc == OK && k < 3; k++)
            rc = folder_make_owned(home_path(h, path, "nodes/%.*s%s", STR_ARG(home_node(h, i)->name), BELOW[k]), 0755,
                                   0, 0, err);
        if (rc == OK && (s3_server_is_wanted(h) || h->inst.blobs.len > 0) && home_is_operator(n))
            rc = folder_make_owned(home_path(h, path, "nodes/%.*s/blob-cache", STR_ARG(n->name)), 0750, (uid_t)uid,
                                   (gid_t)gid, err);
    }
    return rc;
}

static bool file_digest(const char *path, uint8_t ret[static HASH_SIZE])
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    struct hash *hash = hash_new();
    char bytes[65536];
    ssize_t n = 0;
    while ((n = read(fd, bytes, sizeof(bytes))) > 0)
        hash_add(hash, bytes, (size_t)n);
    hash_finish(hash, ret);
    return n == 0;
}

static bool is_same(const char *a, const char *b)
{
    uint8_t da[HASH_SIZE], db[HASH_SIZE];
    return file_digest(a, da) && file_digest(b, db) && memcmp(da, db, HASH_SIZE) == 0;
}

static enum err copy_program(const char *from, const char *to, struct errinfo *err)
{
    auto_free char *temp = mem_printf("%s.new", to);
    auto_close int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return err_set_os(err, ERR_NOT_FOUND, errno,
                          "program '%s' (run 'make build', or 'tools/setup' for what it prepares)", from);
    auto_close int out = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    struct stat st;
    if (out < 0 || fstat(in, &st) != 0)
        return err_set_os(err, ERR_IO, errno, "write '%s'", temp);
    for (off_t left = st.st_size; left > 0;) {
        ssize_t n = sendfile(out, in, NULL, (size_t)left);
        if (n <= 0)
            return err_set_os(err, ERR_IO, errno, "write '%s'", temp);
        left -= n;
    }
    if (fchmod(out, 0755) != 0 || fsync(out) != 0 || rename(temp, to) != 0)
        return err_set_os(err, ERR_IO, errno, "write '%s'", to);
    return OK;
}

static enum err install_file(const char *from, const char *to, bool *ret_changed, struct errinfo *err)
{
    if (is_same(from, to))
        return OK;
    *ret_changed = true;
    return copy_program(from, to, err);
}

enum err files_programs(const struct home *h, const struct up_options *o, bool *ret_changed, struct errinfo *err)
{
    /* One program may be installed under several names: what it does is chosen by its workloads. */
    static const char *const PROGRAMS[][2] = {{"slipform", "slipform"},
                                              {"node-agent", "node-agent"},
                                              {"platform", "platform"},
                                              {"platform", "management-api"},
                                              {"platform", "public-api"},
                                              {"image-builder", "image-builder"},
                                              {"edge-proxy", "edge-proxy"},
                                              {"node-proxy", "node-proxy"},
                                              {"active-notifier", "active-notifier"},
                                              {"initramfs.cpio", "initramfs.cpio"}};
    enum err rc = OK;
    for (size_t i = 0; rc == OK && i < sizeof(PROGRAMS) / sizeof(PROGRAMS[0]); i++) {
        char from[PATH_SIZE], to[PATH_SIZE];
        (void)snprintf(from, sizeof(from), "%.400s/%s", o->exe_folder, PROGRAMS[i][0]);
        rc = install_file(from, home_path(h, to, "programs/%s", PROGRAMS[i][1]), ret_changed, err);
    }
    const struct {
        const char *below, *name;
        bool is_wanted;
    } CACHED[] = {{"kernel/vmlinuz", "vmlinuz", true},
                  {"nats/nats-server", "nats-server", nats_is_wanted(h)},
                  {"versitygw/versitygw", "versitygw", s3_server_is_wanted(h)}};
    for (size_t i = 0; rc == OK && i < sizeof(CACHED) / sizeof(CACHED[0]); i++) {
        char from[PATH_SIZE], to[PATH_SIZE];
        (void)snprintf(from, sizeof(from), "%.400s/%s", o->cache_folder, CACHED[i].below);
        if (CACHED[i].is_wanted)
            rc = install_file(from, home_path(h, to, "programs/%s", CACHED[i].name), ret_changed, err);
    }
    return rc;
}

static enum err own_below(const struct home *h, const char *below, int uid, int gid, struct errinfo *err)
{
    char folder[PATH_SIZE];
    char **names = NULL;
    size_t n = 0;
    enum err rc = folder_list(home_path(h, folder, "%s", below), &names, &n, err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < n && rc == OK; i++) {
        char path[PATH_SIZE];
        if (lchown(home_path(h, path, "%s/%s", below, names[i]), (uid_t)uid, (gid_t)gid) != 0)
            rc = err_set_os(err, ERR_IO, errno, "chown '%s'", path);
    }
    folder_list_free(names);
    return rc;
}

enum err files_own_log(const struct home *h, int uid, int gid, struct errinfo *err)
{
    char keys[PATH_SIZE];
    enum err rc = own_below(h, "log/platform", uid, gid, err);
    if (rc == OK && file_is_folder(home_path(h, keys, "log/platform/keys"))) /* of a log that was copied back */
        rc = own_below(h, "log/platform/keys", uid, gid, err);
    return rc;
}
