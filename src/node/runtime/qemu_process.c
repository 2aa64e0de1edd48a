/* QEMU runs as an unprivileged user without capabilities, with no_new_privs, its seccomp sandbox, a cgroup, and
 * network, IPC and UTS namespaces of its own. It opens nothing by name but /proc/self/fd: all it uses are descriptors.
 */
#include "node/runtime/qemu_process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/own.h"
#include "os/file.h"
#include "os/ns.h"

/* By the folder's descriptor: the path of a state folder may be longer than a socket's name may be. */
static int socket_of(int folder_fd, const char *name, struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "/proc/self/fd/%d/%s", folder_fd, name);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static enum err listen_on(int folder_fd, const char *name, int *ret_fd, struct errinfo *err)
{
    struct sockaddr_un address;
    (void)unlinkat(folder_fd, name, 0);
    auto_close int fd = socket_of(folder_fd, name, &address);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
        return err_set_os(err, ERR_IO, errno, "listen on '%s'", name);
    *ret_fd = TAKE_FD(fd);
    return OK;
}

enum err qemu_connect(int folder_fd, const char *name, int *ret_fd, struct errinfo *err)
{
    struct sockaddr_un address;
    auto_close int fd = socket_of(folder_fd, name, &address);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return err_set_os(err, ERR_IO, errno, "connect to '%s'", name);
    *ret_fd = TAKE_FD(fd);
    return OK;
}

struct tap_request {
    const char *name;
    int fd;
};

