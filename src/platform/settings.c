#include "platform/settings.h"

#define ROW(member, unit, value, source) {#member, unit, value, source, offsetof(struct platform_settings, member)}

/* One row a figure: help, configuration and documentation read it here. */
const struct platform_setting_row PLATFORM_SETTINGS[] = {
    ROW(instances_min, "instances", 3, "what was asked for: at least 3 microVMs for each deployment"),
    ROW(instances_max, "instances", 100, "chosen: a slip of the keyboard must not fill an installation"),
    ROW(instance_vcpus, "vcpus", 1, "chosen: the least that boots"),
    ROW(instance_memory_bytes, "bytes", 256LL << 20,
        "chosen: a small web program; measured resident under TCG: 126 MB"),
    ROW(port, "", 8080, "the platform's promise: PORT is 8080 unless the project says otherwise"),
    ROW(drain_seconds, "s", 300, "what was asked for: we wait 5 minutes before shutting down the old instances"),
    ROW(drain_seconds_max, "s", 86400, "chosen: a day; longer is two applications"),
    ROW(vcpus_overcommit_percent, "%", 800, "chosen: web programs wait most of the time; a busy one only slows others"),
    ROW(memory_overcommit_percent, "%", 100, "never more than there is: a guest without memory dies"),
    ROW(start_timeout_seconds, "s", 120,
        "chosen: a microVM under TCG answers after 3 s (measured), six at once after 5 s; the rest is for fetching an "
        "image "
        "and a slow start; Heroku allows 60 s, Cloud Run 240 s"),
    ROW(settle_seconds, "s", 2,
        "chosen: a program that answers once and dies must not take over (the simulator found one that did)"),
    ROW(build_timeout_seconds, "s", 1800, "chosen: a cold build of a large application"),
    ROW(builder_linger_seconds, "s", 30, "chosen: its agent delivers the end of the build log meanwhile"),
    ROW(stop_timeout_seconds, "s", 60, "chosen: 10 s of grace after SIGTERM, and a node that reports late"),
    ROW(withdraw_timeout_seconds, "s", 60,
        "chosen: an edge confirms within 2 s (the simulator's take 3 at most); four times what it takes to count as "
        "gone"),
    ROW(edge_live_seconds, "s", 15, "three polls of an edge: one that has not polled for so long is not live"),
    ROW(status_events_per_hour, "events", 12, "chosen: a crash loop must not fill the log"),
    ROW(status_repeat_seconds, "s", 300,
        "chosen: an instance that has recovered after a crash loop serves again within 5 minutes"),
    ROW(replace_delay_seconds, "s", 10, "chosen: as Kubernetes' crash-loop back-off, which begins with 10 s"),
    ROW(replace_delay_seconds_max, "s", 600, "chosen: six replacements an hour at worst"),
    ROW(turn_after_seconds, "s", 60, "chosen: by then it is no moment's shortage that passes by itself"),
    ROW(turn_seconds, "s", 600,
        "chosen: two drains of an old version; afterwards it waits on, and the next one has its turn"),
    ROW(spread_after_seconds, "s", 120,
        "chosen: eight times what it takes to miss a node, so that one that comes and goes moves nothing; an "
        "installation that was raised node by node is spread two minutes after the last"),
    ROW(cause_repeat_seconds, "s", 60, "chosen: an event a minute while somebody waits for capacity"),
    ROW(needs_certificate, "", 1, "a host that is routed before it has a certificate answers nobody"),
};
const size_t PLATFORM_SETTINGS_N = sizeof(PLATFORM_SETTINGS) / sizeof(PLATFORM_SETTINGS[0]);

void platform_settings_init(struct platform_settings *ret)
{
    *ret = (struct platform_settings){.app_domain = STR("localhost"), .installation = STR("dev-0")};
    for (size_t i = 0; i < PLATFORM_SETTINGS_N; i++)
        memcpy((char *)ret + PLATFORM_SETTINGS[i].offset, &PLATFORM_SETTINGS[i].value, sizeof(int64_t));
}

enum err platform_settings_tune(struct platform_settings *s, struct str name, struct str value, struct errinfo *err)
{
    int64_t figure = 0;
    if (!str_parse_i64(value, &figure) || figure < 0)
        return err_set(err, ERR_INVALID, "'%.*s=%.*s' must be name=value with a whole number", STR_ARG(name),
                       STR_ARG(value));
    for (size_t i = 0; i < PLATFORM_SETTINGS_N; i++)
        if (str_eq_c(name, PLATFORM_SETTINGS[i].name)) {
            memcpy((char *)s + PLATFORM_SETTINGS[i].offset, &figure, sizeof(figure));
            return OK;
        }
    return err_set(err, ERR_INVALID, "there is no figure '%.*s' to tune", STR_ARG(name));
}
