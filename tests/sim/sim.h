#pragma once
/* tests/sim/sim.h - an installation in one process and in virtual time: control-plane replicas over one log, a store
 * that loses what it has not synced, nodes that run the real node/converge, edges, a network that delays, loses,
 * doubles and reorders, and people who deploy. One seed is one story. README.md says what it shows; this file is its
 * parts. */
#include <inttypes.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "control/edges.h"
#include "control/preferred.h"
#include "control/watchdog.h"
#include "edge/route_map/route_map.h"
#include "node/converge/converge.h"
#include "platform/decide_application.h"
#include "platform/decide_owned.h"
#include "platform/describe.h"
#include "platform/plan_state.h"

enum {
    REPLICAS_MAX = 3,
    NODES_MAX = 7,
    EDGES_MAX = 2,
    PROJECTS_MAX = 6, /* of a story, deleted ones too */
    ROUTES_MAX = 24,  /* of projects and applications */
    LOG_MAX = 20000,
    MESSAGES_MAX = 8192,
    QUEUE_MAX = 1024,
    MACHINES_MAX = 200,
    ADDRESSES_MAX = 8192, /* a power of two */
    ACTS_MAX = 1000,
    GONE_MAX = 256,
    UNBUILT_MAX = 256,
    THERE_MAX = 1024, /* deployments and images */
    ENDPOINTS_MAX = 40,
    STEPS_MAX = 5000,
    /* A node that has not been heard for 10 s is suspected, as in src/control. */
    SUSPECT_MS = 10000,
    /* Between two looks of a replica: votes, lease. */
    TICK_MS = 1000,
    LEASE_MS = 10000,
    LEASE_TEXT_SIZE = 256,
    /* A replica that has not read the store's end for so long answers nobody: its model may be old. */
    FRESH_MS = 5000,
    /* Silent for nearly as long as the contract says: one replica has heard an edge again, another has not yet. An edge
     * that is back is held to what it leads to after that time. */
    EDGE_CLOSE_MS = 5000,
};

/* ---- What is counted, with a floor for each: what never happened tests nothing. coverage.c prints it. ---- */

/* Acts: what a story consists of, besides time. Drawn from the seed before it begins, so that shrinking can leave some
 * out. X(name, weight, who) */
