#include "net/http_call.h"

#include <assert.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <strings.h>

#include "base/json.h"
#include "base/own.h"
#include "crypto/cert.h"

/* 5 s (chosen): a connect on a network of ours takes milliseconds; a dead host is seen. */
#define CONNECT_TIMEOUT_DEFAULT_MS 5000
/* 8 KiB: more is no header of ours. */
#define HEADER_VALUE_MAX 8192u

/* ---- who the server is ---- */

static int verify_identity(X509_STORE_CTX *store, void *arg)
{
    struct http_call *call = arg;
    if (X509_verify_cert(store) != 1)
        return 0;
    unsigned char *der = NULL;
    int size = i2d_X509(X509_STORE_CTX_get0_cert(store), &der);
    struct identity identity;
    char uri[IDENTITY_URI_SIZE];
    enum err rc = cert_identity(der, size > 0 ? (size_t)size : 0, &identity, &call->verify_err);
    OPENSSL_free(der);
    if (rc == OK && identity_matches(&identity, call->o.peer_uri))
        return 1;
    if (rc == OK) {
        identity_format(&identity, uri);
        err_ignore(err_set(&call->verify_err, ERR_DENIED, "the server is '%s', not '%s'", uri, call->o.peer_uri));
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *arg)
{
    (void)easy;
    SSL_CTX_set_cert_verify_callback(ssl_ctx, verify_identity, arg);
    return CURLE_OK;
}

/* ---- bytes out and in ---- */

static size_t on_upload(char *out, size_t size, size_t n, void *arg)
{
    struct http_call *call = arg;
    size_t want = size * n;
    if (want > call->upload_left)
        want = (size_t)call->upload_left;
    if (want == 0)
        return 0;
    ssize_t got = 0;
    do
        got = read(call->o.upload_fd, out, want);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        err_ignore(got < 0 ? err_set_os(&call->data_err, ERR_IO, errno, "read what is to be sent")
                           : err_set(&call->data_err, ERR_IO, "what is to be sent is shorter than it was"));
        return CURL_READFUNC_ABORT;
    }
    call->upload_left -= (uint64_t)got;
    return (size_t)got;
}

