#pragma once
/* guest/channel.h - the guest's end of the virtio-serial port: frames in, numbered frames out until acknowledged.
 * Layer: guest. Never blocks. What the program writes while the host is away is kept up to CHANNEL_KEEP_MAX bytes. */
#include "base/buf.h"
#include "wire/guest.h"

/* 512 KiB: a node-agent's restart of some seconds at a usual rate of output (chosen, never measured). */
#define CHANNEL_KEEP_MAX (512u * 1024u)

struct channel {
    int fd;            /* the port; -1: not open */
    bool is_connected; /* the host is there, as the kernel says */
    bool is_attached;  /* it has said CONFIG or ATTACH, may be before the kernel says that it is there */
    int64_t heard_us;  /* when it said something last */
    struct buf in;     /* received; the first `taken` bytes are lent to the caller of channel_take */
    size_t taken;
    struct buf hello; /* to be sent before anything else */
    struct buf kept;  /* numbered frames that were not acknowledged, whole, in order */
    size_t kept_sent; /* of them, on this connection */
    uint32_t number;  /* of the last frame */
    int64_t dropped_lines, dropped_bytes;
};

/* Open the port named GUEST_PORT_NAME, waiting for it at most timeout_ms. OK | ERR_NOT_FOUND | ERR_IO */
must_check enum err channel_open(struct channel *c, int64_t timeout_ms, struct errinfo *err);
/* On a descriptor of ours (tests: a socket pair). Takes fd. */
void channel_init(struct channel *c, int fd);
void channel_done(struct channel *c);

/* Read what there is. False: nobody is there (is_connected is false then; when it was true, what was half received is
 * dropped). What came is to be taken either way. */
bool channel_receive(struct channel *c);
/* The next frame for the caller, its payload lent until the next call; acknowledgements are taken care of inside.
 * OK | ERR_NOT_FOUND none */
must_check enum err channel_take(struct channel *c, struct guest_frame *ret_frame);
/* Answer a CONFIG or ATTACH: HELLO goes first, then what was kept is sent again. */
void channel_attach(struct channel *c, const uint8_t nonce[static GUEST_NONCE_SIZE], const struct guest_hello *hello);
/* Write what the port takes. */
void channel_send(struct channel *c);
bool channel_wants_write(const struct channel *c);
/* Everything kept has been acknowledged. */
bool channel_is_flushed(const struct channel *c);

/* Room for one more OUTPUT frame: without it, and with the host there, the program's pipe is not read (it waits). */
bool channel_has_room(const struct channel *c);
/* Output of the program, n <= GUEST_OUTPUT_MAX - 1; counted as dropped when there is no room. */
void channel_output(struct channel *c, uint8_t stream, const char *bytes, size_t n);
/* A numbered frame that must arrive (STARTED, EXIT). */
void channel_tell(struct channel *c, enum guest_frame_type type, struct str payload);
