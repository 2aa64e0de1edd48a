#pragma once
/* unit/store_disk.h - disks for the files store: one that fails, one that kills, one that remembers what a machine that
 * goes down would forget. */
#include "store/store.h"

enum disk_op {
    DISK_OPEN,
    DISK_PREAD,
    DISK_PWRITE,
    DISK_FTRUNCATE,
    DISK_FDATASYNC,
    DISK_FSYNC,
    DISK_RENAME,
    DISK_UNLINK,
    DISK_OPS_N,
};
const char *disk_op_name(enum disk_op op);

enum disk_fault {
    FAULT_FAIL,        /* errno, nothing happened */
    FAULT_SHORT,       /* errno, half of a write happened */
    FAULT_KILL_BEFORE, /* SIGKILL */
    FAULT_KILL_HALF,   /* SIGKILL, half of a write happened */
    FAULT_KILL_AFTER,
};

struct test_disk {
    struct store_disk disk;
    unsigned only;     /* bits of enum disk_op that are counted; 0: all */
    uint64_t calls;    /* that were counted */
    uint64_t fault_at; /* the fault_at-th of them; 0: none */
    uint64_t fault_at_too;
    enum disk_fault fault;
    int error;
    uint64_t random; /* not 0: every so many-th call by chance */
    uint32_t one_in;
    uint64_t faults; /* that happened */
    uint64_t faults_of[DISK_OPS_N];
    uint64_t bytes_read;
    struct journal *journal;
};
void test_disk_init(struct test_disk *d);

/* What was written since the journal was made, and what of it a machine that goes down keeps: what was synced, and any
 * part of the rest. The folder's own existence is durable. */
struct journal;
struct journal *journal_new(void);
void journal_free(struct journal *j);
size_t journal_n(const struct journal *j); /* operations */
/* Bytes of operation i when it is a write; 0 */
size_t journal_bytes(const struct journal *j, size_t i);
enum journal_keep {
    KEEP_SYNCED, /* nothing else */
    KEEP_ALL,    /* in order, of operation n the first torn_bytes */
    KEEP_SOME,   /* a random part, in any order of files; one operation may be torn */
};
/* Make the folder as the machine finds it that went down after n operations. */
void journal_crash(const struct journal *j, size_t n, enum journal_keep keep, size_t torn_bytes, uint64_t random,
                   const char *folder);
uint64_t next_random(uint64_t *state);
