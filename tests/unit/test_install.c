/* install: an inventory that somebody wrote, and the description that an installation keeps of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/own.h"
#include "folder.h"
#include "install/database.h"
#include "install/installation.h"
#include "install/inventory.h"
#include "install/log_place.h"
#include "install/s3_server.h"
#include "install/services.h"
#include "install/settings.h"
#include "os/file.h"

#define NODE "  - {name: op1, zone: local-a, label: control, namespace: false}\n"
#define HEAD "installation: dev-0\nregion: local\napp_domain: localhost\nnodes:\n"
#define PORTS                                                                                                          \
    "ports: {edge_http: 1, edge_https: 2, management_api: 3, public_api: 4, node_agent: 5, node_proxy: 65535}\n"

static enum err load(const char *folder, const char *yaml, struct inventory **ret, struct errinfo *err)
{
    auto_free char *file = mem_printf("%s/inventory.yaml", folder);
    assert_int_equal(file_replace(file, str_from(yaml), 0600, NULL), OK);
    return inventory_load(file, ret, err);
}

static void inventory_is_read(void **state)
{
    struct inventory *inv;
    assert_int_equal(load(*state, HEAD NODE PORTS, &inv, NULL), OK);
    assert_string_equal(inv->installation, "dev-0");
    assert_int_equal(inv->nodes_n, 1);
    assert_string_equal(inv->nodes[0].zone, "local-a");
    assert_int_equal(inv->ports.node_proxy, 65535);
    inventory_free(inv);
}

static void inventory_that_is_wrong(void **state)
{
    static const char *const BAD[] = {
        "",  "# a comment and nothing else\n", "---\n", HEAD "  []\n" PORTS, HEAD NODE, "- x\n", "installation: [a]\n",
        "{["};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct inventory *inv;
        struct errinfo err = {0};
        if (load(*state, BAD[i], &inv, &err) != ERR_INVALID)
            fail_msg("case %zu was taken", i);
        assert_non_null(strstr(err.msg, "inventory.yaml"));
    }
}

static void home_that_cannot_be_read(void **state)
{
    struct home h;
    struct errinfo err = {0};
    auto_free char *file = mem_printf("%s/installation.json", (char *)*state);
    assert_int_equal(home_open(*state, &h, &err), OK); /* nothing is there yet */
    home_close(&h);
    assert_int_equal(file_replace(file, STR("{\"installation\":\"dev-0\",\"region\":1}"), 0600, NULL), OK);
    assert_int_equal(home_open(*state, &h, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "installation.json"));
    assert_null(h.arena.blocks); /* nothing is held, so that nobody has to close it */
}

