#pragma once
/* blob/jobs.h - calls of a blob store in uv's pool, a few at a time: a bucket that does not answer must not take the
 * pool from the event log, nor keep a growing queue waiting.
 * Layer: blob. Thread: loop. */
#include <uv.h>

#include "blob/blob.h"

/* Of the pool's threads (platform has 8). Chosen. */
#define BLOB_JOBS_AT_ONCE 4u
/* That wait for their turn; more are refused (chosen). */
#define BLOB_JOBS_WAITING_MAX 64u

struct blob_jobs;
/* First member of whatever it needs; the caller's until done, which may free it. */
struct blob_job {
    enum err (*work)(struct blob_store *store, struct blob_job *job, struct errinfo *err); /* in the pool */
    void (*done)(struct blob_job *job); /* in the loop, once, never from inside add */
    struct errinfo err;                 /* for done; its code is OK when work was */
    struct blob_jobs *jobs;
    struct blob_job *next;
    uv_work_t request;
};

/* loop and store are borrowed. Returned: blob_jobs_free, with nothing under way. */
struct blob_jobs *blob_jobs_new(uv_loop_t *loop, struct blob_store *store);
void blob_jobs_free(struct blob_jobs *jobs);
/* OK | ERR_UNAVAILABLE too many wait: nothing was begun. When one ends with ERR_UNAVAILABLE, those that wait behind it
 * end with the same error and are not begun: each would wait as long for the same answer. */
must_check enum err blob_jobs_add(struct blob_jobs *jobs, struct blob_job *job, struct errinfo *err);
