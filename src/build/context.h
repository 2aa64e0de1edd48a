#pragma once
/* build/context.h - a build context: an uploaded tar, unpacked so that nothing of it lands outside its folder.
 * Layer: build (may use blob, wire, net, os). Blocking. The tar is hostile until it has been unpacked. */
#include <stdint.h>

#include "base/err.h"

struct context_limits {
    uint64_t size_bytes_max; /* of all contents together, unpacked */
    uint64_t entries_max;
};
/* 4 GiB and 200,000 files: eight times the largest upload, and twice the files of a big web project with its
 * dependencies in it (chosen, never measured). */
#define CONTEXT_SIZE_MAX (4ull * 1024 * 1024 * 1024)
#define CONTEXT_ENTRIES_MAX 200000

/* 1980-01-01, what every unpacked entry gets: the oldest that every archive format can hold. */
#define CONTEXT_TIME_S 315532800

struct context_facts {
    uint64_t entries, size_bytes;
};

/* Unpack a tar (plain or gzip) from fd into `folder`, which exists and is empty. Files, folders and links only; owner
 * and special mode bits are dropped and all times set to one instant, so that the same content builds the same layers.
 * OK | ERR_INVALID no tar, a path outside of the context, a device … naming the entry | ERR_LIMIT | ERR_IO.
 * After an error the folder holds what came before it. */
must_check enum err context_unpack(int fd, const char *folder, const struct context_limits *limits,
                                   struct context_facts *ret_facts, struct errinfo *err);

/* OK when `name` (relative) is a file in the unpacked context; ERR_NOT_FOUND says what is there instead. */
must_check enum err context_check_dockerfile(const char *folder, const char *name, struct errinfo *err);
