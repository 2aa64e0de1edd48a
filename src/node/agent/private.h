#pragma once
/* node/agent/private.h - the parts of the node-agent, for the files of this folder only. Layer: node. */

#include "base/map.h"
#include "net/follow.h"
#include "node/agent/agent.h"
#include "node/agent/keep.h"
#include "node/agent/line_log.h"
#include "node/agent/pace.h"
#include "node/converge/converge.h"
#include "node/image/cache.h"
#include "node/network/network.h"
#include "node/network/resolver.h"
#include "node/preflight/preflight.h"
#include "node/runtime/runtime.h"
#include "os/child.h"
#include "wire/umbilical.h"

#define AGENT_BOOT_ID_SIZE 64

/* A deadline that the agent's one timer looks after; INT64_MAX: none. */
struct checker {
    int64_t at_ms;
    struct http_call *call;
    struct tcp_check *tcp;
    bool was_up; /* one check of this attempt has succeeded: from now on at its interval */
    uint32_t attempt;
    int64_t up_at_ms; /* started */
};

/* One thing that is sent until it is accepted. */
struct delivery {
    bool is_wanted;
    struct http_call *call;
    int64_t at_ms; /* not before */
    unsigned failures_n;
};

/* The heartbeats of one replica of the control plane: each hears all of them, because each votes on what is lost. */
struct heartbeat {
    struct agent *agent;
    size_t api; /* index into management_apis */
    struct delivery delivery;
    unsigned refused_n; /* in a row that were taken for old */
};

struct instance {
    struct agent *agent;
    struct id id;
    char id_text[ID_TEXT_SIZE];
    struct arena arena; /* of spec */
    struct instance_spec spec;
    uint64_t revision;
    char *folder, *run_folder, *data_folder, *cgroup;
    const struct runtime_ops *ops; /* NULL until it is known */
    struct runtime_instance *run;
    uint32_t attempt; /* of what runs or is prepared */
    bool has_guest;
    struct network_guest guest;
    bool waits_for_preflight;
    char *image_path;
    struct image_wait *image_wait;
    struct http_call *secrets_call;
    char *cert_file, *key_file; /* host: its identity */
    struct strs secrets_env;    /* in secrets_arena */
    struct arena secrets_arena;
    bool has_secrets; /* of a microVM: fetched for the start at hand */
    struct line_log *lines;
    struct checker check;
    struct delivery state, logs;
    int64_t logs_seq;
    int64_t clean_at_ms;    /* CLEAN under way has to be tried again */
    unsigned event_calls_n; /* of its event channel, under way */
    unsigned event_waits_n; /* of them: for news */
    struct agent_umbilical {
        struct umbilical_report report; /* the last one; run_id none: there was none */
        struct arena arena;             /* of it */
        int64_t heard_ms;
        uint32_t attempt; /* that it is of */
    } umbilical;
    char since[40];
    enum converge_status since_status;
    UT_hash_handle hh;
};

struct queued;

struct agent {
    struct agent_options o;
    struct converge *converge;
    struct converge_output out;
    struct queued *queue, **queue_end;
    bool is_draining_queue, is_stopping, is_halted;
    struct instance *instances;
    uv_timer_t timer;
    uv_timer_t heartbeat;
    uv_timer_t ended; /* --stop-all: on_end is called from the loop, once nothing is left */
    bool has_ended;
    char *probe_folder, *probe_cgroup;
    int sweeps_n;
    int handles_open;
    void (*on_stopped)(void *ctx);
    void *on_stopped_ctx;
    int lock_fd;
    char *instances_folder, *tombstones_folder, *peer_uri;
    char boot_id[AGENT_BOOT_ID_SIZE], kernel_boot_id[BOOT_ID_SIZE];
    char incarnation[40];
    int64_t report_seq, report_seq_kept;
    struct runtime_host host;
    struct network *network;
    struct resolver *resolver;
    struct image_cache *images;
    struct preflight *preflight;
    struct preflight *preflight_again; /* while no microVM could be booted; takes the other's place when it is done */
    uv_timer_t probe_again;
    int64_t probe_again_ms;
    struct http_server *server;
    struct http_server *event_channel; /* NULL: no microVMs here */
    struct follow *follow;
    size_t api;      /* that answered last */
    uint64_t jitter; /* pace.h */
    struct delivery join;
    struct heartbeat *heartbeats; /* management_apis_n */
    int64_t hurried_ms;           /* a heartbeat was sent before its time, for news of an umbilical */
};

