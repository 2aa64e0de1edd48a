/* Keys of sealed values: made before the event, dropped after it, and what a crash in between leaves. Two keyrings on
 * one log are two replicas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "base/own.h"
#include "control/keyring.h"
#include "crypto/file.h"
#include "folder.h"
#include "install/seal.h"
#include "os/file.h"

struct world {
    uv_loop_t loop;
    struct keyring *k[2];
    struct seal_keys keys; /* as the file was at first */
    char *spec, *folder, *key_file;
    struct buf sealed; /* answers of the last call */
    struct buf opened;
    enum err rc;
    bool is_done;
    size_t dropped;
    const char *named; /* the sealed value that "the model" has */
    struct errinfo why;
};

static void world_open(struct world *w, const char *folder)
{
    struct store *s = NULL;
    *w = (struct world){.folder = mem_printf("%s/log", folder)};
    w->spec = mem_printf("files;path=%s", w->folder);
    assert_int_equal(store_open(w->spec, NULL, &s, NULL, &w->why), OK);
    store_close(s);
    w->key_file = mem_printf("%s/seal.key", folder);
    seal_keys_random(&w->keys);
    assert_int_equal(seal_keys_save(&w->keys, w->key_file, -1, -1, &w->why), OK);
    (void)uv_loop_init(&w->loop);
    for (size_t i = 0; i < 2; i++)
        w->k[i] = keyring_new(&w->loop, w->spec, w->key_file);
}

static void world_close(struct world *w)
{
    for (size_t i = 0; i < 2; i++)
        keyring_close(w->k[i], NULL, NULL);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    buf_done(&w->sealed);
    secret_done(&w->opened);
    free(w->spec);
    free(w->folder);
    free(w->key_file);
}

static void wait_done(struct world *w)
{
    while (!w->is_done && uv_run(&w->loop, UV_RUN_ONCE) != 0) /* every job ends */
        ;
    assert_true(w->is_done);
}

static void on_sealed(void *ctx, enum err rc, struct str sealed, const struct errinfo *err)
{
    struct world *w = ctx;
    w->rc = rc;
    w->why = *err;
    buf_clear(&w->sealed);
    buf_add_str(&w->sealed, sealed);
    w->is_done = true;
}

/* Returned. */
static char *seal_value(struct world *w, size_t replica, const char *value)
{
    w->is_done = false;
    keyring_seal(w->k[replica], str_from(value), on_sealed, w);
    wait_done(w);
    assert_int_equal(w->rc, OK);
    return mem_strdup(w->sealed.ptr);
}

static void on_opened(void *ctx, enum err rc, const struct str *values, size_t n, const struct errinfo *err)
{
    struct world *w = ctx;
    w->rc = rc;
    w->why = *err;
    secret_done(&w->opened);
    for (size_t i = 0; i < n; i++) {
        buf_add_str(&w->opened, values[i]);
        buf_add_char(&w->opened, '|');
    }
    w->is_done = true;
}

static enum err open_lenient(struct world *w, size_t replica, size_t n, const char *const *sealed, bool is_lenient)
{
    struct keyring_value values[8];
    for (size_t i = 0; i < n; i++)
        values[i] = (struct keyring_value){str_from(sealed[i]), STR("secret 'X'"), is_lenient};
    w->is_done = false;
    keyring_open(w->k[replica], values, n, on_opened, w);
    wait_done(w);
    return w->rc;
}

static enum err open_values(struct world *w, size_t replica, size_t n, const char *const *sealed)
{
    return open_lenient(w, replica, n, sealed, false);
}

static void expect(struct world *w, size_t replica, const char *sealed, const char *value)
{
    assert_int_equal(open_values(w, replica, 1, &sealed), OK);
    assert_true(w->opened.len == strlen(value) + 1 && memcmp(w->opened.ptr, value, strlen(value)) == 0);
}

static bool mark_named(void *ctx, const struct store_key *keys, size_t n, bool *used)
{
    const struct world *w = ctx;
    if (w->named != NULL)
        keyring_mark(str_from(w->named), keys, n, used);
    return true;
}

static void on_swept(void *ctx, enum err rc, size_t dropped, const struct errinfo *err)
{
    struct world *w = ctx;
    w->rc = rc;
    w->why = *err;
    w->dropped = dropped;
    w->is_done = true;
}

static size_t sweep(struct world *w, int64_t grace_s, keyring_mark_fn mark)
{
    w->is_done = false;
    keyring_sweep(w->k[0], grace_s, mark, on_swept, w);
    wait_done(w);
    assert_int_equal(w->rc, OK);
    return w->dropped;
}

