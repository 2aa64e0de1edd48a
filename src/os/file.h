#pragma once
/* os/file.h - whole files: read with a bound, replaced durably, folders made and removed, a lock.
 * Layer: os. All calls block; the loop calls them for small files only. */
#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Add the whole file to ret_text. OK | ERR_NOT_FOUND | ERR_LIMIT more than size_max bytes, nothing added | ERR_IO */
must_check enum err file_read(const char *path, size_t size_max, struct buf *ret_text, struct errinfo *err);
/* Readers see the old bytes or the new ones, also after a power cut: a temporary file beside it, fsync, rename, fsync
 * of the folder. OK durable | ERR_IO the old file stands, or the new one but not surely durable */
must_check enum err file_replace(const char *path, struct str bytes, mode_t mode, struct errinfo *err);
/* The same with an owner (both -1: ours). */
must_check enum err file_replace_owned(const char *path, struct str bytes, mode_t mode, uid_t uid, gid_t gid,
                                       struct errinfo *err);
/* Remove one file durably. OK also when there was none. */
must_check enum err file_remove(const char *path, struct errinfo *err);
/* Give a file or a folder another name in the same folder, durably. OK | ERR_IO the old name, or not surely durable */
must_check enum err file_rename(const char *from, const char *to, struct errinfo *err);
must_check enum err file_sync_folder(const char *path, struct errinfo *err);
bool file_exists(const char *path);
bool file_is_folder(const char *path);
bool folder_is_empty(const char *path); /* or is not there */
/* Size of a regular file. OK | ERR_NOT_FOUND | ERR_IO */
must_check enum err file_size(const char *path, int64_t *ret_bytes, struct errinfo *err);

/* Make a folder and the ones above it; those that exist keep their mode. */
must_check enum err folder_make(const char *path, mode_t mode, struct errinfo *err);
/* Make it and set mode and owner on it, also when it existed (not on the ones above). */
must_check enum err folder_make_owned(const char *path, mode_t mode, uid_t uid, gid_t gid, struct errinfo *err);
/* Remove a folder and all below it. Never follows a symbolic link and never leaves the mount that `path` is on: a
 * mount point inside is an error, so that nothing of somebody else goes. OK also when there is none. */
must_check enum err folder_remove(const char *path, struct errinfo *err);
/* Names in a folder, sorted, without "." and "..": *ret_names is a NULL-terminated array, free() each and itself.
 * OK | ERR_NOT_FOUND | ERR_IO */
must_check enum err folder_list(const char *path, char ***ret_names, size_t *ret_n, struct errinfo *err);
void folder_list_free(char **names);

/* Take an exclusive lock on a file (made when missing), for as long as *ret_fd is open. Children do not inherit it.
 * OK | ERR_CONFLICT somebody holds it | ERR_IO */
must_check enum err file_lock(const char *path, int *ret_fd, struct errinfo *err);
