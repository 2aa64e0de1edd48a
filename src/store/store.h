#pragma once
/* store/store.h - an append-only event log, kept by one of several kinds of stores.
 * Layer: store (may use net, os, base, event). Pure: no.
 *
 * A store is named by a text, "kind;key=value;...": CreateStream events and settings carry it.
 *   files;path=DIR[;lock_wait_ms=N][;segment_size=BYTES]
 *                      JSONL segments in a folder, many processes (docs/formats/event-log.md)
 *   postgres;host=DIR|NAME;dbname=D;user=U;installation=I;log=NAME[;rights=owner][;replicas=ROLE][;port=N][;service=S]
 *       [;uri=URI][;passfile=F][;sslrootcert=F][;sslcert=F;sslkey=F][;lock_wait_ms=N][;timeout_ms=N]
 *                      tables of a PostgreSQL server, many machines (docs/operate.md). A host that is no folder is
 *                      spoken to by TLS with its name checked; passwords are never in a spec. Not in the SDK
 *   jsonl;path=FILE    one JSONL file written by hand or by others, read only (a bootstrap log)
 *   remote;url=URL;log=ID  a log that the platform keeps, over HTTP: SLIPFORM_EVENTS of a microVM
 *   jetstream;servers=nats://HOST:PORT,…;stream=NAME;monitor=http://HOST:PORT,…|sync=promised
 *     [;subject=S][;beside=no][;replicas=N][;ca=FILE][;cert=FILE;key=FILE][;creds=FILE][;nkey=PUBLIC;nkey_seed=FILE][;timeout_ms=N]
 *                      a stream of NATS JetStream (docs/decisions/jetstream-store.md); secrets only in files. Not in
 *                      libslipform.a: for programs of the platform
 *   simulated;name=X   in memory, in a world of virtual time and faults (store/simulated.h); options name the world
 *
 * Thread: every call blocks, and one handle is used by one thread at a time (store_cancel excepted): a loop runs calls
 * in uv's pool, one after the other (app/ does). Handles share nothing: two handles on one log are like two processes.
 */
#include <stdatomic.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "event/envelope.h"

struct uv_loop_s;

/* The end of a log, or a place in it: its last record's number and checksum. {0, 0}: before the first record. */
struct store_pos {
    uint64_t seq;
    uint32_t sum;
};

/* What to append. The store chooses the time, unless has_time. */
struct store_event {
    struct str type;    /* bare name: letters, digits, '_' */
    struct id id;       /* the appender's, never ID_NONE: a lost answer is resolved by looking for it */
    struct str payload; /* one JSON object without line breaks */
    bool has_time;
    struct event_time time; /* with has_time: later than the log's last */
};

struct store_record {
    uint64_t seq;
    struct envelope e; /* id ID_NONE, has_sum false only in a log of others (kind jsonl) */
};

/* What a read brought. Texts live in the arena. */
struct store_batch {
    struct store_record *items;
    size_t n;
    struct store_pos after; /* where it begins: compare with what you had, a log can be rewritten by a restore */
    struct store_pos end;   /* of the log when it was read; items may stop before it */
    struct arena arena;
};
void store_batch_done(struct store_batch *b);
static inline void store_batch_cleanup(struct store_batch *b)
{
    store_batch_done(b);
}

/* System calls of the files store on what it keeps, each with its errno; NULL: the kernel's. Tests put faults, kills
 * and a disk that forgets here. Names are below the folder dir_fd. */
struct store_disk {
    void *ctx;
    int (*open)(void *ctx, int dir_fd, const char *name, int flags, mode_t mode);
    ssize_t (*pread)(void *ctx, int fd, void *bytes, size_t n, off_t at);
    ssize_t (*pwrite)(void *ctx, int fd, const void *bytes, size_t n, off_t at);
    int (*ftruncate)(void *ctx, int fd, off_t size);
    int (*fdatasync)(void *ctx, int fd);
    int (*fsync)(void *ctx, int fd); /* of a folder */
    int (*rename)(void *ctx, int dir_fd, const char *from, const char *to);
    int (*unlink)(void *ctx, int dir_fd, const char *name);
    struct id boot; /* ID_NONE: the kernel's boot id. Another one than a head names: the machine went down since */
};

struct store_world;

enum store_mode {
    STORE_READ,   /* never writes, repairs nothing; must exist */
    STORE_APPEND, /* must exist */
    STORE_CREATE, /* append; made when it is not there */
};
struct store_options {
    enum store_mode mode;
    struct id log;                 /* STORE_CREATE: incarnation of a log that is made; ID_NONE: random */
    const struct store_disk *disk; /* NULL: the real one. Borrowed for the store's life */
    struct store_world *world;     /* of kind simulated, else NULL. Borrowed for the store's life */
};

