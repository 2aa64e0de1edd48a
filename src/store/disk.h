#pragma once
/* store/disk.h - the system calls of the files store, by way of struct store_disk. Layer: store.
 * d may be NULL: the kernel's. All set errno; EINTR is tried again here. */
#include <sys/types.h>

#include "store/store.h"

int disk_open(const struct store_disk *d, int dir_fd, const char *name, int flags, mode_t mode);
/* Up to n bytes, fewer only at the file's end; -1. */
ssize_t disk_pread(const struct store_disk *d, int fd, void *bytes, size_t n, uint64_t at);
/* All n bytes. */
bool disk_pwrite(const struct store_disk *d, int fd, const void *bytes, size_t n, uint64_t at);
int disk_ftruncate(const struct store_disk *d, int fd, uint64_t size);
int disk_fdatasync(const struct store_disk *d, int fd);
int disk_fsync(const struct store_disk *d, int dir_fd);
int disk_rename(const struct store_disk *d, int dir_fd, const char *from, const char *to);
int disk_unlink(const struct store_disk *d, int dir_fd, const char *name);

/* A file that is there whole or not at all: NAME.tmp, renamed. Who calls holds a lock on NAME.
 *   is_durable  also after the machine went down: with fsync of file and folder. false: for what can be made again
 * OK | ERR_IO: the old file stands, or the new one but not surely durable */
must_check enum err disk_replace(const struct store_disk *d, int dir_fd, const char *name, struct str bytes,
                                 bool is_durable, struct errinfo *err);
/* Add a whole small file. OK | ERR_NOT_FOUND | ERR_LIMIT over size_max | ERR_IO */
must_check enum err disk_read_file(const struct store_disk *d, int dir_fd, const char *name, size_t size_max,
                                   struct buf *ret_bytes, struct errinfo *err);
