/* The crypto room: names, tokens, the certificate authority and what it issues. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "base/own.h"
#include "crypto/ca.h"
#include "crypto/cert.h"
#include "crypto/file.h"
#include "crypto/host_name.h"
#include "crypto/identity.h"
#include "crypto/seal_keys.h"
#include "crypto/token.h"
#include "folder.h"

static void identities(void **state)
{
    (void)state;
    struct identity i;
    char uri[IDENTITY_URI_SIZE];
    assert_int_equal(identity_parse(STR("slipform://dev-0/node/0192-a"), &i, NULL), OK);
    identity_format(&i, uri);
    assert_string_equal(uri, "slipform://dev-0/node/0192-a");
    static const char *const bad[] = {"",
                                      "slipform://",
                                      "slipform://a/b",
                                      "slipform://a/b/",
                                      "slipform://a/b/c/d",
                                      "slipform://a/b/c/",
                                      "slipform:///b/c",
                                      "slipform://a/b/c?x",
                                      "slipform://A/b/c",
                                      "spiffe://a/b/c",
                                      "slipform://a/b/..",
                                      "slipform://a/b/c d",
                                      "slipform://u@a/b/c",
                                      "slipform://a/role-that-is-longer-than-thirty-one-bytes/c"};
    for (size_t n = 0; n < sizeof(bad) / sizeof(bad[0]); n++) {
        struct errinfo err = {0};
        assert_int_equal(identity_parse(str_from(bad[n]), &i, &err), ERR_INVALID);
        assert_true(err.msg[0] != '\0');
    }
}

static void identity_patterns(void **state)
{
    (void)state;
    struct identity i;
    assert_int_equal(identity_make("dev-0", "node", "n1", &i, NULL), OK);
    assert_true(identity_matches(&i, "slipform://dev-0/node/n1"));
    assert_true(identity_matches(&i, "slipform://dev-0/node/*"));
    assert_true(identity_matches(&i, "slipform://dev-0/*/*"));
    assert_false(identity_matches(&i, "slipform://dev-0/node/n10"));
    assert_false(identity_matches(&i, "slipform://dev-0/node/n"));
    assert_false(identity_matches(&i, "slipform://dev-1/node/*"));
    assert_false(identity_matches(&i, "slipform://dev-0/edge/*"));
    assert_false(identity_matches(&i, "slipform://*/node/n1"));
    assert_false(identity_matches(&i, "slipform://dev-0/*/n1"));
    assert_false(identity_matches(&i, "*"));
    assert_false(identity_matches(&i, NULL));
    assert_int_equal(identity_pattern_check("slipform://dev-0/node/*", NULL), OK);
    assert_int_equal(identity_pattern_check("slipform://dev-0/node/n*", NULL), ERR_INVALID);
}

static void host_names(void **state)
{
    (void)state;
    char label63[64], label64[65], long_name[256];
    memset(label63, 'a', 63), label63[63] = '\0';
    memset(label64, 'a', 64), label64[64] = '\0';
    for (size_t n = 0; n < 254; n++)
        long_name[n] = n % 2 == 0 ? 'a' : '.';
    long_name[253] = 'a', long_name[254] = '\0';
    const struct {
        const char *name;
        bool ok, ok_wildcard;
    } cases[] = {{"hello.localhost", true, true}, {"a", true, true},          {"xn--bcher-kva.example", true, true},
                 {"1a.2b", true, true},           {label63, true, true},      {label64, false, false},
                 {long_name, false, false},       {"", false, false},         {".", false, false},
                 {"a..b", false, false},          {"a.", false, false},       {"-a.b", false, false},
                 {"a-.b", false, false},          {"A.b", false, false},      {"a_b.c", false, false},
                 {"a b", false, false},           {"10.0.0.1", false, false}, {"*.example.org", false, true},
                 {"*.org", false, false},         {"*", false, false},        {"a.*.org", false, false},
                 {"a,DNS:evil", false, false}};
    for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
        assert_int_equal(host_name_check(str_from(cases[n].name), false, NULL) == OK, cases[n].ok);
        assert_int_equal(host_name_check(str_from(cases[n].name), true, NULL) == OK, cases[n].ok_wildcard);
    }
    assert_true(host_name_matches(STR("*.example.org"), STR("a.example.org")));
    assert_false(host_name_matches(STR("*.example.org"), STR("a.b.example.org")));
    assert_false(host_name_matches(STR("*.example.org"), STR("example.org")));
}

