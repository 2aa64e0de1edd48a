#include "os/ns.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/own.h"
#include "os/file.h"

#define NETNS_FOLDER "/run/netns"

struct netns_path {
    char text[sizeof(NETNS_FOLDER) + NETNS_NAME_MAX + 2];
};

static enum err path_of(const char *name, struct netns_path *ret, struct errinfo *err)
{
    size_t len = strlen(name);
    if (len == 0 || len > NETNS_NAME_MAX || strchr(name, '/') != NULL || name[0] == '.')
        return err_set(err, ERR_INVALID, "'%s' is not a name for a network namespace", name);
    (void)snprintf(ret->text, sizeof(ret->text), NETNS_FOLDER "/%s", name);
    return OK;
}

/* As iproute2: the folder is a shared mount of its own, so that a namespace deleted here goes everywhere. */
static enum err prepare_folder(struct errinfo *err)
{
    enum err rc = folder_make(NETNS_FOLDER, 0755, err);
    if (rc != OK)
        return rc;
    for (int tries = 0; mount("", NETNS_FOLDER, "none", MS_SHARED | MS_REC, NULL) < 0; tries++) {
        if (errno != EINVAL || tries > 0)
            return err_set_os(err, ERR_IO, errno, "share '" NETNS_FOLDER "'");
        if (mount(NETNS_FOLDER, NETNS_FOLDER, "none", MS_BIND | MS_REC, NULL) < 0)
            return err_set_os(err, ERR_IO, errno, "bind '" NETNS_FOLDER "'");
    }
    return OK;
}

/* Runs in the old namespace, leaves this thread in it. */
static int bind_new(const char *path, int self_fd)
{
    if (unshare(CLONE_NEWNET) < 0)
        return errno;
    int os_errno = 0;
    if (mount("/proc/thread-self/ns/net", path, "none", MS_BIND, NULL) < 0)
        os_errno = errno;
    int back = setns(self_fd, CLONE_NEWNET);
    assert(back == 0);
    (void)back;
    return os_errno;
}

enum err netns_create(const char *name, struct errinfo *err)
{
    struct netns_path path;
    enum err rc = path_of(name, &path, err);
    if (rc != OK || (rc = prepare_folder(err)) != OK)
        return rc;
    auto_close int self_fd = -1;
    if ((rc = netns_open_self(&self_fd, err)) != OK)
        return rc;
    auto_close int fd = open(path.text, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
    if (fd < 0)
        return err_set_os(err, errno == EEXIST ? ERR_CONFLICT : ERR_IO, errno, "make network namespace '%s'", name);
    int os_errno = bind_new(path.text, self_fd);
    if (os_errno == 0)
        return OK;
    (void)unlink(path.text);
    return err_set_os(err, ERR_IO, os_errno, "make network namespace '%s'", name);
}

enum err netns_delete(const char *name, struct errinfo *err)
{
    struct netns_path path;
    enum err rc = path_of(name, &path, err);
    if (rc != OK)
        return rc;
    /* EINVAL: the file is there, nothing is mounted on it (a creator died in between) */
    if (umount2(path.text, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
        return err_set_os(err, ERR_IO, errno, "unmount network namespace '%s'", name);
    if (unlink(path.text) < 0 && errno != ENOENT)
        return err_set_os(err, ERR_IO, errno, "delete network namespace '%s'", name);
    return OK;
}

bool netns_exists(const char *name)
{
    int fd = -1;
    if (netns_open(name, &fd, NULL) != OK)
        return false;
    (void)close(fd);
    return true;
}

enum err netns_open(const char *name, int *ret_fd, struct errinfo *err)
{
    struct netns_path path;
    enum err rc = path_of(name, &path, err);
    if (rc != OK)
        return rc;
    auto_close int fd = open(path.text, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open network namespace '%s'", name);
    *ret_fd = TAKE_FD(fd);
    return OK;
}

enum err netns_open_self(int *ret_fd, struct errinfo *err)
{
    auto_close int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_os(err, ERR_IO, errno, "open our network namespace");
    *ret_fd = TAKE_FD(fd);
    return OK;
}

enum err netns_enter(int netns_fd, struct errinfo *err)
{
    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return err_set_os(err, ERR_IO, errno, "enter a network namespace");
    return OK;
}

enum err netns_run(int netns_fd, enum err (*fn)(void *arg, struct errinfo *err), void *arg, struct errinfo *err)
{
    auto_close int self_fd = -1;
    enum err rc = netns_open_self(&self_fd, err);
    if (rc != OK || (rc = netns_enter(netns_fd, err)) != OK)
        return rc;
    rc = fn(arg, err);
    int back = setns(self_fd, CLONE_NEWNET);
    assert(back == 0);
    (void)back;
    return rc;
}

enum err netns_each(const char *prefix, void (*fn)(const char *name, void *arg), void *arg, struct errinfo *err)
{
    char **names = NULL;
    size_t n = 0;
    enum err rc = folder_list(NETNS_FOLDER, &names, &n, err);
    if (rc == ERR_NOT_FOUND)
        return OK;
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < n; i++)
        if (str_starts(str_from(names[i]), str_from(prefix)))
            fn(names[i], arg);
    folder_list_free(names);
    return OK;
}