#define ACTS(X)                                                                                                        \
    X(deploy, 30, PEOPLE)                                                                                              \
    X(flood, 2, PEOPLE)                                                                                                \
    X(cancel, 3, PEOPLE)                                                                                               \
    X(stop_deployment, 2, PEOPLE)                                                                                      \
    X(repeat, 6, PEOPLE)                                                                                               \
    X(create_instance, 4, PEOPLE)                                                                                      \
    X(delete_instance, 4, PEOPLE)                                                                                      \
    X(stop_instance, 3, PEOPLE)                                                                                        \
    X(scale, 4, PEOPLE)                                                                                                \
    X(drain_node, 3, PEOPLE)                                                                                           \
    X(undrain_node, 3, PEOPLE)                                                                                         \
    X(create_project, 3, PEOPLE)                                                                                       \
    X(delete_project, 2, PEOPLE)                                                                                       \
    X(update_project, 2, PEOPLE)                                                                                       \
    X(set_scaling_rule, 2, PEOPLE)                                                                                     \
    X(put_application, 4, PEOPLE)                                                                                      \
    X(delete_application, 2, PEOPLE)                                                                                   \
    X(scale_application, 3, PEOPLE)                                                                                    \
    X(attach_domain, 4, PEOPLE)                                                                                        \
    X(domain_observed, 8, PEOPLE)                                                                                      \
    X(detach_domain, 1, PEOPLE)                                                                                        \
    X(set_secret, 2, PEOPLE)                                                                                           \
    X(unset_secret, 2, PEOPLE)                                                                                         \
    X(create_user, 2, PEOPLE)                                                                                          \
    X(join_waitlist, 2, PEOPLE)                                                                                        \
    X(erase_subject, 2, PEOPLE)                                                                                        \
    X(create_image, 1, PEOPLE)                                                                                         \
    X(delete_image, 2, PEOPLE)                                                                                         \
    X(replica_crash, 8, FAULT)                                                                                         \
    X(replica_dies_before_append, 4, FAULT)                                                                            \
    X(replica_dies_after_append, 4, FAULT)                                                                             \
    X(replica_pause, 4, FAULT)                                                                                         \
    X(replica_still_at_start, 3, FAULT)                                                                                \
    X(replica_old_version, 4, FAULT)                                                                                   \
    X(replica_old_format, 3, FAULT)                                                                                    \
    X(replica_cut_off, 4, FAULT)                                                                                       \
    X(store_unreachable, 4, FAULT)                                                                                     \
    X(store_answers_lost, 4, FAULT)                                                                                    \
    X(store_power_loss, 4, FAULT)                                                                                      \
    X(store_sync_fails, 4, FAULT)                                                                                      \
    X(store_full, 3, FAULT)                                                                                            \
    X(store_bit_rot, 5, FAULT)                                                                                         \
    X(store_clock_jump, 3, FAULT)                                                                                      \
    X(host_clock_jump, 2, FAULT)                                                                                       \
    X(node_reboot, 10, FAULT)                                                                                          \
    X(node_power_at_start, 6, FAULT)                                                                                   \
    X(node_cut_off, 10, FAULT)                                                                                         \
    X(node_one_way, 8, FAULT)                                                                                          \
    X(node_pause, 4, FAULT)                                                                                            \
    X(node_disk_full, 4, FAULT)                                                                                        \
    X(agent_restart, 6, FAULT)                                                                                         \
    X(agent_dies_between, 6, FAULT)                                                                                    \
    X(edge_crash, 5, FAULT)                                                                                            \
    X(edge_cut_off, 5, FAULT)                                                                                          \
    X(edge_cut_from_one, 10, FAULT)                                                                                    \
    X(edge_one_way, 4, FAULT)                                                                                          \
    X(lie_old_boot, 5, FAULT)                                                                                          \
    X(lie_late_boot, 4, FAULT)                                                                                         \
    X(lie_old_report, 5, FAULT)                                                                                        \
    X(lie_not_its_own, 5, FAULT)                                                                                       \
    X(lie_heartbeat, 4, FAULT)                                                                                         \
    X(lie_image, 3, FAULT)
enum act_group { PEOPLE, FAULT };
enum act_kind {
#define ACT_CONSTANT(name, weight, group) ACT_##name,
    ACTS(ACT_CONSTANT)
#undef ACT_CONSTANT
        ACTS_N
};

/* Chances: small faults that may befall any message, append, boot or guest. A seed has some of them. */
#define CHANCES(X)                                                                                                     \
    X(message_lost)                                                                                                    \
    X(message_doubled)                                                                                                 \
    X(message_late)                                                                                                    \
    X(replica_slow)                                                                                                    \
    X(replica_reads_half)                                                                                              \
    X(fetch_fails)                                                                                                     \
    X(start_fails)                                                                                                     \
    X(boot_slow)                                                                                                       \
    X(boot_never)                                                                                                      \
    X(guest_crash)                                                                                                     \
    X(guest_deaf)                                                                                                      \
    X(guest_hangs)                                                                                                     \
    X(builder_killed)
enum chance {
#define CHANCE_CONSTANT(name) CHANCE_##name,
    CHANCES(CHANCE_CONSTANT)
#undef CHANCE_CONSTANT
        CHANCES_N
};

