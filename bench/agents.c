/* bench-agents - many node-agents in one process, for bench/agents.py and tests/system/test_agents.py. They run
 * nothing, and say to a real control plane what real ones say: they join, report to every replica every few seconds,
 * follow what they are asked for at one of them by long polls, and report that it starts and is healthy (or has
 * stopped) at once. Each has a certificate, a place in a zone and connections of its own (agents_link.h): one long
 * poll, and one for reports to each replica. Where a real agent may send the states of several instances side by side
 * over more connections, these go one after another over the one to the replica that is followed.
 *
 * stdin: a line with the settings (struct fleet, JSON), then commands, a line each:
 *   vanish MODULUS REST   nodes whose number leaves this rest fall silent, as when their power fails
 *   handshakes N          from now on so many are under way at a time
 * stdout: a JSON document each second, and after each command. Ends when stdin does. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "agents_link.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "base/random.h"
#include "crypto/ca.h"
#include "crypto/openssl.h"
#include "event/fields.h"
#include "wire/node.h"

enum { APIS_MAX = 8, NODES_MAX = 100000, INSTANCES_MAX = 1000, LINE_SIZE_MAX = 65536 };
/* How often nodes are looked at. After an error they begin anew as a real agent does: after 0.5 s, doubled up to a
 * heartbeat's time, spread by a half either way; a connection is waited for as long as a real one waits. */
enum {
    TICK_MS = 20,
    SAY_MS = 1000,
    RETRY_MS_MIN = 500,
    RETRY_MS_MAX = 5000,
    PATIENCE_MS_MIN = 3000,
    PATIENCE_DOUBLINGS_MAX = 2
};
/* Times of answers: eight steps for each doubling from 1 us. */
enum { TIMES_N = 240, STEPS = 8 };

struct fleet {
    struct str installation, region, ca_file, ca_key_file, source;
    struct strs apis, zones;
    int64_t first, nodes, heartbeat_ms, poll_s, handshakes;
};
static const struct field FLEET_FIELDS[] = {
    FIELD_REQ(STR, fleet, installation, "installation", "of the certificates"),
    FIELD_REQ(STR, fleet, region, "region", "of all nodes; there is one"),
    FIELD_REQ(STR, fleet, ca_file, "ca_file", "CA"),
    FIELD_REQ(STR, fleet, ca_key_file, "ca_key_file", "its key: certificates of nodes are made here"),
    FIELD_REQ(STR, fleet, source, "source", "IPv4 address of this process"),
    FIELD_REQ(STRS, fleet, apis, "apis", "IPv4 address and port of each replica"),
    FIELD_REQ(STRS, fleet, zones, "zones", "nodes take them in turn"),
    FIELD_REQ(I64, fleet, first, "first", "number of the first node, from 1"),
    FIELD_REQ(I64, fleet, nodes, "nodes", "how many"),
    FIELD_REQ(I64, fleet, heartbeat_ms, "heartbeat_ms", "between two heartbeats"),
    FIELD_REQ(I64, fleet, poll_s, "poll_s", "of a long poll"),
    FIELD_REQ(I64, fleet, handshakes, "handshakes", "under way at a time"),
};
static const struct field_table FLEET_WIRE = FIELD_TABLE(fleet, FLEET_FIELDS);

enum told { TOLD_NOTHING, TOLD_STARTING, TOLD_RUNNING, TOLD_STOPPED };
static const char *const TOLD_NAMES[] = {"", "starting", "running", "stopped"};

struct item {
    struct id id;
    enum told told, wanted;
    enum told is; /* as a heartbeat has it: what was said last, taken or not. An older state must not go under a newer
                   * number: a report on its way would be late beside it */
    bool is_seen; /* in the full answer that is being read */
};

enum asked { ASKED_NOTHING, ASKED_JOIN, ASKED_BEAT, ASKED_STATE };

/* When a link may be used again after an error. */
struct retry {
    int64_t at_ms;
    unsigned failures_n;
};

