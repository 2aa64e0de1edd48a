#pragma once
/* platform/decide_application.h - event-sourced applications: what they consist of, put and deleted as a whole.
 * An application is a name and a version: types, streams with their event logs, gateways, and one process that folds
 * the input streams and appends to the output stream. Versions of a name are processes side by side: each lives until
 * it is deleted; types, streams and gateways are shared by name and stay. The planner then places its instances
 * (platform/plan_application.c). Errors as platform/decide.h says. Layer: platform. Pure. */
#include "platform/decide.h"

/* 64 of each a PUT, 64 logs a stream, 16 KiB of JSON each, 64 KiB for the process: an event is at most 256 KiB, a batch
 * 1 MiB (contract); more than any application that was looked at has (chosen). 255 is the longest name of a type. */
#define APPLICATION_LIST_MAX 64u
#define APPLICATION_LOGS_MAX 64u
#define APPLICATION_JSON_MAX 16384u
#define APPLICATION_CONFIG_MAX 65536u
#define APPLICATION_TYPE_NAME_MAX 255u

/* Payloads as events have them. Ids may be none: what is there by that name (a stream: and version) is taken, and
 * what is not gets a fresh id. `because` is ours. */
struct application_stream {
    struct create_stream stream;
    const struct create_event_log *logs; /* their streamId is ours; no logs: one of "*" */
    size_t logs_n;
};
struct application_put {
    struct str name, version; /* letters, digits, '.', '_', '-' */
    const struct create_type *types;
    size_t types_n;
    const struct create_gateway *gateways;
    size_t gateways_n;
    const struct application_stream *streams;
    size_t streams_n;
    bool is_exposed; /* edges lead https://<slug of its name>.<app_domain> to it; else only its node reaches it */
    /* imageDigest (of an image that is ready), config, secretRefs, resources, instancesWanted (0: 1), health, port,
     * runtime, availabilityZones, inputStreamIds, outputStreamId. */
    struct create_process process;
    struct strs input_streams; /* by name, beside inputStreamIds: of this PUT, else the newest of that name */
    struct str output_stream;  /* by name, instead of outputStreamId */
};

/* The same again: no events. *ret_id: of the process, set on OK and on the conflict of a version.
 * ERR_CONFLICT: this version, or a type, stream or gateway of that name, is there with other content: choose another
 * version, or another name; or a project, or another application, has its host | ERR_NOT_FOUND: an image or a stream
 * that is not there | ERR_INVALID, ERR_LIMIT */
must_check enum err decide_put_application(const struct decide *d, const struct application_put *c,
                                           struct event_list *out, struct id *ret_id, struct errinfo *err);
/* Its instances drain and go, then it does. Its streams and what is in them stay. */
must_check enum err decide_delete_application(const struct decide *d, struct str name, struct str version,
                                              struct event_list *out, struct errinfo *err);
