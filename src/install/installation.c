#include "install/installation.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/random.h"
#include "install/services.h"
#include "os/file.h"

static const struct field NODE_FIELDS[] = {
    FIELD_REQ(ID, installation_node, node_id, "node_id", "node"),
    FIELD_REQ(STR, installation_node, name, "name", "name"),
    FIELD_REQ(STR, installation_node, zone, "zone", "zone"),
    FIELD_REQ(STR, installation_node, label, "label", "control or worker"),
    FIELD_OPT(BOOL, installation_node, has_namespace, "namespace", "in a network namespace of this machine"),
    FIELD_REQ(I64, installation_node, number, "number", "of its /64"),
};
static const struct field_table NODE_TABLE = FIELD_TABLE(installation_node, NODE_FIELDS);
static const struct field FIELDS[] = {
    FIELD_REQ(ID, installation, installation_id, "installation_id", "installation"),
    FIELD_REQ(STR, installation, name, "installation", "name"),
    FIELD_REQ(STR, installation, region, "region", "region"),
    FIELD_REQ(STR, installation, app_domain, "app_domain", "hosts are <project>.<app domain>"),
    FIELD_REQ(STR, installation, os_tag, "os_tag", "in the names of OS objects"),
    FIELD_REQ(STR, installation, created, "created", "RFC 3339"),
    FIELD_OPT(STR, installation, store, "store", "of the platform's log: files, postgres, jetstream, or a spec"),
    FIELD_OPT(STR, installation, blobs, "blobs", "spec of a bucket for contexts and images; none: its own"),
    FIELD_REQ(STR, installation, prefix, "prefix", "ULA /48"),
    FIELD_REQ(I64, installation, edge_http_port, "edge_http_port", "port"),
    FIELD_REQ(I64, installation, edge_https_port, "edge_https_port", "port"),
    FIELD_REQ(I64, installation, management_api_port, "management_api_port", "port"),
    FIELD_REQ(I64, installation, public_api_port, "public_api_port", "port"),
    FIELD_REQ(I64, installation, node_agent_port, "node_agent_port", "port"),
    FIELD_REQ(I64, installation, node_proxy_port, "node_proxy_port", "port"),
    FIELD_OPT(I64, installation, nats_port, "nats_port", "port of each operator's nats-server; none: no NATS"),
    FIELD_OPT(I64, installation, nats_routes_port, "nats_routes_port", "port"),
    FIELD_OPT(I64, installation, nats_monitor_port, "nats_monitor_port", "port"),
    FIELD_OPT(I64, installation, s3_port, "s3_port", "port of the S3 server; none: no S3"),
    FIELD_REQ(I64, installation, fabric_ipv4_octet, "fabric_ipv4_octet", "100.127.<octet>.0/24"),
    FIELD_SUB(OBJECTS, installation, nodes, "nodes", NODE_TABLE, "hosts"),
};
static const struct field_table TABLE = FIELD_TABLE(installation, FIELDS);

/* 1 MiB (chosen): the file has some kilobytes. */
enum { FILE_SIZE_MAX = 1024 * 1024 };

enum err home_open(const char *path, struct home *ret, struct errinfo *err)
{
    *ret = (struct home){0};
    if (path[0] != '/' || strlen(path) > PATH_SIZE - 200)
        return err_set(err, ERR_INVALID, "SLIPFORM_HOME must be an absolute path of at most %d bytes, not '%s'",
                       PATH_SIZE - 200, path);
    (void)str_copy_to(str_from(path), ret->path, sizeof(ret->path));
    while (strlen(ret->path) > 1 && ret->path[strlen(ret->path) - 1] == '/')
        ret->path[strlen(ret->path) - 1] = '\0';
    char file[PATH_SIZE];
    AUTO(buf) struct buf text = {0};
    enum err rc = file_read(home_path(ret, file, "installation.json"), FILE_SIZE_MAX, &text, err);
    if (rc == ERR_NOT_FOUND)
        return OK;
    if (rc == OK)
        rc = fields_parse(&TABLE, buf_str(&text), &ret->arena, &ret->inst, err);
    if (rc == OK)
        return OK;
    arena_done(&ret->arena); /* what was read before it went wrong */
    ret->inst = (struct installation){0};
    return err_wrap(err, rc, "'%s'", file);
}