static size_t keys_n(const struct world *w)
{
    struct store *s = NULL;
    struct store_key page[STORE_KEYS_PAGE];
    size_t n = 0;
    struct errinfo err;
    assert_int_equal(store_open(w->spec, &(struct store_options){.mode = STORE_READ}, &s, NULL, &err), OK);
    assert_int_equal(store_keys(s, "", page, &n, &err), OK);
    store_close(s);
    return n;
}

/* ---- cases ---- */

static void sealed_and_opened_by_any(void **state)
{
    struct world w;
    world_open(&w, *state);
    auto_free char *a = seal_value(&w, 0, "one"), *b = seal_value(&w, 1, "two"), *same = seal_value(&w, 0, "one");
    assert_string_not_equal(a, same);
    assert_int_equal(keys_n(&w), 3); /* one each */
    expect(&w, 1, a, "one");
    expect(&w, 0, b, "two");
    const char *both[] = {b, a, same};
    assert_int_equal(open_values(&w, 1, 3, both), OK);
    buf_add_char(&w.opened, '\0');
    assert_string_equal(w.opened.ptr, "two|one|one|");
    world_close(&w);
}

/* What older releases sealed, under the installation's key itself, stays readable; dropping "its key" harms nothing. */
static void of_an_older_release(void **state)
{
    struct world w;
    AUTO(buf) struct buf old = {0};
    world_open(&w, *state);
    buf_add_c(&old, "{\"sealed\":\"");
    assert_int_equal(seal(&w.keys.keys[0], STR("before"), &old, &w.why), OK);
    buf_add_c(&old, "\"}");
    expect(&w, 0, old.ptr, "before");
    keyring_drop(w.k[0], buf_str(&old));
    auto_free char *fresh = seal_value(&w, 0, "after");
    const char *both[] = {old.ptr, fresh};
    assert_int_equal(open_values(&w, 0, 2, both), OK);
    world_close(&w);
}

/* Once dropped no replica opens it, also one that opened it a moment ago. */
static void erased(void **state)
{
    struct world w;
    world_open(&w, *state);
    auto_free char *a = seal_value(&w, 0, "forget me"), *b = seal_value(&w, 0, "keep me");
    expect(&w, 0, a, "forget me");
    expect(&w, 1, a, "forget me");
    keyring_drop(w.k[0], str_from(a));
    const char *both[] = {b, a};
    for (size_t i = 0; i < 2; i++) { /* the first waits for the drop */
        assert_int_equal(open_values(&w, i, 2, both), ERR_NOT_FOUND);
        assert_non_null(strstr(w.why.msg, "erased"));
        assert_int_equal(w.opened.len, 0);
        expect(&w, i, b, "keep me");
    }
    const char *around[] = {a, b, a};
    assert_int_equal(open_lenient(&w, 0, 3, around, true), OK); /* of a list: those that are there */
    buf_add_char(&w.opened, '\0');
    assert_string_equal(w.opened.ptr, "|keep me||");
    world_close(&w);
}

/* Killed after the key and before the event: nothing names it, and it goes once it is old. Killed after the event and
 * before the drop: the same. What is named stays however old it is, and what cannot be told stays. */
static bool cannot_tell(void *ctx, const struct store_key *keys, size_t n, bool *used)
{
    (void)ctx, (void)keys, (void)n, (void)used;
    return false;
}

static void swept(void **state)
{
    struct world w;
    world_open(&w, *state);
    auto_free char *orphan = seal_value(&w, 0, "its event never came"), *live = seal_value(&w, 0, "named");
    w.named = live;
    assert_int_equal(sweep(&w, KEYRING_GRACE_S, mark_named), 0);
    expect(&w, 0, orphan, "its event never came"); /* perhaps it comes yet */
    assert_int_equal(sweep(&w, -1, cannot_tell), 0);
    expect(&w, 0, orphan, "its event never came");
    assert_int_equal(sweep(&w, -1, mark_named), 1);
    const char *gone[] = {orphan};
    assert_int_equal(open_values(&w, 1, 1, gone), ERR_NOT_FOUND);
    expect(&w, 1, live, "named");
    for (unsigned i = 0; i < STORE_KEYS_PAGE + 5; i++)
        free(seal_value(&w, i % 2, "x"));
    assert_int_equal(sweep(&w, -1, mark_named), STORE_KEYS_PAGE + 5); /* over pages */
    expect(&w, 1, live, "named");
    assert_int_equal(keys_n(&w), 1);
    world_close(&w);
}

