/* Runtimes without a hypervisor: output as bounded lines, QEMU's words, the guest's configuration; the host's end of
 * the channel against a guest that is played here, well-behaved and not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "node/runtime/guest_link.h"
#include "node/runtime/lines.h"
#include "node/runtime/qemu_args.h"

struct seen {
    struct buf text; /* each line with its stream and '|' */
    size_t n, longest;
};

static void on_line(void *arg, enum runtime_stream stream, struct str text)
{
    struct seen *s = arg;
    s->n++;
    s->longest = text.len > s->longest ? text.len : s->longest;
    buf_addf(&s->text, "%d%.*s|", (int)stream, text.len > 60 ? 60 : (int)text.len, text.ptr);
}

static void lines_from_chunks(void **state)
{
    (void)state;
    struct seen s = {0};
    struct lines l = {.fn = on_line, .arg = &s};
    lines_add(&l, RUNTIME_STDOUT, STR("one\ntw"), 0);
    lines_add(&l, RUNTIME_STDERR, STR("err\r\n"), 0);
    lines_add(&l, RUNTIME_STDOUT, STR("o\n\nthr\0ee"), 0);
    lines_end(&l, 0);
    assert_string_equal(s.text.ptr, "0one|1err|0two|0|0thr?ee|");
    lines_done(&l);
    buf_done(&s.text);
}

static void cut(void **state)
{
    (void)state;
    struct seen s = {0};
    struct lines l = {.fn = on_line, .arg = &s};
    auto_free char *bytes = mem_alloc(100000);
    memset(bytes, 'x', 100000);
    for (int i = 0; i < 10; i++)
        lines_add(&l, RUNTIME_STDOUT, (struct str){bytes, 100000}, 0);
    lines_add(&l, RUNTIME_STDOUT, STR("\nnext\n"), 0);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.longest, RUNTIME_LINE_MAX);
    assert_non_null(strstr(s.text.ptr, "|0slipform: the line above goes on for 991808 bytes|0next|"));
    lines_done(&l);
    buf_done(&s.text);
}

static void rate(void **state)
{
    (void)state;
    struct seen s = {0};
    struct lines l = {.fn = on_line, .arg = &s};
    for (int i = 0; i < 20000; i++)
        lines_add(&l, RUNTIME_STDOUT, STR("a\n"), 1000);
    assert_int_equal(s.n, RUNTIME_LINES_BURST);
    buf_clear(&s.text);
    lines_add(&l, RUNTIME_STDOUT, STR("b\n"), 2001000); /* two seconds later */
    assert_string_equal(s.text.ptr, "0b|1slipform: dropped 15000 lines: more than 1000 lines or 512 K|");
    for (int i = 0; i < 20000; i++)
        lines_add(&l, RUNTIME_STDOUT, STR("a\n"), 2001000);
    assert_int_equal(s.n, RUNTIME_LINES_BURST + 2 + 2 * RUNTIME_LINES_PER_S - 1);
    lines_end(&l, 2001000);
    lines_done(&l);
    buf_done(&s.text);
}

static char *joined(const char *const *words)
{
    AUTO(buf) struct buf b = {0};
    for (; *words != NULL; words++)
        buf_addf(&b, "%s ", *words);
    return buf_take(&b);
}

static void qemu_words(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    struct qemu_machine m = {.qemu_path = "q",
                             .kernel_path = "k",
                             .initramfs_path = "i",
                             .sandbox = true,
                             .has_disk = true,
                             .has_tap = true,
                             .tsc_khz = 2500000,
                             .mac = {2, 0, 0, 0xab, 0, 9}};
    assert_int_equal(qemu_machine_size(&(struct resources){0}, &m, NULL), OK);
    auto_free char *tcg = joined(qemu_argv(&m, &a));
    assert_non_null(strstr(tcg, "-accel tcg,tb-size=64 -cpu max -m 256M -smp 1 "));
    assert_non_null(strstr(tcg, "tsc_early_khz=2500000"));
    assert_non_null(strstr(tcg, "mac=02:00:00:ab:00:09"));
    assert_non_null(strstr(tcg, "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"));
    assert_null(strstr(tcg, "nolapic_timer"));
    m.kvm = true;
    m.has_tap = false;
    auto_free char *kvm = joined(qemu_argv(&m, &a));
    assert_non_null(strstr(kvm, "-accel kvm -cpu host "));
    assert_null(strstr(kvm, "tsc"));
    assert_null(strstr(kvm, "netdev"));
}