void home_close(struct home *h)
{
    arena_done(&h->arena);
}

bool port_is_busy(uint16_t port)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    auto_close int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int off = 0, on = 1;
    if (fd < 0)
        return true;
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* a port in TIME_WAIT is free */
    return bind(fd, (const struct sockaddr *)&any, sizeof(any)) != 0 || listen(fd, 1) != 0;
}

/* The wished port, or the next free one of the 1,000 behind it. */
static int64_t choose_port(uint16_t wished, const char *name, void (*say)(void *, const char *), void *ctx)
{
    for (uint32_t port = wished; port < 65536u && port < wished + 1000u; port++) {
        if (port_is_busy((uint16_t)port))
            continue;
        if (port != wished) {
            char text[128];
            (void)snprintf(text, sizeof(text), "port %u is in use: %s takes %u", wished, name, port);
            say(ctx, text);
        }
        return port;
    }
    return wished;
}

/* Those of servers that an inventory may have or not: the ones that are not chosen yet. */
static bool choose_service_ports(struct installation *inst, const struct inventory_ports *p,
                                 void (*say)(void *, const char *), void *ctx)
{
    struct {
        int64_t *port;
        uint16_t wished;
        const char *name;
    } rows[] = {{&inst->nats_port, p->nats, "nats"},
                {&inst->nats_routes_port, p->nats_routes, "nats_routes"},
                {&inst->nats_monitor_port, p->nats_monitor, "nats_monitor"},
                {&inst->s3_port, p->s3, "s3"}};
    bool has_chosen = false;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (*rows[i].port == 0 && rows[i].wished != 0) {
            *rows[i].port = choose_port(rows[i].wished, rows[i].name, say, ctx);
            has_chosen = true;
        }
    return has_chosen;
}

static void choose_ports(struct installation *inst, const struct inventory_ports *p, void (*say)(void *, const char *),
                         void *ctx)
{
    inst->edge_http_port = choose_port(p->edge_http, "edge_http", say, ctx);
    inst->edge_https_port = choose_port(p->edge_https, "edge_https", say, ctx);
    inst->management_api_port = choose_port(p->management_api, "management_api", say, ctx);
    /* A port that was just chosen is not busy yet. */
    uint16_t public_wish = p->public_api <= inst->management_api_port && inst->management_api_port != p->management_api
                               ? (uint16_t)(inst->management_api_port + 1)
                               : p->public_api;
    inst->public_api_port = choose_port(public_wish, "public_api", say, ctx);
    uint16_t agent_wish = p->node_agent > inst->public_api_port ? p->node_agent : (uint16_t)(inst->public_api_port + 1);
    inst->node_agent_port = choose_port(agent_wish, "node_agent", say, ctx);
    inst->node_proxy_port = p->node_proxy; /* inside a namespace of its own */
    (void)choose_service_ports(inst, p, say, ctx);
}

static void choose_names(struct home *h, struct installation *inst)
{
    uint8_t bytes[32];
    random_bytes(bytes, sizeof(bytes));
    char tag[OS_TAG_SIZE] = {0};
    for (int i = 0; i < OS_TAG_SIZE - 1; i++)
        tag[i] = "abcdefghijklmnopqrstuvwxyz234567"[bytes[i] & 31];
    inst->os_tag = arena_str(&h->arena, str_from(tag));
    /* RFC 4193: fd and 40 random bits. */
    inst->prefix = str_from(arena_printf(&h->arena, "fd%02x:%02x%02x:%02x%02x", bytes[8], bytes[9] | 0x10, bytes[10],
                                         bytes[11] | 0x10, bytes[12]));
    inst->fabric_ipv4_octet = bytes[13];
    inst->installation_id = id_make(clock_wall_us() / 1000, bytes + 14);
    char now[CLOCK_TEXT_SIZE];
    clock_format_us(clock_wall_us(), now);
    inst->created = arena_str(&h->arena, str_from(now));
}

