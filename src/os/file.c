#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/own.h"

enum err file_read(const char *path, size_t size_max, struct buf *ret_text, struct errinfo *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set_os(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO, errno, "open '%s'", path);
    size_t before = ret_text->len;
    for (;;) {
        size_t left = size_max - (ret_text->len - before);
        size_t want = left < 65536 ? left + 1 : 65536; /* one more than allowed, to see that there is more */
        buf_reserve(ret_text, want);
        ssize_t n = read(fd, ret_text->ptr + ret_text->len, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int os_errno = errno;
            ret_text->len = before;
            return err_set_os(err, ERR_IO, os_errno, "read '%s'", path);
        }
        if ((size_t)n > left) {
            ret_text->len = before;
            return err_set(err, ERR_LIMIT, "'%s' is larger than %zu bytes", path, size_max);
        }
        ret_text->len += (size_t)n;
        if (n == 0)
            break;
    }
    buf_reserve(ret_text, 1);
    ret_text->ptr[ret_text->len] = '\0';
    return OK;
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return mem_strdup(".");
    return slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
}

enum err file_sync_folder(const char *path, struct errinfo *err)
{
    auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_set_os(err, ERR_IO, errno, "sync folder '%s'", path);
    return OK;
}

static enum err write_all(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        bytes = str_slice(bytes, (size_t)n, bytes.len);
    }
    return OK;
}

static enum err write_temporary(int fd, struct str bytes, mode_t mode, uid_t uid, gid_t gid)
{
    if (fchmod(fd, mode) < 0)
        return ERR_IO;
    if ((uid != (uid_t)-1 || gid != (gid_t)-1) && fchown(fd, uid, gid) < 0)
        return ERR_IO;
    if (write_all(fd, bytes) != OK)
        return ERR_IO;
    return fsync(fd) < 0 ? ERR_IO : OK;
}

enum err file_replace_owned(const char *path, struct str bytes, mode_t mode, uid_t uid, gid_t gid, struct errinfo *err)
{
    auto_free char *temporary = mem_printf("%s.XXXXXX.tmp", path);
    auto_close int fd = mkostemps(temporary, 4, O_CLOEXEC);
    if (fd < 0)
        return err_set_os(err, ERR_IO, errno, "make '%s'", temporary);
    if (write_temporary(fd, bytes, mode, uid, gid) != OK || rename(temporary, path) < 0) {
        int os_errno = errno;
        (void)unlink(temporary);
        return err_set_os(err, ERR_IO, os_errno, "replace '%s'", path);
    }
    auto_free char *folder = folder_of(path);
    return file_sync_folder(folder, err);
}

enum err file_replace(const char *path, struct str bytes, mode_t mode, struct errinfo *err)
{
    return file_replace_owned(path, bytes, mode, (uid_t)-1, (gid_t)-1, err);
}

enum err file_remove(const char *path, struct errinfo *err)
{
    if (unlink(path) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return OK;
        return err_set_os(err, ERR_IO, errno, "remove '%s'", path);
    }
    auto_free char *folder = folder_of(path);
    return file_sync_folder(folder, err);
}

enum err file_rename(const char *from, const char *to, struct errinfo *err)
{
    if (rename(from, to) < 0)
        return err_set_os(err, ERR_IO, errno, "rename '%s' to '%s'", from, to);
    auto_free char *folder = folder_of(to);
    return file_sync_folder(folder, err);
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

enum err file_size(const char *path, int64_t *ret_bytes, struct errinfo *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_set_os(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO, errno, "look at '%s'",
                          path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_IO, "'%s' is not a regular file", path);
    *ret_bytes = st.st_size;
    return OK;
}

enum err file_lock(const char *path, int *ret_fd, struct errinfo *err)
{
    auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set_os(err, ERR_IO, errno, "open lock '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return err_set(err, ERR_CONFLICT, "'%s' is locked by another process", path);
        return err_set_os(err, ERR_IO, errno, "lock '%s'", path);
    }
    *ret_fd = TAKE_FD(fd);
    return OK;
}
