/* What a host says to guest-init: the channel's frames, and what their payloads become. The first byte is how many
 * bytes come at once. */
#include <sys/socket.h>
#include <unistd.h>

#include "event/fields.h"
#include "fuzz.h"
#include "guest/channel.h"
#include "guest/program.h"
#include "guest/user.h"

static void configured(struct str text)
{
    AUTO(arena) struct arena a = {0};
    struct guest_config c;
    struct user u = {.home = "/"};
    const char *const *words;
    if (fields_parse(&GUEST_CONFIG_WIRE, text, &a, &c, NULL) != OK)
        return;
    if (program_words(&c.image, &a, &words, NULL) == OK)
        assert(words[0] != NULL);
    (void)program_signal(c.image.stop_signal);
    for (const char *const *env = program_env(&c, &u, &a); *env != NULL; env++)
        assert(strchr(*env, '=') != NULL);
    (void)!user_find(c.image.user, STR("root:x:0:0::/root:/bin/sh\nweb:x:5:6::/:\n"), STR("web:x:6:root\n"), &u, NULL);
}

static void take_all(struct channel *c)
{
    struct guest_frame f;
    while (channel_take(c, &f) == OK) {
        assert(f.type != GUEST_ACK && f.payload.len <= GUEST_FRAME_PAYLOAD_MAX);
        bool greets = f.type == GUEST_CONFIG || f.type == GUEST_ATTACH;
        if (greets && f.payload.len >= GUEST_NONCE_SIZE) {
            uint8_t nonce[GUEST_NONCE_SIZE];
            memcpy(nonce, f.payload.ptr, sizeof(nonce));
            channel_attach(c, nonce, &(struct guest_hello){.kernel = STR("6.1")});
            configured(str_slice(f.payload, GUEST_NONCE_SIZE, f.payload.len));
        }
        AUTO(arena) struct arena a = {0};
        struct guest_stop stop;
        (void)!fields_parse(&GUEST_STOP_WIRE, f.payload, &a, &stop, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    struct channel c;
    char heard[4096];
    if (size == 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        return 0;
    size_t step = data[0] == 0 ? size : data[0];
    channel_init(&c, fds[0]);
    channel_output(&c, 1, "one\n", 4);
    channel_output(&c, 2, "two\n", 4);
    for (size_t at = 1; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        assert(write(fds[1], data + at, n) == (ssize_t)n);
        (void)channel_receive(&c);
        take_all(&c);
        channel_send(&c);
        while (read(fds[1], heard, sizeof(heard)) > 0)
            ;
    }
    (void)close(fds[1]);
    (void)channel_receive(&c);
    take_all(&c);
    channel_done(&c);
    return 0;
}
