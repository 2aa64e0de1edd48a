#pragma once
/* edge/certificates.h - certificates of hosts on demand: from the folder, else GET {api}/v1/certificates/{id}, then
 * kept there (0600), so that a restart needs no control plane. Layer: edge. Thread: loop. */
#include "base/err.h"
#include "event/id.h"
#include "net/http_client.h"

/* 256 KiB: a chain and a key are some KiB (chosen). */
#define CERTIFICATE_DOCUMENT_SIZE_MAX (256u * 1024u)

struct certificates;
struct certificates_options {
    uv_loop_t *loop;
    struct http_client *client;    /* borrowed */
    struct http_call_options call; /* TLS and peer; url is set per call. Borrowed texts, must outlive it */
    const char *const *urls;       /* of management APIs, without a slash at the end; borrowed */
    size_t urls_n;
    const char *folder; /* made when missing; copied */
    /* PEM texts are lent for the call. */
    void (*on_certificate)(void *ctx, struct str host, struct str chain_pem, struct str key_pem);
    void (*on_problem)(void *ctx, const struct errinfo *err);
    void *ctx;
};

must_check enum err certificates_open(const struct certificates_options *o, struct certificates **ret_certificates,
                                      struct errinfo *err);
/* Get it and report it by on_certificate, perhaps at once; failures are reported and tried again (0.2 s to 10 s) until
 * it is there. The name is copied; asking again for the same name replaces the id. */
void certificates_want(struct certificates *c, struct str host, struct id certificate_id);
/* Calls that are under way. */
size_t certificates_pending(const struct certificates *c);
/* Frees itself once the loop has closed its handles. */
void certificates_close(struct certificates *c);
