/* A bucket as a blob store: what it is called, who may use it, what it holds. */
#include "blob/s3.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "os/file.h"

/* A few lines. */
#define CREDENTIALS_SIZE_MAX 16384u
/* 7 days: the longest that Signature Version 4 allows. */
#define PRESIGN_MAX_S 604800u

static const struct blob_kind S3;

/* ---- texts ---- */

char *s3_key(const struct s3 *s, enum blob_place place, const char *digest)
{
    const char *hex = digest + strlen("sha256:");
    if (place == BLOB_STORED)
        return mem_printf("%ssha256/%.2s/%.64s", s->prefix, hex, hex);
    return mem_printf("%saside/%.64s", s->prefix, hex);
}

bool s3_xml(struct str *rest, const char *name, struct str *ret)
{
    if (rest->len == 0)
        return false;
    auto_free char *open = mem_printf("<%s>", name), *close = mem_printf("</%s>", name);
    const char *from = memmem(rest->ptr, rest->len, open, strlen(open));
    if (from == NULL)
        return false;
    from += strlen(open);
    const char *end = rest->ptr + rest->len, *to = memmem(from, (size_t)(end - from), close, strlen(close));
    if (to == NULL)
        return false;
    *ret = (struct str){from, (size_t)(to - from)};
    to += strlen(close);
    *rest = (struct str){to, (size_t)(end - to)};
    return true;
}

int64_t s3_xml_time(struct str text)
{
    int64_t ns;
    return clock_parse_ns(text, &ns) ? ns / 1000000000 : 0;
}

/* ---- opening ---- */

static enum err spec_text(const char *spec, const char *key, char **ret, struct errinfo *err)
{
    struct str value = blob_spec_get(spec, key);
    if (value.len == 0)
        return err_set(err, ERR_INVALID, "blob store in a bucket: '%s' is missing", key);
    *ret = mem_strndup(value.ptr, value.len);
    return OK;
}

static enum err spec_number(const char *spec, const char *key, uint64_t min, uint64_t max, uint64_t otherwise,
                            uint64_t *ret, struct errinfo *err)
{
    struct str value = blob_spec_get(spec, key);
    *ret = otherwise;
    if (value.ptr == NULL || (str_parse_u64(value, max, ret) && *ret >= min))
        return OK;
    return err_set(err, ERR_INVALID, "blob store in a bucket: '%s' must be from %llu to %llu", key,
                   (unsigned long long)min, (unsigned long long)max);
}

/* A name that is not known may be a typing error, or a secret: it is not repeated. */
static enum err check_names(const char *spec, struct errinfo *err)
{
    static const char *const KNOWN[] = {"endpoint",    "bucket",     "region",    "prefix",   "cache",
                                        "credentials", "cache_size", "part_size", "attempts", "stall_s"};
    struct str rest = str_from(spec), part, name;
    (void)str_next(&rest, ';', &part);
    while (str_next(&rest, ';', &part)) {
        bool is_known = part.len == 0;
        if (str_next(&part, '=', &name))
            for (size_t i = 0; i < sizeof(KNOWN) / sizeof(KNOWN[0]); i++)
                is_known |= str_eq_c(name, KNOWN[i]);
        if (!is_known)
            return err_set(err, ERR_INVALID,
                           "blob store in a bucket: an option is not known; keys go to a file that "
                           "'credentials' names, or to the environment");
    }
    return OK;
}

static bool all_of(const char *text, const char *allowed)
{
    return text[strspn(text, allowed)] == '\0';
}
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789-."