/* Two rows exchanged by who can write the table, a key of another installation, a damaged one. */
static void wrong_keys(void **state)
{
    struct world w;
    struct store *s = NULL;
    struct store_key one, two;
    char id[2][17];
    world_open(&w, *state);
    auto_free char *a = seal_value(&w, 0, "one"), *b = seal_value(&w, 0, "two");
    assert_true(seal_key_id(str_from(a + strlen("{\"sealed\":\"")), id[0]));
    assert_true(seal_key_id(str_from(b + strlen("{\"sealed\":\"")), id[1]));
    assert_int_equal(store_open(w.spec, NULL, &s, NULL, &w.why), OK);
    assert_int_equal(store_key_get(s, id[0], &one, &w.why), OK);
    assert_int_equal(store_key_get(s, id[1], &two, &w.why), OK);
    assert_int_equal(store_key_put(s, id[0], one.wrapped, two.wrapped, &w.why), OK);
    const char *sealed[] = {a};
    assert_int_equal(open_values(&w, 0, 1, sealed), ERR_CORRUPT);
    struct seal_key other;
    AUTO(buf) struct buf wrapped = {0};
    seal_key_random(&other);
    assert_int_equal(seal_key_wrap(&other, &w.keys.keys[0], &wrapped, &w.why), OK);
    assert_int_equal(store_key_put(s, id[0], two.wrapped, wrapped.ptr, &w.why), OK);
    assert_int_equal(open_values(&w, 0, 1, sealed), ERR_UNAVAILABLE);
    assert_int_equal(store_key_put(s, id[0], wrapped.ptr, "no-key", &w.why), OK);
    assert_int_not_equal(open_values(&w, 0, 1, sealed), OK);
    expect(&w, 0, b, "two");
    store_close(s);
    world_close(&w);
}

/* In the folder of the log there is no value, and no key in clear, in bytes or in hex; files are the owner's alone. */
static void nothing_in_clear(void **state)
{
    struct world w;
    struct seal_key key;
    struct stat st;
    world_open(&w, *state);
    auto_free char *a = seal_value(&w, 0, "a value that is nowhere");
    char id[17], **names = NULL;
    size_t n = 0;
    assert_true(seal_key_id(str_from(a + strlen("{\"sealed\":\"")), id));
    auto_free char *folder = mem_printf("%s/keys", w.folder), *path = mem_printf("%s/%s", folder, id);
    AUTO(buf) struct buf text = {0};
    assert_int_equal(file_read(path, 4096, &text, &w.why), OK);
    struct str wrapped = str_trim(buf_str(&text));
    wrapped = str_slice(wrapped, str_find(wrapped, ' ') + 1, wrapped.len);
    assert_int_equal(seal_key_unwrap(&w.keys.keys[0], wrapped, id, &key, &w.why), OK);
    assert_null(memmem(text.ptr, text.len, key.bytes, sizeof(key.bytes)));
    assert_null(memmem(text.ptr, text.len, w.keys.keys[0].bytes, sizeof(w.keys.keys[0].bytes)));
    assert_null(memmem(a, strlen(a), "nowhere", 7));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(folder_list(folder, &names, &n, &w.why), OK);
    assert_int_equal(n, 1); /* no temporary file is left */
    folder_list_free(names);
    world_close(&w);
}

/* ---- rotation ---- */

static struct seal_place place_of(const struct world *w)
{
    return (struct seal_place){w->key_file, w->spec};
}

/* Rows that are wrapped under the key of that id; id NULL: under any other than the current one. */
static uint64_t under(struct world *w, const char *id)
{
    struct seal_report r;
    struct seal_place p = place_of(w);
    uint64_t n = 0;
    assert_int_equal(seal_look(&p, &r, &w->why), OK);
    for (size_t i = 0; i < r.n; i++)
        if (id != NULL ? strcmp(r.keys[i].id, id) == 0 : strcmp(r.keys[i].word, "current") != 0)
            n += r.keys[i].wrapped_n;
    return n;
}

static uint64_t rotate(struct world *w)
{
    struct seal_place p = place_of(w);
    uint64_t rows = 0;
    char id[17];
    assert_int_equal(seal_rotate(&p, &rows, id, &w->why), OK);
    assert_int_equal(under(w, NULL), 0);
    return rows;
}

static char *seal_as_old_release(struct world *w, const char *value)
{
    struct buf old = {0};
    buf_add_c(&old, "{\"sealed\":\"");
    assert_int_equal(seal(&w->keys.keys[0], str_from(value), &old, &w->why), OK);
    buf_add_c(&old, "\"}");
    return old.ptr;
}

