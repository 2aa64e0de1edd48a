/* The files store: appending. docs/formats/event-log.md says what is on disk and why it is durable.
 *
 * Appending: lock, head as expected, tail clean, another segment when this one is full, write, fdatasync, publish,
 * unlock. What can go wrong: somebody was
 * first (ERR_CONFLICT); no space (the bytes are cut off again, ERR_UNAVAILABLE); a write, cut or sync failed (ERR_IO,
 * the handle is failed: the bytes are behind the durable length, whoever appends or opens next cuts them off). */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "store/disk.h"
#include "store/files.h"
#include "store/lines.h"

/* Somebody died between writing and publishing: cut that off. */
static enum err clean_tail(struct store *s, struct files *f, struct errinfo *err)
{
    struct stat st;
    if (fstat(f->segment_fd, &st) < 0)
        return err_set_os(err, ERR_IO, errno, "look at log '%s'", s->name);
    uint64_t size = (uint64_t)st.st_size;
    if (size == f->head.length)
        return OK;
    if (size > f->head.length)
        return files_truncate(s, f, f->head.length, err);
    struct store_damage d = {.seq = f->head.seq, .offset = size, .cause = "the file is shorter than was durable"};
    segment_name(f->head.segment, d.file);
    return store_set_damage(s, &d, err);
}

static enum err write_lines(struct store *s, struct files *f, struct errinfo *err)
{
    if (disk_pwrite(s->disk, f->segment_fd, f->lines.ptr, f->lines.len, f->head.length))
        return OK;
    int why = errno;
    enum err rc = files_truncate(s, f, f->head.length, err);
    if (rc != OK)
        return rc;
    if (why == ENOSPC || why == EDQUOT)
        return err_set_os(err, ERR_UNAVAILABLE, why, "log '%s': nothing was written, make room", s->name);
    f->is_failed = true;
    return err_set_os(err, ERR_IO, why, "log '%s': writing failed, it must be opened anew", s->name);
}

static enum err check_end(const struct store *s, const struct files *f, struct store_pos expect, struct errinfo *err)
{
    if (f->head.seq == expect.seq && f->head.sum == expect.sum)
        return OK;
    return err_set(err, ERR_CONFLICT, "log '%s' ends at %" PRIu64 ", not at the expected %" PRIu64, s->name,
                   f->head.seq, expect.seq);
}

static enum err append_locked(struct store *s, struct files *f, struct store_pos expect,
                              const struct store_group *groups, size_t groups_n, struct store_record *ret_records,
                              size_t *ret_taken, struct errinfo *err)
{
    enum err rc = files_refresh(s, f, err);
    if (rc != OK)
        return rc;
    if (f->good_slots !=
        2) { /* under the lock nobody is writing it, so the end is not known for sure: opening repairs */
        f->is_failed = true;
        return err_set(err, ERR_IO, "one slot of the head of log '%s' is damaged, it must be opened anew", s->name);
    }
    rc = check_end(s, f, expect, err);
    struct lines_end end = {f->head.seq, f->head.sum, f->head.time};
    if (rc == OK)
        rc = clean_tail(s, f, err);
    if (rc == OK)
        rc = lines_build(s, groups, groups_n, clock_wall_us(), &end, &f->lines, ret_records, ret_taken, err);
    if (rc == OK && f->head.length >= f->segment_size)
        rc = files_rotate(s, f, err);
    if (rc == OK)
        rc = files_enter(s, f, err);
    if (rc == OK)
        rc = write_lines(s, f, err);
    if (rc == OK)
        rc = files_sync(s, f, err);
    struct head next = f->head;
    next.length += f->lines.len;
    next.seq = end.seq;
    next.sum = end.sum;
    next.time = end.time;
    return rc == OK ? files_publish(s, f, &next, err) : rc;
}

static enum err append_once(struct store *s, struct files *f, struct store_pos expect, const struct store_group *groups,
                            size_t groups_n, struct store_record *ret_records, size_t *ret_taken, struct errinfo *err)
{
    enum err rc = files_refresh(s, f, err); /* who is late already needs not wait for the lock */
    if (rc == OK)
        rc = check_end(s, f, expect, err);
    if (rc == OK)
        rc = files_lock(s, f, err);
    if (rc != OK)
        return rc;
    rc = append_locked(s, f, expect, groups, groups_n, ret_records, ret_taken, err);
    files_unlock(f);
    return rc;
}

enum err files_append(struct store *s, struct store_pos expect, const struct store_group *groups, size_t groups_n,
                      struct store_record *ret_records, size_t *ret_taken, struct errinfo *err)
{
    struct files *f = s->impl;
    if (f->is_failed)
        return err_set(err, ERR_IO, "log '%s' failed before, it must be opened anew", s->name);
    enum err rc = append_once(s, f, expect, groups, groups_n, ret_records, ret_taken, err);
    f->is_failed = f->is_failed || rc == ERR_IO;
    if (f->has_unsealed && !f->is_failed)
        (void)files_seal_missing(s, f);
    return rc;
}

/* Bytes behind the durable length are nobody's: whoever appends or opens next cuts them off. No record begins with a
 * zero. */
static enum err prove_locked(struct store *s, struct files *f, struct errinfo *err)
{
    enum err rc = files_refresh(s, f, err);
    if (rc != OK)
        return rc;
    if (f->good_slots != 2)
        return err_set(err, ERR_IO, "one slot of the head of log '%s' is damaged, it must be opened anew", s->name);
    rc = clean_tail(s, f, err);
    if (rc == OK)
        rc = files_enter(s, f, err);
    if (rc != OK)
        return rc;
    buf_clear(&f->lines);
    for (size_t i = 0; i < FILES_PROOF_SIZE; i++)
        buf_add_char(&f->lines, '\0');
    rc = write_lines(s, f, err);
    if (rc == OK)
        rc = files_sync(s, f, err);
    return rc == OK ? files_truncate(s, f, f->head.length, err) : rc;
}

enum err files_prove(struct store *s, struct errinfo *err)
{
    struct files *f = s->impl;
    if (f->is_failed)
        return err_set(err, ERR_IO, "log '%s' failed before, it must be opened anew", s->name);
    enum err rc = files_lock(s, f, err);
    if (rc != OK)
        return rc;
    rc = prove_locked(s, f, err);
    f->is_failed = f->is_failed || rc == ERR_IO;
    files_unlock(f);
    return rc;
}

enum err files_hold(struct store *s, struct errinfo *err)
{
    struct files *f = s->impl;
    enum err rc = files_lock(s, f, err);
    f->is_held = rc == OK;
    return rc;
}

void files_release(struct store *s)
{
    struct files *f = s->impl;
    if (f->is_held)
        files_unlock(f);
}