static int status_of(struct http_call *call)
{
    long status = 0;
    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

static enum err save(struct http_call *call, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(call->o.save_fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_os(&call->data_err, ERR_IO, errno, "store the answer");
        bytes = str_slice(bytes, (size_t)n, bytes.len);
    }
    return OK;
}

static enum err take(struct http_call *call, struct str bytes)
{
    bool is_success = status_of(call) / 100 == 2;
    bool to_buffer = !is_success || (!call->o.save && call->o.on_data == NULL);
    uint64_t limit = call->o.answer_limit_bytes;
    if (limit == 0 && to_buffer)
        limit = HTTP_ANSWER_LIMIT_DEFAULT;
    if (limit != 0 && bytes.len > limit - (call->result.body_bytes < limit ? call->result.body_bytes : limit))
        return err_set(&call->data_err, ERR_LIMIT, "the answer has more than %llu bytes", (unsigned long long)limit);
    call->result.body_bytes += bytes.len;
    if (to_buffer) {
        buf_add_str(&call->result.body, bytes);
        return OK;
    }
    return call->o.on_data != NULL ? call->o.on_data(bytes, call->ctx, &call->data_err) : save(call, bytes);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct http_call *call = arg;
    enum err rc = take(call, (struct str){bytes, size * n});
    if (rc != OK && call->data_err.code == OK)
        err_ignore(err_set(&call->data_err, rc, "the answer was not taken"));
    return rc == OK ? size * n : 0;
}

static void keep_header(struct str line, const char *name, char **ret_value)
{
    size_t n = strlen(name);
    if (line.len <= n || line.ptr[n] != ':' || strncasecmp(line.ptr, name, n) != 0)
        return;
    struct str value = str_trim(str_slice(line, n + 1, line.len));
    free(*ret_value);
    *ret_value = mem_strndup(value.ptr, value.len < HEADER_VALUE_MAX ? value.len : HEADER_VALUE_MAX);
}

static void forget_headers(struct http_result *r)
{
    free(TAKE(r->location));
    free(TAKE(r->etag));
    free(TAKE(r->position));
    free(TAKE(r->content_type));
    r->retry_after_s = -1;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *arg)
{
    struct http_call *call = arg;
    struct http_result *r = &call->result;
    struct str line = {bytes, size * n};
    auto_free char *retry_after = NULL;
    if (str_starts(line, STR("HTTP/"))) /* a new answer: what was before was 100 Continue */
        forget_headers(r);
    keep_header(line, "Location", &r->location);
    keep_header(line, "ETag", &r->etag);
    keep_header(line, "Slipform-Position", &r->position);
    keep_header(line, "Content-Type", &r->content_type);
    keep_header(line, "Retry-After", &retry_after);
    if (retry_after != NULL && !str_parse_i64(str_from(retry_after), &r->retry_after_s))
        r->retry_after_s = -1;
    return line.len;
}

/* ---- set-up ---- */

static const char *copy(struct http_call *call, const char *text)
{
    return text == NULL ? NULL : arena_strdup(&call->arena, text);
}

static const char *shown_url(struct http_call *call, const char *url)
{
    struct str s = str_from(url);
    s = str_slice(s, 0, str_find(s, '?'));
    s = str_slice(s, 0, str_find(s, '#'));
    return arena_str(&call->arena, s).ptr;
}

static enum err options_check(const struct http_call_options *o, struct errinfo *err)
{
    struct str url = str_from(o->url);
    if (!str_starts(url, STR("http://")) && !str_starts(url, STR("https://")))
        return err_set(err, ERR_INVALID, "the URL is neither http:// nor https://");
    struct str authority = str_slice(url, str_find(url, '/') + 2, url.len);
    authority = str_slice(authority, 0, str_find(authority, '/'));
    if (str_find(authority, '@') < authority.len)
        return err_set(err, ERR_INVALID, "the URL has a user name in it");
    if ((o->cert_file == NULL) != (o->key_file == NULL))
        return err_set(err, ERR_INVALID, "a client certificate needs both files, certificate and key");
    if (o->peer_uri == NULL)
        return OK;
    if (o->ca_file == NULL || !str_starts(url, STR("https://")))
        return err_set(err, ERR_INVALID, "an expected identity needs https:// and a CA file");
    return identity_pattern_check(o->peer_uri, err);
}

static void copy_options(struct http_call *call, const struct http_call_options *o)
{
    struct http_call_options *c = &call->o;
    *c = *o;
    c->method = copy(call, o->method == NULL ? "GET" : o->method);
    c->url = copy(call, o->url == NULL ? "" : o->url);
    c->bearer = NULL; /* in the header list below */
    c->headers = NULL;
    c->body = arena_str(&call->arena, o->body);
    c->ca_file = copy(call, o->ca_file);
    c->cert_file = copy(call, o->cert_file);
    c->key_file = copy(call, o->key_file);
    c->peer_uri = copy(call, o->peer_uri);
    call->shown_url = shown_url(call, c->url);
    call->upload_left = o->upload_size_bytes;
}

static void add_header(struct http_call *call, const char *line)
{
    struct curl_slist *more = curl_slist_append(call->headers, line);
    assert(more != NULL);
    call->headers = more;
}

static void set_headers(struct http_call *call, const struct http_call_options *o)
{
    bool has_body = o->body.len > 0 || o->upload_size_bytes > 0;
    for (size_t i = 0; i < o->headers_n; i++)
        add_header(call, o->headers[i]);
    if (o->bearer != NULL)
        add_header(call, arena_printf(&call->arena, "Authorization: Bearer %s", o->bearer));
    if (has_body)
        add_header(call, arena_printf(&call->arena, "Content-Type: %s",
                                      o->content_type == NULL ? "application/json" : o->content_type));
    else
        add_header(call, "Content-Type:"); /* none, where curl would say that an empty POST is a form */
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
}

static void set_method(struct http_call *call)
{
    CURL *e = call->easy;
    const struct http_call_options *o = &call->o;
    if (strcmp(o->method, "HEAD") == 0) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (o->upload_size_bytes > 0) {
        curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(e, CURLOPT_READFUNCTION, on_upload);
        curl_easy_setopt(e, CURLOPT_READDATA, call);
        curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)o->upload_size_bytes);
    } else if (o->body.len > 0 || strcmp(o->method, "POST") == 0 || strcmp(o->method, "PUT") == 0) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, o->body.len == 0 ? "" : o->body.ptr);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->body.len);
    }
    if (strcmp(o->method, "HEAD") != 0)
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, o->method);
}

static void set_tls(struct http_call *call)
{
    CURL *e = call->easy;
    const struct http_call_options *o = &call->o;
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (o->ca_file != NULL) {
        curl_easy_setopt(e, CURLOPT_CAINFO, o->ca_file);
        curl_easy_setopt(e, CURLOPT_CAPATH, NULL); /* else the system's CAs count as well */
    }
    if (o->cert_file != NULL) {
        curl_easy_setopt(e, CURLOPT_SSLCERT, o->cert_file);
        curl_easy_setopt(e, CURLOPT_SSLKEY, o->key_file);
    }
    if (o->peer_uri != NULL) {
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);      /* the name is checked by verify_identity instead */
        curl_easy_setopt(e, CURLOPT_SSL_SESSIONID_CACHE, 0L); /* a resumed session skips that */
        curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
        curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, call);
    }
}

