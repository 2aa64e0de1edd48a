#include "build/job.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/own.h"
#include "build/command.h"
#include "os/file.h"

#define ENVIRONMENT_FILE_SIZE_MAX ((size_t)64 * 1024)
#define BASE_IMAGES_SHOWN_MAX 40

static enum err write_file(const struct job *j, const char *name, const char *text, struct errinfo *err)
{
    auto_free char *path = mem_printf("%s/%s", j->folder, name);
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return err_set_os(err, ERR_IO, errno, "write '%s'", path);
    return OK;
}

/* Short names mean docker.io, and the local registry is asked before it. */
static const char REGISTRIES[] = "unqualified-search-registries = [\"docker.io\"]\n"
                                 "short-name-mode = \"disabled\"\n"
                                 "[[registry]]\n"
                                 "prefix = \"docker.io\"\n"
                                 "location = \"docker.io\"\n";
static const char REGISTRIES_LOCAL[] = "[[registry.mirror]]\n"
                                       "location = \"127.0.0.1:5000\"\n"
                                       "insecure = true\n";
static const char POLICY[] = "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}\n";

/* What tools/setup found that this machine needs to reach the outside: lines of http_proxy=, https_proxy=, no_proxy=,
 * ca_bundle=. Proxies go into buildah's environment, which passes them on to RUN steps; none of it gets into the image.
 */
static enum err read_environment(struct job *j, const char **ret_proxies, size_t *ret_proxies_n, struct errinfo *err)
{
    if (j->request->environment_file.len == 0)
        return OK;
    AUTO(buf) struct buf text = {0};
    enum err rc =
        file_read(arena_str(&j->arena, j->request->environment_file).ptr, ENVIRONMENT_FILE_SIZE_MAX, &text, err);
    if (rc == ERR_NOT_FOUND)
        return OK;
    struct str rest = buf_str(&text), line;
    while (rc == OK && str_next(&rest, '\n', &line)) {
        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        if (str_starts(line, STR("ca_bundle=")))
            j->ca_bundle = arena_str(&j->arena, str_slice(line, strlen("ca_bundle="), line.len)).ptr;
        else if (str_find(line, '=') < line.len && *ret_proxies_n < JOB_PROXIES_MAX)
            ret_proxies[(*ret_proxies_n)++] = arena_str(&j->arena, line).ptr;
        else
            rc = err_set(err, ERR_INVALID, "'%.*s' has a line that is not NAME=value",
                         STR_ARG(j->request->environment_file));
    }
    return rc;
}

static void make_env(struct job *j, const char *const *proxies, size_t proxies_n)
{
    size_t n = 0;
    j->env = arena_alloc(&j->arena, (proxies_n + 16) * sizeof(*j->env));
    j->env[n++] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    j->env[n++] = "LC_ALL=C.UTF-8";
    j->env[n++] = arena_printf(&j->arena, "HOME=%s", j->folder);
    j->env[n++] = arena_printf(&j->arena, "TMPDIR=%s/tmp", j->folder);
    j->env[n++] = arena_printf(&j->arena, "CONTAINERS_REGISTRIES_CONF=%s/registries.conf", j->folder);
    j->env[n++] = arena_printf(&j->arena, "CONTAINERS_CONF=%s/containers.conf", j->folder);
    /* mkfs.erofs takes this as the image's own time, and files' later than it; so that it is the same each time. */
    j->env[n++] = "SOURCE_DATE_EPOCH=4102444800";
    for (size_t i = 0; i < proxies_n; i++)
        j->env[n++] = proxies[i];
}

static enum err write_configuration(struct job *j, struct errinfo *err)
{
    AUTO(buf) struct buf registries = {0}, containers = {0};
    buf_addf(&registries, "%s%s", REGISTRIES, j->request->registry_folder.len > 0 ? REGISTRIES_LOCAL : "");
    buf_add_c(&containers, "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n");
    enum err rc = write_file(j, "registries.conf", registries.ptr, err);
    if (rc == OK)
        rc = write_file(j, "containers.conf", containers.ptr, err);
    return rc == OK ? write_file(j, "policy.json", POLICY, err) : rc;
}

/* overlay where the file system of the work folder can carry it, else vfs (whole copies). */
static enum err choose_driver(struct job *j, struct errinfo *err)
{
    auto_free char *base = mem_printf("%s/overlay-probe", j->folder);
    static const char *const PARTS[] = {"lower", "upper", "work", "merged"};
    for (size_t i = 0; i < 4; i++) {
        auto_free char *path = mem_printf("%s/%s", base, PARTS[i]);
        enum err rc = folder_make(path, 0700, err);
        if (rc != OK)
            return rc;
    }
    auto_free char *options = mem_printf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", base, base, base);
    auto_free char *merged = mem_printf("%s/merged", base);
    bool works = mount("overlay", merged, "overlay", 0, options) == 0;
    if (works)
        (void)umount2(merged, MNT_DETACH);
    j->driver = works ? "overlay" : "vfs";
    j->storage = arena_printf(&j->arena, "%.*s/storage-%s", STR_ARG(j->request->work_folder), j->driver);
    j->run = arena_printf(&j->arena, "%s/run", j->folder);
    return OK;
}

enum err job_prepare(struct job *j, struct errinfo *err)
{
    auto_free char *tmp = mem_printf("%s/tmp", j->folder);
    j->context = arena_printf(&j->arena, "%s/context", j->folder);
    enum err rc = folder_remove(j->folder, err);
    if (rc == OK)
        rc = folder_make(tmp, 0700, err);
    if (rc == OK)
        rc = folder_make(j->context, 0700, err);
    const char *proxies[JOB_PROXIES_MAX];
    size_t proxies_n = 0;
    if (rc == OK)
        rc = read_environment(j, proxies, &proxies_n, err);
    make_env(j, proxies, proxies_n);
    if (rc == OK)
        rc = write_configuration(j, err);
    return rc == OK ? choose_driver(j, err) : rc;
}

static void list_tags(const char *tags, const char *name, struct buf *out)
{
    char **names = NULL;
    size_t n = 0;
    if (folder_list(tags, &names, &n, NULL) != OK)
        return;
    for (size_t i = 0; i < n; i++)
        buf_addf(out, "%s%s:%s", out->len > 0 ? ", " : "", name, names[i]);
    folder_list_free(names);
}

/* The layout of a registry's storage: repositories/<name>/_manifests/tags/<tag> (distribution 2.8). */
void job_list_base_images(const struct job *j, struct buf *out)
{
    auto_free char *library =
        mem_printf("%.*s/docker/registry/v2/repositories/library", STR_ARG(j->request->registry_folder));
    char **names = NULL;
    size_t n = 0;
    if (folder_list(library, &names, &n, NULL) == OK) {
        for (size_t i = 0; i < n && i < BASE_IMAGES_SHOWN_MAX; i++) {
            auto_free char *tags = mem_printf("%s/%s/_manifests/tags", library, names[i]);
            list_tags(tags, names[i], out);
        }
        folder_list_free(names);
    }
    buf_add(out, "", 0);
}
