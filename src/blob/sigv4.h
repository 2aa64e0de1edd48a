#pragma once
/* blob/sigv4.h - AWS Signature Version 4 for S3, in headers and in a URL.
 * Layer: blob. Pure: the time comes in. Written here although libcurl signs too: a URL that is signed ahead needs the
 * same arithmetic, and libcurl 7.88 leaves out x-amz-content-sha256, which S3 demands. */
#include <stdint.h>

#include "base/buf.h"

struct sigv4_key {
    const char *access, *secret;
    const char *token;  /* of temporary credentials; NULL: none */
    const char *region; /* "eu-central-1" */
};
/* Raw texts; they are encoded by the functions here. */
struct sigv4_pair {
    const char *name, *value;
};
struct sigv4_request {
    const char *method;
    const char *host;               /* as the Host header carries it: with the port when it is not the scheme's own */
    const char *path;               /* raw, begins with '/' */
    const struct sigv4_pair *query; /* in any order */
    size_t query_n;
    const struct sigv4_pair *headers; /* to be signed beside host; lower-case names, in any order */
    size_t headers_n;
    const char *payload; /* hex SHA-256 of the body, or "UNSIGNED-PAYLOAD" */
    int64_t at_s;        /* since 1970 */
};
#define SIGV4_PAIRS_MAX 16u
#define SIGV4_TIME_SIZE 20
#define SIGV4_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" /* SHA-256 of nothing */

/* "20130524T000000Z" */
void sigv4_time(int64_t at_s, char ret_text[static SIGV4_TIME_SIZE]);
/* Path and query as they stand in the URL. */
void sigv4_add_path(struct buf *out, const char *path);
void sigv4_add_query(struct buf *out, const struct sigv4_pair *query, size_t n);
/* The value of Authorization. headers must hold x-amz-date (sigv4_time of at_s) and what else begins with x-amz-. */
void sigv4_authorize(const struct sigv4_request *r, const struct sigv4_key *key, struct buf *out);
/* The query of a URL that is good for `seconds` from at_s on. It is a secret: whoever has it may do the request. */
void sigv4_presign(const struct sigv4_request *r, const struct sigv4_key *key, unsigned seconds, struct buf *out);
