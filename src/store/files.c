/* The files store: appending and reading. docs/formats/event-log.md says what is on disk and why it is durable.
 *
 * Appending: lock, head as expected, tail clean, write, fdatasync, publish, unlock. What can go wrong: somebody was
 * first (ERR_CONFLICT); no space (the bytes are cut off again, ERR_UNAVAILABLE); a write, cut or sync failed (ERR_IO,
 * the handle is failed: the bytes are behind the durable length, whoever appends or opens next cuts them off). */
#include "store/files.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/own.h"
#include "store/disk.h"
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
    struct head next = f->head;
    struct lines_end end = {next.seq, next.sum, next.time};
    if (rc == OK)
        rc = clean_tail(s, f, err);
    if (rc == OK)
        rc = lines_build(s, groups, groups_n, clock_wall_us(), &end, &f->lines, ret_records, ret_taken, err);
    if (rc == OK)
        rc = write_lines(s, f, err);
    if (rc == OK)
        rc = files_sync(s, f, err);
    next.length += f->lines.len;
    next.seq = end.seq;
    next.sum = end.sum;
    next.time = end.time;
    return rc == OK ? files_publish(s, f, &next, err) : rc;
}

static enum err files_append(struct store *s, struct store_pos expect, const struct store_group *groups,
                             size_t groups_n, struct store_record *ret_records, size_t *ret_taken, struct errinfo *err)
{
    struct files *f = s->impl;
    if (f->is_failed)
        return err_set(err, ERR_IO, "log '%s' failed before, it must be opened anew", s->name);
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

static enum err files_hold(struct store *s, struct errinfo *err)
{
    struct files *f = s->impl;
    enum err rc = files_lock(s, f, err);
    f->is_held = rc == OK;
    return rc;
}

static void files_release(struct store *s)
{
    struct files *f = s->impl;
    if (f->is_held)
        files_unlock(f);
}

static void index_add(struct files *f)
{
    const struct scan_at *at = &f->reader.at;
    if (at->seq % FILES_INDEX_EVERY != 0 || (f->index_n > 0 && f->index[f->index_n - 1].seq >= at->seq))
        return;
    if (f->index_n == f->index_size) {
        f->index_size = f->index_size == 0 ? 64 : f->index_size * 2;
        f->index = mem_realloc(f->index, f->index_size * sizeof(*f->index));
    }
    f->index[f->index_n++] = *at;
}

/* The known place nearest before after_seq. */
static struct scan_at index_find(const struct files *f, uint64_t after_seq)
{
    size_t from = 0, to = f->index_n; /* entries before `from` are not behind after_seq, those from `to` on are */
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (f->index[mid].seq <= after_seq)
            from = mid + 1;
        else
            to = mid;
    }
    struct scan_at at = from == 0 ? (struct scan_at){.time = EVENT_TIME_MIN} : f->index[from - 1];
    const struct scan_at *here = &f->reader.at;
    return here->seq <= after_seq && here->seq >= at.seq ? *here : at;
}

/* The next record, of which there is one: the place is before the durable end. */
static enum err next_record(struct store *s, struct files *f, struct envelope *ret, size_t *ret_size,
                            struct errinfo *err)
{
    struct store_damage d = {0};
    enum err rc = scan_next(&f->reader, ret, ret_size, &d, err);
    const struct scan_at *at = &f->reader.at;
    bool is_end = at->seq == f->head.seq && at->offset == f->head.length && at->sum == f->head.sum;
    if (rc == OK && (*ret_size == 0 || (at->seq == f->head.seq && !is_end))) {
        d = (struct store_damage){
            .seq = at->seq, .offset = at->offset, .cause = "the log does not end as its head says"};
        segment_name(f->head.segment, d.file);
        rc = ERR_CORRUPT;
    }
    if (rc == ERR_CORRUPT)
        return store_set_damage(s, &d, err);
    if (rc == OK)
        index_add(f);
    return rc;
}

static enum err seek(struct store *s, struct files *f, uint64_t after_seq, struct errinfo *err)
{
    f->reader.dir_fd = f->dir_fd;
    f->reader.segments = f->segments;
    f->reader.segments_n = f->segments_n;
    f->reader.end_offset = f->head.length;
    scan_seek(&f->reader, index_find(f, after_seq));
    enum err rc = OK;
    while (rc == OK && f->reader.at.seq < after_seq) {
        struct envelope ignored;
        size_t size = 0;
        rc = next_record(s, f, &ignored, &size, err);
    }
    return rc;
}

static enum err files_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max,
                           struct store_batch *ret, struct errinfo *err)
{
    struct files *f = s->impl;
    enum err rc = files_refresh(s, f, err);
    if (rc != OK)
        return rc;
    if (after_seq > f->head.seq)
        return err_set(err, ERR_NOT_FOUND, "log '%s' ends at %" PRIu64 ", before %" PRIu64, s->name, f->head.seq,
                       after_seq);
    ret->end = ret->after = (struct store_pos){f->head.seq, f->head.sum};
    if (after_seq == f->head.seq)
        return OK;
    rc = seek(s, f, after_seq, err);
    if (rc != OK)
        return rc;
    ret->after = (struct store_pos){f->reader.at.seq, f->reader.at.sum};
    size_t room = 0, bytes = 0;
    while (f->reader.at.seq < f->head.seq && (records_max == 0 || ret->n < records_max)) {
        struct envelope e;
        size_t size = 0;
        struct scan_at before = f->reader.at;
        rc = next_record(s, f, &e, &size, err);
        if (rc == ERR_CORRUPT && ret->n > 0) { /* what is good first; the next read meets it again */
            s->is_damaged = false;
            return OK;
        }
        if (rc != OK)
            return rc;
        if (size_max > 0 && ret->n > 0 && bytes + size > size_max) {
            scan_seek(&f->reader, before); /* it stays for the next read */
            return OK;
        }
        bytes += size;
        store_batch_add(ret, &room, f->reader.at.seq, &e);
    }
    return OK;
}

static enum err files_end(struct store *s, struct store_pos *ret_end, struct errinfo *err)
{
    struct files *f = s->impl;
    enum err rc = files_refresh(s, f, err);
    if (rc == OK)
        *ret_end = (struct store_pos){f->head.seq, f->head.sum};
    return rc;
}

static int64_t files_clock_us(struct store *s)
{
    (void)s;
    return clock_wall_us();
}

static char *files_watch_path(struct store *s)
{
    return mem_printf("%s/head", s->name);
}

const struct store_kind STORE_FILES = {
    .name = "files",
    .open = files_open,
    .close = files_close,
    .append = files_append,
    .hold = files_hold,
    .release = files_release,
    .read = files_read,
    .end = files_end,
    .clock_us = files_clock_us,
    .watch_path = files_watch_path,
};
