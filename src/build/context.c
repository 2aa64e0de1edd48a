/* Happy path: each header of the tar is checked by name and type, its parent folders are opened one below the other
 * without following links (openat2, RESOLVE_BENEATH), then the entry is made there. So a link that came earlier in the
 * tar can point anywhere, but nothing is ever written through it. */
#include "build/context.h"

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/str.h"

#define PATH_LEN_MAX 4096u  /* PATH_MAX of Linux */
#define PATH_PARTS_MAX 128u /* chosen; deeper trees are made to hurt */
#define CHUNK_SIZE ((size_t)64 * 1024)

struct unpack {
    struct archive *archive;
    int folder_fd;
    const struct context_limits *limits;
    struct context_facts facts;
};

static void archive_done(struct archive *const *a)
{
    if (*a != NULL)
        (void)archive_read_free(*a);
}

static enum err open_beneath(int at, const char *path, uint64_t flags, int *ret_fd)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, at, path, &how, sizeof(how));
    if (fd < 0)
        return ERR_IO;
    *ret_fd = (int)fd;
    return OK;
}

/* A path of the tar without "." parts and slashes around it; "" is the context itself. */
static enum err clean_path(const char *raw, struct buf *ret_path, struct errinfo *err)
{
    struct str rest = str_from(raw), part;
    if (raw == NULL || rest.len > PATH_LEN_MAX)
        return err_set(err, ERR_INVALID, "the context has an entry whose name is missing or over %u bytes",
                       PATH_LEN_MAX);
    if (rest.len > 0 && rest.ptr[0] == '/')
        return err_set(err, ERR_INVALID, "the context has an absolute path '%s': paths must be relative", raw);
    unsigned parts = 0;
    while (str_next(&rest, '/', &part)) {
        if (part.len == 0 || str_eq(part, STR(".")))
            continue;
        if (str_eq(part, STR("..")) || ++parts > PATH_PARTS_MAX)
            return err_set(err, ERR_INVALID, "the context has a path '%.200s' that leaves it or is too deep", raw);
        if (ret_path->len > 0)
            buf_add_char(ret_path, '/');
        buf_add_str(ret_path, part);
    }
    buf_add(ret_path, "", 0);
    assert(ret_path->ptr != NULL); /* the context itself is "", not NULL */
    return OK;
}

