#pragma once
/* install/recovery.h - recovery.key of an installation: its sealing keys and its CA under a passphrase, kept off the
 * machine (crypto/recovery.h). With it, the event log with its keys, and the blobs, an installation lives again.
 * Layer: install. Blocks; Argon2id takes most of a second and 256 MiB. */
#include "crypto/recovery.h"
#include "install/installation.h"

/* Below the home: what `up` makes, and which keys the last one that was made has. */
#define RECOVERY_FILE "operator/recovery.key"
#define RECOVERY_CODE_FILE "operator/recovery-code"
#define RECOVERY_STATE_FILE "operator/recovery.state"

/* Write a new one, 0600. cost: NULL: RECOVERY_COST. OK | ERR_CONFLICT `file` is there | ERR_NOT_FOUND the CA or the
 * sealing keys are lost | ERR_INVALID passphrase | ERR_IO */
must_check enum err recovery_create(const struct home *h, const char *file, struct str passphrase,
                                    const struct recovery_cost *cost, struct errinfo *err);

/* For `up` and a rotation: a recovery key of what there is now, if the last one that was made is not. It is
 * RECOVERY_FILE under the code in RECOVERY_CODE_FILE, which is made when it is not there. `say` is told what to do with
 * them, never the code. */
must_check enum err recovery_keep(const struct home *h, const struct recovery_cost *cost,
                                  void (*say)(void *ctx, const char *text), void *ctx, struct errinfo *err);

enum recovery_verdict {
    RECOVERY_CURRENT,
    RECOVERY_STALE,   /* of this installation, before a rotation or with another CA */
    RECOVERY_UNKNOWN, /* it opens, and there is nothing here to compare it with */
};
/* Open it and compare it with the home. *ret: recovery_done; ret_why says what differs. OK, whatever the verdict
 * | ERR_DENIED, ERR_CORRUPT, ERR_LIMIT as recovery_open | ERR_CONFLICT of another installation | ERR_IO */
must_check enum err recovery_check(const struct home *h, const char *file, struct str passphrase, struct recovery *ret,
                                   enum recovery_verdict *ret_verdict, char ret_why[static 256], struct errinfo *err);

struct recovery_restored {
    char written[4][32]; /* what was put back, "ca/seal.key" */
    size_t written_n, added_n;
};
struct recovery_order {
    const char *file;
    struct str passphrase;
    bool adds;    /* the sealing keys of the file are added to others that are there, as old ones (then: slipform seal
                     rotate) */
    int uid, gid; /* of who runs the programs, whose the keys are; -1: ours */
};
/* Put back what is missing in the home; what is there stays. OK, also when nothing was missing | ERR_CONFLICT something
 * else is there, nothing was written | as recovery_check */
must_check enum err recovery_restore(const struct home *h, const struct recovery_order *o,
                                     struct recovery_restored *ret, struct errinfo *err);
