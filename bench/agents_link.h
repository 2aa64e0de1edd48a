#pragma once
/* bench/agents_link.h - one kept HTTP/1.1 connection over mutual TLS, with one request at a time: what a simulated
 * node-agent speaks to one replica of the control plane. Smaller than net/http_client.h: ten thousand certificates and
 * thirty thousand connections in a process or two. Sessions are not resumed, as net/http_client.h does not either.
 *
 * At most opening_max handshakes are under way; further links wait for their turn. A link that is lost says so once
 * and is closed: its owner opens it again when it wants to. Thread: loop. */
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

struct link;

struct link_pool {
    uv_loop_t *loop;
    SSL_CTX *tls;
    const char *peer_uri;      /* what servers must be: a pattern of identity_matches */
    struct sockaddr_in source; /* where links come from: 28,000 ports of one address are soon used up */
    size_t opening_max, opening_n, open_n;
    struct link *waiting, **waiting_end;
    uint64_t handshakes_n, handshakes_us, lost_n;
    struct errinfo last_err; /* why a link was lost */
};

enum link_state { LINK_CLOSED, LINK_WAITING, LINK_CONNECTING, LINK_HANDSHAKING, LINK_IDLE, LINK_BUSY };

struct link {
    struct link_pool *pool;
    struct sockaddr_in to;
    X509 *cert; /* borrowed, as the key */
    EVP_PKEY *key;
    /* status 0: the link was lost, the request (if there was one) has no answer. May send, or open again. */
    void (*on_answer)(struct link *l, int status, struct str body);
    void (*on_open)(struct link *l);
    void *ctx;
    enum link_state state;
    struct link *next; /* of those that wait */
    struct link_watch *watch;
    SSL *ssl;
    int fd;
    struct buf out, in;
    size_t out_at;
    int64_t since_us; /* of the connect, or the request */
};

/* ca_file: whom servers' certificates chain to. peer_uri is borrowed. link_pool_done when every link is closed. */
must_check enum err link_pool_init(struct link_pool *p, uv_loop_t *loop, const char *ca_file, const char *peer_uri,
                                   struct errinfo *err);
void link_pool_done(struct link_pool *p);

/* Only a closed link. on_open is called from the loop, or on_answer with status 0. */
void link_open(struct link *l);
/* Only an idle link. */
void link_send(struct link *l, const char *method, const char *path, struct str body);
bool link_is_opening(const struct link *l); /* it has its turn, and is not open yet */
/* Only one that is opening: given up, told to its owner as status 0. */
void link_lose(struct link *l, const char *why);
/* Without a word to the other side or to its owner, as when power fails. */
void link_close(struct link *l);
