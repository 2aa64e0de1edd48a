#pragma once
/* install/health.h - is the installation up? Asked of its programs, never of files alone. Layer: install. */
#include "bootstrap/prod_bootstrap.h"
#include "install/installation.h"

/* The texts that a runner needs, for one node. */
struct runner_texts {
    char url[96], uri[192], ca[PATH_SIZE], cert[PATH_SIZE], key[PATH_SIZE];
};
struct runner health_runner(const struct home *h, const struct installation_node *n, struct runner_texts *t);

/* OK healthy | ERR_UNAVAILABLE the first thing that is not, in words: "node-agent of w1: …" */
must_check enum err health_agents(const struct home *h, struct errinfo *err);
must_check enum err health_programs(const struct home *h, const struct bootstrap_instance *list, size_t n,
                                    struct errinfo *err);
/* The control plane answers and every node of the inventory is ready. */
must_check enum err health_control(const struct home *h, struct errinfo *err);
