/* Files and folders for targets that read them by name. */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

static void write_all(int fd, struct str bytes)
{
    for (size_t at = 0; at < bytes.len;) {
        ssize_t n = write(fd, bytes.ptr + at, bytes.len - at);
        assert(n > 0);
        at += (size_t)n;
    }
}

void fuzz_file_init(struct fuzz_file *f, struct str bytes)
{
    f->fd = memfd_create("fuzz", MFD_CLOEXEC);
    assert(f->fd >= 0);
    write_all(f->fd, bytes);
    assert(lseek(f->fd, 0, SEEK_SET) == 0);
    (void)snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
}

void fuzz_file_done(struct fuzz_file *f)
{
    (void)close(f->fd);
}

static char folder_path[64]; /* a process has one, and nobody else knows it */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    return ftw->level == 0 ? 0 : remove(path);
}

static void remove_folder(void)
{
    (void)nftw(folder_path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    (void)rmdir(folder_path);
}

const char *fuzz_folder(void)
{
    if (folder_path[0] == '\0') {
        (void)snprintf(folder_path, sizeof(folder_path), "%s/slipform-fuzz-XXXXXX",
                       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        assert(mkdtemp(folder_path) != NULL);
        (void)atexit(remove_folder);
    }
    assert(nftw(folder_path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
    return folder_path;
}

void fuzz_write(const char *folder, const char *name, struct str bytes)
{
    auto_free char *path = mem_printf("%s/%s", folder, name);
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(fd >= 0);
    write_all(fd, bytes);
}
