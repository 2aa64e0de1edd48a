/* One request to a bucket: signed, sent, its answer understood, repeated when that can help.
 * Happy path: take a handle, sign for now, perform, 2xx. A transport error, 429 and 5xx are repeated after a random
 * wait that doubles; a body that was cut is gone on with from where it ended. All else is explained to people. */
#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "blob/s3.h"

/* 100 ms, doubled up to 5 s, of which a random part is waited (full jitter). Chosen. */
#define WAIT_FIRST_MS 100u
#define WAIT_MAX_MS 5000u
/* Progress that earns new attempts: else a peer that sends one byte a call keeps us for ever. */
#define PROGRESS_MIN ((uint64_t)64 * 1024)
#define CONNECT_TIMEOUT_MS 5000L
#define CANCEL_LOOK_MS 100u

struct attempt {
    struct s3 *s;
    const struct s3_call *call;
    struct s3_answer *answer;
    CURL *easy;
    uint64_t sent;      /* of the body */
    uint64_t delivered; /* to on_body, by all attempts */
    uint64_t skip;      /* of this attempt's body: was delivered before */
    bool is_ranged;
    int64_t retry_after_ms;
    char region[64], date[64];
    struct errinfo sink; /* of on_body */
};

static CURL *take_handle(struct s3 *s)
{
    CURL *easy = NULL;
    uv_mutex_lock(&s->lock);
    if (s->idle_n > 0)
        easy = s->idle[--s->idle_n];
    uv_mutex_unlock(&s->lock);
    if (easy == NULL)
        return curl_easy_init();
    curl_easy_reset(easy);
    return easy;
}

static void give_handle(struct s3 *s, CURL *easy)
{
    uv_mutex_lock(&s->lock);
    if (s->idle_n < S3_IDLE_MAX) {
        s->idle[s->idle_n++] = easy;
        easy = NULL;
    }
    uv_mutex_unlock(&s->lock);
    if (easy != NULL)
        curl_easy_cleanup(easy);
}

/* ---- curl's callbacks ---- */

static bool header_is(struct str line, const char *name, struct str *ret_value)
{
    size_t colon = str_find(line, ':');
    if (colon != strlen(name) || strncasecmp(line.ptr, name, colon) != 0)
        return false;
    *ret_value = str_trim(str_slice(line, colon + 1, line.len));
    return true;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *ctx)
{
    struct attempt *a = ctx;
    struct str line = {bytes, size * n}, value;
    char text[64];
    uint64_t number;
    if (header_is(line, "ETag", &value))
        (void)str_copy_to(value, a->answer->etag, sizeof(a->answer->etag));
    else if (header_is(line, "Last-Modified", &value) && str_copy_to(value, text, sizeof(text)))
        a->answer->modified_s = (int64_t)curl_getdate(text, NULL);
    else if (header_is(line, "Content-Length", &value) && str_parse_u64(value, INT64_MAX, &number))
        a->answer->length = number;
    else if (header_is(line, "Retry-After", &value) && str_parse_u64(value, 3600, &number))
        a->retry_after_ms = (int64_t)number * 1000;
    else if (header_is(line, "x-amz-bucket-region", &value))
        (void)str_copy_to(value, a->region, sizeof(a->region));
    else if (header_is(line, "Date", &value))
        (void)str_copy_to(value, a->date, sizeof(a->date));
    return size * n;
}

static bool sink_fails(struct attempt *a, struct str bytes)
{
    uint64_t skipped = a->skip < bytes.len ? a->skip : bytes.len;
    a->skip -= skipped;
    bytes = str_slice(bytes, (size_t)skipped, bytes.len);
    if (bytes.len > 0 && a->call->on_body(bytes, a->call->ctx, &a->sink) != OK)
        return true;
    a->delivered += bytes.len;
    return false;
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *ctx)
{
    struct attempt *a = ctx;
    long status = 0;
    (void)curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
    if (a->call->on_body != NULL && status >= 200 && status < 300) {
        if (status == 206)
            a->skip = 0; /* it begins where we asked */
        return sink_fails(a, (struct str){bytes, size * n}) ? 0 : size * n;
    }
    if (size * n > S3_ANSWER_SIZE_MAX - a->answer->body.len)
        return 0;
    buf_add(&a->answer->body, bytes, size * n);
    return size * n;
}

