#include "cli/client.h"

#include <stdio.h>

#include "base/json.h"
#include "base/own.h"

enum err client_call(const struct cli *c, const struct client_call *call, json_t **ret_doc, struct errinfo *err)
{
    char url[2048], base[96], ca[PATH_SIZE], cert[PATH_SIZE], key[PATH_SIZE];
    const char *to = call->url                 ? call->url
                     : call->api == API_PUBLIC ? home_public_url(&c->home, base)
                                               : home_management_url(&c->home, base);
    (void)snprintf(url, sizeof(url), "%s%s", to, call->path);
    struct http_call_options o = {
        .method = call->method,
        .url = url,
        .body = call->body,
        .content_type = call->content_type,
        .upload_fd = call->upload_fd,
        .upload_size_bytes = call->upload_size_bytes,
        .connect_timeout_ms = 5000,
        .total_timeout_ms = call->on_data != NULL   ? 0
                            : call->timeout_ms != 0 ? call->timeout_ms
                                                    : 30000,
        .ca_file = home_path(&c->home, ca, "ca/ca.crt"),
        .cert_file = home_path(&c->home, cert, "operator/client.crt"),
        .key_file = home_path(&c->home, key, "operator/client.key"),
        .peer_uri = call->peer_uri,
        .on_data = call->on_data,
    };
    AUTO(http_result) struct http_result result = {0};
    enum err rc = http_fetch(&o, call->ctx, &result);
    if (call->ret_problem != NULL)
        *call->ret_problem = NULL;
    if (rc != OK && call->ret_problem != NULL && result.problem_code[0] != '\0')
        err_ignore(json_parse(buf_str(&result.body), call->ret_problem, NULL)); /* else it stays NULL */
    if (rc != OK) {
        *err = result.err;
        if (result.status == 0 && rc == ERR_UNAVAILABLE)
            return err_wrap(err, rc, "the installation in '%s' does not answer ('slipform up' raises it again)",
                            c->home.path);
        return rc;
    }
    if (ret_doc == NULL)
        return OK;
    rc = json_parse(result.body.len == 0 ? STR("{}") : buf_str(&result.body), ret_doc, err);
    return rc == OK ? OK : err_wrap(err, rc, "answer of %s", call->path);
}

enum err client_list(const struct cli *c, enum api api, const char *path, json_t **ret_items, struct errinfo *err)
{
    auto_json json_t *all = json_array();
    char next[1024];
    (void)snprintf(next, sizeof(next), "%s", path);
    /* 10,000 pages: a server that always has a next page ends here. */
    for (int page = 0; page < 10000; page++) {
        auto_json json_t *doc = NULL;
        enum err rc = client_call(c, &(struct client_call){.api = api, .path = next}, &doc, err);
        if (rc != OK)
            return rc;
        json_array_extend(all, json_object_get(doc, "items"));
        struct str token = json_member_str(doc, "next");
        if (token.len == 0)
            break;
        (void)snprintf(next, sizeof(next), "%s%cpage=%.*s", path, strchr(path, '?') != NULL ? '&' : '?',
                       STR_ARG(token));
    }
    *ret_items = TAKE(all);
    return OK;
}
