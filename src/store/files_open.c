/* The files store: lock, head, opening and repair.
 *
 * Opening: folder -> lock -> head (made when the log is new) -> segments -> what is behind the durable length ->
 * unlock. What can go wrong: no log (ERR_NOT_FOUND), head damaged in both slots, a segment missing or too short
 * (ERR_CORRUPT: nothing is touched), bytes behind the durable length (cut or taken in, see docs/formats/event-log.md).
 * A reader skips the lock and repairs nothing. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/random.h"
#include "store/disk.h"
#include "store/files.h"

static enum err failed(struct files *f, struct errinfo *err, const char *name, const char *what)
{
    int why = errno;
    f->is_failed = true;
    return err_set_os(err, ERR_IO, why, "log '%s': %s failed, it must be opened anew", name, what);
}

enum err files_sync(struct store *s, struct files *f, struct errinfo *err)
{
    return disk_fdatasync(s->disk, f->segment_fd) < 0 ? failed(f, err, s->name, "fdatasync") : OK;
}

enum err files_truncate(struct store *s, struct files *f, uint64_t length, struct errinfo *err)
{
    return disk_ftruncate(s->disk, f->segment_fd, length) < 0 ? failed(f, err, s->name, "cutting off a torn tail") : OK;
}

/* flock cannot wait with a bound, so ask again with growing pauses: the holder needs one fdatasync (0.1 to 5 ms). */
static enum err wait_for(struct store *s, const struct files *f, int fd, int64_t until_us, struct errinfo *err)
{
    for (long pause_ns = 20000;; pause_ns = pause_ns < 1000000 ? pause_ns * 2 : pause_ns) {
        if (atomic_load(&s->is_cancelled))
            return err_set(err, ERR_CANCELLED, "log '%s': asked to stop", s->name);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return OK;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_set_os(err, ERR_IO, errno, "lock log '%s'", s->name);
        if (clock_mono_us() >= until_us)
            return err_set(err, ERR_UNAVAILABLE, "log '%s' was locked by somebody else for %" PRIu64 " ms", s->name,
                           f->lock_wait_ms);
        (void)nanosleep(&(struct timespec){0, pause_ns}, NULL);
    }
}

/* One waits for the lock, the others for their turn to: so who has just let go of the lock, and would have it again
 * before anybody's pause is over, comes after the one who waits. */
enum err files_lock(struct store *s, struct files *f, struct errinfo *err)
{
    if (f->is_held)
        return OK;
    int64_t until_us = clock_mono_us() + (int64_t)f->lock_wait_ms * 1000;
    enum err rc = wait_for(s, f, f->turn_fd, until_us, err);
    if (rc != OK)
        return rc;
    rc = wait_for(s, f, f->lock_fd, until_us, err);
    (void)flock(f->turn_fd, LOCK_UN); /* cannot fail on a descriptor that is locked */
    return rc;
}

void files_unlock(struct files *f)
{
    f->is_held = false;
    (void)flock(f->lock_fd, LOCK_UN); /* cannot fail on a descriptor that is locked */
}

/* Both slots can look bad only to a reader that was held up for as long as two appends take: look again. */
static enum err read_head(struct store *s, struct files *f, struct errinfo *err)
{
    for (int i = 0; i < 3; i++) {
        char bytes[HEAD_SIZE];
        struct head h = {0};
        ssize_t n = disk_pread(s->disk, f->head_fd, bytes, HEAD_SIZE, 0);
        if (n < 0)
            return err_set_os(err, ERR_IO, errno, "read the head of log '%s'", s->name);
        if (n == (ssize_t)HEAD_SIZE && f->good_slots == 2 && memcmp(bytes, f->head_bytes, HEAD_SIZE) == 0)
            return OK;
        int good = n == (ssize_t)HEAD_SIZE ? head_choose(bytes, &h) : 0;
        if (good == 0)
            continue;
        f->good_slots = good;
        if (h.generation < f->head.generation) /* the newer slot is being written just now */
            return OK;
        memcpy(f->head_bytes, bytes, HEAD_SIZE);
        f->head = h;
        store_clock_saw(s, h.time);
        return OK;
    }
    return store_set_damage(s, &(struct store_damage){.file = "head", .cause = "neither slot of the head is whole"},
                            err);
}

