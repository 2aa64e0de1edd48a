#pragma once
/* cli/client.h - calls of the CLI to the APIs of its installation, as the operator. Layer: cli. Blocks. */
#include <jansson.h>

#include "cli/command.h"
#include "net/http_client.h"

enum api { API_PUBLIC, API_MANAGEMENT };

struct client_call {
    enum api api;
    const char *url;      /* instead of api: the base of another program, e.g. of a node-agent */
    const char *peer_uri; /* with url: whom to expect there */
    const char *method;   /* NULL: GET */
    const char *path;     /* with query */
    struct str body;      /* JSON */
    const char *content_type;
    int upload_fd; /* with upload_size_bytes > 0 */
    uint64_t upload_size_bytes;
    unsigned timeout_ms; /* 0: 30,000 */
    enum err (*on_data)(struct str bytes, void *ctx, struct errinfo *err);
    void *ctx;
    json_t **ret_problem; /* may be NULL; the problem of an answer that is one, else NULL: json_decref */
};

/* Call and read the answer's JSON. The first operator is asked, and when it is not there the others: a call that
 * changes something only as long as it has reached nobody. *ret_doc (may be NULL) is returned: json_decref. Errors
 * carry what the API said; ERR_UNAVAILABLE when nobody answers, with what to do. */
must_check enum err client_call(const struct cli *c, const struct client_call *call, json_t **ret_doc,
                                struct errinfo *err);
/* GET `path` page by page ("items" and "next"): every item in one array. Returned: json_decref. */
must_check enum err client_list(const struct cli *c, enum api api, const char *path, json_t **ret_items,
                                struct errinfo *err);
