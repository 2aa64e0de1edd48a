#pragma once
/* net/http_private.h - the server's structs, private to net/. Layer: net.
 *
 * A request is held by two: libmicrohttpd's connection (`attached`, until its completed-callback) and the handler
 * (`owned`, from its call until it has answered; a stream's until its end). It is freed when both have let go.
 * An answer given inside the access callback is queued there; one given later resumes the suspended connection, and the
 * access callback, called again, queues it. While a connection is suspended libmicrohttpd does not look at its socket,
 * so a uv_poll of our own watches it for the peer's going away. */
#include <gnutls/gnutls.h>
#include <microhttpd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/http_route.h"
#include "net/http_server.h"

struct http_listener {
    struct http_server *server;
    struct MHD_Daemon *daemon;
    int fd; /* listening; -1 once it is the daemon's */
    char address[PEER_IP_SIZE + 8];
    int port;
    uv_poll_t poll;             /* of the daemon's epoll descriptor */
    uv_timer_t timer;           /* the daemon's next timeout */
    uv_idle_t soon;             /* active: run the daemon in the next round of the loop */
    unsigned idle_runs_n;       /* in a row: the daemon wanted to run at once and no request was active */
    uv_timer_t wakes;           /* active: those that were woken are resumed together when it ends */
    struct http_request *woken; /* by next_woken: not resumed yet */
    bool running;               /* inside MHD_run: never entered twice */
    bool has_handles;
};

struct http_server {
    struct http_server_options o; /* its texts are not kept */
    struct http_listener *listeners;
    size_t listeners_n;
    struct buf trust_pem;          /* the daemon looks at its pointer for every new connection */
    struct http_request *requests; /* attached ones, doubly linked */
    size_t requests_n, suspended_n;
    bool closing;
    uv_timer_t close_timer;
    size_t handles_n; /* that the loop has not closed yet */
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

/* Per TCP connection: the peer is read once, at the first request. */
struct http_connection {
    struct http_listener *listener;
    struct peer peer;
    bool has_peer, is_trusted;
    int64_t trusted_until_s; /* since 1970 */
};

struct http_header {
    const char *name, *value; /* arena */
};

struct http_answer_header {
    char *name, *value;
    struct http_answer_header *next;
};

struct http_watch { /* uv_poll of a suspended connection's socket */
    uv_poll_t poll;
    struct http_request *request; /* NULL once stopped */
};

struct http_request {
    struct http_listener *listener; /* NULL when detached */
    struct MHD_Connection *mhd;     /* NULL when detached */
    struct http_request *next, *previous, *next_woken;
    bool attached, owned;
    bool suspended, dispatched, answered, dropped, cancelled;
    bool closes; /* the connection, when this is answered */
    struct arena arena;
    const char *method;
    struct str path;
    const struct http_route *route;
    struct http_path_params params;
    struct http_header *headers, *query;
    size_t headers_n, query_n;
    struct peer peer;
    int64_t trusted_until_s;
    uint64_t body_limit_bytes, body_bytes, discarded_bytes;
    struct buf body;
    bool body_to_fd;
    int body_fd;
    enum err (*on_chunk)(struct http_request *r, struct str chunk, void *ctx, struct errinfo *err);
    void *on_chunk_ctx;
    void *data;
    void (*data_free)(void *data);
    void (*on_cancel)(struct http_request *r, void *ctx);
    void *on_cancel_ctx;
    struct http_watch *watch;
    int status;
    struct MHD_Response *response; /* until queued */
    struct http_answer_header *answer_headers;
    struct http_stream *stream;
    int64_t begun_us;
};

struct http_stream {
    struct http_request *request;
    struct buf queue;
    size_t queue_at;
    bool ended;
    void (*on_drained)(struct http_stream *s, void *ctx);
    void *on_drained_ctx;
};

/* http_listen.c */
must_check enum err http_listen(const char *address, int *ret_fd, char *ret_text, size_t text_size, int *ret_port,
                                struct errinfo *err);
void http_address_format(const struct sockaddr *address, char ret_ip[static PEER_IP_SIZE], int *ret_port);

/* peer.c: fills *ret_peer of a connection. True when it showed a certificate of the CA (with or without a name in it).
 */
bool peer_read(gnutls_session_t session /* NULL: plain */, const struct sockaddr *address, struct peer *ret_peer);
/* http_tls.c: handshake rules of a new connection. */
void http_tls_begin(gnutls_session_t session, enum http_client_cert client_cert);
bool http_tls_peer_is_verified(gnutls_session_t session);
/* The last second of the certificate that the peer showed, since 1970; INT64_MAX: it showed none. */
int64_t http_tls_peer_ends_s(gnutls_session_t session);

/* http_server.c */
void http_listener_kick(struct http_listener *l);
/* A woken request that libmicrohttpd is to resume: in the next round of the loop, or with others a little later. */
void http_listener_wake(struct http_listener *l, struct http_request *r);
/* How much later, where so many connections are suspended: libmicrohttpd 0.9.75 looks at all of them to resume one,
 * which with 2,000 was a fourteenth of what a replica did. At most 20 ms. */
unsigned http_wakes_after_ms(size_t suspended_n);
void http_server_request_gone(struct http_server *s);

/* http_request.c: callbacks of libmicrohttpd */
enum MHD_Result http_request_access(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                                    const char *version, const char *upload_data, size_t *upload_size, void **con_cls);
void http_request_completed(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode why);
/* The server closes: tell the handler, and answer 503 if it does not answer itself. */
void http_request_cancel_for_close(struct http_request *r);
/* The answer is there (or dropped): queue it soon. */
void http_request_wake(struct http_request *r);
void http_request_release(struct http_request *r);
void http_request_suspend(struct http_request *r);

/* http_respond.c: answers with a prepared response; takes it. */
void http_respond_with(struct http_request *r, int status, struct MHD_Response *response);
/* http_stream.c */
void http_stream_free(struct http_stream *s);