static void add_nodes(struct home *h, struct installation *inst, const struct inventory *inv)
{
    struct installation_node *nodes = arena_alloc(&h->arena, inv->nodes_n * sizeof(*nodes));
    for (unsigned i = 0; i < inv->nodes_n; i++) {
        uint8_t random[10];
        random_bytes(random, sizeof(random));
        nodes[i] = (struct installation_node){
            .node_id = id_make(clock_wall_us() / 1000, random),
            .name = arena_str(&h->arena, str_from(inv->nodes[i].name)),
            .zone = arena_str(&h->arena, str_from(inv->nodes[i].zone)),
            .label = arena_str(&h->arena, str_from(inv->nodes[i].label)),
            .has_namespace = inv->nodes[i].has_namespace,
            .number = i + 1,
        };
    }
    inst->nodes = (struct objects){nodes, inv->nodes_n};
}

/* Of servers that somebody else runs: whether they answer is seen when they are asked. */
static enum err check_specs(const struct inventory *inv, const char *store, struct errinfo *err)
{
    struct str kind = str_slice(str_from(store), 0, str_find(str_from(store), ';'));
    if (kind.len < strlen(store) && !str_eq_c(kind, "postgres") && !str_eq_c(kind, "jetstream"))
        return err_set(err, ERR_INVALID,
                       "the inventory's store is a spec of kind '%.*s': 'postgres;…' or 'jetstream;…'", STR_ARG(kind));
    if (strstr(store, ";rights=owner") != NULL)
        return err_set(
            err, ERR_INVALID,
            "the inventory's store says 'rights=owner': programs run with the role of the replicas; make the "
            "tables once with 'slipform eventlog create'");
    if (inv->blobs == NULL)
        return OK;
    if (!str_starts(str_from(inv->blobs), STR("s3;")) || strstr(inv->blobs, ";cache=") != NULL)
        return err_set(
            err, ERR_INVALID,
            "the inventory's 'blobs' is 's3;endpoint=…;bucket=…;region=…;credentials=FILE', without 'cache'");
    return inv->ports.s3 == 0
               ? OK
               : err_set(err, ERR_INVALID,
                         "the inventory has 'blobs' and a port 's3' for a server of its own: one of them");
}

static enum err check_servers(const struct inventory *inv, size_t operators_n, struct errinfo *err)
{
    const char *store = inv->store == NULL ? "files" : inv->store;
    const struct inventory_ports *p = &inv->ports;
    bool has_nats = p->nats != 0 && p->nats_routes != 0 && p->nats_monitor != 0;
    enum err rc = check_specs(inv, store, err);
    if (rc != OK)
        return rc;
    if (strchr(store, ';') == NULL && strcmp(store, "files") != 0 && strcmp(store, "postgres") != 0 &&
        strcmp(store, "jetstream") != 0)
        return err_set(
            err, ERR_INVALID,
            "the inventory's store is '%s': 'files', 'postgres', 'jetstream', or 'postgres;host=…' of a server "
            "of yours",
            store);
    if (!has_nats && (p->nats != 0 || p->nats_routes != 0 || p->nats_monitor != 0))
        return err_set(
            err, ERR_INVALID,
            "the inventory has some of the ports 'nats', 'nats_routes', 'nats_monitor': all of them or none");
    if (has_nats && operators_n > SERVICES_NATS_MAX)
        return err_set(err, ERR_INVALID, "the inventory has %zu operators, with a nats-server on each at most %u",
                       operators_n, SERVICES_NATS_MAX);
    if (strcmp(store, "jetstream") == 0 && (!has_nats || operators_n < 3))
        return err_set(err, ERR_INVALID,
                       "a log in JetStream is kept by three nats-servers: the inventory needs three operators (it has "
                       "%zu) and the ports 'nats', 'nats_routes', 'nats_monitor'",
                       operators_n);
    return OK;
}