/* What followed from those. */
#define OUTCOMES(X)                                                                                                    \
    X(message_overtaken)                                                                                               \
    X(message_cut)                                                                                                     \
    X(append_conflict)                                                                                                 \
    X(append_no_space)                                                                                                 \
    X(append_unknown)                                                                                                  \
    X(append_found_again)                                                                                              \
    X(append_was_not)                                                                                                  \
    X(died_before_append)                                                                                              \
    X(died_after_append)                                                                                               \
    X(tail_torn)                                                                                                       \
    X(tail_lost)                                                                                                       \
    X(tail_adopted)                                                                                                    \
    X(rot_found)                                                                                                       \
    X(kind_unknown)                                                                                                    \
    X(vote_withheld)                                                                                                   \
    X(vote_not_counted)                                                                                                \
    X(plan_left)                                                                                                       \
    X(plan_stood_in)                                                                                                   \
    X(format_held_back)                                                                                                \
    X(command_too_new)                                                                                                 \
    X(input_shared)                                                                                                    \
    X(application_routed)                                                                                              \
    X(edge_heard_by_others)                                                                                            \
    X(domain_served)                                                                                                   \
    X(report_refused)                                                                                                  \
    X(lie_refused)                                                                                                     \
    X(command_acknowledged)                                                                                            \
    X(rolls_one_by_one)                                                                                                \
    X(spread_begun)                                                                                                    \
    X(spread_done)                                                                                                     \
    X(cold_replay)                                                                                                     \
    X(full_poll)                                                                                                       \
    X(agent_died_between)                                                                                              \
    X(power_lost_at_start)                                                                                             \
    X(forgotten_removed)                                                                                               \
    X(deployment_forgotten)                                                                                            \
    X(image_forgotten)                                                                                                 \
    X(project_forgotten)                                                                                               \
    X(build_elsewhere)                                                                                                 \
    X(build_again_here)                                                                                                \
    X(build_given_up)                                                                                                  \
    X(late_builder_tells)
enum outcome {
#define OUTCOME_CONSTANT(name) OUTCOME_##name,
    OUTCOMES(OUTCOME_CONSTANT)
#undef OUTCOME_CONSTANT
        OUTCOMES_N
};

/* What must hold. X(name, in words) */
#define RULES(X)                                                                                                       \
    X(follows, "every event can follow the ones before it")                                                            \
    X(codec, "an event comes through the codec as it was")                                                             \
    X(replay, "replay of the log gives the model of every replica")                                                    \
    X(one_address, "an address has one owner in the whole story")                                                      \
    X(placement, "instances are placed on ready nodes with the right label and with room")                             \
    X(route_switch, "a route switches only to a healthy, settled, newer deployment with certificates")                 \
    X(healthy_kept, "no healthy instance is taken away while it is needed")                                            \
    X(drained, "what drains is taken away only after the edges have switched and its time is over")                    \
    X(withdrawn, "an instance is told to stop only when no live edge leads to it any more")                            \
    X(no_dead_route, "no edge leads for long to what is down")                                                         \
    X(acknowledged, "what was acknowledged is in the log for ever")                                                    \
    X(once, "nothing happens twice that must happen once")                                                             \
    X(one_place, "an instance runs on one node only")                                                                  \
    X(fresh_votes, "votes about nodes come from replicas that could hear")                                             \
    X(votes_counted, "a node is lost only by more than half of the fresh replicas")                                    \
    X(heard_again, "a lost node is back only when somebody has heard it")                                              \
    X(old_reports, "old reports are not written down")                                                                 \
    X(lies, "lies of nodes change nothing")                                                                            \
    X(as_wanted, "no more instances are on their way than wanted")                                                     \
    X(causes, "what failed or was cancelled says why")                                                                 \
    X(builders, "every builder builds something")                                                                      \
    X(tries, "a build is tried again on nodes that are there, three times at most")                                    \
    X(replaced, "what a lost node took along is replaced soon")                                                        \
    X(damage_named, "damage is found, named, never folded")                                                            \
    X(read_only, "who does not know a kind of event writes nothing")                                                   \
    X(format_known, "a kind of event is written once every replica reads it")                                          \
    X(preferred, "replicas agree who plans first, the others leave it a second")                                       \
    X(spread, "nothing live is crowded while a node with room has none of it; what moves makes it better")             \
    X(one_owner, "no part of an application's input has two owners")                                                   \
    X(routes_read, "edges take every document of routes")                                                              \
    X(domains, "a route leads from a domain only once it is proved")                                                   \
    X(kept, "only what is over leaves the model, and of that the newest stay")                                         \
    X(erased, "nothing is left of who was erased")                                                                     \
    X(refusals, "a refused command leaves nothing behind")                                                             \
    X(plan_from_scratch, "a plan from what changed is the plan from everything")                                       \
    X(what_if, "a plan that is made again from the log is the one that was written")                                   \
    X(plan_rests, "a plan without events does not want to run again at once")                                          \
    X(agent_sound, "an agent acts only on what it was sent, and forgets nothing that runs")                            \
    X(converges, "once nothing fails, all comes to what is wanted in time")                                            \
    X(goes_live, "once nothing fails, a good deployment goes live, and serves without a gap")                          \
    X(bounded, "queues and the log stay within bounds")                                                                \
    X(sound, "no assertion fails, nothing crashes or hangs")
