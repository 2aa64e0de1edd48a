#include "blob/kind.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"

/* An upload that has not written for an hour is dead (chosen); a living one holds a lock as well. */
#define BLOB_STALE_SECONDS 3600
#define BLOB_HEX_LEN ((size_t)64)
#define HEX_AT (sizeof("sha256:") - 1)
#define BLOB_NAME_SIZE 80

struct folder {
    struct blob_store base;
    int folder_fd;
    char *folder; /* for errors */
    /* Who owns it: root (a builder) writes for the platform's user, which must be able to read and go on writing. */
    uid_t uid;
    gid_t gid;
};

struct folder_put {
    struct blob_put base;
    struct folder *store; /* borrowed */
    int fd;
    char name[BLOB_NAME_SIZE]; /* below the store's folder */
    struct hash *hash;
    uint64_t size_bytes, size_max;
};

static const struct blob_kind FOLDER;
static void folder_close(struct blob_store *store);

static void close_dir(DIR *const *dir)
{
    if (*dir != NULL)
        (void)closedir(*dir);
}
#define auto_dir __attribute__((cleanup(close_dir)))

static DIR *open_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    DIR *dir = fdopendir(fd);
    if (dir == NULL)
        (void)close(fd);
    return dir;
}

static enum err make_dir(const struct folder *s, const char *name, struct errinfo *err)
{
    if (mkdirat(s->folder_fd, name, 0750) == 0) {
        if (geteuid() != 0 || fchownat(s->folder_fd, name, s->uid, s->gid, AT_SYMLINK_NOFOLLOW) == 0)
            return OK;
    } else if (errno == EEXIST) {
        return OK;
    }
    return err_set_os(err, ERR_IO, errno, "create folder '%s/%s'", s->folder, name);
}

