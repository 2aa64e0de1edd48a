#pragma once
/* platform/decide.h - commands from outside become events, or a refusal that says what to do.
 * Nothing is changed here: the caller appends the events ("only if the log still ends where the model does"), folds
 * them, and on a conflict decides again. No events and OK: there is nothing to do.
 * Every text is bounded; outputs live in out->arena. Errors of all: ERR_INVALID (names the field), ERR_NOT_FOUND,
 * ERR_CONFLICT (the state forbids it), ERR_DENIED, ERR_LIMIT. On an error *out is as it was.
 * Layer: platform. Pure. */
#include "platform/events.h"
#include "platform/model.h"
#include "platform/settings.h"

/* 4 KiB for causes, 63 for a name that becomes a host label (RFC 1035), 253 for a host name (RFC 1035). */
#define DECIDE_CAUSE_MAX 4096u
#define DECIDE_NAME_MAX 63u
#define DECIDE_HOST_MAX 253u

struct decide {
    const struct model *model;                /* borrowed */
    const struct platform_settings *settings; /* borrowed */
    int64_t now_ms;                           /* the store's clock */
    struct id_source *ids;                    /* borrowed, advanced */
};

/* ---- Places ---- */
/* ret_id: of the region; also set with ERR_CONFLICT, to the one that has the name already. */
must_check enum err decide_create_region(const struct decide *d, struct str name, struct event_list *out,
                                         struct id *ret_id, struct errinfo *err);
must_check enum err decide_create_zone(const struct decide *d, struct str region, struct str name,
                                       struct event_list *out, struct id *ret_id, struct errinfo *err);

struct node_joining {
    struct id node_id;
    struct str name, zone, region; /* names */
    struct strs labels;            /* control, worker */
    struct str prefix;             /* "fd00:…::/64" or empty */
    struct str agent_url;
};
/* A node introduces itself. Again with the same data: no events; with other labels or URL: they change. */
must_check enum err decide_join_node(const struct decide *d, const struct node_joining *c, struct event_list *out,
                                     struct errinfo *err);

/* What an agent saw of one instance. */
struct instance_observed {
    struct id instance_id;
    struct id reporter_node_id; /* by its certificate */
    struct str observed;        /* starting, running, draining, stopped, failed */
    struct str health, cause, boot_id;
    int64_t report_seq, restarts;
};
/* A heartbeat. Events only for what changed: status, capacity, runtimes, boot, and instances that differ from `items`.
 * `replica` heard it: a suspicion of its own is withdrawn.
 * ERR_CONFLICT: the report of an earlier boot (drop it) */
struct node_reported {
    struct id node_id;
    struct str replica, boot_id, status /* joining, ready */, cause;
    int64_t report_seq;
    struct resources capacity;
    struct strs runtimes;
    const struct instance_observed *items; /* of it instance_id, observed, health, cause and restarts count */
    size_t items_n;
};
must_check enum err decide_node_reported(const struct decide *d, const struct node_reported *c, struct event_list *out,
                                         struct errinfo *err);
/* Votes of a control-plane replica about a node; the planner counts them. Said twice: no events. */
must_check enum err decide_suspect_node(const struct decide *d, struct id node_id, struct str replica, struct str cause,
                                        struct event_list *out, struct errinfo *err);
must_check enum err decide_trust_node(const struct decide *d, struct id node_id, struct str replica,
                                      struct event_list *out, struct errinfo *err);

/* What it runs is placed elsewhere first, then goes; nothing new is placed there. Drains already: no events.
 * ERR_CONFLICT: it has left. */
must_check enum err decide_drain_node(const struct decide *d, struct id node_id, struct str cause,
                                      struct event_list *out, struct errinfo *err);
/* The drain is taken back: it is as its agent reports from now on. Does not drain: no events. */
must_check enum err decide_undrain_node(const struct decide *d, struct id node_id, struct event_list *out,
                                        struct errinfo *err);
/* It is taken out of the installation; it may join again. Gone already: no events.
 * ERR_CONFLICT: it does not drain, or still has instances. */
must_check enum err decide_leave_node(const struct decide *d, struct id node_id, struct str cause,
                                      struct event_list *out, struct errinfo *err);

/* ---- Instances ---- */
/* An event only when status, health or restarts changed. At most settings->status_events_per_hour: the last of the hour
 * says that it is the last and shows the instance as not healthy; after it stopped and failed pass, and one event in
 * settings->status_repeat_seconds.
 * ERR_DENIED: another node than the one that it is placed on. ERR_NOT_FOUND: deleted meanwhile; the agent drops it. */
must_check enum err decide_instance_observed(const struct decide *d, const struct instance_observed *c,
                                             struct event_list *out, struct errinfo *err);
/* What the watchdog makes of what a program says about itself, and of its silence. */
struct instance_watched {
    struct id instance_id;
    enum health health; /* NOMINAL to TIMEOUT */
    struct str cause;
    int64_t silent_ms, behind_ms, lag_events, n_errors, n_effects_parked; /* what it was made from */
};
/* An event when it is another than before, of an application's instance that runs and is meant to, on a node that is
 * not lost; under the same limit an hour. Otherwise no events. */
must_check enum err decide_instance_watched(const struct decide *d, const struct instance_watched *c,
                                            struct event_list *out, struct errinfo *err);
/* desired: running or stopped, by a person. */
must_check enum err decide_instance_desired(const struct decide *d, struct id instance_id, struct str desired,
                                            struct event_list *out, struct errinfo *err);
