#pragma once
/* A model of any size, and a clock to hold against it. */
#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "platform/model.h"

static inline double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline void big_model_apply(struct model *m, const struct event *e)
{
    enum err rc = model_apply(m, e, NULL);
    assert(rc == OK);
}

static inline struct id counted_id(uint64_t *n)
{
    struct id id = {0};
    ++*n;
    for (int i = 0; i < 8; i++)
        id.bytes[i] = (uint8_t)(*n >> (56 - 8 * i));
    return id;
}

/* One event, a microsecond after the one before. */
static inline struct event big_event(const struct model *m, enum event_kind kind)
{
    return (struct event){.kind = kind, .time = {m->seq == 0 ? 1000 : m->time.instant_ns + 1000, 0}};
}

static inline void big_model_status(struct model *m, struct id instance, struct id node, const char *status,
                                    const char *health)
{
    struct event e = big_event(m, EVENT_INSTANCE_STATUS_CHANGE);
    e.instance_status_change = (struct instance_status_change){.instance_id = instance,
                                                               .node_id = node,
                                                               .status = str_from(status),
                                                               .health = str_from(health),
                                                               .boot_id = STR("0191d0d2-0000-7000-8000-000000000001"),
                                                               .report_seq = (int64_t)m->seq};
    big_model_apply(m, &e);
}

/* A model with n running instances, 100 on each node, each with an address, a reason and three entries of history. */
static inline struct model *big_model(size_t n)
{
    struct model *m = model_new();
    uint64_t ids = 0;
    struct id region = counted_id(&ids), zone = counted_id(&ids), process = counted_id(&ids), node = ID_NONE;
    struct event e = big_event(m, EVENT_CREATE_REGION);
    e.create_region = (struct create_region){region, STR("r")};
    big_model_apply(m, &e);
    e = big_event(m, EVENT_CREATE_ZONE);
    e.create_zone = (struct create_zone){zone, region, STR("a")};
    big_model_apply(m, &e);
    e = big_event(m, EVENT_CREATE_PROCESS);
    e.create_process.process_id = process;
    e.create_process.name = STR("p");
    big_model_apply(m, &e);
    for (size_t i = 0; i < n; i++) {
        char name[64], prefix[64], address[64], because[64];
        if (i % 100 == 0) {
            node = counted_id(&ids);
            (void)snprintf(name, sizeof(name), "n%zu", i);
            (void)snprintf(prefix, sizeof(prefix), "fd00:0:%zx:%zx::/64", i >> 16, i & 0xffff);
            e = big_event(m, EVENT_JOIN_NODE);
            e.join_node = (struct join_node){
                .node_id = node, .zone_id = zone, .name = str_from(name), .prefix = str_from(prefix)};
            big_model_apply(m, &e);
        }
        size_t at = i - i % 100;
        (void)snprintf(address, sizeof(address), "fd00:0:%zx:%zx::%zx", at >> 16, at & 0xffff, 16 + i % 100);
        (void)snprintf(because, sizeof(because), "{\"free_memory_bytes\":%zu}", (100 - i % 100) << 28);
        e = big_event(m, EVENT_CREATE_INSTANCE);
        e.create_instance = (struct create_instance){.instance_id = counted_id(&ids),
                                                     .process_id = process,
                                                     .node_id = node,
                                                     .owner = STR("tests"),
                                                     .runtime = STR("qemu"),
                                                     .address = str_from(address),
                                                     .because = str_from(because)};
        struct id instance = e.create_instance.instance_id;
        big_model_apply(m, &e);
        big_model_status(m, instance, node, "starting", "");
        big_model_status(m, instance, node, "running", "NOMINAL");
    }
    return m;
}