enum rule {
#define RULE_CONSTANT(name, words) RULE_##name,
    RULES(RULE_CONSTANT)
#undef RULE_CONSTANT
        RULES_N
};

enum { INSTANCE_STATES = INSTANCE_STATUS_MAX_ + 1, DEPLOYMENT_STATES = DEPLOYMENT_STATUS_MAX_ + 1 };
struct coverage {
    uint64_t events[EVENT_KIND_MAX_], acts[ACTS_N], chances[CHANCES_N], outcomes[OUTCOMES_N], rules[RULES_N];
    /* from, to; the last one is "not there" */
    uint64_t instances[INSTANCE_STATES][INSTANCE_STATES], deployments[DEPLOYMENT_STATES][DEPLOYMENT_STATES];
    uint64_t nodes[NODE_STATUS_MAX_ + 1][NODE_STATUS_MAX_ + 1], images[IMAGE_STATUS_MAX_ + 1][IMAGE_STATUS_MAX_ + 1];
    uint64_t seeds, steps, steps_unsafe_min, converge_ms_max, converge_ms_sum;
};
/* Adds what another process has seen. */
void coverage_add(struct coverage *to, const struct coverage *from);
/* The tables. Returns how many rows are below their floor. */
unsigned coverage_print(const struct coverage *c);

/* ---- A story: what a seed, and those who shrink it, leave to happen. chance.c ---- */

struct act {
    unsigned step;
    enum act_kind kind;
    uint64_t dice; /* what it hits, and for how long */
};
struct story {
    uint64_t seed;
    unsigned steps; /* of the unsafe phase */
    unsigned replicas_n, nodes_n, edges_n;
    struct act acts[ACTS_MAX];
    size_t acts_n;
    bool is_kept[ACTS_MAX]; /* acts that happen */
    bool has[CHANCES_N];
    const char *record_folder; /* NULL, or where its log goes */
};
void story_draw(uint64_t seed, unsigned steps, struct story *ret);

struct failure {
    bool is_failed;
    enum rule rule;
    unsigned step;
    int64_t at_ms;
    bool is_calm;
    char text[1600];
};

/* ---- Commands, messages ---- */