static size_t on_send(char *bytes, size_t size, size_t n, void *ctx)
{
    struct attempt *a = ctx;
    const struct s3_call *c = a->call;
    uint64_t left = (c->body_size > 0 ? c->body_size : c->body.len) - a->sent;
    size_t want = left < size * n ? (size_t)left : size * n;
    if (c->body_size > 0) {
        ssize_t got = want == 0 ? 0 : pread(c->body_fd, bytes, want, (off_t)(c->body_at + a->sent));
        if (got < 0 || (got == 0 && want > 0))
            return CURL_READFUNC_ABORT;
        want = (size_t)got;
    } else if (want > 0) {
        memcpy(bytes, c->body.ptr + a->sent, want);
    }
    a->sent += want;
    return want;
}

static int on_seek(void *ctx, curl_off_t at, int origin)
{
    struct attempt *a = ctx;
    if (origin != SEEK_SET || at < 0)
        return CURL_SEEKFUNC_FAIL;
    a->sent = (uint64_t)at;
    return CURL_SEEKFUNC_OK;
}

/* Called about once a second also when nothing moves. */
static int on_progress(void *ctx, curl_off_t down, curl_off_t down_n, curl_off_t up, curl_off_t up_n)
{
    const struct attempt *a = ctx;
    (void)down, (void)down_n, (void)up, (void)up_n;
    return a->s->is_cancelled ? 1 : 0;
}

/* ---- one attempt ---- */

static char *raw_path(const struct s3 *s, const char *key)
{
    return mem_printf("/%s%s%s", s->bucket, key == NULL ? "" : "/", key == NULL ? "" : key);
}

static void add_line(struct curl_slist **list, const char *name, const char *value)
{
    auto_free char *line = mem_printf("%s: %s", name, value);
    *list = curl_slist_append(*list, line);
}

static struct curl_slist *signed_headers(struct attempt *a, const char *path)
{
    const struct s3_call *c = a->call;
    struct s3 *s = a->s;
    char time[SIGV4_TIME_SIZE];
    int64_t now_s = clock_wall_us() / 1000000;
    sigv4_time(now_s, time);
    const char *payload = c->payload == NULL ? SIGV4_EMPTY : c->payload;
    struct sigv4_pair headers[8];
    size_t n = 0;
    for (size_t i = 0; i < c->headers_n; i++)
        headers[n++] = c->headers[i];
    headers[n++] = (struct sigv4_pair){"x-amz-date", time};
    headers[n++] = (struct sigv4_pair){"x-amz-content-sha256", payload};
    if (s->token != NULL)
        headers[n++] = (struct sigv4_pair){"x-amz-security-token", s->token};
    struct sigv4_request r = {c->method, s->host, path, c->query, c->query_n, headers, n, payload, now_s};
    struct sigv4_key key = {s->access, s->secret, s->token, s->region};
    AUTO(buf) struct buf authorization = {0};
    sigv4_authorize(&r, &key, &authorization);
    struct curl_slist *list = NULL;
    add_line(&list, "Authorization", authorization.ptr);
    for (size_t i = 0; i < n; i++)
        add_line(&list, headers[i].name, headers[i].value);
    if (c->header != NULL)
        list = curl_slist_append(list, c->header);
    list = curl_slist_append(list, "Expect:");
    return list;
}

static void set_method(struct attempt *a)
{
    const struct s3_call *c = a->call;
    CURL *e = a->easy;
    if (strcmp(c->method, "HEAD") == 0) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (strcmp(c->method, "PUT") == 0 || strcmp(c->method, "POST") == 0) {
        curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(e, CURLOPT_READFUNCTION, on_send);
        curl_easy_setopt(e, CURLOPT_READDATA, a);
        curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(e, CURLOPT_SEEKDATA, a);
        curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)(c->body_size > 0 ? c->body_size : c->body.len));
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->method);
    } else {
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->method);
    }
}

