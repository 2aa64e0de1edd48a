#include "base/encode.h"

const int8_t HEX_DIGITS[256] = {
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,
    -1, -1, -1, -1, -1, -1, -1, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
};

void hex_format(const void *bytes, size_t n, char *ret_text)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) {
        ret_text[2 * i] = "0123456789abcdef"[p[i] >> 4];
        ret_text[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
    }
    ret_text[2 * n] = '\0';
}

bool hex_parse(struct str text, void *ret_bytes, size_t n)
{
    if (text.len != 2 * n)
        return false;
    unsigned char *p = ret_bytes;
    for (size_t i = 0; i < n; i++) {
        signed char hi = HEX_DIGITS[(unsigned char)text.ptr[2 * i]],
                    lo = HEX_DIGITS[(unsigned char)text.ptr[2 * i + 1]];
        if (hi < 0 || lo < 0)
            return false;
        p[i] = (unsigned char)((unsigned char)hi << 4 | (unsigned char)lo);
    }
    return true;
}

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_add(struct buf *out, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        unsigned v = (unsigned)p[i] << 16 | (have > 1 ? (unsigned)p[i + 1] << 8 : 0) | (have > 2 ? p[i + 2] : 0);
        for (size_t k = 0; k <= have; k++)
            buf_add_char(out, ALPHABET[v >> (18 - 6 * k) & 63]);
    }
}

bool base64url_parse(struct str text, struct buf *ret_bytes)
{
    if (text.len % 4 == 1)
        return false;
    unsigned v = 0, bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *at = memchr(ALPHABET, text.ptr[i], sizeof(ALPHABET) - 1);
        if (at == NULL)
            return false;
        v = (v << 6 | (unsigned)(at - ALPHABET)) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_add_char(ret_bytes, (char)(unsigned char)(v >> bits & 255));
        }
    }
    return (v & ((1u << bits) - 1)) == 0; /* left-over bits are zero in the canonical form */
}
