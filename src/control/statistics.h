#pragma once
/* control/statistics.h - the log `statistics`: InstanceProgress and InstanceIopw of applications, for people and tools.
 * Nothing is decided from it, so it may be late, lossy and thrown away. It has its own folder, files and queue: what
 * goes wrong here is told in the program's log and harms nothing else. Layer: control. Thread: loop.
 *
 * Its records are kept in generations, each an event log of its own (files store) in a folder named by the number of
 * records before it. A seq of `statistics` counts over all of them. Old generations are deleted as a whole, so reading
 * begins with the oldest record that there is. docs/formats/event-log.md
 *
 * Where the log of the platform is on a server, they are a series of the bulk store instead, which throws away what is
 * old (control/statistics_series.h).
 *
 * Several replicas may write: each appends conditionally, and what another one has recorded is dropped. */
#include "control/bulk_queue.h"
#include "control/log_queue.h"
#include "wire/umbilical.h"

struct logger;
struct statistics;

struct statistics_options {
    uv_loop_t *loop;
    const struct logger *log; /* borrowed */
    const char *folder;       /* made when something is written; copied; NULL with bulk */
    struct bulk_queue *bulk;  /* where records are when replicas are on several hosts: one series; else NULL */
    bool writes;              /* else it is only read here */
    /* 0: the figures below. */
    uint64_t generation_size_bytes, generations_n;
    int64_t kept_s, flush_ms;
};
/* At most 16 times 4 MiB, and at most a week behind the newest record of a generation (chosen: 64 MiB hold a busy
 * instance for about 6 days: 2 records of 290 bytes each 5 s; test_statistics: retention). */
#define STATISTICS_GENERATION_SIZE ((uint64_t)4 * 1024 * 1024)
#define STATISTICS_GENERATIONS_N 16u
#define STATISTICS_KEPT_S ((int64_t)7 * 86400)
/* One append, one fdatasync, in so long (chosen). */
#define STATISTICS_FLUSH_MS 5000
/* Windows that wait to be written; the oldest are given up (chosen: 1,000 instances for 20 s; test_statistics:
 * a_full_disk). */
#define STATISTICS_PENDING_MAX 4096u

/* Returned: statistics_close. */
struct statistics *statistics_new(const struct statistics_options *o);
void statistics_close(struct statistics *s, void (*closed)(void *ctx), void *ctx);

/* A report was heard, perhaps for the second time. now_us: monotonic. */
void statistics_hear(struct statistics *s, struct id instance_id, const struct umbilical_report *r, int64_t now_us);
/* Instances that were last heard before that instant are forgotten. */
void statistics_forget_silent(struct statistics *s, int64_t before_us);
/* Records behind after_seq, at most n; as log_queue_read, but that it begins with the oldest there is. */
void statistics_read(struct statistics *s, uint64_t after_seq, size_t n, log_read_fn done, void *ctx);
/* As far as this process knows; rises. */
uint64_t statistics_end(const struct statistics *s);
/* Windows that were given up unwritten, ever. */
uint64_t statistics_lost_n(const struct statistics *s);
