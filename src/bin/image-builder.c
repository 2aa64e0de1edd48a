/* image-builder: a Dockerfile and its context become a read-only root file system, named by its digest.
 * A `host` instance with restart: never; one run is one build. Called with --core it is the build core itself. */
#include <stddef.h>
#include <string.h>

#include "base/own.h"
#include "blob/blob.h"
#include "build/builder.h"
#include "build/run.h"
#include "daemon/daemon.h"
#include "event/hash.h"

struct image_builder_settings {
    struct setting_list management_url;
    const char *image_id, *context_digest, *dockerfile;
    const char *blobs, *blob_folder, *work_folder, *cache_folder, *build_isolation;
    int64_t build_timeout_seconds;
    uint64_t image_size_max;
    struct setting_list build_allowed;
    bool build_no_cache;
};

#define ROW(type_, name_, fallback_, required_, doc_)                                                                  \
    .name = #name_, .type = SETTING_##type_, .offset = offsetof(struct image_builder_settings, name_),                 \
    .fallback = (fallback_), .required = (required_), .doc = (doc_)

static const struct setting SETTINGS[] = {
    {ROW(LIST, management_url, NULL, true, "https://host:port of the management API; several: replicas of it")},
    {ROW(TEXT, image_id, NULL, true, "the image to build")},
    {ROW(TEXT, context_digest, NULL, true, "sha256:... of the build context, a tar among the blobs")},
    {ROW(TEXT, dockerfile, "Dockerfile", false, "path of the Dockerfile in the context")},
    {ROW(TEXT, blobs, NULL, false,
         "contexts are read, images written: folder;path=DIR or s3;endpoint=URL;bucket=NAME;...")},
    {ROW(PATH, blob_folder, NULL, false, "the same as blobs: folder;path=..., as settings of 0.1 have it")},
    {ROW(PATH, work_folder, NULL, false,
         "for builders alone; layers are cached in it; default: build beside the folder of blobs")},
    {ROW(PATH, cache_folder, "/var/cache/slipform", false,
         "of tools/setup: registry/ is asked before docker.io, build-environment is what a build needs to get out")},
    {ROW(CHOICE, build_isolation, "oci", false, "of RUN steps: runc containers, or chroot only"),
     .choices = "oci|chroot"},
    {ROW(INT, build_timeout_seconds, "900", false, "a build that takes longer fails"), .min = 1, .max = 86400},
    {ROW(SIZE, image_size_max, "8GiB", false, "a bigger root file system fails"), .min = 4096, .max = INT64_MAX},
    {ROW(LIST, build_allowed, NULL, false, "private IPv4 addresses or networks that RUN steps may reach")},
    {ROW(BOOL, build_no_cache, "false", false, "build every layer anew")},
};

struct image_builder {
    struct daemon *daemon;
    struct build_request request;
    struct build_run *run; /* NULL once it is over */
    char peer_uri[256];
};

static enum err fill_request(const struct daemon *d, struct build_request *r, struct arena *arena, struct errinfo *err)
{
    const struct image_builder_settings *s = d->settings;
    auto_free char *spec = NULL;
    enum err rc = blob_spec_of(s->blobs, s->blob_folder, &spec, err);
    if (rc != OK)
        return rc;
    struct str folder = blob_spec_folder(spec);
    const char *beside = arena_printf(arena, "%.*s/build", (int)str_rfind(folder, '/'), folder.ptr);
    *r = (struct build_request){.installation = str_from(d->common.installation),
                                .context_digest = str_from(s->context_digest),
                                .dockerfile = str_from(s->dockerfile),
                                .blobs = arena_str(arena, str_from(spec)),
                                .work_folder = str_from(s->work_folder != NULL ? s->work_folder : beside),
                                .registry_folder = str_from(arena_printf(arena, "%s/registry", s->cache_folder)),
                                .environment_file =
                                    str_from(arena_printf(arena, "%s/build-environment", s->cache_folder)),
                                .isolation = str_from(s->build_isolation),
                                .timeout_seconds = s->build_timeout_seconds,
                                .image_size_max_bytes = (int64_t)s->image_size_max,
                                .no_cache = s->build_no_cache};
    uint8_t digest[HASH_SIZE];
    if (!id_parse(str_from(s->image_id), &r->image_id))
        return err_set(err, ERR_INVALID, "image_id '%s' is not an id", s->image_id);
    if (!hash_digest_parse(r->context_digest, digest))
        return err_set(err, ERR_INVALID, "context_digest '%s' is not a digest", s->context_digest);
    if (r->installation.len == 0)
        return err_set(err, ERR_INVALID, "installation is missing");
    return OK;
}

static enum err check(const struct daemon *d, struct errinfo *err)
{
    AUTO(arena) struct arena arena = {0};
    struct build_request r;
    return fill_request(d, &r, &arena, err);
}

static void on_done(int exit_code, void *ctx)
{
    struct image_builder *b = ctx;
    b->run = NULL;
    daemon_stop(b->daemon, exit_code);
    daemon_stopped(b->daemon);
}

static enum err start(struct daemon *d, struct errinfo *err)
{
    const struct image_builder_settings *s = d->settings;
    struct image_builder *b = mem_alloc(sizeof(*b));
    d->state = b;
    b->daemon = d;
    enum err rc = fill_request(d, &b->request, &d->arena, err);
    if (rc != OK)
        return rc;
    b->request.allowed.n = s->build_allowed.n;
    b->request.allowed.items = arena_alloc(&d->arena, (s->build_allowed.n + 1) * sizeof(struct str));
    for (size_t i = 0; i < s->build_allowed.n; i++)
        b->request.allowed.items[i] = str_from(s->build_allowed.items[i]);
    struct build_run_options o = {.loop = d->loop,
                                  .client = d->client,
                                  .log = &d->log,
                                  .management_urls = s->management_url.items,
                                  .management_urls_n = s->management_url.n,
                                  .core = "/proc/self/exe",
                                  .request = &b->request,
                                  .on_done = on_done,
                                  .ctx = b};
    daemon_call_options(d, &o.call);
    (void)snprintf(b->peer_uri, sizeof(b->peer_uri), "slipform://%s/control/*", d->common.installation);
    if (s->management_url.n > 0 && strncmp(s->management_url.items[0], "https:", 6) == 0)
        o.call.peer_uri = b->peer_uri;
    b->run = build_run_start(&o);
    daemon_set_ready(d, true, NULL);
    return OK;
}

static void stop(struct daemon *d)
{
    struct image_builder *b = d->state;
    if (b->run != NULL)
        build_run_stop(b->run); /* daemon_stopped follows in on_done */
}

static void release(struct daemon *d)
{
    free(d->state);
}

int main(int argc, char **argv)
{
    static const struct program PROGRAM = {
        .name = "image-builder",
        .doc = "Builds one image: a context in blob storage becomes a read-only root file system there.\n"
               "Reports to the management API and ends. Needs root: namespaces, mounts, nftables.",
        .settings = SETTINGS,
        .settings_n = sizeof(SETTINGS) / sizeof(SETTINGS[0]),
        .settings_size = sizeof(struct image_builder_settings),
        .check = check,
        .start = start,
        .stop = stop,
        .free = release,
    };
    if (argc == 2 && strcmp(argv[1], "--core") == 0)
        return builder_main(0, 3);
    return daemon_main(argc, argv, &PROGRAM);
}