/* The folder that holds `path`, made with the ones above it when missing. */
static enum err open_parent(const struct unpack *u, const char *path, int *ret_fd, struct errinfo *err)
{
    auto_close int at = fcntl(u->folder_fd, F_DUPFD_CLOEXEC, 0);
    if (at < 0)
        return err_set_os(err, ERR_IO, errno, "open the folder of '%.200s'", path);
    struct str rest = str_from(path), part;
    for (;;) {
        if (!str_next(&rest, '/', &part) || rest.ptr == NULL || rest.len == 0)
            break;
        char name[NAME_MAX + 1];
        if (!str_copy_to(part, name, sizeof(name)))
            return err_set(err, ERR_INVALID, "the context has a name in '%.200s' that is too long", path);
        (void)mkdirat(at, name, 0755);
        int next = -1;
        if (open_beneath(at, name, O_RDONLY | O_DIRECTORY, &next) != OK)
            return err_set_os(err, ERR_INVALID, errno, "the context has '%.200s' below something that is no folder",
                              path);
        (void)close(at);
        at = next;
    }
    *ret_fd = TAKE_FD(at);
    return OK;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static enum err io_error(const char *path, struct errinfo *err)
{
    return err_set_os(err, ERR_IO, errno, "unpack '%.200s' of the context", path);
}

static enum err write_content(struct unpack *u, int fd, const char *path, struct errinfo *err)
{
    char chunk[CHUNK_SIZE];
    for (;;) {
        la_ssize_t n = archive_read_data(u->archive, chunk, sizeof(chunk));
        if (n == 0)
            return OK;
        if (n < 0)
            return err_set(err, ERR_INVALID, "the context's tar is damaged at '%.200s': %s", path,
                           archive_error_string(u->archive));
        u->facts.size_bytes += (uint64_t)n;
        if (u->facts.size_bytes > u->limits->size_bytes_max)
            return err_set(err, ERR_LIMIT,
                           "the context holds more than %llu MiB: name what is not needed in "
                           ".dockerignore",
                           (unsigned long long)(u->limits->size_bytes_max >> 20));
        for (la_ssize_t done = 0; done < n;) {
            ssize_t written = write(fd, chunk + done, (size_t)(n - done));
            if (written < 0 && errno != EINTR)
                return io_error(path, err);
            done += written > 0 ? written : 0;
        }
    }
}

static enum err make_file(struct unpack *u, int parent, const char *path, mode_t mode, struct errinfo *err)
{
    auto_close int fd = openat(parent, base_name(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, mode & 0777) != 0)
        return io_error(path, err);
    enum err rc = write_content(u, fd, path, err);
    const struct timespec times[2] = {{.tv_sec = CONTEXT_TIME_S}, {.tv_sec = CONTEXT_TIME_S}};
    if (rc == OK && futimens(fd, times) != 0)
        return io_error(path, err);
    return rc;
}

static enum err make_hard_link(struct unpack *u, int parent, const char *path, const char *raw_target,
                               struct errinfo *err)
{
    AUTO(buf) struct buf target = {0};
    enum err rc = clean_path(raw_target, &target, err);
    if (rc != OK)
        return rc;
    auto_close int target_parent = -1;
    rc = open_parent(u, target.ptr, &target_parent, err);
    if (rc != OK)
        return rc;
    if (linkat(target_parent, base_name(target.ptr), parent, base_name(path), 0) != 0)
        return err_set_os(err, ERR_INVALID, errno, "the context has a hard link '%.100s' to '%.100s'", path,
                          raw_target);
    return OK;
}

static enum err make_symlink(int parent, const char *path, const char *target, struct errinfo *err)
{
    if (target == NULL || symlinkat(target, parent, base_name(path)) != 0)
        return io_error(path, err);
    const struct timespec times[2] = {{.tv_sec = CONTEXT_TIME_S}, {.tv_sec = CONTEXT_TIME_S}};
    (void)utimensat(parent, base_name(path), times, AT_SYMLINK_NOFOLLOW);
    return OK;
}

static enum err make_entry(struct unpack *u, struct archive_entry *e, const char *path, struct errinfo *err)
{
    auto_close int parent = -1;
    enum err rc = open_parent(u, path, &parent, err);
    if (rc != OK)
        return rc;
    mode_t type = archive_entry_filetype(e), mode = archive_entry_perm(e);
    const char *hard_link = archive_entry_hardlink(e);
    if (type == AE_IFDIR && hard_link == NULL) {
        if (mkdirat(parent, base_name(path), 0700) != 0 && errno != EEXIST)
            return io_error(path, err);
        auto_close int fd = -1;
        if (open_beneath(parent, base_name(path), O_RDONLY | O_DIRECTORY, &fd) != OK ||
            fchmod(fd, (mode & 0777) | 0700) != 0)
            return io_error(path, err);
        return OK;
    }
    if (unlinkat(parent, base_name(path), 0) != 0 && errno != ENOENT) /* a later entry of the same name wins */
        return io_error(path, err);
    if (hard_link != NULL)
        return make_hard_link(u, parent, path, hard_link, err);
    if (type == AE_IFREG)
        return make_file(u, parent, path, mode, err);
    if (type == AE_IFLNK)
        return make_symlink(parent, path, archive_entry_symlink(e), err);
    return err_set(err, ERR_INVALID, "the context has '%.200s', which is neither file, folder nor link", path);
}

static enum err unpack_entries(struct unpack *u, struct errinfo *err)
{
    for (;;) {
        struct archive_entry *e = NULL;
        int rc = archive_read_next_header(u->archive, &e);
        if (rc == ARCHIVE_EOF)
            return OK;
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
            return err_set(err, ERR_INVALID, "the context is not a tar archive, or it is damaged: %s",
                           archive_error_string(u->archive));
        if (++u->facts.entries > u->limits->entries_max)
            return err_set(err, ERR_LIMIT,
                           "the context has more than %llu entries: name what is not needed in "
                           ".dockerignore",
                           (unsigned long long)u->limits->entries_max);
        AUTO(buf) struct buf path = {0};
        enum err code = clean_path(archive_entry_pathname(e), &path, err);
        if (code == OK && path.len > 0)
            code = make_entry(u, e, path.ptr, err);
        if (code != OK)
            return code;
    }
}

/* Folders get their time last: what is made in them changes it. `fd` is taken. */
static void set_folder_times(int fd)
{
    if (fd < 0)
        return;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        (void)close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_type != DT_DIR || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int below = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0)
            set_folder_times(below); /* as deep as PATH_PARTS_MAX */
    }
    const struct timespec times[2] = {{.tv_sec = CONTEXT_TIME_S}, {.tv_sec = CONTEXT_TIME_S}};
    (void)futimens(fd, times);
    (void)closedir(dir);
}

enum err context_unpack(int fd, const char *folder, const struct context_limits *limits,
                        struct context_facts *ret_facts, struct errinfo *err)
{
    auto_close int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0)
        return err_set_os(err, ERR_IO, errno, "open folder '%s'", folder);
    __attribute__((cleanup(archive_done))) struct archive *archive = archive_read_new();
    (void)archive_read_support_format_tar(archive);
    (void)archive_read_support_filter_gzip(archive);
    struct unpack u = {.archive = archive, .folder_fd = folder_fd, .limits = limits};
    if (archive_read_open_fd(archive, fd, CHUNK_SIZE) != ARCHIVE_OK)
        return err_set(err, ERR_INVALID, "the context is not a tar archive: %s", archive_error_string(archive));
    enum err rc = unpack_entries(&u, err);
    if (rc != OK)
        return rc;
    set_folder_times(fcntl(folder_fd, F_DUPFD_CLOEXEC, 0));
    *ret_facts = u.facts;
    return OK;
}

/* "a, b, c" of a folder, some of them. */
static void list_names(const char *folder, struct buf *out)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0, shown = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && shown++ < 10)
            buf_addf(out, "%s%.40s", out->len > 0 ? ", " : "", name);
        free(entries[i]);
    }
    free(entries);
    if (out->len == 0)
        buf_add_c(out, "nothing");
}

enum err context_check_dockerfile(const char *folder, const char *name, struct errinfo *err)
{
    auto_close int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
    struct stat st;
    if (open_beneath(at, name, O_PATH, &fd) == OK && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return OK;
    AUTO(buf) struct buf names = {0};
    list_names(folder, &names);
    return err_set(err, ERR_NOT_FOUND, "no file '%.100s' in the build context, which has: %.300s", name, names.ptr);
}
