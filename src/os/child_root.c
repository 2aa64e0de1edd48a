#include "os/child_root.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "os/file.h"

static enum err plan_entry(const struct child_root *root, size_t i, struct child_root_plan *p, struct errinfo *err)
{
    const struct child_root_entry *e = &root->entries[i];
    struct stat st;
    p->targets[i] = mem_printf("%s%s", root->folder, e->to);
    if (e->kind == CHILD_ROOT_LINK)
        return OK;
    if (stat(e->from, &st) < 0)
        return err_set_os(err, ERR_NOT_FOUND, errno, "look at '%s'", e->from);
    p->is_folder[i] = S_ISDIR(st.st_mode);
    p->devices[i] = st.st_rdev;
    if (e->kind == CHILD_ROOT_DEVICE && !S_ISCHR(st.st_mode))
        return err_set(err, ERR_INVALID, "'%s' is not a device", e->from);
    return OK;
}

enum err child_root_plan(const struct child_root *root, struct child_root_plan *ret_plan, struct errinfo *err)
{
    *ret_plan = (struct child_root_plan){.root = root};
    if (root == NULL)
        return OK;
    if (root->entries_n > CHILD_ROOT_MAX)
        return err_set(err, ERR_INVALID, "too many entries for the root of a child");
    ret_plan->dev = mem_printf("%s/dev", root->folder);
    enum err rc = folder_make(root->folder, 0700, err);
    for (size_t i = 0; rc == OK && i < root->entries_n; i++)
        rc = plan_entry(root, i, ret_plan, err);
    return rc;
}

void child_root_plan_done(struct child_root_plan *plan)
{
    free(plan->dev);
    for (size_t i = 0; i < CHILD_ROOT_MAX; i++)
        free(plan->targets[i]);
}

static bool make_bind(const char *from, const char *to, bool is_folder)
{
    if (is_folder && mkdir(to, 0755) < 0)
        return false;
    int fd = is_folder ? -1 : open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    if (!is_folder && fd < 0)
        return false;
    if (fd >= 0)
        (void)close(fd);
    return mount(from, to, NULL, MS_BIND, NULL) == 0 &&
           mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) == 0;
}

static bool make_entry(const struct child_root_plan *p, size_t i, uid_t uid, gid_t gid)
{
    const struct child_root_entry *e = &p->root->entries[i];
    switch (e->kind) {
    case CHILD_ROOT_BIND: return make_bind(e->from, p->targets[i], p->is_folder[i]);
    case CHILD_ROOT_LINK: return symlink(e->from, p->targets[i]) == 0;
    case CHILD_ROOT_DEVICE:
        return mknod(p->targets[i], S_IFCHR | 0600, p->devices[i]) == 0 && chown(p->targets[i], uid, gid) == 0;
    }
    return false;
}

bool child_root_enter(const struct child_root_plan *p, uid_t uid, gid_t gid)
{
    const char *folder = p->root->folder;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k") < 0 || mkdir(p->dev, 0755) < 0)
        return false;
    for (size_t i = 0; i < p->root->entries_n; i++)
        if (!make_entry(p, i, uid, gid))
            return false;
    /* pivot_root(2), "pivot_root(".", ".")": the old root lies on top of the new one until it is detached */
    return chdir(folder) == 0 && syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 &&
           chdir("/") == 0 &&
           mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) == 0;
}
