/* Happy path: clear the folder, unpack the context, start the registry, buildah bud, read the configuration, mount the
 * image, make the erofs file, put it. A failure before or after bud is described by err, one in it by the trace. */
#include "build/job.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/own.h"
#include "build/blob_keeper.h"
#include "build/command.h"
#include "build/context.h"
#include "build/image_config.h"
#include "os/file.h"

/* 4 GiB: a compiler image and what is made with it (chosen, never measured). */
#define JOB_DISK_FREE_MIN (4ull * 1024 * 1024 * 1024)
#define ARGS_MAX 48
/* Any 128 bits, the same in every image: what differs is the content. */
#define IMAGE_UUID "c7b5a1f0-5c1d-4e63-9f0e-736c6970666f"

/* Programs look for the machine's CA bundle under these names. buildah writes them into the image's configuration, out
 * of which they are taken again: they are of this machine. */
static const char *const CA_ENV[] = {
    "SSL_CERT_FILE=" JOB_CA_BUNDLE_INSIDE,      "CURL_CA_BUNDLE=" JOB_CA_BUNDLE_INSIDE,
    "GIT_SSL_CAINFO=" JOB_CA_BUNDLE_INSIDE,     "PIP_CERT=" JOB_CA_BUNDLE_INSIDE,
    "REQUESTS_CA_BUNDLE=" JOB_CA_BUNDLE_INSIDE, "NODE_EXTRA_CA_CERTS=" JOB_CA_BUNDLE_INSIDE,
};
#define CA_ENV_N (sizeof(CA_ENV) / sizeof(CA_ENV[0]))

struct args {
    const char *items[ARGS_MAX];
    size_t n;
};

static void arg(struct args *a, const char *text)
{
    if (a->n + 1 < ARGS_MAX)
        a->items[a->n++] = text;
}
#define ARGS(a, ...) args_add(a, (const char *const[]){__VA_ARGS__, NULL})
static void args_add(struct args *a, const char *const *texts)
{
    for (; *texts != NULL; texts++)
        arg(a, *texts);
}

static struct args buildah(const struct job *j)
{
    struct args a = {0};
    ARGS(&a, "buildah", "--root", j->storage, "--runroot", j->run, "--storage-driver", j->driver);
    return a;
}

static void print_line(struct str line)
{
    (void)printf("%.*s\n", STR_ARG(line));
    (void)fflush(stdout);
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    AUTO(buf) struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    print_line(buf_str(&text));
}

static void on_build_line(struct str line, void *ctx)
{
    struct job *j = ctx;
    trace_add_line(&j->trace, line);
    print_line(line);
}

static enum err run(const struct job *j, const struct args *a, struct buf *output, struct errinfo *err)
{
    return command_run(
        &(struct command){
            .argv = a->items, .env = (const char *const *)j->env, .deadline_us = j->deadline_us, .output = output},
        err);
}

static enum err unpack_context(struct job *j, struct errinfo *err)
{
    const char *digest = arena_str(&j->arena, j->request->context_digest).ptr;
    auto_close int fd = -1;
    enum err rc = blob_keeper_get(j->blobs_fd, digest, j->deadline_us, &fd, err);
    if (rc != OK)
        return err_wrap(err, rc, "read the build context");
    const struct context_limits limits = {CONTEXT_SIZE_MAX, CONTEXT_ENTRIES_MAX};
    struct context_facts facts = {0};
    rc = context_unpack(fd, j->context, &limits, &facts, err);
    if (rc != OK)
        return rc;
    say("context: %llu entries, %llu bytes", (unsigned long long)facts.entries, (unsigned long long)facts.size_bytes);
    return context_check_dockerfile(j->context, arena_str(&j->arena, j->request->dockerfile).ptr, err);
}

/* Working containers of a build that was killed keep their layers on the disk. */
static void remove_leftovers(const struct job *j)
{
    struct args a = buildah(j);
    ARGS(&a, "rm", "--all");
    AUTO(buf) struct buf ignored = {0};
    err_ignore(run(j, &a, &ignored, NULL)); /* none there is fine, and what can't be removed costs disk only */
}

