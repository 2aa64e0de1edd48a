#include "control/instance_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/own.h"
#include "wire/deployment.h"

/* How much of a file's end is looked at for its last line: more than the longest one (with JSON escapes). */
#define TAIL_SIZE (INSTANCE_LOG_TEXT_SIZE_MAX * 8)
#define READ_SIZE ((size_t)64 * 1024)

struct kept {
    struct id instance;
    int64_t last_seq;
    UT_hash_handle hh;
};

struct instance_logs {
    char *folder;
    struct kept *kept; /* last seqs of the instances that were written since the start */
};

static char *file_name(const struct instance_logs *logs, struct id instance, bool is_old)
{
    char text[ID_TEXT_SIZE];
    id_format(instance, text);
    return mem_printf("%s/%s%s.ndjson", logs->folder, text, is_old ? ".1" : "");
}

enum err instance_logs_open(const char *folder, struct instance_logs **ret_logs, struct errinfo *err)
{
    if (mkdir(folder, 0750) != 0 && errno != EEXIST)
        return err_set_os(err, errno == EACCES ? ERR_DENIED : ERR_IO, errno, "make folder of logs '%s'", folder);
    struct instance_logs *logs = mem_alloc(sizeof(*logs));
    logs->folder = mem_strdup(folder);
    *ret_logs = logs;
    return OK;
}

void instance_logs_close(struct instance_logs *logs)
{
    if (logs == NULL)
        return;
    struct kept *k = logs->kept, *next = NULL;
    HASH_CLEAR(hh, logs->kept); /* frees the table; the rows stay chained */
    for (; k != NULL; k = next) {
        next = k->hh.next;
        free(k);
    }
    free(logs->folder);
    free(logs);
}

/* Seq of the last whole line of an open file, 0 when there is none; *ret_end is where it ends. */
static int64_t last_seq_of(int fd, off_t *ret_end)
{
    struct stat st;
    *ret_end = 0;
    if (fstat(fd, &st) != 0 || st.st_size == 0)
        return 0;
    size_t n = st.st_size > (off_t)TAIL_SIZE ? TAIL_SIZE : (size_t)st.st_size;
    auto_free char *tail = mem_alloc(n);
    off_t from = st.st_size - (off_t)n;
    ssize_t got = pread(fd, tail, n, from);
    if (got <= 0)
        return 0;
    struct str text = {tail, (size_t)got};
    size_t end = str_rfind(text, '\n');
    if (end == text.len)
        return 0;
    *ret_end = from + (off_t)end + 1;
    text.len = end;
    size_t start = str_rfind(text, '\n');
    struct str line = start == text.len ? text : str_slice(text, start + 1, text.len);
    AUTO(arena) struct arena a = {0};
    struct log_line last;
    return fields_parse(&LOG_LINE_WIRE, line, &a, &last, NULL) == OK ? last.seq : 0;
}

static int64_t last_seq_on_disk(const struct instance_logs *logs, struct id instance)
{
    for (int is_old = 0; is_old <= 1; is_old++) {
        auto_free char *path = file_name(logs, instance, is_old == 1);
        auto_close int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            continue;
        off_t end = 0;
        int64_t seq = last_seq_of(fd, &end);
        struct stat st;
        if (is_old == 0 && fstat(fd, &st) == 0 && st.st_size > end)
            err_ignore(ftruncate(fd, end) == 0 ? OK : ERR_IO); /* a torn line stays visible at worst */
        if (seq > 0)
            return seq;
    }
    return 0;
}

static struct kept *kept_get(struct instance_logs *logs, struct id instance)
{
    struct kept *k = NULL;
    HASH_FIND(hh, logs->kept, &instance, sizeof(instance), k);
    if (k == NULL) {
        k = mem_alloc(sizeof(*k));
        k->instance = instance;
        k->last_seq = last_seq_on_disk(logs, instance);
        HASH_ADD(hh, logs->kept, instance, sizeof(k->instance), k);
    }
    return k;
}

static enum err read_line(struct str text, size_t line_n, struct id instance, struct arena *a, struct log_line *ret,
                          struct errinfo *err)
{
    enum err rc = fields_parse(&LOG_LINE_WIRE, text, a, ret, err);
    if (rc != OK)
        return err_wrap(err, rc, "line %zu", line_n);
    if (!id_is_none(ret->instance_id) && !id_eq(ret->instance_id, instance))
        return err_set(err, ERR_INVALID, "line %zu: 'instance_id' is that of another instance", line_n);
    if (ret->seq < 1)
        return err_set(err, ERR_INVALID, "line %zu: 'seq' must be a number from 1", line_n);
    ret->instance_id = instance;
    if (ret->text.len > INSTANCE_LOG_TEXT_SIZE_MAX)
        ret->text.len = INSTANCE_LOG_TEXT_SIZE_MAX;
    return OK;
}

static enum err lines_add(struct str ndjson, struct id instance, int64_t *seq, struct buf *out, struct errinfo *err)
{
    struct str rest = ndjson, text;
    for (size_t line_n = 1; str_next(&rest, '\n', &text); line_n++) {
        AUTO(arena) struct arena a = {0};
        struct log_line line;
        if (str_is_empty(str_trim(text)))
            continue;
        enum err rc = read_line(text, line_n, instance, &a, &line, err);
        if (rc != OK)
            return rc;
        if (line.seq <= *seq)
            continue;
        *seq = line.seq;
        fields_encode(&LOG_LINE_WIRE, &line, out);
        buf_add_char(out, '\n');
    }
    return OK;
}

