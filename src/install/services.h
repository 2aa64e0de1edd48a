#pragma once
/* install/services.h - servers of others that an installation on one machine runs beside its node-agents: the database
 * of its log, nats-servers, an S3 server. Layer: install.
 *
 * Happy path: `up` calls create of each (files), the supervisor starts it as the unprivileged user without capabilities
 * and starts it again when it ends, `up` waits for is_well and calls prepare; `status` shows them; `down` stops them
 * after the programs, the last one first. A new one is a row that services_of adds. */
#include "install/installation.h"

/* "nats-" and a node, of 32 bytes at most (install/inventory.c). */
#define SERVICE_NAME_SIZE 40u
#define SERVICE_ARGV_MAX 24u
#define SERVICE_ENV_MAX 8u
/* A nats-server on each operator; a database with a standby, an S3 server, and room (chosen). */
#define SERVICES_NATS_MAX 8u
#define SERVICES_MAX (SERVICES_NATS_MAX + 8u)
#define SERVICE_TELL_SIZE 96u

/* What is run. NULL-terminated; texts live in the arena that the command was asked with. argv[0] is a path. */
struct service_command {
    const char *argv[SERVICE_ARGV_MAX], *env[SERVICE_ENV_MAX]; /* env beside PATH and LANG; secrets are here only */
};

struct service {
    char name[SERVICE_NAME_SIZE];         /* "postgres", "nats-op1": unique, [a-z0-9-] */
    const char *title;                    /* for people: "the database of the log" */
    const struct installation_node *node; /* whose network namespace it runs in; NULL: the machine's own */
    char log_file[64];                    /* below the home */
    int stop_signal, reload_signal;       /* reload: after its files have changed; 0: it need not know */
    int64_t stop_ms;                      /* it is given that long to end, then it is killed */
    bool outlives_supervisor;             /* a store: programs write to it until they have ended, too */
    bool is_made_last;                    /* by prepare, from one that is well: it is not waited for before */

    /* Files and folders before it is started, each time; *ret_changed: reload it. NULL: none */
    enum err (*create)(const struct home *h, const struct service *s, int uid, int gid, bool *ret_changed,
                       struct errinfo *err);
    /* OK | ERR_CONFLICT it may not be started yet, is asked again: no failure | others: that is tried again, later and
     * later */
    enum err (*command)(const struct home *h, const struct service *s, struct arena *a, struct service_command *ret,
                        struct errinfo *err);
    /* It answers. Blocks, 10 s at most. OK | ERR_UNAVAILABLE saying what it said */
    enum err (*is_well)(const struct home *h, const struct service *s, struct errinfo *err);
    /* What it needs inside before programs use it, each time; it is well. NULL: nothing */
    enum err (*prepare)(const struct home *h, const struct service *s, struct errinfo *err);
    /* What people want to know of it, beside whether it is well. NULL: nothing */
    void (*tell)(const struct home *h, const struct service *s, char ret[static SERVICE_TELL_SIZE]);
};

/* Those of this installation, in the order in which they are started. Returns how many. */
size_t services_of(const struct home *h, struct service ret[static SERVICES_MAX]);

/* create of each that has files to make; sends the reload signal to those that run. */
must_check enum err services_create(const struct home *h, int uid, int gid, struct errinfo *err);
/* is_well of each; the first that is not, in words. */
must_check enum err services_are_well(const struct home *h, struct errinfo *err);
/* The same without those that are made last: what services_prepare needs. */
must_check enum err services_can_be_prepared(const struct home *h, struct errinfo *err);
must_check enum err services_prepare(const struct home *h, struct errinfo *err);
