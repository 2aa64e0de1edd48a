#pragma once
/* api/blobs.h - blobs for handlers: asked in uv's pool, because a bucket is a network away. Layer: api. */
#include "api/call.h"
#include "blob/jobs.h"

/* 5 minutes (chosen): longer than clocks differ, and it only has to reach whoever asked. */
#define BLOB_URL_GOOD_S 300u

/* What the store said, to the caller: that it is away, or that the platform may not use it, is 503, and in the log. */
void call_reply_blob_error(struct call *c, const struct errinfo *err);
/* done(c, ctx) once the context is known to be stored (blob_stat: it stays for the grace of the collection); or
 * answered. digest is text of the call's arena. */
void call_check_context(struct call *c, struct str digest, void (*done)(struct call *c, void *ctx), void *ctx);
/* Answers with the blob's bytes, or 307 to an address that is good for a while. */
void call_reply_blob(struct call *c, const char *digest);
