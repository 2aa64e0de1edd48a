/* The bulk store in a folder: <series>.ndjson, and <series>.1.ndjson, which it was before it grew to half of what the
 * series may have. Writers of one machine take turns by a lock on the file; readers take none: what they have open
 * stays what it is, and a line is read when its newline is there. Nothing is synced. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "store/bulk_kind.h"

/* A file that was rotated away while its name was looked up is looked up again, so often (chosen). */
enum { TRIES_MAX = 5 };
static const char SUFFIX[] = ".ndjson", OLD_SUFFIX[] = ".1.ndjson";

static char *path_of(const struct bulk *b, const char *series, const char *suffix)
{
    return mem_printf("%s/%s%s", b->path, series, suffix);
}

static enum err open_folder(struct bulk *b, const char *spec, struct errinfo *err)
{
    struct str path = str_from(spec);
    if (!str_starts(path, STR("folder;path=")) || path.len == strlen("folder;path="))
        return err_set(err, ERR_INVALID, "bulk store '%s': a folder is 'folder;path=DIR'", spec);
    b->path = mem_strdup(spec + strlen("folder;path="));
    if (mkdir(b->path, 0750) != 0 && errno != EEXIST)
        return err_set_os(err, errno == EACCES ? ERR_DENIED : ERR_IO, errno, "make folder '%s'", b->path);
    return OK;
}

/* ---- lines of a file ---- */

/* The line that begins at `at`, without its newline, its texts in *room. False: there is no whole one. */
static bool line_at(int fd, off_t at, struct buf *room, struct str *ret)
{
    buf_clear(room);
    for (size_t want = 4096; room->len < BULK_LINE_SIZE_MAX; want = BULK_LINE_SIZE_MAX) {
        buf_reserve(room, want);
        ssize_t n = pread(fd, room->ptr + room->len, want, at + (off_t)room->len);
        size_t end = n <= 0 ? (size_t)n : str_find((struct str){room->ptr, room->len + (size_t)n}, '\n');
        if (n <= 0)
            return false;
        room->len += (size_t)n;
        *ret = (struct str){room->ptr, end};
        if (end < room->len)
            return true;
    }
    return false;
}

/* Where the first line begins that begins at `at` or behind it; `size` when there is none. */
static off_t line_begin(int fd, off_t at, off_t size, struct buf *room)
{
    struct str rest;
    if (at == 0)
        return 0;
    return line_at(fd, at - 1, room, &rest) ? at + (off_t)rest.len : size;
}

/* Where the first whole line that is above `after` begins, by halves: numbers rise; `size`: there is none. A line that
 * says no number was torn by a full disk: the one behind it is looked at. */
static off_t find_above(int fd, off_t size, int64_t after, struct buf *room)
{
    off_t low = 0, high = size; /* a line that begins before low is not above; one that begins at high is, or the end */
    while (low < high) {
        off_t middle = low + (high - low) / 2, at = line_begin(fd, middle, size, room);
        struct str line;
        int64_t seq = 0;
        off_t next = at;
        while (next < high && line_at(fd, next, room, &line)) {
            if (bulk_line_seq(line, &seq))
                break;
            next += (off_t)line.len + 1;
        }
        if (next >= high || seq == 0 || seq > after)
            high = middle;
        else
            low = next + (off_t)line.len + 1;
    }
    return line_begin(fd, high, size, room);
}

/* Number of the last whole line, 0 when there is none; *ret_end is where it ends. */
static int64_t last_seq_of(int fd, off_t *ret_end)
{
    struct stat st;
    *ret_end = 0;
    if (fstat(fd, &st) != 0 || st.st_size == 0)
        return 0;
    size_t n = st.st_size > (off_t)BULK_LINE_SIZE_MAX * 2 ? BULK_LINE_SIZE_MAX * 2 : (size_t)st.st_size;
    auto_free char *bytes = mem_alloc(n);
    off_t from = st.st_size - (off_t)n;
    ssize_t got = pread(fd, bytes, n, from);
    struct str text = {bytes, got > 0 ? (size_t)got : 0};
    int64_t seq = 0;
    for (size_t end = str_rfind(text, '\n'); end < text.len; end = str_rfind(text, '\n')) {
        if (*ret_end == 0)
            *ret_end = from + (off_t)end + 1;
        text.len = end;
        size_t start = str_rfind(text, '\n');
        struct str line = start == text.len ? text : str_slice(text, start + 1, text.len);
        if (bulk_line_seq(line, &seq))
            return seq;
    }
    return 0;
}

