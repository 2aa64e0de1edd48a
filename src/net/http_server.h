#pragma once
/* net/http_server.h - HTTP/1.1 server (libmicrohttpd on the program's libuv loop), plain or TLS, with a route table.
 * Layer: net. Thread: loop; no function here may be called from another one.
 *
 * A request: headers are read -> route found (404, 405) -> client certificate's identity read -> authorize hook ->
 * route's on_headers, if any (it may send the body elsewhere, or answer at once) -> body (413 beyond the limit) ->
 * route's handler. The handler answers now or later, exactly once, with one of the http_respond functions.
 *
 * Lifetime: `struct http_request *` lives until it is answered, also when the peer has gone away meanwhile (then the
 * answer goes nowhere); what it lends (texts, body, peer) lives as long. After the http_respond call it must not be
 * touched. So a handler that answers later needs no bookkeeping to be safe, and uses http_request_on_cancel to stop
 * early. A handler that returns without having answered and keeps no pointer is a leak. */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/str.h"
#include "net/peer.h"

/* 1 MiB: the event log's batch limit; bigger bodies are streamed (test_net: bodies). */
#define HTTP_BODY_LIMIT_DEFAULT (1024u * 1024u)
/* Path parameters of a pattern; query parameters of a request (chosen). */
#define HTTP_PATH_PARAMS_MAX 8
#define HTTP_QUERY_PARAMS_MAX 64
/* Bytes that a stream may have waiting for a slow peer (chosen, never measured). */
#define HTTP_STREAM_QUEUE_MAX (4u * 1024u * 1024u)

struct http_server;
struct http_request;
struct http_stream;

/* ---- routes: a table of data ---- */

typedef void (*http_handler)(struct http_request *r, void *ctx);

struct http_route {
    const char *method;        /* "GET" (answers HEAD too), "POST", ...; "*": any */
    const char *pattern;       /* "/v1/instances/{id}/state"; {name} is one non-empty segment; literal segments win over
                                  parameters. "{rest...}" as the last segment takes everything behind it */
    http_handler handler;      /* the body is complete, or where on_headers sent it */
    http_handler on_headers;   /* optional: headers are here, the body is not; see http_request_body_to_* */
    uint64_t body_limit_bytes; /* 0: the server's default */
    int auth;                  /* opaque to net: what the authorize hook makes of it */
    const char *doc;           /* one line for OpenAPI and --help */
};

/* ---- server ---- */

enum http_client_cert {
    HTTP_CLIENT_CERT_NONE,     /* not asked for */
    HTTP_CLIENT_CERT_OPTIONAL, /* asked for; one that is shown must be of the CA, else the handshake fails */
    HTTP_CLIENT_CERT_REQUIRED, /* the handshake fails without one */
};

/* One finished request, for metrics and access logs; lent for the call. */
struct http_exchange {
    const char *method;
    const char *route; /* pattern; "" when none matched (bounded cardinality for labels) */
    const struct peer *peer;
    int status; /* 0: the peer went away before an answer */
    uint64_t duration_us, body_bytes;
};

struct http_server_options {
    uv_loop_t *loop;
    /* "127.0.0.1:7000", "[fd00::1]:7000", "0.0.0.0:0"; port 0 chooses a free one. Literals only. "[::]" is IPv6 only.
     */
    const char *const *listen;
    size_t listen_n;
    const struct http_route *routes; /* borrowed while the server lives */
    size_t routes_n;
    void *ctx; /* for handlers and hooks */
    /* Called before on_headers and handler, once per request. Not OK: *err is answered as a problem (ERR_DENIED: 403),
     * unless the hook has answered itself (401 with WWW-Authenticate) - then the code is only looked at for OK. */
    enum err (*authorize)(struct http_request *r, const struct http_route *route, void *ctx, struct errinfo *err);
    void (*on_done)(const struct http_exchange *x, void *ctx); /* optional */
    uint64_t body_limit_bytes;                                 /* 0: HTTP_BODY_LIMIT_DEFAULT */
    unsigned connections_max;                                  /* 0: 2048; further ones wait in the listen queue */
    unsigned idle_timeout_s; /* 0: 75; of a connection without traffic, not of a request that waits for its answer */
    /* TLS when cert_file is set: PEM, at least 1.2. ca_file is needed unless client_cert is NONE. */
    const char *cert_file, *key_file, *ca_file;
    enum http_client_cert client_cert;
};

/* Binds and listens on all addresses, or none. *ret_server is returned: http_server_close.
 * When it fails, the loop must still run once to close the handles that were opened.
 * OK | ERR_INVALID an address, pattern, certificate or key | ERR_CONFLICT address in use (says which)
 *    | ERR_DENIED port needs privileges | ERR_UNAVAILABLE address is not of this host | ERR_IO. */
must_check enum err http_server_open(const struct http_server_options *o, struct http_server **ret_server,
                                     struct errinfo *err);
size_t http_server_addresses_n(const struct http_server *s);
/* As really bound, "127.0.0.1:40111" or "[::1]:40111"; lent. i < addresses_n. */
const char *http_server_address(const struct http_server *s, size_t i);
int http_server_port(const struct http_server *s, size_t i);
/* No new connections; requests that wait are cancelled (on_cancel; those still unanswered then get 503); others may
 * finish within grace_ms, then connections are cut. on_closed (may be NULL) is called from the loop, once, when the
 * server is freed. The loop must go on running until then. */
