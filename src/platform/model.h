#pragma once
/* platform/model.h - what is true about an installation, folded from its event log.
 *
 * Read this first. An installation has *nodes* (machines) in zones of regions. A *project* is somebody's application;
 * each time it is deployed there is a *deployment*, which is a *process* (a program at a version), of which a number of
 * *instances* run on nodes. One deployment of a project is *live*: the project's host names lead to its instances.
 * An *image* is what a deployment runs; a builder, itself an instance, makes it.
 *
 * The model is changed by model_apply() only, one event after the other. Decisions (decide.h) and plans (plan.h) read
 * it and return events. Two replicas that folded the same events have the same model: model_hash() is the proof.
 * Objects and texts are lent until the next model_apply. Texts are never NULL.
 * Layer: platform (may use base, event). Pure. */
#include <assert.h>

#include "event/catalogue.h"
#include "platform/change_list.h"
#include "platform/id_index.h"
#include "platform/keys.h"
#include "platform/texts.h"

/* 8: an agent's old reports come from its last boots; more are never in flight (chosen, never measured). */
#define NODE_PAST_BOOTS_MAX 8u
/* Contract, wire/instance.h: "newest last, at most 32". */
#define INSTANCE_HISTORY_MAX 32u
/* 4,096 removed objects are remembered for those who follow with a cursor; older cursors are answered in full (chosen:
 * a rollout of a thousand instances, four times; 40 bytes each; test_platform: tombstones_are_bounded). */
#define MODEL_TOMBSTONES_MAX 4096u
/* Instances of a live deployment that fail within 10 minutes of one another are one series: each is replaced later than
 * the one before (as Kubernetes, which forgets after 10 minutes). Part of the fold, so fixed for ever. */
#define MODEL_CALM_SECONDS 600
/* Host numbers of a node's /64 below 16 are the platform's own (::1 is the resolver) (chosen). */
#define NODE_HOST_FIRST 16u
/* 16 ended instances of a process are remembered for its timeline; all of them are in the log (chosen: what one looks
 * for after a bad night; test_platform_application: the_timeline_is_bounded). */
#define PROCESS_GONE_MAX 16u

/* How many of what is over the fold keeps; the rest leaves the model, from format 3 of the log on
 * (docs/internals/retention.md). Part of the fold, so the same for all who fold a log: MODEL_RETENTION, but for tests,
 * which set model.kept before the first event. */
struct retention {
    uint32_t deployments; /* of a project: so many that served, and so many that never did */
    uint32_t projects;    /* deleted ones of which nothing runs */
    uint32_t images;      /* that belong to no project and that nothing runs */
    uint32_t nodes;       /* that have left */
};
/* 10: the versions that Kubernetes keeps of a deployment to roll back to (revisionHistoryLimit). The others are chosen:
 * enough to look something up that was deleted by mistake, to put an application a while after its image was built, and
 * for machines that are away for repair. */
#define MODEL_RETENTION ((struct retention){.deployments = 10, .projects = 100, .images = 100, .nodes = 1000})
/* At most of any; whoever asks for more gets so many. */
#define MODEL_KEPT_MAX 1024u
/* A certificate leaves once it has expired and was issued so long ago: longer than any is good for (398 days). */
#define MODEL_CERTIFICATE_DAYS 400

struct region {
    struct id id;
    uint64_t changed_seq;
    const char *name;
};

struct zone {
    struct id id;
    uint64_t changed_seq;
    const char *name;
    const struct region *region;
};

