/* install: an inventory that somebody wrote, and the description that an installation keeps of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/own.h"
#include "folder.h"
#include "install/installation.h"
#include "install/inventory.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(inventory_is_read, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(home_that_cannot_be_read, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(inventory_that_is_wrong, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