static void set_transport(struct attempt *a)
{
    CURL *e = a->easy;
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "slipform/" SLIPFORM_VERSION);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1024L);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)a->s->stall_s);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(e, CURLOPT_XFERINFODATA, a);
}

static CURLcode perform(struct attempt *a)
{
    const struct s3_call *c = a->call;
    auto_free char *path = raw_path(a->s, c->key);
    AUTO(buf) struct buf url = {0};
    buf_add_c(&url, a->s->endpoint);
    sigv4_add_path(&url, path);
    if (c->query_n > 0) {
        buf_add_char(&url, '?');
        sigv4_add_query(&url, c->query, c->query_n);
    }
    a->easy = take_handle(a->s);
    if (a->easy == NULL)
        return CURLE_FAILED_INIT;
    struct curl_slist *headers = signed_headers(a, path);
    char range[40];
    (void)snprintf(range, sizeof(range), "%" PRIu64 "-", a->delivered);
    set_transport(a);
    set_method(a);
    if (a->delivered > 0)
        curl_easy_setopt(a->easy, CURLOPT_RANGE, range);
    curl_easy_setopt(a->easy, CURLOPT_URL, url.ptr);
    curl_easy_setopt(a->easy, CURLOPT_HTTPHEADER, headers);
    buf_clear(&a->answer->body);
    a->sent = 0;
    a->skip = a->delivered;
    a->retry_after_ms = 0;
    a->region[0] = a->date[0] = '\0';
    a->answer->status = 0;
    CURLcode code = curl_easy_perform(a->easy);
    long status = 0;
    (void)curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
    a->answer->status = (int)status;
    curl_slist_free_all(headers);
    give_handle(a->s, a->easy);
    return code;
}

/* ---- what an answer means ---- */

static void wait_before(const struct attempt *a, unsigned failed)
{
    unsigned ms = WAIT_MAX_MS;
    if (failed < 6 && (WAIT_FIRST_MS << failed) < ms)
        ms = WAIT_FIRST_MS << failed;
    uint32_t random;
    random_bytes(&random, sizeof(random));
    ms = random % ms + 1;
    if (a->retry_after_ms > ms)
        ms = a->retry_after_ms < WAIT_MAX_MS ? (unsigned)a->retry_after_ms : WAIT_MAX_MS;
    for (unsigned slept = 0, step; slept < ms && !a->s->is_cancelled; slept += step) {
        step = ms - slept < CANCEL_LOOK_MS ? ms - slept : CANCEL_LOOK_MS;
        uv_sleep(step);
    }
}

/* The last one: what versitygw says, with 404, of a key that it does not know. */
static bool is_about_keys(struct str code)
{
    return str_eq_c(code, "InvalidAccessKeyId") || str_eq_c(code, "SignatureDoesNotMatch") ||
           str_eq_c(code, "ExpiredToken") || str_eq_c(code, "InvalidToken") || str_eq_c(code, "XAdminUserNotFound");
}

static enum err denied(const struct attempt *a, struct str code, struct errinfo *err)
{
    const struct s3 *s = a->s;
    char now[CLOCK_TEXT_SIZE];
    clock_format_us(clock_wall_us(), now);
    if (str_eq_c(code, "RequestTimeTooSkewed"))
        return err_set(err, ERR_DENIED, "bucket '%s' at '%s' refuses our clock: here it is %s, there %s; set the clock",
                       s->bucket, s->endpoint, now, a->date[0] != '\0' ? a->date : "another time");
    if (is_about_keys(code))
        return err_set(err, ERR_DENIED, "bucket '%s' at '%s' does not take our credentials (%.*s): look at the key",
                       s->bucket, s->endpoint, STR_ARG(code));
    return err_set(err, ERR_DENIED, "bucket '%s' at '%s' denies %s on '%s' (%.*s): give that right to our key",
                   s->bucket, s->endpoint, a->call->right, a->call->key == NULL ? "the bucket" : a->call->key,
                   STR_ARG(code));
}