struct node {
    struct id id;
    enum node_status status; /* beside the id: a plan looks at nothing else of most nodes */
    uint64_t changed_seq;    /* of the node itself */
    uint64_t instances_seq; /* of what is asked of it: an instance came, went or is wanted otherwise, or what it runs */
    const char *name, *agent_url, *cause;
    const struct zone *zone;
    struct text_list labels, runtimes; /* runtimes: proved by its pre-flight, best first */
    struct text_list suspected_by;     /* replicas whose vote stands */
    bool is_heard_again;               /* lost, but a replica has heard it since */
    struct text_list past_boots;       /* oldest first: their reports are ignored */
    const char *boot_id;
    const char *prefix;        /* its /64 as text, "" when it places no microVMs */
    uint64_t prefix_u64;       /* the first 64 bits */
    uint64_t host_next;        /* next host number of the /64: none is given twice */
    enum node_status reported; /* by its agent: what a lost node comes back to */
    struct resources capacity;
    int64_t report_seq, since_ns;
    struct id_index instances; /* placed on it */
};

enum desired { DESIRED_RUNNING, DESIRED_DRAINING, DESIRED_STOPPED, DESIRED_DELETED };
const char *desired_name(enum desired d);

struct instance_history {
    int64_t at_ns;
    const char *cause;
    uint8_t status, health; /* enum instance_status, enum health */
};

struct instance {
    /* First what a plan reads of every instance of a deployment: one line of the cache. */
    struct id id;
    uint64_t changed_seq;
    const struct process *process;
    const struct node *node; /* NULL: on no node that the model knows (a bootstrap log names its nodes by runner_url) */
    uint8_t status, health, wanted; /* enum instance_status, enum health, enum desired (never DRAINING) */
    uint8_t reported, watched; /* enum health: as its node sees it, and the watchdog; health is the worse of both */
    bool restart_never;
    uint32_t restarts, history_n;
    const char *runner_url, *owner, *runtime, *address, *cause, *because;
    const char *boot_id; /* of the last report */
    int64_t report_seq, created_ns, since_ns;
    /* Its node is told to stop it once every live edge has confirmed routes up to here; 0: nothing to wait for. */
    uint64_t withdraw_seq;
    struct instance_history *history; /* oldest first */
    struct text_list workloads, partition_ranges;
    struct id_list {
        struct id *items;
        uint32_t n;
    } log_ids;
};
/* The goal is 1 KiB an instance with its index entries, texts and history (test_platform: an_instance_is_small). */
static_assert(sizeof(struct instance) <= 256, "an instance stays small");

/* When more or fewer instances are wanted; decided by a scaler, which emits ScaleProcess. max 0: no rule. */
struct scaling_rule {
    int64_t min, max, target_percent, cool_down_seconds;
    const char *metric;
};

/* An instance that has been deleted, as its process remembers it. */
struct gone_instance {
    struct id id;
    int64_t created_ns, status_ns, deleted_ns; /* status: since it had its last */
    const char *node_name, *cause, *because;   /* because: of its DeleteInstance */
    uint8_t status, health;
};

/* A program at a version. A deployment of a project is one: it has a project, and begins without an image. */
struct process {
    struct id id;
    uint64_t changed_seq;
    const char *name, *version, *artifact_url, *config, *secret_refs, *runtime, *because;
    struct text_list availability_zones;
    struct id_list input_stream_ids;
    struct id output_stream_id;
    struct resources resources; /* of each instance */
    struct health_check_texts {
        const char *path;
        int64_t interval_seconds, timeout_seconds, start_timeout_seconds;
    } health;
    int64_t instances_wanted, port;
    uint64_t scaled_seq;     /* of its last ScaleProcess; 0: never, then one more by hand stays */
    int64_t instances_asked; /* as created; ScaleProcess changes instances_wanted only */
    struct scaling_rule scaling;
    struct gone_instance *gone; /* oldest first, at most PROCESS_GONE_MAX */
    uint32_t gone_n;
    bool is_deleted;    /* goes with its last instance */
    struct id image_id; /* of a deployment from a context: the id that its image will have */
    const char *image_digest;
    struct id_index instances;
    int64_t number;       /* of a deployment: how many of its project were asked for up to it, "hello/2" */
    uint64_t created_seq; /* later ones supersede earlier ones: deployments of a project, versions of a name */
    int64_t created_ns;
    uint32_t failures_n; /* of instances while live, without a calm between */
    int64_t failure_ns;  /* the last of them */
    /* Of its RouteDeployment; 0: was never switched to. Of an application's versions the greatest one serves. */
    uint64_t route_seq;
    const char *host_label; /* of an application that edges shall lead to; "": none */
    struct text_list hosts; /* as its RouteDeployment named them */
    uint64_t edges_seq;     /* an application: of the last change that an edge must know */

