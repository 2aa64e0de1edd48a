#pragma once
/* blob/s3.h - the bucket backend's parts; private to blob/. Layer: blob. Thread: any; calls block on the network. */
#include <curl/curl.h>
#include <uv.h>

#include "blob/kind.h"
#include "blob/sigv4.h"

/* 5 MiB to 5 GiB and 10,000 parts are S3's own bounds (Amazon S3 multipart upload limits). */
#define S3_PART_SIZE_MIN (5ull * 1024 * 1024)
#define S3_PART_SIZE_MAX (5ull * 1024 * 1024 * 1024)
#define S3_PARTS_MAX 10000u
/* One copy inside a bucket takes no more than this (same source). */
#define S3_COPY_SIZE_MAX (5ull * 1024 * 1024 * 1024)
/* Chosen, never measured. */
#define S3_PART_SIZE_DEFAULT (16ull * 1024 * 1024)
#define S3_CACHE_SIZE_DEFAULT (8ull * 1024 * 1024 * 1024)
#define S3_ATTEMPTS_DEFAULT 6u
#define S3_STALL_DEFAULT_S 30u
/* A document of the bucket: a list of 1,000 keys has 0.4 MiB. */
#define S3_ANSWER_SIZE_MAX (4u * 1024 * 1024)
/* What is stored again after this long is sent again, so that it is young (garbage.h; half of its shortest grace). */
#define S3_FRESH_S (12 * 3600)
/* 64 GiB (chosen): no image is near it. */
#define S3_BLOB_SIZE_MAX (64ull * 1024 * 1024 * 1024)
#define S3_IDLE_MAX 8u

struct s3 {
    struct blob_store base;
    char *endpoint; /* "https://host:port" */
    char *host;     /* as the Host header has it */
    char *bucket, *region, *prefix;
    char *access, *secret, *token; /* token may be NULL */
    struct blob_store *cache;      /* a folder store of our own */
    uint64_t cache_size, part_size;
    unsigned attempts, stall_s;
    _Atomic bool is_cancelled;
    uv_mutex_t lock; /* of what follows */
    CURL *idle[S3_IDLE_MAX];
    size_t idle_n;
};

/* One request, repeated as often as that can help. */
struct s3_call {
    const char *method;
    const char *key; /* NULL: the bucket itself */
    const struct sigv4_pair *query;
    size_t query_n;
    struct sigv4_pair headers[4]; /* x-amz-*, lower case */
    size_t headers_n;
    const char *header;  /* one more, not signed: "If-None-Match: *"; NULL: none */
    const char *right;   /* that it needs: "s3:GetObject" */
    const char *payload; /* hex SHA-256 of the body; NULL: it is empty */
    struct str body;     /* or, with body_size > 0: */
    int body_fd;
    uint64_t body_at, body_size;
    /* Bytes of a 2xx body, each once, although the connection may be cut: goes on with a range. NULL: to answer.body */
    enum err (*on_body)(struct str bytes, void *ctx, struct errinfo *err);
    void *ctx;
};

struct s3_answer {
    int status;
    struct buf body;
    uint64_t length; /* Content-Length of the last attempt */
    int64_t modified_s;
    char etag[160];
};
static inline void s3_answer_cleanup(struct s3_answer *a)
{
    buf_done(&a->body);
}

/* OK: 2xx | ERR_NOT_FOUND no such key or upload | ERR_CONFLICT 412, the condition does not hold | ERR_DENIED
 *    | ERR_INVALID no such bucket, another region, refused | ERR_UNAVAILABLE attempts used up | what on_body said
 * Secrets and queries are in no error. */
must_check enum err s3_do(struct s3 *s, const struct s3_call *call, struct s3_answer *ret, struct errinfo *err);

/* <prefix>sha256/ab/<hex>, or <prefix>aside/<hex>. */
char *s3_key(const struct s3 *s, enum blob_place place, const char *digest);
/* The text between <name> and </name>, moving *rest behind it; entities are left as they are. False: there is none. */
bool s3_xml(struct str *rest, const char *name, struct str *ret);
/* "2026-11-22T12:00:00.000Z"; 0: unreadable */
int64_t s3_xml_time(struct str text);

must_check enum err s3_put_begin(struct blob_store *store, uint64_t size_max, struct blob_put **ret_put,
                                 struct errinfo *err);
must_check enum err s3_put_write(struct blob_put *p, const void *bytes, size_t n, struct errinfo *err);
must_check enum err s3_put_finish(struct blob_put *p, const char *expect, char ret_digest[DIGEST_TEXT_SIZE],
                                  uint64_t *ret_size_bytes, struct errinfo *err);
void s3_put_abort(struct blob_put *p);
must_check enum err s3_sweep(struct blob_store *store, int64_t older_than_s, uint64_t *ret_n, struct errinfo *err);
must_check enum err s3_open(struct blob_store *store, const char *digest, int *ret_fd, uint64_t *ret_size_bytes,
                            struct errinfo *err);
/* Remove from the cache what was used longest ago, until it is within cache_size. */
void s3_trim_cache(struct s3 *s);
must_check enum err s3_stat(struct blob_store *store, enum blob_place place, const char *digest, struct blob_entry *ret,
                            struct errinfo *err);
