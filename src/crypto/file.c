#include "crypto/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/own.h"

void secret_done(struct buf *b)
{
    if (b->ptr != NULL)
        sodium_memzero(b->ptr, b->size);
    buf_done(b);
}

static enum err write_all(int fd, struct str bytes, const char *path, struct errinfo *err)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_os(err, ERR_IO, errno, "write '%s'", path);
        bytes = str_slice(bytes, (size_t)n, bytes.len);
    }
    return OK;
}

static enum err fill(int fd, struct str bytes, mode_t mode, int uid, int gid, const char *path, struct errinfo *err)
{
    if ((uid != -1 || gid != -1) && fchown(fd, (uid_t)uid, (gid_t)gid) != 0)
        return err_set_os(err, ERR_IO, errno, "change the owner of '%s'", path);
    if (fchmod(fd, mode) != 0)
        return err_set_os(err, ERR_IO, errno, "change the mode of '%s'", path);
    enum err rc = write_all(fd, bytes, path, err);
    if (rc == OK && fsync(fd) != 0)
        rc = err_set_os(err, ERR_IO, errno, "sync '%s'", path);
    return rc;
}

static enum err sync_folder_of(const char *path, struct errinfo *err)
{
    struct str p = str_from(path);
    size_t slash = str_rfind(p, '/');
    auto_free char *folder = slash == p.len ? mem_strdup(".") : mem_strndup(path, slash == 0 ? 1 : slash);
    auto_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_set_os(err, ERR_IO, errno, "sync folder '%s'", folder);
    return OK;
}

enum err crypto_file_write(const char *path, struct str bytes, mode_t mode, int uid, int gid, struct errinfo *err)
{
    auto_free char *temporary = mem_printf("%s.XXXXXX", path);
    auto_close int fd = mkostemp(temporary, O_CLOEXEC); /* 0600 until its content is complete */
    if (fd < 0)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "create '%s'", temporary);
    enum err rc = fill(fd, bytes, mode, uid, gid, path, err);
    if (rc == OK && rename(temporary, path) != 0)
        rc = err_set_os(err, ERR_IO, errno, "rename to '%s'", path);
    if (rc != OK) {
        (void)unlink(temporary);
        return rc;
    }
    return sync_folder_of(path, err);
}

enum err crypto_file_read(const char *path, struct buf *ret_bytes, struct errinfo *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open '%s'", path);
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set_os(err, ERR_IO, errno, "look at '%s'", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_IO, "'%s' is not a file", path);
    if (st.st_size > (off_t)CRYPTO_FILE_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "'%s' is bigger than %u bytes", path, CRYPTO_FILE_SIZE_MAX);
    buf_reserve(ret_bytes, (size_t)st.st_size + 1);
    for (size_t left = CRYPTO_FILE_SIZE_MAX; left > 0;) {
        char chunk[4096];
        ssize_t n = read(fd, chunk, left < sizeof(chunk) ? left : sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_os(err, ERR_IO, errno, "read '%s'", path);
        if (n == 0)
            break;
        buf_add(ret_bytes, chunk, (size_t)n);
        left -= (size_t)n;
        sodium_memzero(chunk, sizeof(chunk));
    }
    return OK;
}