enum err files_refresh(struct store *s, struct files *f, struct errinfo *err)
{
    struct stat st;
    if (f->head_fd < 0 || fstat(f->head_fd, &st) < 0 || st.st_nlink == 0) {
        f->is_failed = true;
        return err_set(err, ERR_IO, "log '%s' was removed while it was open", s->name);
    }
    enum err rc = read_head(s, f, err);
    if (rc != OK || f->segments_n == 0 || f->head.segment == f->segments[f->segments_n - 1])
        return rc;
    f->is_failed = true;
    return err_set(err, ERR_IO, "log '%s' goes on in another segment, it must be opened anew", s->name);
}

enum err files_publish(struct store *s, struct files *f, struct head *next, struct errinfo *err)
{
    next->generation = f->head.generation + 1;
    next->boot = f->boot;
    char slot[HEAD_SLOT_SIZE];
    head_encode(next, slot);
    size_t at = head_offset(next->generation);
    if (!disk_pwrite(s->disk, f->head_fd, slot, sizeof(slot), at))
        return failed(f, err, s->name, "writing the head");
    memcpy(f->head_bytes + at, slot, sizeof(slot));
    f->good_slots = 2; /* the other one is that of f->head */
    f->head = *next;
    store_clock_saw(s, next->time);
    return OK;
}

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
    if (fd < 0 || fstat(fd, &st) < 0 || disk_fdatasync(s->disk, fd) < 0)
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

static enum err folder_damage(struct store *s, uint64_t segment, const char *cause, struct errinfo *err)
{
    struct store_damage d = {.seq = segment};
    char name[SEGMENT_NAME_SIZE];
    segment_name(segment, name);
    (void)snprintf(d.file, sizeof(d.file), "%s", name);
    (void)snprintf(d.cause, sizeof(d.cause), "%s", cause);
    return store_set_damage(s, &d, err);
}

static enum err open_segments(struct store *s, struct files *f, uint64_t *ret_size, struct errinfo *err)
{
    enum err rc = segments_list(f->dir_fd, &f->segments, &f->segments_n, err);
    if (rc != OK)
        return rc;
    if (f->segments_n == 0 || f->segments[0] != 1)
        return folder_damage(s, 1, "the first segment is missing", err);
    if (f->segments[f->segments_n - 1] != f->head.segment)
        return folder_damage(s, f->head.segment, "it is not the last segment, as the head says", err);
    char name[SEGMENT_NAME_SIZE];
    segment_name(f->head.segment, name);
    int fd = disk_open(s->disk, f->dir_fd, name, s->mode == STORE_READ ? O_RDONLY : O_RDWR, 0);
    struct stat st;
    if (fd >= 0)
        f->segment_fd = fd;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_os(err, errno == EACCES ? ERR_DENIED : ERR_IO, errno, "open '%s' of log '%s'", name, s->name);
    *ret_size = (uint64_t)st.st_size;
    if (*ret_size >= f->head.length || s->mode == STORE_READ) /* a reader finds where it ends */
        return OK;
    struct store_damage d = {.seq = f->head.seq, .offset = *ret_size};
    (void)snprintf(d.file, sizeof(d.file), "%s", name);
    (void)snprintf(d.cause, sizeof(d.cause), "the file ends before the length that was durable, %" PRIu64,
                   f->head.length);
    return store_set_damage(s, &d, err);
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
        rc = open_segments(s, f, &size, err);
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
    if (s->mode == STORE_READ)
        return OK;
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
    uint64_t lock_wait_ms = 0;
    enum err rc = store_spec_number(s, "lock_wait_ms", 3600000, FILES_LOCK_WAIT_MS, &lock_wait_ms, err);
    if (rc != OK)
        return rc;
    if (store_spec_get(s, "path").len == 0)
        return err_set(err, ERR_INVALID, "event store '%s' needs 'path=DIR'", s->spec);
    struct files *f = mem_alloc(sizeof(*f));
    *f = (struct files){
        .dir_fd = -1, .lock_fd = -1, .turn_fd = -1, .head_fd = -1, .segment_fd = -1, .lock_wait_ms = lock_wait_ms};
    s->impl = f;
    scan_init(&f->reader);
    if (s->disk != NULL && !id_is_none(s->disk->boot))
        f->boot = s->disk->boot;
    else
        rc = read_boot_id(&f->boot, err);
    if (rc == OK)
        rc = open_folder(s, f, err);
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
    close_fd(f->head_fd);
    close_fd(f->segment_fd);
    close_fd(f->lock_fd);
    close_fd(f->turn_fd);
    close_fd(f->dir_fd);
    scan_done(&f->reader);
    buf_done(&f->lines);
    free(f->segments);
    free(f->index);
    free(f);
}
