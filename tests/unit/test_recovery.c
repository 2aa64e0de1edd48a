/* recovery.key: what is in it, what opens it, and an installation that lost its keys and lives again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "control/keyring.h"
#include "crypto/ca.h"
#include "folder.h"
#include "install/identity.h"
#include "install/log_place.h"
#include "install/recovery.h"
#include "install/seal.h"
#include "os/file.h"

/* The least that libsodium takes: the full price is paid once, in kept_over_a_rotation. */
static const struct recovery_cost CHEAP = {1, 8192};
#define PHRASE STR("correct horse battery")

static void some(struct recovery *r)
{
    *r = (struct recovery){.installation = "dev-0", .made = "2026-01-02T03:04:05Z", .key_id = "0011223344556677"};
    recovery_ca_id(STR("PEM of the CA"), r->ca_id);
    buf_add_c(&r->ca_cert, "PEM of the CA");
    buf_add_c(&r->ca_key, "its key");
    buf_add_c(&r->seal_keys, "current 00\nidentity 11\n");
    buf_add_c(&r->installation_json, "{}");
}

static void opened_by_its_passphrase(void **state)
{
    (void)state;
    AUTO(recovery) struct recovery r = {0}, again = {0}, seen = {0};
    AUTO(buf) struct buf text = {0};
    struct errinfo err = {0};
    some(&r);
    assert_int_equal(recovery_seal(&r, STR("short"), &CHEAP, &text, &err), ERR_INVALID);
    assert_int_equal(text.len, 0);
    assert_int_equal(recovery_seal(&r, PHRASE, &CHEAP, &text, &err), OK);
    assert_null(strstr(text.ptr, "its key"));
    assert_null(strstr(text.ptr, "identity"));
    assert_null(strstr(text.ptr, "horse"));
    assert_int_equal(recovery_peek(buf_str(&text), &seen, &err), OK);
    assert_string_equal(seen.installation, "dev-0");
    assert_int_equal(seen.seal_keys.len, 0);
    assert_int_equal(recovery_open(buf_str(&text), PHRASE, &again, &err), OK);
    assert_true(str_eq(buf_str(&again.ca_key), STR("its key")));
    assert_true(str_eq(buf_str(&again.ca_cert), STR("PEM of the CA")));
    assert_true(str_eq(buf_str(&again.seal_keys), buf_str(&r.seal_keys)));
    assert_true(str_eq(buf_str(&again.installation_json), STR("{}")));
    assert_string_equal(again.key_id, "0011223344556677");
    recovery_done(&again);
    assert_int_equal(recovery_open(buf_str(&text), STR("correct horse batterz"), &again, &err), ERR_DENIED);
    assert_int_equal(again.ca_key.len, 0);
}

/* Every byte is authenticated, also what stands in clear. */
static void a_changed_file_does_not_open(void **state)
{
    (void)state;
    AUTO(recovery) struct recovery r = {0};
    AUTO(buf) struct buf text = {0};
    some(&r);
    assert_int_equal(recovery_seal(&r, PHRASE, &CHEAP, &text, NULL), OK);
    size_t refused = 0;
    for (size_t i = 0; i + 1 < text.len; i++) {
        struct recovery again = {0};
        char was = text.ptr[i];
        text.ptr[i] = was == '1' ? '2' : '1';
        if (text.ptr[i] != was && recovery_open(buf_str(&text), PHRASE, &again, NULL) != OK)
            refused++;
        else
            fail_msg("byte %zu, '%c', may be another one", i, was);
        recovery_done(&again);
        text.ptr[i] = was;
    }
    assert_int_equal(refused, text.len - 1);
}