/* Reports to one replica. */
struct reports {
    struct link link;
    struct retry retry;
    struct node *node;
    enum asked asked;
    struct id of; /* ASKED_STATE */
    enum told telling;
    bool is_beat_due;
    bool is_heard; /* it has taken a heartbeat since the link was opened */
};

struct node {
    struct agents *all;
    int64_t number;
    char name[32], id_text[ID_TEXT_SIZE], boot_id[ID_TEXT_SIZE];
    struct id id;
    X509 *cert;
    EVP_PKEY *key;
    struct link poll;
    struct retry poll_retry;
    struct reports *reports; /* one a replica */
    size_t home;             /* the replica that it follows */
    bool is_joined, has_vanished;
    int64_t report_seq, beat_at_ms;
    struct str cursor; /* owned */
    struct item *items;
    size_t items_n, items_size, untold_n;
};

struct agents {
    struct arena arena;
    struct fleet o;
    uv_loop_t loop;
    uv_timer_t tick, say;
    uv_pipe_t commands;
    struct buf line;
    struct link_pool pool;
    struct sockaddr_in apis[APIS_MAX];
    struct node *nodes;
    uint64_t jitter;
    uint64_t beats_n, beats_refused_n, polls_n, states_n, states_refused_n, again_n;
    uint64_t times[TIMES_N]; /* of heartbeats' answers */
};

static int64_t now_ms(void)
{
    return clock_mono_us() / 1000;
}

_Noreturn static void stop(const char *what, const struct errinfo *err)
{
    (void)fprintf(stderr, "bench-agents: %s: %s\n", what, err->msg);
    exit(1);
}

/* ---- what it says about itself ---- */

static size_t time_index(int64_t us)
{
    double at = us < 1 ? 0 : log2((double)us) * STEPS;
    return at >= TIMES_N - 1 ? TIMES_N - 1 : (size_t)at;
}

static json_t *times_json(const struct agents *all)
{
    json_t *list = json_array();
    size_t n = TIMES_N;
    while (n > 0 && all->times[n - 1] == 0)
        n--;
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer((json_int_t)all->times[i]));
    return list;
}

struct census {
    int64_t joined, vanished, heard, instances, healthy, untold;
};

static struct census count(const struct agents *all)
{
    struct census c = {0};
    for (int64_t i = 0; i < all->o.nodes; i++) {
        const struct node *n = &all->nodes[i];
        c.vanished += n->has_vanished;
        if (n->has_vanished)
            continue;
        c.joined += n->is_joined;
        for (size_t k = 0; k < all->o.apis.n; k++)
            c.heard += n->reports[k].is_heard;
        c.untold += (int64_t)n->untold_n;
        for (size_t k = 0; k < n->items_n; k++) {
            c.instances += n->items[k].wanted == TOLD_RUNNING;
            c.healthy += n->items[k].wanted == TOLD_RUNNING && n->items[k].told == TOLD_RUNNING;
        }
    }
    return c;
}

static void say(const struct agents *all)
{
    struct census c = count(all);
    const struct link_pool *p = &all->pool;
    auto_json json_t *doc = json_object();
    const struct {
        const char *name;
        int64_t n;
    } NUMBERS[] = {{"joined", c.joined},
                   {"vanished", c.vanished},
                   {"heard", c.heard},
                   {"instances", c.instances},
                   {"healthy", c.healthy},
                   {"untold", c.untold},
                   {"links", (int64_t)p->open_n},
                   {"opening", (int64_t)p->opening_n},
                   {"handshakes", (int64_t)p->handshakes_n},
                   {"handshakes_us", (int64_t)p->handshakes_us},
                   {"lost_links", (int64_t)p->lost_n},
                   {"beats", (int64_t)all->beats_n},
                   {"beats_refused", (int64_t)all->beats_refused_n},
                   {"polls", (int64_t)all->polls_n},
                   {"states", (int64_t)all->states_n},
                   {"states_refused", (int64_t)all->states_refused_n},
                   {"again", (int64_t)all->again_n}};
    for (size_t i = 0; i < sizeof(NUMBERS) / sizeof(NUMBERS[0]); i++)
        json_object_set_new(doc, NUMBERS[i].name, json_integer((json_int_t)NUMBERS[i].n));
    json_object_set_new(doc, "times", times_json(all));
    json_object_set_new(doc, "trouble", json_from_str(str_from(p->last_err.msg)));
    auto_free char *text = json_format(doc);
    (void)printf("%s\n", text);
    (void)fflush(stdout);
}

