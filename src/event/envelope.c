#include "event/envelope.h"

#include "base/encode.h"
#include "base/json.h"
#include "event/hash.h"
#include "event/text.h"

uint32_t envelope_encode(const struct envelope *e, uint32_t prev_sum, struct buf *out)
{
    char time[EVENT_TIME_TEXT_SIZE], id[ID_TEXT_SIZE];
    event_time_format(e->time, time);
    id_format(e->id, id);
    size_t from = out->len;
    buf_reserve(out, e->type.len + e->payload.len + 256); /* what stands around them has at most 200 bytes */
    buf_add_str(out, STR("{\"time\":\""));
    buf_add_c(out, time);
    buf_add_str(out, STR("\",\"type\":\"slipform:"));
    buf_add_str(out, e->type);
    buf_add_str(out, STR("\",\"id\":\""));
    buf_add(out, id, ID_TEXT_SIZE - 1);
    buf_add_str(out, e->more ? STR("\",\"more\":true,\"payload\":") : STR("\",\"payload\":"));
    buf_add_str(out, e->payload);
    uint32_t sum = crc32c(prev_sum, out->ptr + from, out->len - from);
    char digits[8];
    for (size_t i = 0; i < sizeof(digits); i++)
        digits[i] = "0123456789abcdef"[sum >> (28 - 4 * i) & 15];
    buf_add_str(out, STR(",\"sum\":\"crc32c:"));
    buf_add(out, digits, sizeof(digits));
    buf_add_str(out, STR("\"}\n"));
    return sum;
}

/* A reader over one line that finds where values begin and end; it allocates nothing. */
struct scan {
    struct str text;
    size_t at;
    int depth;
};

static void skip_more_space(struct scan *s)
{
    for (; s->at < s->text.len; s->at++) {
        char c = s->text.ptr[s->at];
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
            return;
    }
}

static inline void skip_space(struct scan *s)
{
    if (s->at >= s->text.len || s->text.ptr[s->at] > ' ') /* nearly always */
        return;
    skip_more_space(s);
}

static inline bool take(struct scan *s, char c)
{
    skip_space(s);
    if (s->at >= s->text.len || s->text.ptr[s->at] != c)
        return false;
    s->at++;
    return true;
}

/* Stands on what follows a backslash; leaves on its last byte. */
static bool skip_escape(struct scan *s)
{
    uint8_t ignored[2];
    if (s->at >= s->text.len || s->text.ptr[s->at] == '\0' || strchr("\"\\/bfnrtu", s->text.ptr[s->at]) == NULL)
        return false;
    if (s->text.ptr[s->at] != 'u')
        return true;
    if (s->text.len - s->at < 5 || !hex_parse(str_slice(s->text, s->at + 1, s->at + 5), ignored, sizeof(ignored)))
        return false;
    s->at += 4;
    return true;
}

static inline bool take_string(struct scan *s, struct str *ret_raw)
{
    if (!take(s, '"'))
        return false;
    size_t from = s->at;
    for (;; s->at++) {
        s->at += text_plain_span(s->text.ptr + s->at, s->text.len - s->at);
        if (s->at >= s->text.len)
            return false;
        unsigned char c = (unsigned char)s->text.ptr[s->at];
        if (c < 0x20)
            return false;
        if (c == '\\') {
            s->at++;
            if (!skip_escape(s))
                return false;
        } else if (c == '"') {
            *ret_raw = str_slice(s->text, from, s->at);
            s->at++;
            return true;
        }
    }
}

static bool skip_value(struct scan *s);

static bool skip_members(struct scan *s, char close, bool is_object)
{
    if (++s->depth > JSON_DEPTH_MAX)
        return false;
    if (take(s, close)) {
        s->depth--;
        return true;
    }
    do {
        struct str key;
        if (is_object && (!take_string(s, &key) || !take(s, ':')))
            return false;
        if (!skip_value(s))
            return false;
    } while (take(s, ','));
    s->depth--;
    return take(s, close);
}

