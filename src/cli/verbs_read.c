/* The verbs that read a stream: events and logs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/client.h"
#include "cli/verbs.h"

const struct flag EVENTS_FLAGS[] = {
    {"log", FLAG_TEXT, "L", "name of the log (default: platform)"},
    {"after", FLAG_COUNT, "N", "only those after this number"},
    {"at", FLAG_TEXT, "T", "only those up to this instant (RFC 3339)"},
    {"of", FLAG_TEXT, "ID", "only those that name this object, also one that is no longer there"},
    {"follow", FLAG_BOOL, "", "go on with what comes, one per line"},
    {0},
};
const struct flag LOGS_FLAGS[] = {
    {"follow", FLAG_BOOL, "", "go on with what comes"},
    {0},
};

/* Where pieces of a stream are put together to lines. */
struct line_reader {
    struct cli *c;
    struct buf partial;
    void (*on_line)(struct cli *c, struct str line);
};

static enum err on_data(struct str bytes, void *ctx, struct errinfo *err)
{
    struct line_reader *r = ctx;
    (void)err;
    buf_add_str(&r->partial, bytes);
    size_t at = 0;
    while ((at = str_find(buf_str(&r->partial), '\n')) < r->partial.len) {
        r->on_line(r->c, str_slice(buf_str(&r->partial), 0, at));
        buf_consume(&r->partial, at + 1);
    }
    (void)fflush(stdout);
    return OK;
}

static enum err stream(struct cli *c, enum api api, const char *path, void (*on_line)(struct cli *, struct str),
                       struct errinfo *err)
{
    struct line_reader r = {.c = c, .on_line = on_line};
    enum err rc =
        client_call(c, &(struct client_call){.api = api, .path = path, .on_data = on_data, .ctx = &r}, NULL, err);
    if (rc == OK && r.partial.len > 0)
        on_line(c, buf_str(&r.partial));
    buf_done(&r.partial);
    return rc;
}

static void print_event(const json_t *event)
{
    auto_free char *payload = json_format(json_object_get(event, "payload"));
    (void)printf("%6lld  %.*s  %-22.*s  %s\n", (long long)json_integer_value(json_object_get(event, "seq")),
                 STR_ARG(json_member_str(event, "time")), STR_ARG(json_member_str(event, "type")), payload);
}

/* It is that event, or names the object: no table of members is needed, ids do not meet by chance. */
static bool names(const json_t *event, const char *id)
{
    auto_free char *payload = json_format(json_object_get(event, "payload"));
    return id == NULL || str_eq_c(json_member_str(event, "id"), id) || strstr(payload, id) != NULL;
}

static void event_line(struct cli *c, struct str line)
{
    if (str_starts(line, STR("data:"))) /* server-sent events */
        line = str_trim(str_slice(line, 5, line.len));
    auto_json json_t *doc = NULL;
    if (line.len == 0 || line.ptr[0] != '{' || json_parse(line, &doc, NULL) != OK || !names(doc, cli_text(c, "of")))
        return;
    if (c->json)
        (void)printf("%.*s\n", STR_ARG(line));
    else
        print_event(doc);
}

/* Whether the event is later than the instant of --at. */
static bool is_after(const json_t *event, const char *at)
{
    struct str time = json_member_str(event, "time");
    time = str_slice(time, 0, str_find(time, '#'));
    return str_cmp(time, str_from(at)) > 0;
}

static enum err list_events(struct cli *c, json_t *all, struct errinfo *err)
{
    int64_t after = cli_count(c, "after", 0);
    const char *at = cli_text(c, "at"), *of = cli_text(c, "of");
    for (;;) {
        char path[256];
        (void)snprintf(path, sizeof(path), "/v1/events?log=%s&after=%lld&limit=1000",
                       cli_text(c, "log") != NULL ? cli_text(c, "log") : "platform", (long long)after);
        auto_json json_t *doc = NULL;
        enum err rc = client_call(c, &(struct client_call){.api = API_MANAGEMENT, .path = path}, &doc, err);
        if (rc != OK)
            return rc;
        const json_t *items = json_object_get(doc, "items");
        for (size_t i = 0; i < json_array_size(items); i++) {
            json_t *event = json_array_get(items, i);
            if (at != NULL && is_after(event, at))
                return OK;
            if (names(event, of))
                json_array_append(all, event);
            after = json_integer_value(json_object_get(event, "seq"));
        }
        if (json_array_size(items) == 0)
            return OK;
    }
}

