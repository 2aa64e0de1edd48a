#pragma once
/* build/job.h - one build inside its namespaces: files and steps. Layer: build, inside. */
#include "base/mem.h"
#include "build/builder.h"
#include "build/trace.h"
#include "wire/image.h"

/* As many as an environment file may name (chosen). */
#define JOB_PROXIES_MAX 16
/* Where Debian's programs look for CAs. */
#define JOB_CA_BUNDLE_INSIDE "/etc/ssl/certs/ca-certificates.crt"

struct job {
    const struct build_request *request;
    struct arena arena;        /* texts of the result */
    struct trace trace;        /* of buildah's output */
    int64_t deadline_us;       /* of the monotonic clock */
    int blobs_fd;              /* of build/blob_keeper.h */
    const char *folder;        /* work_folder/job, ours until the end */
    const char *context;       /* folder/context */
    const char *driver;        /* overlay or vfs */
    const char *storage, *run; /* of buildah */
    const char *ca_bundle;     /* of this machine, for RUN steps; NULL: the image's own */
    const char **env;          /* for buildah and what it starts */
    struct image_state result; /* texts in the arena */
};

/* Everything from the empty folder to the blob. Not OK: err says why; when the Dockerfile failed, result.cause does. */
must_check enum err job_run(struct job *j, struct errinfo *err);
void job_done(struct job *j);

/* Files that buildah reads, the environment of the build and the storage driver. */
must_check enum err job_prepare(struct job *j, struct errinfo *err);
/* Names in the local registry: "busybox:latest, debian:bookworm-slim". */
void job_list_base_images(const struct job *j, struct buf *out);
/* The registry on loopback, where there is a folder for it. It ends with the namespace. */
must_check enum err job_start_registry(struct job *j, struct errinfo *err);
