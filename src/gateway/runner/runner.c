#include "gateway/runner/runner.h"

#include <stdio.h>

#include "base/own.h"
#include "net/http_client.h"

/* 10 s: an agent answers at once, its work goes on behind the answer (chosen). */
enum { TIMEOUT_MS = 10000 };

static enum err call(const struct runner *r, const char *method, const char *path, struct str body,
                     struct buf *ret_body, struct errinfo *err)
{
    char url[256];
    (void)snprintf(url, sizeof(url), "%s%s", r->agent_url, path);
    struct http_call_options o = {.method = method,
                                  .url = url,
                                  .body = body,
                                  .connect_timeout_ms = 2000,
                                  .total_timeout_ms = TIMEOUT_MS,
                                  .ca_file = r->ca_file,
                                  .cert_file = r->cert_file,
                                  .key_file = r->key_file,
                                  .peer_uri = r->peer_uri};
    struct http_result result = {0};
    enum err rc = http_fetch(&o, NULL, &result);
    if (rc != OK && err != NULL)
        *err = result.err;
    if (rc == OK && ret_body != NULL)
        buf_add_str(ret_body, buf_str(&result.body));
    http_result_done(&result);
    return rc;
}

static void instance_path(struct id id, char ret[static 96])
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    (void)snprintf(ret, 96, "/v1/instances/%s", text);
}

enum err runner_start(const struct runner *r, const struct instance_spec *spec, struct errinfo *err)
{
    AUTO(buf) struct buf body = {0};
    fields_encode(&INSTANCE_SPEC_WIRE, spec, &body);
    return call(r, "POST", "/v1/instances", buf_str(&body), NULL, err);
}

enum err runner_get(const struct runner *r, struct id instance_id, struct arena *a, struct instance_resource *ret,
                    struct errinfo *err)
{
    char path[96];
    instance_path(instance_id, path);
    AUTO(buf) struct buf body = {0};
    enum err rc = call(r, "GET", path, (struct str){0}, &body, err);
    return rc == OK ? fields_parse(&INSTANCE_RESOURCE_WIRE, buf_str(&body), a, ret, err) : rc;
}

enum err runner_is_well(const struct runner *r, struct errinfo *err)
{
    return call(r, "GET", "/v1/health", (struct str){0}, NULL, err);
}
