/* What the agent tells the control plane: who it is, states, heartbeats, output. Each is sent until it is accepted,
 * one at a time, the newest instead of an older one; numbers rise, so that a late one is seen to be late. */
#include <sys/statvfs.h>

#include "base/mem.h"
#include "base/own.h"
#include "node/agent/private.h"

/* Report numbers are taken from blocks that are on disk before they are used. */
static const int64_t SEQ_BLOCK = 1000;
/* Heartbeats refused in a row, 2 s apart: no late answer of an earlier boot (chosen). */
enum { REFUSED_TOO_OFTEN = 3 };
/* What an instance costs that names no limits: as runtime/ starts it. */
static const int64_t MEMORY_DEFAULT = 256LL * 1024 * 1024;

static void keep_numbers(struct agent *a)
{
    struct errinfo err;
    struct kept_agent kept = {.incarnation = str_from(a->incarnation), .report_seq = a->report_seq + SEQ_BLOCK};
    if (keep_write(a->o.home, "agent", &KEPT_AGENT_TABLE, &kept, &err) != OK)
        log_err(a->o.log, &err, "report numbers");
    a->report_seq_kept = kept.report_seq;
}

int64_t report_next_seq(struct agent *a)
{
    if (a->report_seq >= a->report_seq_kept)
        keep_numbers(a);
    return ++a->report_seq;
}

/* The control plane takes its reports for old ones: its home was put back to an earlier state, or a late report of an
 * earlier boot was taken for a new one. Under another name its numbers say nothing about those of before. Once: if that
 * does not help, it is for another reason. */
static void heartbeat_refused(struct heartbeat *h)
{
    struct agent *a = h->agent;
    if (++h->refused_n != REFUSED_TOO_OFTEN)
        return;
    for (size_t i = 0; i < a->o.management_apis_n; i++)
        a->heartbeats[i].refused_n = REFUSED_TOO_OFTEN; /* what the other replicas say is of the old name */
    log_warn(a->o.log, "the control plane takes the reports of this node for old ones: it goes on under a new name");
    agent_incarnate(a);
    keep_numbers(a);
}

const char *report_api(const struct agent *a)
{
    return a->o.management_apis_n == 0 ? NULL : a->o.management_apis[a->api % a->o.management_apis_n];
}

static struct http_call *tell(const struct agent *a, const char *api, unsigned failures_n, const char *method,
                              const char *path, const char *content_type, struct str body,
                              void (*on_done)(struct http_result *, void *), void *ctx)
{
    auto_free char *url = mem_printf("%s%s", api, path);
    struct http_call_options call = {.method = method,
                                     .url = url,
                                     .content_type = content_type,
                                     .body = body,
                                     .ca_file = a->o.ca_file,
                                     .cert_file = a->o.cert_file,
                                     .key_file = a->o.key_file,
                                     .peer_uri = a->peer_uri,
                                     .connect_timeout_ms = pace_patience_ms(failures_n),
                                     .total_timeout_ms = 15000};
    return http_client_send(a->o.client, &call, on_done, ctx);
}

/* The replica that answered last: one is enough, what it takes is in the log of all. */
static struct http_call *tell_control(const struct agent *a, unsigned failures_n, const char *method, const char *path,
                                      const char *content_type, struct str body,
                                      void (*on_done)(struct http_result *, void *), void *ctx)
{
    return tell(a, report_api(a), failures_n, method, path, content_type, body, on_done, ctx);
}

enum outcome { TAKEN, REFUSED, AGAIN };

/* A refusal (4xx) is final: the same would be refused again. AGAIN: at_ms is set. */
static enum outcome outcome_of(struct agent *a, struct delivery *d, const struct http_result *r)
{
    d->call = NULL;
    bool refused = r->status >= 400 && r->status < 500 && r->status != 408 && r->status != 429;
    if (r->code == OK || refused) {
        d->failures_n = 0;
        return r->code == OK ? TAKEN : REFUSED;
    }
    a->api++; /* another replica */
    d->at_ms = agent_now_ms() + pace_retry_ms(d->failures_n++, &a->jitter);
    d->is_wanted = true;
    return AGAIN;
}

/* ---- states ---- */

static void on_state_done(struct http_result *r, void *ctx)
{
    struct instance *i = ctx;
    if (outcome_of(i->agent, &i->state, r) == REFUSED)
        log_warn(i->agent->o.log, "the state of instance '%s' was refused: %s", i->id_text, r->err.msg);
    report_instance_tick(i, agent_now_ms());
}

static void send_state(struct instance *i)
{
    AUTO(arena) struct arena arena = {0};
    const struct converge_view *v = converge_find(i->agent->converge, i->id);
    if (v == NULL)
        return;
    struct instance_state s = {.observed = str_from(converge_status_name(v->status)),
                               .health = str_from(converge_health_name(v->health)),
                               .cause = instance_cause(i, &arena),
                               .boot_id = str_from(i->agent->boot_id),
                               .report_seq = report_next_seq(i->agent)};
    instance_statistics_fill(i, &s.statistics, &arena);
    AUTO(buf) struct buf body = {0};
    fields_encode(&INSTANCE_STATE_WIRE, &s, &body);
    auto_free char *path = mem_printf("/v1/instances/%s/state", i->id_text);
    i->state.is_wanted = false;
    i->state.call = tell_control(i->agent, i->state.failures_n, "PUT", path, NULL, buf_str(&body), on_state_done, i);
}

