/* The files store: reading and publishing the durable end, and what must be durable before. */
#include <errno.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "store/disk.h"
#include "store/files.h"

enum err files_fail(struct files *f, struct errinfo *err, const char *name, const char *what)
{
    int why = errno;
    f->is_failed = true;
    return err_set_os(err, ERR_IO, why, "log '%s': %s failed, it must be opened anew", name, what);
}

enum err files_sync(struct store *s, struct files *f, struct errinfo *err)
{
    return disk_fdatasync(s->disk, f->segment_fd) < 0 ? files_fail(f, err, s->name, "fdatasync") : OK;
}

enum err files_truncate(struct store *s, struct files *f, uint64_t length, struct errinfo *err)
{
    return disk_ftruncate(s->disk, f->segment_fd, length) < 0 ? files_fail(f, err, s->name, "cutting off a torn tail")
                                                              : OK;
}

enum err files_sync_head(struct store *s, struct files *f, struct errinfo *err)
{
    return disk_fdatasync(s->disk, f->head_fd) < 0 ? files_fail(f, err, s->name, "fdatasync of the head") : OK;
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

/* One slot is bad. Somebody may be writing it; but when nobody holds the lock, it is damaged, and what it said of the
 * end is not known: opening for appending finds out. */
static enum err settle(struct store *s, struct files *f, struct errinfo *err)
{
    if (f->lock_fd >= 0 && flock(f->lock_fd, LOCK_SH | LOCK_NB) < 0)
        return OK;
    enum err rc = read_head(s, f, err);
    if (f->lock_fd >= 0)
        (void)flock(f->lock_fd, LOCK_UN); /* cannot fail on a descriptor that is locked */
    if (rc != OK || f->good_slots == 2)
        return rc;
    f->is_failed = true;
    if (s->mode != STORE_READ)
        return err_set(err, ERR_IO, "one slot of the head of log '%s' is damaged, it must be opened anew", s->name);
    struct store_damage d = {.seq = f->head.seq + 1,
                             .offset = head_offset(f->head.generation + 1),
                             .file = "head",
                             .cause = "one slot of the head is damaged: open the log for appending, to repair it"};
    return store_set_damage(s, &d, err);
}

enum err files_refresh(struct store *s, struct files *f, struct errinfo *err)
{
    struct stat st;
    if (f->head_fd < 0 || fstat(f->head_fd, &st) < 0 || st.st_nlink == 0) {
        f->is_failed = true;
        return err_set(err, ERR_IO, "log '%s' was removed while it was open", s->name);
    }
    enum err rc = read_head(s, f, err);
    if (rc == OK && f->good_slots == 1 && !f->is_locked)
        rc = settle(s, f, err);
    if (rc != OK || f->segments_n == 0 || f->head.segment == f->segments[f->segments_n - 1])
        return rc;
    return files_follow(s, f, err);
}

enum err files_publish(struct store *s, struct files *f, struct head *next, struct errinfo *err)
{
    next->generation = f->head.generation + 1;
    next->boot = f->boot;
    char slot[HEAD_SLOT_SIZE];
    head_encode(next, slot);
    size_t at = head_offset(next->generation);
    if (!disk_pwrite(s->disk, f->head_fd, slot, sizeof(slot), at))
        return files_fail(f, err, s->name, "writing the head");
    memcpy(f->head_bytes + at, slot, sizeof(slot));
    f->good_slots = 2; /* the other one is that of f->head */
    f->head = *next;
    store_clock_saw(s, next->time);
    return OK;
}
