#pragma once
/* cli/context.h - a folder as the tar that is built: what a deployment uploads. Layer: cli. */
#include <stdint.h>

#include "base/err.h"

/* 512 MiB: what the public API takes (contract). */
#define CONTEXT_SIZE_MAX (512ull * 1024 * 1024)

/* Pack `folder` (without .git; owner, group and times are left out, names are sorted: the same files give the same
 * bytes) into an unlinked temporary file. *ret_fd is returned, at its beginning: close. OK | ERR_NOT_FOUND no such
 * folder, or no Dockerfile in it | ERR_LIMIT | ERR_IO */
must_check enum err context_pack(const char *folder, int *ret_fd, uint64_t *ret_size_bytes, struct errinfo *err);