/* What the installer cannot raise is refused before anything is written. */
static enum err check_inventory(const struct inventory *inv, struct errinfo *err)
{
    size_t operators_n = 0;
    for (unsigned i = 0; i < inv->nodes_n; i++) {
        const struct inventory_node *n = &inv->nodes[i];
        bool is_operator = strcmp(n->label, "control") == 0;
        if (!is_operator && strcmp(n->label, "worker") != 0)
            return err_set(err, ERR_INVALID, "the inventory's node '%s' is a '%s': 'control' or 'worker'", n->name,
                           n->label);
        for (unsigned k = 0; k < i; k++)
            if (strcmp(inv->nodes[k].name, n->name) == 0 || (!inv->nodes[k].has_namespace && !n->has_namespace))
                return err_set(err, ERR_INVALID,
                               "the inventory's nodes '%s' and '%s' are the same host: one name each, and one at most "
                               "without a namespace",
                               inv->nodes[k].name, n->name);
        if (is_operator && operators_n++ == 0 && n->has_namespace)
            return err_set(err, ERR_INVALID,
                           "the inventory's first operator '%s' must be the machine itself (namespace: false): people "
                           "reach the installation by it",
                           n->name);
    }
    if (operators_n == 0)
        return err_set(err, ERR_INVALID, "the inventory has no node with the label 'control'");
    return check_servers(inv, operators_n, err);
}

static enum err write_home(struct home *h, const struct installation *inst, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    char file[PATH_SIZE];
    fields_encode(&TABLE, inst, &text);
    buf_add_char(&text, '\n');
    enum err rc = file_replace(home_path(h, file, "installation.json"), buf_str(&text), 0644, err);
    if (rc == OK)
        h->inst = *inst;
    return rc;
}

enum err home_create(struct home *h, const struct inventory *inv, void (*say)(void *ctx, const char *text), void *ctx,
                     struct errinfo *err)
{
    enum err rc = check_inventory(inv, err);
    if (rc != OK)
        return rc;
    struct installation inst = {.name = arena_str(&h->arena, str_from(inv->installation)),
                                .region = arena_str(&h->arena, str_from(inv->region)),
                                .app_domain = arena_str(&h->arena, str_from(inv->app_domain)),
                                .store = arena_str(&h->arena, str_from(inv->store == NULL ? "files" : inv->store)),
                                .blobs = arena_str(&h->arena, str_from(inv->blobs == NULL ? "" : inv->blobs))};
    choose_names(h, &inst);
    choose_ports(&inst, &inv->ports, say, ctx);
    add_nodes(h, &inst, inv);
    return write_home(h, &inst, err);
}

enum err home_complete(struct home *h, const struct inventory *inv, void (*say)(void *ctx, const char *text), void *ctx,
                       struct errinfo *err)
{
    struct installation inst = h->inst;
    return choose_service_ports(&inst, &inv->ports, say, ctx) ? write_home(h, &inst, err) : OK;
}

const char *home_path(const struct home *h, char ret[static PATH_SIZE], const char *fmt, ...)
{
    int n = snprintf(ret, PATH_SIZE, "%s/", h->path);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(ret + n, (size_t)(PATH_SIZE - n), fmt, ap);
    va_end(ap);
    return ret;
}

const struct installation_node *home_node(const struct home *h, size_t i)
{
    return (const struct installation_node *)h->inst.nodes.items + i;
}

const struct installation_node *home_node_by_name(const struct home *h, struct str name)
{
    for (size_t i = 0; i < h->inst.nodes.n; i++)
        if (str_eq(home_node(h, i)->name, name))
            return home_node(h, i);
    return NULL;
}

