/* The files store: reading, from anywhere up to the durable end. */
#include <inttypes.h>

#include "store/files.h"

/* Where the head says that the log ends: behind the last segment's durable bytes, or behind the one before when nothing
 * was written into the last one yet. */
static bool is_last_place(const struct files *f, const struct scan_at *at)
{
    if (at->segment + 1 == f->segments_n)
        return at->offset == f->head.length;
    return at->segment + 2 == f->segments_n && f->head.length == 0;
}

/* The next record, of which there is one: the place is before the durable end. */
static enum err next_record(struct store *s, struct files *f, struct envelope *ret, size_t *ret_size,
                            struct errinfo *err)
{
    struct store_damage d = {0};
    enum err rc = scan_next(&f->reader, ret, ret_size, &d, err);
    const struct scan_at *at = &f->reader.at;
    bool is_end = at->sum == f->head.sum && is_last_place(f, at);
    if (rc == OK && (*ret_size == 0 || (at->seq == f->head.seq && !is_end))) {
        d = (struct store_damage){
            .seq = at->seq, .offset = at->offset, .cause = "the log does not end as its head says"};
        segment_name(f->head.segment, d.file);
        rc = ERR_CORRUPT;
    }
    if (rc == ERR_CORRUPT)
        return store_set_damage(s, &d, err);
    if (rc == OK)
        index_add(&f->parts[at->segment].places, f->segments[at->segment], at);
    return rc;
}

static enum err seek(struct store *s, struct files *f, uint64_t after_seq, struct errinfo *err)
{
    f->reader.end_offset = f->head.length;
    scan_seek(&f->reader, files_place(s, f, after_seq));
    enum err rc = OK;
    while (rc == OK && f->reader.at.seq < after_seq) {
        struct envelope ignored;
        size_t size = 0;
        rc = next_record(s, f, &ignored, &size, err);
    }
    return rc;
}

enum err files_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max, struct store_batch *ret,
                    struct errinfo *err)
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