static enum err refused(const struct attempt *a, struct errinfo *err)
{
    const struct s3 *s = a->s;
    int status = a->answer->status;
    struct str rest = buf_str(&a->answer->body), code = STR(""), region = str_from(a->region);
    (void)s3_xml(&rest, "Code", &code);
    struct str whole = buf_str(&a->answer->body);
    if (region.len == 0)
        (void)s3_xml(&whole, "Region", &region);
    if (code.len > 64)
        code.len = 64;
    bool elsewhere = status == 301 || status == 307 || str_eq_c(code, "AuthorizationHeaderMalformed");
    if (elsewhere || (region.len > 0 && region.len < 64 && !str_eq_c(region, s->region)))
        return err_set(err, ERR_INVALID, "bucket '%s' at '%s' is in region '%.*s', not in '%s': set region", s->bucket,
                       s->endpoint, STR_ARG(region), s->region);
    if (str_eq_c(code, "NoSuchBucket"))
        return err_set(err, ERR_INVALID, "there is no bucket '%s' at '%s': make it", s->bucket, s->endpoint);
    if (is_about_keys(code))
        return denied(a, code, err);
    if (status == 404)
        return err_set(err, ERR_NOT_FOUND, "no '%s' in bucket '%s' at '%s'", a->call->key == NULL ? "" : a->call->key,
                       s->bucket, s->endpoint);
    if (status == 412)
        return err_set(err, ERR_CONFLICT, "'%s' is in bucket '%s' already", a->call->key, s->bucket);
    if (status == 401 || status == 403)
        return denied(a, code, err);
    return err_set(err, ERR_INVALID, "bucket '%s' at '%s' answers %s on '%s' with %d %.*s", s->bucket, s->endpoint,
                   a->call->method, a->call->key == NULL ? "" : a->call->key, status, STR_ARG(code));
}

/* 200 does not end it: CompleteMultipartUpload and CopyObject may say <Error> in the body. */
static bool is_good(const struct s3_answer *a)
{
    if (a->status < 200 || a->status >= 300)
        return false;
    struct str rest = buf_str(&a->body), code;
    return !(rest.len < 8192 && rest.ptr != NULL && strstr(rest.ptr, "<Error>") != NULL &&
             s3_xml(&rest, "Code", &code));
}

static bool helps_to_repeat(const struct attempt *a, CURLcode code)
{
    int status = a->answer->status;
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_URL_MALFORMAT || code == CURLE_SSL_CACERT_BADFILE)
        return false;
    if (code != CURLE_OK && (status < 400 || status >= 500))
        return true;
    struct str rest = buf_str(&a->answer->body), name;
    bool is_timeout = s3_xml(&rest, "Code", &name) && str_eq_c(name, "RequestTimeout");
    return status >= 500 || status == 429 || status == 409 || status == 408 || is_timeout ||
           (status >= 200 && status < 300);
}

enum err s3_do(struct s3 *s, const struct s3_call *call, struct s3_answer *ret, struct errinfo *err)
{
    struct attempt a = {.s = s, .call = call, .answer = ret};
    uint64_t rewarded = 0;
    CURLcode code = CURLE_OK;
    for (unsigned failed = 0; failed < s->attempts;) {
        if (s->is_cancelled)
            return err_set(err, ERR_CANCELLED, "bucket '%s' at '%s': %s was given up, the program stops", s->bucket,
                           s->endpoint, call->method);
        code = perform(&a);
        if (a.sink.code != OK) {
            if (err != NULL)
                *err = a.sink;
            return a.sink.code;
        }
        if (code == CURLE_OK && is_good(ret))
            return OK;
        if (!helps_to_repeat(&a, code)) {
            if (code == CURLE_OK || ret->status >= 400)
                return refused(&a, err);
            break;
        }
        failed++;
        if (a.delivered >= rewarded + PROGRESS_MIN) {
            rewarded = a.delivered;
            failed = 0;
        }
        if (failed < s->attempts)
            wait_before(&a, failed);
    }
    return err_set(err, ERR_UNAVAILABLE, "bucket '%s' at '%s': %s failed %u times, last with %d%s%s", s->bucket,
                   s->endpoint, call->method, s->attempts, ret->status, code == CURLE_OK ? "" : ": ",
                   code == CURLE_OK ? "" : curl_easy_strerror(code));
}