/* ---- appending ---- */

static bool is_at(int fd, const char *path)
{
    struct stat open_one, named;
    return fstat(fd, &open_one) == 0 && stat(path, &named) == 0 && open_one.st_ino == named.st_ino &&
           open_one.st_dev == named.st_dev;
}

/* The file that is written, locked as long as *ret_fd is open. */
static enum err open_locked(const char *path, int *ret_fd, struct errinfo *err)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
        if (fd < 0)
            return err_set_os(err, ERR_IO, errno, "open '%s'", path);
        while (flock(fd, LOCK_EX) != 0)
            if (errno != EINTR)
                return err_set_os(err, ERR_IO, errno, "lock '%s'", path);
        if (is_at(fd, path)) {
            *ret_fd = TAKE_FD(fd);
            return OK;
        }
    }
    return err_set(err, ERR_UNAVAILABLE, "'%s' is always being replaced", path);
}

static int64_t last_in(const struct bulk *b, const char *series, int fd, off_t *ret_end)
{
    int64_t last = last_seq_of(fd, ret_end);
    if (last > 0)
        return last;
    off_t ignored;
    auto_free char *old_path = path_of(b, series, OLD_SUFFIX);
    auto_close int old_fd = open(old_path, O_RDONLY | O_CLOEXEC);
    return old_fd < 0 ? 0 : last_seq_of(old_fd, &ignored);
}

static enum err write_at(int fd, const char *path, off_t at, struct str bytes, struct errinfo *err)
{
    ssize_t n = pwrite(fd, bytes.ptr, bytes.len, at);
    if (n == (ssize_t)bytes.len)
        return OK;
    int why = n < 0 ? errno : ENOSPC;
    err_ignore(ftruncate(fd, at) == 0 ? OK : ERR_IO); /* else the torn line is cut off by the next append */
    return err_set_os(err, ERR_IO, why, "write '%s'", path);
}

static enum err put(struct bulk *b, struct bulk_known *k, struct str chunk, int64_t last, uint64_t size_max,
                    struct errinfo *err)
{
    auto_free char *path = path_of(b, k->name, SUFFIX), *old_path = path_of(b, k->name, OLD_SUFFIX);
    auto_close int fd = -1;
    off_t end = 0;
    enum err rc = open_locked(path, &fd, err);
    if (rc != OK)
        return rc;
    int64_t is_last = last_in(b, k->name, fd, &end);
    if (is_last != k->last) {
        k->last = is_last;
        return err_set(err, ERR_CONFLICT, "series '%s' ends elsewhere", k->name);
    }
    if (end > 0 && (uint64_t)end + chunk.len > size_max / 2) {
        if (rename(path, old_path) != 0)
            return err_set_os(err, ERR_IO, errno, "rotate '%s'", path);
        close(TAKE_FD(fd));
        rc = open_locked(path, &fd, err);
        if (rc == OK && last_seq_of(fd, &end) != 0) /* between the two somebody else was first */
            rc = err_set(err, ERR_UNAVAILABLE, "series '%s' has another writer", k->name);
        if (rc != OK)
            return rc;
    }
    if (ftruncate(fd, end) != 0) /* a torn line of a program that was killed */
        return err_set_os(err, ERR_IO, errno, "cut '%s'", path);
    rc = write_at(fd, path, end, chunk, err);
    if (rc == OK)
        k->last = last;
    return rc;
}

static enum err end_of(struct bulk *b, struct bulk_known *k, struct errinfo *err)
{
    (void)err;
    off_t ignored;
    auto_free char *path = path_of(b, k->name, SUFFIX);
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    k->last = last_in(b, k->name, fd, &ignored);
    return OK;
}

