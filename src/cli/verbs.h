#pragma once
/* cli/verbs.h - one function per verb; each returns the exit code. Layer: cli. */
#include "cli/command.h"

int verb_up(struct cli *c);
int verb_down(struct cli *c);
int verb_uninstall(struct cli *c);
int verb_supervise(struct cli *c);
int verb_bootstrap(struct cli *c);
int verb_deploy(struct cli *c);
int verb_domains(struct cli *c);
int verb_erase(struct cli *c);
int verb_recovery(struct cli *c);
int verb_seal(struct cli *c);
int verb_store(struct cli *c);
int verb_secrets(struct cli *c);
int verb_scale(struct cli *c);
int verb_status(struct cli *c);
int verb_projects(struct cli *c);
int verb_ps(struct cli *c);
int verb_nodes(struct cli *c);
int verb_images(struct cli *c);
int verb_events(struct cli *c);
int verb_logs(struct cli *c);
int verb_eventlog(struct cli *c);
int verb_apps(struct cli *c);
int verb_diff(struct cli *c);
int verb_what_if(struct cli *c);
int verb_doctor(struct cli *c);

extern const struct flag DEPLOY_FLAGS[], EVENTS_FLAGS[], LOGS_FLAGS[], BOOTSTRAP_FLAGS[], TOWER_FLAGS[], STATUS_FLAGS[],
    PS_FLAGS[], APPS_FLAGS[];
extern const struct flag EVENTLOG_FLAGS[];
extern const char EVENTLOG_DETAILS[];
extern const struct flag RECOVERY_FLAGS[], SEAL_FLAGS[], STORE_FLAGS[];
extern const char RECOVERY_DETAILS[];
extern const char SEAL_DETAILS[], STORE_DETAILS[];
extern const struct flag WHAT_IF_FLAGS[];
extern const char WHAT_IF_DETAILS[];