static void hush(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

#define OPERATORS                                                                                                      \
    "  - {name: op1, zone: o1, label: control, namespace: false}\n"                                                    \
    "  - {name: op2, zone: o2, label: control, namespace: true}\n"
#define OPERATOR3 "  - {name: op3, zone: o1, label: control, namespace: true}\n"
#define PORTS_NATS                                                                                                     \
    "ports: {edge_http: 1, edge_https: 2, management_api: 3, public_api: 4, node_agent: 5, node_proxy: 6, nats: "      \
    "14222, "                                                                                                          \
    "nats_routes: 16222, nats_monitor: 18222, s3: 17070}\n"
#define WORKERS                                                                                                        \
    "  - {name: w1, zone: a, label: worker, namespace: true}\n  - {name: w2, zone: b, label: worker, namespace: "      \
    "true}\n"

static enum err create(const char *folder, const char *yaml, struct home *ret, struct errinfo *err)
{
    struct inventory *inv = NULL;
    assert_int_equal(load(folder, yaml, &inv, NULL), OK);
    assert_int_equal(home_open(folder, ret, NULL), OK);
    enum err rc = home_create(ret, inv, hush, NULL, err);
    inventory_free(inv);
    return rc;
}

static void hosts_that_cannot_be_raised(void **state)
{
    static const struct {
        const char *yaml, *why;
    } CASES[] = {
        {HEAD "  - {name: w1, zone: a, label: worker, namespace: true}\n" PORTS, "no node with the label 'control'"},
        {HEAD NODE "  - {name: x, zone: a, label: bystander, namespace: true}\n" PORTS, "'x' is a 'bystander'"},
        {HEAD NODE "  - {name: op1, zone: a, label: worker, namespace: true}\n" PORTS, "the same host"},
        {HEAD NODE "  - {name: op2, zone: a, label: control, namespace: false}\n" PORTS, "the same host"},
        {HEAD "  - {name: op2, zone: a, label: control, namespace: true}\n" PORTS, "must be the machine itself"},
        {HEAD NODE PORTS "store: cassandra\n", "'cassandra'"},
        {HEAD NODE PORTS "store: files;path=/x\n", "kind 'files'"},
        {HEAD NODE PORTS "store: postgres;host=h;rights=owner\n", "eventlog create"},
        {HEAD NODE PORTS "blobs: folder;path=/x\n", "s3;endpoint="},
        {HEAD NODE PORTS "blobs: s3;bucket=b;cache=/x\n", "without 'cache'"},
        {HEAD OPERATORS PORTS_NATS "blobs: s3;bucket=b\n", "one of them"},
        {HEAD OPERATORS PORTS_NATS "store: jetstream\n", "three operators (it has 2)"},
        {HEAD OPERATORS OPERATOR3 PORTS "store: jetstream\n", "the ports 'nats'"},
        {HEAD NODE
         "ports: {edge_http: 1, edge_https: 2, management_api: 3, public_api: 4, node_agent: 5, node_proxy: 6, "
         "nats: 7}\n",
         "all of them or none"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct home h;
        struct errinfo err = {0};
        assert_int_equal(create(*state, CASES[i].yaml, &h, &err), ERR_INVALID);
        if (strstr(err.msg, CASES[i].why) == NULL)
            fail_msg("case %zu: %s", i, err.msg);
        auto_free char *file = mem_printf("%s/installation.json", (char *)*state);
        assert_false(file_exists(file));
        home_close(&h);
    }
}

__attribute__((format(printf, 3, 4))) static void file_has(const struct home *h, const char *below, const char *fmt,
                                                           ...)
{
    char path[PATH_SIZE], text[512];
    AUTO(buf) struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    assert_int_equal(file_read(home_path(h, path, "%s", below), 65536, &b, NULL), OK);
    buf_add_char(&b, '\0');
    if (strstr(b.ptr, text) == NULL)
        fail_msg("'%s' lacks '%s':\n%s", below, text, b.ptr);
}

/* Folders that `up` makes for them. */
static void make_folders(const struct home *h, const char *const *nodes, size_t n)
{
    char path[PATH_SIZE];
    assert_int_equal(folder_make(home_path(h, path, "nodes"), 0755, NULL), OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(folder_make(home_path(h, path, "nodes/%s", nodes[i]), 0755, NULL), OK);
        assert_int_equal(folder_make(home_path(h, path, "nodes/%s/settings", nodes[i]), 0755, NULL), OK);
    }
}

/* Every host knows every operator; who asks whom first differs, an operator's own comes first. */
static void everybody_knows_all_operators(void **state)
{
    static const char *const NODES[] = {"op1", "op2", "w1", "w2"};
    struct home h;
    char spec[LOG_SPEC_SIZE];
    bool changed = false;
    assert_int_equal(create(*state, HEAD OPERATORS WORKERS PORTS "store: postgres\n", &h, NULL), OK);
    home_close(&h);
    assert_int_equal(home_open(*state, &h, NULL), OK); /* as it was written */
    make_folders(&h, NODES, 4);
    const struct up_options o = {.cache_folder = "/c", .runtime = "auto"};
    assert_int_equal(settings_write_all(&h, &o, &changed, NULL), OK);
    assert_true(changed);
    char one[64], two[64];
    home_fabric_address(&h, home_node(&h, 0), one);
    home_fabric_address(&h, home_node(&h, 1), two);
    int port = (int)h.inst.management_api_port;
    file_has(&h, "nodes/w1/node-agent.yaml", "management_api: [\"https://[%s]:%d\", \"https://[%s]:%d\"]", two, port,
             one, port);
    file_has(&h, "nodes/w2/node-agent.yaml", "management_api: [\"https://[%s]:%d\", \"https://[%s]:%d\"]", one, port,
             two, port);
    file_has(&h, "nodes/op1/settings/edge-proxy.yaml",
             "management_urls: [\"https://127.0.0.1:%d\", \"https://[%s]:%d\"]", port, two, port);
    file_has(&h, "nodes/op2/settings/edge-proxy.yaml", "management_urls: [\"https://[%s]:%d\", \"https://[%s]:%d\"]",
             two, port, one, port);
    file_has(&h, "nodes/op2/settings/image-builder.yaml", "management_url: [\"https://[%s]:%d\", ", two, port);
    file_has(&h, "nodes/op2/settings/management-api.yaml", "listen: [\"127.0.0.1:%d\", \"[%s]:%d\"]", port, two, port);
    file_has(&h, "nodes/op2/settings/management-api.yaml", "event_store: \"%s\"", log_spec(&h, LOG_AS_REPLICA, spec));
    assert_null(strstr(spec, "rights=owner"));
    assert_non_null(strstr(log_spec(&h, LOG_AS_OWNER, spec), "user=slipform_owner"));
    changed = false;
    assert_int_equal(settings_write_all(&h, &o, &changed, NULL), OK);
    assert_false(changed);
    home_close(&h);
}

/* A nats-server on each operator and an S3 server: who uses them is told where, and they are told who is let in. */
static void servers_of_others(void **state)
{
    static const char *const NODES[] = {"op1", "op2", "op3", "w1", "w2"};
    static const char *const NAMES[] = {"nats-op1", "nats-op2", "nats-op3", "s3"};
    struct home h;
    char spec[LOG_SPEC_SIZE], one[64], two[64], three[64], id[ID_TEXT_SIZE];
    bool changed = false;
    assert_int_equal(create(*state, HEAD OPERATORS OPERATOR3 WORKERS PORTS_NATS "store: jetstream\n", &h, NULL), OK);
    home_close(&h);
    assert_int_equal(home_open(*state, &h, NULL), OK); /* as it was written */
    struct service list[SERVICES_MAX];
    assert_int_equal(services_of(&h, list), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(list[i].name, NAMES[i]);
        assert_true(list[i].outlives_supervisor); /* programs write to them until they have ended */
    }
    make_folders(&h, NODES, 5);
    const struct up_options o = {.cache_folder = "/c", .runtime = "auto"};
    assert_int_equal(settings_write_all(&h, &o, &changed, NULL), OK);
    home_fabric_address(&h, home_node(&h, 0), one);
    home_fabric_address(&h, home_node(&h, 1), two);
    home_fabric_address(&h, home_node(&h, 2), three);
    int port = (int)h.inst.nats_port;
    static const char *const LISTENERS[] = {"management-api", "public-api", "edge-proxy", "active-notifier"};
    for (size_t i = 0; i < 4; i++) {
        char below[64];
        (void)snprintf(below, sizeof(below), "nodes/op2/settings/%s.yaml", LISTENERS[i]);
        file_has(&h, below, "nats_servers: [\"tls://[%s]:%d\", \"tls://[%s]:%d\", \"tls://[%s]:%d\"]", two, port, one,
                 port, three, port);
    }
    file_has(&h, "nodes/op2/settings/edge-proxy.yaml", "region: local");
    static const char *const WITH_BLOBS[] = {"management-api", "public-api", "image-builder"};
    for (size_t i = 0; i < 3; i++) {
        char below[64];
        (void)snprintf(below, sizeof(below), "nodes/op2/settings/%s.yaml", WITH_BLOBS[i]);
        file_has(&h, below, "blobs: \"s3;endpoint=http://[%s]:%d;bucket=" S3_SERVER_BUCKET ";", one,
                 (int)h.inst.s3_port);
        file_has(&h, below, "/nodes/op2/blob-cache;credentials=");
    }
    file_has(&h, "nodes/w2/node-agent.yaml", "nats_servers: [\"tls://");
    log_spec_on(&h, home_node(&h, 1), spec);
    file_has(&h, "nodes/op2/settings/active-notifier.yaml", "event_store: \"%s\"", spec);
    assert_non_null(strstr(spec, "/nodes/op2/identities/log/key.pem"));
    assert_null(strstr(log_spec(&h, LOG_AS_OWNER, spec), "/identities/log/"));
    assert_non_null(strstr(spec, "/operator/client.key"));

    assert_int_equal(services_create(&h, -1, -1, NULL), OK);
    file_has(&h, "store/nats-op3/nats.conf", "sync_interval: always");
    file_has(&h, "store/nats-op3/nats.conf", "routes: [\"tls://[%s]:%d\", \"tls://[%s]:%d\"]", one,
             (int)h.inst.nats_routes_port, two, (int)h.inst.nats_routes_port);
    id_format(home_node(&h, 3)->node_id, id);
    file_has(&h, "store/nats-op1/authorization.conf",
             "{ user: \"slipform://dev-0/node/w1\", permissions: { publish: { deny: \">\" }, subscribe: "
             "\"slipform.dev-0.node.%s\" } }",
             id);
    file_has(&h, "store/nats-op1/authorization.conf",
             "{ user: \"slipform://dev-0/log/op3\", permissions: { publish: [");
    file_has(&h, "store/nats-op1/authorization.conf", "{ user: \"slipform://dev-0/operator/local\", ");
    /* a renewed certificate is another configuration: the server is told */
    struct stat st;
    char path[PATH_SIZE];
    assert_int_equal(folder_make(home_path(&h, path, "nodes/op1/identities"), 0755, NULL), OK);
    assert_int_equal(folder_make(home_path(&h, path, "nodes/op1/identities/nats"), 0755, NULL), OK);
    home_path(&h, path, "nodes/op1/identities/nats/cert.pem");
    assert_int_equal(file_replace(path, STR("renewed"), 0644, NULL), OK);
    changed = false;
    assert_int_equal(list[0].create(&h, &list[0], -1, -1, &changed, NULL), OK);
    assert_true(changed);
    changed = false;
    assert_int_equal(list[0].create(&h, &list[0], -1, -1, &changed, NULL), OK);
    assert_false(changed);
    assert_int_equal(stat(s3_server_credentials(&h, path), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(home_path(&h, path, "store/s3/data/" S3_SERVER_BUCKET), &st), 0);
    home_close(&h);
}

/* Both database servers are in the log's name; who is the primary stands in a file, and nobody else is started as one.
 */
static void a_database_and_its_standby(void **state)
{
    struct home h;
    struct service list[SERVICES_MAX];
    struct service_command command = {0};
    AUTO(arena) struct arena a = {0};
    char spec[LOG_SPEC_SIZE], path[PATH_SIZE];
    struct errinfo err = {0};
    assert_int_equal(create(*state, HEAD OPERATORS PORTS "store: postgres\n", &h, NULL), OK);
    auto_free char *hosts = mem_printf("host=%s/run/postgres,%s/run/postgres-2;", h.path, h.path);
    assert_non_null(strstr(log_spec(&h, LOG_AS_REPLICA, spec), hosts));
    assert_int_equal(services_of(&h, list), 2);
    assert_true(strcmp(list[0].name, "postgres") == 0 && !list[0].is_made_last);
    assert_true(strcmp(list[1].name, "postgres-2") == 0 && list[1].is_made_last);
    assert_int_equal(mkdir(home_path(&h, path, "store"), 0755), 0);
    assert_int_equal(file_replace(home_path(&h, path, "store/primary"), STR("postgres-2\n"), 0644, NULL), OK);
    assert_int_equal(services_of(&h, list), 2);
    assert_true(strcmp(list[0].name, "postgres-2") == 0 && !list[0].is_made_last);
    assert_true(strcmp(list[1].name, "postgres") == 0 && list[1].is_made_last);
    enum err rc = list[0].command(&h, &list[0], &a, &command, &err);
    if (rc == ERR_NOT_FOUND) {
        print_message("SKIPPED: no PostgreSQL here: %s\n", err.msg);
        skip();
    }
    assert_int_equal(rc, OK);
    assert_int_equal(list[1].command(&h, &list[1], &a, &command, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "no standby of 'postgres-2'"));
    home_close(&h);
}

/* A database and a bucket that somebody else runs: nothing is started for them, and programs are told where they are.
 */
static void servers_that_are_there(void **state)
{
    static const char *const NODES[] = {"op1", "w1", "w2"};
    struct home h;
    struct service list[SERVICES_MAX];
    char spec[LOG_SPEC_SIZE];
    bool changed = false;
    assert_int_equal(create(*state,
                            HEAD NODE WORKERS PORTS
                            "store: postgres;host=db1,db2;dbname=d;user=replica;installation=dev-0;log=platform\n"
                            "blobs: s3;endpoint=https://s3.example;bucket=b;region=r;credentials=/c\n",
                            &h, NULL),
                     OK);
    home_close(&h);
    assert_int_equal(home_open(*state, &h, NULL), OK); /* as it was written */
    assert_int_equal(services_of(&h, list), 0);
    assert_true(home_store_is_elsewhere(&h) && str_eq_c(home_store_kind(&h), "postgres"));
    assert_false(home_store_is(&h, "postgres")); /* it has no servers of its own */
    assert_string_equal(log_spec(&h, LOG_AS_OWNER, spec), log_spec(&h, LOG_AS_REPLICA, spec));
    make_folders(&h, NODES, 3);
    const struct up_options o = {.cache_folder = "/c", .runtime = "auto"};
    assert_int_equal(settings_write_all(&h, &o, &changed, NULL), OK);
    file_has(&h, "nodes/op1/settings/management-api.yaml",
             "event_store: \"postgres;host=db1,db2;dbname=d;user=replica;installation=dev-0;log=platform\"");
    static const char *const WITH_BLOBS[] = {"management-api", "public-api", "image-builder"};
    for (size_t i = 0; i < 3; i++) {
        char below[64];
        (void)snprintf(below, sizeof(below), "nodes/op1/settings/%s.yaml", WITH_BLOBS[i]);
        file_has(&h, below,
                 "blobs: \"s3;endpoint=https://s3.example;bucket=b;region=r;credentials=/c;cache=%s/nodes/op1/",
                 h.path);
    }
    home_close(&h);
}

/* An `up` that was interrupted may have written what the primary shall wait for, and the primary not have read it: then
 * the standby may lack what was acknowledged. */
static void a_standby_that_was_to_be_waited_for(void **state)
{
    static const char *const FOLDERS[] = {"run", "store", "store/postgres", "store/postgres-2",
                                          "store/postgres-2/data"};
    struct home h;
    char path[PATH_SIZE];
    const char *name = NULL;
    struct errinfo err = {0};
    const struct database_promotion o = {.stops = true};
    assert_int_equal(create(*state, HEAD OPERATORS PORTS "store: postgres\n", &h, NULL), OK);
    for (size_t i = 0; i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++)
        assert_int_equal(mkdir(home_path(&h, path, "%s", FOLDERS[i]), 0755), 0);
    home_path(&h, path, "store/postgres-2/data/standby.signal");
    assert_int_equal(file_replace(path, STR(""), 0600, NULL), OK);
    home_path(&h, path, "store/postgres/synchronous.conf");
    assert_int_equal(file_replace(path, STR("synchronous_standby_names = '\"postgres-2\"'\n"), 0600, NULL), OK);
    assert_int_equal(database_promote(&h, &o, &name, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "--may-lose"));
    home_path(&h, path, "store/postgres/in-step");
    assert_int_equal(file_replace(path, STR(""), 0600, NULL), OK);
    assert_int_not_equal(database_promote(&h, &o, &name, &err), ERR_CONFLICT); /* it is asked now, and is not there */
    home_close(&h);
}

/* A home of an older `up` gets the ports that the inventory has now; those that it has stay. */
static void ports_that_came_later(void **state)
{
    struct home h;
    struct inventory *inv = NULL;
    struct service list[SERVICES_MAX];
    assert_int_equal(create(*state, HEAD OPERATORS PORTS "store: postgres\n", &h, NULL), OK);
    assert_int_equal(services_of(&h, list), 2);
    assert_int_equal(load(*state, HEAD OPERATORS PORTS_NATS, &inv, NULL), OK);
    int64_t management_api = h.inst.management_api_port;
    assert_int_equal(home_complete(&h, inv, hush, NULL, NULL), OK);
    inventory_free(inv);
    home_close(&h);
    assert_int_equal(home_open(*state, &h, NULL), OK);
    assert_int_equal(h.inst.management_api_port, management_api);
    assert_int_equal(services_of(&h, list), 5); /* the database and its standby, two nats-servers, S3 */
    assert_string_equal(list[0].name, "postgres");
    assert_string_equal(list[1].name, "postgres-2");
    assert_false(list[2].outlives_supervisor); /* hints: nothing is lost with them */
    home_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(inventory_is_read, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(home_that_cannot_be_read, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(hosts_that_cannot_be_raised, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(everybody_knows_all_operators, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(servers_of_others, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(a_database_and_its_standby, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(a_standby_that_was_to_be_waited_for, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(servers_that_are_there, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(ports_that_came_later, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(inventory_that_is_wrong, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
