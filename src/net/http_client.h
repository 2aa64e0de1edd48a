#pragma once
/* net/http_client.h - HTTP client (libcurl): asynchronous on the program's loop, and blocking for the CLI.
 * Layer: net. Thread: loop. HTTP/1.1, connections are kept and reused, redirects are not followed, environment proxies
 * are not used, only http and https.
 *
 * TLS: with peer_uri the server is checked by name, not by host: its certificate must chain to ca_file and carry a
 * slipform:// URI SAN that matches. Without peer_uri the host name is checked. There is no way to turn checks off. */
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* 16 MiB: documents; bigger things go to a descriptor (chosen). */
#define HTTP_ANSWER_LIMIT_DEFAULT (16u * 1024u * 1024u)

struct http_call_options {
    const char *method;         /* NULL: GET */
    const char *url;            /* http:// or https://; must hold no secrets */
    const char *const *headers; /* "Name: value"; secrets are allowed here and never appear in errors */
    size_t headers_n;
    const char *bearer;       /* NULL: none; "Authorization: Bearer ..." */
    const char *content_type; /* of the body; NULL: application/json when there is one */
    struct str body;          /* copied by http_client_send; borrowed by http_fetch */
    /* Instead of body, when upload_size_bytes > 0: read from upload_fd, from its current position, exactly this much.
     * Borrowed until the callback. */
    int upload_fd;
    uint64_t upload_size_bytes;
    /* Where a 2xx answer's body goes: a buffer of at most answer_limit_bytes (0: HTTP_ANSWER_LIMIT_DEFAULT), or when
     * save is set, save_fd (borrowed until the callback, written at its position; limit: 0 = none). Bodies of other
     * statuses always go to the buffer. */
    bool save;
    int save_fd;
    uint64_t answer_limit_bytes;
    unsigned connect_timeout_ms;      /* 0: 5000 */
    unsigned total_timeout_ms;        /* 0: none; a long poll needs its wait + some seconds */
    unsigned stall_timeout_s;         /* 0: none; less than one byte a second for that long */
    const char *ca_file;              /* https: NULL means the system's CAs (only without peer_uri) */
    const char *cert_file, *key_file; /* our own certificate; both or none */
    const char *peer_uri;             /* a pattern of identity_matches: "slipform://inst/node/x" */
    /* Each piece of a 2xx body as it comes, instead of a buffer (SSE, NDJSON). Not OK ends the call with that. */
    enum err (*on_data)(struct str bytes, void *ctx, struct errinfo *err);
};

struct http_result {
    enum err code; /* OK: an answer with status < 400. Else err says why */
    struct errinfo
        err;       /* "GET https://host:1/path: ..." without the query. From a problem+json body: its code, detail */
    int status;    /* 0: no answer */
    bool was_sent; /* a connection stood, so the peer may have got the request; false: it has not */
    struct buf body;
    uint64_t body_bytes;                             /* received, wherever they went */
    char *location, *etag, *position, *content_type; /* headers; NULL when absent. position is Slipform-Position */
    int64_t retry_after_s;                           /* -1 when absent */
    char problem_code[32];                           /* `code` of a problem+json as sent, "" otherwise */
};
void http_result_done(struct http_result *r);
static inline void http_result_cleanup(struct http_result *r)
{
    http_result_done(r);
}

struct http_client;
struct http_call;

/* One per program and loop is enough. Returned: http_client_close. */
struct http_client *http_client_new(uv_loop_t *loop);
/* Cancels what is under way (no callbacks), then frees when the loop has closed its handles. on_closed may be NULL. */
void http_client_close(struct http_client *c, void (*on_closed)(void *ctx), void *ctx);

/* Start a call. on_done is called once, from the loop, never from inside http_client_send; result is lent for the
 * callback, which may take its body (buf_take) and may start or cancel other calls. All texts of o are copied.
 * Returns the call, valid until on_done; also options that are wrong are reported by on_done (ERR_INVALID). */
struct http_call *http_client_send(struct http_client *c, const struct http_call_options *o,
                                   void (*on_done)(struct http_result *result, void *ctx), void *ctx);
/* on_done will not be called any more; descriptors are the caller's again. Not from inside on_data, nor is
 * http_client_close: return an error there. */
void http_call_cancel(struct http_call *call);

/* The same, blocking, for the CLI and for tests without a loop. Returns ret_result->code; *ret_result is set in any
 * case: http_result_done. ctx is for o->on_data. */
must_check enum err http_fetch(const struct http_call_options *o, void *ctx, struct http_result *ret_result);
