/* Host and guest: frames whole, cut, damaged and hostile; the guest's end of the channel against a socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "guest/channel.h"
#include "guest/program.h"
#include "guest/user.h"
#include "wire/guest.h"

static const uint8_t NONCE[GUEST_NONCE_SIZE] = "0123456789abcdef";

static void frame_round_trip(void **state)
{
    (void)state;
    AUTO(buf) struct buf b = {0};
    guest_frame_add(&b, GUEST_OUTPUT, 7, STR("\1hello"));
    guest_frame_add(&b, GUEST_EXIT, 0xfffffffe, STR(""));
    struct guest_frame f;
    size_t used;
    for (size_t cut = 0; cut < GUEST_FRAME_HEADER_SIZE + 6; cut++) { /* every part of a frame waits for more */
        assert_int_equal(guest_frame_next(str_slice(buf_str(&b), 0, cut), &f, &used, NULL), ERR_NOT_FOUND);
        assert_int_equal(used, 0);
    }
    assert_int_equal(guest_frame_next(buf_str(&b), &f, &used, NULL), OK);
    assert_int_equal(f.type, GUEST_OUTPUT);
    assert_int_equal(f.number, 7);
    assert_true(str_eq(f.payload, STR("\1hello")));
    buf_consume(&b, used);
    assert_int_equal(guest_frame_next(buf_str(&b), &f, &used, NULL), OK);
    assert_int_equal(f.number, 0xfffffffe);
    assert_int_equal(used, b.len);
}

static void bounds(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } BAD[] = {
        {"x", 1},
        {"Sx", 2},
        {"SF\x63\0\0\0\0\0\0\0\0\0", 12},         /* no such type */
        {"SF\x12\1\0\0\0\0\0\0\0\0", 12},         /* reserved byte */
        {"SF\x12\0\1\0\1\0\0\0\0\0", 12},         /* 65537 bytes */
        {"SF\x12\0\xff\xff\xff\xff\0\0\0\0", 12}, /* 4 GiB */
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct guest_frame f;
        size_t used;
        struct errinfo err;
        assert_int_equal(guest_frame_next((struct str){BAD[i].bytes, BAD[i].len}, &f, &used, &err), ERR_INVALID);
        assert_in_range(used, 1, BAD[i].len);
    }
}

/* Any bytes: the decoder always moves on or waits, and never looks outside. (Sanitizers see it.) */
static void random_bytes_are_survived(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        char *bytes = mem_alloc(200);
        size_t len = 200, at = 0;
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525 + 1013904223;
            bytes[i] = (seed >> 24) % 4 == 0 ? 'S' : (seed >> 24) % 4 == 1 ? 'F' : (char)((seed >> 16) % 24);
        }
        struct guest_frame f;
        size_t used;
        enum err rc;
        while ((rc = guest_frame_next((struct str){bytes + at, len - at}, &f, &used, NULL)) != ERR_NOT_FOUND) {
            assert_in_range(used, 1, len - at);
            at += used;
        }
        at = 0;
        while ((rc = guest_hello_find((struct str){bytes + at, len - at}, NONCE, &f, &used, NULL)) != ERR_NOT_FOUND) {
            assert_in_range(used, 1, len - at);
            at += used;
        }
        free(bytes);
    }
}

/* A frame that was cut by the end of an earlier connection claims more bytes than come: the hello behind it is found.
 */
static void hello_behind_a_cut_frame(void **state)
{
    (void)state;
    AUTO(buf) struct buf b = {0};
    AUTO(buf) struct buf payload = {0};
    buf_add(&b, "SF\x12\0\0\x80\0\0\1\0\0\0half of a fraSF", 27);
    buf_add(&payload, NONCE, sizeof(NONCE));
    buf_add_c(&payload, "{\"kernel\":\"6.1\"}");
    guest_frame_add(&b, GUEST_HELLO, 0, buf_str(&payload));
    struct guest_frame f = {0};
    size_t at = 0, used;
    enum err rc;
    while ((rc = guest_hello_find(str_slice(buf_str(&b), at, b.len), NONCE, &f, &used, NULL)) == ERR_INVALID)
        at += used;
    assert_int_equal(rc, OK);
    assert_true(str_eq(f.payload, STR("{\"kernel\":\"6.1\"}")));
}

static void config_round_trip(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    AUTO(buf) struct buf json = {0};
    struct str words[] = {STR("/bin/app"), STR("--x=\"y\"")}, env[] = {STR("A=b\n")};
    struct guest_config c = {.image = {.entrypoint = {words, 2}, .user = STR("web")},
                             .env = {env, 1},
                             .ipv6_address = STR("fd00::2"),
                             .overlay_bytes = 5,
                             .probe = true};
    struct guest_config back;
    fields_encode(&GUEST_CONFIG_WIRE, &c, &json);
    assert_int_equal(fields_parse(&GUEST_CONFIG_WIRE, buf_str(&json), &a, &back, NULL), OK);
    assert_int_equal(back.image.entrypoint.n, 2);
    assert_true(str_eq(back.image.entrypoint.items[1], words[1]) && str_eq(back.env.items[0], env[0]));
    assert_true(back.probe && back.overlay_bytes == 5 && str_eq(back.ipv6_address, c.ipv6_address));
}