/* Replicas that run go on over a rotation, and over the next one, with what older releases sealed, too; the old key is
 * in no file any more, and goes from the table when nothing names it. */
static void rotated(void **state)
{
    struct world w;
    struct seal_keys now;
    world_open(&w, *state);
    auto_free char *a = seal_value(&w, 0, "one"), *b = seal_value(&w, 1, "two"), *old = seal_as_old_release(&w, "was");
    expect(&w, 1, a, "one");
    for (unsigned i = 0; i < STORE_KEYS_PAGE + 3; i++)
        free(seal_value(&w, 0, "x")); /* more than a page */
    assert_int_equal(rotate(&w), STORE_KEYS_PAGE + 5);
    assert_int_equal(seal_keys_load(w.key_file, &now, &w.why), OK);
    assert_true(now.n == 1 && strcmp(now.keys[0].id, w.keys.keys[0].id) != 0);
    assert_string_equal(now.identity.id, w.keys.identity.id);
    auto_free char *c = seal_value(&w, 0, "three");
    assert_int_equal(under(&w, NULL), 0);
    assert_int_equal(rotate(&w), STORE_KEYS_PAGE + 7); /* the key that retired, too */
    for (size_t i = 0; i < 2; i++) {
        expect(&w, i, a, "one");
        expect(&w, i, b, "two");
        expect(&w, i, c, "three");
        expect(&w, i, old, "was");
    }
    keyring_drop(w.k[0], str_from(a));
    const char *gone[] = {a}, *was[] = {old};
    assert_int_equal(open_values(&w, 0, 1, gone), ERR_NOT_FOUND);
    w.named = old;
    assert_int_equal(sweep(&w, -1, mark_named), STORE_KEYS_PAGE + 6); /* with the retired one that nothing names */
    expect(&w, 0, old, "was");
    keyring_drop(w.k[0], str_from(old)); /* others may be under its key, too: only the sweep takes it */
    expect(&w, 0, old, "was");
    w.named = NULL;
    assert_int_equal(sweep(&w, -1, mark_named), 1);
    assert_int_equal(open_values(&w, 1, 1, was), ERR_NOT_FOUND);
    world_close(&w);
}

/* The call dies behind each of its steps: what runs goes on, and the same call ends it. */
static void rotation_is_interrupted(void **state)
{
    struct world w;
    struct seal_keys k;
    struct store *s = NULL;
    world_open(&w, *state);
    auto_free char *a = seal_value(&w, 0, "one"), *old = seal_as_old_release(&w, "was");
    k = w.keys;
    assert_int_equal(seal_keys_make_next(&k, &w.why), OK); /* as 'seal add' leaves it */
    assert_int_equal(seal_keys_save(&k, w.key_file, -1, -1, &w.why), OK);
    auto_free char *b = seal_value(&w, 0, "two");
    assert_int_equal(under(&w, w.keys.keys[0].id), 2);
    seal_keys_switch(&k);
    assert_int_equal(seal_keys_save(&k, w.key_file, -1, -1, &w.why), OK); /* nothing wrapped anew yet */
    auto_free char *c = seal_value(&w, 1, "three");
    assert_int_equal(under(&w, k.keys[0].id), 1);
    for (size_t i = 0; i < 2; i++) {
        expect(&w, i, a, "one");
        expect(&w, i, b, "two");
        expect(&w, i, c, "three");
        expect(&w, i, old, "was");
    }
    assert_int_equal(rotate(&w), 2); /* that one, no further key */
    assert_int_equal(seal_keys_load(w.key_file, &k, &w.why), OK);
    assert_int_equal(k.n, 1);
    expect(&w, 0, old, "was");
    /* a row that nobody can open is told, the others are wrapped, and the old key stays in the file */
    AUTO(buf) struct buf foreign = {0};
    struct seal_key other;
    struct seal_place p = place_of(&w);
    uint64_t rows = 0;
    char id[17];
    seal_key_random(&other);
    assert_int_equal(seal_key_wrap(&other, &other, &foreign, &w.why), OK);
    assert_int_equal(store_open(w.spec, NULL, &s, NULL, &w.why), OK);
    assert_int_equal(store_key_put(s, "0000000000000000", NULL, foreign.ptr, &w.why), OK);
    assert_int_equal(seal_rotate(&p, &rows, id, &w.why), ERR_UNAVAILABLE);
    assert_non_null(strstr(w.why.msg, other.id));
    assert_int_equal(seal_keys_load(w.key_file, &k, &w.why), OK);
    assert_int_equal(k.n, 2);
    expect(&w, 0, a, "one");
    assert_int_equal(store_key_drop(s, "0000000000000000", &w.why), OK);
    (void)rotate(&w);
    expect(&w, 1, c, "three");
    store_close(s);
    world_close(&w);
}

