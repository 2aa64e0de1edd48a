#pragma once
/* build/run.h - one build from report to report: tell the platform, run the build core, tell what came of it.
 * Layer: build. Thread: loop. Happy path: PUT building; start the core (build/builder.h) as a child with the request on
 * its stdin; read its result; PUT ready. A report that does not arrive is sent again with growing pauses: the result of
 * a build is worth waiting for, and any replica of the control plane takes it. An image that is not waiting for a build
 * any more (409, 404), or for this builder's (403), ends it; a replica that does not know that yet is behind, and
 * another one is asked. A core that was stopped or killed, and so says nothing of the build, is not reported: the
 * program ends without an image, its node says so, and the planner has another builder try it. */
#include <uv.h>

#include "base/log.h"
#include "build/builder.h"
#include "net/http_client.h"

struct build_run_options {
    uv_loop_t *loop;
    struct http_client *client;
    const struct logger *log;
    const char *const *management_urls; /* "https://host:port": replicas, each as good; borrowed until on_done */
    size_t management_urls_n;
    struct http_call_options call;       /* TLS files and peer_uri; borrowed until on_done */
    const char *core;                    /* program that is the core when it is called with --core */
    const struct build_request *request; /* borrowed until on_done */
    /* Called once, from the loop. exit_code: 0 ready was reported, 1 failed was, or nothing. */
    void (*on_done)(int exit_code, void *ctx);
    void *ctx;
};

struct build_run;
/* Returned: freed after on_done by itself. Options are copied, what they point to is borrowed. */
struct build_run *build_run_start(const struct build_run_options *o);
/* End the core; on_done follows within some seconds. An image that is ready is still reported. */
void build_run_stop(struct build_run *r);
