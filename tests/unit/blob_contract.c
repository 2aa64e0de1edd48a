#include "blob_contract.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "blob/garbage.h"

#define BIG_SIZE ((size_t)11 * 1024 * 1024 + 7) /* three parts of 5 MiB, the last one short */
#define HOUR ((int64_t)3600)

struct world {
    const struct blob_factory *factory;
    struct blob_store *store;
};

static int setup(void **state)
{
    struct world *w = *state;
    w->store = w->factory->open();
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    blob_store_close(w->store);
    return 0;
}

static void put_abc(struct blob_store *s)
{
    struct errinfo err = {0};
    if (blob_put_bytes(s, STR("abc"), ABC, NULL, &err) != OK)
        fail_msg("%s", err.msg);
}

static void is_abc(struct blob_store *s)
{
    auto_close int fd = -1;
    uint64_t size = 0;
    char bytes[8];
    struct errinfo err = {0};
    if (blob_open(s, ABC, &fd, &size, &err) != OK)
        fail_msg("%s", err.msg);
    assert_int_equal(size, 3);
    assert_int_equal(read(fd, bytes, sizeof(bytes)), 3);
    assert_memory_equal(bytes, "abc", 3);
}

static void stored_twice_and_read(void **state)
{
    struct world *w = *state;
    struct errinfo err = {0};
    if (blob_check(w->store, &err) != OK)
        fail_msg("%s", err.msg);
    put_abc(w->store);
    put_abc(w->store);
    is_abc(w->store);
    auto_blob_store struct blob_store *other = w->factory->again();
    is_abc(other);
    assert_int_equal(blob_verify(other, ABC, NULL), OK);
    uint64_t size = 0;
    assert_int_equal(blob_stat(other, ABC, &size, NULL), OK);
    assert_int_equal(size, 3);
}

static void empty_blob(void **state)
{
    struct world *w = *state;
    char digest[DIGEST_TEXT_SIZE];
    assert_int_equal(blob_put_bytes(w->store, STR(""), NULL, digest, NULL), OK);
    auto_blob_store struct blob_store *other = w->factory->again();
    assert_int_equal(blob_verify(other, digest, NULL), OK);
}

static void big_blob(void **state)
{
    struct world *w = *state;
    auto_free char *bytes = mem_alloc(BIG_SIZE);
    uint32_t x = 1;
    for (size_t i = 0; i < BIG_SIZE; i++)
        bytes[i] = (char)((x = x * 1664525u + 1013904223u) >> 24);
    char digest[DIGEST_TEXT_SIZE];
    struct errinfo err = {0};
    if (blob_put_bytes(w->store, (struct str){bytes, BIG_SIZE}, NULL, digest, &err) != OK)
        fail_msg("%s", err.msg);
    auto_blob_store struct blob_store *other = w->factory->again();
    if (blob_verify(other, digest, &err) != OK)
        fail_msg("%s", err.msg);
    uint64_t ended = 9;
    assert_int_equal(blob_sweep(w->store, 0, &ended, NULL), OK);
    assert_int_equal(ended, 0); /* nothing was left behind */
}

static void wrong_bytes_are_not_stored(void **state)
{
    struct world *w = *state;
    struct errinfo err;
    assert_int_equal(blob_put_bytes(w->store, STR("abd"), ABC, NULL, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, ABC));
    assert_int_equal(blob_stat(w->store, ABC, NULL, NULL), ERR_NOT_FOUND);
    int fd;
    assert_int_equal(blob_open(w->store, ABC, &fd, NULL, NULL), ERR_NOT_FOUND);
}

static void limit_and_abort(void **state)
{
    struct world *w = *state;
    struct blob_put *p;
    assert_int_equal(blob_put_begin(w->store, 3, &p, NULL), OK);
    assert_int_equal(blob_put_write(p, "abcd", 4, NULL), ERR_LIMIT);
    blob_put_abort(p);
    assert_int_equal(blob_put_begin(w->store, 3, &p, NULL), OK);
    assert_int_equal(blob_put_write(p, "abc", 3, NULL), OK);
    blob_put_abort(p);
    assert_int_equal(blob_stat(w->store, ABC, NULL, NULL), ERR_NOT_FOUND);
}

static void bad_digests(void **state)
{
    struct world *w = *state;
    static const char *const BAD[] = {"", "sha256:", "sha256:../../../../etc/passwd",
                                      "md5:900150983cd24fb0d6963f7d28e17f72"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        int fd;
        assert_int_equal(blob_open(w->store, BAD[i], &fd, NULL, NULL), ERR_INVALID);
        assert_int_equal(blob_stat(w->store, BAD[i], NULL, NULL), ERR_INVALID);
        assert_int_equal(blob_delete(w->store, BAD[i], NULL), ERR_INVALID);
        assert_int_equal(blob_set_aside(w->store, BAD[i], NULL), ERR_INVALID);
    }
}

static void deleted_is_gone(void **state)
{
    struct world *w = *state;
    put_abc(w->store);
    auto_close int fd = -1;
    assert_int_equal(blob_open(w->store, ABC, &fd, NULL, NULL), OK);
    assert_int_equal(blob_delete(w->store, ABC, NULL), OK);
    assert_int_equal(blob_delete(w->store, ABC, NULL), OK);
    int gone;
    assert_int_equal(blob_open(w->store, ABC, &gone, NULL, NULL), ERR_NOT_FOUND);
    char c;
    assert_int_equal(read(fd, &c, 1), 1); /* who has it open has it */
}