static bool skip_digits(struct scan *s)
{
    size_t from = s->at;
    while (s->at < s->text.len && s->text.ptr[s->at] >= '0' && s->text.ptr[s->at] <= '9')
        s->at++;
    return s->at > from;
}

static bool skip_number(struct scan *s)
{
    if (s->text.ptr[s->at] == '-')
        s->at++;
    if (!skip_digits(s))
        return false;
    if (s->at < s->text.len && s->text.ptr[s->at] == '.') {
        s->at++;
        if (!skip_digits(s))
            return false;
    }
    if (s->at < s->text.len && (s->text.ptr[s->at] == 'e' || s->text.ptr[s->at] == 'E')) {
        s->at++;
        if (s->at < s->text.len && (s->text.ptr[s->at] == '+' || s->text.ptr[s->at] == '-'))
            s->at++;
        return skip_digits(s);
    }
    return true;
}

static bool skip_word(struct scan *s)
{
    static const char *const WORDS[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        struct str word = str_from(WORDS[i]);
        if (str_starts(str_slice(s->text, s->at, s->text.len), word)) {
            s->at += word.len;
            return true;
        }
    }
    return false;
}

static bool skip_value(struct scan *s)
{
    skip_space(s);
    if (s->at >= s->text.len)
        return false;
    char c = s->text.ptr[s->at];
    struct str ignored;
    if (c == '{' || c == '[') {
        s->at++;
        return skip_members(s, c == '{' ? '}' : ']', c == '{');
    }
    if (c == '"')
        return take_string(s, &ignored);
    if (c == '-' || (c >= '0' && c <= '9'))
        return skip_number(s);
    return skip_word(s);
}

static struct str bare_type(struct str type)
{
    size_t colon = str_rfind(type, ':');
    if (colon < type.len)
        type = str_slice(type, colon + 1, type.len);
    size_t dot = str_rfind(type, '.');
    return dot < type.len ? str_slice(type, dot + 1, type.len) : type;
}

struct lines_members {
    struct str time, type, id, more, payload, sum;
    size_t sum_at; /* offset of the comma before "sum" */
};

static enum err read_members(struct scan *s, struct lines_members *m, struct errinfo *err)
{
    if (!take(s, '{'))
        return err_set(err, ERR_INVALID, "an event must be a JSON object");
    size_t comma = 0;
    do {
        comma = s->at - 1;
        struct str key, value;
        if (!take_string(s, &key) || !take(s, ':'))
            return err_set(err, ERR_INVALID, "malformed JSON at byte %zu", s->at);
        skip_space(s);
        size_t from = s->at;
        if (!skip_value(s))
            return err_set(err, ERR_INVALID, "malformed JSON at byte %zu", s->at);
        value = str_slice(s->text, from, s->at);
        struct str *to = str_eq(key, STR("time"))      ? &m->time
                         : str_eq(key, STR("type"))    ? &m->type
                         : str_eq(key, STR("id"))      ? &m->id
                         : str_eq(key, STR("more"))    ? &m->more
                         : str_eq(key, STR("payload")) ? &m->payload
                         : str_eq(key, STR("sum"))     ? &m->sum
                                                       : NULL;
        if (to == NULL)
            continue;
        if (to->ptr != NULL)
            return err_set(err, ERR_INVALID, "member '%.*s' stands twice", STR_ARG(key));
        *to = value;
        if (to == &m->sum)
            m->sum_at = comma;
    } while (take(s, ','));
    if (!take(s, '}'))
        return err_set(err, ERR_INVALID, "malformed JSON at byte %zu", s->at);
    skip_space(s);
    if (s->at != s->text.len)
        return err_set(err, ERR_INVALID, "bytes after the event at byte %zu", s->at);
    return OK;
}