static void set_limits(struct http_call *call)
{
    CURL *e = call->easy;
    const struct http_call_options *o = &call->o;
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(o->connect_timeout_ms != 0 ? o->connect_timeout_ms : CONNECT_TIMEOUT_DEFAULT_MS));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)o->total_timeout_ms);
    if (o->stall_timeout_s != 0) {
        curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)o->stall_timeout_s);
    }
}

static void set_basics(struct http_call *call)
{
    CURL *e = call->easy;
    curl_easy_setopt(e, CURLOPT_URL, call->o.url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "slipform/" SLIPFORM_VERSION);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->curl_text);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(e, CURLOPT_PRIVATE, call);
}

enum err http_call_init(struct http_call *call, const struct http_call_options *o, void *ctx, struct errinfo *err)
{
    copy_options(call, o);
    call->ctx = ctx;
    call->result.retry_after_s = -1;
    enum err rc = options_check(&call->o, err);
    if (rc != OK)
        return rc;
    call->easy = curl_easy_init();
    assert(call->easy != NULL);
    set_basics(call);
    set_method(call);
    set_headers(call, o);
    set_limits(call);
    set_tls(call);
    return OK;
}

/* ---- what came of it ---- */

static enum err code_of_curl(CURLcode code, const char *text)
{
    switch ((int)code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING: return ERR_UNAVAILABLE;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM: return ERR_DENIED;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_SSL_CACERT_BADFILE: return ERR_INVALID;
    default: break;
    }
    /* With TLS 1.3 the server's refusal of our certificate comes as an alert behind the handshake. */
    return strstr(text, "alert") != NULL ? ERR_DENIED : ERR_IO;
}

static void set_err(struct http_call *call, enum err code, const char *text)
{
    call->result.code = err_set(&call->result.err, code, "%s %s: %s", call->o.method, call->shown_url, text);
}

void http_call_fail(struct http_call *call, const struct errinfo *err)
{
    set_err(call, err->code, err->msg);
}

static void fail_transport(struct http_call *call, CURLcode code)
{
    const char *text = call->curl_text[0] != '\0' ? call->curl_text : curl_easy_strerror(code);
    if (call->data_err.code != OK)
        http_call_fail(call, &call->data_err);
    else if (call->verify_err.code != OK)
        set_err(call, ERR_DENIED, call->verify_err.msg);
    else
        set_err(call, code_of_curl(code, text), text);
}

static bool is_problem(const struct http_result *r)
{
    return r->content_type != NULL && strncasecmp(r->content_type, "application/problem+json", 24) == 0;
}

static enum err problem_code(struct http_result *r)
{
    for (int i = OK + 1; i < ERR_MAX_; i++)
        if (strcmp(r->problem_code, err_name((enum err)i)) == 0)
            return (enum err)i;
    return err_from_http_status(r->status);
}

static void fail_status(struct http_call *call)
{
    struct http_result *r = &call->result;
    auto_json json_t *doc = NULL;
    struct str detail = STR("no reason was given");
    enum err code = err_from_http_status(r->status);
    if (is_problem(r) && json_parse(buf_str(&r->body), &doc, NULL) == OK) {
        (void)str_copy_to(json_member_str(doc, "code"), r->problem_code, sizeof(r->problem_code));
        code = problem_code(r);
        struct str said = json_member_str(doc, "detail");
        if (said.len == 0)
            said = json_member_str(doc, "title");
        if (said.len > 0)
            detail = said;
    }
    char text[400];
    (void)snprintf(text, sizeof(text), "%d: %.*s", r->status, (int)(detail.len < 350 ? detail.len : 350), detail.ptr);
    set_err(call, code == OK ? ERR_IO : code, text);
}

void http_call_finish(struct http_call *call, CURLcode code)
{
    struct http_result *r = &call->result;
    curl_off_t ready_us = 0; /* stays 0 until TLS stands, too */
    r->status = status_of(call);
    r->was_sent = curl_easy_getinfo(call->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us) == CURLE_OK && ready_us > 0;
    if (code != CURLE_OK)
        fail_transport(call, code);
    else if (r->status >= 400 || r->status < 200)
        fail_status(call);
    else
        r->code = OK; /* also a redirect: for the caller, who may follow it, it is an answer like any */
}

void http_result_done(struct http_result *r)
{
    buf_done(&r->body);
    forget_headers(r);
}

void http_call_done(struct http_call *call)
{
    if (call->easy != NULL)
        curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    http_result_done(&call->result);
    arena_done(&call->arena); /* holds a bearer token for as long as the call lives */
}

enum err http_fetch(const struct http_call_options *o, void *ctx, struct http_result *ret_result)
{
    struct http_call call = {.in_multi = false};
    struct errinfo err;
    if (http_call_init(&call, o, ctx, &err) == OK)
        http_call_finish(&call, curl_easy_perform(call.easy));
    else
        http_call_fail(&call, &err);
    *ret_result = call.result;
    call.result = (struct http_result){.retry_after_s = -1};
    http_call_done(&call);
    return ret_result->code;
}
