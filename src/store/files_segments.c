/* The files store: the segments of a log, and going on in a new one.
 *
 * Rotation, under the lock: the last segment is durable and ends where the head says -> the new file, empty -> fsync of
 * the folder -> head that names it. Then, before the first record is written into it: the head once more, so that both
 * slots name it, and fdatasync of the head. So a head that is older than the log, after the machine went down, still
 * names the last segment that holds a record; and a file behind the one that the head names is empty: the rotation did
 * not come to its end, and nothing is lost with it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/own.h"
#include "store/disk.h"
#include "store/files.h"

enum err files_folder_damage(struct store *s, uint64_t segment, const char *cause, struct errinfo *err)
{
    struct store_damage d = {.seq = segment};
    char name[SEGMENT_NAME_SIZE];
    segment_name(segment, name);
    (void)snprintf(d.file, sizeof(d.file), "%s", name);
    (void)snprintf(d.cause, sizeof(d.cause), "%s", cause);
    return store_set_damage(s, &d, err);
}

/* Segments up to the one that the head names; the others are of a rotation that was not published, or not yet. */
static enum err list(struct store *s, struct files *f, uint64_t **ret, size_t *ret_n, struct errinfo *err)
{
    size_t n = 0;
    enum err rc = segments_list(f->dir_fd, ret, &n, err);
    if (rc != OK)
        return rc;
    *ret_n = n;
    while (*ret_n > 0 && (*ret)[*ret_n - 1] > f->head.segment)
        (*ret_n)--;
    if (*ret_n == 0 || (*ret)[0] != 1)
        rc = files_folder_damage(s, 1, "the first segment is missing", err);
    else if ((*ret)[*ret_n - 1] != f->head.segment)
        rc = files_folder_damage(s, f->head.segment, "it is missing, and the head says that it is the last", err);
    return rc;
}

static void set_segments(struct files *f, uint64_t *segments, size_t n)
{
    free(f->segments);
    f->segments = segments;
    f->parts = mem_realloc(f->parts, n * sizeof(*f->parts));
    for (size_t i = f->segments_n; i < n; i++)
        f->parts[i] = (struct files_part){.start = {.time = EVENT_TIME_MIN}, .is_start_known = i == 0};
    f->segments_n = n;
    scan_forget(&f->reader);
    f->reader.segments = f->segments;
    f->reader.segments_n = n;
}

static enum err open_last(struct store *s, struct files *f, struct errinfo *err)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(f->head.segment, name);
    int fd = disk_open(s->disk, f->dir_fd, name, s->mode == STORE_READ ? O_RDONLY : O_RDWR, 0);
    if (fd < 0)
        return err_set_os(err, errno == EACCES ? ERR_DENIED : ERR_IO, errno, "open '%s' of log '%s'", name, s->name);
    if (f->segment_fd >= 0)
        (void)close(f->segment_fd);
    f->segment_fd = fd;
    return OK;
}

enum err files_follow(struct store *s, struct files *f, struct errinfo *err)
{
    auto_free uint64_t *segments = NULL;
    size_t n = 0;
    enum err rc = list(s, f, &segments, &n, err);
    if (rc == OK && (n < f->segments_n ||
                     (f->segments_n > 0 && memcmp(segments, f->segments, f->segments_n * sizeof(*segments)) != 0)))
        rc = files_folder_damage(s, f->segments[f->segments_n - 1], "a segment is missing", err);
    if (rc == OK)
        rc = open_last(s, f, err);
    if (rc == OK)
        set_segments(f, TAKE(segments), n);
    else
        f->is_failed = true; /* its segments are not those of its head */
    return rc;
}

enum err files_open_segments(struct store *s, struct files *f, uint64_t *ret_size, struct errinfo *err)
{
    struct stat st;
    enum err rc = files_follow(s, f, err);
    if (rc != OK)
        return rc;
    if (fstat(f->segment_fd, &st) < 0)
        return err_set_os(err, ERR_IO, errno, "look at the last segment of log '%s'", s->name);
    *ret_size = (uint64_t)st.st_size;
    if (*ret_size >= f->head.length || s->mode == STORE_READ) /* a reader finds where it ends */
        return OK;
    struct store_damage d = {.seq = f->head.seq, .offset = *ret_size};
    segment_name(f->head.segment, d.file);
    (void)snprintf(d.cause, sizeof(d.cause), "the file ends before the length that was durable, %" PRIu64,
                   f->head.length);
    return store_set_damage(s, &d, err);
}

static enum err remove_empty(struct store *s, struct files *f, uint64_t segment, struct errinfo *err)
{
    struct stat st;
    char name[SEGMENT_NAME_SIZE];
    segment_name(segment, name);
    if (fstatat(f->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_set_os(err, ERR_IO, errno, "look at '%s' of log '%s'", name, s->name);
    if (st.st_size > 0)
        return files_folder_damage(s, segment, "it holds records behind the segment that the head says is the last",
                                   err);
    if (disk_unlink(s->disk, f->dir_fd, name) < 0)
        return err_set_os(err, ERR_IO, errno, "remove '%s' of log '%s'", name, s->name);
    return OK;
}

enum err files_remove_unpublished(struct store *s, struct files *f, struct errinfo *err)
{
    auto_free uint64_t *segments = NULL;
    size_t n = 0;
    enum err rc = segments_list(f->dir_fd, &segments, &n, err);
    for (size_t i = 0; i < n && rc == OK; i++)
        if (segments[i] > f->head.segment)
            rc = remove_empty(s, f, segments[i], err);
    return rc;
}

/* No space is no failure: nothing has happened yet. */
static enum err make_segment(struct store *s, struct files *f, uint64_t first_seq, struct errinfo *err)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(first_seq, name);
    auto_close int fd = disk_open(s->disk, f->dir_fd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    int why = errno;
    if (fd < 0 && (why == ENOSPC || why == EDQUOT))
        return err_set_os(err, ERR_UNAVAILABLE, why, "log '%s': no new segment, nothing was written, make room",
                          s->name);
    if (fd < 0)
        return files_fail(f, err, s->name, "making a new segment");
    return disk_fsync(s->disk, f->dir_fd) < 0 ? files_fail(f, err, s->name, "fsync of the folder") : OK;
}

enum err files_rotate(struct store *s, struct files *f, struct errinfo *err)
{
    struct head next = f->head;
    enum err rc = files_sync(s, f, err); /* also that a torn tail was cut off */
    if (rc == OK)
        rc = files_remove_unpublished(s, f, err);
    if (rc == OK)
        rc = make_segment(s, f, f->head.seq + 1, err);
    next.segment = f->head.seq + 1;
    next.length = 0;
    if (rc == OK)
        rc = files_publish(s, f, &next, err);
    if (rc == OK)
        rc = files_follow(s, f, err);
    f->has_unsealed = f->has_unsealed || rc == OK;
    return rc;
}

/* A sync that failed may have forgotten what it did not write, but not for long: this writes the slot again, and with
 * it the block that both are in. */
enum err files_enter(struct store *s, struct files *f, struct errinfo *err)
{
    struct head again = f->head;
    if (f->head.length > 0 || f->head.segment == 1)
        return OK;
    enum err rc = files_publish(s, f, &again, err);
    return rc == OK ? files_sync_head(s, f, err) : rc;
}
