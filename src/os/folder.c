#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/own.h"
#include "os/file.h"

/* 64: deeper than any tree that we make (chosen, never measured; test_os: folder_remove_stays_on_its_mount). Each level
 * holds one descriptor. */
#define FOLDER_DEPTH_MAX 64

static enum err make_one(const char *path, mode_t mode, struct errinfo *err)
{
    if (mkdir(path, mode) == 0)
        return OK;
    if (errno == EEXIST && file_is_folder(path))
        return OK;
    return err_set_os(err, ERR_IO, errno, "make folder '%s'", path);
}

enum err folder_make(const char *path, mode_t mode, struct errinfo *err)
{
    auto_free char *part = mem_strdup(path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        enum err rc = make_one(part, mode, err);
        if (rc != OK)
            return rc;
        *slash = '/';
    }
    return make_one(path, mode, err);
}

enum err folder_make_owned(const char *path, mode_t mode, uid_t uid, gid_t gid, struct errinfo *err)
{
    enum err rc = folder_make(path, mode, err);
    if (rc != OK)
        return rc;
    if (chmod(path, mode) < 0 || chown(path, uid, gid) < 0)
        return err_set_os(err, ERR_IO, errno, "set owner of folder '%s'", path);
    return OK;
}

bool folder_is_empty(const char *path)
{
    char **names = NULL;
    size_t n = 0;
    if (!file_is_folder(path) || folder_list(path, &names, &n, NULL) != OK)
        return !file_is_folder(path);
    folder_list_free(names);
    return n == 0;
}

/* What tells one mount from another, also two mounts of one file system. */
struct place {
    uint64_t mount_id;
    uint32_t dev_major, dev_minor;
};

static bool place_of(int fd, struct place *ret)
{
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0)
        return false;
    *ret = (struct place){st.stx_mnt_id, st.stx_dev_major, st.stx_dev_minor};
    return true;
}

static bool place_eq(struct place a, struct place b)
{
    return a.mount_id == b.mount_id && a.dev_major == b.dev_major && a.dev_minor == b.dev_minor;
}

struct remover {
    const char *root; /* for messages */
    struct place place;
    struct errinfo *err;
};

static enum err remove_below(const struct remover *r, int fd, int depth);

static enum err remove_child_folder(const struct remover *r, int parent, const char *name, int depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_set_os(r->err, ERR_IO, errno, "open '%s' below '%s'", name, r->root);
    enum err rc = remove_below(r, fd, depth + 1); /* closes fd */
    if (rc != OK)
        return rc;
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0)
        return err_set_os(r->err, ERR_IO, errno, "remove folder '%s' below '%s'", name, r->root);
    return OK;
}

static enum err remove_entry(const struct remover *r, int parent, const char *name, int depth)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return OK;
    if (errno == EISDIR || errno == EPERM)
        return remove_child_folder(r, parent, name, depth);
    return err_set_os(r->err, ERR_IO, errno, "remove '%s' below '%s'", name, r->root);
}

/* Takes fd. */
static enum err remove_below(const struct remover *r, int fd, int depth)
{
    struct place place;
    if (depth > FOLDER_DEPTH_MAX || !place_of(fd, &place) || !place_eq(place, r->place)) {
        (void)close(fd);
        return err_set(r->err, ERR_IO, "folder '%s' holds a mount point or is too deep; nothing below that was removed",
                       r->root);
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int os_errno = errno;
        (void)close(fd);
        return err_set_os(r->err, ERR_IO, os_errno, "list below '%s'", r->root);
    }
    enum err rc = OK;
    const struct dirent *entry;
    while (rc == OK && (entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = remove_entry(r, fd, entry->d_name, depth);
    (void)closedir(dir);
    return rc;
}

enum err folder_remove(const char *path, struct errinfo *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT)
            return OK;
        return err_set_os(err, ERR_IO, errno, "open folder '%s'", path);
    }
    struct remover r = {.root = path, .err = err};
    if (!place_of(fd, &r.place)) {
        (void)close(fd);
        return err_set_os(err, ERR_IO, errno, "look at '%s'", path);
    }
    enum err rc = remove_below(&r, fd, 0); /* closes fd */
    if (rc != OK)
        return rc;
    if (rmdir(path) < 0 && errno != ENOENT)
        return err_set_os(err, ERR_IO, errno, "remove folder '%s'", path);
    return OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum err folder_list(const char *path, char ***ret_names, size_t *ret_n, struct errinfo *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "list folder '%s'", path);
    size_t n = 0, size = 16;
    char **names = mem_calloc(size, sizeof(*names));
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (n + 1 == size)
            names = mem_realloc(names, (size *= 2) * sizeof(*names));
        names[n++] = mem_strdup(entry->d_name);
    }
    (void)closedir(dir);
    names[n] = NULL;
    qsort(names, n, sizeof(*names), by_name);
    *ret_names = names;
    *ret_n = n;
    return OK;
}

void folder_list_free(char **names)
{
    if (names == NULL)
        return;
    for (size_t i = 0; names[i] != NULL; i++)
        free(names[i]);
    free(names);
}
