#include "store/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"

int disk_open(const struct store_disk *d, int dir_fd, const char *name, int flags, mode_t mode)
{
    return d != NULL && d->open != NULL ? d->open(d->ctx, dir_fd, name, flags | O_CLOEXEC, mode)
                                        : openat(dir_fd, name, flags | O_CLOEXEC, mode);
}

static ssize_t pread_once(const struct store_disk *d, int fd, char *bytes, size_t n, off_t at)
{
    return d != NULL && d->pread != NULL ? d->pread(d->ctx, fd, bytes, n, at) : pread(fd, bytes, n, at);
}

ssize_t disk_pread(const struct store_disk *d, int fd, void *bytes, size_t n, uint64_t at)
{
    size_t done = 0;
    while (done < n) {
        ssize_t m = pread_once(d, fd, (char *)bytes + done, n - done, (off_t)(at + done));
        if (m < 0 && errno == EINTR)
            continue;
        if (m < 0)
            return -1;
        if (m == 0)
            break;
        done += (size_t)m;
    }
    return (ssize_t)done;
}

bool disk_pwrite(const struct store_disk *d, int fd, const void *bytes, size_t n, uint64_t at)
{
    for (size_t done = 0; done < n;) {
        const char *from = (const char *)bytes + done;
        ssize_t m = d != NULL && d->pwrite != NULL ? d->pwrite(d->ctx, fd, from, n - done, (off_t)(at + done))
                                                   : pwrite(fd, from, n - done, (off_t)(at + done));
        if (m < 0 && errno == EINTR)
            continue;
        if (m < 0)
            return false;
        done += (size_t)m;
    }
    return true;
}

int disk_ftruncate(const struct store_disk *d, int fd, uint64_t size)
{
    return d != NULL && d->ftruncate != NULL ? d->ftruncate(d->ctx, fd, (off_t)size) : ftruncate(fd, (off_t)size);
}

int disk_fdatasync(const struct store_disk *d, int fd)
{
    return d != NULL && d->fdatasync != NULL ? d->fdatasync(d->ctx, fd) : fdatasync(fd);
}

int disk_fsync(const struct store_disk *d, int dir_fd)
{
    return d != NULL && d->fsync != NULL ? d->fsync(d->ctx, dir_fd) : fsync(dir_fd);
}

int disk_rename(const struct store_disk *d, int dir_fd, const char *from, const char *to)
{
    return d != NULL && d->rename != NULL ? d->rename(d->ctx, dir_fd, from, to) : renameat(dir_fd, from, dir_fd, to);
}

int disk_unlink(const struct store_disk *d, int dir_fd, const char *name)
{
    return d != NULL && d->unlink != NULL ? d->unlink(d->ctx, dir_fd, name) : unlinkat(dir_fd, name, 0);
}

enum err disk_replace(const struct store_disk *d, int dir_fd, const char *name, struct str bytes, bool is_durable,
                      struct errinfo *err)
{
    auto_free char *temporary = mem_printf("%s.tmp", name);
    auto_close int fd = disk_open(d, dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    bool is_written = fd >= 0 && disk_pwrite(d, fd, bytes.ptr, bytes.len, 0) &&
                      (!is_durable || disk_fdatasync(d, fd) == 0) && disk_rename(d, dir_fd, temporary, name) == 0 &&
                      (!is_durable || disk_fsync(d, dir_fd) == 0);
    if (is_written)
        return OK;
    int why = errno;
    (void)disk_unlink(d, dir_fd, temporary);
    return err_set_os(err, ERR_IO, why, "write '%s' of a log", name);
}

enum err disk_read_file(const struct store_disk *d, int dir_fd, const char *name, size_t size_max,
                        struct buf *ret_bytes, struct errinfo *err)
{
    auto_close int fd = disk_open(d, dir_fd, name, O_RDONLY, 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open '%s' of a log", name);
    if (st.st_size < 0 || (uint64_t)st.st_size > size_max)
        return err_set(err, ERR_LIMIT, "'%s' of a log is over %zu bytes", name, size_max);
    size_t size = (size_t)st.st_size;
    buf_reserve(ret_bytes, size);
    ssize_t n = size == 0 ? 0 : disk_pread(d, fd, ret_bytes->ptr + ret_bytes->len, size, 0);
    if (n < 0)
        return err_set_os(err, ERR_IO, errno, "read '%s' of a log", name);
    ret_bytes->len += (size_t)n;
    return OK;
}
