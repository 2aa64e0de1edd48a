#pragma once
/* store/durable.h - a small file that is there whole or not at all, for rooms that may use store but not os (app).
 * Layer: store. */
#include "os/file.h"

/* os/file.h: file_replace, mode 0600. */
static inline enum err durable_replace(const char *path, struct str bytes, struct errinfo *err)
{
    return file_replace(path, bytes, 0600, err);
}
/* os/file.h: file_read. */
static inline enum err durable_read(const char *path, size_t size_max, struct buf *ret_bytes, struct errinfo *err)
{
    return file_read(path, size_max, ret_bytes, err);
}