/* It drains, stops, then the planner deletes it; an instance of a live deployment is then replaced. */
must_check enum err decide_delete_instance(const struct decide *d, struct id instance_id, struct event_list *out,
                                           struct errinfo *err);
struct instance_create {
    struct id process_id;
    struct id node_id;  /* none: placed as the planner would */
    struct str runtime; /* empty: of the process, or the best that the node proved */
};
/* One more instance of a process, by hand. ERR_LIMIT: no node has room (says what is needed and free). */
must_check enum err decide_create_instance(const struct decide *d, const struct instance_create *c,
                                           struct event_list *out, struct id *ret_id, struct errinfo *err);

/* ---- Projects, images, deployments ---- */
/* The slug is made of the name: lower case, letters, digits and dashes. ERR_CONFLICT: taken; *ret_id is
 * the project whose it is, none when it is an application's. */
must_check enum err decide_create_project(const struct decide *d, struct str name, struct event_list *out,
                                          struct id *ret_id, struct errinfo *err);
struct project_update {
    struct id project_id;
    struct str name, repository, branch; /* empty: as before */
    int64_t instances, drain_seconds, port;
    struct resources resources; /* 0: as before */
    struct strs cleared; /* repository, branch, instancesWanted, drainSeconds, port, resources: back to the default */
};
/* What deployments get that do not say themselves. What is so already: no events. The slug stays. */
must_check enum err decide_update_project(const struct decide *d, const struct project_update *c,
                                          struct event_list *out, struct errinfo *err);
/* Its deployments are cancelled or go without draining; the slug is free again. */
must_check enum err decide_delete_project(const struct decide *d, struct id project_id, struct event_list *out,
                                          struct errinfo *err);
/* The slug that a name gives. False: nothing is left of it. */
bool project_slug(struct str name, char ret_slug[static DECIDE_NAME_MAX + 1]);

/* Build a context that is stored, for whoever names the image later; of no project. The same context again: the image
 * that there is, unless its build failed. ERR_LIMIT: no node builds now (says why). */
must_check enum err decide_create_image(const struct decide *d, struct str context_digest, struct event_list *out,
                                        struct id *ret_id, struct errinfo *err);
struct image_observed {
    struct id image_id;
    struct id builder_instance_id; /* by its certificate; none: an operator */
    struct str status, digest, cause;
    int64_t size_bytes;
    struct image_config config;
};
/* ERR_DENIED: not the builder of that image. The same status again: no events. */
must_check enum err decide_image_observed(const struct decide *d, const struct image_observed *c,
                                          struct event_list *out, struct errinfo *err);

/* ERR_CONFLICT: a deployment or an application uses it (says which), or it is being built. Its bytes stay. */
must_check enum err decide_delete_image(const struct decide *d, struct id image_id, struct event_list *out,
                                        struct errinfo *err);

/* More or fewer instances of a deployment or an application; so many already: no events. because: JSON, the load window
 * that it was decided from; empty: a person. ERR_CONFLICT: it is over, its scaling rule says otherwise, or there is no
 * room for that many (says what is needed and what is free) */
must_check enum err decide_scale_process(const struct decide *d, struct id process_id, int64_t instances,
                                         struct str cause, struct str because, struct event_list *out,
                                         struct errinfo *err);
struct scaling_set {
    struct id project_id, process_id; /* one of them: every deployment of a project, or an application */
    struct str metric;                /* cpu, requests */
    int64_t instances_min, instances_max, target_percent, cool_down_seconds; /* instances_max 0: no rule */
};
must_check enum err decide_set_scaling_rule(const struct decide *d, const struct scaling_set *c, struct event_list *out,
                                            struct errinfo *err);

struct deployment_create {
    struct id project_id;
    struct str context_digest; /* "sha256:…": build this; or */
    struct id image_id;        /* run this */
    /* What is not said is the project's (UpdateProject), else the settings'. */
    int64_t instances;          /* at least settings->instances_min; 0: not said */
    int64_t drain_seconds;      /* -1: not said */
    int64_t port;               /* 0: not said */
    struct str runtime;         /* empty: the best that is proved; never "host" */
    struct resources resources; /* 0 members: settings */
    struct health_check health;
    struct str requested_by;
};
must_check enum err decide_create_deployment(const struct decide *d, const struct deployment_create *c,
                                             struct event_list *out, struct id *ret_id, struct errinfo *err);
/* Not live yet: it ends. ERR_CONFLICT: it is live (stop it or deploy another) or over. */
must_check enum err decide_cancel_deployment(const struct decide *d, struct id deployment_id, struct event_list *out,
                                             struct errinfo *err);
/* Live: the project serves nothing afterwards. Not live yet: cancelled. */
must_check enum err decide_stop_deployment(const struct decide *d, struct id deployment_id, struct event_list *out,
                                           struct errinfo *err);
/* A new deployment with the image and the settings of an earlier one ("promote" is the same). */
must_check enum err decide_repeat_deployment(const struct decide *d, struct id deployment_id, struct str requested_by,
                                             struct event_list *out, struct id *ret_id, struct errinfo *err);
/* Its key is kept elsewhere before this is appended. not_after: RFC 3339. ERR_CONFLICT: another replica has issued one
 * within the last minute; *ret_id is that one. */
must_check enum err decide_issue_certificate(const struct decide *d, struct str host, struct str not_after,
                                             struct event_list *out, struct id *ret_id, struct errinfo *err);