/* Cached layers make the next build quick, a full disk makes it impossible: they go when the disk is nearly full. */
static void make_room(const struct job *j)
{
    struct statvfs fs;
    if (statvfs(j->folder, &fs) != 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= JOB_DISK_FREE_MIN)
        return;
    say("less than %llu MiB of disk are free: cached layers are removed",
        (unsigned long long)(JOB_DISK_FREE_MIN / 1024 / 1024));
    struct args a = buildah(j);
    ARGS(&a, "rmi", "--all", "--force");
    AUTO(buf) struct buf ignored = {0};
    err_ignore(run(j, &a, &ignored, NULL)); /* when it can't, the build will say that the disk is full */
}

static void describe_failure(struct job *j, enum err rc, const struct errinfo *err)
{
    AUTO(buf) struct buf cause = {0}, images = {0}, how = {0};
    job_list_base_images(j, &images);
    if (rc == ERR_UNAVAILABLE)
        buf_addf(&how, "it was stopped: the build took longer than %lld s (timeout_seconds of image-builder)",
                 (long long)j->request->timeout_seconds);
    else
        buf_addf(&how, "exit: %s", err->msg); /* what buildah said is in the trace */
    trace_cause(&j->trace, how.ptr, images.ptr, &cause);
    j->result.cause = arena_str(&j->arena, buf_str(&cause));
}

static enum err run_dockerfile(struct job *j, struct errinfo *err)
{
    struct args a = buildah(j);
    const char *at = arena_printf(&j->arena, "%s/%.*s", j->context, STR_ARG(j->request->dockerfile));
    bool is_oci = str_eq_c(j->request->isolation, "oci");
    ARGS(&a, "bud", "--isolation", is_oci ? "oci" : "chroot", "--network", "host", "--pull", "--format", "oci");
    if (is_oci) /* crun does not work where cgroups v1 and v2 are mixed */
        ARGS(&a, "--runtime", "runc", "--cgroup-parent",
             arena_printf(&j->arena, "/slipform/%.*s/build", STR_ARG(j->request->installation)));
    ARGS(&a, j->request->no_cache ? "--no-cache" : "--layers");
    for (size_t i = 0; j->ca_bundle != NULL && i < CA_ENV_N; i++)
        ARGS(&a, "--env", CA_ENV[i]);
    if (j->ca_bundle != NULL)
        ARGS(&a, "--volume", arena_printf(&j->arena, "%s:%s:ro", j->ca_bundle, JOB_CA_BUNDLE_INSIDE));
    ARGS(&a, "--signature-policy", arena_printf(&j->arena, "%s/policy.json", j->folder), "--iidfile",
         arena_printf(&j->arena, "%s/iid", j->folder), "--file", at, j->context);
    struct command c = {.argv = a.items,
                        .env = (const char *const *)j->env,
                        .deadline_us = j->deadline_us,
                        .on_line = on_build_line,
                        .ctx = j};
    struct errinfo local = {0};
    enum err rc = command_run(&c, &local);
    if (rc != OK)
        describe_failure(j, rc, &local);
    return rc == OK ? OK : err_set(err, rc, "%s", local.msg);
}

/* The first line of what a command prints, in the arena. */
static enum err run_for_word(struct job *j, const struct args *a, const char **ret_word, struct errinfo *err)
{
    AUTO(buf) struct buf out = {0};
    enum err rc = run(j, a, &out, err);
    struct str rest = buf_str(&out), line = {0};
    if (rc == OK && (!str_next(&rest, '\n', &line) || str_trim(line).len == 0))
        return err_set(err, ERR_IO, "'%s' said nothing", a->items[0]);
    if (rc == OK)
        *ret_word = arena_str(&j->arena, str_trim(line)).ptr;
    return rc;
}

static void remove_ca_env(struct strs *env)
{
    size_t kept = 0;
    for (size_t i = 0; i < env->n; i++) {
        bool is_ours = false;
        for (size_t k = 0; k < CA_ENV_N; k++)
            is_ours = is_ours || str_eq_c(env->items[i], CA_ENV[k]);
        if (!is_ours)
            env->items[kept++] = env->items[i];
    }
    env->n = kept;
}

static enum err read_config(struct job *j, const char *image, struct errinfo *err)
{
    struct args a = buildah(j);
    ARGS(&a, "inspect", "--type", "image", image);
    AUTO(buf) struct buf out = {0};
    enum err rc = run(j, &a, &out, err);
    if (rc == OK)
        rc = image_config_parse(buf_str(&out), &j->arena, &j->result.config, err);
    if (rc == OK && j->ca_bundle != NULL)
        remove_ca_env(&j->result.config.env);
    return rc;
}

