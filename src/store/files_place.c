/* The files store: where reading begins, when it does not go on where it was.
 *
 * The start of a segment follows from the seal of the one before, places in its middle from its index; both are checked
 * against the segments' bytes before they are used, and an index that is missing, older or damaged is made again from
 * the segment's sums. Where nothing can be known, reading begins further in front and finds the damage that there is.
 */
#include <sys/file.h>
#include <sys/stat.h>

#include "base/own.h"
#include "store/chain.h"
#include "store/files.h"
#include "store/seal.h"

static bool start_from_seal(const struct store *s, const struct files *f, size_t i, struct scan_at *ret)
{
    struct seal seal;
    struct stat st;
    if (files_seal_read(s, f, i - 1, &seal, NULL) != OK)
        return false;
    auto_close int fd = files_open_segment(s, f, i - 1);
    *ret = (struct scan_at){.seq = seal.last, .sum = seal.sum, .time = seal.time, .segment = i};
    return fd >= 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size == seal.length &&
           chain_is_at(s->disk, fd, seal.length, seal.sum);
}

bool files_start(const struct store *s, struct files *f, size_t i, struct scan_at *ret)
{
    struct files_part *p = &f->parts[i];
    const struct scan_at *here = &f->reader.at;
    if (!p->is_start_known && here->segment + 1 == i && here->seq + 1 == f->segments[i]) {
        p->start = (struct scan_at){.seq = here->seq, .sum = here->sum, .time = here->time, .segment = i};
        p->is_start_known = true;
    }
    if (!p->is_start_known)
        p->is_start_known = start_from_seal(s, f, i, &p->start);
    *ret = p->start;
    return p->is_start_known;
}

static size_t segment_of(const struct files *f, uint64_t seq)
{
    size_t from = 0,
           to = f->segments_n; /* segments before `from` begin with seq or before, those from `to` on behind */
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (f->segments[mid] <= seq)
            from = mid + 1;
        else
            to = mid;
    }
    return from - 1;
}

static bool is_last(const struct files *f, size_t i)
{
    return i + 1 == f->segments_n;
}

/* Whether somebody else is at it already does not matter: both write the same. */
static void save(const struct store *s, const struct files *f, size_t i, int fd)
{
    struct index *x = &f->parts[i].places;
    if (s->mode != STORE_READ && x->n > x->saved_n && flock(fd, LOCK_EX | LOCK_NB) == 0)
        err_ignore(index_save(s->disk, f->dir_fd, f->head.log, f->segments[i], x, NULL)); /* made again at need */
}

/* Follow the sums from the last place that is known on to the segment's end. false: that place is none. */
static bool extend(const struct store *s, struct files *f, size_t i, int fd, uint64_t until,
                   const struct scan_at *start)
{
    struct index *x = &f->parts[i].places;
    struct scan_at at = x->n > 0 ? x->items[x->n - 1] : *start, from = at;
    bool is_whole = false;
    enum err rc = at.offset > until ? ERR_CORRUPT
                                    : chain_follow(s->disk, fd, f->segments[i], until, &at, x, NULL, &is_whole, NULL);
    return rc == ERR_IO || is_whole || at.seq > from.seq || x->n == 0;
}

/* Places for reading behind after_seq, which is in segment i, as far as the segment is good. */
static void make_index(const struct store *s, struct files *f, size_t i, uint64_t after_seq,
                       const struct scan_at *start)
{
    struct files_part *p = &f->parts[i];
    struct stat st;
    if (!p->is_index_read) {
        struct index before = p->places; /* of reading until now; the file may say more */
        err_ignore(index_load(s->disk, f->dir_fd, f->head.log, f->segments[i], i, &p->places, NULL)); /* made again */
        if (p->places.n < before.n) {
            struct index loaded = p->places;
            p->places = before;
            before = loaded;
        }
        index_done(&before);
    }
    p->is_index_read = true;
    uint64_t known = p->places.n == 0 ? start->seq : p->places.items[p->places.n - 1].seq;
    if (after_seq < known + INDEX_EVERY)
        return;
    auto_close int fd = files_open_segment(s, f, i);
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    uint64_t until = is_last(f, i) ? f->head.length : (uint64_t)st.st_size;
    if (!extend(s, f, i, fd, until, start)) {
        index_done(&p->places);
        (void)extend(s, f, i, fd, until, start); /* from the start, which is good */
    }
    if (!is_last(f, i))
        save(s, f, i, fd);
}

/* The nearest place of the index, if a record ends there. */
static bool find_place(const struct store *s, struct files *f, size_t i, uint64_t after_seq, struct scan_at *ret)
{
    const struct scan_at *at = index_find(&f->parts[i].places, after_seq);
    auto_close int fd = at == NULL ? -1 : files_open_segment(s, f, i);
    if (fd < 0 || !chain_is_at(s->disk, fd, at->offset, at->sum))
        return false;
    *ret = *at;
    return true;
}

struct scan_at files_place(struct store *s, struct files *f, uint64_t after_seq)
{
    const struct scan_at here = f->reader.at;
    size_t i = segment_of(f, after_seq + 1), wanted = i;
    if (here.seq == after_seq)
        return here;
    struct scan_at start, at;
    while (!files_start(s, f, i, &start)) /* that of segment 0 is known */
        i--;
    if (here.seq < after_seq && here.seq >= start.seq && after_seq - here.seq < INDEX_EVERY)
        return here;
    if (i == wanted && after_seq >= start.seq + INDEX_EVERY)
        make_index(s, f, i, after_seq, &start);
    if (find_place(s, f, i, after_seq, &at))
        return at;
    if (index_find(&f->parts[i].places, after_seq) == NULL)
        return start;
    index_done(&f->parts[i].places); /* it lies: once more, from the start */
    make_index(s, f, i, after_seq, &start);
    return find_place(s, f, i, after_seq, &at) ? at : start;
}

void files_save_index(const struct store *s, struct files *f)
{
    /* 16 places, 4096 records: less is looked for again in a millisecond (chosen). */
    enum { WORTH_SAVING = 16 };
    size_t i = f->segments_n - 1;
    if (f->segments_n == 0 || f->parts[i].places.n < f->parts[i].places.saved_n + WORTH_SAVING)
        return;
    auto_close int fd = files_open_segment(s, f, i);
    if (fd >= 0)
        save(s, f, i, fd);
}