static void tokens(void **state)
{
    (void)state;
    char a[TOKEN_TEXT_SIZE], b[TOKEN_TEXT_SIZE], hash[TOKEN_HASH_TEXT_SIZE];
    token_new(a), token_new(b);
    assert_int_equal(strlen(a), TOKEN_TEXT_SIZE - 1);
    assert_string_not_equal(a, b);
    token_hash(str_from(a), hash);
    assert_true(token_matches(str_from(a), hash));
    assert_false(token_matches(str_from(b), hash));
    assert_false(token_matches(STR(""), hash));
    assert_false(token_matches(str_from(a), "00"));
    assert_false(token_matches(str_from(a), NULL));
    a[10] = '=';
    assert_false(token_is_well_formed(str_from(a)));
    assert_true(secret_eq(STR("abc"), STR("abc")) && !secret_eq(STR("abc"), STR("abd")) && secret_eq(STR(""), STR("")));
}

static const char *const URIS[] = {"slipform://dev-0/node/n1"};
static const char *const DNS[] = {"n1.node.dev-0", "hello.localhost"};
static const char *const IPS[] = {"127.0.0.1", "fd00::1"};

static struct leaf_options leaf(void)
{
    return (struct leaf_options){.uris = URIS,
                                 .uris_n = 1,
                                 .dns_names = DNS,
                                 .dns_names_n = 2,
                                 .ips = IPS,
                                 .ips_n = 2,
                                 .server = true,
                                 .client = true,
                                 .days = 30};
}

static void issued_says_what_was_asked(void **state)
{
    (void)state;
    auto_ca struct ca *ca = NULL;
    AUTO(buf) struct buf cert = {0};
    AUTO(secret) struct buf key = {0};
    AUTO(arena) struct arena arena = {0};
    struct cert_info info;
    struct leaf_options o = leaf();
    o.now_s = 1800000000;
    assert_int_equal(ca_create("slipform dev-0 CA", &ca, NULL), OK);
    assert_int_equal(ca_issue(ca, &o, &cert, &key, NULL), OK);
    assert_int_equal(cert_info_read(buf_str(&cert), &arena, &info, NULL), OK);
    assert_int_equal(info.not_before_s, 1800000000 - 300);
    assert_int_equal(info.not_after_s, 1800000000 + 30 * 86400);
    assert_true(info.is_server && info.is_client && !info.is_ca);
    assert_int_equal(info.uris_n, 1);
    assert_string_equal(info.uris[0], URIS[0]);
    assert_int_equal(info.dns_names_n, 2);
    assert_string_equal(info.dns_names[1], "hello.localhost");
    assert_int_equal(info.ips_n, 2);
    assert_string_equal(info.ips[1], "fd00::1");
    assert_string_equal(info.common_name, URIS[0]);
    assert_int_equal(strlen(info.serial), 32);
    assert_int_equal(cert_info_read(ca_cert_pem(ca), &arena, &info, NULL), OK);
    assert_true(info.is_ca);
    assert_string_equal(info.common_name, "slipform dev-0 CA");
    assert_int_equal(cert_info_read(STR("-----BEGIN CERTIFICATE-----\nAAAA\n"), &arena, &info, NULL), ERR_INVALID);
}

static void issue_refuses(void **state)
{
    (void)state;
    auto_ca struct ca *ca = NULL;
    AUTO(buf) struct buf cert = {0};
    AUTO(secret) struct buf key = {0};
    assert_int_equal(ca_create("CA", &ca, NULL), OK);
    const char *const evil_dns[] = {"a.b,URI:slipform://dev-0/platform/x"},
                      *const evil_uri[] = {"slipform://a/b/c,DNS:x"}, *const bad_ip[] = {"1.2.3"},
                      *const wildcard[] = {"*.example.org"};
    struct leaf_options cases[] = {leaf(), leaf(), leaf(), leaf(), leaf(), leaf(), leaf()};
    cases[0].dns_names = evil_dns, cases[0].dns_names_n = 1;
    cases[1].uris = evil_uri;
    cases[2].ips = bad_ip, cases[2].ips_n = 1;
    cases[3].dns_names = wildcard, cases[3].dns_names_n = 1;
    cases[4].days = 0;
    cases[5].server = cases[5].client = false;
    cases[6].uris_n = cases[6].dns_names_n = cases[6].ips_n = 0;
    for (size_t n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
        assert_int_equal(ca_issue(ca, &cases[n], &cert, &key, NULL), ERR_INVALID);
        assert_int_equal(cert.len + key.len, 0);
    }
    cases[3].allow_wildcard = true;
    assert_int_equal(ca_issue(ca, &cases[3], &cert, &key, NULL), OK);
    assert_int_equal(ca_create("", &ca, NULL), ERR_INVALID);
}

