/* The files store: seals. A segment that is not the last one is never written again: beside it stands where it ends
 * and its SHA-256, made once, without the log's lock, by whoever went on in a new segment or opens the log next.
 *
 * Who seals or writes an index holds flock on the segment itself; that it is held means that somebody else is at it.
 * What fails here fails nobody: the records are durable, a later one tries again. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/own.h"
#include "store/chain.h"
#include "store/disk.h"
#include "store/files.h"
#include "store/seal.h"

static bool seal_exists(const struct files *f, size_t i)
{
    char name[SEGMENT_NAME_SIZE];
    struct stat st;
    seal_name(f->segments[i], name);
    return fstatat(f->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

enum err files_seal_read(const struct store *s, const struct files *f, size_t i, struct seal *ret, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    char name[SEGMENT_NAME_SIZE];
    seal_name(f->segments[i], name);
    enum err rc = disk_read_file(s->disk, f->dir_fd, name, SEAL_SIZE_MAX, &text, err);
    if (rc != OK && rc != ERR_LIMIT)
        return rc;
    if (rc != OK || !seal_decode(buf_str(&text), ret))
        return err_set(err, ERR_CORRUPT, "the seal is not as it was written");
    if (!id_eq(ret->log, f->head.log) || ret->first != f->segments[i] || ret->last + 1 != f->segments[i + 1])
        return err_set(err, ERR_CORRUPT, "the seal is that of another segment, or of another log");
    return OK;
}

int files_open_segment(const struct store *s, const struct files *f, size_t i)
{
    char name[SEGMENT_NAME_SIZE];
    segment_name(f->segments[i], name);
    return disk_open(s->disk, f->dir_fd, name, O_RDONLY, 0);
}

static enum err write_seal(struct store *s, struct files *f, size_t i, const struct seal *seal, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    char name[SEGMENT_NAME_SIZE];
    seal_name(seal->first, name);
    seal_encode(seal, &text);
    enum err rc = disk_replace(s->disk, f->dir_fd, name, buf_str(&text), true, err);
    struct index *places = &f->parts[i].places;
    if (rc == OK)
        err_ignore(index_save(s->disk, f->dir_fd, f->head.log, seal->first, places, NULL)); /* made again at need */
    f->parts[i].is_index_read = true;
    return rc;
}

/* A segment with damage gets no seal: who reads it finds where. */
static enum err seal_one(struct store *s, struct files *f, size_t i, bool *ret_is_sealed, struct errinfo *err)
{
    auto_close int fd = files_open_segment(s, f, i);
    struct stat st;
    struct scan_at at;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_os(err, ERR_IO, errno, "open segment %" PRIu64 " of log '%s'", f->segments[i], s->name);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 || seal_exists(f, i) || !files_start(s, f, i, &at))
        return OK;
    struct hash *hash = hash_new();
    struct seal seal = {.log = f->head.log, .first = f->segments[i], .length = (uint64_t)st.st_size};
    bool is_whole = false;
    index_done(&f->parts[i].places);
    enum err rc = chain_follow(s->disk, fd, seal.first, seal.length, &at, &f->parts[i].places, hash, &is_whole, err);
    hash_finish(hash, seal.digest);
    if (rc != OK || !is_whole || at.seq + 1 != f->segments[i + 1])
        return rc;
    seal.last = at.seq;
    seal.sum = at.sum;
    seal.time = at.time;
    rc = write_seal(s, f, i, &seal, err);
    *ret_is_sealed = rc == OK;
    return rc;
}

uint64_t files_seal_missing(struct store *s, struct files *f)
{
    uint64_t n = 0;
    for (size_t i = 0; i + 1 < f->segments_n; i++) {
        bool is_sealed = false;
        if (!seal_exists(f, i))
            err_ignore(seal_one(s, f, i, &is_sealed, NULL)); /* a later one tries again */
        n += is_sealed;
    }
    f->has_unsealed = false;
    return n;
}

static enum err hash_segment(const struct store *s, int fd, uint64_t length, uint8_t ret_digest[static HASH_SIZE],
                             struct errinfo *err)
{
    enum { PART_SIZE = 262144 };
    auto_free char *part = mem_alloc(PART_SIZE);
    struct hash *hash = hash_new();
    ssize_t n = 1;
    for (uint64_t at = 0; at < length && n > 0; at += (uint64_t)n) {
        n = disk_pread(s->disk, fd, part, PART_SIZE, at);
        if (n > 0)
            hash_add(hash, part, (size_t)n);
    }
    hash_finish(hash, ret_digest);
    return n < 0 ? err_set_os(err, ERR_IO, errno, "read a segment of log '%s'", s->name) : OK;
}

/* Is segment i what its seal says? */
static enum err compare(const struct store *s, const struct files *f, size_t i, const struct seal *seal,
                        struct errinfo *err)
{
    uint8_t digest[HASH_SIZE];
    auto_close int fd = files_open_segment(s, f, i);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_os(err, ERR_IO, errno, "open segment %" PRIu64 " of log '%s'", f->segments[i], s->name);
    if ((uint64_t)st.st_size != seal->length)
        return err_set(err, ERR_CORRUPT, "the segment has %" PRIu64 " bytes, its seal says %" PRIu64,
                       (uint64_t)st.st_size, seal->length);
    enum err rc = hash_segment(s, fd, seal->length, digest, err);
    if (rc == OK && memcmp(digest, seal->digest, HASH_SIZE) != 0)
        return err_set(err, ERR_CORRUPT, "the segment's SHA-256 is not that of its seal");
    if (rc == OK && !chain_is_at(s->disk, fd, seal->length, seal->sum))
        return err_set(err, ERR_CORRUPT, "the segment's last record is not that of its seal");
    return rc;
}

enum err files_seal_check(const struct store *s, const struct files *f, size_t i, bool *ret_is_sealed,
                          struct store_damage *ret_damage, struct errinfo *err)
{
    struct seal seal;
    struct errinfo why = {0};
    enum err rc = files_seal_read(s, f, i, &seal, &why);
    *ret_is_sealed = rc == OK;
    if (rc == ERR_NOT_FOUND)
        return OK;
    if (rc == OK)
        rc = compare(s, f, i, &seal, &why);
    if (rc == OK)
        return OK;
    *ret_damage = (struct store_damage){.seq = f->segments[i]};
    seal_name(f->segments[i], ret_damage->file);
    (void)snprintf(ret_damage->cause, sizeof(ret_damage->cause), "%.255s", why.msg);
    return err_set(err, rc, "%s", why.msg);
}