/* What becomes of a deployment: the last digit of its digest says it. */
enum behaviour { GOOD, BUILD_FAILS, NEVER_LISTENS, CRASHES, FLAKY, BEHAVIOURS_N };

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
    COMMAND_DESIRED,
    COMMAND_CREATE_PROJECT,
    COMMAND_DELETE_PROJECT,
    COMMAND_SCALE,
    COMMAND_DRAIN,
    COMMAND_UNDRAIN,
    COMMAND_SUSPECT,
    COMMAND_CERTIFICATE,
    COMMAND_UPDATE_PROJECT,
    COMMAND_SCALING_RULE,
    COMMAND_PUT_APPLICATION,
    COMMAND_DELETE_APPLICATION,
    COMMAND_ATTACH_DOMAIN,
    COMMAND_DOMAIN_OBSERVED,
    COMMAND_DETACH_DOMAIN,
    COMMAND_SET_SECRET,
    COMMAND_UNSET_SECRET,
    COMMAND_CREATE_USER,
    COMMAND_JOIN_WAITLIST,
    COMMAND_ERASE_SUBJECT,
    COMMAND_CREATE_IMAGE,
    COMMAND_DELETE_IMAGE,
};
struct command {
    enum command_kind kind;
    struct id id; /* subject */
    struct node_reported node_reported;
    struct instance_observed instance_observed;
    struct image_observed image_observed;
    struct deployment_create deploy;
    struct application_put application;
    struct scaling_set scaling;
    struct project_update update;
    struct str text, value;
    int64_t number;
    bool is_lie;
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

/* An answer to an edge. */
struct routes {
    uint64_t seq, since; /* since: the cursor that it was asked with */
    bool is_full;
    struct str document; /* of GET /v1/routes; empty: nothing is new */
};
/* What an Envoy has taken: of each route (a project, or an application) where it leads. */
struct route_entry {
    struct id route, deployment;
    struct id endpoints[ENDPOINTS_MAX];
    size_t endpoints_n;
};

/* Who speaks to whom, as one number: replicas, then nodes, edges, people, the store. */
enum { AT_REPLICAS = 0, AT_NODES = REPLICAS_MAX, AT_EDGES = AT_NODES + NODES_MAX, AT_PEOPLE = AT_EDGES + EDGES_MAX };
enum { AT_STORE = AT_PEOPLE + 1, PLACES_N };

enum message_kind { SAY_COMMAND, SAY_NODE_POLL, SAY_EDGE_POLL, SAY_DESIRED, SAY_ROUTES, SAY_MOVED };
struct message {
    int64_t due_ms, sent_ms;
    enum message_kind kind;
    unsigned from, to;
    uint64_t poll, cursor;
    const struct command *command; /* bodies live in the arena of the world */
    const struct desired_answer *desired;
    const struct routes *routes;
};

/* ---- The store. store.c ---- */

struct lease {
    int64_t since_ms, until_ms; /* true time */
    bool abstains, plans;
    int64_t format;
    char text[LEASE_TEXT_SIZE]; /* what it hears of edges */
};
/* Who is there, as a replica has last read it; a bit for each replica. */
struct leases_known {
    int64_t at_ms, format_min;
    unsigned voters, planners;
};
/* A damaged byte of the log. */
struct rot {
    bool is_there;
    size_t at;
    uint64_t seq;
    char was;
    int64_t until_ms; /* then it is restored from a copy */
};
struct sim_store {
    struct buf bytes;    /* the log as it is on its disk: lines */
    size_t durable_size; /* what is behind it may be lost */
    uint64_t seq;
    uint32_t sum;
    size_t line_at[LOG_MAX + 1]; /* where record seq + 1 begins */
    int64_t offset_ms, back_ms;  /* of its clock against the truth; back: by how much it ever jumped back, in all */
    int64_t down_until_ms, full_until_ms;
    bool next_sync_fails, next_loses_power;
    struct rot rot;
    struct lease leases[REPLICAS_MAX];
};

/* ---- Those who live here ---- */

/* A command that waits at a replica. */
struct job {
    const struct command *command;
    unsigned from;
    unsigned written_n; /* times that its events are in the log */
};
enum in_flight { NOTHING_IN_FLIGHT, IS_DECIDED, IS_UNKNOWN };
enum dies { DIES_NOT, DIES_BEFORE_APPEND, DIES_AFTER_APPEND };
struct replica {
    struct model *model;
    struct plan_state *plan_state;
    bool is_up, is_live; /* live: has read all that there was */
    bool is_damaged;     /* met damage: does not read on until it is mended */
    bool is_read_only;   /* met a kind of event that it does not know */
    enum event_kind unknown_kind;
    int64_t format; /* the newest that this version of the program knows */
    enum dies dies;
    size_t offset; /* read up to here */
    uint32_t sum;
    int64_t live_since_ms, listens_since_ms, up_at_ms,
        new_at_ms; /* new_at: an old version is replaced then; 0: it is not old */
    int64_t paused_until_ms, resumed_ms, clock_offset_ms; /* resumed: after it stood still for long */
    int64_t heard_ms[NODES_MAX];
    int64_t next_tick_ms, next_pull_ms, read_end_ms; /* read_end: when it last saw the store's end */
    int64_t store_clock_ms, store_clock_at_ms;
    struct watchdog_rules rules;
    bool may_vote;                         /* as of its last look */
    struct edge_observed edges[EDGES_MAX]; /* seen_ms: true time; translated for each plan */
    size_t edges_n;
    struct edges_heard told; /* by the others; true time */
    int64_t told_since_ms;   /* without a gap */
    struct job *queue[QUEUE_MAX];
    size_t queue_n;
    enum in_flight state;
    struct event_list batch; /* in flight, decided on base_seq */
    uint64_t base_seq;
    struct job *job; /* NULL: of the planner */
    int64_t decided_ms;
    bool is_found; /* an append whose answer was lost: it is in the log */
    struct leases_known leases;
    int64_t next_lease_ms;
    struct preferred_left left; /* to the preferred replica */
    int64_t left_since_ms;      /* its plan has not been empty since then; 0: it was */
    int64_t planned_replicas_n, planned_format_min;
    int64_t still_ms; /* it will stand still for so long as soon as it is live */
    unsigned planned_voters;
    uint64_t planned_seq;
    int64_t plan_at_ms; /* on the store's clock, as this replica knows it */
    bool must_plan;
    uint64_t checked_seq;
    char name[8];
    struct str name_str;
};

/* A guest or a builder on a node. */
struct machine {
    struct id id;
    uint32_t attempt;
    bool is_up, is_healthy, is_deaf, never_ready; /* deaf: ignores SIGTERM */
    int64_t ready_ms, check_ms, die_ms;           /* 0: not */
    int64_t hang_until_ms;                        /* answers no check until then */
    int64_t down_ms;                              /* since when it is down */
    bool has_told;                                /* a builder: what became of its image */
    struct desired_item spec;
};
/* What an agent has on its disk of an instance. */
struct kept {
    struct desired_item spec;
    struct converge_kept state;
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
    char name[24], boot[40], boot_before[40];
    bool is_control, is_up;
    bool was_heard; /* by any replica, since it counted as lost */
    int64_t up_at_ms, paused_until_ms, full_until_ms, next_poll_ms, next_beat_ms, report_seq;
    unsigned boots_n;
    bool was_boot_known; /* boot_before: the log has heard of it */
    unsigned dies_after; /* the agent dies after so many actions; 0: it does not */
    bool fails_at_start; /* the host loses its power at the next start of something */
    bool is_agent_dead;
    struct converge *converge;
    struct converge_output out;
    struct machine machines[MACHINES_MAX];
    size_t machines_n;
    struct kept kept[MACHINES_MAX];
    size_t kept_n;
    struct id buried[MACHINES_MAX];
    size_t buried_n;
    struct late_input late[QUEUE_MAX];
    size_t late_n;
    uint64_t cursor, poll;
};
struct sim_edge {
    char name[16];
    bool is_up;
    int64_t up_at_ms, next_poll_ms, apply_ms;
    unsigned asks; /* which replica; another one at turn_ms */
    int64_t turn_ms;
    int64_t contact_ms, back_ms; /* when a replica last heard it; since when without a long silence */
    struct route_map *map;       /* the edge's own (edge/route_map/); given to Envoy, acknowledged at apply_ms */
    uint64_t map_seq, applied_seq;
    struct route_entry entries[ROUTES_MAX]; /* that Envoy serves */
    size_t entries_n;
};

struct world {
    const struct story *story;
    uint64_t rng;
    unsigned step;
    int64_t now_ms;
    bool is_calm;        /* nothing fails any more */
    bool is_settled;     /* and everything has recovered: no endpoint of an edge may be dead */
    bool is_telling;     /* every line as it happens */
    int64_t troubled_ms; /* until then something of the control plane or the network is or was not well */
    struct arena arena;
    struct platform_settings settings;
    struct id_source ids;
    struct sim_store store;
    struct event log[LOG_MAX]; /* decoded from the store's bytes when they became durable: what is true */
    struct model *oracle;      /* their fold */
    uint8_t oracle_hash[32];
    uint64_t oracle_hash_seq;
    struct replica replicas[REPLICAS_MAX];
    size_t replicas_n;
    const struct replica *appending; /* NULL: the installer */
    struct sim_node nodes[NODES_MAX];
    size_t nodes_n;
    struct sim_edge edges[EDGES_MAX];
    size_t edges_n;
    struct message messages[MESSAGES_MAX];
    size_t messages_n;
    int64_t cut_until_ms[PLACES_N][PLACES_N], last_due_ms[PLACES_N][PLACES_N];
    struct id started_once[LOG_MAX / 8]; /* builders */
    size_t started_once_n;
    struct str addresses[ADDRESSES_MAX]; /* a hash table: all that were ever given */
    struct {
        uint64_t seq;
        struct id id;
    } acknowledged[QUEUE_MAX];
    size_t acknowledged_n;
    struct {
        struct id id;
        int64_t at_ms;
    } gone[GONE_MAX]; /* a ring: what nodes have forgotten */
    size_t gone_n;
    unsigned projects_made_n, deploys_n, names_n;
    struct id log_id;
    struct id unbuilt[UNBUILT_MAX]; /* a ring: builders that were relieved */
    size_t unbuilt_n;
    struct there {
        struct id id, project_id;
        bool is_image, is_building, is_served, is_over;
        size_t instances_n;
        int64_t since_ns;
    } there[THERE_MAX]; /* what was there before the event that is folded */
    size_t there_n;
    unsigned
        preferred_of[1u << REPLICAS_MAX]; /* by those who plan: who takes itself for preferred, + 1; 0: nobody yet */
    size_t hand_made_n;
    size_t next_act;
    struct coverage *coverage;
    struct failure *failure; /* where it is written to before the process ends */
};

/* ---- chance.c ---- */
uint64_t roll(struct world *w, uint64_t n); /* 0 … n-1 */
int64_t between(struct world *w, int64_t from, int64_t to);
/* With p percent, unless times are calm or this story goes without. Counted. */
bool chance(struct world *w, enum chance c, unsigned p);
/* Chance begins anew here, from the seed, the step and this number: what happens elsewhere does not change it. */
void chance_for(struct world *w, unsigned who);
const char *act_name(enum act_kind k);
enum act_group act_group(enum act_kind k);
const char *chance_name(enum chance c);
const char *rule_name(enum rule r);
const char *rule_words(enum rule r);

/* ---- run.c: one story, in this process; a broken rule ends it (see broken) ---- */
void run(const struct story *s, bool is_telling, struct coverage *coverage, struct failure *failure);
void tell(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void broken(struct world *w, enum rule r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static inline void checked(struct world *w, enum rule r)
{
    w->coverage->rules[r]++;
}
static inline void happened(struct world *w, enum outcome o)
{
    w->coverage->outcomes[o]++;
}

/* ---- store.c ---- */
enum appended { APPEND_OK, APPEND_CONFLICT, APPEND_NO_SPACE, APPEND_UNKNOWN };
/* As a replica: conditional on what it has read. */
enum appended store_append_from(struct world *w, struct replica *r);
/* The beginning of the log, by the installer. */
void store_append_first(struct world *w, const struct event_list *l);
/* Up to max records into the replica's model. False: the store cannot be reached. */
bool store_read_into(struct world *w, struct replica *r, uint64_t max);
bool store_is_reachable(const struct world *w, unsigned from);
int64_t store_clock_now_ms(const struct world *w);
void store_tick(struct world *w);
void store_rot(struct world *w);
/* A replica's lease is taken, or held on to, and all are read. False: out of reach. */
bool store_lease_renew(struct world *w, struct replica *r, struct leases_known *ret);
/* The whole log again from its bytes: its model must be the oracle's. */
void store_check_replay(struct world *w);

/* ---- checks.c: each event; after each batch; after each step ---- */
void check_before(struct world *w, const struct event *ev);
/* ---- checks_kinds.c ---- */
void check_kind(struct world *w, const struct event *ev);
/* What the fold forgets, few enough that each story sees it; by its seed. checks_kept.c */
struct retention story_retention(const struct story *s);
void check_kept_before(struct world *w);
void check_kept(struct world *w, const struct event *ev); /* after it */
void check_erased(struct world *w, struct id subject);    /* after it */
bool application_is_covered(const struct process *p);
/* Its image was there, and was deleted, or is built by another one. */
bool builder_was_relieved(const struct world *w, struct id builder);
/* ---- checks.c ---- */
void check_batch(struct world *w, uint64_t after_seq);
void check_step(struct world *w);
/* A node stops an instance, for that is what it was told. */
void check_stop(struct world *w, const struct sim_node *n, struct id id);
/* A replica that is at the log's end has the oracle's model. */
void check_model(struct world *w, struct replica *r);
void check_vote(struct world *w, const struct replica *r, struct id node);
/* ---- converged.c ---- */
bool is_converged(struct world *w, const char **ret_why);
/* spread.c: live deployments stand on as many nodes as they could. */
bool is_spread(struct world *w, const char **ret_why);
/* An instance that is to take the place of another is placed, or goes, or another in its favour. */
void check_spread(struct world *w, const struct event *ev);
/* Instances that are there beside the one whose place they are to take, with this one: 0 or 1. */
uint32_t spreads_n(const struct world *w, const struct create_instance *e);
bool waits_for_room(const struct world *w, const struct process *d);

/* ---- network.c ---- */
void send(struct world *w, struct message m);
void deliver(struct world *w);
void send_command(struct world *w, unsigned from, unsigned to, const struct command *c);
int any_replica(struct world *w); /* -1: none is up */
bool is_cut(const struct world *w, unsigned from, unsigned to);
void cut_link(struct world *w, unsigned from, unsigned to, int64_t until_ms);
/* Both ways between `who` and everybody. */
void cut_off(struct world *w, unsigned who, int64_t until_ms);

/* ---- who lives here ---- */
void replica_start(struct world *w, struct replica *r);
void replica_crash(struct world *w, struct replica *r, const char *how);
void replica_stands_still(struct world *w, struct replica *r, int64_t for_ms);
void replicas_tick(struct world *w);
bool replica_hears(const struct world *w, const struct replica *r, struct id node);
/* The store's clock as it knows it. */
int64_t replica_clock_ms(const struct world *w, const struct replica *r);
/* It may speak for the log: it has read its end a moment ago. */
bool replica_is_fresh(const struct world *w, const struct replica *r);
/* ---- replica_plan.c ---- */
void replica_renews_lease(struct world *w, struct replica *r);
void replica_plans(struct world *w, struct replica *r);
/* ---- command.c ---- */
enum err command_decide(struct world *w, struct replica *r, const struct command *c, struct event_list *out,
                        struct errinfo *err);
void replica_takes(struct world *w, struct replica *r, const struct message *m);
void node_boot(struct world *w, struct sim_node *n);
void node_crash(struct world *w, struct sim_node *n);
void agent_restart(struct world *w, struct sim_node *n);
void node_tick(struct world *w, struct sim_node *n);
void node_takes(struct world *w, struct sim_node *n, const struct message *m);
void node_done(struct sim_node *n);
struct machine *node_machine(struct sim_node *n, struct id id);
/* The document for who has everything up to `since`; in the arena of the world, "" when nothing is new. */
struct str routes_document(struct world *w, const struct model *m, uint64_t since, bool is_full);
void edge_forgets(struct sim_edge *e); /* all that it had */
void edge_tick(struct world *w, struct sim_edge *e);
void edge_takes(struct world *w, struct sim_edge *e, const struct message *m);
/* The acts of this step. */
void acts_tick(struct world *w);
void deploy_one(struct world *w, struct id project, enum behaviour b);
enum behaviour behaviour_of(const char *digest);
/* Somebody asks a replica for it. */
void ask(struct world *w, struct command c);
const struct project *some_project(struct world *w);
/* ---- people.c: acts of people beside deployments ---- */
#define PEOPLE_ACT(name) void act_##name(struct world *w);
PEOPLE_ACT(update_project)
PEOPLE_ACT(set_scaling_rule)
PEOPLE_ACT(put_application)
PEOPLE_ACT(delete_application)
PEOPLE_ACT(scale_application)
PEOPLE_ACT(attach_domain)
PEOPLE_ACT(domain_observed)
PEOPLE_ACT(detach_domain)
PEOPLE_ACT(set_secret)
PEOPLE_ACT(unset_secret)
PEOPLE_ACT(create_user)
PEOPLE_ACT(join_waitlist)
PEOPLE_ACT(erase_subject)
PEOPLE_ACT(create_image)
PEOPLE_ACT(delete_image)
#undef PEOPLE_ACT

/* ---- what_if.c ---- */
/* Makes each plan of the log again. */
void check_what_if(struct world *w);

/* ---- record.c ---- */
/* Writes the log to FOLDER/<seed>.jsonl, as it is in the store. */
void record(struct world *w, const char *folder);

/* ---- shrink.c ---- */
/* Leaves out of a failing story what is not needed for its failure; says what it does on stdout. */
void shrink(struct story *s, struct failure *failure);
/* Runs a story in a child process; the child tells it on stdout if asked. */
void run_apart(const struct story *s, bool is_telling, struct coverage *coverage, struct failure *ret_failure);
