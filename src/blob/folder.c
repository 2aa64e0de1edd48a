#include "blob/blob.h"

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

/* 1 MiB: a copy is bound by the disk and SHA-256 long before (chosen, never measured). */
#define BLOB_CHUNK_SIZE ((size_t)1024 * 1024)
/* An upload that has not written for an hour is dead (chosen); a living one holds a lock as well. */
#define BLOB_STALE_SECONDS 3600
#define BLOB_HEX_LEN ((size_t)64)
#define BLOB_NAME_SIZE 80

struct blob_store {
    int folder_fd;
    char *folder; /* for errors */
    /* Who owns it: root (a builder) writes for the platform's user, which must be able to read and go on writing. */
    uid_t uid;
    gid_t gid;
};

struct blob_put {
    struct blob_store *store; /* borrowed */
    int fd;
    char name[BLOB_NAME_SIZE]; /* below the store's folder */
    struct hash *hash;
    uint64_t size_bytes, size_max;
};

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

static enum err make_dir(const struct blob_store *s, const char *name, struct errinfo *err)
{
    if (mkdirat(s->folder_fd, name, 0750) == 0) {
        if (geteuid() != 0 || fchownat(s->folder_fd, name, s->uid, s->gid, AT_SYMLINK_NOFOLLOW) == 0)
            return OK;
    } else if (errno == EEXIST) {
        return OK;
    }
    return err_set_os(err, ERR_IO, errno, "create folder '%s/%s'", s->folder, name);
}

static void remove_stale(const struct blob_store *s)
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
    struct blob_store *s = mem_alloc(sizeof(*s));
    s->uid = st.st_uid;
    s->gid = st.st_gid;
    s->folder_fd = TAKE_FD(fd);
    s->folder = mem_strdup(folder);
    enum err rc = make_dir(s, "sha256", err);
    if (rc == OK)
        rc = make_dir(s, "tmp", err);
    if (rc != OK) {
        blob_store_close(s);
        return rc;
    }
    remove_stale(s);
    *ret_store = s;
    return OK;
}

void blob_store_close(struct blob_store *s)
{
    if (s == NULL)
        return;
    (void)close(s->folder_fd);
    free(s->folder);
    free(s);
}

enum err blob_put_begin(struct blob_store *s, uint64_t size_max, struct blob_put **ret_put, struct errinfo *err)
{
    struct blob_put *p = mem_alloc(sizeof(*p));
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
    p->store = s;
    p->hash = hash_new();
    p->size_max = size_max;
    *ret_put = p;
    return OK;
}