static void remove_stale(const struct folder *s)
{
    auto_dir DIR *dir = open_dir(s->folder_fd, "tmp");
    if (dir == NULL)
        return;
    const int at = dirfd(dir);
    if (at < 0)
        return;
    int64_t now_s = clock_wall_us() / 1000000;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct stat st;
        if (e->d_name[0] == '.' || fstatat(at, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (!S_ISREG(st.st_mode) || st.st_mtim.tv_sec > now_s - BLOB_STALE_SECONDS)
            continue;
        auto_close int fd = openat(at, e->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            (void)unlinkat(at, e->d_name, 0);
    }
}

enum err blob_store_open_folder(const char *folder, struct blob_store **ret_store, struct errinfo *err)
{
    if (mkdir(folder, 0750) != 0 && errno != EEXIST)
        return err_set_os(err, ERR_IO, errno, "create blob folder '%s'", folder);
    auto_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set_os(err, ERR_IO, errno, "open blob folder '%s'", folder);
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set_os(err, ERR_IO, errno, "look at blob folder '%s'", folder);
    struct folder *s = mem_alloc(sizeof(*s));
    s->base.kind = &FOLDER;
    s->uid = st.st_uid;
    s->gid = st.st_gid;
    s->folder_fd = TAKE_FD(fd);
    s->folder = mem_strdup(folder);
    enum err rc = make_dir(s, "sha256", err);
    if (rc == OK)
        rc = make_dir(s, "tmp", err);
    if (rc == OK)
        rc = make_dir(s, "aside", err);
    if (rc != OK) {
        folder_close(&s->base);
        return rc;
    }
    remove_stale(s);
    *ret_store = &s->base;
    return OK;
}

static void folder_close(struct blob_store *store)
{
    struct folder *s = (struct folder *)store;
    (void)close(s->folder_fd);
    free(s->folder);
    free(s);
}

static enum err put_begin(struct blob_store *store, uint64_t size_max, struct blob_put **ret_put, struct errinfo *err)
{
    struct folder *s = (struct folder *)store;
    struct folder_put *p = mem_alloc(sizeof(*p));
    unsigned char random[16];
    char hex[sizeof(random) * 2 + 1];
    random_bytes(random, sizeof(random));
    hex_format(random, sizeof(random), hex);
    (void)snprintf(p->name, sizeof(p->name), "tmp/%s", hex);
    p->fd = openat(s->folder_fd, p->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (p->fd < 0) {
        int os_errno = errno;
        free(p);
        return err_set_os(err, ERR_IO, os_errno, "create a file in '%s/tmp'", s->folder);
    }
    if (geteuid() == 0 && fchown(p->fd, s->uid, s->gid) != 0) {
        int os_errno = errno;
        (void)unlinkat(s->folder_fd, p->name, 0);
        (void)close(p->fd);
        free(p);
        return err_set_os(err, ERR_IO, os_errno, "give a file in '%s/tmp' to the owner of the folder", s->folder);
    }
    (void)flock(p->fd, LOCK_EX | LOCK_NB); /* says that its writer lives; nobody else can hold it */
    p->base.kind = &FOLDER;
    p->store = s;
    p->hash = hash_new();
    p->size_max = size_max;
    *ret_put = &p->base;
    return OK;
}

static enum err put_write(struct blob_put *put, const void *bytes, size_t n, struct errinfo *err)
{
    struct folder_put *p = (struct folder_put *)put;
    if (n > p->size_max - p->size_bytes)
        return err_set(err, ERR_LIMIT, "more than the %llu bytes that are allowed", (unsigned long long)p->size_max);
    const char *at = bytes;
    for (size_t left = n; left > 0;) {
        ssize_t written = write(p->fd, at, left);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return err_set_os(err, ERR_IO, errno, "write a blob below '%s'", p->store->folder);
        at += written;
        left -= (size_t)written;
    }
    hash_add(p->hash, bytes, n);
    p->size_bytes += n;
    return OK;
}

static void put_free(struct folder_put *p)
{
    uint8_t digest[HASH_SIZE];
    if (p->hash != NULL)
        hash_finish(p->hash, digest);
    (void)close(p->fd);
    free(p);
}

static void put_abort(struct blob_put *put)
{
    struct folder_put *p = (struct folder_put *)put;
    (void)unlinkat(p->store->folder_fd, p->name, 0);
    put_free(p);
}

static void put_cleanup(struct folder_put *const *p)
{
    if (*p != NULL)
        put_abort(&(*p)->base);
}

/* "sha256/ab/<64 hex>" of a digest; with_file false: its folder only. */
static void digest_path(const char *digest, bool with_file, char ret_path[static BLOB_NAME_SIZE])
{
    const char *hex = digest + strlen("sha256:");
    (void)snprintf(ret_path, BLOB_NAME_SIZE, with_file ? "sha256/%.2s/%.64s" : "sha256/%.2s", hex, hex);
}

static enum err sync_dir(const struct folder *s, const char *name, struct errinfo *err)
{
    auto_close int fd = openat(s->folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_set_os(err, ERR_IO, errno, "sync folder '%s/%s'", s->folder, name);
    return OK;
}

/* Move the synced temporary file to its place. */
static enum err put_publish(struct folder_put *p, const char *digest, struct errinfo *err)
{
    char folder[BLOB_NAME_SIZE], path[BLOB_NAME_SIZE];
    digest_path(digest, false, folder);
    digest_path(digest, true, path);
    enum err rc = make_dir(p->store, folder, err);
    if (rc == OK)
        rc = sync_dir(p->store, "sha256", err);
    if (rc != OK)
        return rc;
    if (renameat(p->store->folder_fd, p->name, p->store->folder_fd, path) != 0)
        return err_set_os(err, ERR_IO, errno, "move a blob to '%s/%s'", p->store->folder, path);
    return sync_dir(p->store, folder, err);
}

static enum err put_finish(struct blob_put *put, const char *expect, char ret_digest[DIGEST_TEXT_SIZE],
                           uint64_t *ret_size_bytes, struct errinfo *err)
{
    __attribute__((cleanup(put_cleanup))) struct folder_put *p = (struct folder_put *)put;
    uint8_t digest[HASH_SIZE];
    char text[DIGEST_TEXT_SIZE];
    hash_finish(TAKE(p->hash), digest);
    hash_digest_format(digest, text);
    if (expect != NULL && strcmp(expect, text) != 0)
        return err_set(err, ERR_CORRUPT, "the content has digest '%s', not '%s' as announced", text, expect);
    if (fsync(p->fd) != 0)
        return err_set_os(err, ERR_IO, errno, "sync a blob below '%s'", p->store->folder);
    enum err rc = put_publish(p, text, err);
    if (rc != OK)
        return rc;
    if (ret_digest != NULL)
        memcpy(ret_digest, text, sizeof(text));
    if (ret_size_bytes != NULL)
        *ret_size_bytes = p->size_bytes;
    put_free(TAKE(p));
    return OK;
}

static void place_path(enum blob_place place, const char *digest, char ret_path[static BLOB_NAME_SIZE])
{
    if (place == BLOB_STORED)
        digest_path(digest, true, ret_path);
    else
        (void)snprintf(ret_path, BLOB_NAME_SIZE, "aside/%.64s", digest + HEX_AT);
}

static enum err lookup_error(const struct folder *s, const char *digest, int os_errno, struct errinfo *err)
{
    if (os_errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "no blob '%s' in '%s'", digest, s->folder);
    return err_set_os(err, ERR_IO, os_errno, "open blob '%s' in '%s'", digest, s->folder);
}

static enum err folder_open(struct blob_store *store, const char *digest, int *ret_fd, uint64_t *ret_size_bytes,
                            struct errinfo *err)
{
    struct folder *s = (struct folder *)store;
    char path[BLOB_NAME_SIZE];
    digest_path(digest, true, path);
    auto_close int fd = openat(s->folder_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return lookup_error(s, digest, errno, err);
    if (ret_size_bytes != NULL)
        *ret_size_bytes = (uint64_t)st.st_size;
    *ret_fd = TAKE_FD(fd);
    return OK;
}

static enum err folder_stat(struct blob_store *store, enum blob_place place, const char *digest, struct blob_entry *ret,
                            struct errinfo *err)
{
    struct folder *s = (struct folder *)store;
    char path[BLOB_NAME_SIZE];
    place_path(place, digest, path);
    struct stat st;
    if (fstatat(s->folder_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return lookup_error(s, digest, errno, err);
    (void)snprintf(ret->digest, sizeof(ret->digest), "%s", digest);
    ret->size_bytes = (uint64_t)st.st_size;
    ret->since_s = st.st_mtim.tv_sec;
    return OK;
}

/* Young first, then moved: a crash in between leaves it too young, never too old. */
static enum err folder_move(struct blob_store *store, enum blob_place from, const char *digest, struct errinfo *err)
{
    struct folder *s = (struct folder *)store;
    char path[BLOB_NAME_SIZE], to[BLOB_NAME_SIZE], above[BLOB_NAME_SIZE];
    place_path(from, digest, path);
    place_path(from == BLOB_STORED ? BLOB_ASIDE : BLOB_STORED, digest, to);
    digest_path(digest, false, above);
    enum err rc = make_dir(s, above, err);
    if (rc != OK)
        return rc;
    if (utimensat(s->folder_fd, path, NULL, AT_SYMLINK_NOFOLLOW) != 0 ||
        renameat(s->folder_fd, path, s->folder_fd, to) != 0)
        return lookup_error(s, digest, errno, err);
    rc = sync_dir(s, above, err);
    return rc == OK ? sync_dir(s, "aside", err) : rc;
}

static enum err folder_remove_blob(struct blob_store *store, enum blob_place place, const char *digest,
                                   struct errinfo *err)
{
    struct folder *s = (struct folder *)store;
    char path[BLOB_NAME_SIZE];
    place_path(place, digest, path);
    if (unlinkat(s->folder_fd, path, 0) != 0 && errno != ENOENT)
        return err_set_os(err, ERR_IO, errno, "delete blob '%s' in '%s'", digest, s->folder);
    return OK;
}

/* The blobs of one folder, in order. */
static enum err list_folder(struct folder *s, enum blob_place place, const char *name, blob_entry_fn *each, void *ctx,
                            struct errinfo *err)
{
    auto_free char *folder = mem_printf("/proc/self/fd/%d/%s", s->folder_fd, name);
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort);
    if (n < 0)
        return errno == ENOENT ? OK : err_set_os(err, ERR_IO, errno, "read '%s/%s'", s->folder, name);
    enum err rc = OK;
    for (int i = 0; i < n; i++) {
        struct blob_entry entry;
        char digest[DIGEST_TEXT_SIZE];
        uint8_t bytes[HASH_SIZE];
        (void)snprintf(digest, sizeof(digest), "sha256:%.64s", entries[i]->d_name);
        bool is_blob = strlen(entries[i]->d_name) == BLOB_HEX_LEN && hash_digest_parse(str_from(digest), bytes);
        if (rc == OK && is_blob && folder_stat(&s->base, place, digest, &entry, NULL) == OK)
            rc = each(&entry, ctx, err);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

static enum err folder_list_place(struct blob_store *store, enum blob_place place, blob_entry_fn *each, void *ctx,
                                  struct errinfo *err)
{
    struct folder *s = (struct folder *)store;
    if (place == BLOB_ASIDE)
        return list_folder(s, place, "aside", each, ctx, err);
    enum err rc = OK;
    for (unsigned i = 0; i < 256 && rc == OK; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "sha256/%02x", i);
        rc = list_folder(s, place, name, each, ctx, err);
    }
    return rc;
}

static enum err folder_check(struct blob_store *store, struct errinfo *err)
{
    (void)store, (void)err;
    return OK;
}

/* Opening has done it already. */
static enum err folder_sweep(struct blob_store *store, int64_t older_than_s, uint64_t *ret_n, struct errinfo *err)
{
    (void)older_than_s, (void)err;
    remove_stale((struct folder *)store);
    *ret_n = 0;
    return OK;
}

static const struct blob_kind FOLDER = {
    .close = folder_close,
    .check = folder_check,
    .put_begin = put_begin,
    .put_write = put_write,
    .put_finish = put_finish,
    .put_abort = put_abort,
    .open = folder_open,
    .stat = folder_stat,
    .move = folder_move,
    .remove = folder_remove_blob,
    .list = folder_list_place,
    .sweep = folder_sweep,
};