static void ca_files(void **state)
{
    const char *folder = *state;
    auto_free char *ca_file = mem_printf("%s/ca.pem", folder), *ca_key = mem_printf("%s/ca.key", folder);
    auto_free char *file = mem_printf("%s/leaf.pem", folder), *key = mem_printf("%s/leaf.key", folder);
    auto_free char *other_file = mem_printf("%s/other.pem", folder), *other_key = mem_printf("%s/other.key", folder);
    auto_ca struct ca *ca = NULL, *again = NULL, *other = NULL;
    struct leaf_options o = leaf();
    struct errinfo err;
    struct stat st;
    assert_int_equal(ca_load(ca_file, ca_key, &again, &err), ERR_NOT_FOUND);
    assert_int_equal(ca_create("CA", &ca, NULL), OK);
    assert_int_equal(ca_save(ca, ca_file, ca_key, NULL), OK);
    assert_int_equal(stat(ca_key, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(ca_load(ca_file, ca_key, &again, NULL), OK);
    assert_int_equal(ca_issue_files(again, &o, file, key, -1, -1, NULL), OK);
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(cert_files_check(file, key, ca_file, 0, NULL), OK);
    assert_int_equal(cert_files_check(file, key, ca_file, 4102444800, &err), ERR_INVALID); /* 2100: expired */
    assert_non_null(strstr(err.msg, "expired"));
    assert_int_equal(cert_files_check(file, ca_key, ca_file, 0, NULL), ERR_INVALID);
    assert_int_equal(ca_create("CA", &other, NULL), OK); /* same name, another key */
    assert_int_equal(ca_save(other, other_file, other_key, NULL), OK);
    assert_int_equal(cert_files_check(file, key, other_file, 0, NULL), ERR_INVALID);
    struct ca *wrong = NULL;
    assert_int_equal(ca_load(ca_file, other_key, &wrong, NULL), ERR_CORRUPT);
    assert_int_equal(ca_load(file, key, &wrong, NULL), ERR_CORRUPT); /* a leaf is no CA */
    assert_null(wrong);
}

static void files_are_replaced_whole(void **state)
{
    const char *folder = *state;
    auto_free char *path = mem_printf("%s/secret", folder), *missing = mem_printf("%s/no/secret", folder);
    AUTO(secret) struct buf bytes = {0};
    assert_int_equal(crypto_file_write(path, STR("one"), 0600, -1, -1, NULL), OK);
    assert_int_equal(crypto_file_write(path, STR("two"), 0640, -1, -1, NULL), OK);
    assert_int_equal(crypto_file_read(path, &bytes, NULL), OK);
    assert_true(str_eq(buf_str(&bytes), STR("two")));
    assert_int_equal(crypto_file_write(missing, STR("x"), 0600, -1, -1, NULL), ERR_NOT_FOUND);
    assert_int_equal(crypto_file_read(missing, &bytes, NULL), ERR_NOT_FOUND);
}

static void sealed_texts(void **state)
{
    (void)state;
    struct seal_key key, again, other;
    AUTO(buf) struct buf a = {0}, b = {0}, plain = {0};
    seal_key_random(&key);
    seal_key_random(&other);
    again = key;
    char one[SEAL_DIGEST_TEXT_SIZE], two[SEAL_DIGEST_TEXT_SIZE];
    seal_digest(&key, STR("ada"), one);
    seal_digest(&again, STR("ada"), two);
    assert_string_equal(one, two);
    assert_int_equal(strlen(one), SEAL_DIGEST_TEXT_SIZE - 1);
    seal_digest(&other, STR("ada"), two);
    assert_string_not_equal(one, two);
    seal_digest(&key, STR("adb"), two);
    assert_string_not_equal(one, two);
    assert_int_equal(seal(&key, STR("secret"), &a, NULL), OK);
    assert_int_equal(seal(&key, STR("secret"), &b, NULL), OK);
    assert_string_not_equal(a.ptr, b.ptr); /* a nonce of its own each time */
    assert_null(strstr(a.ptr, "secret"));
    assert_int_equal(unseal(&again, buf_str(&a), &plain, NULL), OK);
    assert_string_equal(plain.ptr, "secret");
    buf_clear(&plain);
    assert_int_equal(unseal(&other, buf_str(&a), &plain, NULL), ERR_NOT_FOUND);
    for (size_t i = 17; i < a.len; i++) { /* any changed character is noticed */
        AUTO(buf) struct buf bad = {0};
        buf_add_str(&bad, buf_str(&a));
        bad.ptr[i] = bad.ptr[i] == 'A' ? 'B' : 'A';
        assert_int_not_equal(unseal(&key, buf_str(&bad), &plain, NULL), OK);
    }
    static const char *const malformed[] = {"", "x", ":", "0011223344556677", "0011223344556677:=", "00:AAAA"};
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        assert_int_equal(unseal(&key, str_from(malformed[i]), &plain, NULL), ERR_INVALID);
    assert_int_equal(plain.len, 0);
}

/* The key file over a rotation: words, who is identity, and that of an older release. */
static void files_of_keys(void **state)
{
    auto_free char *file = mem_printf("%s/seal.key", (const char *)*state);
    struct seal_keys k, again, restored;
    size_t n = 0;
    static const char OLD[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
    assert_int_equal(seal_keys_load(file, &k, NULL), ERR_NOT_FOUND);
    assert_int_equal(crypto_file_write(file, str_from(OLD), 0400, -1, -1, NULL), OK);
    assert_int_equal(seal_keys_load(file, &k, NULL), OK);
    assert_true(k.n == 1 && strcmp(k.keys[0].id, k.identity.id) == 0);
    char first[17], second[17];
    memcpy(first, k.keys[0].id, 17);
    assert_int_equal(seal_keys_make_next(&k, NULL), OK);
    assert_int_equal(seal_keys_make_next(&k, NULL), OK); /* it is there */
    assert_int_equal(k.n, 2);
    memcpy(second, k.keys[1].id, 17);
    assert_string_equal(k.keys[0].id, first);
    seal_keys_switch(&k);
    assert_string_equal(k.keys[0].id, second);
    assert_int_equal(seal_keys_save(&k, file, -1, -1, NULL), OK);
    assert_int_equal(seal_keys_load(file, &again, NULL), OK);
    assert_memory_equal(&again, &k, sizeof(k));
    assert_string_equal(seal_keys_with(&again, SEAL_OLD)->id, first);
    restored = again;
    seal_keys_forget_old(&again);
    assert_true(again.n == 1 && seal_keys_find(&again, first) == NULL);
    assert_string_equal(again.identity.id, first); /* which no rotation changes */
    assert_int_equal(seal_keys_add_old(&again, &restored, &n, NULL), OK);
    assert_true(n == 1 && again.words[1] == SEAL_OLD && strcmp(again.keys[0].id, second) == 0);
    seal_keys_random(&k);
    assert_string_not_equal(k.keys[0].id, k.identity.id);
}

static void files_that_are_none(void **state)
{
    struct seal_keys k;
    struct errinfo err;
    (void)state;
#define A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define B "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
    static const char *const BAD[] = {"",
                                      "x",
                                      "current " A,
                                      "identity " A,
                                      "old " A "\nidentity " B,
                                      "current " A "\ncurrent " B "\nidentity " B,
                                      "current " A "\nold " A "\nidentity " B,
                                      "current " A "\nidentity " B "\nidentity " B,
                                      "current " A "\nwhat " B "\nidentity " B,
                                      "current 00\nidentity " B};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        assert_int_equal(seal_keys_parse(str_from(BAD[i]), "a file", &k, &err), ERR_CORRUPT);
        assert_null(strstr(err.msg, "112233")); /* no key in an error */
    }
    assert_int_equal(seal_keys_parse(STR("current " A "\nidentity " A "\n"), "a file", &k, &err), OK);
}

/* Replaced, it is read anew; damaged or gone, what was read before stays. */
static void a_file_that_is_replaced(void **state)
{
    auto_free char *file = mem_printf("%s/seal.key", (const char *)*state);
    struct seal_file f;
    struct seal_keys k;
    struct errinfo err;
    seal_file_init(&f, file);
    assert_int_equal(seal_file_look(&f, &err), ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "recovery restore"));
    seal_keys_random(&k);
    assert_int_equal(seal_keys_save(&k, file, -1, -1, NULL), OK);
    assert_int_equal(seal_file_look(&f, &err), OK);
    assert_string_equal(f.keys.keys[0].id, k.keys[0].id);
    assert_int_equal(seal_keys_make_next(&k, NULL), OK);
    seal_keys_switch(&k);
    assert_int_equal(seal_keys_save(&k, file, -1, -1, NULL), OK);
    assert_int_equal(seal_file_look(&f, &err), OK);
    assert_string_equal(f.keys.keys[0].id, k.keys[0].id);
    assert_int_equal(crypto_file_write(file, STR("curr"), 0400, -1, -1, NULL), OK);
    assert_int_equal(seal_file_look(&f, &err), OK);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(seal_file_look(&f, &err), OK);
    assert_string_equal(f.keys.keys[0].id, k.keys[0].id);
    seal_file_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identities),
        cmocka_unit_test(identity_patterns),
        cmocka_unit_test(host_names),
        cmocka_unit_test(tokens),
        cmocka_unit_test(issued_says_what_was_asked),
        cmocka_unit_test(issue_refuses),
        cmocka_unit_test_setup_teardown(ca_files, folder_setup, folder_teardown),
        cmocka_unit_test(sealed_texts),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test_setup_teardown(files_of_keys, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_replaced, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(files_are_replaced_whole, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
