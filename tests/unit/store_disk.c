#include "store_disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/own.h"

const char *disk_op_name(enum disk_op op)
{
    static const char *const NAMES[] = {"open",      "pread", "pwrite", "ftruncate",
                                        "fdatasync", "fsync", "rename", "unlink"};
    return NAMES[op];
}

/* splitmix64 */
uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* --- the journal --- */

enum { FDS_N = 1024, NAME_SIZE = 64, INODES_N = 4096 };

struct operation {
    enum disk_op op;
    int inode;
    bool is_create; /* of DISK_OPEN */
    char name[NAME_SIZE], to[NAME_SIZE];
    uint64_t at; /* or size */
    char *bytes;
    size_t n;
};

struct journal {
    struct operation *ops;
    size_t n, size;
    int inode_of[FDS_N]; /* 0: a folder, or unknown */
    int inodes_n;
    struct {
        char name[NAME_SIZE];
        int inode;
    } names[INODES_N]; /* as they are now */
    int names_n;
};

struct journal *journal_new(void)
{
    return mem_alloc(sizeof(struct journal));
}

void journal_free(struct journal *j)
{
    for (size_t i = 0; i < j->n; i++)
        free(j->ops[i].bytes);
    free(j->ops);
    free(j);
}

size_t journal_n(const struct journal *j)
{
    return j->n;
}

size_t journal_bytes(const struct journal *j, size_t i)
{
    return j->ops[i].op == DISK_PWRITE ? j->ops[i].n : 0;
}

static struct operation *note(struct journal *j, enum disk_op op, int inode)
{
    if (j->n == j->size) {
        j->size = j->size == 0 ? 64 : j->size * 2;
        j->ops = mem_realloc(j->ops, j->size * sizeof(*j->ops));
    }
    struct operation *o = &j->ops[j->n++];
    *o = (struct operation){.op = op, .inode = inode};
    return o;
}

static int find_name(const struct journal *j, const char *name)
{
    for (int i = 0; i < j->names_n; i++)
        if (strcmp(j->names[i].name, name) == 0)
            return i;
    return -1;
}

static void forget_name(struct journal *j, const char *name)
{
    int i = find_name(j, name);
    if (i >= 0)
        j->names[i] = j->names[--j->names_n];
}

static void set_name(struct journal *j, const char *name, int inode)
{
    forget_name(j, name);
    assert(j->names_n < INODES_N);
    (void)snprintf(j->names[j->names_n].name, NAME_SIZE, "%s", name);
    j->names[j->names_n++].inode = inode;
}

static void note_open(struct journal *j, const char *name, int flags, int fd)
{
    if (j == NULL || fd < 0)
        return;
    assert(fd < FDS_N);
    int at = find_name(j, name);
    if (at < 0 && (flags & O_CREAT) == 0) {
        j->inode_of[fd] = 0; /* there before the journal, or a folder */
        return;
    }
    bool is_new = at < 0;
    int inode = is_new ? ++j->inodes_n : j->names[at].inode;
    j->inode_of[fd] = inode;
    if (is_new) {
        set_name(j, name, inode);
        struct operation *o = note(j, DISK_OPEN, inode);
        o->is_create = true;
        (void)snprintf(o->name, NAME_SIZE, "%s", name);
    } else if ((flags & O_TRUNC) != 0) {
        (void)note(j, DISK_FTRUNCATE, inode);
    }
}

/* What is on the disk: contents of inodes, and names. */
struct image {
    struct buf *contents; /* by inode */
    char (*names)[NAME_SIZE];
    int *inodes;
    int names_n;
};

static void image_unname(struct image *m, const char *name)
{
    for (int i = 0; i < m->names_n; i++) {
        if (strcmp(m->names[i], name) != 0)
            continue;
        m->names_n--;
        memmove(m->names[i], m->names[m->names_n], NAME_SIZE);
        m->inodes[i] = m->inodes[m->names_n];
        return;
    }
}

static void image_name(struct image *m, const char *name, int inode)
{
    image_unname(m, name);
    (void)snprintf(m->names[m->names_n], NAME_SIZE, "%s", name);
    m->inodes[m->names_n++] = inode;
}

static void resize(struct buf *b, size_t size)
{
    if (size > b->len) {
        size_t more = size - b->len;
        buf_reserve(b, more);
        memset(b->ptr + b->len, 0, more);
    }
    b->len = size;
}

