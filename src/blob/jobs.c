#include "blob/jobs.h"

#include "base/mem.h"
#include "base/own.h"

struct blob_jobs {
    uv_loop_t *loop;
    struct blob_store *store;
    struct blob_job *first, **last; /* that wait */
    unsigned waiting_n, running_n;
};

struct blob_jobs *blob_jobs_new(uv_loop_t *loop, struct blob_store *store)
{
    struct blob_jobs *jobs = mem_alloc(sizeof(*jobs));
    *jobs = (struct blob_jobs){.loop = loop, .store = store};
    jobs->last = &jobs->first;
    return jobs;
}

void blob_jobs_free(struct blob_jobs *jobs)
{
    free(jobs);
}

static void in_pool(uv_work_t *request)
{
    struct blob_job *job = request->data;
    if (job->work(job->jobs->store, job, &job->err) == OK)
        job->err = (struct errinfo){0}; /* of something that was tried on the way */
}

static struct blob_job *take_first(struct blob_jobs *jobs)
{
    struct blob_job *job = jobs->first;
    if (job == NULL)
        return NULL;
    jobs->first = job->next;
    if (jobs->first == NULL)
        jobs->last = &jobs->first;
    jobs->waiting_n--;
    return job;
}

static void begin(struct blob_jobs *jobs);

static void in_loop(uv_work_t *request, int status)
{
    struct blob_job *job = request->data, *waits = NULL;
    struct blob_jobs *jobs = job->jobs;
    struct errinfo err = job->err;
    (void)status; /* never cancelled */
    jobs->running_n--;
    if (err.code == ERR_UNAVAILABLE) {
        waits = jobs->first;
        *jobs = (struct blob_jobs){.loop = jobs->loop, .store = jobs->store, .running_n = jobs->running_n};
        jobs->last = &jobs->first;
    }
    begin(jobs);
    job->done(job); /* jobs may be gone behind the last one */
    while (waits != NULL) {
        struct blob_job *next = waits->next;
        waits->err = err;
        waits->done(waits);
        waits = next;
    }
}

static void begin(struct blob_jobs *jobs)
{
    while (jobs->first != NULL && jobs->running_n < BLOB_JOBS_AT_ONCE) {
        struct blob_job *job = take_first(jobs);
        jobs->running_n++;
        job->request.data = job;
        (void)uv_queue_work(jobs->loop, &job->request, in_pool, in_loop); /* fails only without a work function */
    }
}

enum err blob_jobs_add(struct blob_jobs *jobs, struct blob_job *job, struct errinfo *err)
{
    if (jobs->waiting_n >= BLOB_JOBS_WAITING_MAX)
        return err_set(err, ERR_UNAVAILABLE, "%u requests wait for the blobs already: ask again", jobs->waiting_n);
    job->err = (struct errinfo){0};
    job->jobs = jobs;
    job->next = NULL;
    *jobs->last = job;
    jobs->last = &job->next;
    jobs->waiting_n++;
    begin(jobs);
    return OK;
}
