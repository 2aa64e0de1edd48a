/* The identity and the secret environment of an instance. A microVM's secrets are fetched before each start and kept in
 * memory only: nothing of them is on the node's disk. The identity of a host program: the installer's for this
 * instance, or what the control plane gives it, kept on disk so that a restart asks nobody. */
#include <sys/stat.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "node/agent/private.h"
#include "os/file.h"

static bool take_folder(struct instance *i, char *folder)
{
    auto_free char *at = folder;
    auto_free char *cert = mem_printf("%s/cert.pem", at), *key = mem_printf("%s/key.pem", at);
    if (!file_exists(cert) || !file_exists(key))
        return false;
    free(i->cert_file);
    free(i->key_file);
    i->cert_file = TAKE(cert);
    i->key_file = TAKE(key);
    return true;
}

void secrets_forget(struct instance *i)
{
    for (size_t k = 0; k < i->secrets_env.n; k++)
        explicit_bzero((void *)(uintptr_t)i->secrets_env.items[k].ptr, i->secrets_env.items[k].len);
    arena_done(&i->secrets_arena);
    i->secrets_env = (struct strs){0};
    i->has_secrets = false;
}

/* NAME=value for its environment. */
static void take_env(struct instance *i, const json_t *doc)
{
    secrets_forget(i);
    const json_t *env = json_object_get(doc, "env");
    size_t n = json_array_size(env);
    i->secrets_env.items = arena_alloc(&i->secrets_arena, (n + 1) * sizeof(*i->secrets_env.items));
    for (size_t k = 0; k < n; k++) {
        const char *item = json_string_value(json_array_get(env, k));
        if (item != NULL)
            i->secrets_env.items[i->secrets_env.n++] = str_from(arena_strdup(&i->secrets_arena, item));
    }
}

/* What else a host program was given. */
static void take_kept_env(struct instance *i)
{
    auto_free char *path = mem_printf("%s/identity/secrets.json", i->folder);
    AUTO(buf) struct buf text = {0};
    auto_json json_t *doc = NULL;
    struct errinfo ignored;
    secrets_forget(i);
    if (file_read(path, 1024 * 1024, &text, &ignored) == OK && json_parse(buf_str(&text), &doc, &ignored) == OK)
        take_env(i, doc);
}

bool secrets_are_missing(struct instance *i)
{
    if (!instance_is_host(i))
        return i->spec.secret_names.n > 0 && !i->has_secrets;
    if (take_folder(i, mem_printf("%s/identities/%s", i->agent->o.home, i->id_text)) ||
        take_folder(i, mem_printf("%s/identity", i->folder))) {
        take_kept_env(i);
        return false;
    }
    return str_eq_c(i->spec.owner, i->agent->o.installation); /* bootstrap: before there is anybody to ask */
}

static enum err hold_secrets(struct instance *i, struct str body, struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    enum err rc = json_parse(body, &doc, err);
    if (rc != OK)
        return rc;
    take_env(i, doc);
    i->has_secrets = true;
    return OK;
}

static enum err keep_secrets(struct instance *i, struct str body, struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    enum err rc = json_parse(body, &doc, err);
    if (rc != OK)
        return rc;
    struct str cert = json_member_str(doc, "cert_pem"), key = json_member_str(doc, "key_pem");
    if (cert.len == 0 || key.len == 0)
        return err_set(err, ERR_INVALID, "the control plane gave no certificate for this instance");
    gid_t gid = i->agent->host.gid;
    auto_free char *folder = mem_printf("%s/identity", i->folder);
    auto_free char *cert_path = mem_printf("%s/cert.pem", folder), *key_path = mem_printf("%s/key.pem", folder);
    auto_free char *all_path = mem_printf("%s/secrets.json", folder);
    rc = folder_make_owned(folder, 0750, 0, gid, err);
    if (rc == OK)
        rc = file_replace(all_path, body, 0600, err);
    if (rc == OK)
        rc = file_replace_owned(key_path, key, 0640, 0, gid, err);
    if (rc == OK) /* last: its being there means that all is */
        rc = file_replace_owned(cert_path, cert, 0640, 0, gid, err);
    return rc;
}

static void fail(struct instance *i, const struct errinfo *err)
{
    agent_give(i->agent, &(struct converge_input){
                             .type = CONVERGE_PREPARED, .id = i->id, .attempt = i->attempt, .cause = err->msg});
}

static void on_secrets(struct http_result *r, void *ctx)
{
    struct instance *i = ctx;
    struct errinfo err = r->err;
    i->secrets_call = NULL;
    enum err rc = r->code;
    if (rc == OK)
        rc = instance_is_host(i) ? keep_secrets(i, buf_str(&r->body), &err) : hold_secrets(i, buf_str(&r->body), &err);
    if (r->body.ptr != NULL)
        explicit_bzero(r->body.ptr, r->body.len);
    if (rc == OK) {
        act_prepare_next(i);
        return;
    }
    i->agent->api++;
    err_ignore(err_wrap(&err, rc, "fetch its %s", instance_is_host(i) ? "identity" : "secrets"));
    fail(i, &err);
}

void secrets_fetch(struct instance *i)
{
    struct agent *a = i->agent;
    const char *api = report_api(a);
    struct errinfo err;
    if (api == NULL) {
        err_ignore(err_set(&err, ERR_UNAVAILABLE, "it has no identity folder, and no management API is known"));
        fail(i, &err);
        return;
    }
    auto_free char *url = mem_printf("%s/v1/instances/%s/secrets", api, i->id_text);
    struct http_call_options call = {.url = url,
                                     .ca_file = a->o.ca_file,
                                     .cert_file = a->o.cert_file,
                                     .key_file = a->o.key_file,
                                     .peer_uri = a->peer_uri,
                                     .total_timeout_ms = 10000};
    i->secrets_call = http_client_send(a->o.client, &call, on_secrets, i);
}