static enum err open_tap(void *arg, struct errinfo *err)
{
    struct tap_request *t = arg;
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    if (strlen(t->name) >= sizeof(request.ifr_name))
        return err_set(err, ERR_INVALID, "'%s' is not a name for an interface", t->name);
    (void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", t->name);
    if (if_nametoindex(t->name) == 0) /* TUNSETIFF would make one */
        return err_set(err, ERR_NOT_FOUND, "there is no tap '%s'", t->name);
    auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        return err_set_os(err, ERR_IO, errno, "open tap '%s'", t->name);
    t->fd = TAKE_FD(fd);
    return OK;
}

void qemu_fds_cleanup(struct qemu_fds *fds)
{
    for (size_t i = 0; i < fds->n; i++)
        (void)close(fds->list[i].from);
}

static void fds_add(struct qemu_fds *fds, int from, int to)
{
    fds->list[fds->n++] = (struct child_fd){from, to};
}

static enum err open_file(struct qemu_fds *fds, const char *path, int to, struct errinfo *err)
{
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (path == NULL)
        return err_set(err, ERR_INVALID, "a microVM needs an image");
    if (fd < 0)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open '%s'", path);
    fds_add(fds, fd, to);
    return OK;
}

static enum err open_log(struct qemu_fds *fds, int folder_fd, struct errinfo *err)
{
    int fd = openat(folder_fd, QEMU_LOG, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set_os(err, ERR_IO, errno, "open '" QEMU_LOG "'");
    fds_add(fds, fd, 1);
    if ((fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
        return err_set_os(err, ERR_IO, errno, "open '" QEMU_LOG "'");
    fds_add(fds, fd, 2);
    return OK;
}

enum err qemu_fds_open(const struct qemu_request *r, int folder_fd, struct qemu_fds *fds, struct errinfo *err)
{
    int fd = -1;
    enum err rc = listen_on(folder_fd, QEMU_GUEST_SOCKET, &fd, err);
    if (rc != OK)
        return rc;
    fds_add(fds, fd, QEMU_FD_GUEST);
    if ((rc = listen_on(folder_fd, QEMU_CONSOLE_SOCKET, &fd, err)) != OK)
        return rc;
    fds_add(fds, fd, QEMU_FD_CONSOLE);
    if ((rc = open_log(fds, folder_fd, err)) != OK)
        return rc;
    if (r->machine.has_disk && (rc = open_file(fds, r->disk_path, QEMU_FD_DISK, err)) != OK)
        return rc;
    if (!r->machine.has_tap)
        return OK;
    struct tap_request tap = {.name = r->tap, .fd = -1};
    rc = r->netns_fd > 0 ? netns_run(r->netns_fd, open_tap, &tap, err) : open_tap(&tap, err);
    if (rc == OK)
        fds_add(fds, tap.fd, QEMU_FD_TAP);
    return rc;
}

static enum err write_mark(struct child_ref ref, void *arg, struct errinfo *err)
{
    const struct qemu_request *r = *(const struct qemu_request **)arg;
    return runtime_mark_child(r->state_dir, "qemu", ref, r->machine.kvm, err);
}

/* All that QEMU sees of our files. */
struct jail {
    struct child_root root;
    struct child_root_entry entries[CHILD_ROOT_MAX];
};

#define JAIL_KERNEL "/kernel"
#define JAIL_INITRAMFS "/initramfs"

static void jail_add(struct jail *j, enum child_root_kind kind, const char *from, const char *to)
{
    j->entries[j->root.entries_n++] = (struct child_root_entry){kind, from, to};
}

static void jail_fill(struct jail *j, const struct qemu_request *r, struct arena *a)
{
    static const char *const LIBRARIES[][2] = {{"/lib", "usr/lib"}, {"/lib64", "usr/lib64"}};
    j->root = (struct child_root){.folder = arena_printf(a, "%s/root", r->state_dir), .entries = j->entries};
    jail_add(j, CHILD_ROOT_BIND, "/usr", "/usr");
    for (size_t i = 0; i < 2; i++) {
        struct stat st;
        bool is_link = lstat(LIBRARIES[i][0], &st) == 0 && S_ISLNK(st.st_mode);
        jail_add(j, is_link ? CHILD_ROOT_LINK : CHILD_ROOT_BIND, is_link ? LIBRARIES[i][1] : LIBRARIES[i][0],
                 LIBRARIES[i][0]);
    }
    jail_add(j, CHILD_ROOT_BIND, r->host->kernel_path, JAIL_KERNEL);
    jail_add(j, CHILD_ROOT_BIND, r->host->initramfs_path, JAIL_INITRAMFS);
    if (r->machine.kvm)
        jail_add(j, CHILD_ROOT_DEVICE, "/dev/kvm", "/dev/kvm");
}

/* Debian gives /dev/kvm to the group kvm: QEMU under KVM runs with that group, which opens nothing else. Where the
 * device is open to no group, the probe guest under KVM does not come up, and the pre-flight says so. */
static gid_t kvm_gid(gid_t otherwise)
{
    struct stat st;
    bool is_groups = stat("/dev/kvm", &st) == 0 && st.st_gid != 0 && (st.st_mode & 0060) == 0060;
    return is_groups ? st.st_gid : otherwise;
}

enum err qemu_spawn(const struct qemu_request *r, const struct qemu_fds *fds, child_exit_fn *on_exit, void *arg,
                    struct child **ret_child, struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    static const char *const ENV[] = {"PATH=/usr/bin:/bin", NULL};
    struct jail jail = {0};
    struct qemu_machine m = r->machine;
    m.kernel_path = r->host->bare ? r->host->kernel_path : JAIL_KERNEL;
    m.initramfs_path = r->host->bare ? r->host->initramfs_path : JAIL_INITRAMFS;
    struct child_spec spec = {
        .argv = qemu_argv(&m, &a),
        .env = ENV,
        .fds = fds->list,
        .fds_n = fds->n,
        .new_session = true,
        .die_with_parent = r->dies_with_us,
        .fsize_max = QEMU_LOG_MAX,
        .before_run = write_mark,
        .before_run_arg = &r,
    };
    if (!r->host->bare) {
        spec.drop_user = spec.drop_caps = spec.no_new_privs = true;
        spec.uid = r->host->uid;
        spec.gid = m.kvm ? kvm_gid(r->host->gid) : r->host->gid;
        spec.unshare_flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
        jail_fill(&jail, r, &a);
        spec.root = &jail.root;
        if (r->cgroup != NULL && r->host->cgroups.kind != CGROUP_NONE) {
            spec.cgroups = &r->host->cgroups;
            spec.cgroup = r->cgroup;
        }
    }
    return child_spawn(r->host->loop, &spec, on_exit, arg, ret_child, err);
}

enum err qemu_cgroup_make(const struct qemu_request *r, struct errinfo *err)
{
    if (r->host->bare || r->cgroup == NULL || r->host->cgroups.kind == CGROUP_NONE)
        return OK;
    const struct qemu_machine *m = &r->machine;
    struct cgroup_limits limits = {
        .cpu_milli = m->vcpus * 1000 + 250, /* its loop beside the vCPUs */
        .memory_bytes = m->memory_bytes + (m->kvm ? QEMU_OVERHEAD_KVM : QEMU_OVERHEAD_TCG),
        .pids_max = QEMU_PIDS_MAX,
    };
    return cgroup_create(&r->host->cgroups, r->cgroup, &limits, err);
}