/* Only the installation's own: the control plane knows no others. */
static bool is_told(const struct instance *i)
{
    return str_eq_c(i->spec.owner, i->agent->o.installation);
}

void report_state(struct instance *i)
{
    if (!is_told(i))
        return;
    i->state.is_wanted = true;
    i->state.at_ms = 0;
    agent_wake_at(i->agent, 0);
}

/* ---- output ---- */

static void on_logs_done(struct http_result *r, void *ctx)
{
    struct instance *i = ctx;
    enum outcome outcome = outcome_of(i->agent, &i->logs, r);
    if (outcome == REFUSED)
        log_warn(i->agent->o.log, "output of instance '%s' was refused: %s", i->id_text, r->err.msg);
    if (outcome != AGAIN && i->lines != NULL) { /* taken, or nobody will ever take it */
        line_log_ack(i->lines, i->logs_seq);
        i->logs.is_wanted = line_log_has_news(i->lines);
    }
    report_instance_tick(i, agent_now_ms());
}

static void send_logs(struct instance *i)
{
    AUTO(buf) struct buf lines = {0};
    i->logs.is_wanted = false;
    if (i->lines == NULL || !line_log_batch(i->lines, &lines, &i->logs_seq))
        return;
    auto_free char *path = mem_printf("/v1/instances/%s/logs", i->id_text);
    i->logs.call = tell_control(i->agent, i->logs.failures_n, "POST", path, "application/x-ndjson", buf_str(&lines),
                                on_logs_done, i);
}

/* 100 ms: lines that come together go together (chosen). */
void report_logs(struct instance *i)
{
    if (!is_told(i) || i->logs.is_wanted)
        return;
    i->logs.is_wanted = true;
    int64_t at_ms = agent_now_ms() + 100;
    i->logs.at_ms = i->logs.at_ms > at_ms ? i->logs.at_ms : at_ms;
    agent_wake_at(i->agent, i->logs.at_ms);
}

/* Send it when it is due, else look again then. */
static bool deliver(struct agent *a, const struct delivery *d, int64_t now_ms)
{
    if (!d->is_wanted || d->call != NULL || report_api(a) == NULL || a->o.stop_all)
        return false;
    if (now_ms < d->at_ms)
        agent_wake_at(a, d->at_ms);
    return now_ms >= d->at_ms;
}

void report_instance_tick(struct instance *i, int64_t now_ms)
{
    if (deliver(i->agent, &i->state, now_ms))
        send_state(i);
    if (deliver(i->agent, &i->logs, now_ms))
        send_logs(i);
}

void report_cancel(struct instance *i)
{
    if (i->state.call != NULL)
        http_call_cancel(TAKE(i->state.call));
    if (i->logs.call != NULL)
        http_call_cancel(TAKE(i->logs.call));
}

/* ---- the node ---- */

void report_capacity(const struct agent *a, struct resources *ret)
{
    struct statvfs disk;
    *ret = a->o.capacity;
    if (ret->vcpus == 0)
        ret->vcpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (ret->memory_bytes == 0) /* a tenth stays for the host */
        ret->memory_bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / 10 * 9;
    if (ret->disk_bytes == 0 && statvfs(a->o.home, &disk) == 0)
        ret->disk_bytes = (int64_t)(disk.f_blocks * disk.f_frsize / 10 * 9);
}

void report_used(const struct agent *a, struct resources *ret)
{
    *ret = (struct resources){0};
    for (const struct instance *i = a->instances; i != NULL; i = i->hh.next) {
        const struct converge_view *v = converge_find(a->converge, i->id);
        if (v == NULL || v->status == CONVERGE_STATUS_STOPPED || v->status == CONVERGE_STATUS_FAILED ||
            instance_is_host(i))
            continue;
        const struct resources *r = &i->spec.resources;
        ret->vcpus += r->vcpus > 0 ? r->vcpus : 1;
        ret->memory_bytes += r->memory_bytes > 0 ? r->memory_bytes : MEMORY_DEFAULT;
        ret->disk_bytes += r->disk_bytes;
    }
}

static void on_join_done(struct http_result *r, void *ctx)
{
    struct agent *a = ctx;
    if (outcome_of(a, &a->join, r) == REFUSED)
        log_warn(a->o.log, "the control plane refuses this node: %s", r->err.msg);
    report_tick(a, agent_now_ms());
}

