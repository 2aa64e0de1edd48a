#include "store/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/own.h"
#include "event/hash.h"
#include "store/disk.h"

/* 64 KiB: what is read at once; more made a replay no faster (chosen; bench). */
#define CHUNK_SIZE 65536u

void segment_name(uint64_t first_seq, char ret_name[static SEGMENT_NAME_SIZE])
{
    (void)snprintf(ret_name, SEGMENT_NAME_SIZE, "%020" PRIu64 ".jsonl", first_seq);
}

static bool segment_parse(const char *name, uint64_t *ret)
{
    struct str s = str_from(name);
    return s.len == 26 && str_ends(s, STR(".jsonl")) && str_parse_u64(str_slice(s, 0, 20), UINT64_MAX, ret);
}

static int compare_seqs(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

enum err segments_list(int dir_fd, uint64_t **ret, size_t *ret_n, struct errinfo *err)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int why = errno;
        if (fd >= 0)
            (void)close(fd);
        return err_set_os(err, ERR_IO, why, "list the segments of a log");
    }
    uint64_t *seqs = NULL, seq = 0;
    size_t n = 0;
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        if (!segment_parse(d->d_name, &seq))
            continue;
        seqs = mem_realloc(seqs, (n + 1) * sizeof(*seqs));
        seqs[n++] = seq;
    }
    (void)closedir(dir);
    if (n > 0)
        qsort(seqs, n, sizeof(*seqs), compare_seqs);
    *ret = seqs;
    *ret_n = n;
    return OK;
}

void scan_init(struct scan *s)
{
    *s = (struct scan){.dir_fd = -1, .fd = -1, .at = {.time = EVENT_TIME_MIN}};
}

void scan_done(struct scan *s)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    buf_done(&s->chunk);
    scan_init(s);
}

void scan_forget(struct scan *s)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
    buf_clear(&s->chunk);
    s->chunk_offset = s->at.offset;
}

void scan_seek(struct scan *s, struct scan_at at)
{
    bool is_here = at.segment == s->at.segment && at.offset >= s->chunk_offset &&
                   at.offset <= s->chunk_offset + s->chunk.len && s->fd >= 0 && s->fd_segment == at.segment;
    if (!is_here) {
        buf_clear(&s->chunk);
        s->chunk_offset = at.offset;
    }
    s->at = at;
}

static void file_name(const struct scan *s, char ret[static 64])
{
    if (s->single != NULL) {
        size_t len = strlen(s->single), from = len > 63 ? len - 63 : 0;
        memcpy(ret, s->single + from, len - from + 1);
    } else {
        segment_name(s->segments[s->at.segment], ret);
    }
}

/* ERR_CORRUPT at the record behind s->at. */
static enum err damage(const struct scan *s, struct store_damage *d, struct errinfo *err, const char *cause)
{
    *d = (struct store_damage){.seq = s->at.seq + 1, .offset = s->at.offset};
    file_name(s, d->file);
    (void)snprintf(d->cause, sizeof(d->cause), "%s", cause);
    return err_set(err, ERR_CORRUPT, "seq %" PRIu64 ", byte %" PRIu64 " of '%s': %s", d->seq, d->offset, d->file,
                   cause);
}

static enum err open_segment(struct scan *s, struct errinfo *err)
{
    if (s->fd >= 0 && s->fd_segment == s->at.segment)
        return OK;
    char name[64];
    file_name(s, name);
    int fd =
        s->single != NULL ? open(s->single, O_RDONLY | O_CLOEXEC) : disk_open(s->disk, s->dir_fd, name, O_RDONLY, 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        int why = errno;
        if (fd >= 0)
            (void)close(fd);
        return err_set_os(err, ERR_IO, why, "open '%s'", name);
    }
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = fd;
    s->fd_segment = s->at.segment;
    s->fd_size = (uint64_t)st.st_size;
    buf_clear(&s->chunk);
    s->chunk_offset = s->at.offset;
    return OK;
}

static bool is_last(const struct scan *s)
{
    return s->at.segment + 1 >= s->segments_n;
}

static uint64_t segment_end(const struct scan *s)
{
    return is_last(s) ? s->end_offset : s->fd_size;
}

