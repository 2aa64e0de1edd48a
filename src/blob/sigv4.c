#include "blob/sigv4.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/encode.h"
#include "base/own.h"
#include "event/hash.h"

#define HEX_SIZE (2 * HASH_SIZE + 1)

static int pair_cmp(const void *a, const void *b)
{
    return strcmp(((const struct sigv4_pair *)a)->name, ((const struct sigv4_pair *)b)->name);
}

/* RFC 3986: all but unreserved characters; a path keeps its slashes. */
static void add_encoded(struct buf *out, const char *text, bool keep_slash)
{
    static const char UNRESERVED[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
    for (; *text != '\0'; text++) {
        if (strchr(UNRESERVED, *text) != NULL || (keep_slash && *text == '/'))
            buf_add_char(out, *text);
        else
            buf_addf(out, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

void sigv4_time(int64_t at_s, char ret_text[static SIGV4_TIME_SIZE])
{
    time_t t = (time_t)at_s;
    struct tm tm;
    if (gmtime_r(&t, &tm) == NULL || strftime(ret_text, SIGV4_TIME_SIZE, "%Y%m%dT%H%M%SZ", &tm) == 0)
        (void)snprintf(ret_text, SIGV4_TIME_SIZE, "19700101T000000Z");
}

void sigv4_add_path(struct buf *out, const char *path)
{
    add_encoded(out, path, true);
}

void sigv4_add_query(struct buf *out, const struct sigv4_pair *query, size_t n)
{
    struct sigv4_pair sorted[SIGV4_PAIRS_MAX];
    assert(n <= SIGV4_PAIRS_MAX);
    for (size_t i = 0; i < n; i++)
        sorted[i] = query[i];
    qsort(sorted, n, sizeof(sorted[0]), pair_cmp);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_add_char(out, '&');
        add_encoded(out, sorted[i].name, false);
        buf_add_char(out, '=');
        add_encoded(out, sorted[i].value, false);
    }
}

static void hmac(const void *key, size_t key_len, const char *text, uint8_t ret[static HASH_SIZE])
{
    unsigned len = HASH_SIZE;
    const void *done = HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, strlen(text), ret, &len);
    assert(done != NULL && len == HASH_SIZE);
}

/* host and headers, sorted; with values: one line each, else names joined by ';'. */
static void add_headers(const struct sigv4_request *r, bool with_values, struct buf *out)
{
    struct sigv4_pair sorted[SIGV4_PAIRS_MAX + 1] = {{"host", r->host}};
    assert(r->headers_n <= SIGV4_PAIRS_MAX);
    for (size_t i = 0; i < r->headers_n; i++)
        sorted[i + 1] = r->headers[i];
    qsort(sorted, r->headers_n + 1, sizeof(sorted[0]), pair_cmp);
    for (size_t i = 0; i <= r->headers_n; i++)
        if (with_values)
            buf_addf(out, "%s:%s\n", sorted[i].name, sorted[i].value);
        else
            buf_addf(out, "%s%s", i > 0 ? ";" : "", sorted[i].name);
}

static void canonical_hash(const struct sigv4_request *r, char ret_hex[static HEX_SIZE])
{
    AUTO(buf) struct buf text = {0};
    buf_addf(&text, "%s\n", r->method);
    sigv4_add_path(&text, r->path);
    buf_add_char(&text, '\n');
    sigv4_add_query(&text, r->query, r->query_n);
    buf_add_char(&text, '\n');
    add_headers(r, true, &text);
    buf_add_char(&text, '\n');
    add_headers(r, false, &text);
    buf_addf(&text, "\n%s", r->payload);
    uint8_t digest[HASH_SIZE];
    hash_bytes(text.ptr, text.len, digest);
    hex_format(digest, sizeof(digest), ret_hex);
}

static void signature(const struct sigv4_request *r, const struct sigv4_key *key, char ret_hex[static HEX_SIZE])
{
    char time[SIGV4_TIME_SIZE], day[9], canonical[HEX_SIZE];
    sigv4_time(r->at_s, time);
    (void)snprintf(day, sizeof(day), "%.8s", time);
    canonical_hash(r, canonical);
    AUTO(buf) struct buf text = {0}, secret = {0};
    buf_addf(&text, "AWS4-HMAC-SHA256\n%s\n%s/%s/s3/aws4_request\n%s", time, day, key->region, canonical);
    buf_addf(&secret, "AWS4%s", key->secret);
    uint8_t a[HASH_SIZE], b[HASH_SIZE];
    hmac(secret.ptr, secret.len, day, a);
    OPENSSL_cleanse(secret.ptr, secret.len);
    hmac(a, sizeof(a), key->region, b);
    hmac(b, sizeof(b), "s3", a);
    hmac(a, sizeof(a), "aws4_request", b);
    hmac(b, sizeof(b), text.ptr, a);
    hex_format(a, sizeof(a), ret_hex);
}

void sigv4_authorize(const struct sigv4_request *r, const struct sigv4_key *key, struct buf *out)
{
    char time[SIGV4_TIME_SIZE], hex[HEX_SIZE];
    sigv4_time(r->at_s, time);
    signature(r, key, hex);
    buf_addf(out, "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/s3/aws4_request,SignedHeaders=", key->access, time,
             key->region);
    add_headers(r, false, out);
    buf_addf(out, ",Signature=%s", hex);
}

void sigv4_presign(const struct sigv4_request *r, const struct sigv4_key *key, unsigned seconds, struct buf *out)
{
    char time[SIGV4_TIME_SIZE], hex[HEX_SIZE], expires[16];
    sigv4_time(r->at_s, time);
    (void)snprintf(expires, sizeof(expires), "%u", seconds);
    AUTO(buf) struct buf credential = {0};
    buf_addf(&credential, "%s/%.8s/%s/s3/aws4_request", key->access, time, key->region);
    struct sigv4_pair query[SIGV4_PAIRS_MAX];
    size_t n = 0;
    query[n++] = (struct sigv4_pair){"X-Amz-Algorithm", "AWS4-HMAC-SHA256"};
    query[n++] = (struct sigv4_pair){"X-Amz-Credential", credential.ptr};
    query[n++] = (struct sigv4_pair){"X-Amz-Date", time};
    query[n++] = (struct sigv4_pair){"X-Amz-Expires", expires};
    query[n++] = (struct sigv4_pair){"X-Amz-SignedHeaders", "host"};
    if (key->token != NULL)
        query[n++] = (struct sigv4_pair){"X-Amz-Security-Token", key->token};
    assert(r->headers_n == 0 && n + r->query_n <= SIGV4_PAIRS_MAX);
    for (size_t i = 0; i < r->query_n; i++)
        query[n++] = r->query[i];
    struct sigv4_request with = *r;
    with.query = query;
    with.query_n = n;
    with.payload = "UNSIGNED-PAYLOAD";
    signature(&with, key, hex);
    sigv4_add_query(out, query, n);
    buf_addf(out, "&X-Amz-Signature=%s", hex);
}
