#pragma once
/* build/builder.h - the build core: a context in blob storage becomes a read-only root file system in blob storage.
 * Layer: build. Blocking; a process of its own, started by image-builder (or by a test) with a request on its standard
 * input. It does not talk to the platform and has no secrets.
 *
 * Three processes. One has the blobs (build/blob_keeper.h). The outer one stays in the machine's network namespace and
 * holds the build's egress; the inner one is PID 1 of new network, mount and PID namespaces and does the work: unpack
 * the context, local registry on its loopback, buildah, mkfs.erofs. When either is killed, all goes: processes, mounts,
 * link and nftables table. What stays is below work_folder, and the next build there clears it.
 *
 * One build at a time in a work_folder; a second one waits. The same context gives the same digest: layers are cached
 * below work_folder, and the file system image depends on contents, names and modes only. */
#include "base/err.h"
#include "event/fields.h"

/* The request: one JSON document on stdin, at most 64 KiB. */
struct build_request {
    struct str installation;     /* for the names of objects in the OS */
    struct id image_id;          /* for logs */
    struct str context_digest;   /* of a tar among the blobs */
    struct str dockerfile;       /* path in the context */
    struct str blobs;            /* spec of the store (blob/blob.h) */
    struct str work_folder;      /* ours alone; layers are cached in it */
    struct str registry_folder;  /* storage of the local registry; empty: none */
    struct str environment_file; /* what a build needs to reach the outside; empty: none */
    struct str isolation;        /* of RUN steps: oci (runc) or chroot */
    int64_t timeout_seconds;
    int64_t image_size_max_bytes;
    struct strs allowed; /* private destinations that a build may reach */
    bool no_cache;
};
extern const struct field_table BUILD_REQUEST_TABLE;

/* main() of the core: the build's output goes to stdout by lines, the result (struct image_state, wire/image.h) as one
 * JSON document to result_fd. Answers the exit code: 0 ready, 1 failed (the result says why), 2 bad request. */
int builder_main(int request_fd, int result_fd);
