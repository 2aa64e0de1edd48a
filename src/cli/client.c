#include "cli/client.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"

/* Longer than an election of JetStream under load (6 to 9 s), or the reconnecting after a promotion (chosen). */
enum { PATIENCE_MS = 20000, AGAIN_MS = 1000 };

static enum err fetch(const struct cli *c, const struct client_call *call, const char *to, struct http_result *ret)
{
    char url[2048], ca[PATH_SIZE], cert[PATH_SIZE], key[PATH_SIZE], seen[CLI_POSITION_SIZE + 32];
    const char *const headers[] = {seen};
    (void)snprintf(seen, sizeof(seen), "Slipform-Position: %s", c->position);
    (void)snprintf(url, sizeof(url), "%s%s", to, call->path);
    struct http_call_options o = {
        .method = call->method,
        .url = url,
        .headers = headers,
        .headers_n = call->url == NULL && c->position[0] != '\0' ? 1 : 0,
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
    return http_fetch(&o, call->ctx, ret);
}

/* What has reached nobody can be asked of another one (also when a connection was reset while it was being set up, as
 * by a program that hung and is killed), and what was refused because that one could not at the moment (503: nothing
 * was done); what may have been done, only when it changes nothing. */
static bool another_can_be_asked(const struct client_call *call, const struct http_result *r)
{
    bool is_read = (call->method == NULL || strcmp(call->method, "GET") == 0) && call->on_data == NULL;
    bool is_away = r->code == ERR_UNAVAILABLE || (r->code == ERR_IO && r->status == 0);
    if (!r->was_sent)
        return is_away;
    if (r->status == 503 && call->on_data == NULL)
        return true;
    return is_read && is_away;
}

/* The operators in their order, until one answers. When none does, *ret is what the first one said. False then. */
static bool fetch_from_operators(const struct cli *c, const struct client_call *call, off_t upload_at,
                                 struct http_result *ret)
{
    bool is_first = true;
    for (size_t i = 0; i < c->home.inst.nodes.n; i++) {
        const struct installation_node *n = home_node(&c->home, i);
        char base[96];
        if (!home_is_operator(n))
            continue;
        struct http_result r = {0};
        if (call->upload_size_bytes > 0)
            (void)lseek(call->upload_fd, upload_at, SEEK_SET);
        err_ignore(fetch(c, call,
                         call->api == API_PUBLIC ? home_operator_public_url(&c->home, n, base)
                                                 : home_operator_local_url(&c->home, n, base),
                         &r)); /* it is in r.code */
        bool goes_on = another_can_be_asked(call, &r);
        if (is_first || !goes_on) {
            http_result_done(ret);
            *ret = r;
        } else {
            http_result_done(&r);
        }
        is_first = false;
        if (!goes_on) {
            if (r.position != NULL)
                (void)str_copy_to(str_from(r.position), c->position, CLI_POSITION_SIZE);
            return true;
        }
    }
    return false;
}

/* What several operators refuse at the moment passes when their store has failed over. */
static void fetch_with_patience(const struct cli *c, const struct client_call *call, struct http_result *ret)
{
    int64_t until_us = clock_mono_us() + (int64_t)PATIENCE_MS * 1000;
    off_t upload_at = call->upload_size_bytes > 0 ? lseek(call->upload_fd, 0, SEEK_CUR) : 0;
    bool is_told = false;
    while (!fetch_from_operators(c, call, upload_at, ret) && ret->status == 503 && home_operators_n(&c->home) > 1 &&
           clock_mono_us() < until_us) {
        if (!is_told)
            (void)fprintf(stderr, "trying again for %d s: %s\n", PATIENCE_MS / 1000, ret->err.msg);
        is_told = true;
        (void)usleep(AGAIN_MS * 1000);
    }
}

enum err client_call(const struct cli *c, const struct client_call *call, json_t **ret_doc, struct errinfo *err)
{
    AUTO(http_result) struct http_result result = {0};
    if (call->url != NULL)
        err_ignore(fetch(c, call, call->url, &result)); /* it is in result.code */
    else
        fetch_with_patience(c, call, &result);
    enum err rc = result.code;
    if (call->ret_problem != NULL)
        *call->ret_problem = NULL;
    if (rc != OK && call->ret_problem != NULL && result.problem_code[0] != '\0')
        err_ignore(json_parse(buf_str(&result.body), call->ret_problem, NULL)); /* else it stays NULL */
    if (rc != OK) {
        *err = result.err;
        if (result.status == 0 && rc == ERR_UNAVAILABLE && call->url == NULL)
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