struct seen {
    size_t n;
    uint64_t size_bytes;
    char last[DIGEST_TEXT_SIZE];
};

static enum err see(const char *digest, uint64_t size_bytes, void *ctx, struct errinfo *err)
{
    struct seen *s = ctx;
    (void)err;
    assert_true(strcmp(s->last, digest) < 0);
    memcpy(s->last, digest, sizeof(s->last));
    s->n++;
    s->size_bytes += size_bytes;
    return s->n == 5 ? ERR_CANCELLED : OK;
}

static void listed_in_order(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(blob_put_bytes(w->store, (struct str){"abcd", i}, NULL, NULL, NULL), OK);
    struct seen s = {0};
    assert_int_equal(blob_list(w->store, see, &s, NULL), OK);
    assert_int_equal(s.n, 4);
    assert_int_equal(s.size_bytes, 6);
    assert_int_equal(blob_put_bytes(w->store, STR("abcd"), NULL, NULL, NULL), OK);
    s = (struct seen){0};
    assert_int_equal(blob_list(w->store, see, &s, NULL), ERR_CANCELLED);
}

static enum err used(const char *digest, void *ctx, bool *ret_used, struct errinfo *err)
{
    (void)digest, (void)err;
    *ret_used = *(const bool *)ctx;
    return OK;
}

static struct blob_collected collect(struct blob_store *s, int64_t in_s, bool is_used)
{
    struct blob_collection c = {clock_wall_us() / 1000000 + in_s, BLOB_GRACE_DEFAULT_S, used, &is_used};
    struct blob_collected ret;
    struct errinfo err = {0};
    if (blob_collect(s, &c, &ret, &err) != OK)
        fail_msg("%s", err.msg);
    return ret;
}

static void garbage_goes_in_two_steps(void **state)
{
    struct world *w = *state;
    put_abc(w->store);
    assert_int_equal(collect(w->store, 23 * HOUR, false).kept, 1);
    assert_int_equal(collect(w->store, 25 * HOUR, true).kept, 1);
    assert_int_equal(collect(w->store, 25 * HOUR, false).put_aside, 1);
    struct seen s = {0};
    assert_int_equal(blob_list(w->store, see, &s, NULL), OK);
    assert_int_equal(s.n, 0);
    assert_int_equal(collect(w->store, 23 * HOUR, false).kept, 1); /* since it was set aside */
    struct blob_collected last = collect(w->store, 25 * HOUR, false);
    assert_int_equal(last.removed, 1);
    assert_int_equal(last.removed_bytes, 3);
    assert_int_equal(blob_stat(w->store, ABC, NULL, NULL), ERR_NOT_FOUND);
}

/* The worst that a decision which was overtaken can do is to set aside; nothing that is used is lost by that. */
static void set_aside_in_a_race_comes_back(void **state)
{
    struct world *w = *state;
    put_abc(w->store);
    assert_int_equal(blob_set_aside(w->store, ABC, NULL), OK);
    assert_int_equal(collect(w->store, 100 * HOUR, true).came_back, 1);
    assert_int_equal(blob_set_aside(w->store, ABC, NULL), OK);
    assert_int_equal(blob_set_aside(w->store, ABC, NULL), ERR_NOT_FOUND);
    auto_blob_store struct blob_store *other = w->factory->again();
    is_abc(other); /* a reader does not wait for that */
    struct seen s = {0};
    assert_int_equal(blob_list(other, see, &s, NULL), OK);
    assert_int_equal(s.n, 1);
}

/* Stored again between the decision and the removal: the removal does not hit it. */
static void stored_again_survives_removal(void **state)
{
    struct world *w = *state;
    put_abc(w->store);
    assert_int_equal(blob_set_aside(w->store, ABC, NULL), OK);
    put_abc(w->store);
    assert_int_equal(blob_remove_aside(w->store, ABC, NULL), OK);
    auto_blob_store struct blob_store *other = w->factory->again();
    is_abc(other);
}

int blob_contract_run(const struct blob_factory *factory)
{
    struct world w = {factory, NULL};
    static void (*const CASES[])(void **) = {stored_twice_and_read,
                                             empty_blob,
                                             big_blob,
                                             wrong_bytes_are_not_stored,
                                             limit_and_abort,
                                             bad_digests,
                                             deleted_is_gone,
                                             listed_in_order,
                                             garbage_goes_in_two_steps,
                                             set_aside_in_a_race_comes_back,
                                             stored_again_survives_removal};
    static const char *const NAMES[] = {"stored_twice_and_read",
                                        "empty_blob",
                                        "big_blob",
                                        "wrong_bytes_are_not_stored",
                                        "limit_and_abort",
                                        "bad_digests",
                                        "deleted_is_gone",
                                        "listed_in_order",
                                        "garbage_goes_in_two_steps",
                                        "set_aside_in_a_race_comes_back",
                                        "stored_again_survives_removal"};
    enum { N = sizeof(CASES) / sizeof(CASES[0]) };
    struct CMUnitTest tests[N];
    char names[N][96];
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "%s: %s", factory->name, NAMES[i]);
        tests[i] = (struct CMUnitTest){names[i], CASES[i], setup, teardown, &w};
    }
    return cmocka_run_group_tests_name("blob contract", tests, NULL, NULL);
}
