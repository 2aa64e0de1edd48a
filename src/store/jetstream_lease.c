/* The jetstream store: leases, in a key-value bucket beside the stream. */
#include <stdio.h>

#include "base/own.h"
#include "store/jetstream.h"

/* Of the names that ever held one and not let go; they go after a day (jet_bucket_make). */
#define NAMES_MAX 1024u

/* A dot would part the key: '=' is in no name. Returned. */
static char *subject_of(const struct jet *j, const char *name)
{
    char *subject = mem_printf("$KV.%s.%s", j->bucket, name);
    for (char *c = subject + strlen(subject) - strlen(name); *c != '\0'; c++)
        if (*c == '.')
            *c = '=';
    return subject;
}

static enum err put(struct store *s, const char *name, struct str body, const struct jet_header *headers, size_t n,
                    struct errinfo *err)
{
    auto_free char *subject = subject_of(s->impl, name);
    auto_message natsMsg *m = NULL;
    auto_json json_t *doc = NULL;
    enum err rc = jet_ready(s, err);
    struct jet_question q = {.subject = subject, .body = body, .headers = headers, .headers_n = n};
    if (rc == OK)
        rc = jet_again(jet_ask(s, &q, &m, err), err);
    if (rc != OK)
        return rc;
    struct str text = {natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)};
    if (json_parse(text, &doc, NULL) == OK && json_object_get(doc, "error") == NULL)
        return OK;
    return err_set(err, ERR_UNAVAILABLE, "log '%s': a lease was not taken: %.*s", s->name,
                   STR_ARG(json_member_str(json_object_get(doc, "error"), "description")));
}

enum err jet_lease_put(struct store *s, const struct store_lease *lease, struct errinfo *err)
{
    auto_json json_t *doc = json_pack("{s:s, s:I, s:I, s:b, s:b, s:s}", "name", lease->name, "until_us",
                                      (json_int_t)lease->until_us, "format", (json_int_t)lease->format, "abstains",
                                      (int)lease->abstains, "plans", (int)lease->plans, "text", lease->text);
    auto_free char *text = json_format(doc);
    return put(s, lease->name, str_from(text), NULL, 0, err);
}

enum err jet_lease_drop(struct store *s, const char *name, struct errinfo *err)
{
    static const struct jet_header GONE[] = {{"KV-Operation", "DEL"}};
    return put(s, name, (struct str){NULL, 0}, GONE, 1, err);
}

/* False: it was given back, or is no lease: whoever holds it writes it anew. */
static bool read_lease(natsMsg *m, struct store_lease *ret)
{
    auto_json json_t *doc = NULL;
    struct str text = {natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)};
    if (jet_header_of(m, "KV-Operation").len > 0 || json_parse(text, &doc, NULL) != OK)
        return false;
    *ret = (struct store_lease){.until_us = json_integer_value(json_object_get(doc, "until_us")),
                                .abstains = json_is_true(json_object_get(doc, "abstains")),
                                .plans = json_is_true(json_object_get(doc, "plans")),
                                .format = json_integer_value(json_object_get(doc, "format"))};
    return str_copy_to(json_member_str(doc, "text"), ret->text, sizeof(ret->text)) &&
           str_copy_to(json_member_str(doc, "name"), ret->name, sizeof(ret->name)) &&
           store_lease_name_is_fine(ret->name);
}

enum err jet_lease_list(struct store *s, struct store_lease *ret, size_t max, size_t *ret_n, struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_free char *subject = mem_printf("$JS.API.DIRECT.GET.KV_%s", j->bucket);
    auto_free char *body = mem_printf("{\"multi_last\":[\"$KV.%s.>\"],\"batch\":%u}", j->bucket, NAMES_MAX);
    auto_message natsMsg *m = NULL;
    auto_json json_t *doc = NULL;
    int64_t now_us = store_clock_us(s);
    *ret_n = 0;
    enum err rc = jet_ready(s, err);
    if (rc == OK)
        rc = jet_stream_info(s, &doc, err); /* what it is compared with is the servers' clock */
    if (rc == OK)
        rc = jet_ask(s, &(struct jet_question){.subject = subject, .body = str_from(body)}, &m, err);
    while (rc == OK && jet_status(m) == 0) {
        if (*ret_n < max && read_lease(m, &ret[*ret_n]) && ret[*ret_n].until_us > now_us)
            (*ret_n)++;
        natsMsg_Destroy(m);
        m = NULL;
        rc = jet_next(s, &m, err);
    }
    return jet_again(rc, err);
}