    /* From here on only for deployments (project != NULL). */
    const struct project *project;
    enum deployment_status status;
    bool is_placed; /* CreateProcess has been folded */
    const char *cause, *context_digest, *requested_by, *status_because;
    uint64_t replaced_seq;      /* of the RouteDeployment that took its place; 0: none */
    int64_t since_ns, said_ns;  /* since: of its status; said: of its last status event */
    int64_t drain_seconds;      /* asked for: how long those that it replaces go on */
    int64_t drain_wait_seconds; /* how long this one goes on, once edges_confirmed: set by what replaced it */
    int64_t drain_from_ns;      /* edges_confirmed: when */
    bool edges_confirmed;
};

struct project {
    struct id id;
    uint64_t changed_seq;
    uint64_t route_seq; /* of the last change that an edge must know: switch, endpoints, hosts, certificates */
    const char *name, *slug;
    const struct process *live; /* NULL: nothing serves */
    struct text_list hosts;     /* that lead to it */
    struct id_index deployments;
    int64_t deployments_n; /* ever asked for */
    struct id_index domains;
    bool is_deleted;
    int64_t created_ns;
    /* What UpdateProject set; 0 or "": not set, the installation's default. */
    const char *repository, *branch;
    int64_t instances_wanted, drain_seconds, port;
    struct resources resources;
    struct scaling_rule scaling;
};

/* A host name of somebody's own that leads to a project: pending until its owner proved it (TXT record), verified until
 * it has a certificate and an edge leads it to the project, then serving. */
struct domain {
    struct id id;
    uint64_t changed_seq;
    const struct project *project;
    const char *host, *challenge, *cause;
    enum domain_status status;
    int64_t created_ns, since_ns;
};

/* Personal fields are sealed JSON; erased: their key is gone, and so are they. */
struct user {
    struct id id;
    uint64_t changed_seq;
    const char *identity, *name, *email;
    bool is_erased;
    int64_t created_ns;
};
struct waiting { /* a place in the waitlist */
    struct id id;
    uint64_t changed_seq;
    const char *identity, *email;
    int64_t created_ns;
};

/* An environment variable whose value only its instances see. */
struct secret {
    struct id id;
    uint64_t changed_seq;
    const struct project *project; /* NULL: of event-sourced applications, by secretRefs */
    const char *name, *value;      /* value: sealed JSON */
    int64_t set_ns;
};

/* A record that this fold passed over: SetAside at its end says why. */
struct passed_record {
    struct id id; /* made of seq */
    uint64_t seq;
    const char *reason, *requested_by; /* "" until SetAside is folded */
};

struct image {
    struct id id;
    uint64_t changed_seq;
    const struct project *project; /* may be NULL */
    const char *context_digest, *digest, *cause, *because;
    struct id builder_instance_id; /* the last one: it may be gone; its log is the build's log */
    int64_t tries_n;               /* builders that it had, this one included */
    int64_t tried_ns;              /* since when this one builds */
    int64_t size_bytes, created_ns, since_ns;
    struct image_config_texts {
        struct text_list entrypoint, cmd, env;
        const char *workdir, *user, *stop_signal;
    } config;
    enum image_status status;
};

struct certificate {
    struct id id;
    uint64_t changed_seq;
    const char *host, *not_after;
    int64_t issued_ns;
};

/* Types, gateways, streams and event logs of event-sourced applications: named, checked for existence, listed. */
struct definition {
    struct id id;
    uint64_t changed_seq;
    enum event_kind kind;    /* EVENT_CREATE_TYPE, _GATEWAY, _STREAM, _EVENT_LOG */
    const char *name, *text; /* text: fieldTypeTags, config, eventStore, partitionRange */
    const char *version;
    struct id stream_id; /* of an event log */
    struct text_list event_types;
    struct event_time start;
};