static void files_that_are_none(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",
        "{}",
        "[]",
        "{\"kind\":\"slipform recovery\",\"version\":1}",
        "not json",
        "{\"kind\":\"slipform "
        "recovery\",\"version\":2,\"installation\":\"x\",\"made\":\"x\",\"key_id\":\"x\",\"ca_id\":"
        "\"x\",\"kdf\":\"argon2id13\",\"passes\":1,\"memory_bytes\":8192,\"salt\":\"00112233445566778899aabbccddeeff\","
        "\"box\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
    };
    struct recovery r;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        assert_int_equal(recovery_open(str_from(BAD[i]), PHRASE, &r, NULL), ERR_CORRUPT);
    /* it may not ask for all the memory there is */
    static const char GREEDY[] =
        "{\"kind\":\"slipform "
        "recovery\",\"version\":1,\"installation\":\"x\",\"made\":\"x\",\"key_id\":\"x\",\"ca_id\":"
        "\"x\",\"kdf\":\"argon2id13\",\"passes\":%s,\"memory_bytes\":%s,\"salt\":\"00112233445566778899aabbccddeeff\","
        "\"box\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}";
    static const char *const ASKS[][2] = {{"1", "1073741825"}, {"17", "8192"}};
    for (size_t i = 0; i < 2; i++) {
        AUTO(buf) struct buf text = {0};
        struct str rest = str_from(GREEDY), part;
        for (size_t k = 0; str_next(&rest, '%', &part); k++) {
            buf_add_str(&text, k == 0 ? part : str_slice(part, 1, part.len));
            buf_add_c(&text, k < 2 ? ASKS[i][k] : "");
        }
        assert_int_equal(recovery_open(buf_str(&text), PHRASE, &r, NULL), ERR_LIMIT);
    }
}

static void codes(void **state)
{
    (void)state;
    char one[RECOVERY_CODE_SIZE], two[RECOVERY_CODE_SIZE];
    recovery_code(one);
    recovery_code(two);
    assert_string_not_equal(one, two);
    assert_int_equal(strlen(one), RECOVERY_CODE_SIZE - 1);
    assert_int_equal(strspn(one, "0123456789abcdefghjkmnpqrstvwxyz-"), RECOVERY_CODE_SIZE - 1);
    assert_true(one[5] == '-' && one[11] == '-' && one[RECOVERY_CODE_SIZE - 2] != '-');
}

/* ---- an installation ---- */

struct world {
    struct home h;
    uv_loop_t loop;
    char spec[LOG_SPEC_SIZE], keys[PATH_SIZE], file[PATH_SIZE], said[2048];
    char *sealed;
    struct buf opened;
    enum err rc;
    bool is_done;
    struct errinfo why;
};