/* The spec of another log that the same store keeps beside that of `spec`: one of a stream of an application.
 *   name    letters, digits, '-'; up to 36     folder  where a store of files has it; NULL: it has none
 * Returned: free; NULL: such a store keeps no other log. */
char *store_spec_beside(const char *spec, const char *folder, const char *name);

/* What opening had to do. */
struct store_repair {
    uint64_t cut_bytes;       /* torn tail that was cut off */
    uint64_t adopted_records; /* durable records behind a head that was older than they (after the machine went down) */
    uint64_t sealed_segments; /* whose seal was missing: somebody died before he had made it */
};

struct store;

/* Open the log that spec names.
 *   opt  NULL: {.mode = STORE_CREATE}    ret_store  returned: store_close
 *   ret_repair  may be NULL; say it in the program's log when not zero
 * OK | ERR_INVALID spec | ERR_NOT_FOUND | ERR_CORRUPT head, folder or schema damaged | ERR_DENIED | ERR_IO
 *    | ERR_CONFLICT a database of another installation, or of a newer program
 *    | ERR_UNAVAILABLE lock not had in time. Damage of records is found by reading them. */
must_check enum err store_open(const char *spec, const struct store_options *opt, struct store **ret_store,
                               struct store_repair *ret_repair, struct errinfo *err);
/* Close and open again, after ERR_IO of an append. On an error the store stays closed: append and read say so. */
must_check enum err store_reopen(struct store *s, struct store_repair *ret_repair, struct errinfo *err);
void store_close(struct store *s); /* NULL is fine */

const char *store_name(const struct store *s); /* the path or address, for texts; lent */
struct id store_log_id(const struct store *s); /* incarnation: another one after the log was made anew */

/* Append events[0..n), all or none, durable when OK returns.
 *   expect       where the caller has read up to        events  borrowed, 1 <= n
 *   ret_records  NULL or room for n: what was written; its texts are those of events. Set on OK only
 * OK | ERR_CONFLICT nothing written, the log has news after expect (or is another log) | ERR_LIMIT a record over
 * ENVELOPE_SIZE_MAX or all over ENVELOPE_BATCH_SIZE_MAX | ERR_INVALID type, id, payload or time; nothing written
 *    | ERR_UNAVAILABLE lock not had in time, no space: nothing written | ERR_CANCELLED nothing written
 *    | ERR_CORRUPT | ERR_DENIED read only
 *    | ERR_IO state unknown: the handle is failed; store_reopen, then store_find_id. Cost: one fdatasync. */
must_check enum err store_append(struct store *s, struct store_pos expect, const struct store_event *events, size_t n,
                                 struct store_record *ret_records, struct errinfo *err);

/* The events of one command. */
struct store_group {
    const struct store_event *events;
    size_t n; /* at least 1 */
};

/* Append several commands' events at once, in order: one write, one fdatasync. Each group is all or none, also after a
 * torn write; a fold never sees half of one. What is taken is the longest run of groups from the first on that is good
 * and fits (kind remote: one): the others were not written, and the caller decides them anew behind those that were.
 *   ret_records  NULL or room for all events    ret_taken  groups that were written, at least 1; set on OK only
 * Answers as store_append does, ERR_INVALID and ERR_LIMIT for the first group only. After ERR_IO any number of groups
 * from the first on may be in the log: store_reopen, then look for the last id of each group, until one is missing. */
must_check enum err store_append_many(struct store *s, struct store_pos expect, const struct store_group *groups,
                                      size_t groups_n, struct store_record *ret_records, size_t *ret_taken,
                                      struct errinfo *err);

/* After conflicts in a row: nobody else appends until the next store_append of this handle, whatever it answers, or
 * store_release; what is read and decided in between is not overtaken. Hold it for a read and a decision, not longer.
 * Kinds of stores that are fair by themselves do nothing. OK | ERR_UNAVAILABLE, ERR_CANCELLED, ERR_IO, ERR_DENIED not
 * held */
must_check enum err store_hold(struct store *s, struct errinfo *err);
void store_release(struct store *s);

/* Would an append be taken now? It goes the way of one at the log's end, with the same right, waits and promises, and
 * leaves nothing that a reader ever sees: the end stays. For who met an error and has nothing to write. How each kind
 * does it, and what that does not show: docs/decisions/proof-of-writing.md. Not between store_hold and its append.
 * OK one would have been durable | ERR_DENIED also: this kind has no such proof | as store_append; then close it */
must_check enum err store_prove(struct store *s, struct errinfo *err);

