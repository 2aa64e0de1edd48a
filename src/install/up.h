#pragma once
/* install/up.h - raises an installation on this machine, and takes it down. Layer: install. Blocks; one at a time per
 * home.
 *
 * up, happy path: lock, choose names once, users and folders, programs, certificates, settings, network, region and
 * zones as events, supervisor and node-agents, then prod-bootstrap over the hardcoded log, then wait until all is
 * healthy. Every step looks first and does only what is missing: run again, it puts right what is not up. */
#include "install/installation.h"

struct up_options {
    const char *exe_folder;   /* programs to install: slipform, node-agent, platform, edge-proxy, node-proxy,
                               * active-notifier, image-builder */
    const char *tower_folder; /* inventory.yaml and bootstrap.jsonl */
    const char *cache_folder; /* what the set-up prepared: Envoy, kernel, initramfs, base images */
    const char *store;        /* SLIPFORM_STORE at the first `up`: instead of the inventory's; NULL: that */
    const char *runtime;      /* SLIPFORM_RUNTIME; NULL: auto */
    int64_t timeout_s;        /* for it to become healthy; 0: 180 */
    void (*say)(void *ctx, const char *text); /* one line per step */
    void *ctx;
};

/* *ret_did_nothing: it was healthy already. ERR_DENIED not root | ERR_CONFLICT another up or down runs
 * | ERR_INVALID, ERR_UNAVAILABLE with what to do | ERR_IO */
must_check enum err install_up(struct home *h, const struct up_options *o, bool *ret_did_nothing, struct errinfo *err);
/* Stop control plane, instances and agents and take every object out of the OS. The home stays. */
must_check enum err install_down(const struct home *h, void (*say)(void *ctx, const char *text), void *ctx,
                                 struct errinfo *err);
/* down, then the home goes. */
must_check enum err install_uninstall(const struct home *h, void (*say)(void *ctx, const char *text), void *ctx,
                                      struct errinfo *err);