static void hush(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

static void note(void *ctx, const char *text)
{
    struct world *w = ctx;
    (void)snprintf(w->said, sizeof(w->said), "%s", text);
}

static void world_open(struct world *w, const char *folder)
{
    char path[PATH_SIZE];
    struct inventory *inv = NULL;
    struct store *s = NULL;
    *w = (struct world){0};
    auto_free char *yaml = mem_printf("%s/inventory.yaml", folder);
    assert_int_equal(
        file_replace(yaml,
                     STR("installation: dev-0\nregion: local\napp_domain: localhost\nnodes:\n  - {name: op1, zone: a, "
                         "label: control, namespace: false}\nports: {edge_http: 1, edge_https: 2, management_api: 3, "
                         "public_api: 4, node_agent: 5, node_proxy: 6}\n"),
                     0600, NULL),
        OK);
    assert_int_equal(inventory_load(yaml, &inv, &w->why), OK);
    auto_free char *home = mem_printf("%s/home", folder);
    assert_int_equal(folder_make(home, 0700, NULL), OK);
    assert_int_equal(home_open(home, &w->h, NULL), OK);
    assert_int_equal(home_create(&w->h, inv, hush, NULL, &w->why), OK);
    inventory_free(inv);
    assert_int_equal(identity_write_all(&w->h, NULL, 0, -1, -1, &w->why), OK);
    assert_int_equal(folder_make(home_path(&w->h, path, "log"), 0700, NULL), OK);
    log_spec(&w->h, LOG_AS_REPLICA, w->spec);
    assert_int_equal(store_open(w->spec, NULL, &s, NULL, &w->why), OK);
    store_close(s);
    home_path(&w->h, w->keys, "ca/seal.key");
    (void)snprintf(w->file, sizeof(w->file), "%.400s/away.key", folder);
    (void)uv_loop_init(&w->loop);
}

static void on_sealed(void *ctx, enum err rc, struct str sealed, const struct errinfo *err)
{
    struct world *w = ctx;
    w->rc = rc;
    w->why = *err;
    w->sealed = mem_strndup(sealed.ptr, sealed.len);
    w->is_done = true;
}

static void on_opened(void *ctx, enum err rc, const struct str *values, size_t n, const struct errinfo *err)
{
    struct world *w = ctx;
    w->rc = rc;
    w->why = *err;
    buf_clear(&w->opened);
    if (n == 1)
        buf_add_str(&w->opened, values[0]);
    w->is_done = true;
}

/* As a program that starts now does: seal when nothing is sealed yet, else open. */
static enum err by_a_program(struct world *w)
{
    struct keyring *k = keyring_new(&w->loop, w->spec, w->keys);
    struct keyring_value value = {str_from(w->sealed == NULL ? "" : w->sealed), STR("secret 'X'"), false};
    w->is_done = false;
    if (w->sealed == NULL)
        keyring_seal(k, STR("a secret"), on_sealed, w);
    else
        keyring_open(k, &value, 1, on_opened, w);
    while (!w->is_done && uv_run(&w->loop, UV_RUN_ONCE) != 0)
        ;
    keyring_close(k, NULL, NULL);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    return w->rc;
}

static void world_close(struct world *w)
{
    assert_int_equal(uv_loop_close(&w->loop), 0);
    free(w->sealed);
    buf_done(&w->opened);
    home_close(&w->h);
}

static enum recovery_verdict check(struct world *w, const char *file, struct str phrase)
{
    AUTO(recovery) struct recovery r = {0};
    enum recovery_verdict v = RECOVERY_UNKNOWN;
    char why[256];
    assert_int_equal(recovery_check(&w->h, file, phrase, &r, &v, why, &w->why), OK);
    return v;
}

static void lose(const struct world *w)
{
    char path[PATH_SIZE];
    assert_int_equal(folder_remove(home_path(&w->h, path, "ca"), NULL), OK);
}

/* Make a secret, lose the keys: an error that names the cure, from programs and from `up`; restored, it opens. */
static void an_installation_lives_again(void **state)
{
    struct world w;
    struct recovery_restored done;
    struct stat st;
    AUTO(buf) struct buf ca = {0}, ca_again = {0};
    char path[PATH_SIZE];
    world_open(&w, *state);
    assert_int_equal(by_a_program(&w), OK);
    assert_int_equal(recovery_create(&w.h, w.file, PHRASE, &CHEAP, &w.why), OK);
    assert_int_equal(recovery_create(&w.h, w.file, PHRASE, &CHEAP, &w.why), ERR_CONFLICT);
    assert_int_equal(stat(w.file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(check(&w, w.file, PHRASE), RECOVERY_CURRENT);
    assert_int_equal(file_read(home_path(&w.h, path, "ca/ca.key"), 65536, &ca, NULL), OK);
    lose(&w);
    assert_int_equal(by_a_program(&w), ERR_UNAVAILABLE);
    assert_non_null(strstr(w.why.msg, "slipform recovery restore"));
    assert_int_equal(identity_write_all(&w.h, NULL, 0, -1, -1, &w.why), ERR_NOT_FOUND);
    assert_non_null(strstr(w.why.msg, "slipform recovery restore"));
    assert_false(file_exists(w.keys));
    assert_int_equal(check(&w, w.file, PHRASE), RECOVERY_UNKNOWN);
    struct recovery_order o = {.file = w.file, .passphrase = STR("another passphrase"), .uid = -1, .gid = -1};
    assert_int_equal(recovery_restore(&w.h, &o, &done, &w.why), ERR_DENIED);
    assert_false(file_exists(w.keys));
    o.passphrase = PHRASE;
    assert_int_equal(recovery_restore(&w.h, &o, &done, &w.why), OK);
    assert_int_equal(done.written_n, 3);
    assert_int_equal(file_read(home_path(&w.h, path, "ca/ca.key"), 65536, &ca_again, NULL), OK);
    assert_true(str_eq(buf_str(&ca), buf_str(&ca_again)));
    assert_int_equal(stat(w.keys, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
    assert_int_equal(by_a_program(&w), OK);
    assert_true(str_eq(buf_str(&w.opened), STR("a secret")));
    assert_int_equal(identity_write_all(&w.h, NULL, 0, -1, -1, &w.why), OK);
    assert_int_equal(recovery_restore(&w.h, &o, &done, &w.why), OK); /* nothing is missing */
    assert_int_equal(done.written_n + done.added_n, 0);
    world_close(&w);
}

/* `up` makes one under a code, once; a rotation makes it stale, and `up` or the rotation another one. */
static void kept_over_a_rotation(void **state)
{
    struct world w;
    char made[PATH_SIZE], code_file[PATH_SIZE], id[17];
    AUTO(buf) struct buf code = {0}, again = {0};
    uint64_t rows = 0;
    world_open(&w, *state);
    home_path(&w.h, made, RECOVERY_FILE);
    assert_int_equal(recovery_keep(&w.h, &CHEAP, note, &w, &w.why), OK);
    assert_int_equal(file_read(home_path(&w.h, code_file, RECOVERY_CODE_FILE), 256, &code, NULL), OK);
    assert_non_null(strstr(w.said, made));
    buf_add_char(&code, '\0');
    code.len--;
    assert_null(strstr(w.said, code.ptr)); /* what is said is written to logs */
    assert_int_equal(check(&w, made, buf_str(&code)), RECOVERY_CURRENT);
    assert_int_equal(file_remove(made, NULL), OK); /* it was brought to a safe place */
    w.said[0] = '\0';
    assert_int_equal(recovery_keep(&w.h, &CHEAP, note, &w, &w.why), OK);
    assert_false(file_exists(made));
    assert_string_equal(w.said, "");
    assert_int_equal(recovery_create(&w.h, w.file, PHRASE, &CHEAP, &w.why), OK);
    struct seal_place p = {w.keys, w.spec};
    assert_int_equal(seal_rotate(&p, &rows, id, &w.why), OK);
    assert_int_equal(check(&w, w.file, PHRASE), RECOVERY_STALE);
    assert_int_equal(recovery_keep(&w.h, &CHEAP, note, &w, &w.why), OK);
    assert_non_null(strstr(w.said, "stale"));
    assert_int_equal(file_read(code_file, 256, &again, NULL), OK);
    assert_true(str_eq(buf_str(&code), buf_str(&again)));
    assert_int_equal(check(&w, made, buf_str(&code)), RECOVERY_CURRENT);
    assert_int_equal(file_remove(w.file, NULL), OK);
    assert_int_equal(recovery_create(&w.h, w.file, PHRASE, NULL, &w.why), OK); /* at the full price */
    assert_int_equal(check(&w, w.file, PHRASE), RECOVERY_CURRENT);
    world_close(&w);
}

/* Somebody made new keys after the loss: those of the file come beside them. Another CA: nothing is written. */
static void something_else_is_there(void **state)
{
    struct world w;
    struct recovery_restored done;
    struct seal_keys keys;
    char id[17], path[PATH_SIZE];
    uint64_t rows = 0;
    world_open(&w, *state);
    assert_int_equal(by_a_program(&w), OK);
    assert_int_equal(recovery_create(&w.h, w.file, PHRASE, &CHEAP, &w.why), OK);
    assert_int_equal(file_remove(w.keys, NULL), OK);
    struct seal_place p = {w.keys, w.spec};
    assert_int_equal(seal_new(&p, -1, -1, &w.why), OK);
    assert_int_equal(by_a_program(&w), ERR_UNAVAILABLE);
    struct recovery_order o = {.file = w.file, .passphrase = PHRASE, .uid = -1, .gid = -1};
    assert_int_equal(recovery_restore(&w.h, &o, &done, &w.why), ERR_CONFLICT);
    o.adds = true;
    assert_int_equal(recovery_restore(&w.h, &o, &done, &w.why), OK);
    assert_int_equal(done.added_n, 1);
    assert_int_equal(by_a_program(&w), OK);
    assert_int_equal(seal_rotate(&p, &rows, id, &w.why), OK);
    assert_int_equal(rows, 1);
    assert_int_equal(by_a_program(&w), OK);
    assert_true(str_eq(buf_str(&w.opened), STR("a secret")));
    assert_int_equal(seal_keys_load(w.keys, &keys, NULL), OK);
    assert_int_equal(keys.n, 1);
    lose(&w);
    struct ca *ca = NULL;
    char cert[PATH_SIZE], key[PATH_SIZE];
    assert_int_equal(folder_make(home_path(&w.h, path, "ca"), 0700, NULL), OK);
    assert_int_equal(ca_create("another one", &ca, NULL), OK);
    assert_int_equal(ca_save(ca, home_path(&w.h, cert, "ca/ca.crt"), home_path(&w.h, key, "ca/ca.key"), NULL), OK);
    ca_free(ca);
    assert_int_equal(recovery_restore(&w.h, &o, &done, &w.why), ERR_CONFLICT);
    assert_false(file_exists(w.keys));
    world_close(&w);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {cmocka_unit_test(opened_by_its_passphrase),
                                       cmocka_unit_test(a_changed_file_does_not_open),
                                       cmocka_unit_test(files_that_are_none),
                                       cmocka_unit_test(codes),
                                       TEST(an_installation_lives_again),
                                       TEST(kept_over_a_rotation),
                                       TEST(something_else_is_there)};
    return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}