int verb_events(struct cli *c)
{
    struct errinfo err;
    const char *log = cli_text(c, "log"), *of = cli_text(c, "of");
    struct id id;
    if (of != NULL && !id_parse(str_from(of), &id))
        return cli_failf(c, ERR_INVALID, "'%s' is no id: 'slipform ps' and 'slipform nodes' list them", of);
    if (log != NULL && strspn(log, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(log))
        return cli_failf(c, ERR_INVALID, "'%s' is no name of a log: 'slipform status' lists them", log);
    if (cli_flag(c, "follow")) {
        char path[256];
        (void)snprintf(path, sizeof(path), "/v1/events?log=%s&after=%lld&follow=true", log != NULL ? log : "platform",
                       (long long)cli_count(c, "after", 0));
        return stream(c, API_MANAGEMENT, path, event_line, &err) == OK ? 0 : cli_fail(c, &err);
    }
    auto_json json_t *all = json_array();
    if (list_events(c, all, &err) != OK)
        return cli_fail(c, &err);
    if (c->json) {
        auto_free char *text = json_format(all);
        (void)puts(text);
        return 0;
    }
    for (size_t i = 0; i < json_array_size(all); i++)
        print_event(json_array_get(all, i));
    return 0;
}

static void log_line(struct cli *c, struct str line)
{
    if (str_starts(line, STR("data:")))
        line = str_trim(str_slice(line, 5, line.len));
    auto_json json_t *doc = NULL;
    if (line.len == 0 || line.ptr[0] != '{' || json_parse(line, &doc, NULL) != OK)
        return;
    if (c->json) {
        (void)printf("%.*s\n", STR_ARG(line));
        return;
    }
    struct str id = json_member_str(doc, "instance_id");
    (void)printf("%.19s %.*s %.*s\n", json_member_str(doc, "time").len >= 19 ? json_member_str(doc, "time").ptr : "",
                 STR_ARG(id.len == 36 ? str_slice(id, 24, 36) : id), STR_ARG(json_member_str(doc, "text")));
}

int verb_logs(struct cli *c)
{
    struct errinfo err;
    struct id id;
    if (!id_parse(str_from(c->args[0]), &id))
        return cli_failf(c, ERR_INVALID, "'%s' is no id: 'slipform ps' lists deployments and instances", c->args[0]);
    char path[160];
    const char *tail = cli_flag(c, "follow") ? "?follow=true" : "?format=json";
    (void)snprintf(path, sizeof(path), "/v1/deployments/%s/logs%s", c->args[0], tail);
    enum api api = API_PUBLIC;
    auto_json json_t *doc = NULL;
    enum err rc = cli_flag(c, "follow") ? stream(c, api, path, log_line, &err)
                                        : client_call(c, &(struct client_call){.path = path}, &doc, &err);
    if (rc == ERR_NOT_FOUND) { /* no deployment: an instance, then */
        api = API_MANAGEMENT;
        (void)snprintf(path, sizeof(path), "/v1/instances/%s/logs%s", c->args[0], tail);
        rc = cli_flag(c, "follow") ? stream(c, api, path, log_line, &err)
                                   : client_call(c, &(struct client_call){.api = api, .path = path}, &doc, &err);
    }
    if (rc != OK)
        return cli_fail(c, &err);
    const json_t *items = json_object_get(doc, "items");
    if (c->json && doc != NULL) {
        auto_free char *text = json_format(items);
        (void)puts(text);
    }
    for (size_t i = 0; !c->json && i < json_array_size(items); i++) {
        auto_free char *text = json_format(json_array_get(items, i));
        log_line(c, str_from(text));
    }
    return 0;
}
