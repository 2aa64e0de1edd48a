#include "guest/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "os/file.h"

#define PORTS_FOLDER "/sys/class/virtio-ports"
/* Who said something on a port where the kernel sees nobody is believed for 5 s (chosen; it takes milliseconds). */
#define NOBODY_US 5000000
/* A frame that must arrive fits behind a full ring of output. */
#define CHANNEL_RESERVE (GUEST_FRAME_PAYLOAD_MAX + GUEST_FRAME_HEADER_SIZE)

/* The port's device file, or NULL. Returned: free(). */
static char *find_port(void)
{
    char **names = NULL;
    size_t n = 0;
    char *found = NULL;
    if (folder_list(PORTS_FOLDER, &names, &n, NULL) != OK)
        return NULL;
    for (size_t i = 0; i < n && found == NULL; i++) {
        AUTO(buf) struct buf text = {0};
        auto_free char *path = mem_printf(PORTS_FOLDER "/%s/name", names[i]);
        if (file_read(path, 256, &text, NULL) == OK && str_eq_c(str_trim(buf_str(&text)), GUEST_PORT_NAME))
            found = mem_printf("/dev/%s", names[i]);
    }
    folder_list_free(names);
    return found;
}

enum err channel_open(struct channel *c, int64_t timeout_ms, struct errinfo *err)
{
    auto_free char *path = NULL;
    int64_t deadline_us = clock_mono_us() + timeout_ms * 1000;
    while ((path = find_port()) == NULL) {
        if (clock_mono_us() > deadline_us)
            return err_set(err, ERR_NOT_FOUND, "there is no virtio-serial port '" GUEST_PORT_NAME "'");
        (void)usleep(1000); /* its name comes from the host as a message of its own */
    }
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_set_os(err, ERR_IO, errno, "open '%s'", path);
    /* SIGIO tells when the host comes back: a port without a host is always "hung up" to poll */
    if (fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC) < 0)
        (void)fprintf(stderr, "guest-init: no SIGIO on '%s'\n", path);
    channel_init(c, fd);
    return OK;
}

void channel_init(struct channel *c, int fd)
{
    *c = (struct channel){.fd = fd, .is_connected = true};
}

void channel_done(struct channel *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    buf_done(&c->in);
    buf_done(&c->hello);
    buf_done(&c->kept);
    *c = (struct channel){.fd = -1};
}

static void lose_host(struct channel *c)
{
    c->is_connected = c->is_attached = false;
    buf_clear(&c->in);
    c->taken = 0;
    buf_clear(&c->hello);
    c->heard_us = clock_mono_us();
}

/* The port says that nobody is there. That is the kernel's view, which follows what QEMU says on another queue than the
 * data: a host that comes at once sends its ATTACH before the kernel says that it is there. So what has come since the
 * loss is the next host's and stays; only one that is silent for long is lost too. */
static void on_nobody(struct channel *c)
{
    bool has_something = c->is_attached || c->in.len > 0;
    if (c->is_connected || (has_something && clock_mono_us() - c->heard_us > NOBODY_US))
        lose_host(c);
}

bool channel_receive(struct channel *c)
{
    for (;;) {
        char bytes[16384];
        ssize_t n = read(c->fd, bytes, sizeof(bytes));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            c->is_connected = true;
            return true;
        }
        if (n <= 0) {
            on_nobody(c);
            return false;
        }
        if (c->in.len > 4 * GUEST_FRAME_PAYLOAD_MAX) { /* no frame is as long: rubbish */
            bool is_connected = c->is_connected;
            lose_host(c);
            c->is_connected = is_connected;
        }
        c->heard_us = clock_mono_us();
        buf_add(&c->in, bytes, (size_t)n);
    }
}

/* Drop frames up to `number`; only such as were sent. */
static void acknowledge(struct channel *c, uint32_t number)
{
    size_t done = 0, used;
    struct guest_frame f;
    while (done < c->kept_sent &&
           guest_frame_next(str_slice(buf_str(&c->kept), done, c->kept.len), &f, &used, NULL) == OK &&
           done + used <= c->kept_sent && (int32_t)(number - f.number) >= 0)
        done += used;
    buf_consume(&c->kept, done);
    c->kept_sent -= done;
}

