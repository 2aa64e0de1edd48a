/* The files store: opening and repair.
 *
 * Opening: folder -> lock -> head (made when the log is new) -> segments -> what is behind the durable length ->
 * unlock. What can go wrong: no log (ERR_NOT_FOUND), head damaged in both slots, a segment missing or too short
 * (ERR_CORRUPT: nothing is touched), bytes behind the durable length (cut or taken in, see docs/formats/event-log.md).
 * A reader skips the lock and repairs nothing. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/random.h"
#include "store/disk.h"
#include "store/files.h"

static enum err read_boot_id(struct id *ret, struct errinfo *err)
{
    static const char PATH[] = "/proc/sys/kernel/random/boot_id";
    auto_close int fd = open(PATH, O_RDONLY | O_CLOEXEC);
    char text[64];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (n < 0)
        return err_set_os(err, ERR_IO, errno, "read '%s', which the event log needs", PATH);
    if (!id_parse(str_trim((struct str){text, (size_t)n}), ret))
        return err_set(err, ERR_IO, "'%s' holds no id", PATH);
    return OK;
}

/* First the segment, then the head that names it: a head without its segment would be damage. */
static enum err make_log(struct store *s, struct files *f, struct errinfo *err)
{
    struct head h = {.log = s->log_wanted, .boot = f->boot, .segment = 1, .time = EVENT_TIME_MIN};
    if (id_is_none(h.log)) {
        uint8_t random[10];
        random_bytes(random, sizeof(random));
        h.log = id_make(clock_wall_us() / 1000, random);
    }
    char name[SEGMENT_NAME_SIZE], slots[HEAD_SIZE];
    segment_name(1, name);
    auto_close int fd = disk_open(s->disk, f->dir_fd, name, O_RDWR | O_CREAT, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || disk_fdatasync(s->disk, fd) < 0 || disk_fsync(s->disk, f->dir_fd) < 0)
        return err_set_os(err, ERR_IO, errno, "create '%s' in '%s'", name, s->name);
    if (st.st_size > 0)
        return store_set_damage(
            s, &(struct store_damage){.file = "head", .cause = "there are records, but the head is missing"}, err);
    head_encode(&h, slots);
    h.generation = 1;
    head_encode(&h, slots + HEAD_SLOT_SIZE);
    return disk_replace(s->disk, f->dir_fd, "head", (struct str){slots, HEAD_SIZE}, true, err);
}

static enum err open_head(struct store *s, struct files *f, struct errinfo *err)
{
    int flags = (s->mode == STORE_READ ? O_RDONLY : O_RDWR) | O_CLOEXEC;
    f->head_fd = disk_open(s->disk, f->dir_fd, "head", flags, 0);
    if (f->head_fd < 0 && errno == ENOENT && s->mode == STORE_CREATE) {
        enum err rc = make_log(s, f, err);
        if (rc != OK)
            return rc;
        f->head_fd = disk_open(s->disk, f->dir_fd, "head", flags, 0);
    }
    if (f->head_fd < 0)
        return err_set_os(err,
                          errno == ENOENT   ? ERR_NOT_FOUND
                          : errno == EACCES ? ERR_DENIED
                                            : ERR_IO,
                          errno, "open the head of log '%s'", s->name);
    return OK;
}

static struct scan_at head_place(const struct files *f)
{
    return (struct scan_at){.seq = f->head.seq,
                            .sum = f->head.sum,
                            .time = f->head.time,
                            .segment = f->segments_n - 1,
                            .offset = f->head.length};
}

/* Take in whole appends behind a head that is older than the log. *ret: the place after the last of them. */
static enum err adopt(struct store *s, struct files *f, uint64_t size, struct scan_at *ret, struct errinfo *err)
{
    struct scan scan;
    scan_init(&scan);
    scan.disk = s->disk;
    scan.dir_fd = f->dir_fd;
    scan.segments = f->segments;
    scan.segments_n = f->segments_n;
    scan.end_offset = size;
    scan_seek(&scan, head_place(f));
    *ret = head_place(f);
    struct envelope e;
    struct store_damage d = {0};
    size_t line = 0;
    enum err rc = scan_next(&scan, &e, &line, &d, err);
    for (; rc == OK && line > 0; rc = scan_next(&scan, &e, &line, &d, err))
        if (!e.more)
            *ret = scan.at;
    scan_done(&scan);
    if (rc == ERR_CORRUPT && size - ret->offset > ENVELOPE_BATCH_SIZE_MAX)
        return store_set_damage(s, &d, err);
    return rc == ERR_CORRUPT ? OK : rc;
}

/* Under the lock: nothing is left behind the durable length, and the head is of this boot. */
static enum err repair_tail(struct store *s, struct files *f, uint64_t size, struct store_repair *ret_repair,
                            struct errinfo *err)
{
    bool is_exact = f->good_slots == 2 && id_eq(f->head.boot, f->boot);
    if (is_exact && size == f->head.length)
        return OK;
    struct scan_at end = head_place(f);
    enum err rc = is_exact || size == f->head.length ? OK : adopt(s, f, size, &end, err);
    if (rc != OK)
        return rc;
    ret_repair->cut_bytes = size - end.offset;
    ret_repair->adopted_records = end.seq - f->head.seq;
    if (size > end.offset)
        rc = files_truncate(s, f, end.offset, err);
    if (rc == OK)
        rc = files_sync(s, f, err);
    struct head next = f->head;
    next.length = end.offset;
    next.seq = end.seq;
    next.sum = end.sum;
    next.time = end.time;
    return rc == OK ? files_publish(s, f, &next, err) : rc;
}