/* ---- what an agent is asked for ---- */

static struct item *item_find(const struct node *n, struct id id)
{
    for (size_t i = 0; i < n->items_n; i++)
        if (id_eq(n->items[i].id, id))
            return &n->items[i];
    return NULL;
}

static struct item *item_put(struct node *n, struct id id)
{
    struct item *i = item_find(n, id);
    if (i != NULL || n->items_n == INSTANCES_MAX)
        return i;
    if (n->items_n == n->items_size) {
        n->items_size = n->items_size == 0 ? 16 : n->items_size * 2;
        n->items = mem_realloc(n->items, n->items_size * sizeof(*n->items));
    }
    i = &n->items[n->items_n++];
    *i = (struct item){.id = id};
    return i;
}

static void item_drop(struct node *n, struct item *i)
{
    *i = n->items[--n->items_n];
}

static void take_item(struct node *n, const json_t *doc)
{
    struct id id;
    const json_t *spec = json_object_get(doc, "spec");
    struct str desired = json_member_str(spec, "desired");
    if (!id_parse(json_member_str(doc, "instance_id"), &id))
        return;
    if (desired.len == 0)
        desired = json_member_str(doc, "desired");
    struct item *i = item_put(n, id);
    if (i == NULL)
        return;
    i->is_seen = true;
    i->wanted = str_eq_c(desired, "stopped") ? TOLD_STOPPED : TOLD_RUNNING;
}

static void take_document(struct node *n, const json_t *doc)
{
    struct id id;
    const json_t *items = json_object_get(doc, "items"), *removed = json_object_get(doc, "removed");
    bool is_full = json_is_true(json_object_get(doc, "full"));
    for (size_t i = 0; i < n->items_n; i++)
        n->items[i].is_seen = false;
    for (size_t i = 0; i < json_array_size(items); i++)
        take_item(n, json_array_get(items, i));
    for (size_t i = n->items_n; is_full && i-- > 0;)
        if (!n->items[i].is_seen)
            item_drop(n, &n->items[i]);
    for (size_t i = 0; i < json_array_size(removed); i++) {
        struct item *gone =
            id_parse(str_from(json_string_value(json_array_get(removed, i))), &id) ? item_find(n, id) : NULL;
        if (gone != NULL)
            item_drop(n, gone);
    }
    n->untold_n = 0;
    for (size_t i = 0; i < n->items_n; i++)
        n->untold_n += n->items[i].told != n->items[i].wanted;
}

/* ---- what it sends ---- */

static void send_join(struct reports *r)
{
    struct node *n = r->node;
    const struct agents *all = n->all;
    AUTO(arena) struct arena a = {0};
    AUTO(buf) struct buf body = {0};
    struct str label = STR("worker");
    struct node_join join = {.node_id = n->id,
                             .name = str_from(n->name),
                             .zone = all->o.zones.items[(size_t)n->number % all->o.zones.n],
                             .region = all->o.region,
                             .labels = {&label, 1},
                             .prefix = str_from(arena_printf(&a, "fd0b:%x:%x:1::/64", (unsigned)(n->number >> 16),
                                                             (unsigned)(n->number & 0xffff))),
                             .agent_url = str_from(arena_printf(&a, "https://%s:7610", n->name))};
    fields_encode(&NODE_JOIN_WIRE, &join, &body);
    r->asked = ASKED_JOIN;
    link_send(&r->link, "POST", "/v1/nodes", buf_str(&body));
}