/* ---- reading ---- */

/* The two files of a series as they were at one moment; -1: there is none. */
struct files {
    int fds[2]; /* the old one, the one that is written */
    off_t sizes[2];
};

static void files_cleanup(struct files *f)
{
    for (int i = 0; i < 2; i++)
        if (f->fds[i] >= 0)
            close(f->fds[i]);
}

static void files_open(const struct bulk *b, const char *series, struct files *ret)
{
    auto_free char *path = path_of(b, series, SUFFIX), *old_path = path_of(b, series, OLD_SUFFIX);
    for (int i = 0; i < TRIES_MAX; i++) {
        *ret = (struct files){.fds = {-1, open(path, O_RDONLY | O_CLOEXEC)}};
        ret->fds[0] = open(old_path, O_RDONLY | O_CLOEXEC);
        if (ret->fds[1] < 0 || is_at(ret->fds[1], path))
            break;
        if (i + 1 < TRIES_MAX)
            files_cleanup(ret); /* rotated meanwhile: one would be read twice, or not at all */
    }
    for (int i = 0; i < 2; i++) {
        struct stat st;
        if (ret->fds[i] >= 0 && fstat(ret->fds[i], &st) == 0)
            ret->sizes[i] = st.st_size;
    }
}

/* Whole lines from `at` on, about size_max bytes of them, at least one. */
static enum err read_lines(int fd, off_t at, size_t size_max, struct buf *ret, struct errinfo *err)
{
    size_t want = size_max > BULK_LINE_SIZE_MAX ? size_max : BULK_LINE_SIZE_MAX, before = ret->len;
    buf_reserve(ret, want);
    ssize_t n = pread(fd, ret->ptr + before, want, at);
    if (n < 0)
        return err_set_os(err, ERR_IO, errno, "read a series");
    struct str text = {ret->ptr + before, (size_t)n};
    size_t end = str_rfind(text, '\n');
    ret->len = before + (end < text.len ? end + 1 : 0);
    return OK;
}

static enum err read_chunks(struct bulk *b, struct bulk_cursor *c, size_t size_max, struct buf *ret,
                            struct errinfo *err)
{
    AUTO(files) struct files f;
    AUTO(buf) struct buf room = {0};
    enum err rc = OK;
    files_open(b, c->series, &f);
    for (int i = 0; i < 2 && rc == OK && ret->len == 0; i++) {
        off_t end = 0;
        if (f.fds[i] < 0 || last_seq_of(f.fds[i], &end) <= c->after) /* mostly: nothing new */
            continue;
        rc = read_lines(f.fds[i], find_above(f.fds[i], f.sizes[i], c->after, &room), size_max, ret, err);
    }
    return rc;
}

static enum err tail(struct bulk *b, struct bulk_cursor *c, size_t size, struct errinfo *err)
{
    (void)err;
    AUTO(files) struct files f;
    AUTO(buf) struct buf room = {0};
    struct str line;
    off_t left = (off_t)size;
    files_open(b, c->series, &f);
    c->after = 0;
    for (int i = 1; i >= 0 && left > 0; i--) {
        if (f.fds[i] < 0)
            continue;
        off_t at = f.sizes[i] > left ? line_begin(f.fds[i], f.sizes[i] - left, f.sizes[i], &room) : 0;
        int64_t seq = 0;
        if (line_at(f.fds[i], at, &room, &line) && bulk_line_seq(line, &seq))
            c->after = seq - 1;
        left -= f.sizes[i];
    }
    return OK;
}

/* ---- throwing away ---- */

static enum err drop(struct bulk *b, const char *series, struct errinfo *err)
{
    auto_free char *path = path_of(b, series, SUFFIX), *old_path = path_of(b, series, OLD_SUFFIX);
    if ((unlink(old_path) != 0 && errno != ENOENT) || (unlink(path) != 0 && errno != ENOENT))
        return err_set_os(err, ERR_IO, errno, "remove '%s'", path);
    return OK;
}