/* ---- the guest's end ---- */

struct pair {
    struct channel channel;
    int host;
    struct buf received;
};

static void connect_pair(struct pair *p)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    if (p->channel.fd > 0) { /* the host comes back: the same channel, another connection */
        assert_int_equal(dup2(fds[0], p->channel.fd), p->channel.fd);
        (void)close(fds[0]);
    } else {
        channel_init(&p->channel, fds[0]);
    }
    p->host = fds[1];
    buf_clear(&p->received);
}

static void host_says(struct pair *p, enum guest_frame_type type, uint32_t number, struct str payload)
{
    AUTO(buf) struct buf b = {0};
    guest_frame_add(&b, type, number, payload);
    assert_int_equal(write(p->host, b.ptr, b.len), b.len);
    assert_true(channel_receive(&p->channel));
}

static void attach(struct pair *p)
{
    struct guest_frame f;
    host_says(p, GUEST_ATTACH, 0, (struct str){(const char *)NONCE, sizeof(NONCE)});
    assert_int_equal(channel_take(&p->channel, &f), OK);
    assert_int_equal(f.type, GUEST_ATTACH);
    assert_memory_equal(f.payload.ptr, NONCE, sizeof(NONCE));
    assert_int_equal(channel_take(&p->channel, &f), ERR_NOT_FOUND);
    channel_attach(&p->channel, NONCE, &(struct guest_hello){.kernel = STR("6.1")});
}

/* What the host gets now, as "type:number:bytes " of each frame. */
static char *host_hears(struct pair *p)
{
    char bytes[4096];
    ssize_t n;
    AUTO(buf) struct buf text = {0};
    channel_send(&p->channel);
    while ((n = read(p->host, bytes, sizeof(bytes))) > 0) {
        buf_add(&p->received, bytes, (size_t)n);
        channel_send(&p->channel);
    }
    struct guest_frame f;
    size_t used;
    while (guest_frame_next(buf_str(&p->received), &f, &used, NULL) == OK) {
        if (f.type == GUEST_OUTPUT)
            buf_addf(&text, "%u:%.*s ", f.number, (int)f.payload.len - 1, f.payload.ptr + 1);
        else
            buf_addf(&text, "%u:<%d> ", f.number, (int)f.type);
        buf_consume(&p->received, used);
    }
    return buf_take(&text);
}

#define ASSERT_HEARS(p, wanted)                                                                                        \
    do {                                                                                                               \
        auto_free char *heard_ = host_hears(p);                                                                        \
        assert_string_equal(heard_, wanted);                                                                           \
    } while (0)

static void channel_keeps_until_acknowledged(void **state)
{
    (void)state;
    struct pair p = {0};
    connect_pair(&p);
    channel_output(&p.channel, 1, "a", 1); /* before the host says anything */
    ASSERT_HEARS(&p, "");
    attach(&p);
    ASSERT_HEARS(&p, "0:<16> 1:a ");
    channel_output(&p.channel, 1, "b", 1);
    channel_output(&p.channel, 2, "c", 1);
    ASSERT_HEARS(&p, "2:b 3:c ");
    host_says(&p, GUEST_ACK, 2, (struct str){0});
    struct guest_frame f;
    assert_int_equal(channel_take(&p.channel, &f), ERR_NOT_FOUND);
    assert_false(channel_is_flushed(&p.channel));

    (void)close(p.host); /* the agent dies */
    assert_false(channel_receive(&p.channel));
    channel_output(&p.channel, 1, "d", 1);
    connect_pair(&p);
    attach(&p);
    ASSERT_HEARS(&p, "0:<16> 3:c 4:d ");
    host_says(&p, GUEST_ACK, 9, (struct str){0}); /* more than there is: what was sent is taken as heard */
    assert_int_equal(channel_take(&p.channel, &f), ERR_NOT_FOUND);
    assert_true(channel_is_flushed(&p.channel));
    (void)close(p.host);
    channel_done(&p.channel);
    buf_done(&p.received);
}

/* A host that follows another at once: the kernel still says that nobody is there when its ATTACH has come. */
static void channel_hears_a_host_that_the_kernel_does_not_see_yet(void **state)
{
    (void)state;
    struct pair p = {0};
    struct guest_frame f;
    AUTO(buf) struct buf attach = {0};
    connect_pair(&p);
    channel_output(&p.channel, 1, "a", 1);
    (void)close(p.host);
    assert_false(channel_receive(&p.channel));
    connect_pair(&p);
    guest_frame_add(&attach, GUEST_ATTACH, 0, (struct str){(const char *)NONCE, sizeof(NONCE)});
    assert_int_equal(write(p.host, attach.ptr, attach.len), attach.len);
    assert_int_equal(shutdown(p.host, SHUT_WR), 0); /* data, then "nobody is there" */
    assert_false(channel_receive(&p.channel));
    assert_int_equal(channel_take(&p.channel, &f), OK);
    assert_int_equal(f.type, GUEST_ATTACH);
    channel_attach(&p.channel, NONCE, &(struct guest_hello){.kernel = STR("6.1")});
    assert_false(channel_receive(&p.channel)); /* and once more */
    assert_true(p.channel.is_attached);
    ASSERT_HEARS(&p, "0:<16> 1:a ");
    (void)close(p.host);
    channel_done(&p.channel);
    buf_done(&p.received);
}

