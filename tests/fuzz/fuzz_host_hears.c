/* What a guest says to its node-agent: 16 bytes "NNNNNNNNNNNNNNNN" are the nonce that it was greeted with. Nothing
 * comes after "broken" or "closed", lines are bounded. The first byte is how many bytes come at once. */
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "fuzz.h"
#include "node/runtime/guest_link.h"
#include "node/runtime/lines.h"

struct host {
    uv_loop_t loop;
    struct guest_link *link;
    struct lines lines;
    bool is_over;
};

static void on_hello(void *arg, const struct guest_hello *hello)
{
    const struct host *h = arg;
    assert(!h->is_over && hello->kernel.len < GUEST_FRAME_PAYLOAD_MAX);
}
static void on_started(void *arg)
{
    assert(!((struct host *)arg)->is_over);
}
static void on_output(void *arg, int stream, struct str bytes)
{
    struct host *h = arg;
    assert(!h->is_over);
    lines_add(&h->lines, stream == 1 ? RUNTIME_STDOUT : RUNTIME_STDERR, bytes, 0);
}
static void on_dropped(void *arg, const struct guest_dropped *dropped)
{
    struct host *h = arg;
    lines_note(&h->lines, RUNTIME_STDERR, "%lld", (long long)dropped->lines);
}
static void on_exit_of(void *arg, const struct guest_exit *how)
{
    (void)how;
    assert(!((struct host *)arg)->is_over);
}
static void on_broken(void *arg, const char *why)
{
    struct host *h = arg;
    assert(!h->is_over && why[0] != '\0');
    h->is_over = true;
}
static void on_closed(void *arg)
{
    struct host *h = arg;
    assert(!h->is_over);
    h->is_over = true;
}
static void on_line(void *arg, enum runtime_stream stream, struct str text)
{
    (void)arg;
    assert(stream <= RUNTIME_CONSOLE && text.len <= RUNTIME_LINE_MAX);
    assert(memchr(text.ptr, '\n', text.len) == NULL && memchr(text.ptr, '\0', text.len) == NULL);
}

static void run(struct host *h)
{
    for (int i = 0; i < 4; i++)
        (void)uv_run(&h->loop, UV_RUN_NOWAIT);
}

/* The greeting's nonce is random: the input's stands for it. */
static void put_nonce(char *bytes, size_t size, const char *nonce)
{
    for (size_t i = 0; i + GUEST_NONCE_SIZE <= size; i++)
        if (memcmp(bytes + i, "NNNNNNNNNNNNNNNN", GUEST_NONCE_SIZE) == 0)
            memcpy(bytes + i, nonce, GUEST_NONCE_SIZE);
}

static void say(struct host *h, int fd, const uint8_t *data, size_t size)
{
    char greeting[GUEST_FRAME_HEADER_SIZE + GUEST_NONCE_SIZE], heard[1024];
    size_t step = data[0] == 0 ? size : data[0];
    auto_free char *bytes = mem_alloc(size);
    memcpy(bytes, data, size);
    run(h);
    assert(read(fd, greeting, sizeof(greeting)) == (ssize_t)sizeof(greeting));
    put_nonce(bytes + 1, size - 1, greeting + GUEST_FRAME_HEADER_SIZE);
    for (size_t at = 1; at < size && !h->is_over; at += step) {
        size_t n = size - at < step ? size - at : step;
        assert(write(fd, bytes + at, n) == (ssize_t)n);
        (void)uv_run(&h->loop, UV_RUN_NOWAIT);
        while (read(fd, heard, sizeof(heard)) > 0)
            ;
    }
    run(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct host h = {.lines = {.fn = on_line}};
    const struct guest_link_events events = {on_hello,   on_started, on_output, on_dropped,
                                             on_exit_of, on_broken,  on_closed, &h};
    int fds[2];
    if (size == 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        return 0;
    assert(uv_loop_init(&h.loop) == 0 && guest_link_open(&h.loop, fds[0], &events, &h.link, NULL) == OK);
    guest_link_greet(h.link, (struct str){0});
    say(&h, fds[1], data, size);
    (void)close(fds[1]);
    run(&h);
    guest_link_close(h.link);
    lines_end(&h.lines, 0);
    lines_done(&h.lines);
    (void)uv_run(&h.loop, UV_RUN_DEFAULT);
    assert(uv_loop_close(&h.loop) == 0);
    return 0;
}