/* As many rows as a real one has, and as long. */
static struct objects preflight(struct arena *a)
{
    static const struct {
        const char *check, *detail;
    } ROWS[] = {{"kvm", "/dev/kvm is not there: microVMs are emulated"},
                {"qemu", "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"},
                {"kernel", "6.1.0 for guests"},
                {"probe-guest", "a guest has answered after 2950 ms"},
                {"cgroup", "version 2"},
                {"nft", "nftables v1.0.6"},
                {"network", "the prefix is routed to the fabric"}};
    size_t n = sizeof(ROWS) / sizeof(ROWS[0]);
    struct preflight_check *list = arena_alloc(a, n * sizeof(*list));
    for (size_t i = 0; i < n; i++)
        list[i] =
            (struct preflight_check){.check = str_from(ROWS[i].check), .ok = i > 0, .detail = str_from(ROWS[i].detail)};
    return (struct objects){list, n};
}

static struct objects instance_reports(const struct node *n, struct arena *a)
{
    struct instance_report *list = arena_alloc(a, (n->items_n + 1) * sizeof(*list));
    size_t told_n = 0;
    for (size_t i = 0; i < n->items_n; i++) {
        const struct item *item = &n->items[i];
        if (item->is == TOLD_NOTHING)
            continue;
        list[told_n++] = (struct instance_report){.instance_id = item->id,
                                                  .status = str_from(TOLD_NAMES[item->is]),
                                                  .health = item->is == TOLD_RUNNING ? STR("NOMINAL") : STR(""),
                                                  .statistics = {.pid = 4711 + (int64_t)i,
                                                                 .memory_bytes = 132120576,
                                                                 .cpu_ms = 12 * n->report_seq,
                                                                 .runtime = STR("qemu"),
                                                                 .boot_ms = 2950}};
    }
    return (struct objects){list, told_n};
}

static void send_beat(struct reports *r)
{
    struct node *n = r->node;
    AUTO(arena) struct arena a = {0};
    AUTO(buf) struct buf body = {0};
    struct str runtimes[] = {STR("qemu"), STR("host")};
    struct node_report report = {.boot_id = str_from(n->boot_id),
                                 .report_seq = ++n->report_seq,
                                 .status = STR("ready"),
                                 .capacity = {64, INT64_C(256) << 30, INT64_C(4) << 40},
                                 .used = {(int64_t)n->items_n, (int64_t)n->items_n << 28, 0},
                                 .runtimes = {runtimes, 2},
                                 .preflight = preflight(&a),
                                 .cursor = n->cursor,
                                 .instances = instance_reports(n, &a)};
    fields_encode(&NODE_REPORT_WIRE, &report, &body);
    r->asked = ASKED_BEAT;
    r->is_beat_due = false;
    link_send(&r->link, "PUT", arena_printf(&a, "/v1/nodes/%s/status", n->id_text), buf_str(&body));
}

static void send_state(struct reports *r, struct item *i)
{
    struct node *n = r->node;
    AUTO(arena) struct arena a = {0};
    AUTO(buf) struct buf body = {0};
    char id[ID_TEXT_SIZE];
    id_format(i->id, id);
    r->asked = ASKED_STATE;
    r->of = i->id;
    r->telling = i->wanted == TOLD_RUNNING && i->told == TOLD_NOTHING ? TOLD_STARTING : i->wanted;
    i->is = r->telling;
    struct instance_state state = {
        .observed = str_from(TOLD_NAMES[r->telling]),
        .health = r->telling == TOLD_RUNNING ? STR("NOMINAL") : STR(""),
        .boot_id = str_from(n->boot_id),
        .report_seq = ++n->report_seq,
        .statistics = {.pid = 4711, .memory_bytes = 132120576, .runtime = STR("qemu"), .boot_ms = 2950}};
    fields_encode(&INSTANCE_STATE_WIRE, &state, &body);
    link_send(&r->link, "PUT", arena_printf(&a, "/v1/instances/%s/state", id), buf_str(&body));
}