static enum err write_lines(const char *path, const char *old_path, struct str bytes, struct errinfo *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && st.st_size + (off_t)bytes.len > (off_t)INSTANCE_LOG_FILE_SIZE_MAX &&
        rename(path, old_path) != 0)
        return err_set_os(err, ERR_IO, errno, "rotate '%s'", path);
    auto_close int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0 || fstat(fd, &st) != 0)
        return err_set_os(err, ERR_IO, errno, "open '%s'", path);
    ssize_t n = write(fd, bytes.ptr, bytes.len);
    if (n == (ssize_t)bytes.len)
        return OK;
    int why = n < 0 ? errno : ENOSPC;
    err_ignore(ftruncate(fd, st.st_size) == 0 ? OK : ERR_IO); /* the torn line is cut off before the next append */
    return err_set_os(err, ERR_IO, why, "write '%s'", path);
}

enum err instance_logs_append(struct instance_logs *logs, struct id instance, struct str ndjson, int64_t *ret_seq,
                              struct errinfo *err)
{
    struct kept *k = kept_get(logs, instance);
    AUTO(buf) struct buf out = {0};
    int64_t seq = k->last_seq;
    enum err rc = lines_add(ndjson, instance, &seq, &out, err);
    if (rc != OK)
        return rc;
    if (out.len > 0) {
        auto_free char *path = file_name(logs, instance, false);
        auto_free char *old_path = file_name(logs, instance, true);
        rc = write_lines(path, old_path, buf_str(&out), err);
        if (rc != OK)
            return rc;
        k->last_seq = seq;
    }
    *ret_seq = k->last_seq;
    return OK;
}

static void forget(struct instance_logs *logs, struct id instance)
{
    struct kept *k = NULL;
    HASH_FIND(hh, logs->kept, &instance, sizeof(instance), k);
    if (k != NULL) {
        HASH_DEL(logs->kept, k);
        free(k);
    }
}

size_t instance_logs_sweep(struct instance_logs *logs, int64_t before_s,
                           bool (*is_known)(void *ctx, struct id instance), void *ctx)
{
    size_t n = 0;
    DIR *dir = opendir(logs->folder);
    int fd = dir == NULL ? -1 : dirfd(dir);
    for (const struct dirent *e = NULL; fd >= 0 && (e = readdir(dir)) != NULL;) {
        struct str name = str_from(e->d_name);
        struct id id;
        struct stat st;
        if (!str_ends(name, STR(".ndjson")) || !id_parse(str_slice(name, 0, str_find(name, '.')), &id) ||
            is_known(ctx, id) || fstatat(fd, e->d_name, &st, 0) != 0 || st.st_mtime >= before_s)
            continue;
        if (unlinkat(fd, e->d_name, 0) == 0)
            n++;
        forget(logs, id);
    }
    if (dir != NULL)
        (void)closedir(dir);
    return n;
}

struct log_reader {
    char *path, *old_path;
    int fd;        /* -1: not open yet */
    ino_t inode;   /* of fd */
    bool is_begun; /* a file was opened once: do not go back to the rotated one */
    struct buf bytes;
    size_t at;       /* bytes before it were handed out */
    size_t line_len; /* of the peeked line, with its newline; 0: none */
};

struct log_reader *log_reader_new(const struct instance_logs *logs, struct id instance)
{
    struct log_reader *r = mem_alloc(sizeof(*r));
    r->path = file_name(logs, instance, false);
    r->old_path = file_name(logs, instance, true);
    r->fd = -1;
    return r;
}

void log_reader_free(struct log_reader *r)
{
    if (r == NULL)
        return;
    if (r->fd >= 0)
        close(r->fd);
    buf_done(&r->bytes);
    free(r->path);
    free(r->old_path);
    free(r);
}

static bool reader_fill(struct log_reader *r)
{
    buf_consume(&r->bytes, r->at);
    r->at = 0;
    buf_reserve(&r->bytes, READ_SIZE);
    ssize_t n = r->fd < 0 ? 0 : read(r->fd, r->bytes.ptr + r->bytes.len, READ_SIZE);
    if (n <= 0)
        return false;
    r->bytes.len += (size_t)n;
    return true;
}

static bool reader_open(struct log_reader *r, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return false;
    if (fstat(fd, &st) != 0 || (r->fd >= 0 && st.st_ino == r->inode)) {
        close(fd);
        return false;
    }
    if (r->fd >= 0 && reader_fill(r)) { /* lines that came just before the rotation */
        close(fd);
        return true;
    }
    if (r->fd >= 0)
        close(r->fd);
    r->fd = fd;
    r->inode = st.st_ino;
    r->is_begun = true;
    r->at = r->bytes.len;
    return true;
}

/* At a file's end: the file behind it, if the log was rotated meanwhile (or begins with a rotated one). */
static bool reader_advance(struct log_reader *r)
{
    if (!r->is_begun)
        return reader_open(r, r->old_path) || reader_open(r, r->path);
    return reader_open(r, r->path);
}

bool log_reader_peek(struct log_reader *r, struct str *ret_line)
{
    for (;;) {
        struct str rest = str_slice(buf_str(&r->bytes), r->at, r->bytes.len);
        size_t end = str_find(rest, '\n');
        if (end < rest.len) {
            r->line_len = end + 1;
            *ret_line = str_slice(rest, 0, end);
            return true;
        }
        if (rest.len > TAIL_SIZE)
            r->at = r->bytes.len; /* not a line of ours */
        if (!reader_fill(r) && !reader_advance(r))
            return false;
    }
}

void log_reader_next(struct log_reader *r)
{
    r->at += r->line_len;
    r->line_len = 0;
}
