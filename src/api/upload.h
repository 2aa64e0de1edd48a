#pragma once
/* api/upload.h - a build context that comes as the body, application/x-tar: streamed into the blobs.
 * Layer: api. A route with such a body has on_headers and a body limit of CONTEXT_SIZE_MAX. */
#include "api/call.h"

/* 512 MiB: the contract. */
#define CONTEXT_SIZE_MAX ((uint64_t)512 * 1024 * 1024)
/* Bodies of the JSON form of such a route are collected in memory. */
#define UPLOAD_JSON_SIZE_MAX 65536u

bool upload_is_tar(const struct call *c);
/* In on_headers, once what the headers say is fine: the body goes to the blobs. A JSON body must be small (else it is
 * answered). */
void upload_begin(struct call *c);
/* In the handler: the upload is synced, then done(c, digest, ctx); or it is answered. digest lives as long as the call.
 * False: nothing came (upload_begin was not called). */
bool upload_finish(struct call *c, void (*done)(struct call *c, struct str digest, void *ctx), void *ctx);
