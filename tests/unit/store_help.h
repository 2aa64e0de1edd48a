#pragma once
/* unit/store_help.h - logs to test with, and what is asked of them again and again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "assert_err.h"
#include "base/own.h"
#include "folder.h"
#include "store/simulated.h"
#include "store/store.h"

/* A log, and what opening it takes. */
struct fixture {
    char dir[64]; /* everything of this test; empty: nothing on disk */
    char spec[160];
    struct store_options opt;
    void *more;                /* of who made it */
    void (*before_fork)(void); /* NULL: nothing to do. Of a kind with threads: no handle is open now */
};

static inline void remove_folder(const char *path)
{
    (void)scratch_remove(path);
}

static inline void setup_in(struct fixture *x, const char *parent, const char *more_spec)
{
    *x = (struct fixture){.opt = {.mode = STORE_CREATE}};
    assert_true(scratch_make(parent, x->dir, sizeof(x->dir)));
    (void)snprintf(x->spec, sizeof(x->spec), "files;path=%.63s/log%s", x->dir, more_spec);
}
static inline void setup(struct fixture *x)
{
    setup_in(x, "/tmp", "");
}
/* For hundreds of logs in a row, where no disk has to be waited for. */
static inline void setup_in_memory(struct fixture *x, const char *more_spec)
{
    setup_in(x, scratch_in_memory(), more_spec);
}
static inline void teardown(struct fixture *x)
{
    remove_folder(x->dir);
}

static inline struct store *open_mode(const struct fixture *x, enum store_mode mode)
{
    struct store *s = NULL;
    struct store_options opt = x->opt;
    opt.mode = mode;
    assert_ok(store_open(x->spec, &opt, &s, NULL, &why));
    return s;
}

static inline struct store *open_store(const struct fixture *x)
{
    return open_mode(x, STORE_CREATE);
}

static inline struct id number_id(uint64_t who, uint64_t number)
{
    struct id id = {{1}};
    memcpy(id.bytes + 1, &number, 7);
    memcpy(id.bytes + 8, &who, 8);
    return id;
}

static inline struct store_event number_event(uint64_t who, uint64_t number)
{
    return (struct store_event){.type = STR("Counted"), .id = number_id(who, number), .payload = STR("{\"n\":1}")};
}

static inline struct store_pos end_of(struct store *s)
{
    struct store_pos p = {0};
    assert_ok(store_end(s, &p, &why));
    return p;
}

/* Append one at the end, which nobody else moves. */
static inline struct store_record add(struct store *s, uint64_t number)
{
    struct store_event e = number_event(0, number);
    struct store_record r = {0};
    assert_ok(store_append(s, end_of(s), &e, 1, &r, &why));
    return r;
}

static inline void check_numbers(struct store *s, uint64_t n)
{
    AUTO(store_batch) struct store_batch b = {0};
    assert_ok(store_read(s, 0, 0, 0, &b, &why));
    assert_int_equal(b.n, n);
    for (uint64_t i = 0; i < n; i++)
        assert_true(id_eq(b.items[i].e.id, number_id(0, i + 1)));
}

/* Of a files store. */
#define SEGMENT "00000000000000000001.jsonl"
static inline void path_of(const struct fixture *x, const char *name, char ret[static 192])
{
    (void)snprintf(ret, 192, "%s/log/%s", x->dir, name);
}
static inline void flip(char *byte, unsigned mask)
{
    *byte = (char)((unsigned char)*byte ^ mask);
}

static inline void read_whole(const char *path, struct buf *b)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st = {0};
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    buf_clear(b);
    buf_reserve(b, (size_t)st.st_size);
    if (st.st_size > 0)
        assert_int_equal(read(fd, b->ptr, (size_t)st.st_size), st.st_size);
    b->len = (size_t)st.st_size;
}

static inline void write_whole(const char *path, const char *bytes, size_t n)
{
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
}

/* Both have the same n keys. */
static inline void check_keys(struct store *a, struct store *b, size_t n)
{
    struct store_key p[STORE_KEYS_PAGE], q[STORE_KEYS_PAGE];
    char after[STORE_KEY_NAME_SIZE] = "";
    size_t seen = 0;
    for (size_t got = STORE_KEYS_PAGE, same = 0; got == STORE_KEYS_PAGE;) {
        assert_ok(store_keys(a, after, p, &got, &why));
        assert_ok(store_keys(b, after, q, &same, &why));
        assert_int_equal(got, same);
        for (size_t i = 0; i < got; i++) {
            assert_string_equal(p[i].name, q[i].name);
            assert_string_equal(p[i].wrapped, q[i].wrapped);
        }
        if (got > 0)
            memcpy(after, p[got - 1].name, sizeof(after));
        seen += got;
    }
    assert_int_equal(seen, n);
}

/* The n keys of `a` are copied; again: one that came, one that was replaced, one that was dropped. */
static inline void copies_keys(struct store *a, struct store *b, size_t n)
{
    struct store_key page[STORE_KEYS_PAGE];
    uint64_t rows = 0;
    size_t got = 0;
    assert_ok(store_copy_keys(a, b, &rows, &why));
    assert_int_equal(rows, n);
    check_keys(a, b, n);
    assert_ok(store_keys(a, "", page, &got, &why));
    assert_ok(store_key_put(a, page[0].name, page[0].wrapped, "wrapped-anew", &why));
    assert_ok(store_key_put(a, "came-later", NULL, "wrapped-later", &why));
    assert_ok(store_copy_keys(a, b, &rows, &why));
    check_keys(a, b, n + 1);
    assert_ok(store_key_drop(a, "came-later", &why));
    assert_ok(store_copy_keys(a, b, &rows, &why));
    check_keys(a, b, n);
}