enum err blob_put_write(struct blob_put *p, const void *bytes, size_t n, struct errinfo *err)
{
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

static void put_free(struct blob_put *p)
{
    uint8_t digest[HASH_SIZE];
    if (p->hash != NULL)
        hash_finish(p->hash, digest);
    (void)close(p->fd);
    free(p);
}

void blob_put_abort(struct blob_put *p)
{
    if (p == NULL)
        return;
    (void)unlinkat(p->store->folder_fd, p->name, 0);
    put_free(p);
}

static void blob_put_cleanup(struct blob_put *const *p)
{
    blob_put_abort(*p);
}

/* "sha256/ab/<64 hex>" of a digest; with_file false: its folder only. */
static void digest_path(const char *digest, bool with_file, char ret_path[static BLOB_NAME_SIZE])
{
    const char *hex = digest + strlen("sha256:");
    (void)snprintf(ret_path, BLOB_NAME_SIZE, with_file ? "sha256/%.2s/%.64s" : "sha256/%.2s", hex, hex);
}

static enum err sync_dir(const struct blob_store *s, const char *name, struct errinfo *err)
{
    auto_close int fd = openat(s->folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_set_os(err, ERR_IO, errno, "sync folder '%s/%s'", s->folder, name);
    return OK;
}

/* Move the synced temporary file to its place. */
static enum err put_publish(struct blob_put *p, const char *digest, struct errinfo *err)
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

enum err blob_put_finish(struct blob_put *put, const char *expect, char ret_digest[DIGEST_TEXT_SIZE],
                         uint64_t *ret_size_bytes, struct errinfo *err)
{
    __attribute__((cleanup(blob_put_cleanup))) struct blob_put *p = put;
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

enum err blob_put_fd(struct blob_store *s, int fd, uint64_t size_max, const char *expect,
                     char ret_digest[DIGEST_TEXT_SIZE], uint64_t *ret_size_bytes, struct errinfo *err)
{
    __attribute__((cleanup(blob_put_cleanup))) struct blob_put *p = NULL;
    enum err rc = blob_put_begin(s, size_max, &p, err);
    auto_free char *chunk = mem_alloc(BLOB_CHUNK_SIZE);
    while (rc == OK) {
        ssize_t n = read(fd, chunk, BLOB_CHUNK_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_os(err, ERR_IO, errno, "read the content of a blob");
        if (n == 0)
            return blob_put_finish(TAKE(p), expect, ret_digest, ret_size_bytes, err);
        rc = blob_put_write(p, chunk, (size_t)n, err);
    }
    return rc;
}

enum err blob_put_bytes(struct blob_store *s, struct str bytes, const char *expect, char ret_digest[DIGEST_TEXT_SIZE],
                        struct errinfo *err)
{
    __attribute__((cleanup(blob_put_cleanup))) struct blob_put *p = NULL;
    enum err rc = blob_put_begin(s, bytes.len, &p, err);
    if (rc == OK)
        rc = blob_put_write(p, bytes.ptr, bytes.len, err);
    return rc == OK ? blob_put_finish(TAKE(p), expect, ret_digest, NULL, err) : rc;
}

static enum err checked_path(const char *digest, char ret_path[static BLOB_NAME_SIZE], struct errinfo *err)
{
    uint8_t bytes[HASH_SIZE];
    if (digest == NULL || !hash_digest_parse(str_from(digest), bytes))
        return err_set(err, ERR_INVALID, "'%.80s' is not a digest (sha256: and 64 hex digits)",
                       digest == NULL ? "" : digest);
    digest_path(digest, true, ret_path);
    return OK;
}

static enum err lookup_error(const struct blob_store *s, const char *digest, int os_errno, struct errinfo *err)
{
    if (os_errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "no blob '%s' in '%s'", digest, s->folder);
    return err_set_os(err, ERR_IO, os_errno, "open blob '%s' in '%s'", digest, s->folder);
}

enum err blob_open(struct blob_store *s, const char *digest, int *ret_fd, uint64_t *ret_size_bytes, struct errinfo *err)
{
    char path[BLOB_NAME_SIZE];
    enum err rc = checked_path(digest, path, err);
    if (rc != OK)
        return rc;
    auto_close int fd = openat(s->folder_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return lookup_error(s, digest, errno, err);
    if (ret_size_bytes != NULL)
        *ret_size_bytes = (uint64_t)st.st_size;
    *ret_fd = TAKE_FD(fd);
    return OK;
}

enum err blob_stat(struct blob_store *s, const char *digest, uint64_t *ret_size_bytes, struct errinfo *err)
{
    char path[BLOB_NAME_SIZE];
    enum err rc = checked_path(digest, path, err);
    if (rc != OK)
        return rc;
    struct stat st;
    if (fstatat(s->folder_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return lookup_error(s, digest, errno, err);
    if (ret_size_bytes != NULL)
        *ret_size_bytes = (uint64_t)st.st_size;
    return OK;
}

enum err blob_verify(struct blob_store *s, const char *digest, struct errinfo *err)
{
    auto_close int fd = -1;
    enum err rc = blob_open(s, digest, &fd, NULL, err);
    if (rc != OK)
        return rc;
    auto_free char *chunk = mem_alloc(BLOB_CHUNK_SIZE);
    struct hash *h = hash_new();
    ssize_t n;
    while ((n = read(fd, chunk, BLOB_CHUNK_SIZE)) > 0 || (n < 0 && errno == EINTR))
        hash_add(h, chunk, n > 0 ? (size_t)n : 0);
    int os_errno = errno;
    uint8_t bytes[HASH_SIZE];
    char text[DIGEST_TEXT_SIZE];
    hash_finish(h, bytes);
    hash_digest_format(bytes, text);
    if (n < 0)
        return err_set_os(err, ERR_IO, os_errno, "read blob '%s' in '%s'", digest, s->folder);
    if (strcmp(text, digest) != 0)
        return err_set(err, ERR_CORRUPT, "blob '%s' in '%s' now has digest '%s'", digest, s->folder, text);
    return OK;
}

enum err blob_delete(struct blob_store *s, const char *digest, struct errinfo *err)
{
    char path[BLOB_NAME_SIZE];
    enum err rc = checked_path(digest, path, err);
    if (rc == OK && unlinkat(s->folder_fd, path, 0) != 0 && errno != ENOENT)
        return err_set_os(err, ERR_IO, errno, "delete blob '%s' in '%s'", digest, s->folder);
    return rc;
}

typedef enum err blob_each(const char *digest, uint64_t size_bytes, void *ctx, struct errinfo *err);

/* The blobs of one two-digit folder, in order. */
static enum err list_folder(struct blob_store *s, const char *name, blob_each *each, void *ctx, struct errinfo *err)
{
    auto_free char *folder = mem_printf("/proc/self/fd/%d/sha256/%.2s", s->folder_fd, name);
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort);
    if (n < 0)
        return errno == ENOENT ? OK : err_set_os(err, ERR_IO, errno, "read '%s/sha256/%.2s'", s->folder, name);
    enum err rc = OK;
    for (int i = 0; i < n; i++) {
        char digest[DIGEST_TEXT_SIZE];
        uint64_t size_bytes = 0;
        (void)snprintf(digest, sizeof(digest), "sha256:%.64s", entries[i]->d_name);
        if (rc == OK && strlen(entries[i]->d_name) == BLOB_HEX_LEN && blob_stat(s, digest, &size_bytes, NULL) == OK)
            rc = each(digest, size_bytes, ctx, err);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

enum err blob_list(struct blob_store *s, blob_each *each, void *ctx, struct errinfo *err)
{
    enum err rc = OK;
    for (unsigned i = 0; i < 256 && rc == OK; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "%02x", i);
        rc = list_folder(s, name, each, ctx, err);
    }
    return rc;
}
