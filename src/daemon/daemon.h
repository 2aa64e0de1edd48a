#pragma once
/* daemon/daemon.h - what every program has: options, settings, logger, loop, signals, health, metrics, sd_notify.
 * Layer: daemon (uses net, crypto). A program is a `struct program` and a main of one line.
 *
 * daemon_main: options -> settings (file, environment) -> loop, logger, metrics, small HTTP listener (/healthz /readyz
 * /metrics) -> start() -> loop runs. daemon_set_ready(true) makes /readyz answer 200 and says READY=1 to NOTIFY_SOCKET.
 * SIGTERM, SIGINT or daemon_stop -> STOPPING=1, stop() once -> the program closes its handles and calls daemon_stopped
 * -> the loop runs out -> exit. When that takes longer than stop_deadline_ms: logged, exit code 1. A second signal does
 * the same at once. SIGPIPE is ignored; SIGHUP does nothing. */
#include <jansson.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "daemon/metrics.h"
#include "daemon/settings.h"
#include "net/http_client.h"
#include "net/http_server.h"

struct daemon;

/* A command-line option of a program's own, beside --help, --version, --config, --check-config. */
struct program_flag {
    const char *name;  /* without the dashes */
    const char *value; /* what the value is, for --help ("FILE"); NULL: a switch */
    const char *doc;
};

struct program {
    const char *name;               /* as in logs: "node-agent" */
    const char *doc;                /* one or two lines for --help */
    const struct setting *settings; /* beside the common ones */
    size_t settings_n, settings_size;
    const struct program_flag *flags;
    size_t flags_n;
    /* Further checks of the settings, also under --check-config; optional. */
    enum err (*check)(const struct daemon *d, struct errinfo *err);
    /* Open handles on d->loop, set d->state. Not OK: logged, exit code by err_exit_code. */
    enum err (*start)(struct daemon *d, struct errinfo *err);
    /* Begin to stop; call daemon_stopped when every handle of the program's is closed. NULL: stopped at once. */
    void (*stop)(struct daemon *d);
    /* After the loop: free d->state. Optional. */
    void (*free)(struct daemon *d);
    unsigned stop_deadline_ms; /* 0: 10000 (below systemd's 90 s; chosen) */
};

/* Settings of every program; names as in SLIPFORM_<NAME>. */
struct daemon_settings {
    const char *installation;                   /* "" when not given */
    const char *instance_id;                    /* "" when not given */
    const char *ca_file, *cert_file, *key_file; /* NULL when not given */
    const char *metrics_listen;                 /* "127.0.0.1:0"; "none": no listener */
    const char *log_level;                      /* debug|info|warn|error */
};

struct daemon {
    uv_loop_t *loop;
    struct logger log;
    struct metrics *metrics;
    struct http_client *client; /* for all calls of the program; closed after daemon_stopped */
    struct daemon_settings common;
    const void *settings; /* the program's struct, filled */
    struct arena arena;   /* lives as long as the daemon: texts of settings */
    void *state;          /* the program's */
    const struct program *program;
    struct daemon_private *private;
};

/* The whole main. Returns the exit code (0, 1 failed, 2 usage, others by err_exit_code). */
int daemon_main(int argc, char **argv, const struct program *program);

/* Value of a flag of the program's; "" for a switch that was given; NULL when it was not. */
const char *daemon_flag(const struct daemon *d, const char *name);
void daemon_set_ready(struct daemon *d, bool ready, const char *why_not /* shown by /readyz; may be NULL */);
/* Members of /readyz beside {"ready"}: position, model_hash. Called per request. */
void daemon_on_readyz(struct daemon *d, void (*fill)(struct daemon *d, json_t *doc));
/* Stop as a signal would; exit_code is what daemon_main returns when all goes well. */
void daemon_stop(struct daemon *d, int exit_code);
void daemon_stopped(struct daemon *d);
/* For http_server_options.on_done with a `struct daemon *` reachable: counts slipform_http_requests_total{method,route,
 * status} and slipform_http_request_seconds{route}. */
void daemon_count_exchange(struct daemon *d, const struct http_exchange *x);
/* Fills loop, TLS files (common cert_file, key_file, ca_file) and client_cert REQUIRED of server options. */
void daemon_server_options(const struct daemon *d, struct http_server_options *ret_options);
/* Fills ca_file, cert_file, key_file of call options. */
void daemon_call_options(const struct daemon *d, struct http_call_options *ret_options);
/* One datagram to NOTIFY_SOCKET ("STATUS=..."); nothing without one. */
void daemon_notify(const struct daemon *d, const char *text);
