/* Happy path: encode, send from a socket of its own, receive, decode, tell. No answer: sent again, twice; then told.
 * What is not an answer to this question is ignored and the wait goes on. */
#include "net/dns_txt.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/random.h"

enum { HEADER_SIZE = 12, LABEL_MAX = 63, NAME_MAX_SIZE = 255, TYPE_TXT = 16, CLASS_IN = 1, DNS_PORT = 53 };
enum { FLAG_ANSWER = 0x80, FLAG_CUT = 0x02, FLAG_RECURSE = 0x01, RCODE_MASK = 0x0f, RCODE_NO_NAME = 3 };

/* ---- the bytes ---- */

static void put_u16(uint8_t *at, unsigned v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static unsigned u16_at(struct str s, size_t at)
{
    return (unsigned)(uint8_t)s.ptr[at] << 8 | (uint8_t)s.ptr[at + 1];
}

enum err dns_txt_encode(uint16_t id, struct str name, uint8_t ret[static DNS_QUERY_MAX], size_t *ret_size,
                        struct errinfo *err)
{
    size_t n = HEADER_SIZE;
    struct str rest = name, label;
    memset(ret, 0, HEADER_SIZE);
    put_u16(ret, id);
    ret[2] = FLAG_RECURSE;
    put_u16(ret + 4, 1); /* one question */
    while (str_next(&rest, '.', &label)) {
        if (label.len == 0 || label.len > LABEL_MAX || n + label.len + 2 > HEADER_SIZE + NAME_MAX_SIZE)
            return err_set(err, ERR_INVALID, "'%.*s' is no name that DNS can hold", STR_ARG(name));
        ret[n++] = (uint8_t)label.len;
        memcpy(ret + n, label.ptr, label.len);
        n += label.len;
    }
    if (n == HEADER_SIZE)
        return err_set(err, ERR_INVALID, "a name is empty");
    ret[n++] = 0;
    put_u16(ret + n, TYPE_TXT);
    put_u16(ret + n + 2, CLASS_IN);
    *ret_size = n + 4;
    return OK;
}

/* Behind the name at *at: labels, or labels and a pointer, which is not followed. False: it ends too early. */
static bool skip_name(struct str s, size_t *at)
{
    while (*at < s.len) {
        uint8_t size = (uint8_t)s.ptr[*at];
        *at += size >= 0xc0 ? 2 : 1 + (size_t)size;
        if (size >= 0xc0 || size == 0)
            return *at <= s.len;
        if (size > LABEL_MAX)
            return false;
    }
    return false;
}

/* The character-strings of one record, one behind the other. */
static bool take_text(struct str data, struct arena *a, struct str *ret)
{
    AUTO(buf) struct buf text = {0};
    for (size_t at = 0; at < data.len;) {
        size_t n = (uint8_t)data.ptr[at];
        if (at + 1 + n > data.len)
            return false;
        buf_add(&text, data.ptr + at + 1, n);
        at += 1 + n;
    }
    *ret = arena_str(a, buf_str(&text));
    return true;
}

static unsigned lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned)(c - 'A' + 'a') : (uint8_t)c;
}

/* It answers this question: id, flags, and the question itself, whose case a resolver may change. */
static bool is_answer(struct str answer, struct str query)
{
    if (answer.len < query.len || memcmp(answer.ptr, query.ptr, 2) != 0 ||
        ((uint8_t)answer.ptr[2] & FLAG_ANSWER) == 0 || u16_at(answer, 4) != 1)
        return false;
    for (size_t i = HEADER_SIZE; i < query.len; i++)
        if (lower(answer.ptr[i]) != lower(query.ptr[i]))
            return false;
    return true;
}

/* One record at *at. False: it ends too early. */
static bool take_record(struct str s, size_t *at, struct arena *a, struct dns_texts *texts)
{
    if (!skip_name(s, at) || s.len - *at < 10)
        return false;
    unsigned type = u16_at(s, *at), class = u16_at(s, *at + 2), size = u16_at(s, *at + 8);
    *at += 10;
    if (s.len - *at < size)
        return false;
    struct str data = str_slice(s, *at, *at + size);
    *at += size;
    if (type != TYPE_TXT || class != CLASS_IN || texts->n >= DNS_TEXTS_MAX)
        return true;
    return take_text(data, a, &texts->items[texts->n++]);
}

enum err dns_txt_decode(struct str answer, struct str query, struct arena *a, struct dns_texts *ret_texts,
                        struct errinfo *err)
{
    assert(query.len > HEADER_SIZE);
    *ret_texts = (struct dns_texts){0};
    if (!is_answer(answer, query))
        return err_set(err, ERR_INVALID, "this does not answer the question");
    unsigned rcode = (uint8_t)answer.ptr[3] & RCODE_MASK;
    if (rcode != 0 && rcode != RCODE_NO_NAME)
        return err_set(err, ERR_UNAVAILABLE, "the resolver failed with code %u", rcode);
    if (((uint8_t)answer.ptr[2] & FLAG_CUT) != 0)
        return err_set(err, ERR_UNAVAILABLE, "the answer is longer than a datagram");
    ret_texts->items = arena_alloc(a, DNS_TEXTS_MAX * sizeof(*ret_texts->items));
    size_t at = query.len;
    for (unsigned i = 0, n = u16_at(answer, 6); i < n; i++)
        if (!take_record(answer, &at, a, ret_texts))
            return err_set(err, ERR_INVALID, "the answer ends in the middle of record %u", i + 1);
    return OK;
}

/* ---- whom to ask ---- */

