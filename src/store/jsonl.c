/* One JSONL file written by hand or by others, read only: a bootstrap log, an export. Lines may lack id and sum.
 *
 * The end is found by reading the file once at open; a bad line counts as one more record, so that whoever reads up to
 * it meets the damage there and not before. The file is not followed: what is added later is seen by the next open. */
#include "base/clock.h"
#include "base/own.h"
#include "event/hash.h"
#include "store/kind.h"
#include "store/scan.h"

#include <errno.h>
#include <sys/stat.h>

struct jsonl {
    struct scan scan;
    struct scan_at whole; /* behind the last whole command that was read: a copy goes on there, not where it stopped */
    struct store_pos end;
};

static void jsonl_close(struct store *s)
{
    struct jsonl *j = s->impl;
    scan_done(&j->scan);
    free(j);
}

static enum err find_end(struct jsonl *j, struct errinfo *err)
{
    for (;;) {
        struct envelope e;
        struct store_damage d;
        size_t size = 0;
        enum err rc = scan_next(&j->scan, &e, &size, &d, err);
        j->end = (struct store_pos){j->scan.at.seq, j->scan.at.sum};
        if (rc == ERR_CORRUPT) {
            j->end = (struct store_pos){d.seq, 0};
            rc = OK;
            size = 0;
        }
        if (rc != OK || size == 0)
            return rc;
    }
}

static enum err jsonl_open(struct store *s, struct store_repair *ret_repair, struct errinfo *err)
{
    (void)ret_repair;
    struct stat st;
    if (store_spec_get(s, "path").len == 0)
        return err_set(err, ERR_INVALID, "event store '%s' needs 'path=FILE'", s->spec);
    if (stat(s->name, &st) < 0)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open log '%s'", s->name);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "log '%s' is not a file", s->name);
    struct jsonl *j = mem_alloc(sizeof(*j));
    s->impl = j;
    scan_init(&j->scan);
    j->scan.single = s->name;
    j->scan.segments_n = 1;
    j->scan.end_offset = (uint64_t)st.st_size;
    enum err rc = find_end(j, err);
    if (rc != OK) {
        jsonl_close(s);
        s->impl = NULL;
        return rc;
    }
    /* Which file, not what is in it: that is what the sum of a position is for. */
    s->log = id_derive(ID_NONE, s->name);
    j->whole = (struct scan_at){.time = EVENT_TIME_MIN};
    return OK;
}

static enum err next_record(struct store *s, struct jsonl *j, struct envelope *ret, size_t *ret_size,
                            struct errinfo *err)
{
    struct store_damage d = {0};
    enum err rc = scan_next(&j->scan, ret, ret_size, &d, err);
    if (rc == OK && *ret_size == 0) {
        d = (struct store_damage){.seq = j->scan.at.seq + 1, .cause = "the file became shorter", .file = "log"};
        rc = ERR_CORRUPT;
    }
    if (rc == OK && !ret->more)
        j->whole = j->scan.at;
    return rc == ERR_CORRUPT ? store_set_damage(s, &d, err) : rc;
}

static enum err jsonl_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max,
                           struct store_batch *ret, struct errinfo *err)
{
    struct jsonl *j = s->impl;
    if (after_seq > j->end.seq)
        return err_set(err, ERR_NOT_FOUND, "log '%s' ends at %llu, before %llu", s->name,
                       (unsigned long long)j->end.seq, (unsigned long long)after_seq);
    if (after_seq < j->scan.at.seq)
        scan_seek(&j->scan, after_seq < j->whole.seq ? (struct scan_at){.time = EVENT_TIME_MIN} : j->whole);
    struct envelope e;
    size_t size = 0, bytes = 0, room = 0;
    while (j->scan.at.seq < after_seq) {
        enum err rc = next_record(s, j, &e, &size, err);
        if (rc != OK)
            return rc;
    }
    ret->end = j->end;
    ret->after = (struct store_pos){j->scan.at.seq, j->scan.at.sum};
    while (j->scan.at.seq < j->end.seq && (records_max == 0 || ret->n < records_max) &&
           (size_max == 0 || bytes < size_max)) {
        enum err rc = next_record(s, j, &e, &size, err);
        if (rc == ERR_CORRUPT && ret->n > 0) { /* what is good first; the next read meets it again */
            s->is_damaged = false;
            return OK;
        }
        if (rc != OK)
            return rc;
        bytes += size;
        store_batch_add(ret, &room, j->scan.at.seq, &e);
    }
    return OK;
}

static enum err jsonl_end(struct store *s, struct store_pos *ret_end, struct errinfo *err)
{
    (void)err;
    *ret_end = ((struct jsonl *)s->impl)->end;
    return OK;
}

static int64_t jsonl_clock_us(struct store *s)
{
    (void)s;
    return clock_wall_us();
}

static char *jsonl_watch_path(struct store *s)
{
    (void)s;
    return NULL;
}

const struct store_kind STORE_JSONL = {
    .name = "jsonl",
    .open = jsonl_open,
    .close = jsonl_close,
    .read = jsonl_read,
    .end = jsonl_end,
    .clock_us = jsonl_clock_us,
    .watch_path = jsonl_watch_path,
};
