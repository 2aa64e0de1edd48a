/* The first byte chooses: the head of a files store, a seal, or a cursor that a client sent back. */
#include <assert.h>

#include "app/app.h"
#include "fuzz.h"
#include "store/head.h"
#include "store/seal.h"

static void head(const uint8_t *data, size_t size)
{
    char bytes[HEAD_SIZE] = {0};
    if (size > 0)
        memcpy(bytes, data, size < HEAD_SIZE ? size : HEAD_SIZE);
    struct head h;
    int good = head_choose(bytes, &h);
    if (good == 0)
        return;
    char again[HEAD_SLOT_SIZE];
    head_encode(&h, again);
    assert(memcmp(again, bytes + head_offset(h.generation), HEAD_SLOT_SIZE) == 0);
}

static void seal(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    AUTO(buf) struct buf again = {0};
    struct seal s;
    if (!seal_decode(text, &s))
        return;
    seal_encode(&s, &again);
    assert(str_eq(buf_str(&again), text));
}

static void cursor(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct app_position at;
    struct errinfo err;
    if (app_cursor_parse(text, &at, &err) != OK)
        return;
    char again[APP_CURSOR_TEXT_SIZE];
    app_cursor_format(&at, again);
    assert(str_eq_c(text, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 'h')
        head(data + 1, size - 1);
    else if (data[0] == 's')
        seal(data + 1, size - 1);
    else
        cursor(data + 1, size - 1);
    return 0;
}