static bool address_parse(const char *host, int port, struct sockaddr_storage *ret)
{
    *ret = (struct sockaddr_storage){0};
    return uv_ip4_addr(host, port, (struct sockaddr_in *)ret) == 0 ||
           uv_ip6_addr(host, port, (struct sockaddr_in6 *)ret) == 0;
}

enum err dns_server_parse(struct str text, struct sockaddr_storage *ret, struct errinfo *err)
{
    char host[64];
    int64_t port = 0;
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    bool has_port = colon > 1 && str_parse_i64(str_slice(text, colon, text.len), &port) && port > 0 && port < 65536;
    struct str name = has_port ? str_slice(text, 0, colon - 1) : STR("");
    if (str_starts(name, STR("[")) && str_ends(name, STR("]")))
        name = str_slice(name, 1, name.len - 1);
    if (!has_port || !str_copy_to(name, host, sizeof(host)) || !address_parse(host, (int)port, ret))
        return err_set(err, ERR_INVALID, "'%.*s' is no address of a resolver like 127.0.0.1:53", STR_ARG(text));
    return OK;
}

enum err dns_server_of_host(struct sockaddr_storage *ret, struct errinfo *err)
{
    FILE *f = fopen("/etc/resolv.conf", "re");
    char line[512], host[64];
    bool is_found = false;
    while (f != NULL && !is_found && fgets(line, sizeof(line), f) != NULL) {
        struct str s = str_trim(str_from(line));
        is_found = str_starts(s, STR("nameserver")) &&
                   str_copy_to(str_trim(str_slice(s, strlen("nameserver"), s.len)), host, sizeof(host)) &&
                   address_parse(host, DNS_PORT, ret);
    }
    if (f != NULL)
        (void)fclose(f);
    return is_found ? OK : err_set(err, ERR_NOT_FOUND, "/etc/resolv.conf names no resolver");
}

/* ---- asking ---- */

struct dns_txt {
    uv_udp_t socket;
    uv_timer_t timer;
    dns_txt_fn done; /* NULL: told, or cancelled */
    void *ctx;
    uint8_t query[DNS_QUERY_MAX];
    size_t query_size;
    int tries_n;
    unsigned open_n; /* handles */
    char in[4096];
};

static void on_closed(uv_handle_t *handle)
{
    struct dns_txt *q = handle->data;
    if (--q->open_n == 0)
        free(q);
}

static void end(struct dns_txt *q)
{
    q->done = NULL;
    uv_close((uv_handle_t *)&q->socket, on_closed);
    uv_close((uv_handle_t *)&q->timer, on_closed);
}

void dns_txt_cancel(struct dns_txt *q)
{
    end(q);
}

static void tell(struct dns_txt *q, enum err rc, struct dns_texts texts, const struct errinfo *err)
{
    dns_txt_fn done = q->done;
    void *ctx = q->ctx;
    end(q);
    done(ctx, rc, texts, err);
}

/* What could not be sent is as what was lost. */
static void try_once(uv_timer_t *timer)
{
    struct dns_txt *q = timer->data;
    struct errinfo err = {0};
    if (q->tries_n++ == DNS_TRIES) {
        tell(q, err_set(&err, ERR_UNAVAILABLE, "the resolver does not answer"), (struct dns_texts){0}, &err);
        return;
    }
    uv_buf_t bytes = uv_buf_init((char *)q->query, (unsigned)q->query_size);
    (void)uv_udp_try_send(&q->socket, &bytes, 1, NULL);
    (void)uv_timer_start(&q->timer, try_once, DNS_TRY_MS, 0);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct dns_txt *q = handle->data;
    (void)suggested;
    *ret = uv_buf_init(q->in, sizeof(q->in));
}

static void on_datagram(uv_udp_t *socket, ssize_t n, const uv_buf_t *bytes, const struct sockaddr *from, unsigned flags)
{
    struct dns_txt *q = socket->data;
    AUTO(arena) struct arena a = {0};
    struct dns_texts texts;
    struct errinfo err = {0};
    (void)from; /* the socket is connected: nobody else is heard */
    if (q->done == NULL || n <= 0 || (flags & UV_UDP_PARTIAL) != 0)
        return;
    enum err rc = dns_txt_decode((struct str){bytes->base, (size_t)n},
                                 (struct str){(const char *)q->query, q->query_size}, &a, &texts, &err);
    if (rc != ERR_INVALID)
        tell(q, rc, texts, &err);
}

enum err dns_txt_ask(uv_loop_t *loop, const struct sockaddr_storage *server, struct str name, dns_txt_fn done,
                     void *ctx, struct dns_txt **ret, struct errinfo *err)
{
    uint16_t id;
    random_bytes(&id, sizeof(id));
    struct dns_txt *q = mem_alloc(sizeof(*q));
    enum err rc = dns_txt_encode(id, name, q->query, &q->query_size, err);
    if (rc != OK) {
        free(q);
        return rc;
    }
    q->done = done;
    q->ctx = ctx;
    q->open_n = 2;
    q->socket.data = q->timer.data = q;
    uv_timer_init(loop, &q->timer);
    int failed = uv_udp_init(loop, &q->socket);
    assert(failed == 0); /* makes no socket yet */
    failed = uv_udp_connect(&q->socket, (const struct sockaddr *)server);
    if (failed == 0)
        failed = uv_udp_recv_start(&q->socket, on_room, on_datagram);
    if (failed != 0) {
        end(q);
        return err_set(err, ERR_UNAVAILABLE, "ask the resolver: %s", uv_strerror(failed));
    }
    (void)uv_timer_start(&q->timer, try_once, 0, 0);
    *ret = q;
    return OK;
}
