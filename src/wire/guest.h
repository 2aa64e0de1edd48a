#pragma once
/* wire/guest.h - host and guest: frames on the virtio-serial port of a microVM, and what they carry.
 * Layer: wire. Pure: bytes in, frames out. Format: docs/formats/guest.md
 *
 * The host's first frame on a new microVM is CONFIG. A node-agent that was restarted connects again and sends ATTACH;
 * the guest answers every CONFIG and ATTACH with HELLO, which echoes their nonce, then sends again what was not
 * acknowledged. So nothing is lost when the agent dies, and bytes of a frame that was cut by that are skipped: the host
 * looks for its nonce. The host trusts nothing that comes from a guest: lengths are checked before bytes are kept. */
#include "base/buf.h"
#include "event/catalogue.h"
#include "event/fields.h"

/* 'S' 'F' type 0, length and sequence number as little-endian u32. */
#define GUEST_FRAME_HEADER_SIZE 12
/* 64 KiB: a configuration with a long environment fits; chosen, never measured (test_guest_wire: bounds). */
#define GUEST_FRAME_PAYLOAD_MAX (64u * 1024u)
/* Payload of one OUTPUT frame, its stream byte included (the size of a pipe's page; chosen). */
#define GUEST_OUTPUT_MAX 4096u
#define GUEST_NONCE_SIZE 16
#define GUEST_PORT_NAME "slipform.0"

enum guest_frame_type {
    GUEST_CONFIG = 1,   /* host: nonce, then a guest_config */
    GUEST_ATTACH = 2,   /* host: nonce */
    GUEST_STOP = 3,     /* host: guest_stop */
    GUEST_ACK = 4,      /* host: the header's number is the last one that was handled */
    GUEST_HELLO = 16,   /* guest: the nonce, then a guest_hello */
    GUEST_STARTED = 17, /* guest, numbered: the program runs; no payload */
    GUEST_OUTPUT = 18,  /* guest, numbered: stream (1 stdout, 2 stderr), then bytes as written */
    GUEST_DROPPED = 19, /* guest, numbered: guest_dropped */
    GUEST_EXIT = 20,    /* guest, numbered: guest_exit; nothing comes after it */
};

/* What guest-init does after its boot. Addresses are texts; an empty one is not set. */
struct guest_config {
    struct image_config image; /* how the program is started */
    struct strs env;           /* NAME=value of the platform; they win over the image's */
    struct str hostname;       /* of the guest */
    struct str ipv6_address;   /* a /128 */
    struct str ipv6_gateway;   /* on the link */
    struct str ipv4_address;   /* a /32 */
    struct str ipv4_gateway;   /* on the link */
    struct str gateway_mac;    /* permanent neighbour of both gateways */
    struct str resolver;       /* for /etc/resolv.conf */
    int64_t overlay_bytes;     /* limit of what may be written to the root; 0: half of the memory */
    int64_t wall_us;           /* the host's clock, since 1970 */
    int64_t stop_grace_ms;     /* when a STOP does not say */
    bool probe;                /* no root, no program: say hello and power off */
};
extern const struct field_table GUEST_CONFIG_WIRE;

struct guest_hello {
    struct str kernel;    /* release */
    int64_t memory_bytes; /* that the guest sees */
    int64_t uptime_ms;    /* since the kernel started */
    bool configured;      /* it has had its configuration */
};
extern const struct field_table GUEST_HELLO_WIRE;

struct guest_stop {
    int64_t grace_ms; /* between the stop signal and SIGKILL */
};
extern const struct field_table GUEST_STOP_WIRE;

/* Output that found no room while the host was away. */
struct guest_dropped {
    int64_t lines, bytes;
};
extern const struct field_table GUEST_DROPPED_WIRE;

struct guest_exit {
    int64_t exit_code; /* when signal is 0 */
    int64_t signal;
    bool out_of_memory; /* the guest's kernel killed something for lack of memory */
    struct str problem; /* why the program could not be started; empty: it was */
};
extern const struct field_table GUEST_EXIT_WIRE;

struct guest_frame {
    enum guest_frame_type type;
    uint32_t number; /* 0: not numbered */
    struct str payload;
};

/* Add one frame. payload.len <= GUEST_FRAME_PAYLOAD_MAX. */
void guest_frame_add(struct buf *out, enum guest_frame_type type, uint32_t number, struct str payload);
/* The first frame in bytes. Its payload is lent from them.
 * OK: *ret_used bytes hold it | ERR_NOT_FOUND: more bytes are needed, *ret_used is 0
 * | ERR_INVALID: not a frame here; skip *ret_used bytes (>= 1) and try again, or give up */
must_check enum err guest_frame_next(struct str bytes, struct guest_frame *ret_frame, size_t *ret_used,
                                     struct errinfo *err);
/* Skip to the HELLO with that nonce, after a connection was made. Same answers as guest_frame_next; the frame's payload
 * is without its nonce. */
must_check enum err guest_hello_find(struct str bytes, const uint8_t nonce[static GUEST_NONCE_SIZE],
                                     struct guest_frame *ret_frame, size_t *ret_used, struct errinfo *err);