struct kept_file {
    char name[BULK_NAME_SIZE + sizeof(OLD_SUFFIX)];
    int64_t written_us;
    off_t size;
};

/* Files of series. *ret is returned. */
static enum err list_files(const struct bulk *b, struct kept_file **ret, size_t *ret_n, struct errinfo *err)
{
    DIR *dir = opendir(b->path);
    *ret = NULL;
    *ret_n = 0;
    if (dir == NULL)
        return err_set_os(err, ERR_IO, errno, "open folder '%s'", b->path);
    int fd = dirfd(dir);
    for (const struct dirent *e; fd >= 0 && (e = readdir(dir)) != NULL;) {
        struct stat st;
        struct kept_file f = {0};
        if (!str_ends(str_from(e->d_name), str_from(SUFFIX)) ||
            !str_copy_to(str_from(e->d_name), f.name, sizeof(f.name)) || fstatat(fd, e->d_name, &st, 0) != 0)
            continue;
        f.written_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
        f.size = st.st_size;
        if ((*ret_n & (*ret_n - 1)) == 0)
            *ret = mem_realloc(*ret, (*ret_n == 0 ? 1 : *ret_n * 2) * sizeof(f));
        (*ret)[(*ret_n)++] = f;
    }
    (void)closedir(dir);
    return OK;
}

static bool is_old_file(const struct kept_file *f)
{
    return str_ends(str_from(f->name), str_from(OLD_SUFFIX));
}

/* As their series sort: the dot behind a name counts as its end. */
static int by_name(const void *a, const void *b)
{
    const struct kept_file *x = a, *y = b;
    size_t i = 0;
    while (x->name[i] == y->name[i] && x->name[i] != '\0')
        i++;
    int left = x->name[i] == '.' ? 0 : (unsigned char)x->name[i],
        right = y->name[i] == '.' ? 0 : (unsigned char)y->name[i];
    return left - right;
}

static enum err idle(struct bulk *b, int64_t before_us, const char *after, char ret[static BULK_PAGE][BULK_NAME_SIZE],
                     size_t *ret_n, struct errinfo *err)
{
    auto_free struct kept_file *files = NULL;
    size_t n = 0;
    enum err rc = list_files(b, &files, &n, err);
    if (n > 0)
        qsort(files, n, sizeof(*files), by_name);
    for (size_t i = 0; i < n && *ret_n < BULK_PAGE; i++) {
        struct str name = str_from(files[i].name);
        if (files[i].written_us >= before_us || is_old_file(&files[i]))
            continue;
        name.len -= strlen(SUFFIX);
        *ret_n += str_copy_to(name, ret[*ret_n], BULK_NAME_SIZE) && bulk_name_is_fine(ret[*ret_n]) &&
                  strcmp(ret[*ret_n], after) > 0;
    }
    return rc;
}

static int by_age(const void *a, const void *b)
{
    const struct kept_file *x = a, *y = b;
    return x->written_us < y->written_us ? -1 : x->written_us > y->written_us;
}

static enum err sweep(struct bulk *b, int64_t now_us, struct errinfo *err)
{
    auto_free struct kept_file *files = NULL;
    size_t n = 0;
    uint64_t sum = 0;
    enum err rc = list_files(b, &files, &n, err);
    if (n > 0)
        qsort(files, n, sizeof(*files), by_age);
    for (size_t i = 0; i < n; i++)
        sum += (uint64_t)files[i].size;
    for (size_t i = 0; i < n; i++) {
        if (now_us - files[i].written_us <= b->limits.kept_s * 1000000 && sum <= b->limits.size_bytes)
            break;
        auto_free char *path = mem_printf("%s/%s", b->path, files[i].name);
        if (unlink(path) == 0)
            sum -= (uint64_t)files[i].size;
    }
    return rc;
}

const struct bulk_kind BULK_FOLDER = {
    .name = "folder",
    .open = open_folder,
    .put = put,
    .end = end_of,
    .read = read_chunks,
    .tail = tail,
    .drop = drop,
    .idle = idle,
    .sweep = sweep,
};