static void channel_drops_when_full_and_says_so(void **state)
{
    (void)state;
    struct pair p = {0};
    char line[GUEST_OUTPUT_MAX - 1];
    memset(line, '\n', sizeof(line));
    connect_pair(&p);
    for (int i = 0; i < 1000; i++)
        channel_output(&p.channel, 1, line, sizeof(line));
    assert_in_range(p.channel.kept.len, 1, CHANNEL_KEEP_MAX);
    assert_int_equal(p.channel.dropped_lines, p.channel.dropped_bytes);
    int64_t kept = 1000 * (int64_t)sizeof(line) - p.channel.dropped_bytes;
    channel_tell(&p.channel, GUEST_EXIT, (struct str){0}); /* always fits */
    attach(&p);
    auto_free char *heard = host_hears(&p);
    assert_non_null(strstr(heard, " 128:<19> 129:<20> ")); /* 127 outputs of 4108 bytes fit in 512 KiB */
    assert_int_equal(kept, 127 * (int64_t)sizeof(line));
    assert_int_equal(p.channel.dropped_bytes, 0);
    (void)close(p.host);
    channel_done(&p.channel);
    buf_done(&p.received);
}

/* ---- users, words, environment ---- */

static void users_by_the_images_files(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err rc;
        unsigned uid, gid;
        size_t groups_n;
        const char *home;
    } CASES[] = {
        {"", OK, 0, 0, 0, "/root"},
        {"web", OK, 1000, 1001, 2, "/home/web"},
        {"1000", OK, 1000, 1001, 2, "/home/web"},
        {"4242", OK, 4242, 0, 0, "/"},
        {"web:staff", OK, 1000, 50, 0, "/home/web"},
        {"7:8", OK, 7, 8, 0, "/"},
        {"nobody", ERR_NOT_FOUND, 0, 0, 0, NULL},
        {"web:none", ERR_NOT_FOUND, 0, 0, 0, NULL},
        {"99999999999", ERR_NOT_FOUND, 0, 0, 0, NULL},
    };
    struct str passwd = STR("#\nroot:x:0:0::/root:/bin/sh\nbroken\nweb:x:1000:1001::/home/web:\n");
    struct str group = STR("root:x:0:\nstaff:x:50:a,web\nx:x:1:webx\nlast:x:51:web\n");
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct user u;
        assert_int_equal(user_find(str_from(CASES[i].text), passwd, group, &u, NULL), CASES[i].rc);
        if (CASES[i].rc != OK)
            continue;
        assert_int_equal(u.uid, CASES[i].uid);
        assert_int_equal(u.gid, CASES[i].gid);
        assert_int_equal(u.groups_n, CASES[i].groups_n);
        assert_string_equal(u.home, CASES[i].home);
    }
    struct user u;
    assert_int_equal(user_find(STR("0"), (struct str){0}, (struct str){0}, &u, NULL), OK); /* an image from scratch */
}

static void env_of_the_program(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    struct str image[] = {STR("A=1"), STR("PATH=/x"), STR("=bad"), STR("B=1"), STR("none")}, ours[] = {STR("B=2")};
    struct guest_config c = {.image = {.env = {image, 5}}, .env = {ours, 1}, .hostname = STR("h")};
    const char *const *env = program_env(&c, &(struct user){.home = "/home/x"}, &a);
    static const char *const WANTED[] = {"A=1", "PATH=/x", "B=2", "HOME=/home/x", "HOSTNAME=h"};
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(env[i], WANTED[i]);
    assert_null(env[5]);
    assert_int_equal(program_signal(STR("SIGQUIT")), 3);
    assert_int_equal(program_signal(STR("TERM")), 15);
    assert_int_equal(program_signal(STR("")), 15);
    assert_int_equal(program_signal(STR("9")), 9);
    assert_int_equal(program_signal(STR("SIGNONSENSE")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_round_trip),
        cmocka_unit_test(bounds),
        cmocka_unit_test(random_bytes_are_survived),
        cmocka_unit_test(hello_behind_a_cut_frame),
        cmocka_unit_test(config_round_trip),
        cmocka_unit_test(channel_keeps_until_acknowledged),
        cmocka_unit_test(channel_hears_a_host_that_the_kernel_does_not_see_yet),
        cmocka_unit_test(channel_drops_when_full_and_says_so),
        cmocka_unit_test(users_by_the_images_files),
        cmocka_unit_test(env_of_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
