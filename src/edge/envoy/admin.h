#pragma once
/* edge/envoy/admin.h - one request to an Envoy's admin interface on its Unix socket. Layer: edge. Thread: loop. */
#include <uv.h>

#include "base/str.h"

/* 4 MiB: the statistics of some thousand clusters (chosen); more is cut off and counts as no answer. */
#define ADMIN_ANSWER_SIZE_MAX (4u * 1024u * 1024u)

/* status 0: no answer within a second. body is lent for the callback. */
typedef void admin_done_fn(void *ctx, int status, struct str body);

/* Start a request, e.g. ("GET", "/ready"). on_done is called once, from the loop, not before this returns. */
void admin_send(uv_loop_t *loop, const char *socket_path, const char *method, const char *target,
                admin_done_fn *on_done, void *ctx);