static enum err read_endpoint(struct s3 *s, struct errinfo *err)
{
    struct str host = str_from(s->endpoint), rest = host;
    if (str_starts(rest, STR("https://")))
        host = str_slice(rest, 8, rest.len);
    else if (str_starts(rest, STR("http://")))
        host = str_slice(rest, 7, rest.len);
    s->host = mem_strndup(host.ptr, host.len);
    if (host.len == rest.len || host.len == 0 || !all_of(s->host, NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZ:[]"))
        return err_set(err, ERR_INVALID, "blob store in a bucket: 'endpoint' must be http(s)://HOST[:PORT]");
    bool is_tls = str_starts(rest, STR("https://"));
    struct str port = is_tls ? STR(":443") : STR(":80");
    if (str_ends(host, port))
        s->host[host.len - port.len] = '\0';
    return OK;
}

/* "name = value" lines, as AWS's own file has them; the first section counts. */
static void read_credential_lines(struct s3 *s, struct str text)
{
    struct str line, name;
    unsigned sections = 0;
    while (str_next(&text, '\n', &line)) {
        line = str_trim(line);
        if (line.len > 0 && line.ptr[0] == '[' && ++sections > 1)
            return;
        if (line.len == 0 || line.ptr[0] == '#' || !str_next(&line, '=', &name))
            continue;
        name = str_trim(name);
        line = str_trim(line);
        char **to = str_eq_c(name, "aws_access_key_id")       ? &s->access
                    : str_eq_c(name, "aws_secret_access_key") ? &s->secret
                    : str_eq_c(name, "aws_session_token")     ? &s->token
                                                              : NULL;
        if (to != NULL && *to == NULL && line.len > 0)
            *to = mem_strndup(line.ptr, line.len);
    }
}

static enum err read_credentials(struct s3 *s, const char *path, struct errinfo *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return err_set_os(err, ERR_INVALID, errno, "read credentials '%s'", path);
    if ((st.st_mode & 077) != 0)
        return err_set(err, ERR_DENIED, "credentials '%s' can be read by others: chmod 600", path);
    AUTO(buf) struct buf text = {0};
    enum err rc = file_read(path, CREDENTIALS_SIZE_MAX, &text, err);
    if (rc != OK)
        return rc;
    read_credential_lines(s, buf_str(&text));
    explicit_bzero(text.ptr, text.len);
    return OK;
}

static char *from_environment(const char *name)
{
    const char *value = getenv(name);
    return value == NULL || value[0] == '\0' ? NULL : mem_strdup(value);
}

static enum err find_credentials(struct s3 *s, const char *spec, struct errinfo *err)
{
    struct str path = blob_spec_get(spec, "credentials");
    if (path.len > 0) {
        auto_free char *text = mem_strndup(path.ptr, path.len);
        enum err rc = read_credentials(s, text, err);
        if (rc != OK)
            return rc;
    } else {
        s->access = from_environment("AWS_ACCESS_KEY_ID");
        s->secret = from_environment("AWS_SECRET_ACCESS_KEY");
        s->token = from_environment("AWS_SESSION_TOKEN");
    }
    if (s->access == NULL || s->secret == NULL)
        return err_set(err, ERR_INVALID,
                       "no credentials for bucket '%s': aws_access_key_id and aws_secret_access_key "
                       "in a file that 'credentials' names, or in the environment",
                       s->bucket);
    return OK;
}

static enum err read_numbers(struct s3 *s, const char *spec, struct errinfo *err)
{
    uint64_t attempts = 0, stall_s = 0;
    enum err rc =
        spec_number(spec, "part_size", S3_PART_SIZE_MIN, S3_PART_SIZE_MAX, S3_PART_SIZE_DEFAULT, &s->part_size, err);
    if (rc == OK)
        rc = spec_number(spec, "cache_size", 0, INT64_MAX, S3_CACHE_SIZE_DEFAULT, &s->cache_size, err);
    if (rc == OK)
        rc = spec_number(spec, "attempts", 1, 100, S3_ATTEMPTS_DEFAULT, &attempts, err);
    if (rc == OK)
        rc = spec_number(spec, "stall_s", 1, 3600, S3_STALL_DEFAULT_S, &stall_s, err);
    s->attempts = (unsigned)attempts;
    s->stall_s = (unsigned)stall_s;
    return rc;
}

static enum err read_spec(struct s3 *s, const char *spec, struct errinfo *err)
{
    auto_free char *cache = NULL;
    struct str prefix = blob_spec_get(spec, "prefix");
    s->prefix = mem_strndup(prefix.len == 0 ? "" : prefix.ptr, prefix.len);
    enum err rc = check_names(spec, err);
    if (rc == OK)
        rc = spec_text(spec, "endpoint", &s->endpoint, err);
    if (rc == OK)
        rc = read_endpoint(s, err);
    if (rc == OK)
        rc = spec_text(spec, "bucket", &s->bucket, err);
    if (rc == OK)
        rc = spec_text(spec, "region", &s->region, err);
    if (rc == OK)
        rc = spec_text(spec, "cache", &cache, err);
    if (rc == OK)
        rc = read_numbers(s, spec, err);
    if (rc == OK && (!all_of(s->bucket, NAME_CHARS) || !all_of(s->region, NAME_CHARS) ||
                     !all_of(s->prefix, NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZ/_") || s->prefix[0] == '/'))
        rc = err_set(err, ERR_INVALID,
                     "blob store in a bucket: bucket, region and prefix are letters, digits, '-', "
                     "'.', a prefix '/' and '_' too");
    if (rc == OK)
        rc = find_credentials(s, spec, err);
    return rc == OK ? blob_store_open_folder(cache, &s->cache, err) : rc;
}

static void wipe(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static void s3_close(struct blob_store *store)
{
    struct s3 *s = (struct s3 *)store;
    for (size_t i = 0; i < s->idle_n; i++)
        curl_easy_cleanup(s->idle[i]);
    uv_mutex_destroy(&s->lock);
    blob_store_close(s->cache);
    wipe(s->secret);
    wipe(s->token);
    free(s->access);
    free(s->endpoint);
    free(s->host);
    free(s->bucket);
    free(s->region);
    free(s->prefix);
    free(s);
}

enum err blob_store_open_s3(const char *spec, struct blob_store **ret_store, struct errinfo *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) /* counted by curl; the process needs it once */
        return err_set(err, ERR_IO, "start libcurl");
    struct s3 *s = mem_alloc(sizeof(*s));
    s->base.kind = &S3;
    if (uv_mutex_init(&s->lock) != 0) {
        free(s);
        return err_set(err, ERR_IO, "make a lock");
    }
    enum err rc = read_spec(s, spec, err);
    if (rc != OK) {
        s3_close(&s->base);
        return rc;
    }
    *ret_store = &s->base;
    return OK;
}

/* ---- what it holds ---- */

static enum err list_page(struct s3 *s, const char *prefix, const char *after, struct buf *ret_page,
                          struct errinfo *err)
{
    struct sigv4_pair query[] = {{"list-type", "2"}, {"prefix", prefix}, {"start-after", after}};
    AUTO(s3_answer) struct s3_answer answer = {0};
    enum err rc =
        s3_do(s,
              &(struct s3_call){
                  .method = "GET", .query = query, .query_n = after[0] == '\0' ? 2 : 3, .right = "s3:ListBucket"},
              &answer, err);
    *ret_page = answer.body;
    answer.body = (struct buf){0};
    return rc;
}

static enum err s3_check(struct blob_store *store, struct errinfo *err)
{
    struct s3 *s = (struct s3 *)store;
    AUTO(buf) struct buf page = {0};
    return list_page(s, s->prefix, "", &page, err);
}

static bool read_entry(struct str object, const char *prefix, char **ret_key, struct blob_entry *ret)
{
    struct str a = object, b = object, c = object, key, size, modified;
    if (!s3_xml(&a, "Key", &key) || !s3_xml(&b, "Size", &size) || !s3_xml(&c, "LastModified", &modified))
        return false;
    free(*ret_key);
    *ret_key = mem_strndup(key.ptr, key.len);
    if (!str_starts(key, str_from(prefix)) || !str_parse_u64(size, INT64_MAX, &ret->size_bytes))
        return false;
    size_t slash = str_rfind(key, '/');
    uint8_t bytes[HASH_SIZE];
    (void)snprintf(ret->digest, sizeof(ret->digest), "sha256:%.*s",
                   STR_ARG(slash < key.len ? str_slice(key, slash + 1, key.len) : key));
    ret->since_s = s3_xml_time(modified);
    return ret->since_s != 0 && hash_digest_parse(str_from(ret->digest), bytes);
}

static enum err s3_list(struct blob_store *store, enum blob_place place, blob_entry_fn *each, void *ctx,
                        struct errinfo *err)
{
    struct s3 *s = (struct s3 *)store;
    auto_free char *prefix = mem_printf("%s%s/", s->prefix, place == BLOB_STORED ? "sha256" : "aside"),
                   *after = mem_strdup("");
    enum err rc = OK;
    for (bool more = true; more && rc == OK;) {
        AUTO(buf) struct buf page = {0};
        rc = list_page(s, prefix, after, &page, err);
        struct str rest = buf_str(&page), whole = rest, object, truncated;
        size_t n = 0;
        for (; rc == OK && s3_xml(&rest, "Contents", &object); n++) {
            struct blob_entry entry;
            if (read_entry(object, prefix, &after, &entry))
                rc = each(&entry, ctx, err);
        }
        more = n > 0 && s3_xml(&whole, "IsTruncated", &truncated) && str_eq_c(truncated, "true");
    }
    return rc;
}

static enum err s3_remove(struct blob_store *store, enum blob_place place, const char *digest, struct errinfo *err)
{
    struct s3 *s = (struct s3 *)store;
    if (place == BLOB_STORED)
        err_ignore(blob_delete(s->cache, digest, NULL)); /* it is not the truth, and trimmed anyway */
    auto_free char *key = s3_key(s, place, digest);
    AUTO(s3_answer) struct s3_answer answer = {0};
    enum err rc = s3_do(s, &(struct s3_call){.method = "DELETE", .key = key, .right = "s3:DeleteObject"}, &answer, err);
    return rc == ERR_NOT_FOUND ? OK : rc;
}

static enum err check_copies(struct s3 *s, const char *digest, struct errinfo *err)
{
    struct blob_entry entry;
    enum err rc = s3_stat(&s->base, BLOB_STORED, digest, &entry, err);
    if (rc == OK && entry.size_bytes > S3_COPY_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "'%s' is over 5 GiB: bucket '%s' copies no more at once", digest, s->bucket);
    return rc;
}

/* The copy is there before the original goes. */
static enum err s3_move(struct blob_store *store, enum blob_place from, const char *digest, struct errinfo *err)
{
    struct s3 *s = (struct s3 *)store;
    auto_free char *key = s3_key(s, from, digest),
                   *to = s3_key(s, from == BLOB_STORED ? BLOB_ASIDE : BLOB_STORED, digest),
                   *source = mem_printf("/%s/%s", s->bucket, key);
    AUTO(buf) struct buf encoded = {0};
    sigv4_add_path(&encoded, source);
    struct s3_call call = {.method = "PUT",
                           .key = to,
                           .headers = {{"x-amz-copy-source", encoded.ptr}},
                           .headers_n = 1,
                           .right = "s3:PutObject (and s3:GetObject)"};
    AUTO(s3_answer) struct s3_answer answer = {0};
    enum err rc = from == BLOB_STORED ? check_copies(s, digest, err) : OK;
    if (rc == OK)
        rc = s3_do(s, &call, &answer, err);
    return rc == OK ? s3_remove(store, from, digest, err) : rc;
}

static enum err s3_presign(struct blob_store *store, const char *digest, unsigned seconds, struct buf *ret_url,
                           struct errinfo *err)
{
    struct s3 *s = (struct s3 *)store;
    if (seconds == 0 || seconds > PRESIGN_MAX_S)
        return err_set(err, ERR_INVALID, "an address is good for 1 to %u seconds", PRESIGN_MAX_S);
    auto_free char *key = s3_key(s, BLOB_STORED, digest), *path = mem_printf("/%s/%s", s->bucket, key);
    struct sigv4_request r = {.method = "GET", .host = s->host, .path = path, .at_s = clock_wall_us() / 1000000};
    struct sigv4_key sign = {s->access, s->secret, s->token, s->region};
    buf_add_c(ret_url, s->endpoint);
    sigv4_add_path(ret_url, path);
    buf_add_char(ret_url, '?');
    sigv4_presign(&r, &sign, seconds, ret_url);
    return OK;
}

static void s3_cancel(struct blob_store *store)
{
    ((struct s3 *)store)->is_cancelled = true;
}

static const struct blob_kind S3 = {
    .cancel = s3_cancel,
    .close = s3_close,
    .check = s3_check,
    .put_begin = s3_put_begin,
    .put_write = s3_put_write,
    .put_finish = s3_put_finish,
    .put_abort = s3_put_abort,
    .open = s3_open,
    .stat = s3_stat,
    .move = s3_move,
    .remove = s3_remove,
    .list = s3_list,
    .presign = s3_presign,
    .sweep = s3_sweep,
};
