/* SLIPFORM_EVENTS: how an application in a microVM reads and appends events. It speaks plain HTTP with its node, on the
 * node's own address; who it is follows from its source address, which the ruleset lets nobody forge. The node asks the
 * management API with its own certificate and names the instance: the control plane decides what that one may. */
#include "base/mem.h"
#include "base/own.h"
#include "node/agent/private.h"

/* Of one instance at once: it has one fold and some emits in flight (chosen). */
enum { CALLS_MAX = 8 };
/* Of them such as wait for news, so that reads and appends always find room (chosen). */
enum { WAITS_MAX = 4, WAIT_S_MAX = 30 };
enum { CONNECTIONS_MAX = 512, CALL_TIMEOUT_MS = 15000 };
/* As the management API's route takes it. */
static const uint64_t BODY_MAX = 2ull * 1024 * 1024;

struct relayed {
    struct agent *agent;
    struct id id; /* the instance may go meanwhile */
    struct http_request *r;
    struct http_call *call;
    bool waits;
};

static struct instance *instance_by_address(const struct agent *a, const char *text)
{
    struct ip ip;
    if (!ip_parse(str_from(text), &ip))
        return NULL;
    for (struct instance *i = a->instances; i != NULL; i = i->hh.next)
        if (i->has_guest && ip_eq(&i->guest.ipv6, &ip))
            return i;
    return NULL;
}

static void relayed_free(struct relayed *x)
{
    struct instance *i = instance_find(x->agent, x->id);
    if (i != NULL) {
        i->event_calls_n--;
        i->event_waits_n -= x->waits;
    }
    free(x);
}

/* The microVM hung up, or this agent stops: an append that is on its way is taken or not, as with any lost answer. */
static void on_cancel(struct http_request *r, void *ctx)
{
    struct relayed *x = ctx;
    http_call_cancel(x->call);
    relayed_free(x);
    http_request_drop(r);
}

static void on_answer(struct http_result *result, void *ctx)
{
    struct relayed *x = ctx;
    if (result->position != NULL)
        http_respond_header(x->r, "Slipform-Position", result->position);
    if (result->status > 0) {
        http_respond_bytes(x->r, result->status,
                           result->content_type == NULL ? "application/json" : result->content_type,
                           buf_str(&result->body));
    } else {
        x->agent->api++; /* another replica the next time */
        http_respond_header(x->r, "Retry-After", "1");
        http_respond_problem(x->r, 503, ERR_UNAVAILABLE, "the control plane does not answer: try again");
    }
    relayed_free(x);
}

static void refuse_more(struct http_request *r, const char *why)
{
    http_respond_header(r, "Retry-After", "1");
    http_respond_problem(r, 429, ERR_LIMIT, why);
}

/* Back to the management API under the same path; only what its routes take. */
static void relay(struct instance *i, struct http_request *r)
{
    struct agent *a = i->agent;
    AUTO(buf) struct buf url = {0};
    struct id log;
    uint64_t after = 0, limit = 0, wait_s = 0;
    struct errinfo err;
    if (!id_parse(str_from(http_request_param(r, "id")), &log)) {
        http_respond_problem(r, 404, ERR_NOT_FOUND, "there is no such log for this instance");
        return;
    }
    if (http_request_query_u64(r, "after", INT64_MAX, 0, &after, &err) != OK ||
        http_request_query_u64(r, "limit", 1000, 1000, &limit, &err) != OK ||
        http_request_query_u64(r, "wait", WAIT_S_MAX, 0, &wait_s, &err) != OK) {
        http_respond_error(r, &err);
        return;
    }
    bool reads = strcmp(http_request_method(r), "GET") == 0, waits = reads && wait_s > 0;
    if (waits && i->event_waits_n >= WAITS_MAX) {
        refuse_more(r, "too many requests of this instance wait for news: at most 4");
        return;
    }
    char text[ID_TEXT_SIZE];
    id_format(log, text);
    buf_addf(&url, "%s/v1/logs/%s/events", report_api(a), text);
    if (reads)
        buf_addf(&url, "?after=%llu&limit=%llu", (unsigned long long)after, (unsigned long long)limit);
    if (waits)
        buf_addf(&url, "&wait=%llu", (unsigned long long)wait_s);
    buf_add_char(&url, '\0');
    auto_free char *who = mem_printf("Slipform-Instance: %s", i->id_text);
    const char *headers[] = {who};
    struct http_call_options call = {.method = http_request_method(r),
                                     .url = url.ptr,
                                     .headers = headers,
                                     .headers_n = 1,
                                     .body = http_request_body(r),
                                     .ca_file = a->o.ca_file,
                                     .cert_file = a->o.cert_file,
                                     .key_file = a->o.key_file,
                                     .peer_uri = a->peer_uri,
                                     .connect_timeout_ms = 3000,
                                     .total_timeout_ms = CALL_TIMEOUT_MS + (waits ? (unsigned)wait_s * 1000 : 0)};
    struct relayed *x = mem_alloc(sizeof(*x));
    *x = (struct relayed){.agent = a, .id = i->id, .r = r, .waits = waits};
    i->event_calls_n++;
    i->event_waits_n += waits;
    x->call = http_client_send(a->o.client, &call, on_answer, x);
    http_request_on_cancel(r, on_cancel, x);
}

