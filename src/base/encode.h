#pragma once
/* base/encode.h - hex and base64url. Layer: base. Pure. */
#include "base/buf.h"
#include "base/str.h"

void hex_format(const void *bytes, size_t n, char *ret_text /* 2n + 1 */);
/* The value of a hex digit, lower or upper case; -1: none. */
extern const int8_t HEX_DIGITS[256];
/* Exactly n bytes from 2n hex digits, lower or upper case. */
bool hex_parse(struct str text, void *ret_bytes, size_t n);
/* base64url without padding (RFC 4648, section 5). */
void base64url_add(struct buf *out, const void *bytes, size_t n);
bool base64url_parse(struct str text, struct buf *ret_bytes);