/* Bring one operation to the disk; of a write, n bytes. */
static void apply(struct image *m, const struct operation *o, size_t n)
{
    struct buf *b = &m->contents[o->inode];
    if (o->op == DISK_PWRITE && n > 0) {
        if (o->at + n > b->len)
            resize(b, (size_t)o->at + n);
        memcpy(b->ptr + o->at, o->bytes, n);
    } else if (o->op == DISK_FTRUNCATE) {
        resize(b, (size_t)o->at);
    } else if (o->op == DISK_OPEN) {
        image_name(m, o->name, o->inode);
    } else if (o->op == DISK_UNLINK) {
        image_unname(m, o->name);
    } else if (o->op == DISK_RENAME) {
        image_unname(m, o->name);
        image_name(m, o->to, o->inode);
    }
}

static bool is_of_folder(const struct operation *o)
{
    return o->op == DISK_OPEN || o->op == DISK_UNLINK || o->op == DISK_RENAME;
}

/* Is operation i durable once n are done? */
static bool is_synced(const struct journal *j, size_t i, size_t n)
{
    for (size_t k = i + 1; k < n; k++) {
        if (is_of_folder(&j->ops[i]) ? j->ops[k].op == DISK_FSYNC
                                     : j->ops[k].op == DISK_FDATASYNC && j->ops[k].inode == j->ops[i].inode)
            return true;
    }
    return false;
}

static void image_write(const struct image *m, const char *folder)
{
    for (int i = 0; i < m->names_n; i++) {
        auto_free char *path = mem_printf("%s/%s", folder, m->names[i]);
        auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        const struct buf *b = &m->contents[m->inodes[i]];
        ssize_t n = b->len == 0 ? 0 : write(fd, b->ptr, b->len);
        assert(fd >= 0 && n == (ssize_t)b->len);
        (void)n;
    }
}

void journal_crash(const struct journal *j, size_t n, enum journal_keep keep, size_t torn_bytes, uint64_t random,
                   const char *folder)
{
    struct image m = {.contents = mem_calloc((size_t)j->inodes_n + 1, sizeof(struct buf)),
                      .names = mem_calloc((size_t)j->inodes_n + 1, NAME_SIZE),
                      .inodes = mem_calloc((size_t)j->inodes_n + 1, sizeof(int))};
    bool may_tear = keep == KEEP_SOME;
    for (size_t i = 0; i < n; i++) {
        const struct operation *o = &j->ops[i];
        size_t bytes = o->n;
        bool is_kept = is_synced(j, i, n) || keep == KEEP_ALL;
        if (!is_kept && keep == KEEP_SOME) {
            is_kept = next_random(&random) % 2 == 0;
            if (is_kept && may_tear && o->op == DISK_PWRITE && next_random(&random) % 2 == 0) {
                bytes = (size_t)(next_random(&random) % (o->n + 1));
                may_tear = false;
            }
        }
        if (is_kept)
            apply(&m, o, bytes);
    }
    if (keep == KEEP_ALL && n < j->n && torn_bytes > 0)
        apply(&m, &j->ops[n], torn_bytes);
    image_write(&m, folder);
    for (int i = 0; i <= j->inodes_n; i++)
        buf_done(&m.contents[i]);
    free(m.contents);
    free(m.names);
    free(m.inodes);
}

/* --- the disk --- */

static bool is_hit(struct test_disk *d, enum disk_op op)
{
    if (d->only != 0 && (d->only & 1u << op) == 0)
        return false;
    d->calls++;
    bool hit = (d->fault_at > 0 && (d->calls == d->fault_at || d->calls == d->fault_at_too)) ||
               (d->random != 0 && d->one_in > 0 && next_random(&d->random) % d->one_in == 0);
    d->faults += hit;
    d->faults_of[op] += hit;
    return hit;
}

static void die(void)
{
    (void)raise(SIGKILL);
}

/* Before the call: true when it must fail. */
static bool before(const struct test_disk *d, bool hit)
{
    if (!hit)
        return false;
    if (d->fault == FAULT_KILL_BEFORE)
        die();
    errno = d->error;
    return d->fault == FAULT_FAIL || d->fault == FAULT_SHORT;
}

static void after(const struct test_disk *d, bool hit)
{
    if (hit && (d->fault == FAULT_KILL_AFTER || d->fault == FAULT_KILL_HALF))
        die();
}

static int on_open(void *ctx, int dir_fd, const char *name, int flags, mode_t mode)
{
    struct test_disk *d = ctx;
    bool hit = is_hit(d, DISK_OPEN);
    if (before(d, hit))
        return -1;
    int fd = openat(dir_fd, name, flags, mode);
    note_open(d->journal, name, flags, fd);
    after(d, hit);
    return fd;
}