/* Another operator's replica, whose file is still that of before: what it puts under the old key late is opened by
 * all, and wrapped anew by the sweep; its own sweep leaves what is under the next key, which it was given in time. */
static void an_operator_is_late(void **state)
{
    struct world w;
    struct seal_keys k;
    world_open(&w, *state);
    auto_free char *file = mem_printf("%s/other.key", (const char *)*state);
    auto_free char *a = seal_value(&w, 0, "one");
    char id[17];
    struct seal_place p = place_of(&w);
    assert_int_equal(seal_add(&p, id, &w.why), OK);
    assert_int_equal(seal_keys_load(w.key_file, &k, &w.why), OK);
    assert_int_equal(seal_keys_save(&k, file, -1, -1, &w.why), OK); /* copied to the other operator */
    keyring_close(w.k[1], NULL, NULL);
    w.k[1] = keyring_new(&w.loop, w.spec, file);
    (void)rotate(&w);
    expect(&w, 1, a, "one");
    auto_free char *late = seal_value(&w, 1, "late");
    assert_int_equal(under(&w, w.keys.keys[0].id), 1);
    expect(&w, 0, late, "late"); /* by the key that retired */
    struct keyring *mine = w.k[0];
    w.k[0] = w.k[1];
    w.named = a;
    (void)sweep(&w, 3600, mark_named); /* the late one's */
    assert_int_equal(under(&w, w.keys.keys[0].id), 1);
    w.k[0] = mine;
    (void)sweep(&w, 3600, mark_named);
    assert_int_equal(under(&w, NULL), 0);
    expect(&w, 0, late, "late");
    expect(&w, 1, late, "late");
    world_close(&w);
}

/* The file is lost while replicas run, and they start anew without it: they say what to do; it comes back. */
static void the_file_is_lost(void **state)
{
    struct world w;
    world_open(&w, *state);
    auto_free char *a = seal_value(&w, 0, "one");
    assert_int_equal(unlink(w.key_file), 0);
    expect(&w, 0, a, "one");
    keyring_close(w.k[1], NULL, NULL);
    w.k[1] = keyring_new(&w.loop, w.spec, w.key_file);
    const char *sealed[] = {a};
    assert_int_equal(open_values(&w, 1, 1, sealed), ERR_UNAVAILABLE);
    assert_non_null(strstr(w.why.msg, "recovery restore"));
    auto_free char *b = seal_value(&w, 0, "two");
    free(seal_value(&w, 0, "three"));                                 /* which nothing names */
    keyring_drop(w.k[1], str_from(b));                                /* nobody waits for the file to be erased */
    assert_int_equal(open_values(&w, 1, 1, sealed), ERR_UNAVAILABLE); /* behind it */
    assert_int_equal(keys_n(&w), 2);
    struct keyring *loaded = w.k[0];
    w.k[0] = w.k[1];
    w.named = a;
    assert_int_equal(sweep(&w, -1, mark_named), 1);
    w.k[0] = loaded;
    assert_int_equal(keys_n(&w), 1);
    struct seal_keys other;
    seal_keys_random(&other);
    assert_int_equal(seal_keys_save(&other, w.key_file, -1, -1, &w.why), OK); /* a wrong one */
    assert_int_equal(open_values(&w, 1, 1, sealed), ERR_UNAVAILABLE);
    assert_non_null(strstr(w.why.msg, w.keys.keys[0].id));
    assert_non_null(strstr(w.why.msg, "recovery restore"));
    assert_int_equal(seal_keys_save(&w.keys, w.key_file, -1, -1, &w.why), OK);
    expect(&w, 1, a, "one");
    world_close(&w);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {TEST(sealed_and_opened_by_any),
                                       TEST(of_an_older_release),
                                       TEST(erased),
                                       TEST(swept),
                                       TEST(wrong_keys),
                                       TEST(nothing_in_clear),
                                       TEST(rotated),
                                       TEST(rotation_is_interrupted),
                                       TEST(an_operator_is_late),
                                       TEST(the_file_is_lost)};
    return cmocka_run_group_tests_name("keyring", tests, NULL, NULL);
}
