#pragma once
/* platform/settings.h - every figure that decisions and plans depend on, as one table with the reason for each.
 * Layer: platform. Pure. Decisions carry what they were decided from, so a changed setting never changes a replay. */
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

struct platform_settings {
    struct str app_domain;   /* applications answer at <slug>.<app_domain>; borrowed */
    struct str installation; /* owner of the instances that are placed here; borrowed */

    int64_t instances_min;            /* per deployment */
    int64_t instances_max;            /* per deployment */
    int64_t instance_vcpus;           /* when a deployment does not say */
    int64_t instance_memory_bytes;    /* likewise */
    int64_t port;                     /* likewise */
    int64_t drain_seconds;            /* likewise */
    int64_t drain_seconds_max;        /* largest that may be asked for */
    int64_t vcpus_overcommit_percent; /* of what a node offers */
    int64_t memory_overcommit_percent;
    int64_t start_timeout_seconds;    /* placed but not healthy */
    int64_t settle_seconds;           /* all healthy that long: then the route switches */
    int64_t build_timeout_seconds;    /* a builder that neither reports nor ends */
    int64_t builder_linger_seconds;   /* an ended builder stays listed */
    int64_t stop_timeout_seconds;     /* told to stop, nothing heard: deleted anyway */
    int64_t withdraw_timeout_seconds; /* an instance that goes: edges that poll have not confirmed, it stops anyway */
    int64_t edge_live_seconds;        /* an edge that polled within this is live */
    int64_t status_events_per_hour;   /* per instance */
    int64_t status_repeat_seconds;    /* beyond that: one event in so long */
    int64_t replace_delay_seconds;    /* before a failed instance of a live deployment is replaced; doubles */
    int64_t replace_delay_seconds_max;
    int64_t turn_after_seconds;   /* a deployment that waits for room: then what becomes free is held for it */
    int64_t turn_seconds;         /* for so long */
    int64_t spread_after_seconds; /* a node has been ready for so long: then instances are moved there to be spread */
    int64_t cause_repeat_seconds; /* a waiting deployment says something new at most this often */
    int64_t needs_certificate;    /* 1: no switch before each host has a certificate */
};

struct platform_setting_row {
    const char *name, *unit;
    int64_t value; /* default */
    const char *source;
    size_t offset; /* of an int64_t in struct platform_settings */
};
extern const struct platform_setting_row PLATFORM_SETTINGS[];
extern const size_t PLATFORM_SETTINGS_N;

/* Every default; app_domain is "localhost", installation "dev-0" until the caller says otherwise. */
void platform_settings_init(struct platform_settings *ret);
/* One figure by its name. OK | ERR_INVALID there is none of this name, or the value is no whole number from 0 on */
must_check enum err platform_settings_tune(struct platform_settings *s, struct str name, struct str value,
                                           struct errinfo *err);