/* Read what follows record after_seq, at most records_max (0: any number) and size_max bytes of lines (0: any), at
 * least one record if there is one. Each was checked against the one before. *ret_batch: store_batch_done.
 * OK, also with none | ERR_NOT_FOUND the log ends before after_seq: another log, or an old state of it | ERR_CORRUPT
 * with log, seq, offset, cause; store_damage has them | ERR_IO */
must_check enum err store_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max,
                               struct store_batch *ret_batch, struct errinfo *err);

/* The durable end. Cheap: no lock, no scan. */
must_check enum err store_end(struct store *s, struct store_pos *ret_end, struct errinfo *err);

/* Where event `id` stands behind after_seq. OK | ERR_NOT_FOUND | as store_read. Cost: reads all that is behind; kind
 * postgres asks an index. */
must_check enum err store_find_id(struct store *s, uint64_t after_seq, struct id id, uint64_t *ret_seq,
                                  struct errinfo *err);

/* Where to go on copying `from` to `to`: the place in `from` that the end of `to` is a copy of; the beginning when `to`
 * is empty. OK | ERR_CONFLICT `to` holds what `from` does not: not a copy of it, or of a part | as store_read */
must_check enum err store_copy_place(struct store *from, struct store *to, struct store_pos *ret_after,
                                     struct errinfo *err);

struct store_copied {
    uint64_t records;
    struct store_pos from_at, to_at; /* copied up to here; both are (0, 0) as long as nothing is known */
};
/* Append to `to` what `from` holds behind `after`, up to its end at the time of the call; others may append to `from`
 * meanwhile: what is copied is a state that the log had. Commands are copied whole, times, ids, types and payloads as
 * they are, and nothing is asked of times but that they rise. A record without id gets one that follows from its log
 * and seq. From the beginning into an empty log, sums are the same too: a copy of a files store is the same bytes. The
 * log keeps its incarnation only if `to` was made with it (store_options.log): a backup that is restored wants that, a
 * second log that goes on by itself must not have it.
 *   ret  how far it came, also on an error: resume with store_copy_place
 * OK | ERR_NOT_FOUND `after` is not in `from` | ERR_CONFLICT somebody else appended to `to`
 *    | ERR_LIMIT a command is over ENVELOPE_BATCH_SIZE_MAX | as store_read of `from` and store_append of `to` */
must_check enum err store_copy(struct store *from, struct store_pos after, struct store *to, struct store_copied *ret,
                               struct errinfo *err);

/* The store's clock: that of new events and of deadlines. files: the host's wall clock, never before the last event
 * that this handle saw. Microseconds since 1970. */
int64_t store_clock_us(struct store *s);

/* Calls of this handle that wait (for the lock) return ERR_CANCELLED, now and later. From any thread. */
void store_cancel(struct store *s);

/* --- leases: who works on a log now, so that votes are counted and nobody waits for the dead --- */
#define STORE_LEASE_NAME_SIZE 64u
/* More replicas of one log than that are not counted (chosen). */
#define STORE_LEASES_MAX 64u
/* 8 KiB: a hundred edges with the longest names and what they have confirmed (chosen; contract: leases). */
#define STORE_LEASE_TEXT_SIZE 8192u
struct store_lease {
    char name[STORE_LEASE_NAME_SIZE]; /* of a replica: letters, digits, '.', '_', '-'; not '.' first */
    int64_t until_us;                 /* on the store's clock; set by store_lease_take */
    bool abstains;                    /* it does not vote now */
    bool plans;                       /* it plans now: others may leave that to it */
    int64_t format;                   /* newest format of events that it reads */
    /* What it tells the others, for as long as the lease holds: printable ASCII without '"' and '\\'; "" nothing. */
    char text[STORE_LEASE_TEXT_SIZE];
};
bool store_lease_name_is_fine(const char *name);
/* Hold a lease for ttl_us from now, or go on holding it. Its end costs nothing but time: no fdatasync.
 * OK | ERR_INVALID name, text | ERR_DENIED the store keeps none, or is open for reading | ERR_IO, ERR_UNAVAILABLE */
must_check enum err store_lease_take(struct store *s, const struct store_lease *mine, int64_t ttl_us,
                                     struct errinfo *err);
/* Give it back. OK, also when there is none. */
must_check enum err store_lease_drop(struct store *s, const char *name, struct errinfo *err);
/* Those that have not run out, in the order of their names. */
must_check enum err store_leases(struct store *s, struct store_lease ret[static STORE_LEASES_MAX], size_t *ret_n,
                                 struct errinfo *err);

/* --- keys: what sealed fields of events are opened with. They stand beside the log, not in it: whoever deletes one
 * ends what it opens, also in copies of the log. Their values come wrapped (crypto/seal.h); no store can read them ---
 */