static enum err open_locked(struct store *s, struct files *f, struct store_repair *ret_repair, struct errinfo *err)
{
    uint64_t size = 0;
    enum err rc = open_head(s, f, err);
    if (rc == OK)
        rc = files_refresh(s, f, err);
    if (rc == OK)
        rc = files_open_segments(s, f, &size, err);
    if (rc == OK && s->mode != STORE_READ)
        rc = files_remove_unpublished(s, f, err);
    if (rc == OK && s->mode != STORE_READ)
        rc = repair_tail(s, f, size, ret_repair, err);
    return rc;
}

static enum err open_folder(struct store *s, struct files *f, struct errinfo *err)
{
    bool is_new = s->mode == STORE_CREATE && mkdir(s->name, 0700) == 0;
    f->dir_fd = open(s->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->dir_fd < 0)
        return err_set_os(err,
                          errno == ENOENT   ? ERR_NOT_FOUND
                          : errno == EACCES ? ERR_DENIED
                                            : ERR_IO,
                          errno, "open log '%s'", s->name);
    if (is_new) {
        auto_close int parent = openat(f->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent < 0 || fsync(parent) < 0)
            return err_set_os(err, ERR_IO, errno, "fsync the folder that holds log '%s'", s->name);
    }
    if (s->mode == STORE_READ) { /* only to see whether somebody writes; a copy of a log may have none */
        f->lock_fd = disk_open(s->disk, f->dir_fd, "lock", O_RDONLY, 0);
        return OK;
    }
    int create = s->mode == STORE_CREATE ? O_CREAT : 0;
    f->lock_fd = disk_open(s->disk, f->dir_fd, "lock", O_RDWR | O_CLOEXEC | create, 0600);
    if (f->lock_fd >= 0)
        f->turn_fd = disk_open(s->disk, f->dir_fd, "turn", O_RDWR | O_CLOEXEC | O_CREAT, 0600);
    if (f->lock_fd < 0 || f->turn_fd < 0)
        return err_set_os(err,
                          errno == ENOENT   ? ERR_NOT_FOUND
                          : errno == EACCES ? ERR_DENIED
                                            : ERR_IO,
                          errno, "open the lock of log '%s'", s->name);
    return OK;
}

enum err files_open(struct store *s, struct store_repair *ret_repair, struct errinfo *err)
{
    uint64_t lock_wait_ms = 0, segment_size = 0;
    enum err rc = store_spec_number(s, "lock_wait_ms", 3600000, FILES_LOCK_WAIT_MS, &lock_wait_ms, err);
    if (rc == OK)
        rc = store_spec_number(s, "segment_size", INT64_MAX, FILES_SEGMENT_SIZE, &segment_size, err);
    if (rc != OK)
        return rc;
    if (store_spec_get(s, "path").len == 0)
        return err_set(err, ERR_INVALID, "event store '%s' needs 'path=DIR'", s->spec);
    struct files *f = mem_alloc(sizeof(*f));
    *f = (struct files){.dir_fd = -1,
                        .lock_fd = -1,
                        .turn_fd = -1,
                        .head_fd = -1,
                        .segment_fd = -1,
                        .lock_wait_ms = lock_wait_ms,
                        .segment_size = segment_size == 0 ? 1 : segment_size};
    s->impl = f;
    scan_init(&f->reader);
    f->reader.disk = s->disk;
    if (s->disk != NULL && !id_is_none(s->disk->boot))
        f->boot = s->disk->boot;
    else
        rc = read_boot_id(&f->boot, err);
    if (rc == OK)
        rc = open_folder(s, f, err);
    f->reader.dir_fd = f->dir_fd;
    if (rc == OK && s->mode != STORE_READ)
        rc = files_lock(s, f, err);
    if (rc == OK) {
        rc = open_locked(s, f, ret_repair, err);
        if (s->mode != STORE_READ)
            files_unlock(f);
    }
    if (rc != OK) {
        files_close(s);
        s->impl = NULL;
        return rc;
    }
    s->log = f->head.log;
    if (s->mode != STORE_READ)
        ret_repair->sealed_segments = files_seal_missing(s, f);
    return OK;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

void files_close(struct store *s)
{
    struct files *f = s->impl;
    if (f->head_fd >= 0 && s->mode != STORE_READ && !f->is_failed)
        (void)disk_fdatasync(s->disk, f->head_fd); /* only saves the next boot a look behind an old head */
    files_save_index(s, f);
    close_fd(f->head_fd);
    close_fd(f->segment_fd);
    close_fd(f->lock_fd);
    close_fd(f->turn_fd);
    close_fd(f->dir_fd);
    scan_done(&f->reader);
    buf_done(&f->lines);
    for (size_t i = 0; i < f->segments_n; i++)
        index_done(&f->parts[i].places);
    free(f->segments);
    free(f->parts);
    free(f);
}
