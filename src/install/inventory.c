#include "install/inventory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cyaml/cyaml.h>

#include "base/mem.h"

static const cyaml_schema_field_t NODE_FIELDS[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct inventory_node, name, 1, 32),
    CYAML_FIELD_STRING_PTR("zone", CYAML_FLAG_POINTER, struct inventory_node, zone, 1, 32),
    CYAML_FIELD_STRING_PTR("label", CYAML_FLAG_POINTER, struct inventory_node, label, 1, 32),
    CYAML_FIELD_BOOL("namespace", CYAML_FLAG_DEFAULT, struct inventory_node, has_namespace),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t NODE_VALUE = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct inventory_node, NODE_FIELDS),
};
static const cyaml_schema_field_t PORT_FIELDS[] = {
    CYAML_FIELD_UINT("edge_http", CYAML_FLAG_DEFAULT, struct inventory_ports, edge_http),
    CYAML_FIELD_UINT("edge_https", CYAML_FLAG_DEFAULT, struct inventory_ports, edge_https),
    CYAML_FIELD_UINT("management_api", CYAML_FLAG_DEFAULT, struct inventory_ports, management_api),
    CYAML_FIELD_UINT("public_api", CYAML_FLAG_DEFAULT, struct inventory_ports, public_api),
    CYAML_FIELD_UINT("node_agent", CYAML_FLAG_DEFAULT, struct inventory_ports, node_agent),
    CYAML_FIELD_UINT("node_proxy", CYAML_FLAG_DEFAULT, struct inventory_ports, node_proxy),
    CYAML_FIELD_UINT("nats", CYAML_FLAG_OPTIONAL, struct inventory_ports, nats),
    CYAML_FIELD_UINT("nats_routes", CYAML_FLAG_OPTIONAL, struct inventory_ports, nats_routes),
    CYAML_FIELD_UINT("nats_monitor", CYAML_FLAG_OPTIONAL, struct inventory_ports, nats_monitor),
    CYAML_FIELD_UINT("s3", CYAML_FLAG_OPTIONAL, struct inventory_ports, s3),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t FIELDS[] = {
    CYAML_FIELD_STRING_PTR("installation", CYAML_FLAG_POINTER, struct inventory, installation, 1, 32),
    CYAML_FIELD_STRING_PTR("region", CYAML_FLAG_POINTER, struct inventory, region, 1, 32),
    CYAML_FIELD_STRING_PTR("app_domain", CYAML_FLAG_POINTER, struct inventory, app_domain, 1, 200),
    CYAML_FIELD_STRING_PTR("store", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct inventory, store, 1,
                           INVENTORY_SPEC_MAX),
    CYAML_FIELD_STRING_PTR("blobs", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct inventory, blobs, 1,
                           INVENTORY_SPEC_MAX),
    {.key = "nodes",
     .value = {.type = CYAML_SEQUENCE,
               .flags = CYAML_FLAG_POINTER,
               .data_size = sizeof(struct inventory_node),
               .sequence = {.entry = &NODE_VALUE, .min = 1, .max = INVENTORY_NODES_MAX}},
     .data_offset = offsetof(struct inventory, nodes),
     .count_offset = offsetof(struct inventory, nodes_n),
     .count_size = sizeof(unsigned)},
    CYAML_FIELD_MAPPING("ports", CYAML_FLAG_DEFAULT, struct inventory, ports, PORT_FIELDS),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t SCHEMA = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct inventory, FIELDS)};

/* libcyaml says what is wrong by its log: keep the first line of it. */
__attribute__((format(printf, 3, 0))) static void keep_message(cyaml_log_t level, void *ctx, const char *fmt,
                                                               va_list args)
{
    char *text = ctx;
    if (level >= CYAML_LOG_ERROR && text[0] == '\0') {
        (void)vsnprintf(text, 256, fmt, args);
        text[strcspn(text, "\n")] = '\0';
    }
}

static cyaml_config_t config_of(char *message)
{
    return (cyaml_config_t){.log_fn = keep_message,
                            .log_ctx = message,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = CYAML_CFG_DEFAULT};
}

enum err inventory_load(const char *file, struct inventory **ret, struct errinfo *err)
{
    if (access(file, R_OK) != 0)
        return err_set(err, ERR_NOT_FOUND, "no inventory at '%s'", file);
    char message[256] = "";
    cyaml_config_t config = config_of(message);
    cyaml_data_t *data = NULL;
    cyaml_err_t rc = cyaml_load_file(file, &config, &SCHEMA, &data, NULL);
    if (rc != CYAML_OK)
        return err_set(err, ERR_INVALID, "inventory '%s': %s: %s", file, cyaml_strerror(rc), message);
    if (data == NULL) /* what libcyaml makes of a file of comments */
        return err_set(err, ERR_INVALID, "inventory '%s' is empty", file);
    *ret = (struct inventory *)data;
    return OK;
}

void inventory_set_store(struct inventory *inv, const char *store)
{
    free(inv->store); /* cyaml_mem is realloc and free */
    inv->store = mem_strdup(store);
}

void inventory_free(struct inventory *inv)
{
    char message[256] = "";
    cyaml_config_t config = config_of(message);
    if (inv != NULL)
        (void)cyaml_free(&config, &SCHEMA, inv, 0);
}