#define STORE_KEY_NAME_SIZE 64u
/* A wrapped key of 32 bytes is 113 characters; more room for another cipher (chosen; contract: keys). */
#define STORE_KEY_TEXT_SIZE 256u
/* 40 KB a page (chosen). */
#define STORE_KEYS_PAGE 128u
struct store_key {
    char name[STORE_KEY_NAME_SIZE];    /* letters, digits, '_', '-' */
    char wrapped[STORE_KEY_TEXT_SIZE]; /* printable ASCII without spaces, not empty */
    int64_t written_us;                /* on the store's clock, when this value was put */
};
bool store_key_name_is_fine(const char *name);
/* Keep a key, durably when OK returns.
 *   was  NULL: there must be none of that name; else the value that is replaced: a key that was dropped meanwhile does
 *        not come back
 * OK | ERR_CONFLICT there is one, or it is not `was` (any more) | ERR_INVALID name or value | ERR_DENIED the store
 * keeps none, or is open for reading | ERR_IO, ERR_UNAVAILABLE it may be kept or not: take another name. The handle
 * stays good. */
must_check enum err store_key_put(struct store *s, const char *name, const char *was, const char *wrapped,
                                  struct errinfo *err);
/* As it is now, for every handle: nothing is answered from a copy that may be behind.
 * OK | ERR_NOT_FOUND | ERR_CORRUPT | ERR_DENIED, ERR_IO, ERR_UNAVAILABLE */
must_check enum err store_key_get(struct store *s, const char *name, struct store_key *ret, struct errinfo *err);
/* Delete it, durably when OK returns; what that means for disks and backups: docs/threat-model.md. OK, also when there
 * is none. */
must_check enum err store_key_drop(struct store *s, const char *name, struct errinfo *err);
/* Names behind `after` ("": from the first) in order of their bytes, a page at most; fewer than a page: that was all.
 * May be behind by what was put or dropped a moment ago: put with `was`, get before you rely on it. */
must_check enum err store_keys(struct store *s, const char *after, struct store_key ret[static STORE_KEYS_PAGE],
                               size_t *ret_n, struct errinfo *err);

/* The table of keys of `to` becomes that of `from`: rows are put or replaced as they are (wrapped), and what `from`
 * does not have (any more) is dropped, so that what was erased is erased in a copy, too. Copy the events first: each of
 * them finds its key then. Interrupted, the same call ends it. *ret_rows: how many `from` has. OK | ERR_CONFLICT a
 * replica works on `to`, or `from` has no key at all and `to` has: nothing was done | ERR_DENIED one keeps none | as
 * store_keys of `from`, store_key_put and store_key_drop of `to` */
must_check enum err store_copy_keys(struct store *from, struct store *to, uint64_t *ret_rows, struct errinfo *err);

/* Being told of growth: changed(ctx) in the loop, some time after the end moved, perhaps more than once, perhaps though
 * nothing is new. A hint: who must not miss anything also looks now and then. At most one watch a handle. */
typedef void (*store_changed_fn)(void *ctx);
struct store_watch;
must_check enum err store_watch(struct store *s, struct uv_loop_s *loop, store_changed_fn changed, void *ctx,
                                struct store_watch **ret_watch, struct errinfo *err);
/* No call of `changed` any more; the loop frees it in its next turns, so it must run on. NULL is fine. */
void store_unwatch(struct store_watch *w);

/* The first damage that was met. */
struct store_damage {
    uint64_t seq, offset; /* of the record that is bad; bytes from the start of its file */
    char file[64];
    char cause[256];
};
/* NULL: none met by this handle. */
const struct store_damage *store_damage(const struct store *s);

/* What `slipform eventlog verify` says. */
struct store_verdict {
    bool ok;
    uint64_t events;     /* good ones, up to the first bad */
    uint64_t unverified; /* of them: without a sum (only a single file of others may have such) */
    uint64_t torn_bytes; /* behind the durable length: no damage, cut off by the next to append */
    uint64_t segments;   /* of a files store */
    uint64_t sealed;     /* of them: with a seal that was checked; all but the last, and one just after a crash */
    struct store_damage first_bad; /* by seq; a bad seal names its segment's first record and its own file */
};
/* Read a whole log, changing nothing: the folder of a files store, one JSONL file, "postgres;…", "jetstream;…". Every
 * record against the one before, every sealed segment against its seal. OK, also for a damaged log: see ret->ok |
 * ERR_NOT_FOUND | ERR_IO */
must_check enum err store_verify(const char *path, struct store_verdict *ret, struct errinfo *err);