/* Whatever is to be said to this replica, one thing at a time. */
static void report(struct reports *r)
{
    struct node *n = r->node;
    bool is_home = r == &n->reports[n->home];
    if (r->link.state != LINK_IDLE || now_ms() < r->retry.at_ms)
        return;
    if (!n->is_joined) {
        if (is_home)
            send_join(r);
    } else if (r->is_beat_due) {
        send_beat(r);
    } else if (is_home && n->untold_n > 0) {
        for (size_t i = 0; i < n->items_n; i++)
            if (n->items[i].told != n->items[i].wanted) {
                send_state(r, &n->items[i]);
                return;
            }
    }
}

static void poll(struct node *n)
{
    AUTO(arena) struct arena a = {0};
    if (n->poll.state == LINK_IDLE && n->is_joined && now_ms() >= n->poll_retry.at_ms)
        link_send(&n->poll, "GET",
                  arena_printf(&a, "/v1/instances?node_id=%s&wait=%lld%s%.*s", n->id_text, (long long)n->all->o.poll_s,
                               n->cursor.len > 0 ? "&cursor=" : "", STR_ARG(n->cursor)),
                  (struct str){0});
}

/* ---- answers ---- */

/* xorshift64: spreading needs no better one. */
static uint64_t jitter_next(struct agents *all)
{
    all->jitter ^= all->jitter << 13;
    all->jitter ^= all->jitter >> 7;
    all->jitter ^= all->jitter << 17;
    return all->jitter;
}

static void try_again(struct agents *all, struct retry *r)
{
    uint64_t ms = RETRY_MS_MIN;
    for (unsigned i = 0; i < r->failures_n && ms < RETRY_MS_MAX; i++)
        ms = ms * 2 < RETRY_MS_MAX ? ms * 2 : RETRY_MS_MAX;
    r->failures_n++;
    r->at_ms = now_ms() + (int64_t)(ms / 2 + jitter_next(all) % (ms + 1));
    all->again_n++;
}

/* A connection that does not come about. */
static void look_at_patience(struct link *l, const struct retry *r, int64_t at_ms)
{
    unsigned doublings = r->failures_n < PATIENCE_DOUBLINGS_MAX ? r->failures_n : PATIENCE_DOUBLINGS_MAX;
    if (link_is_opening(l) && at_ms - l->since_us / 1000 > (int64_t)PATIENCE_MS_MIN << doublings)
        link_lose(l, "not within its time");
}

static void state_taken(struct reports *r, bool is_refused)
{
    struct node *n = r->node;
    struct item *i = item_find(n, r->of);
    n->all->states_n++;
    n->all->states_refused_n += is_refused;
    if (i == NULL)
        return; /* it was taken away meanwhile */
    i->told = is_refused ? i->wanted : r->telling;
    if (i->told == i->wanted)
        n->untold_n--;
}

static void on_report(struct link *l, int status, struct str body)
{
    struct reports *r = l->ctx;
    struct node *n = r->node;
    struct agents *all = n->all;
    enum asked asked = r->asked;
    bool is_taken = status >= 200 && status < 300, is_refused = status >= 400 && status < 500;
    (void)body;
    r->asked = ASKED_NOTHING;
    r->is_heard = status != 0 && (r->is_heard || (asked == ASKED_BEAT && is_taken));
    if (status != 0)
        r->retry.failures_n = 0;
    if (asked == ASKED_BEAT && is_taken) {
        all->beats_n++;
        all->times[time_index(clock_mono_us() - l->since_us)]++;
    } else if (asked == ASKED_BEAT && status != 0) { /* the next one is the retry */
        all->beats_refused_n++;
        n->is_joined = n->is_joined && status != 404;
    } else if (asked == ASKED_JOIN && is_taken) {
        n->is_joined = true;
    } else if (asked == ASKED_STATE && (is_taken || is_refused)) {
        state_taken(r, is_refused);
    } else {
        try_again(all, &r->retry);
    }
    r->is_beat_due = r->is_beat_due || (asked == ASKED_BEAT && status == 0);
    report(r);
    poll(n);
}