int64_t agent_now_ms(void);
/* The timer has to look again at at_ms at the latest. */
void agent_wake_at(struct agent *a, int64_t at_ms);
/* Into converge, then carry out what it says. May be called from everywhere; texts and lists are copied. */
void agent_give(struct agent *a, const struct converge_input *in);
bool agent_has_label(const struct agent *a, const char *label);
bool agent_is_installation(const struct agent *a, const char *owner);

/* ---- instance.c ---- */
struct instance *instance_find(const struct agent *a, struct id id);
/* A new one with its folders' names; or the same with another spec. Takes the arena. */
struct instance *instance_put(struct agent *a, struct id id, struct arena *arena, const struct instance_spec *spec);
void instance_drop(struct instance *i); /* from memory */
enum err instance_keep_spec(const struct instance *i, struct errinfo *err);
enum err instance_keep_state(const struct instance *i, struct errinfo *err);
/* Everything that is on disk, into converge: at the start of the agent. */
enum err instances_load(struct agent *a, struct errinfo *err);
struct converge_want instance_want(const struct instance *i);
void instance_statistics_fill(const struct instance *i, struct instance_statistics *ret, struct arena *arena);
void instance_resource_fill(const struct instance *i, struct instance_resource *ret, struct arena *arena);
struct str instance_cause(const struct instance *i, struct arena *arena);
bool instance_is_host(const struct instance *i);

/* ---- act.c ---- */
void agent_act(struct agent *a, const struct converge_action *action);
/* Go on with the preparation under way, as far as what is there allows. */
void act_prepare_next(struct instance *i);
void act_clean_again(struct instance *i);
/* Start and adopt need the same facts; lent from the arena. */
void act_facts(const struct instance *i, struct arena *arena, struct runtime_facts *ret_facts);
struct runtime_events act_events(struct instance *i);

/* ---- secrets.c ---- */
/* Whether a host program still needs its identity from the control plane. */
bool secrets_are_missing(struct instance *i);
/* Wipe the environment that was fetched: the next start asks anew. */
void secrets_forget(struct instance *i);
/* Ask for it; act_prepare_next is called when it is there, else PREPARED says why not. */
void secrets_fetch(struct instance *i);

/* ---- desired.c ---- */
/* Accept, keep on disk, give to converge. *ret_is_new.
 * OK | ERR_INVALID | ERR_DENIED owner or artifact | ERR_CONFLICT deleted | ERR_IO */
enum err desired_accept(struct agent *a, struct arena *arena, const struct instance_spec *spec, bool *ret_is_new,
                        struct errinfo *err);
enum err desired_follow(struct agent *a, struct errinfo *err);

/* ---- check.c ---- */
void check_begin(struct instance *i); /* it was started */
void check_soon(struct instance *i);
void check_end(struct instance *i);
void check_tick(struct instance *i, int64_t now_ms);
/* URL of a host program's own listener, from its metrics file; NULL: not known. Returned. */
char *check_metrics_url(const struct instance *i);

/* ---- report.c ---- */
/* Its reports are of another home from now on: a new incarnation (not yet on disk). */
void agent_incarnate(struct agent *a);
int64_t report_next_seq(struct agent *a);
void report_state(struct instance *i); /* push it, newest wins */
void report_logs(struct instance *i);
void report_tick(struct agent *a, int64_t now_ms);
void report_instance_tick(struct instance *i, int64_t now_ms);
void report_cancel(struct instance *i);
void report_begin(struct agent *a); /* once, before the first tick */
void report_end(struct agent *a);   /* the node's own are cancelled; no tick after it */
void report_node(struct agent *a);  /* a heartbeat now */
void report_node_fill(struct agent *a, struct node_report *ret, struct arena *arena);
const char *report_api(const struct agent *a); /* NULL: none known */
void report_used(const struct agent *a, struct resources *ret_used);
void report_capacity(const struct agent *a, struct resources *ret_capacity);

/* ---- event_channel.c ---- */
#define EVENT_CHANNEL_ADDRESS_SIZE 64
enum err event_channel_open(struct agent *a, struct errinfo *err); /* nothing on a node without microVMs */
void event_channel_address(const struct agent *a, char ret_text[static EVENT_CHANNEL_ADDRESS_SIZE]);

/* ---- umbilical.c ---- */
/* A program reports: kept until its next report. An older one changes nothing.
 * OK | ERR_INVALID, ERR_LIMIT it is none, or holds more than one may */
enum err umbilical_hear(struct instance *i, struct str body, int64_t now_ms, struct errinfo *err);
/* For a heartbeat; lent until the next report. */
void umbilical_fill(const struct instance *i, int64_t now_ms, struct umbilical *ret);

/* ---- api.c ---- */
enum err api_open(struct agent *a, struct errinfo *err);