enum object_kind {
    OBJECT_NODE,
    OBJECT_PROJECT,
    OBJECT_PROCESS,
    OBJECT_INSTANCE,
    OBJECT_IMAGE,
    OBJECT_CERTIFICATE,
    OBJECT_ROUTE, /* a project that stopped being routed, or an application's process */
    OBJECT_DOMAIN,
    OBJECT_SECRET,
    OBJECT_WAITING,
    OBJECT_KIND_MAX_
};
/* In the change list beside those: a definition came. None is ever removed. */
#define CHANGE_DEFINITION ((int)OBJECT_KIND_MAX_)

struct tombstone {
    uint64_t seq;
    enum object_kind kind;
    struct id id, scope; /* scope of an instance: the node that it was on */
};

struct model {
    uint64_t seq;           /* events folded: the position in the log */
    struct event_time time; /* of the last one */
    struct texts texts;
    struct id_index regions, zones, nodes, projects, processes, instances, images, certificates, definitions;
    struct id_index domains, users, waitlist, secrets;
    struct key_index keys[KEY_KIND_MAX_]; /* platform/keys.h */
    struct id_index passed;               /* struct passed_record */
    int64_t format;                       /* RaiseFormat; 1 at first */
    struct retention kept;
    uint64_t instances_seq, routes_seq, projects_seq, nodes_seq, images_seq; /* last change of any of a kind */
    struct tombstone *tombstones;                                            /* ring of MODEL_TOMBSTONES_MAX */
    size_t tombstones_n;                                                     /* ever */
    size_t buried_n;         /* how many tombstones buried_newest was made of; another number: it says nothing */
    struct id buried_newest; /* greatest id of an instance among them: a greater one is of none that was deleted */
    struct changes *changes; /* platform/change_list.h: derived, of no account to hash and snapshot */
    struct changes *asked;   /* another such list: nodes whose instances_seq rose (model_asked_n) */
    struct journal *journal; /* during a trial (platform/model_trial.h), else NULL */
};

struct model *model_new(void);
void model_free(struct model *m);

/* Fold one event: the only writer of *m. Event times must rise. An observed report that is older than what is known
 * (an earlier boot, or not a higher reportSeq of the same boot) changes nothing but the position: that is OK, not an
 * error, since every replica ignores it the same way. ev is borrowed for the call.
 * OK | ERR_CORRUPT this event cannot follow this state (names what and why); *m is unchanged */
must_check enum err model_apply(struct model *m, const struct event *ev, struct errinfo *err);

/* The record after m->seq is set aside (eventlog set-aside LOG SEQ): it is not folded, only the position moves. `time`:
 * of the record when it could be read, else EVENT_TIME_MIN. The log's SetAside must follow; one for a record that was
 * folded is refused, so replicas that differ stop instead of going on. */
void model_pass_over(struct model *m, struct event_time time);

/* SHA-256 over the canonical encoding of everything that was folded, in id order. */
void model_hash(const struct model *m, uint8_t ret_hash[static 32]);
/* Resident bytes, near enough for `metrics` and a budget. */
size_t model_size_bytes(const struct model *m);

