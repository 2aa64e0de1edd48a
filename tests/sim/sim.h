#pragma once
/* tests/sim/sim.h - an installation in one process and in virtual time: two control-plane replicas over one log, nodes
 * that run the real node/converge, edges, a network that delays, loses, doubles and reorders, and people who deploy.
 * One seed is one story. See README.md. */
#include <inttypes.h>

#include "base/mem.h"
#include "node/converge/converge.h"
#include "platform/decide.h"
#include "platform/describe.h"
#include "platform/plan.h"

enum {
    REPLICAS_N = 2,
    NODES_MAX = 6,
    EDGES_N = 2,
    PROJECTS_MAX = 2,
    LOG_MAX = 20000,
    MESSAGES_MAX = 4096,
    QUEUE_MAX = 1024,
    MACHINES_MAX = 160,
    STORY_MAX = 60,
};

/* What becomes of a deployment: the last digit of its digest says it. */
enum behaviour { GOOD, BUILD_FAILS, NEVER_LISTENS, CRASHES, FLAKY, BEHAVIOURS_N };

enum message_kind { TO_REPLICA_COMMAND, TO_REPLICA_NODE_POLL, TO_REPLICA_EDGE_POLL, TO_NODE_DESIRED, TO_EDGE_ROUTES };

/* A command is decided again after a conflict, so it keeps its inputs. */
enum command_kind {
    COMMAND_NODE_REPORTED,
    COMMAND_INSTANCE_OBSERVED,
    COMMAND_IMAGE_OBSERVED,
    COMMAND_DEPLOY,
    COMMAND_REPEAT,
    COMMAND_CANCEL,
    COMMAND_STOP,
    COMMAND_DELETE_INSTANCE,
    COMMAND_CREATE_INSTANCE,
    COMMAND_SUSPECT,
    COMMAND_CERTIFICATE,
};
struct command {
    enum command_kind kind;
    struct id id; /* subject */
    struct node_reported node_reported;
    struct instance_observed instance_observed;
    struct image_observed image_observed;
    struct deployment_create deploy;
    struct str text;
};

struct desired_item {
    struct id id;
    struct converge_want want;
    enum behaviour behaviour;
    struct id image_id; /* of a builder */
};
struct desired_answer {
    uint64_t poll, cursor;
    bool is_full;
    struct desired_item *items;
    struct id *removed;
    size_t items_n, removed_n;
};

struct route_entry {
    struct id project, deployment;
    struct id endpoints[16];
    size_t endpoints_n;
};
struct routes {
    uint64_t seq, since; /* since: the cursor that it was asked with */
    struct route_entry entries[PROJECTS_MAX];
    struct id removed[16]; /* of an answer: projects that nothing leads to any more */
    size_t entries_n, removed_n;
    bool is_full;
};

struct message {
    int64_t due_ms;
    enum message_kind kind;
    int to, from;
    uint64_t poll, cursor;
    const struct command *command; /* bodies live in the arena of the world */
    const struct desired_answer *desired;
    const struct routes *routes;
};

struct replica {
    struct model *model;
    bool is_up;
    int64_t live_since_ms, up_at_ms, heard_ms[NODES_MAX];
    struct edge_observed edges[EDGES_N];
    size_t edges_n;
    const struct command *queue[QUEUE_MAX];
    size_t queue_n;
    struct event_list in_flight; /* decided on base_seq; n == 0: none */
    uint64_t base_seq;
    bool is_plan; /* of the planner, not of a command */
    char name[8];
    struct str name_str;
};

/* A guest or a builder on a node. */
struct machine {
    struct id id;
    uint32_t attempt;
    bool is_up, is_healthy, is_deaf;    /* deaf: ignores SIGTERM */
    int64_t ready_ms, check_ms, die_ms; /* 0: not */
    struct desired_item spec;
    unsigned starts_n;
};
struct late_input {
    int64_t due_ms;
    enum converge_input_type type;
    struct id id;
    uint32_t attempt;
    bool ok;
};
struct sim_node {
    struct id id;
    char name[24], boot[40];
    bool is_control, is_up;
    bool was_heard; /* by any replica, since it counted as lost */
    int64_t up_at_ms, partition_until_ms, next_poll_ms, next_beat_ms, report_seq;
    unsigned boots_n;
    struct converge *converge;
    struct converge_output out;
    struct machine machines[MACHINES_MAX];
    size_t machines_n;
    struct late_input late[QUEUE_MAX];
    size_t late_n;
    uint64_t cursor, poll;
};
struct sim_edge {
    char name[8];
    bool is_up;
    int64_t up_at_ms, next_poll_ms, apply_ms, contact_ms;
    struct routes applied, coming; /* coming: given to Envoy, acknowledged at apply_ms */
};