static void machine_bounds(void **state)
{
    (void)state;
    static const struct {
        struct resources r;
        enum err rc;
    } CASES[] = {
        {{.vcpus = 2, .memory_bytes = 1 << 30}, OK},
        {{.vcpus = -1}, ERR_INVALID},
        {{.vcpus = 65}, ERR_INVALID},
        {{.memory_bytes = 1 << 20}, ERR_INVALID},
        {{.memory_bytes = INT64_MAX}, ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct qemu_machine m = {0};
        assert_int_equal(qemu_machine_size(&CASES[i].r, &m, NULL), CASES[i].rc);
    }
    struct errinfo err;
    AUTO(buf) struct buf json = {0};
    auto_free char *long_env = mem_alloc(70000);
    memset(long_env, 'A', 69999);
    const char *env[] = {long_env, NULL};
    struct instance_spec spec = {0};
    assert_int_equal(qemu_guest_config(&(struct runtime_facts){.spec = &spec, .env = env}, 1 << 28, 1, &json, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.msg, "at most 65520"));
}

/* ---- the host's end of the channel ---- */

struct host_end {
    uv_loop_t loop;
    struct guest_link *link;
    int guest;
    struct buf told; /* what was reported */
};

static void on_hello(void *arg, const struct guest_hello *hello)
{
    buf_addf(&((struct host_end *)arg)->told, "hello %.*s;", STR_ARG(hello->kernel));
}
static void on_started(void *arg)
{
    buf_add_c(&((struct host_end *)arg)->told, "started;");
}
static void on_output(void *arg, int stream, struct str bytes)
{
    buf_addf(&((struct host_end *)arg)->told, "%d=%.*s;", stream, STR_ARG(bytes));
}
static void on_dropped(void *arg, const struct guest_dropped *dropped)
{
    buf_addf(&((struct host_end *)arg)->told, "dropped %d;", (int)dropped->lines);
}
static void on_guest_exit(void *arg, const struct guest_exit *how)
{
    buf_addf(&((struct host_end *)arg)->told, "exit %d;", (int)how->exit_code);
}
static void on_broken(void *arg, const char *why)
{
    buf_addf(&((struct host_end *)arg)->told, "broken: %s;", why);
}
static void on_closed(void *arg)
{
    buf_add_c(&((struct host_end *)arg)->told, "closed;");
}

static void host_open(struct host_end *h)
{
    int fds[2];
    assert_int_equal(uv_loop_init(&h->loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    h->guest = fds[1];
    const struct guest_link_events events = {on_hello,      on_started, on_output, on_dropped,
                                             on_guest_exit, on_broken,  on_closed, h};
    assert_int_equal(guest_link_open(&h->loop, fds[0], &events, &h->link, NULL), OK);
    guest_link_greet(h->link, STR("{}"));
}

/* Until the guest has n bytes more; they are thrown away but for the last ones. */
static void guest_reads(struct host_end *h, char *bytes, size_t n)
{
    size_t got = 0;
    for (int rounds = 0; got < n && rounds < 1000; rounds++) {
        (void)uv_run(&h->loop, UV_RUN_NOWAIT);
        ssize_t r = read(h->guest, bytes + got, n - got);
        got += r > 0 ? (size_t)r : 0;
    }
    assert_int_equal(got, n);
}

static void guest_says(struct host_end *h, struct str bytes)
{
    assert_int_equal(write(h->guest, bytes.ptr, bytes.len), bytes.len);
    for (int i = 0; i < 20; i++)
        (void)uv_run(&h->loop, UV_RUN_NOWAIT);
}

static void guest_hello(struct host_end *h)
{
    char greeting[GUEST_FRAME_HEADER_SIZE + GUEST_NONCE_SIZE + 2];
    guest_reads(h, greeting, sizeof(greeting));
    assert_int_equal(greeting[2], GUEST_CONFIG);
    AUTO(buf) struct buf payload = {0}, b = {0};
    buf_add(&payload, greeting + GUEST_FRAME_HEADER_SIZE, GUEST_NONCE_SIZE);
    buf_add_c(&payload, "{\"kernel\":\"6.1\"}");
    buf_add_c(&b, "rest of an earlier frame");
    guest_frame_add(&b, GUEST_HELLO, 0, buf_str(&payload));
    guest_says(h, buf_str(&b));
}

static void host_close(struct host_end *h)
{
    guest_link_close(h->link);
    (void)uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    (void)close(h->guest);
    buf_done(&h->told);
}

static void link_reports_and_acknowledges(void **state)
{
    (void)state;
    struct host_end h = {0};
    host_open(&h);
    guest_hello(&h);
    AUTO(buf) struct buf b = {0};
    guest_frame_add(&b, GUEST_STARTED, 1, STR(""));
    guest_frame_add(&b, GUEST_OUTPUT, 2, STR("\1one"));
    guest_frame_add(&b, GUEST_OUTPUT, 2, STR("\1one")); /* sent again: handled once */
    guest_frame_add(&b, GUEST_OUTPUT, 3, STR("\2two"));
    guest_frame_add(&b, GUEST_OUTPUT, 4, STR("\x09no such stream"));
    guest_frame_add(&b, GUEST_DROPPED, 5, STR("{\"lines\":4}"));
    guest_frame_add(&b, GUEST_EXIT, 6, STR("{\"exit_code\":3}"));
    guest_says(&h, buf_str(&b));
    assert_string_equal(h.told.ptr, "hello 6.1;started;1=one;2=two;dropped 4;exit 3;");
    char ack[GUEST_FRAME_HEADER_SIZE];
    guest_reads(&h, ack, sizeof(ack));
    assert_int_equal(ack[2], GUEST_ACK);
    assert_int_equal(ack[8], 6);
    host_close(&h);
}

static void link_breaks_on_nonsense(void **state)
{
    (void)state;
    static const struct {
        bool after_hello;
        const char *bytes;
        size_t len;
        const char *told;
    } CASES[] = {
        {true, "nonsense", 8, "hello 6.1;broken: it sent bytes that are no frame;"},
        {true, "SF\x01\0\0\0\0\0\0\0\0\0", 12, "hello 6.1;broken: it sent a frame that only hosts send;"},
        {true, "SF\x12\0\xff\xff\xff\x7f\0\0\0\0", 12, "hello 6.1;broken: it sent bytes that are no frame;"},
        {true, "SF\x14\0\1\0\0\0\1\0\0\0{", 13, "hello 6.1;broken: its exit status cannot be read;"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct host_end h = {0};
        host_open(&h);
        guest_hello(&h);
        guest_says(&h, (struct str){CASES[i].bytes, CASES[i].len});
        assert_string_equal(h.told.ptr, CASES[i].told);
        host_close(&h);
    }
}

/* What the guest got, as types; the nonce of the last greeting. */
static void guest_hears(struct host_end *h, struct buf *ret_types, char nonce[static GUEST_NONCE_SIZE])
{
    char bytes[4096];
    ssize_t n = read(h->guest, bytes, sizeof(bytes));
    struct str rest = {bytes, n > 0 ? (size_t)n : 0};
    struct guest_frame f;
    size_t used;
    while (guest_frame_next(rest, &f, &used, NULL) == OK) {
        buf_addf(ret_types, "<%d>", (int)f.type);
        if (f.type == GUEST_ATTACH)
            memcpy(nonce, f.payload.ptr, GUEST_NONCE_SIZE);
        rest = str_slice(rest, used, rest.len);
    }
    assert_int_equal(rest.len, 0);
}

/* The guest's port may lose what a host says that follows another at once. */
static void link_greets_again(void **state)
{
    (void)state;
    struct host_end h = {0};
    AUTO(buf) struct buf heard = {0}, payload = {0}, hello = {0};
    char lost[GUEST_NONCE_SIZE], nonce[GUEST_NONCE_SIZE];
    host_open(&h);
    guest_link_greet(h.link, (struct str){0});
    guest_link_stop(h.link, 5000);
    guest_says(&h, STR("rest"));
    guest_hears(&h, &heard, lost);
    assert_string_equal(heard.ptr, "<1><2><3>"); /* CONFIG by host_open, ATTACH, STOP: lost */
    for (int i = 0; i < 10 && heard.len == strlen("<1><2><3>"); i++) {
        (void)uv_run(&h.loop, UV_RUN_ONCE); /* until its timer */
        guest_hears(&h, &heard, nonce);
    }
    assert_string_equal(heard.ptr, "<1><2><3><2><3>");
    assert_memory_not_equal(lost, nonce, sizeof(nonce));
    buf_add(&payload, nonce, sizeof(nonce));
    buf_add_c(&payload, "{\"kernel\":\"6.1\"}");
    guest_frame_add(&hello, GUEST_HELLO, 0, buf_str(&payload));
    guest_says(&h, buf_str(&hello));
    assert_string_equal(h.told.ptr, "hello 6.1;");
    host_close(&h);
}

/* Bytes without end and without a hello: given up after LINK_SKIP_MAX, and little of it is ever kept. */
static void link_gives_up_on_rubbish(void **state)
{
    (void)state;
    struct host_end h = {0};
    host_open(&h);
    char rubbish[8192];
    memset(rubbish, 'S', sizeof(rubbish));
    for (int i = 0; i < 100000 && h.told.len == 0; i++) {
        if (write(h.guest, rubbish, sizeof(rubbish)) < 0)
            (void)uv_run(&h.loop, UV_RUN_ONCE); /* the link pauses: that is its rate */
        (void)uv_run(&h.loop, UV_RUN_NOWAIT);
    }
    assert_string_equal(h.told.ptr, "broken: it did not say hello;");
    host_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_from_chunks),
        cmocka_unit_test(cut),
        cmocka_unit_test(rate),
        cmocka_unit_test(qemu_words),
        cmocka_unit_test(machine_bounds),
        cmocka_unit_test(link_reports_and_acknowledges),
        cmocka_unit_test(link_breaks_on_nonsense),
        cmocka_unit_test(link_greets_again),
        cmocka_unit_test(link_gives_up_on_rubbish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