static void events(struct http_request *r, void *ctx)
{
    struct agent *a = ctx;
    struct instance *i = instance_by_address(a, http_request_peer(r)->ip);
    if (i == NULL) {
        http_respond_problem(r, 404, ERR_NOT_FOUND, "only microVMs of this node have logs here");
    } else if (report_api(a) == NULL) {
        http_respond_problem(r, 503, ERR_UNAVAILABLE, "this node knows no management API");
    } else if (i->event_calls_n >= CALLS_MAX) {
        refuse_more(r, "too many requests of this instance at once: at most 8");
    } else {
        relay(i, r);
    }
}

static void umbilical(struct http_request *r, void *ctx)
{
    struct agent *a = ctx;
    struct errinfo err;
    struct instance *i = instance_by_address(a, http_request_peer(r)->ip);
    if (i == NULL)
        http_respond_problem(r, 404, ERR_NOT_FOUND, "only programs in microVMs of this node report here");
    else if (umbilical_hear(i, http_request_body(r), agent_now_ms(), &err) != OK)
        http_respond_error(r, &err);
    else
        http_respond_empty(r, 204);
}

static const struct http_route ROUTES[] = {
    {.method = "GET", .pattern = "/v1/logs/{id}/events", .handler = events, .doc = "Records of a log of the instance"},
    {.method = "POST", .pattern = "/v1/logs/{id}/events", .handler = events, .doc = "Append to its output log"},
    {.method = "POST", .pattern = "/v1/umbilical", .handler = umbilical, .doc = "How the instance is, for heartbeats"},
};

void event_channel_address(const struct agent *a, char ret_text[static EVENT_CHANNEL_ADDRESS_SIZE])
{
    char ip[IP_TEXT_SIZE];
    struct ip node = network_node_ip(a->network);
    ip_format(&node, ip);
    (void)snprintf(ret_text, EVENT_CHANNEL_ADDRESS_SIZE, "[%s]:%d", ip, NETWORK_EVENTS_PORT);
}

enum err event_channel_open(struct agent *a, struct errinfo *err)
{
    char address[EVENT_CHANNEL_ADDRESS_SIZE];
    if (a->network == NULL)
        return OK;
    event_channel_address(a, address);
    const char *const listen[] = {address};
    struct http_server_options o = {.loop = a->o.loop,
                                    .listen = listen,
                                    .listen_n = 1,
                                    .routes = ROUTES,
                                    .routes_n = sizeof(ROUTES) / sizeof(ROUTES[0]),
                                    .ctx = a,
                                    .body_limit_bytes = BODY_MAX,
                                    .connections_max = CONNECTIONS_MAX};
    enum err rc = http_server_open(&o, &a->event_channel, err);
    return rc == OK ? OK : err_wrap(err, rc, "listen for events of microVMs");
}