static void on_news(struct link *l, int status, struct str body)
{
    struct node *n = l->ctx;
    auto_json json_t *doc = NULL;
    if (status != 200 || json_parse(body, &doc, NULL) != OK) {
        try_again(n->all, &n->poll_retry);
        return;
    }
    n->poll_retry.failures_n = 0;
    n->all->polls_n++;
    struct str cursor = json_member_str(doc, "cursor");
    free((void *)(uintptr_t)n->cursor.ptr);
    n->cursor = (struct str){mem_strndup(cursor.ptr, cursor.len), cursor.len};
    take_document(n, doc);
    poll(n);
    report(&n->reports[n->home]);
}

static void on_reports_open(struct link *l)
{
    report(l->ctx);
}

static void on_poll_open(struct link *l)
{
    poll(l->ctx);
}

/* ---- time ---- */

static void look(struct node *n, int64_t at_ms)
{
    size_t apis_n = n->all->o.apis.n;
    if (n->has_vanished)
        return;
    bool is_due = at_ms >= n->beat_at_ms;
    if (is_due)
        n->beat_at_ms += n->all->o.heartbeat_ms * (1 + (at_ms - n->beat_at_ms) / n->all->o.heartbeat_ms);
    for (size_t i = 0; i < apis_n; i++) {
        struct reports *r = &n->reports[i];
        r->is_beat_due = r->is_beat_due || is_due;
        look_at_patience(&r->link, &r->retry, at_ms);
        if (r->link.state == LINK_CLOSED && at_ms >= r->retry.at_ms)
            link_open(&r->link);
        else if (is_due || i == n->home)
            report(r);
    }
    look_at_patience(&n->poll, &n->poll_retry, at_ms);
    if (n->poll.state == LINK_CLOSED && at_ms >= n->poll_retry.at_ms)
        link_open(&n->poll);
    else
        poll(n);
}

static void on_tick(uv_timer_t *timer)
{
    struct agents *all = timer->data;
    int64_t at_ms = now_ms();
    for (int64_t i = 0; i < all->o.nodes; i++)
        look(&all->nodes[i], at_ms);
}

static void on_say(uv_timer_t *timer)
{
    say(timer->data);
}

/* ---- commands ---- */

static void vanish(struct node *n)
{
    n->has_vanished = true;
    link_close(&n->poll);
    for (size_t i = 0; i < n->all->o.apis.n; i++)
        link_close(&n->reports[i].link);
}

static void end(struct agents *all)
{
    for (int64_t i = 0; i < all->o.nodes; i++)
        vanish(&all->nodes[i]);
    uv_close((uv_handle_t *)&all->tick, NULL);
    uv_close((uv_handle_t *)&all->say, NULL);
    uv_close((uv_handle_t *)&all->commands, NULL);
}

static void obey(struct agents *all, struct str line)
{
    struct str words[3] = {0}, rest = line;
    uint64_t modulus = 0, remainder = 0, handshakes = 0;
    for (int i = 0; i < 3; i++)
        (void)str_next(&rest, ' ', &words[i]);
    if (str_eq_c(words[0], "handshakes") && str_parse_u64(words[1], UINT32_MAX, &handshakes) && handshakes > 0) {
        all->pool.opening_max = (size_t)handshakes;
        return;
    }
    if (!str_eq_c(words[0], "vanish") || !str_parse_u64(words[1], NODES_MAX, &modulus) || modulus == 0 ||
        !str_parse_u64(words[2], modulus - 1, &remainder)) {
        (void)fprintf(stderr, "bench-agents: there is no command '%.*s'\n", STR_ARG(line));
        return;
    }
    for (int64_t i = 0; i < all->o.nodes; i++)
        if ((uint64_t)all->nodes[i].number % modulus == remainder)
            vanish(&all->nodes[i]);
    say(all);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    (void)handle;
    *ret = uv_buf_init(mem_alloc(size), (unsigned)size);
}