/* ---- Looking things up. NULL: not there. ---- */
const struct region *model_region(const struct model *m, struct id id);
const struct region *model_region_by_name(const struct model *m, struct str name);
const struct zone *model_zone(const struct model *m, struct id id);
const struct zone *model_zone_by_name(const struct model *m, const struct region *region, struct str name);
const struct node *model_node(const struct model *m, struct id id);
const struct node *model_node_by_name(const struct model *m, struct str name);
const struct project *model_project(const struct model *m, struct id id);
/* Deleted projects are found by id, not by slug. */
const struct project *model_project_by_slug(const struct model *m, struct str slug);
const struct process *model_process(const struct model *m, struct id id);
/* A program of the platform, e.g. "image-builder". */
const struct process *model_process_by_name(const struct model *m, struct str name);
/* An event-sourced application: a process of its own with an image, placed by the planner. NULL: not there. */
const struct process *model_application(const struct model *m, struct str name, struct str version);
bool process_is_application(const struct process *p);
/* The newest application that edges shall lead to under this label. NULL: none. */
const struct process *model_application_by_host_label(const struct model *m, struct str label);
/* Edges lead to it: of its label the last one that was switched to and not deleted since. */
bool process_is_routed(const struct model *m, const struct process *p);
/* A type, gateway or stream by name (a stream: and version, the newest when `version` is NULL). */
const struct definition *model_definition_by_name(const struct model *m, enum event_kind kind, struct str name,
                                                  const struct str *version);
const struct definition *model_definition(const struct model *m, struct id id);
const struct domain *model_domain_by_host(const struct model *m, struct str host);
/* project NULL: of event-sourced applications. */
const struct secret *model_secret_by_name(const struct model *m, const struct project *project, struct str name);
/* Any process names it, also one that is over. */
bool model_image_is_named(const struct model *m, struct id image_id);
/* It is built or has failed, and its builder has gone: nothing more happens to it. */
bool image_is_settled(const struct model *m, const struct image *i);
/* A process that is not over and runs it. NULL: none. */
const struct process *model_user_of_image(const struct model *m, const struct image *i);
/* Erased users are not found. */
const struct waiting *model_waiting_by_identity(const struct model *m, struct str identity);
const struct user *model_user_by_identity(const struct model *m, struct str identity);
/* A process that is a deployment. */
const struct process *model_deployment(const struct model *m, struct id id);
const struct instance *model_instance(const struct model *m, struct id id);
const struct image *model_image(const struct model *m, struct id id);
/* The newest that is ready. */
const struct image *model_image_by_digest(const struct model *m, struct str digest);
/* The image that this instance builds. */
const struct image *model_image_of_builder(const struct model *m, struct id instance_id);
/* The newest one of this host. */
const struct certificate *model_certificate_by_host(const struct model *m, struct str host);

/* Iterate any index in id order: MODEL_EACH(node, n, &m->nodes) { use n }. `continue` works; `break` does not leave the
 * loop: return, or use the index. */