void http_server_close(struct http_server *s, unsigned grace_ms, void (*on_closed)(void *ctx), void *ctx);

/* ---- request ---- */

const char *http_request_method(const struct http_request *r);
struct str http_request_path(const struct http_request *r); /* as sent, without the query, still percent-encoded */
/* Decoded, NUL-terminated, "" when the pattern has no such parameter. */
const char *http_request_param(const struct http_request *r, const char *name);
/* First value of a query parameter, decoded, NUL-terminated; NULL when absent. */
const char *http_request_query(const struct http_request *r, const char *name);
/* Query parameter as a number within [0, max]; fallback when absent. OK | ERR_INVALID names the parameter. */
must_check enum err http_request_query_u64(const struct http_request *r, const char *name, uint64_t max,
                                           uint64_t fallback, uint64_t *ret_value, struct errinfo *err);
/* i-th query parameter in the order sent; false beyond the last. For repeated ones and for refusing unknown ones. */
bool http_request_query_at(const struct http_request *r, size_t i, const char **ret_name, const char **ret_value);
/* First header of that name (any case), NULL when absent. */
const char *http_request_header(const struct http_request *r, const char *name);
/* The token of "Authorization: Bearer <token>"; {NULL, 0} when absent. */
struct str http_request_bearer(const struct http_request *r);
/* Collected body (empty when on_headers sent it elsewhere). */
struct str http_request_body(const struct http_request *r);
/* Bytes of body received so far, wherever they went. */
uint64_t http_request_body_bytes(const struct http_request *r);
/* Body as a JSON document, json_decref. OK | ERR_INVALID not JSON, or Content-Type is set and is not application/json.
 */
must_check enum err http_request_json(const struct http_request *r, json_t **ret_doc, struct errinfo *err);
const struct peer *http_request_peer(const struct http_request *r);
/* Something of the authorize hook's or handler's own, freed with the request (free_fn may be NULL). */
void http_request_set_data(struct http_request *r, void *data, void (*free_fn)(void *data));
void *http_request_data(const struct http_request *r);

/* For requests whose handler was called (before that, only set_data's free_fn tells that it is over).
 * Called at most once, from the loop, when the peer goes away or the server closes before the answer is complete (for a
 * stream: before its end). The request stays valid and must still be answered (http_request_drop is enough), inside the
 * callback or later. */
void http_request_on_cancel(struct http_request *r, void (*on_cancel)(struct http_request *r, void *ctx), void *ctx);
bool http_request_is_cancelled(const struct http_request *r);

/* Only in on_headers: where the body goes.
 * Each chunk to on_chunk; not OK: the rest is discarded and *err answered as a problem (the handler is not called). */
void http_request_body_to(struct http_request *r,
                          enum err (*on_chunk)(struct http_request *r, struct str chunk, void *ctx,
                                               struct errinfo *err),
                          void *ctx);
/* Written to fd (borrowed until the handler is called or the request is freed: close it in set_data's free_fn). */
void http_request_body_to_fd(struct http_request *r, int fd);

/* ---- answers: exactly one per request ---- */

/* Header of the answer to come; copied. Not Content-Length, Transfer-Encoding, Connection. */
void http_respond_header(struct http_request *r, const char *name, const char *value);
void http_respond_empty(struct http_request *r, int status);
void http_respond_json(struct http_request *r, int status, const json_t *doc /* borrowed */);
void http_respond_bytes(struct http_request *r, int status, const char *content_type, struct str body /* copied */);
/* application/problem+json (RFC 9457): type, title, status, detail = err->msg, code = err_name(err->code); status by
 * err_http_status. The text goes to the peer: errors with inner details are logged and replaced by the caller. */
void http_respond_error(struct http_request *r, const struct errinfo *err);
/* The same with a status of its own (401, 405, 422, 429 ...). */
void http_respond_problem(struct http_request *r, int status, enum err code, const char *detail);
/* A body that is a regular file's whole content. Answers 200, 206 and 416 (one range; several get the whole), 304 for
 * If-None-Match, honours If-Range with the ETag; HEAD too. Plain connections use sendfile. The file must not shrink.
 *   fd            taken: closed when sent
 *   content_type  borrowed for the call       etag  with its quotes, NULL: none */
void http_respond_fd(struct http_request *r, int fd, const char *content_type, const char *etag);
/* The peer is to get no answer: the connection is closed. Also the way to be done with a cancelled request. */
void http_request_drop(struct http_request *r);

/* Chunked answer that is pushed over time (SSE, NDJSON). The stream lives until http_stream_end, also when the peer has
 * gone (push then says ERR_CANCELLED; on_cancel of the request was called before). */
struct http_stream *http_respond_stream(struct http_request *r, int status, const char *content_type);
/* bytes are copied. OK | ERR_CANCELLED peer gone | ERR_LIMIT peer too slow, HTTP_STREAM_QUEUE_MAX reached: nothing was
 * queued; end the stream or wait for on_drained. */
must_check enum err http_stream_push(struct http_stream *s, struct str bytes);
size_t http_stream_queued_bytes(const struct http_stream *s);
/* Called from the loop each time when the queue has become empty: push more. */
void http_stream_on_drained(struct http_stream *s, void (*on_drained)(struct http_stream *s, void *ctx), void *ctx);
/* What is queued is still sent; s must not be touched afterwards. */
void http_stream_end(struct http_stream *s);