static enum err mount_image(struct job *j, const char *image, const char **ret_path, struct errinfo *err)
{
    struct args a = buildah(j);
    const char *container = NULL;
    ARGS(&a, "from", "--pull-never", "--signature-policy", arena_printf(&j->arena, "%s/policy.json", j->folder), image);
    enum err rc = run_for_word(j, &a, &container, err);
    if (rc != OK)
        return rc;
    a = buildah(j);
    ARGS(&a, "mount", container);
    return run_for_word(j, &a, ret_path, err);
}

/* The root folder is no entry of any layer: buildah makes it with mode 0555 and the time of the mount. */
static enum err settle_root(const char *tree, struct errinfo *err)
{
    auto_close int fd = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct timespec times[2] = {{.tv_sec = CONTEXT_TIME_S}, {.tv_sec = CONTEXT_TIME_S}};
    if (fd < 0 || fchmod(fd, 0755) != 0 || futimens(fd, times) != 0)
        return err_set_os(err, ERR_IO, errno, "prepare the root folder of the image");
    return OK;
}

/* Where the machine's CA bundle was mounted over nothing, buildah leaves an empty file, at which TLS would fail. */
static void remove_ca_mount_point(const struct job *j, const char *tree)
{
    if (j->ca_bundle == NULL)
        return;
    auto_close int root = open(tree, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    auto_close int folder = (int)syscall(SYS_openat2, root, "etc/ssl/certs", &how, sizeof(how));
    struct stat st;
    if (folder >= 0 && fstatat(folder, "ca-certificates.crt", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        st.st_size == 0)
        (void)unlinkat(folder, "ca-certificates.crt", 0);
}

/* Plain, not compressed: a 247 MB tree takes 1.8 s instead of 23 s, and guests read it without unpacking. Contents,
 * names, modes, owners and times of the tree decide the bytes, nothing else. */
static enum err make_image(struct job *j, const char *tree, struct errinfo *err)
{
    const char *file = arena_printf(&j->arena, "%s/root.erofs", j->folder);
    struct args a = {0};
    ARGS(&a, "mkfs.erofs", "--quiet", "-U", IMAGE_UUID, file, tree);
    remove_ca_mount_point(j, tree);
    enum err rc = settle_root(tree, err);
    if (rc == OK)
        rc = run(j, &a, NULL, err);
    auto_close int fd = rc == OK ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    if (rc != OK || fd < 0)
        return rc != OK ? rc : err_set_os(err, ERR_IO, errno, "open '%s'", file);
    char digest[DIGEST_TEXT_SIZE];
    uint64_t size = 0;
    rc = blob_keeper_put(j->blobs_fd, fd, (uint64_t)j->request->image_size_max_bytes, j->deadline_us, digest, &size,
                         err);
    if (rc == ERR_LIMIT)
        return err_set(err, rc,
                       "the image's root file system is over %lld MiB: leave out what is needed for the build "
                       "only (a last stage FROM a small base, COPY --from)",
                       (long long)(j->request->image_size_max_bytes >> 20));
    if (rc != OK)
        return rc;
    j->result.digest = arena_str(&j->arena, str_from(digest));
    j->result.size_bytes = (int64_t)size;
    return OK;
}

static enum err build(struct job *j, struct errinfo *err)
{
    enum err rc = unpack_context(j, err);
    if (rc == OK)
        rc = job_start_registry(j, err);
    if (rc != OK)
        return rc;
    remove_leftovers(j);
    make_room(j);
    rc = run_dockerfile(j, err);
    AUTO(buf) struct buf iid = {0};
    auto_free char *iid_file = mem_printf("%s/iid", j->folder);
    if (rc == OK)
        rc = file_read(iid_file, 256, &iid, err);
    if (rc != OK)
        return rc;
    const char *image = arena_str(&j->arena, str_trim(buf_str(&iid))).ptr, *tree = NULL;
    rc = read_config(j, image, err);
    if (rc == OK)
        rc = mount_image(j, image, &tree, err);
    if (rc == OK)
        rc = make_image(j, tree, err);
    remove_leftovers(j); /* the container that was mounted */
    if (rc == OK)
        say("image: %.*s, %lld bytes", STR_ARG(j->result.digest), (long long)j->result.size_bytes);
    return rc;
}

enum err job_run(struct job *j, struct errinfo *err)
{
    enum err rc = job_prepare(j, err);
    return rc == OK ? build(j, err) : rc;
}

void job_done(struct job *j)
{
    trace_done(&j->trace);
    arena_done(&j->arena);
}
