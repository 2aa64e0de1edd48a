#pragma once
/* net/dns_txt.h - the TXT records of one name, asked of one recursive resolver over UDP (RFC 1035).
 * Layer: net. Thread: loop. A random id and a port of its own for each question; answers of anybody else, or to another
 * question, are ignored. An answer that does not fit into a datagram is ERR_UNAVAILABLE: there is no TCP.
 *
 * What an answer says is as true as the resolver is and its network: nothing is validated (DNSSEC). */
#include <sys/socket.h>
#include <uv.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

/* 12 bytes of header, a name of at most 255, type and class. */
#define DNS_QUERY_MAX 271u
/* More texts at one name are nobody's proof (chosen). */
#define DNS_TEXTS_MAX 64u
/* Three tries of 2 s (chosen; resolvers answer or give up within 5 s). */
#define DNS_TRY_MS 2000u
#define DNS_TRIES 3

struct dns_texts {
    struct str *items;
    size_t n;
};

/* The question, as bytes. OK | ERR_INVALID not a name */
must_check enum err dns_txt_encode(uint16_t id, struct str name, uint8_t ret[static DNS_QUERY_MAX], size_t *ret_size,
                                   struct errinfo *err);
/* The texts of an answer to `query`, into the arena; none when there is no such name or no such record.
 * OK | ERR_INVALID not an answer to that question, or malformed | ERR_UNAVAILABLE the resolver failed, or it was cut */
must_check enum err dns_txt_decode(struct str answer, struct str query, struct arena *a, struct dns_texts *ret_texts,
                                   struct errinfo *err);

/* "127.0.0.1:53", "[::1]:53". OK | ERR_INVALID */
must_check enum err dns_server_parse(struct str text, struct sockaddr_storage *ret, struct errinfo *err);
/* The first of /etc/resolv.conf. OK | ERR_NOT_FOUND */
must_check enum err dns_server_of_host(struct sockaddr_storage *ret, struct errinfo *err);

struct dns_txt;
/* Lent: texts and err, never NULL. Called once, never from inside dns_txt_ask; the question is over then. */
typedef void (*dns_txt_fn)(void *ctx, enum err rc, struct dns_texts texts, const struct errinfo *err);
/* Ask. *ret is for dns_txt_cancel until done is called. OK | ERR_INVALID | ERR_UNAVAILABLE no socket */
must_check enum err dns_txt_ask(uv_loop_t *loop, const struct sockaddr_storage *server, struct str name,
                                dns_txt_fn done, void *ctx, struct dns_txt **ret, struct errinfo *err);
/* done will not be called. */
void dns_txt_cancel(struct dns_txt *q);
