#pragma once
/* net/http_call.h - one call of the HTTP client on a curl easy handle; private to net/, shared by the asynchronous and
 * the blocking client. Layer: net. */
#include <curl/curl.h>

#include "base/mem.h"
#include "net/http_client.h"

struct http_call {
    CURL *easy;
    struct curl_slist *headers;
    struct arena arena; /* copies of the options' texts */
    struct http_call_options o;
    struct http_result result;
    char curl_text[CURL_ERROR_SIZE];
    struct errinfo verify_err; /* why the peer's name was refused; code OK: it was not */
    struct errinfo data_err;   /* why the body was not taken */
    uint64_t upload_left;
    size_t body_at;        /* of o.body, sent */
    const char *shown_url; /* without query and user */
    /* asynchronous only */
    struct http_client *client;
    struct http_call *next, *previous;
    void (*on_done)(struct http_result *result, void *ctx);
    void *ctx;
    bool in_multi;
};

/* Copies o and sets up call->easy. OK | ERR_INVALID options; the call's result is not set. */
must_check enum err http_call_init(struct http_call *call, const struct http_call_options *o, void *ctx,
                                   struct errinfo *err);
/* Fill call->result from what curl says. */
void http_call_finish(struct http_call *call, CURLcode code);
void http_call_fail(struct http_call *call, const struct errinfo *err);
void http_call_done(struct http_call *call);
