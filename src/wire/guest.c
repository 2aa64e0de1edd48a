#include "wire/guest.h"

#include <assert.h>

#include "wire/instance.h"

static const struct field CONFIG_FIELDS[] = {
    FIELD_SUB(OBJECT, guest_config, image, "image", IMAGE_CONFIG_WIRE, "how the program is started"),
    FIELD_OPT(STRS, guest_config, env, "env", "NAME=value of the platform; they win over the image's"),
    FIELD_OPT(STR, guest_config, hostname, "hostname", "of the guest"),
    FIELD_OPT(STR, guest_config, ipv6_address, "ipv6_address", "a /128"),
    FIELD_OPT(STR, guest_config, ipv6_gateway, "ipv6_gateway", "on the link"),
    FIELD_OPT(STR, guest_config, ipv4_address, "ipv4_address", "a /32"),
    FIELD_OPT(STR, guest_config, ipv4_gateway, "ipv4_gateway", "on the link"),
    FIELD_OPT(STR, guest_config, gateway_mac, "gateway_mac", "permanent neighbour of both gateways"),
    FIELD_OPT(STR, guest_config, resolver, "resolver", "for /etc/resolv.conf"),
    FIELD_OPT(I64, guest_config, overlay_bytes, "overlay_bytes", "limit of what may be written to the root"),
    FIELD_OPT(I64, guest_config, wall_us, "wall_us", "the host's clock, since 1970"),
    FIELD_OPT(I64, guest_config, stop_grace_ms, "stop_grace_ms", "when a STOP does not say"),
    FIELD_OPT(BOOL, guest_config, probe, "probe", "no root, no program: say hello and power off"),
};
const struct field_table GUEST_CONFIG_WIRE = FIELD_TABLE(guest_config, CONFIG_FIELDS);

static const struct field HELLO_FIELDS[] = {
    FIELD_OPT(STR, guest_hello, kernel, "kernel", "release"),
    FIELD_OPT(I64, guest_hello, memory_bytes, "memory_bytes", "that the guest sees"),
    FIELD_OPT(I64, guest_hello, uptime_ms, "uptime_ms", "since the kernel started"),
    FIELD_OPT(BOOL, guest_hello, configured, "configured", "it has had its configuration"),
};
const struct field_table GUEST_HELLO_WIRE = FIELD_TABLE(guest_hello, HELLO_FIELDS);

static const struct field STOP_FIELDS[] = {
    FIELD_OPT(I64, guest_stop, grace_ms, "grace_ms", "between the stop signal and SIGKILL"),
};
const struct field_table GUEST_STOP_WIRE = FIELD_TABLE(guest_stop, STOP_FIELDS);

static const struct field DROPPED_FIELDS[] = {
    FIELD_OPT(I64, guest_dropped, lines, "lines", "newlines in it"),
    FIELD_OPT(I64, guest_dropped, bytes, "bytes", "in all"),
};
const struct field_table GUEST_DROPPED_WIRE = FIELD_TABLE(guest_dropped, DROPPED_FIELDS);

static const struct field EXIT_FIELDS[] = {
    FIELD_OPT(I64, guest_exit, exit_code, "exit_code", "when signal is 0"),
    FIELD_OPT(I64, guest_exit, signal, "signal", "that ended it"),
    FIELD_OPT(BOOL, guest_exit, out_of_memory, "out_of_memory", "the guest's kernel killed for lack of memory"),
    FIELD_OPT(STR, guest_exit, problem, "problem", "why the program could not be started"),
};
const struct field_table GUEST_EXIT_WIRE = FIELD_TABLE(guest_exit, EXIT_FIELDS);

static void put_u32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get_u32(const char *from)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v |= (uint32_t)(uint8_t)from[i] << (8 * i);
    return v;
}

void guest_frame_add(struct buf *out, enum guest_frame_type type, uint32_t number, struct str payload)
{
    assert(payload.len <= GUEST_FRAME_PAYLOAD_MAX);
    uint8_t header[GUEST_FRAME_HEADER_SIZE] = {'S', 'F', (uint8_t)type, 0};
    put_u32(header + 4, (uint32_t)payload.len);
    put_u32(header + 8, number);
    buf_add(out, header, sizeof(header));
    buf_add_str(out, payload);
}

static bool type_is_known(uint8_t type)
{
    return (type >= GUEST_CONFIG && type <= GUEST_ACK) || (type >= GUEST_HELLO && type <= GUEST_EXIT);
}

/* Bytes up to the next 'S' that could begin a frame, at least one. */
static size_t skip_of(struct str bytes)
{
    return 1 + str_find(str_slice(bytes, 1, bytes.len), 'S');
}

enum err guest_frame_next(struct str bytes, struct guest_frame *ret_frame, size_t *ret_used, struct errinfo *err)
{
    *ret_used = 0;
    if (bytes.len > 0 && (bytes.ptr[0] != 'S' || (bytes.len > 1 && bytes.ptr[1] != 'F'))) {
        *ret_used = skip_of(bytes);
        return err_set(err, ERR_INVALID, "%zu bytes that are no frame", *ret_used);
    }
    if (bytes.len < GUEST_FRAME_HEADER_SIZE)
        return ERR_NOT_FOUND;
    uint8_t type = (uint8_t)bytes.ptr[2];
    uint32_t len = get_u32(bytes.ptr + 4);
    if (!type_is_known(type) || bytes.ptr[3] != 0 || len > GUEST_FRAME_PAYLOAD_MAX) {
        *ret_used = skip_of(bytes);
        return err_set(err, ERR_INVALID, "a frame of type %u with %u bytes", type, len);
    }
    if (bytes.len - GUEST_FRAME_HEADER_SIZE < len)
        return ERR_NOT_FOUND;
    *ret_frame = (struct guest_frame){
        .type = (enum guest_frame_type)type,
        .number = get_u32(bytes.ptr + 8),
        .payload = str_slice(bytes, GUEST_FRAME_HEADER_SIZE, GUEST_FRAME_HEADER_SIZE + len),
    };
    *ret_used = GUEST_FRAME_HEADER_SIZE + len;
    return OK;
}

enum err guest_hello_find(struct str bytes, const uint8_t nonce[static GUEST_NONCE_SIZE], struct guest_frame *ret_frame,
                          size_t *ret_used, struct errinfo *err)
{
    /* A cut frame may claim 64 KiB and swallow the real HELLO: so look at every 'S', not at frames one after the
     * other. */
    size_t head = GUEST_FRAME_HEADER_SIZE + GUEST_NONCE_SIZE;
    *ret_used = 0;
    if (bytes.len < head)
        return ERR_NOT_FOUND;
    bool here = bytes.ptr[0] == 'S' && bytes.ptr[1] == 'F' && (uint8_t)bytes.ptr[2] == GUEST_HELLO &&
                memcmp(bytes.ptr + GUEST_FRAME_HEADER_SIZE, nonce, GUEST_NONCE_SIZE) == 0;
    if (!here) {
        *ret_used = skip_of(bytes);
        return err_set(err, ERR_INVALID, "%zu bytes before the guest's hello", *ret_used);
    }
    enum err rc = guest_frame_next(bytes, ret_frame, ret_used, err);
    if (rc != OK)
        return rc;
    if (ret_frame->payload.len < GUEST_NONCE_SIZE)
        return err_set(err, ERR_INVALID, "a hello that is too short");
    ret_frame->payload = str_slice(ret_frame->payload, GUEST_NONCE_SIZE, ret_frame->payload.len);
    return OK;
}
