/* The jetstream store: keys, in a key-value bucket of their own beside the stream. The leader is asked, never a copy
 * that may be behind. A key that is dropped is deleted as a message, which the servers overwrite on their disks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/encode.h"
#include "base/own.h"
#include "store/jetstream.h"
#include "store/key.h"

enum { NO_MESSAGE = 10037, STREAM_NOT_FOUND = 10059, WRONG_LAST = 10071, WRONG_LAST_CONSTANT = 10164 };

/* Standard base64, as the servers' JSON has it. */
static bool decode(struct str text, struct buf *ret)
{
    AUTO(buf) struct buf url = {0};
    for (size_t i = 0; i < text.len && text.ptr[i] != '='; i++) {
        char c = text.ptr[i];
        if (c == '+')
            c = '-';
        else if (c == '/')
            c = '_';
        buf_add_char(&url, c);
    }
    return base64url_parse(buf_str(&url), ret);
}

/* *ret_message: by which it is replaced or deleted. */
static enum err get(struct store *s, const char *name, struct store_key *ret, uint64_t *ret_message,
                    struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_free char *subject = mem_printf("$JS.API.STREAM.MSG.GET.KV_%s", j->keys);
    auto_free char *body = mem_printf("{\"last_by_subj\":\"$KV.%s.%s\"}", j->keys, name);
    auto_json json_t *doc = NULL;
    AUTO(buf) struct buf text = {0};
    struct store_key key = {0};
    int code = 0;
    enum err rc = jet_api(s, subject, str_from(body), &doc, &code, err);
    if (code == NO_MESSAGE || code == STREAM_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "log '%s' has no key '%s'", s->name, name);
    if (rc != OK)
        return rc;
    const json_t *message = json_object_get(doc, "message");
    *ret_message = (uint64_t)json_integer_value(json_object_get(message, "seq"));
    if (*ret_message == 0 || !decode(json_member_str(message, "data"), &text) ||
        !store_key_text_read(buf_str(&text), &key))
        return err_set(err, ERR_CORRUPT, "key '%s' of log '%s' is damaged", name, s->name);
    memcpy(key.name, name, strlen(name) + 1);
    *ret = key;
    return OK;
}

static enum err refusal(const struct store *s, const char *name, struct str text, struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    if (json_parse(text, &doc, NULL) != OK)
        return err_set(err, ERR_UNAVAILABLE, "log '%s': an answer of NATS is no JSON document", s->name);
    const json_t *error = json_object_get(doc, "error");
    json_int_t code = json_integer_value(json_object_get(error, "err_code"));
    if (error == NULL)
        return OK;
    if (code == WRONG_LAST || code == WRONG_LAST_CONSTANT)
        return err_set(err, ERR_CONFLICT, "key '%s' of log '%s' is not as expected", name, s->name);
    return err_set(err, ERR_UNAVAILABLE, "log '%s': key '%s' was not kept: %.*s", s->name, name,
                   STR_ARG(json_member_str(error, "description")));
}

static enum err put_behind(struct store *s, const struct store_key *key, uint64_t message, struct errinfo *err)
{
    const struct jet *j = s->impl;
    char expected[24];
    (void)snprintf(expected, sizeof(expected), "%" PRIu64, message);
    auto_free char *subject = mem_printf("$KV.%s.%s", j->keys, key->name);
    auto_free char *text = store_key_text(key);
    const struct jet_header headers[] = {{"Nats-Expected-Last-Subject-Sequence", expected}};
    auto_message natsMsg *m = NULL;
    struct jet_question q = {.subject = subject, .body = str_from(text), .headers = headers, .headers_n = 1};
    enum err rc = jet_again(jet_ask(s, &q, &m, err), err);
    if (rc != OK)
        return rc;
    return refusal(s, key->name, (struct str){natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)}, err);
}

enum err jet_key_put(struct store *s, const struct store_key *key, const char *was, struct errinfo *err)
{
    struct store_key now;
    uint64_t message = 0;
    enum err rc = jet_ready(s, err);
    if (rc == OK && was != NULL)
        rc = get(s, key->name, &now, &message, err);
    if (rc == ERR_NOT_FOUND || (rc == OK && was != NULL && strcmp(now.wrapped, was) != 0))
        return err_set(err, ERR_CONFLICT, "key '%s' of log '%s' is not as expected", key->name, s->name);
    return rc == OK ? put_behind(s, key, message, err) : rc;
}

enum err jet_key_get(struct store *s, const char *name, struct store_key *ret, struct errinfo *err)
{
    uint64_t message = 0;
    enum err rc = jet_ready(s, err);
    return rc == OK ? get(s, name, ret, &message, err) : rc;
}

/* Somebody may replace it at the same time: until there is none. */
enum err jet_key_drop(struct store *s, const char *name, struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_free char *subject = mem_printf("$JS.API.STREAM.MSG.DELETE.KV_%s", j->keys);
    enum err rc = jet_ready(s, err);
    while (rc == OK) {
        struct store_key now;
        uint64_t message = 0;
        auto_json json_t *doc = NULL;
        int code = 0;
        rc = get(s, name, &now, &message, err);
        if (rc == ERR_NOT_FOUND)
            return OK;
        if (rc != OK && (rc != ERR_CORRUPT || message == 0))
            return rc;
        auto_free char *body = mem_printf("{\"seq\":%" PRIu64 ",\"no_erase\":false}", message);
        rc = jet_api(s, subject, str_from(body), &doc, &code, err);
        if (code != 0 && code != NO_MESSAGE)
            return rc;
        rc = code == NO_MESSAGE ? OK : rc;
    }
    return rc;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names behind `after`, sorted: *ret is returned, its texts are doc's. */
static const char **names_of(const struct jet *j, const json_t *doc, const char *after, size_t *ret_n)
{
    json_t *subjects = json_object_get(json_object_get(doc, "state"), "subjects");
    const char **names = mem_alloc((json_object_size(subjects) + 1) * sizeof(*names));
    size_t prefix = strlen("$KV.") + strlen(j->keys) + 1;
    const char *subject;
    json_t *n;
    *ret_n = 0;
    json_object_foreach(subjects, subject, n)
    {
        const char *name = strlen(subject) > prefix ? subject + prefix : "";
        if (store_key_name_is_fine(name) && strcmp(name, after) > 0)
            names[(*ret_n)++] = name;
    }
    if (*ret_n > 1)
        qsort((void *)names, *ret_n, sizeof(*names), by_text);
    return names;
}

enum err jet_key_list(struct store *s, const char *after, struct store_key *ret, size_t max, size_t *ret_n,
                      struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_free char *subject = mem_printf("$JS.API.STREAM.INFO.KV_%s", j->keys);
    auto_free char *body = mem_printf("{\"subjects_filter\":\"$KV.%s.>\"}", j->keys);
    auto_json json_t *doc = NULL;
    int code = 0;
    *ret_n = 0;
    enum err rc = jet_ready(s, err);
    if (rc == OK)
        rc = jet_api(s, subject, str_from(body), &doc, &code, err);
    if (code == STREAM_NOT_FOUND)
        return OK;
    if (rc != OK)
        return rc;
    size_t n = 0;
    const char **names = names_of(j, doc, after, &n);
    for (size_t i = 0; i < n && *ret_n < max && rc == OK; i++) {
        uint64_t message = 0;
        rc = get(s, names[i], &ret[*ret_n], &message, err);
        *ret_n += rc == OK;
        rc = rc == ERR_NOT_FOUND ? OK : rc; /* dropped meanwhile */
    }
    free((void *)names);
    return rc;
}