static void send_join(struct agent *a)
{
    struct str *labels = mem_calloc(a->o.labels_n + 1, sizeof(*labels));
    for (size_t i = 0; i < a->o.labels_n; i++)
        labels[i] = str_from(a->o.labels[i]);
    struct node_join join = {.node_id = a->o.node_id,
                             .name = str_from(a->o.node_name),
                             .zone = str_from(a->o.zone),
                             .region = str_from(a->o.region),
                             .labels = {labels, a->o.labels_n},
                             .prefix = str_from(a->o.prefix),
                             .agent_url = str_from(a->o.agent_url)};
    AUTO(buf) struct buf body = {0};
    fields_encode(&NODE_JOIN_WIRE, &join, &body);
    free(labels);
    a->join.is_wanted = false;
    a->join.call = tell_control(a, a->join.failures_n, "POST", "/v1/nodes", NULL, buf_str(&body), on_join_done, a);
}

static void on_heartbeat_done(struct http_result *r, void *ctx)
{
    struct heartbeat *h = ctx;
    struct agent *a = h->agent;
    h->delivery.call = NULL;
    h->delivery.failures_n = r->status == 0 ? h->delivery.failures_n + 1 : 0;
    if (r->status == 404) /* a control plane that does not know us (yet, or any more) */
        a->join.is_wanted = true;
    if (r->status == 409)
        heartbeat_refused(h);
    else if (r->code == OK)
        h->refused_n = 0;
    if (r->code != OK && a->api % a->o.management_apis_n == h->api)
        a->api++; /* the next heartbeat is the retry */
    report_tick(a, agent_now_ms());
}

static struct objects instance_reports(const struct agent *a, struct arena *arena)
{
    struct objects list = {arena_alloc(arena, (HASH_COUNT(a->instances) + 1) * sizeof(struct instance_report)), 0};
    struct instance_report *reports = list.items;
    for (const struct instance *i = a->instances; i != NULL; i = i->hh.next) {
        const struct converge_view *v = converge_find(a->converge, i->id);
        if (v == NULL)
            continue;
        struct instance_report *r = &reports[list.n++];
        r->instance_id = i->id;
        r->status = str_from(converge_status_name(v->status));
        r->health = str_from(converge_health_name(v->health));
        instance_statistics_fill(i, &r->statistics, arena);
        umbilical_fill(i, agent_now_ms(), &r->umbilical);
    }
    return list;
}

void report_node_fill(struct agent *a, struct node_report *ret, struct arena *arena)
{
    bool ready = a->preflight != NULL && preflight_is_done(a->preflight);
    const char *failure = ready ? preflight_failure(a->preflight) : NULL;
    const char *cause = !ready            ? "the pre-flight is under way"
                        : failure == NULL ? ""
                                          : arena_printf(arena, "no microVM could be booted: %.200s", failure);
    *ret = (struct node_report){.boot_id = str_from(a->boot_id),
                                .status = ready ? STR("ready") : STR("joining"),
                                .cause = str_from(cause),
                                .instances = instance_reports(a, arena)};
    report_capacity(a, &ret->capacity);
    report_used(a, &ret->used);
    if (a->preflight != NULL) {
        ret->preflight = preflight_rows(a->preflight);
        ret->runtimes = preflight_runtimes(a->preflight);
    }
    if (a->follow != NULL)
        ret->cursor = str_from(follow_cursor(a->follow));
}

static void send_heartbeat(struct heartbeat *h)
{
    struct agent *a = h->agent;
    AUTO(arena) struct arena arena = {0};
    AUTO(buf) struct buf body = {0};
    struct node_report r;
    char id[ID_TEXT_SIZE];
    report_node_fill(a, &r, &arena);
    r.report_seq = report_next_seq(a);
    fields_encode(&NODE_REPORT_WIRE, &r, &body);
    id_format(a->o.node_id, id);
    auto_free char *path = mem_printf("/v1/nodes/%s/status", id);
    h->delivery.is_wanted = false;
    h->delivery.call = tell(a, a->o.management_apis[h->api], h->delivery.failures_n, "PUT", path, NULL, buf_str(&body),
                            on_heartbeat_done, h);
}

void report_node(struct agent *a)
{
    for (size_t i = 0; i < a->o.management_apis_n; i++)
        a->heartbeats[i].delivery.is_wanted = true;
    agent_wake_at(a, 0);
}

void report_tick(struct agent *a, int64_t now_ms)
{
    if (deliver(a, &a->join, now_ms))
        send_join(a);
    for (size_t i = 0; a->join.call == NULL && i < a->o.management_apis_n; i++)
        if (deliver(a, &a->heartbeats[i].delivery, now_ms))
            send_heartbeat(&a->heartbeats[i]);
}

void report_begin(struct agent *a)
{
    a->heartbeats = mem_calloc(a->o.management_apis_n + 1, sizeof(*a->heartbeats));
    for (size_t i = 0; i < a->o.management_apis_n; i++)
        a->heartbeats[i] = (struct heartbeat){.agent = a, .api = i};
}

void report_end(struct agent *a)
{
    if (a->join.call != NULL)
        http_call_cancel(TAKE(a->join.call));
    for (size_t i = 0; a->heartbeats != NULL && i < a->o.management_apis_n; i++)
        if (a->heartbeats[i].delivery.call != NULL)
            http_call_cancel(TAKE(a->heartbeats[i].delivery.call));
}
