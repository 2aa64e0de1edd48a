#include "cli/context.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/mem.h"
#include "base/own.h"

struct packer {
    struct archive *out;
    uint64_t bytes;
    struct errinfo *err;
};

static enum err pack_folder(struct packer *p, int dir_fd, const char *prefix);

static enum err archive_failed(struct packer *p, const char *name)
{
    return err_set(p->err, ERR_IO, "pack '%s': %s", name, archive_error_string(p->out));
}

static enum err write_header(struct packer *p, const char *name, const struct stat *st, const char *link)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_mode(e, st->st_mode);
    archive_entry_set_size(e, S_ISREG(st->st_mode) ? st->st_size : 0);
    if (link != NULL)
        archive_entry_set_symlink(e, link);
    int rc = archive_write_header(p->out, e);
    archive_entry_free(e);
    return rc == ARCHIVE_OK ? OK : archive_failed(p, name);
}

static enum err pack_file(struct packer *p, int dir_fd, const char *name, const char *path, const struct stat *st)
{
    p->bytes += (uint64_t)st->st_size + 512;
    if (p->bytes > CONTEXT_SIZE_MAX)
        return err_set(p->err, ERR_LIMIT, "the folder is bigger than 512 MiB (at '%s'): leave out what is not built",
                       path);
    auto_close int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_set_os(p->err, ERR_IO, errno, "open '%s'", path);
    enum err rc = write_header(p, path, st, NULL);
    int64_t left = st->st_size;
    char bytes[65536];
    while (rc == OK && left > 0) {
        ssize_t n = read(fd, bytes, left < (int64_t)sizeof(bytes) ? (size_t)left : sizeof(bytes));
        if (n <= 0)
            return err_set(p->err, ERR_IO, "'%s' became shorter while it was read", path);
        if (archive_write_data(p->out, bytes, (size_t)n) != n)
            return archive_failed(p, path);
        left -= n;
    }
    return rc;
}

static enum err pack_entry(struct packer *p, int dir_fd, const char *name, const char *prefix)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return err_set_os(p->err, ERR_IO, errno, "'%s%s'", prefix, name);
    auto_free char *path = mem_printf("%s%s", prefix, name);
    if (S_ISREG(st.st_mode))
        return pack_file(p, dir_fd, name, path, &st);
    if (S_ISLNK(st.st_mode)) {
        char target[4096];
        ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
        if (n < 0)
            return err_set_os(p->err, ERR_IO, errno, "'%s'", path);
        target[n] = '\0';
        return write_header(p, path, &st, target);
    }
    if (!S_ISDIR(st.st_mode))
        return OK; /* sockets, pipes, devices are no source */
    enum err rc = write_header(p, path, &st, NULL);
    auto_free char *below = mem_printf("%s/", path);
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_set_os(p->err, ERR_IO, errno, "open '%s'", path);
    return rc == OK ? pack_folder(p, fd, below) : rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Takes dir_fd. */
static enum err pack_folder(struct packer *p, int dir_fd, const char *prefix)
{
    DIR *dir = fdopendir(dir_fd);
    if (dir == NULL)
        return err_set_os(p->err, ERR_IO, errno, "read '%s'", prefix);
    char **names = NULL;
    size_t n = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, ".git") == 0)
            continue;
        names = mem_realloc(names, (n + 1) * sizeof(*names));
        names[n++] = mem_strdup(e->d_name);
    }
    if (n > 0)
        qsort(names, n, sizeof(*names), by_name);
    enum err rc = OK;
    for (size_t i = 0; i < n; i++) {
        if (rc == OK)
            rc = pack_entry(p, dir_fd, names[i], prefix);
        free(names[i]);
    }
    free(names);
    closedir(dir);
    return rc;
}

enum err context_pack(const char *folder, int *ret_fd, uint64_t *ret_size_bytes, struct errinfo *err)
{
    int dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return err_set_os(err, ERR_NOT_FOUND, errno, "folder '%s'", folder);
    if (faccessat(dir_fd, "Dockerfile", R_OK, 0) != 0) {
        close(dir_fd);
        return err_set(err, ERR_NOT_FOUND, "there is no Dockerfile in '%s': slipform builds what a Dockerfile says",
                       folder);
    }
    char name[] = "/var/tmp/slipform-context-XXXXXX";
    auto_close int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0) {
        close(dir_fd);
        return err_set_os(err, ERR_IO, errno, "temporary file in /var/tmp");
    }
    (void)unlink(name);
    struct packer p = {.out = archive_write_new(), .err = err};
    enum err rc = OK;
    if (archive_write_set_format_pax_restricted(p.out) != ARCHIVE_OK || archive_write_open_fd(p.out, fd) != ARCHIVE_OK)
        rc = archive_failed(&p, folder);
    if (rc == OK)
        rc = pack_folder(&p, dir_fd, "");
    else
        close(dir_fd);
    if (archive_write_close(p.out) != ARCHIVE_OK && rc == OK)
        rc = archive_failed(&p, folder);
    archive_write_free(p.out);
    off_t size = lseek(fd, 0, SEEK_END);
    if (rc != OK)
        return rc;
    if (size < 0 || lseek(fd, 0, SEEK_SET) != 0)
        return err_set_os(err, ERR_IO, errno, "temporary file in /var/tmp");
    *ret_size_bytes = (uint64_t)size;
    *ret_fd = TAKE_FD(fd);
    return OK;
}