#define MODEL_EACH(type, var, index)                                                                                   \
    for (size_t var##_i_ = 0; var##_i_ < (index)->n; var##_i_++)                                                       \
        for (const struct type *var = (index)->items[var##_i_]; var != NULL; var = NULL)

/* ---- Questions that more than one room asks. ---- */
/* Running and NOMINAL, on a node that is not lost, and meant to run. */
bool instance_is_healthy(const struct instance *i);
/* Edges may lead to it: also with a WARNING, which asks somebody to look and takes nothing out of service. */
bool instance_serves(const struct instance *i);
/* A health that its node sees and one that the watchdog says, as one: the watchdog's counts when it is worse. */
enum health health_worse(enum health reported, enum health watched);
/* The table of instance states allows it. */
bool instance_may_become(const struct instance *i, enum instance_status to);
/* A report of a boot that is over. */
bool node_boot_is_past(const struct node *n, struct str boot_id);
/* A report of another boot than the current one that was sent before what is known of it: an agent's numbers rise over
 * its boots, as long as what stands behind the '/' of its boot id is the same. It may never have been heard of. */
bool node_boot_is_late(const struct node *n, struct str boot_id, int64_t report_seq);
/* It can still come to run (pending, starting, running) and is meant to. */
bool instance_is_hopeful(const struct instance *i);
/* It uses its share of its node, or has it reserved: one that a person stopped may be started again. */
bool instance_takes_room(const struct instance *i);
/* What is wanted of it: DRAINING while its deployment drains. */
enum desired instance_desired(const struct instance *i);
/* What its node-agent is asked for: the same, but DRAINING while edges withdraw it. */
enum desired instance_told(const struct instance *i);
bool deployment_is_quiet(const struct process *d); /* over, and so are its instances */
/* Over, and so are its instances and its build: nothing more happens to it. Of those a project keeps the newest
 * (struct retention). */
bool deployment_is_settled(const struct model *m, const struct process *d);
/* Over: stopped, failed or cancelled. */
bool deployment_is_over(const struct process *d);
/* It serves beside the live one while it takes its place one by one, or gives way to it again (RouteDeployment,
 * beside). */
bool deployment_is_beside(const struct process *d);
uint32_t process_healthy_n(const struct process *p);
/* Not told to go. */
uint32_t process_present_n(const struct process *p);
/* Reserved by what is placed on the node; what is left of it under the overcommit of settings. Not below zero. */
struct resources node_used(const struct node *n);
/* A member of UpdateProject that has a default to go back to. */
bool project_may_clear(struct str key);
/* "<slug>.<app_domain>", and that of an application with a label. */
const char *project_host(const struct project *p, struct str app_domain, struct arena *a);
const char *process_host(const struct process *p, struct str app_domain, struct arena *a);

/* Healthy instances of the live deployment, then of one beside it, each in id order: what an edge may send requests to.
 * Fills at most max, returns how many there are. */
size_t project_endpoints(const struct project *p, const struct instance **ret, size_t max);
/* Likewise those of an application's process. */
size_t process_endpoints(const struct process *p, const struct instance **ret, size_t max);
/* Its owner has proved it: verified or serving. */
bool domain_is_proved(const struct domain *d);
/* Projects that are not deleted need a certificate for each host as soon as they exist, applications with a label too,
 * domains as soon as they are proved: the first host without one, in this order; false: none. *ret_host lives in the
 * arena. */
bool model_host_without_certificate(const struct model *m, struct str app_domain, struct arena *a,
                                    struct str *ret_host);

/* What happened to a process and its instances, by time: what the model remembers of it (INSTANCE_HISTORY_MAX changes
 * of each instance, PROCESS_GONE_MAX ended ones). The log has all. */
struct timeline_entry {
    int64_t at_ns;
    struct id instance_id;                /* none: the process itself */
    const char *node_name;                /* "": none */
    const char *what;                     /* created, deleted, or a status */
    const char *health, *cause, *because; /* because: JSON or "" */
};
struct timeline {
    struct timeline_entry *items; /* in the arena; texts are lent until the next model_apply */
    size_t n;
};
struct timeline process_timeline(const struct process *p, struct arena *a);

/* ---- Following changes ("what is new after position `seq`?"). ----
 * An object is new when its changed_seq (a route: route_seq) is greater. Instances of a node: walk node->instances when
 * node->instances_seq > seq. Routes: walk projects when m->routes_seq > seq. What is gone stands in tombstones. */
/* Nodes whose instances_seq rose, in order, some more than once: a reader that has read n of them goes on at n. False:
 * entry `from` is forgotten, or this model is another one: look at every node. */
uint64_t model_asked_n(const struct model *m);
bool model_asked_has(const struct model *m, uint64_t from);
struct id model_asked_at(const struct model *m, uint64_t i);
/* False: too much has been removed since; answer with everything, `full`. */
bool model_can_follow(const struct model *m, uint64_t seq);
/* What is gone may be back (a route): a reader takes the removed ones away first, then puts the new ones in.
 * Ids of this kind (and scope, unless none) removed after seq; fills at most max, returns how many there are. */
size_t model_removed(const struct model *m, enum object_kind kind, struct id scope, uint64_t seq, struct id *ret,
                     size_t max);
/* It is not there: ERR_NOT_FOUND, which says whether it was and where one can still read of it. Kinds that are named:
 * deployment (OBJECT_PROCESS), image, project, node, instance. */
must_check enum err model_missing(const struct model *m, enum object_kind kind, struct id id, struct errinfo *err);
