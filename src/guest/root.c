#include "guest/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "os/file.h"

struct mount_row {
    const char *source, *target, *type;
    unsigned long flags;
    const char *data;
    bool is_optional;
};

static enum err mount_rows(const struct mount_row *rows, size_t n, struct errinfo *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct mount_row *m = &rows[i];
        enum err rc = folder_make(m->target, 0755, err);
        if (rc == OK && mount(m->source, m->target, m->type, m->flags, m->data) < 0)
            rc = err_set_os(err, ERR_IO, errno, "mount %s on '%s'", m->type, m->target);
        if (rc != OK && !m->is_optional)
            return rc;
    }
    return OK;
}

enum err root_mount_early(struct errinfo *err)
{
    static const struct mount_row ROWS[] = {
        {"proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false},
        {"sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false},
        {"devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755", false},
    };
    return mount_rows(ROWS, sizeof(ROWS) / sizeof(ROWS[0]), err);
}

enum err root_load_modules(struct errinfo *err)
{
    char **names = NULL;
    size_t n = 0;
    enum err rc = folder_list("/modules", &names, &n, err);
    if (rc == ERR_NOT_FOUND) /* a kernel with everything built in */
        return OK;
    for (size_t i = 0; rc == OK && i < n; i++) {
        auto_free char *path = mem_printf("/modules/%s", names[i]);
        auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
            rc = err_set_os(err, ERR_IO, errno, "load module '%s'", names[i]);
        (void)unlink(path); /* memory */
    }
    folder_list_free(names);
    return rc;
}

static enum err mount_image(const struct guest_config *c, struct errinfo *err)
{
    char size[64] = "mode=0755";
    if (c->overlay_bytes > 0)
        (void)snprintf(size, sizeof(size), "mode=0755,size=%lld", (long long)c->overlay_bytes);
    const struct mount_row first[] = {
        {"/dev/vda", "/lower", "erofs", MS_RDONLY, NULL, false},
        {"tmpfs", "/over", "tmpfs", 0, size, false},
    };
    static const struct mount_row SECOND[] = {
        {"overlay", "/root", "overlay", 0, "lowerdir=/lower,upperdir=/over/upper,workdir=/over/work", false},
    };
    enum err rc = mount_rows(first, 2, err);
    if (rc != OK || (rc = folder_make("/over/upper", 0755, err)) != OK ||
        (rc = folder_make("/over/work", 0755, err)) != OK)
        return rc;
    return mount_rows(SECOND, 1, err);
}

static enum err mount_inside(struct errinfo *err)
{
    static const struct mount_row ROWS[] = {
        {"proc", "/root/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false},
        {"sysfs", "/root/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false},
        {"devtmpfs", "/root/dev", "devtmpfs", MS_NOSUID, "mode=0755", false},
        {"devpts", "/root/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666,gid=5", true},
        {"tmpfs", "/root/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", true},
        {"tmpfs", "/root/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755", true},
        {"cgroup2", "/root/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true},
    };
    return mount_rows(ROWS, sizeof(ROWS) / sizeof(ROWS[0]), err);
}

static void link_std(void)
{
    static const char *const LINKS[][2] = {{"/proc/self/fd", "/root/dev/fd"},
                                           {"/proc/self/fd/0", "/root/dev/stdin"},
                                           {"/proc/self/fd/1", "/root/dev/stdout"},
                                           {"/proc/self/fd/2", "/root/dev/stderr"}};
    for (size_t i = 0; i < sizeof(LINKS) / sizeof(LINKS[0]); i++)
        if (symlink(LINKS[i][0], LINKS[i][1]) < 0 && errno != EEXIST)
            (void)fprintf(stderr, "guest-init: no '%s'\n", LINKS[i][1]);
}

/* A plain file in place of whatever the image has there (often a link to somewhere else). */
static enum err write_file(const char *path, struct str text, struct errinfo *err)
{
    (void)unlink(path);
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text.ptr, text.len) != (ssize_t)text.len)
        return err_set_os(err, ERR_IO, errno, "write '%s'", path);
    return OK;
}

static enum err write_names(const struct guest_config *c, struct errinfo *err)
{
    struct str host = str_is_empty(c->hostname) ? STR("microvm") : c->hostname;
    AUTO(buf) struct buf hosts = {0}, resolv = {0}, name = {0};
    buf_addf(&hosts, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    if (!str_is_empty(c->ipv6_address))
        buf_addf(&hosts, "%.*s %.*s\n", STR_ARG(c->ipv6_address), STR_ARG(host));
    if (!str_is_empty(c->resolver))
        buf_addf(&resolv, "nameserver %.*s\n", STR_ARG(c->resolver));
    buf_addf(&name, "%.*s\n", STR_ARG(host));
    if (sethostname(host.ptr, host.len) < 0)
        return err_set_os(err, ERR_IO, errno, "set the host name '%.*s'", STR_ARG(host));
    enum err rc = folder_make("/root/etc", 0755, err);
    if (rc != OK || (rc = write_file("/root/etc/hosts", buf_str(&hosts), err)) != OK ||
        (rc = write_file("/root/etc/hostname", buf_str(&name), err)) != OK)
        return rc;
    return write_file("/root/etc/resolv.conf", buf_str(&resolv), err);
}

enum err root_switch(const struct guest_config *c, struct errinfo *err)
{
    enum err rc = mount_image(c, err);
    if (rc != OK || (rc = mount_inside(err)) != OK || (rc = write_names(c, err)) != OK)
        return rc;
    link_std();
    if (mkdir("/root/tmp", 01777) == 0)
        (void)chmod("/root/tmp", 01777);
    if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return err_set_os(err, ERR_IO, errno, "make the image the root");
    return OK;
}
