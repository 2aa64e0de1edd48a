/* The table of verbs. */
#include "cli/verbs.h"

const struct command CLI_COMMANDS[] = {
    {"up", "", "raise the installation on this machine, or put right what is not up", NULL, 0, 0, false, verb_up},
    {"down", "", "stop it and take its objects out of the system; its data stays", NULL, 0, 0, true, verb_down},
    {"deploy", "[DIR] --project P", "build DIR by its Dockerfile and serve it", DEPLOY_FLAGS, 0, 1, true, verb_deploy},
    {"status", "[ID]", "the installation, or why a deployment, an instance or a node is as it is", STATUS_FLAGS, 0, 1,
     true, verb_status},
    {"projects", "", "projects and where they answer", NULL, 0, 0, true, verb_projects},
    {"ps", "", "instances: what runs where", PS_FLAGS, 0, 0, true, verb_ps},
    {"nodes", "[drain|undrain|leave NODE]", "nodes, what they offer and what their pre-flight found", NULL, 0, 2, true,
     verb_nodes},
    {"images", "", "images and their state", NULL, 0, 0, true, verb_images},
    {"apps", "[deploy [DIR] | timeline NAME VERSION | delete NAME VERSION]", "event-sourced applications", APPS_FLAGS,
     0, 3, true, verb_apps},
    {"logs", "ID", "log of a deployment (build and run) or of an instance", LOGS_FLAGS, 1, 1, true, verb_logs},
    {"events", "", "the event log", EVENTS_FLAGS, 0, 0, true, verb_events},
    {"diff", "T1 T2", "what changed between two instants or positions of the log", NULL, 2, 2, true, verb_diff},
    {"eventlog", "verify|cat|copy|import|export|hash|replay|set-aside LOG …",
     "event logs on disk, without the control plane", EVENTLOG_FLAGS, 2, 3, false, verb_eventlog, EVENTLOG_DETAILS},
    {"bootstrap", "[PATH]", "check or show the hardcoded log that an installation begins with", BOOTSTRAP_FLAGS, 0, 1,
     false, verb_bootstrap},
    {"doctor", "", "what is wrong with this machine or installation, and what to do", NULL, 0, 0, false, verb_doctor},
    {"uninstall", "", "stop it and delete all its data", NULL, 0, 0, true, verb_uninstall},
    {"supervise", "", NULL, NULL, 0, 0, true, verb_supervise},
    {0},
};
