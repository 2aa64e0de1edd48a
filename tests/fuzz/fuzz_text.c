/* Short texts: ids, times, addresses, names, ranges. What is accepted is written again as it is meant to be, and reads
 * the same. */
#include <sys/socket.h>

#include "base/clock.h"
#include "base/encode.h"
#include "crypto/host_name.h"
#include "crypto/identity.h"
#include "crypto/token.h"
#include "event/catalogue.h"
#include "event/hash.h"
#include "event/id.h"
#include "event/partition.h"
#include "event/time.h"
#include "fuzz.h"
#include "os/netlink.h"

static void time_of_event(struct str text)
{
    struct event_time t, back;
    char again[EVENT_TIME_TEXT_SIZE];
    if (!event_time_parse(text, &t))
        return;
    event_time_format(t, again);
    assert(event_time_parse(str_from(again), &back) && event_time_cmp(t, back) == 0);
}

static void wall_time(struct str text)
{
    int64_t ns;
    (void)clock_parse_ns(text, &ns);
}

static void id(struct str text)
{
    struct id id, back;
    char again[ID_TEXT_SIZE];
    if (!id_parse(text, &id))
        return;
    id_format(id, again);
    assert(id_parse(str_from(again), &back) && id_eq(id, back) && text.len == ID_TEXT_SIZE - 1);
}

static void ip(struct str text)
{
    struct ip ip, back;
    char again[IP_TEXT_SIZE];
    if (!ip_parse(text, &ip))
        return;
    assert(ip.len <= (ip.family == AF_INET ? 32u : 128u));
    ip_format(&ip, again);
    assert(ip_parse(str_from(again), &back) && back.family == ip.family);
    assert(memcmp(back.bytes, ip.bytes, sizeof(ip.bytes)) == 0);
    assert(ip_in(&back, &ip));
}

static void digits(struct str text)
{
    uint8_t bytes[8];
    uint64_t number;
    char again[17];
    AUTO(buf) struct buf decoded = {0}, encoded = {0};
    if (hex_parse(text, bytes, sizeof(bytes))) {
        hex_format(bytes, sizeof(bytes), again);
        assert(text.len == 16 && strncasecmp(again, text.ptr, 16) == 0);
    }
    if (base64url_parse(text, &decoded)) {
        base64url_add(&encoded, decoded.ptr, decoded.len);
        assert(str_eq(buf_str(&encoded), text));
    }
    if (str_parse_u64(text, 1000, &number))
        assert(number <= 1000);
}

static void digest(struct str text)
{
    uint8_t digest[HASH_SIZE];
    char again[DIGEST_TEXT_SIZE];
    if (!hash_digest_parse(text, digest))
        return;
    hash_digest_format(digest, again);
    assert(str_eq_c(text, again));
}

static void identity(struct str text)
{
    struct identity i;
    char again[IDENTITY_URI_SIZE];
    auto_free char *pattern = fuzz_text(text);
    if (identity_parse(text, &i, NULL) == OK) {
        identity_format(&i, again);
        assert(str_eq_c(text, again) && identity_matches(&i, again));
    }
    static const struct identity SOMEBODY = {"dev-0", "node", "w1"};
    if (identity_pattern_check(pattern, NULL) != OK)
        assert(!identity_matches(&SOMEBODY, pattern));
}

static void host_name(struct str text)
{
    if (host_name_check(text, false, NULL) == OK) {
        assert(text.len <= HOST_NAME_LEN_MAX && host_name_matches(text, text));
        assert(host_name_check(text, true, NULL) == OK);
    }
    if (host_name_check(text, true, NULL) == OK)
        (void)host_name_matches(text, STR("a.example.test"));
}

static void partition(struct str text)
{
    struct partition p, back;
    char again[PARTITION_TEXT_SIZE];
    if (!partition_parse(text, &p))
        return;
    partition_format(p, again);
    assert(p.first <= p.last && partition_parse(str_from(again), &back));
    assert(back.first == p.first && back.last == p.last);
}

static void token(struct str text)
{
    char hash[TOKEN_HASH_TEXT_SIZE];
    token_hash(text, hash);
    assert(token_matches(text, hash) == token_is_well_formed(text));
}

static void words(struct str text)
{
    enum instance_status instance;
    enum health health;
    enum deployment_status deployment;
    enum node_status node;
    enum image_status image;
    (void)instance_status_parse(text, &instance);
    (void)health_parse(text, &health);
    (void)deployment_status_parse(text, &deployment);
    (void)node_status_parse(text, &node);
    (void)image_status_parse(text, &image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const ALL[])(struct str) = {time_of_event, wall_time, id,        ip,    digits, digest,
                                              identity,      host_name, partition, token, words};
    size_t choice;
    struct str rest;
    if (fuzz_choose(data, size, sizeof(ALL) / sizeof(ALL[0]), &choice, &rest))
        ALL[choice](rest);
    return 0;
}
