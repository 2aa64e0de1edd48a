/* slipform eventlog verify|hash PATH: look at a log on disk, without the control plane. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/own.h"
#include "cli/verbs.h"
#include "event/hash.h"
#include "platform/model.h"
#include "store/store.h"

static int verify(struct cli *c, const char *path)
{
    struct store_verdict v = {0};
    struct errinfo err;
    if (store_verify(path, &v, &err) != OK)
        return cli_fail(c, &err);
    auto_json json_t *doc = json_object();
    json_object_set_new(doc, "ok", json_boolean(v.ok));
    json_object_set_new(doc, "events", json_integer((json_int_t)v.events));
    json_object_set_new(doc, "unverified", json_integer((json_int_t)v.unverified));
    json_t *bad = v.ok ? json_null() : json_object();
    if (!v.ok) {
        json_object_set_new(bad, "seq", json_integer((json_int_t)v.first_bad.seq));
        json_object_set_new(bad, "offset", json_integer((json_int_t)v.first_bad.offset));
        json_object_set_new(bad, "cause", json_from_str(str_from(v.first_bad.cause)));
    }
    json_object_set_new(doc, "first_bad", bad);
    if (c->json) {
        auto_free char *text = json_format(doc);
        (void)puts(text);
    } else if (v.ok) {
        (void)printf("%llu events, all good\n", (unsigned long long)v.events);
    } else {
        (void)printf("%llu events are good; event %llu at byte %llu of '%s' is damaged: %s\n",
                     (unsigned long long)v.events, (unsigned long long)v.first_bad.seq,
                     (unsigned long long)v.first_bad.offset, v.first_bad.file, v.first_bad.cause);
    }
    return v.ok ? 0 : 1;
}

static enum err fold(struct store *store, struct model *m, struct errinfo *err)
{
    for (uint64_t after = 0;;) {
        AUTO(store_batch) struct store_batch batch = {0};
        enum err rc = store_read(store, after, 0, 0, &batch, err);
        if (rc != OK || batch.n == 0)
            return rc;
        for (size_t i = 0; i < batch.n; i++) {
            AUTO(arena) struct arena a = {0};
            struct event ev;
            after = batch.items[i].seq;
            rc = event_decode(&batch.items[i].e, &a, &ev, err);
            if (rc == OK)
                rc = model_apply(m, &ev, err);
            if (rc != OK)
                return err_wrap(err, rc, "event %llu", (unsigned long long)after);
        }
    }
}

static int hash(struct cli *c, const char *path)
{
    struct store *store = NULL;
    struct errinfo err;
    struct stat st;
    bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    auto_free char *spec = mem_printf("%s;path=%s", is_folder ? "files" : "jsonl", path);
    struct store_options o = {.mode = STORE_READ};
    enum err rc = store_open(spec, &o, &store, NULL, &err);
    struct model *m = model_new();
    if (rc == OK)
        rc = fold(store, m, &err);
    store_close(store);
    if (rc == OK) {
        uint8_t digest[HASH_SIZE];
        char text[HASH_TEXT_SIZE];
        model_hash(m, digest);
        hex_format(digest, sizeof(digest), text);
        (void)printf(c->json ? "{\"seq\":%llu,\"model_hash\":\"%s\"}\n" : "%llu %s\n", (unsigned long long)m->seq,
                     text);
    }
    model_free(m);
    return rc == OK ? 0 : cli_fail(c, &err);
}

int verb_eventlog(struct cli *c)
{
    if (strcmp(c->args[0], "verify") == 0)
        return verify(c, c->args[1]);
    if (strcmp(c->args[0], "hash") == 0)
        return hash(c, c->args[1]);
    (void)cli_failf(c, ERR_INVALID, "'eventlog %s' is not known: verify, hash", c->args[0]);
    return 2;
}
