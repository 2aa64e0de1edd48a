#pragma once
/* slipform.h - write an event-sourced process: a fold of logs into a model, HTTP routes that look at it and emit.
 * Layer: sdk (may use app, store, net, daemon). The only header that an application needs; app/app.h says how a process
 * lives, net/http_server.h what a request is. Everything is called in one loop, one call at a time.
 *
 *   int main(int argc, char **argv) { return slipform_main(argc, argv, &PROCESS); }
 *
 * Where the process runs says which logs it reads and appends to, as settings (YAML file, or SLIPFORM_<NAME>):
 *   events            SLIPFORM_EVENTS of a microVM: the platform keeps the logs; with output_log and input_logs (ids)
 *   output, inputs    or stores by name: "files;path=/var/lib/clicks/log"
 *   partition_ranges, workloads, state_folder (for checkpoints), port (PORT of a microVM) */
#include "app/app.h"
#include "daemon/daemon.h"
#include "net/http_server.h"

struct slipform; /* a running process */

struct slipform_process {
    const char *name, *doc; /* for --help and logs */
    void *model;            /* empty; changed by apply only */
    enum err (*apply)(void *model, const struct store_record *record, struct errinfo *err);
    /* Optional, as in struct app_options. */
    void (*reset)(void *model);
    void (*trial_begin)(void *model);
    void (*trial_end)(void *model);
    void (*consequences)(const void *model, const struct store_record *cause, struct app_events *ret_events);
    struct str (*partition_key)(const struct store_record *record);
    const struct app_schedule *schedules;
    size_t schedules_n;
    const struct gateway *const *gateways;
    size_t gateways_n;
    /* Checkpoints; path and every_events are the runtime's. encode NULL: none. */
    struct app_snapshot snapshot;
    /* The workload "http": served on `port` when it is chosen, from the moment the process is live. ctx of each handler
     * is the struct slipform. */
    const struct http_route *routes;
    size_t routes_n;
    const struct workload *workloads; /* others */
    size_t workloads_n;
};

/* The whole main: settings, logs, replay, routes, health and metrics, SIGTERM. Returns the exit code. */
int slipform_main(int argc, char **argv, const struct slipform_process *process);

struct app *slipform_app(struct slipform *s);
const void *slipform_model(const struct slipform *s);
struct daemon *slipform_daemon(struct slipform *s);
struct id slipform_new_id(struct slipform *s); /* a fresh UUIDv7 for an event; not from inside a fold */

/* Answer a request from the model, once that has folded what the request's header Slipform-Position names (one that was
 * given by a write; without it: at once). `read` answers it; ctx is the process. When the position is not reached in
 * APP_BEHIND_MS: 503 `behind`. */
void slipform_read(struct slipform *s, struct http_request *r,
                   void (*read)(struct http_request *r, struct slipform *s));
/* Emit one event and answer: 201 with Slipform-Position and this JSON body, or a problem. `holds` NULL: whatever the
 * model says; else 409 when it says no; its ctx lives until the answer. Durable and folded when it is answered. */
void slipform_emit(struct slipform *s, struct http_request *r, app_if_fn holds, void *ctx,
                   const struct app_event *event, struct str body);