static void on_commands(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct agents *all = stream->data;
    if (n > 0)
        buf_add(&all->line, bytes->base, (size_t)n);
    free(bytes->base);
    for (char *end_of = NULL; all->line.len > 0 && (end_of = memchr(all->line.ptr, '\n', all->line.len)) != NULL;) {
        size_t len = (size_t)(end_of - all->line.ptr);
        obey(all, (struct str){all->line.ptr, len});
        buf_consume(&all->line, len + 1);
    }
    if (n < 0 || all->line.len > LINE_SIZE_MAX)
        end(all);
}

/* ---- beginning ---- */

static void issue(struct node *n, const struct ca *ca)
{
    AUTO(buf) struct buf cert = {0};
    AUTO(buf) struct buf key = {0};
    AUTO(arena) struct arena a = {0};
    struct errinfo err;
    const char *uri = arena_printf(&a, "slipform://%.*s/node/%s", STR_ARG(n->all->o.installation), n->name);
    struct leaf_options o = {.uris = &uri, .uris_n = 1, .client = true, .server = true, .days = 30};
    if (ca_issue(ca, &o, &cert, &key, &err) != OK)
        stop("a certificate", &err);
    n->cert = openssl_x509_from_pem(buf_str(&cert));
    n->key = openssl_key_from_pem(buf_str(&key));
    assert(n->cert != NULL && n->key != NULL);
}

static struct link link_to(struct node *n, size_t api, void (*on_open)(struct link *),
                           void (*on_answer)(struct link *, int, struct str), void *ctx)
{
    return (struct link){.pool = &n->all->pool,
                         .to = n->all->apis[api],
                         .cert = n->cert,
                         .key = n->key,
                         .on_open = on_open,
                         .on_answer = on_answer,
                         .ctx = ctx};
}

static struct id random_id(void)
{
    uint8_t random[10];
    random_bytes(random, sizeof(random));
    return id_make(clock_wall_us() / 1000, random);
}

static void node_begin(struct agents *all, struct node *n, int64_t number, const struct ca *ca)
{
    n->all = all;
    n->number = number;
    n->id = random_id();
    id_format(n->id, n->id_text);
    id_format(random_id(), n->boot_id);
    (void)snprintf(n->name, sizeof(n->name), "sim-%lld", (long long)number);
    issue(n, ca);
    n->home = (size_t)number % all->o.apis.n;
    n->beat_at_ms = now_ms() + number * 7919 % all->o.heartbeat_ms; /* spread evenly */
    n->poll = link_to(n, n->home, on_poll_open, on_news, n);
    n->reports = mem_calloc(all->o.apis.n, sizeof(*n->reports));
    for (size_t i = 0; i < all->o.apis.n; i++) {
        struct reports *r = &n->reports[i];
        *r = (struct reports){.node = n};
        r->link = link_to(n, i, on_reports_open, on_report, r);
    }
}

static void node_done(struct node *n)
{
    X509_free(n->cert);
    EVP_PKEY_free(n->key);
    free((void *)(uintptr_t)n->cursor.ptr);
    free(n->reports);
    free(n->items);
}

static bool parse_address(struct str text, struct sockaddr_in *ret)
{
    char ip[INET_ADDRSTRLEN];
    uint64_t port = 0;
    size_t colon = str_rfind(text, ':');
    *ret = (struct sockaddr_in){.sin_family = AF_INET};
    if (!str_copy_to(str_slice(text, 0, colon), ip, sizeof(ip)) || inet_pton(AF_INET, ip, &ret->sin_addr) != 1)
        return false;
    if (colon < text.len && !str_parse_u64(str_slice(text, colon + 1, text.len), UINT16_MAX, &port))
        return false;
    ret->sin_port = htons((uint16_t)port);
    return true;
}