const char *home_fabric_address(const struct home *h, const struct installation_node *n, char ret[static 64])
{
    long long host = n == NULL || !n->has_namespace ? 1 : n->number + 0x10;
    (void)snprintf(ret, 64, "%.*s::%llx", STR_ARG(h->inst.prefix), host);
    return ret;
}

const char *home_fabric_ipv4(const struct home *h, const struct installation_node *n, char ret[static 32])
{
    long long host = n == NULL || !n->has_namespace ? 1 : n->number + 10;
    (void)snprintf(ret, 32, "100.127.%lld.%lld", (long long)h->inst.fabric_ipv4_octet, host);
    return ret;
}

const char *home_agent_url(const struct home *h, const struct installation_node *n, char ret[static 96])
{
    char address[64];
    (void)snprintf(ret, 96, "https://[%s]:%lld", home_fabric_address(h, n, address),
                   (long long)h->inst.node_agent_port);
    return ret;
}

const char *home_management_url(const struct home *h, char ret[static 96])
{
    (void)snprintf(ret, 96, "https://127.0.0.1:%lld", (long long)h->inst.management_api_port);
    return ret;
}

const char *home_public_url(const struct home *h, char ret[static 96])
{
    (void)snprintf(ret, 96, "https://127.0.0.1:%lld", (long long)h->inst.public_api_port);
    return ret;
}

bool home_is_operator(const struct installation_node *n)
{
    return !str_eq_c(n->label, "worker");
}

const struct installation_node *home_first_operator(const struct home *h)
{
    for (size_t i = 0; i < h->inst.nodes.n; i++)
        if (home_is_operator(home_node(h, i)))
            return home_node(h, i);
    return NULL;
}

size_t home_operators_n(const struct home *h)
{
    size_t n = 0;
    for (size_t i = 0; i < h->inst.nodes.n; i++)
        n += home_is_operator(home_node(h, i)) ? 1 : 0;
    return n;
}

const char *home_operator_url(const struct home *h, const struct installation_node *n, char ret[static 96])
{
    char address[64];
    (void)snprintf(ret, 96, "https://[%s]:%lld", home_fabric_address(h, n, address),
                   (long long)h->inst.management_api_port);
    return ret;
}

const char *home_operator_local_url(const struct home *h, const struct installation_node *n, char ret[static 96])
{
    return n->has_namespace ? home_operator_url(h, n, ret) : home_management_url(h, ret);
}

const char *home_operator_public_url(const struct home *h, const struct installation_node *n, char ret[static 96])
{
    char address[64];
    if (!n->has_namespace)
        return home_public_url(h, ret);
    (void)snprintf(ret, 96, "https://[%s]:%lld", home_fabric_address(h, n, address),
                   (long long)h->inst.public_api_port);
    return ret;
}

bool home_store_is(const struct home *h, const char *kind)
{
    return str_eq_c(h->inst.store.len == 0 ? STR("files") : h->inst.store, kind);
}

struct str home_store_kind(const struct home *h)
{
    struct str store = h->inst.store.len == 0 ? STR("files") : h->inst.store;
    return str_slice(store, 0, str_find(store, ';'));
}

bool home_store_is_elsewhere(const struct home *h)
{
    return home_store_kind(h).len < h->inst.store.len;
}

const char *home_namespace(const struct home *h, const struct installation_node *n, char ret[static 128])
{
    (void)snprintf(ret, 128, "slipform-%.*s-%.*s-%.*s", STR_ARG(h->inst.name), STR_ARG(h->inst.os_tag),
                   STR_ARG(n->name));
    return ret;
}

const char *home_table(const struct home *h, char ret[static 128])
{
    (void)snprintf(ret, 128, "slipform_%.*s_%.*s", STR_ARG(h->inst.name), STR_ARG(h->inst.os_tag));
    for (char *p = ret; *p != '\0'; p++)
        if (*p == '-')
            *p = '_';
    return ret;
}