/* Counted over all seeds, with a floor for each: a fault that never happened tests nothing. */
#define FAULTS(X)                                                                                                      \
    X(message_lost)                                                                                                    \
    X(message_doubled)                                                                                                 \
    X(message_late)                                                                                                    \
    X(append_conflict)                                                                                                 \
    X(replica_crash)                                                                                                   \
    X(node_reboot)                                                                                                     \
    X(agent_restart)                                                                                                   \
    X(partition)                                                                                                       \
    X(prepare_failed)                                                                                                  \
    X(guest_crash)                                                                                                     \
    X(guest_deaf)                                                                                                      \
    X(edge_crash)                                                                                                      \
    X(cancelled_by_hand)                                                                                               \
    X(stopped_by_hand)                                                                                                 \
    X(deleted_by_hand)                                                                                                 \
    X(created_by_hand)                                                                                                 \
    X(repeated)                                                                                                        \
    X(report_refused)                                                                                                  \
    X(cold_replay)                                                                                                     \
    X(full_poll)
enum fault {
#define FAULT_CONSTANT(name) FAULT_##name,
    FAULTS(FAULT_CONSTANT)
#undef FAULT_CONSTANT
        FAULTS_N
};
struct coverage {
    uint64_t events[EVENT_KIND_MAX_], instances[INSTANCE_STATUS_MAX_], deployments[DEPLOYMENT_STATUS_MAX_],
        nodes[NODE_STATUS_MAX_], images[IMAGE_STATUS_MAX_], faults[FAULTS_N];
    uint64_t seeds, steps;
};

struct world {
    uint64_t seed, rng;
    unsigned step;
    int64_t now_ms;
    bool is_calm;    /* nothing fails any more */
    bool is_settled; /* and everything has recovered: no endpoint of an edge may be dead */
    bool is_telling; /* --seed: every line as it happens */
    struct arena arena;
    struct platform_settings settings;
    struct id_source ids;
    struct event log[LOG_MAX];
    size_t log_n;
    struct model *oracle; /* folded at each append: what is true */
    struct replica replicas[REPLICAS_N];
    struct sim_node nodes[NODES_MAX];
    size_t nodes_n;
    struct sim_edge edges[EDGES_N];
    struct message messages[MESSAGES_MAX];
    size_t messages_n;
    struct id projects[PROJECTS_MAX];
    size_t projects_n;
    char *story[STORY_MAX];
    size_t story_n;
    struct coverage *coverage;
    size_t hand_made_n;
    unsigned deploys_n;
};

/* ---- chance ---- */
uint64_t roll(struct world *w, uint64_t n); /* 0 … n-1 */
bool percent(struct world *w, unsigned p);  /* never in calm times */
int64_t between(struct world *w, int64_t from, int64_t to);

/* ---- story ---- */
void tell(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void broken(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void happened(struct world *w, enum fault f);

/* ---- log, checks ---- */
/* Conditional append. False: conflict. */
bool world_append(struct world *w, const struct event_list *l, uint64_t expected_seq, const char *who);
void check_before(struct world *w, const struct event *ev, const char *who);
void check_after(struct world *w);
bool is_converged(struct world *w, const char **ret_why);

/* ---- network ---- */
void send(struct world *w, struct message m);
void deliver(struct world *w);
void send_command(struct world *w, int to, const struct command *c);
int any_replica(struct world *w); /* -1: none is up */

/* ---- who lives here ---- */
void replica_start(struct world *w, struct replica *r);
void replica_crash(struct world *w, struct replica *r);
void replicas_tick(struct world *w);
void replica_takes(struct world *w, struct replica *r, const struct message *m);
void node_boot(struct world *w, struct sim_node *n);
void node_crash(struct world *w, struct sim_node *n);
void agent_restart(struct world *w, struct sim_node *n);
void node_tick(struct world *w, struct sim_node *n);
void node_takes(struct world *w, struct sim_node *n, const struct message *m);
void node_done(struct sim_node *n);
struct machine *node_machine(struct sim_node *n, struct id id);
void edge_tick(struct world *w, struct sim_edge *e);
void edge_takes(struct world *w, struct sim_edge *e, const struct message *m);
void faults_tick(struct world *w);
void people_tick(struct world *w);
void deploy_one(struct world *w, struct id project, enum behaviour b);
enum behaviour behaviour_of(const char *digest);

/* Write the log to FOLDER/<seed>.jsonl, in the format of the store. */
void record(const struct world *w, const char *folder);