static enum err read_settings(struct agents *all, struct errinfo *err)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n = getline(&line, &size, stdin);
    struct fleet *o = &all->o;
    enum err rc = n <= 0 ? err_set(err, ERR_INVALID, "no settings on stdin")
                         : fields_parse(&FLEET_WIRE, (struct str){line, (size_t)n}, &all->arena, o, err);
    free(line);
    if (rc != OK)
        return rc;
    bool is_good = o->apis.n >= 1 && o->apis.n <= APIS_MAX && o->zones.n >= 1 && o->nodes >= 1 &&
                   o->nodes <= NODES_MAX && o->first >= 1 && o->heartbeat_ms >= 100 && o->poll_s >= 1 &&
                   o->handshakes >= 1 && parse_address(o->source, &all->pool.source);
    for (size_t i = 0; is_good && i < o->apis.n; i++)
        is_good = parse_address(o->apis.items[i], &all->apis[i]);
    return is_good ? OK : err_set(err, ERR_INVALID, "a setting is out of range");
}

/* As many descriptors as it may have: a connection each. */
static enum err check_limit(const struct agents *all, struct errinfo *err)
{
    struct rlimit limit;
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    uint64_t links_n = (uint64_t)all->o.nodes * (all->o.apis.n + 1);
    if (links_n + 64 > limit.rlim_cur)
        return err_set(err, ERR_LIMIT, "%llu connections, this process may have %llu descriptors: take more processes",
                       (unsigned long long)links_n, (unsigned long long)limit.rlim_cur);
    return OK;
}

static enum err begin_nodes(struct agents *all, struct errinfo *err)
{
    auto_ca struct ca *ca = NULL;
    enum err rc = ca_load(all->o.ca_file.ptr, all->o.ca_key_file.ptr, &ca, err);
    if (rc != OK)
        return rc;
    all->nodes = mem_calloc((size_t)all->o.nodes, sizeof(*all->nodes));
    for (int64_t i = 0; i < all->o.nodes; i++)
        node_begin(all, &all->nodes[i], all->o.first + i, ca);
    return OK;
}

static void run(struct agents *all)
{
    all->tick.data = all->say.data = all->commands.data = all;
    (void)uv_timer_init(&all->loop, &all->tick);
    (void)uv_timer_init(&all->loop, &all->say);
    (void)uv_pipe_init(&all->loop, &all->commands, 0);
    (void)uv_pipe_open(&all->commands, 0);
    (void)uv_timer_start(&all->tick, on_tick, 0, TICK_MS);
    (void)uv_timer_start(&all->say, on_say, 0, SAY_MS);
    (void)uv_read_start((uv_stream_t *)&all->commands, on_alloc, on_commands);
    (void)uv_run(&all->loop, UV_RUN_DEFAULT);
}

int main(void)
{
    struct errinfo err = {0};
    struct agents *all = mem_alloc(sizeof(*all));
    (void)setvbuf(stdin, NULL, _IONBF, 0); /* what follows the first line is the loop's */
    (void)uv_loop_init(&all->loop);
    enum err rc = read_settings(all, &err);
    if (rc == OK)
        rc = check_limit(all, &err);
    if (rc == OK) {
        all->pool.opening_max = (size_t)all->o.handshakes;
        all->jitter = (uint64_t)all->o.first; /* at least 1 */
        const char *peer = arena_printf(&all->arena, "slipform://%.*s/control/*", STR_ARG(all->o.installation));
        rc = link_pool_init(&all->pool, &all->loop, all->o.ca_file.ptr, peer, &err);
    }
    if (rc == OK)
        rc = begin_nodes(all, &err);
    if (rc != OK)
        stop("begin", &err);
    run(all);
    for (int64_t i = 0; i < all->o.nodes; i++)
        node_done(&all->nodes[i]);
    link_pool_done(&all->pool);
    (void)uv_loop_close(&all->loop);
    free(all->nodes);
    buf_done(&all->line);
    arena_done(&all->arena);
    free(all);
    return 0;
}
