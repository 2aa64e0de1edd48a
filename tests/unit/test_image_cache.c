/* How a node gets an image that is in a bucket: led there by 307, gone on with where it broke off, checked. */
#include "net_fixture.h"

#include <fcntl.h>
#include <unistd.h>

#include "event/hash.h"
#include "node/image/cache.h"

#define IMAGE_SIZE 300000
#define SECRET "X-Amz-Signature=5ec2e7"

enum bucket { GIVES, LEADS_ON, REFUSES, GIVES_OTHER_BYTES };
struct world {
    struct net *net;
    enum bucket bucket;
    char *image; /* path of its bytes */
    char range[64];
    struct image_ref ref;
    struct image_cache *cache;
    unsigned api_n, bucket_n;
    bool is_done;
    char *path;
    struct errinfo err;
};

static void on_api(struct http_request *r, void *ctx)
{
    struct world *w = ctx;
    auto_free char *url = mem_printf("%s/bucket?" SECRET, w->net->url);
    w->api_n++;
    http_respond_header(r, "Location", url);
    http_respond_empty(r, 307);
}

static void on_bucket(struct http_request *r, void *ctx)
{
    struct world *w = ctx;
    const char *range = http_request_header(r, "Range");
    w->bucket_n++;
    assert_true(str_copy_to(str_from(range == NULL ? "" : range), w->range, sizeof(w->range)));
    if (w->bucket == LEADS_ON)
        on_api(r, ctx);
    else if (w->bucket == REFUSES)
        http_respond_bytes(r, 403, "application/xml", STR("<Error><Canonical>" SECRET "</Canonical></Error>"));
    else
        http_respond_fd(r, open(w->bucket == GIVES ? w->image : "/proc/self/exe", O_RDONLY | O_CLOEXEC),
                        "application/octet-stream", NULL);
}

static void write_bytes(const char *path, const uint8_t *bytes, size_t n)
{
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
}

/* had: bytes of it that an earlier try left. */
static void world_open(struct world *w, struct net *n, enum bucket bucket, size_t had)
{
    static uint8_t bytes[IMAGE_SIZE], hash[HASH_SIZE];
    for (size_t i = 0; i < IMAGE_SIZE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    *w = (struct world){.net = n, .bucket = bucket, .image = net_path(n, "image"), .ref = {.size_bytes = IMAGE_SIZE}};
    write_bytes(w->image, bytes, IMAGE_SIZE);
    hash_bytes(bytes, IMAGE_SIZE, hash);
    hash_digest_format(hash, w->ref.digest);
    auto_free char *folder = net_path(n, "cache");
    static const struct http_route ROUTES[] = {
        {.method = "GET", .pattern = "/v1/images/{id}/download", .handler = on_api},
        {.method = "GET", .pattern = "/bucket", .handler = on_bucket}};
    net_open(n, &(struct http_server_options){.routes = ROUTES, .routes_n = 2, .ctx = w});
    static const char *apis[1];
    apis[0] = n->url;
    const struct image_cache_options o = {
        .loop = &n->loop, .client = n->client, .folder = folder, .apis = apis, .apis_n = 1};
    assert_int_equal(image_cache_open(&o, &w->cache, NULL), OK);
    auto_free char *part = mem_printf("%s/%s.part", folder, w->ref.digest + strlen("sha256:"));
    if (had > 0)
        write_bytes(part, bytes, had);
}

static void on_image(void *arg, const char *path, const struct errinfo *err)
{
    struct world *w = arg;
    w->is_done = true;
    if (path != NULL)
        w->path = mem_strdup(path);
    else
        w->err = *err;
}

static void get(struct world *w)
{
    w->is_done = false;
    (void)image_cache_get(w->cache, &w->ref, on_image, w);
    net_run_until(w->net, net_is_true, &w->is_done);
}

static void world_close(struct world *w)
{
    image_cache_free(w->cache);
    free(w->image);
    free(w->path);
}

static void led_to_the_bucket(void **state)
{
    struct world w;
    world_open(&w, *state, GIVES, 0);
    get(&w);
    assert_non_null(w.path);
    assert_string_equal(w.range, "");
    assert_int_equal(access(w.path, R_OK), 0);
    world_close(&w);
}

static void gone_on_with_there(void **state)
{
    struct world w;
    world_open(&w, *state, GIVES, 100000);
    get(&w);
    assert_non_null(w.path);
    assert_string_equal(w.range, "bytes=100000-");
    world_close(&w);
}

/* An address is a secret: it is in no error. */
static void refused_there(void **state)
{
    struct world w;
    world_open(&w, *state, REFUSES, 0);
    get(&w);
    assert_null(w.path);
    assert_int_equal(w.err.code, ERR_DENIED);
    assert_null(strstr(w.err.msg, "5ec2e7"));
    w.bucket = GIVES; /* a new address is good again */
    get(&w);
    assert_non_null(w.path);
    assert_int_equal(w.api_n, 2);
    world_close(&w);
}

static void led_once_only(void **state)
{
    struct world w;
    world_open(&w, *state, LEADS_ON, 0);
    get(&w);
    assert_null(w.path);
    assert_int_equal(w.bucket_n, 1);
    assert_null(strstr(w.err.msg, "5ec2e7"));
    world_close(&w);
}

static void other_bytes_are_not_taken(void **state)
{
    struct world w;
    world_open(&w, *state, GIVES_OTHER_BYTES, 0);
    get(&w);
    assert_null(w.path);
    world_close(&w);
}

int main(void)
{
#define PLAIN(test) cmocka_unit_test_setup_teardown(test, net_setup_plain, net_teardown)
    const struct CMUnitTest tests[] = {PLAIN(led_to_the_bucket), PLAIN(gone_on_with_there), PLAIN(refused_there),
                                       PLAIN(led_once_only), PLAIN(other_bytes_are_not_taken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