enum err channel_take(struct channel *c, struct guest_frame *ret_frame)
{
    buf_consume(&c->in, c->taken);
    c->taken = 0;
    for (;;) {
        size_t used = 0;
        enum err rc = guest_frame_next(buf_str(&c->in), ret_frame, &used, NULL);
        if (rc == ERR_NOT_FOUND)
            return rc;
        if (rc == OK && ret_frame->type != GUEST_ACK) {
            c->taken = used; /* lent: it goes at the next call */
            return OK;
        }
        if (rc == OK)
            acknowledge(c, ret_frame->number);
        buf_consume(&c->in, used);
    }
}

void channel_attach(struct channel *c, const uint8_t nonce[static GUEST_NONCE_SIZE], const struct guest_hello *hello)
{
    AUTO(buf) struct buf payload = {0};
    buf_add(&payload, nonce, GUEST_NONCE_SIZE);
    fields_encode(&GUEST_HELLO_WIRE, hello, &payload);
    buf_clear(&c->hello);
    guest_frame_add(&c->hello, GUEST_HELLO, 0, buf_str(&payload));
    c->kept_sent = 0;
    c->is_attached = true;
}

/* False when the port takes no more. */
static bool write_some(struct channel *c, const char *bytes, size_t len, size_t *ret_written)
{
    *ret_written = 0;
    while (*ret_written < len) {
        ssize_t n = write(c->fd, bytes + *ret_written, len - *ret_written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        *ret_written += (size_t)n;
    }
    return true;
}

static void tell_dropped(struct channel *c)
{
    if (c->dropped_bytes == 0)
        return;
    AUTO(buf) struct buf payload = {0};
    fields_encode(&GUEST_DROPPED_WIRE, &(struct guest_dropped){c->dropped_lines, c->dropped_bytes}, &payload);
    c->dropped_lines = c->dropped_bytes = 0;
    channel_tell(c, GUEST_DROPPED, buf_str(&payload));
}

void channel_send(struct channel *c)
{
    if (!c->is_attached)
        return;
    size_t n;
    bool open = write_some(c, c->hello.ptr, c->hello.len, &n);
    buf_consume(&c->hello, n);
    if (!open)
        return;
    if (channel_has_room(c)) /* what was lost while the host was away is told as soon as there is room */
        tell_dropped(c);
    if (c->kept.len > c->kept_sent) {
        (void)write_some(c, c->kept.ptr + c->kept_sent, c->kept.len - c->kept_sent, &n);
        c->kept_sent += n;
    }
}

bool channel_wants_write(const struct channel *c)
{
    return c->is_attached && (c->hello.len > 0 || c->kept.len > c->kept_sent);
}

bool channel_is_flushed(const struct channel *c)
{
    return c->kept.len == 0 && c->hello.len == 0;
}

bool channel_has_room(const struct channel *c)
{
    return c->kept.len + GUEST_OUTPUT_MAX + GUEST_FRAME_HEADER_SIZE <= CHANNEL_KEEP_MAX;
}

void channel_output(struct channel *c, uint8_t stream, const char *bytes, size_t n)
{
    if (!channel_has_room(c) || c->dropped_bytes > 0) {
        c->dropped_bytes += (int64_t)n;
        for (size_t i = 0; i < n; i++)
            c->dropped_lines += bytes[i] == '\n';
        return;
    }
    char payload[GUEST_OUTPUT_MAX];
    payload[0] = (char)stream;
    memcpy(payload + 1, bytes, n);
    guest_frame_add(&c->kept, GUEST_OUTPUT, ++c->number, (struct str){payload, n + 1});
}

void channel_tell(struct channel *c, enum guest_frame_type type, struct str payload)
{
    if (type == GUEST_EXIT) /* the last frame of all */
        tell_dropped(c);
    buf_reserve(&c->kept, CHANNEL_RESERVE);
    guest_frame_add(&c->kept, type, ++c->number, payload);
}
