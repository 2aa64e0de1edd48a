#pragma once
/* crypto/file.h - files with keys and tokens: written durably, private, and wiped from memory. Layer: crypto. */
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* 1 MiB: keys, tokens, CA bundles (Debian's is 220 KB) (chosen). */
#define CRYPTO_FILE_SIZE_MAX (1024u * 1024u)

/* Temporary file of `mode` beside `path`, fsync, rename, fsync of the folder. uid, gid: -1 leaves them.
 * OK | ERR_NOT_FOUND the folder is missing | ERR_IO: the old file is still whole. */
must_check enum err crypto_file_write(const char *path, struct str bytes, mode_t mode, int uid, int gid,
                                      struct errinfo *err);
/* Append the whole file. OK | ERR_NOT_FOUND | ERR_LIMIT bigger than CRYPTO_FILE_SIZE_MAX | ERR_IO. */
must_check enum err crypto_file_read(const char *path, struct buf *ret_bytes, struct errinfo *err);
/* buf_done after wiping. */
void secret_done(struct buf *b);
static inline void secret_cleanup(struct buf *b)
{
    secret_done(b);
}