static ssize_t on_pread(void *ctx, int fd, void *bytes, size_t n, off_t at)
{
    struct test_disk *d = ctx;
    bool hit = is_hit(d, DISK_PREAD);
    if (before(d, hit))
        return -1;
    ssize_t m = pread(fd, bytes, n, at);
    d->bytes_read += m > 0 ? (uint64_t)m : 0;
    after(d, hit);
    return m;
}

static void note_write(struct journal *j, int fd, const void *bytes, size_t n, off_t at)
{
    if (j == NULL)
        return;
    assert(j->inode_of[fd] > 0);
    struct operation *o = note(j, DISK_PWRITE, j->inode_of[fd]);
    o->at = (uint64_t)at;
    o->n = n;
    o->bytes = mem_alloc(n + 1);
    memcpy(o->bytes, bytes, n);
}

static ssize_t on_pwrite(void *ctx, int fd, const void *bytes, size_t n, off_t at)
{
    struct test_disk *d = ctx;
    bool hit = is_hit(d, DISK_PWRITE), is_half = d->fault == FAULT_SHORT || d->fault == FAULT_KILL_HALF;
    if (hit && is_half) {
        ssize_t half = pwrite(fd, bytes, n / 2, at);
        after(d, half >= 0);
        errno = d->error;
        return -1;
    }
    if (before(d, hit))
        return -1;
    ssize_t m = pwrite(fd, bytes, n, at);
    if (m > 0)
        note_write(d->journal, fd, bytes, (size_t)m, at);
    after(d, hit);
    return m;
}

static int on_ftruncate(void *ctx, int fd, off_t size)
{
    struct test_disk *d = ctx;
    bool hit = is_hit(d, DISK_FTRUNCATE);
    if (before(d, hit))
        return -1;
    int rc = ftruncate(fd, size);
    if (rc == 0 && d->journal != NULL)
        note(d->journal, DISK_FTRUNCATE, d->journal->inode_of[fd])->at = (uint64_t)size;
    after(d, hit);
    return rc;
}

static int on_fdatasync(void *ctx, int fd)
{
    struct test_disk *d = ctx;
    bool hit = is_hit(d, DISK_FDATASYNC);
    if (before(d, hit))
        return -1;
    if (d->journal != NULL)
        (void)note(d->journal, DISK_FDATASYNC, d->journal->inode_of[fd]);
    int rc = fdatasync(fd);
    after(d, hit);
    return rc;
}

static int on_fsync(void *ctx, int fd)
{
    struct test_disk *d = ctx;
    bool hit = is_hit(d, DISK_FSYNC);
    if (before(d, hit))
        return -1;
    if (d->journal != NULL)
        (void)note(d->journal, DISK_FSYNC, 0);
    int rc = fsync(fd);
    after(d, hit);
    return rc;
}

static int on_rename(void *ctx, int dir_fd, const char *from, const char *to)
{
    struct test_disk *d = ctx;
    bool hit = is_hit(d, DISK_RENAME);
    if (before(d, hit))
        return -1;
    int rc = renameat(dir_fd, from, dir_fd, to);
    if (rc == 0 && d->journal != NULL) {
        int inode = d->journal->names[find_name(d->journal, from)].inode;
        struct operation *o = note(d->journal, DISK_RENAME, inode);
        (void)snprintf(o->name, NAME_SIZE, "%s", from);
        (void)snprintf(o->to, NAME_SIZE, "%s", to);
        forget_name(d->journal, from);
        set_name(d->journal, to, inode);
    }
    after(d, hit);
    return rc;
}

static int on_unlink(void *ctx, int dir_fd, const char *name)
{
    struct test_disk *d = ctx;
    bool hit = is_hit(d, DISK_UNLINK);
    if (before(d, hit))
        return -1;
    int rc = unlinkat(dir_fd, name, 0);
    if (rc == 0 && d->journal != NULL) {
        (void)snprintf(note(d->journal, DISK_UNLINK, 0)->name, NAME_SIZE, "%s", name);
        forget_name(d->journal, name);
    }
    after(d, hit);
    return rc;
}

void test_disk_init(struct test_disk *d)
{
    *d = (struct test_disk){.error = EIO};
    d->disk = (struct store_disk){.ctx = d,
                                  .open = on_open,
                                  .pread = on_pread,
                                  .pwrite = on_pwrite,
                                  .ftruncate = on_ftruncate,
                                  .fdatasync = on_fdatasync,
                                  .fsync = on_fsync,
                                  .rename = on_rename,
                                  .unlink = on_unlink};
}
