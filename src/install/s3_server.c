#include "install/s3_server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "base/random.h"
#include "crypto/file.h"
#include "net/http_client.h"
#include "os/file.h"

/* 10 s: it has nothing to write down, uploads that are cut are begun anew (chosen). */
enum { S3_STOP_MS = 10000, S3_HEALTH_MS = 3000 };
/* Bytes of the secret, in hex twice as many: as AWS' own have 30. */
enum { ACCESS_BYTES = 10, SECRET_BYTES = 30, CREDENTIALS_SIZE_MAX = 4096 };

bool s3_server_is_wanted(const struct home *h)
{
    return h->inst.s3_port != 0;
}

const char *s3_server_endpoint(const struct home *h, char ret[static 96])
{
    char address[64];
    (void)snprintf(ret, 96, "http://[%s]:%lld", home_fabric_address(h, NULL, address), (long long)h->inst.s3_port);
    return ret;
}

const char *s3_server_credentials(const struct home *h, char ret[static PATH_SIZE])
{
    return home_path(h, ret, "store/s3/credentials");
}

static void put_random(struct buf *b, size_t n)
{
    uint8_t bytes[SECRET_BYTES];
    random_bytes(bytes, n);
    for (size_t i = 0; i < n; i++)
        buf_addf(b, "%02x", bytes[i]);
    explicit_bzero(bytes, sizeof(bytes));
}

static enum err write_credentials(const struct home *h, int uid, int gid, struct errinfo *err)
{
    char path[PATH_SIZE];
    AUTO(secret) struct buf text = {0};
    if (file_exists(s3_server_credentials(h, path)))
        return OK;
    buf_reserve(&text, CREDENTIALS_SIZE_MAX); /* no copy of it stays behind in memory */
    buf_add_c(&text, "aws_access_key_id = ");
    put_random(&text, ACCESS_BYTES);
    buf_add_c(&text, "\naws_secret_access_key = ");
    put_random(&text, SECRET_BYTES);
    buf_add_char(&text, '\n');
    return crypto_file_write(path, buf_str(&text), 0600, uid, gid, err);
}

static enum err s3_create(const struct home *h, const struct service *s, int uid, int gid, bool *ret_changed,
                          struct errinfo *err)
{
    static const char *const FOLDERS[] = {"store/s3", "store/s3/data", ("store/s3/data/" S3_SERVER_BUCKET)};
    char path[PATH_SIZE];
    (void)s, (void)ret_changed;
    enum err rc = folder_make_owned(home_path(h, path, "store"), 0755, 0, 0, err);
    for (size_t i = 0; rc == OK && i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++)
        rc = folder_make_owned(home_path(h, path, "%s", FOLDERS[i]), 0750, (uid_t)uid, (gid_t)gid, err);
    return rc == OK ? write_credentials(h, uid, gid, err) : rc;
}

/* "name=VALUE" of the line "name = VALUE" as the server's environment has it. */
static const char *credential(struct str text, const char *key, const char *name, struct arena *a)
{
    struct str line;
    while (str_next(&text, '\n', &line)) {
        size_t at = str_find(line, '=');
        if (at < line.len && str_eq_c(str_trim(str_slice(line, 0, at)), key))
            return arena_printf(a, "%s=%.*s", name, STR_ARG(str_trim(str_slice(line, at + 1, line.len))));
    }
    return NULL;
}

static enum err s3_command(const struct home *h, const struct service *s, struct arena *a, struct service_command *ret,
                           struct errinfo *err)
{
    char path[PATH_SIZE], address[64];
    AUTO(secret) struct buf text = {0};
    (void)s;
    enum err rc = file_read(s3_server_credentials(h, path), CREDENTIALS_SIZE_MAX, &text, err);
    if (rc != OK)
        return rc;
    /* In its environment: arguments can be read by everybody. */
    ret->env[0] = credential(buf_str(&text), "aws_access_key_id", "ROOT_ACCESS_KEY", a);
    ret->env[1] = credential(buf_str(&text), "aws_secret_access_key", "ROOT_SECRET_KEY", a);
    if (ret->env[0] == NULL || ret->env[1] == NULL)
        return err_set(err, ERR_INVALID, "'%s' lacks aws_access_key_id or aws_secret_access_key", path);
    size_t n = 0;
    ret->argv[n++] = arena_strdup(a, home_path(h, path, "programs/versitygw"));
    ret->argv[n++] = "--quiet";
    ret->argv[n++] = "--health";
    ret->argv[n++] = "/health";
    ret->argv[n++] = "--region";
    ret->argv[n++] = S3_SERVER_REGION;
    ret->argv[n++] = "--port";
    ret->argv[n++] = arena_printf(a, "[%s]:%lld", home_fabric_address(h, NULL, address), (long long)h->inst.s3_port);
    ret->argv[n++] = "posix";
    ret->argv[n++] = arena_strdup(a, home_path(h, path, "store/s3/data"));
    return OK;
}

static enum err s3_is_well(const struct home *h, const struct service *s, struct errinfo *err)
{
    char base[96], url[128];
    (void)s;
    (void)snprintf(url, sizeof(url), "%s/health", s3_server_endpoint(h, base));
    struct http_call_options o = {.url = url, .connect_timeout_ms = S3_HEALTH_MS, .total_timeout_ms = S3_HEALTH_MS};
    AUTO(http_result) struct http_result result = {0};
    if (http_fetch(&o, NULL, &result) == OK)
        return OK;
    return err_set(err, ERR_UNAVAILABLE, "%s", result.err.msg);
}

struct service s3_server_service(const struct home *h)
{
    (void)h;
    return (struct service){.name = "s3",
                            .title = "the S3 server of blobs",
                            .log_file = "store/s3/server.log",
                            .stop_signal = SIGTERM,
                            .stop_ms = S3_STOP_MS,
                            .outlives_supervisor = true,
                            .create = s3_create,
                            .command = s3_command,
                            .is_well = s3_is_well};
}