/* Read more behind the chunk. *ret_n 0: the file has no more. */
static enum err read_more(struct scan *s, size_t *ret_n, struct errinfo *err)
{
    if (s->at.offset > s->chunk_offset) {
        buf_consume(&s->chunk, (size_t)(s->at.offset - s->chunk_offset));
        s->chunk_offset = s->at.offset;
    }
    uint64_t from = s->chunk_offset + s->chunk.len, left = segment_end(s) > from ? segment_end(s) - from : 0;
    size_t want = left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE;
    buf_reserve(&s->chunk, want);
    ssize_t n = want == 0 ? 0 : disk_pread(s->disk, s->fd, s->chunk.ptr + s->chunk.len, want, from);
    if (n < 0)
        return err_set_os(err, ERR_IO, errno, "read a log at byte %" PRIu64, from);
    s->chunk.len += (size_t)n;
    *ret_n = (size_t)n;
    return OK;
}

/* The line at s->at without its newline, lent from the chunk. {NULL,0}: the segment's end. */
static enum err take_line(struct scan *s, struct str *ret_line, struct store_damage *d, struct errinfo *err)
{
    *ret_line = (struct str){NULL, 0};
    for (size_t seen = 0;;) {
        size_t from = (size_t)(s->at.offset - s->chunk_offset), have = s->chunk.len - from;
        const char *line = s->chunk.ptr == NULL ? NULL : s->chunk.ptr + from;
        const char *newline = line == NULL ? NULL : memchr(line + seen, '\n', have - seen);
        if (newline != NULL) {
            *ret_line = (struct str){line, (size_t)(newline - line)};
            return OK;
        }
        if (have > ENVELOPE_SIZE_MAX)
            return damage(s, d, err, "a line is longer than an event can be");
        seen = have;
        size_t n = 0;
        enum err rc = read_more(s, &n, err);
        if (rc != OK)
            return rc;
        if (n > 0)
            continue;
        if (s->at.offset + have < segment_end(s))
            return damage(s, d, err, "the file ends before the length that was durable");
        if (have > 0 && s->single == NULL)
            return damage(s, d, err, "the last line has no end");
        if (have > 0)
            *ret_line = (struct str){s->chunk.ptr, have}; /* of others: the last line may lack its newline */
        return OK;
    }
}

/* The bytes as we write them: a sum with another spelling would let a changed byte pass. */
static bool has_our_tail(struct str line, uint32_t sum)
{
    char tail[] = ",\"sum\":\"crc32c:00000000\"}";
    char *digits = tail + sizeof(tail) - sizeof("00000000\"}");
    for (int i = 0; i < 8; i++)
        digits[i] = "0123456789abcdef"[sum >> (28 - 4 * i) & 15];
    return str_ends(line, (struct str){tail, sizeof(tail) - 1});
}

static enum err check_record(struct scan *s, struct str line, struct envelope *ret, struct store_damage *d,
                             struct errinfo *err)
{
    struct errinfo why = {0};
    if (envelope_decode(line, s->at.sum, ret, &why) != OK)
        return damage(s, d, err, why.msg);
    if (s->single == NULL && (!ret->has_sum || !has_our_tail(line, ret->sum)))
        return damage(s, d, err, "the record does not end in its checksum");
    if (s->single == NULL && id_is_none(ret->id))
        return damage(s, d, err, "the record has no id");
    if (event_time_cmp(ret->time, s->at.time) <= 0)
        return damage(s, d, err, "its time is not later than that of the record before");
    if (!ret->has_sum)
        ret->sum = crc32c(s->at.sum, line.ptr, line.len); /* so that a place in such a log can be recognised too */
    return OK;
}

static enum err next_segment(struct scan *s, struct store_damage *d, struct errinfo *err)
{
    if (s->segments[s->at.segment + 1] != s->at.seq + 1)
        return damage(s, d, err, "the next segment does not begin with the next record");
    s->at.segment++;
    s->at.offset = 0;
    return OK;
}

enum err scan_next(struct scan *s, struct envelope *ret, size_t *ret_size, struct store_damage *ret_damage,
                   struct errinfo *err)
{
    *ret_size = 0;
    for (;;) {
        struct str line;
        enum err rc = open_segment(s, err);
        if (rc == OK)
            rc = take_line(s, &line, ret_damage, err);
        if (rc == OK && line.ptr == NULL && is_last(s))
            return OK;
        if (rc == OK && line.ptr == NULL) {
            rc = next_segment(s, ret_damage, err);
            if (rc == OK)
                continue;
        }
        if (rc == OK)
            rc = check_record(s, line, ret, ret_damage, err);
        if (rc != OK)
            return rc;
        bool has_newline = line.ptr + line.len < s->chunk.ptr + s->chunk.len;
        *ret_size = line.len + has_newline;
        s->at.seq++;
        s->at.sum = ret->sum;
        s->at.time = ret->time;
        s->at.offset += *ret_size;
        return OK;
    }
}