static bool take_bytes(struct scan *s, struct str bytes)
{
    if (!str_starts(str_slice(s->text, s->at, s->text.len), bytes))
        return false;
    s->at += bytes.len;
    return true;
}

/* `before`, which ends in a quote, and the rest of a string of plain ASCII; *ret has both quotes. */
static bool take_plain(struct scan *s, struct str before, struct str *ret)
{
    if (!take_bytes(s, before))
        return false;
    size_t from = s->at - 1;
    s->at += text_plain_span(s->text.ptr + s->at, s->text.len - s->at);
    if (s->at == s->text.len || s->text.ptr[s->at] != '"')
        return false;
    *ret = str_slice(s->text, from, ++s->at);
    return true;
}

/* What envelope_encode writes: its members in its order, no white space. False: not that, read_members has to look. */
static bool read_our_members(struct scan *s, struct lines_members *m)
{
    if (!take_plain(s, STR("{\"time\":\""), &m->time) || !take_plain(s, STR(",\"type\":\""), &m->type) ||
        !take_plain(s, STR(",\"id\":\""), &m->id))
        return false;
    if (take_bytes(s, STR(",\"more\":true")))
        m->more = STR("true");
    if (!take_bytes(s, STR(",\"payload\":{")))
        return false;
    size_t from = --s->at; /* an object at once: a value after white space is left to read_members */
    if (!skip_value(s))
        return false;
    m->payload = str_slice(s->text, from, s->at);
    m->sum_at = s->at;
    return take_plain(s, STR(",\"sum\":\""), &m->sum) && take_bytes(s, STR("}")) && s->at == s->text.len;
}

static bool unquote(struct str *v)
{
    if (v->len < 2 || v->ptr[0] != '"' || memchr(v->ptr, '\\', v->len) != NULL)
        return false;
    *v = str_slice(*v, 1, v->len - 1);
    return true;
}

enum err envelope_decode(struct str line, uint32_t prev_sum, struct envelope *ret, struct errinfo *err)
{
    if (line.len > ENVELOPE_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "an event of %zu bytes is over %u", line.len, ENVELOPE_SIZE_MAX);
    struct scan s = {.text = line};
    struct lines_members m = {0};
    if (!read_our_members(&s, &m)) {
        s = (struct scan){.text = line};
        m = (struct lines_members){0};
        enum err rc = read_members(&s, &m, err);
        if (rc != OK)
            return rc;
    }
    struct envelope e = {0};
    if (!unquote(&m.time) || !event_time_parse(m.time, &e.time))
        return err_set(err, ERR_INVALID, "'time' must be like '2026-11-22T12:00:00.000001Z#0'");
    if (!unquote(&m.type) || bare_type(m.type).len == 0)
        return err_set(err, ERR_INVALID, "'type' must be the name of an event");
    e.type = bare_type(m.type);
    if (m.id.ptr != NULL && (!unquote(&m.id) || !id_parse(m.id, &e.id)))
        return err_set(err, ERR_INVALID, "'id' must be a UUID");
    if (m.payload.ptr == NULL || m.payload.ptr[0] != '{')
        return err_set(err, ERR_INVALID, "'payload' must be an object");
    e.payload = m.payload;
    if (m.more.ptr != NULL && !str_eq(m.more, STR("true")) && !str_eq(m.more, STR("false")))
        return err_set(err, ERR_INVALID, "'more' must be true or false");
    e.more = str_eq(m.more, STR("true"));
    if (m.sum.ptr != NULL) {
        if (!unquote(&m.sum) || !crc32c_parse(m.sum, &e.sum))
            return err_set(err, ERR_INVALID, "'sum' must be 'crc32c:' and 8 hex digits");
        e.has_sum = true;
        uint32_t sum = crc32c(prev_sum, line.ptr, m.sum_at);
        if (sum != e.sum)
            return err_set(err, ERR_CORRUPT, "checksum is %08x, the record says %08x", sum, e.sum);
    }
    *ret = e;
    return OK;
}
