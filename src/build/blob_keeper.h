#pragma once
/* build/blob_keeper.h - the process that has the blobs, for a build that has none.
 * The build's own processes are in a network namespace with private destinations blocked and run what strangers wrote:
 * they can't reach a bucket, and its credentials are not for them. So one more process stays outside, opens the store,
 * and answers two questions over a socket: the context as a descriptor, a file that becomes a blob.
 * Layer: build. Blocking. A store that does not answer is asked again until the build's time is over. */
#include <sys/types.h>

#include "base/err.h"
#include "event/hash.h"

struct blob_keeper {
    pid_t pid; /* 0: there is none */
    int fd;    /* the build's end; hand it to the one who asks and close it here. -1: closed */
};

/* Start it, a child of this process that dies with it. The caller has one thread. spec is borrowed. The store is opened
 * there: what is wrong with spec or credentials is the answer to the first question. OK | ERR_IO. */
must_check enum err blob_keeper_start(const char *spec, struct blob_keeper *ret, struct errinfo *err);
/* It is killed, whatever it does: what it was storing is not stored. */
void blob_keeper_stop(struct blob_keeper *k);

/* fd is that of blob_keeper. *ret_fd: close(). OK | as blob_open | ERR_UNAVAILABLE not until deadline_us (monotonic)
 * | ERR_IO the keeper is gone */
must_check enum err blob_keeper_get(int fd, const char *digest, int64_t deadline_us, int *ret_fd, struct errinfo *err);
/* Everything in file_fd, from its beginning. OK | as blob_put_fd | likewise */
must_check enum err blob_keeper_put(int fd, int file_fd, uint64_t size_max, int64_t deadline_us,
                                    char ret_digest[DIGEST_TEXT_SIZE], uint64_t *ret_size_bytes, struct errinfo *err);
