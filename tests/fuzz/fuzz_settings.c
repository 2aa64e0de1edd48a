/* A settings file (YAML), and an inventory: the first byte chooses. */
#include "daemon/settings.h"
#include "fuzz.h"
#include "install/inventory.h"

struct values {
    const char *text, *path, *choice;
    int64_t number;
    bool flag;
    uint64_t bytes;
    struct setting_list list;
};
#define ROW(type_, member, ...)                                                                                        \
    {.name = #member, .type = SETTING_##type_, .offset = offsetof(struct values, member), .doc = "", __VA_ARGS__}
static const struct setting TABLE[] = {
    ROW(TEXT, text, .fallback = "x"),
    ROW(PATH, path, .fallback = NULL),
    ROW(CHOICE, choice, .choices = "one|two|three"),
    ROW(INT, number, .min = 1, .max = 65535, .fallback = "7"),
    ROW(BOOL, flag, .fallback = "false"),
    ROW(SIZE, bytes, .fallback = "1MiB"),
    ROW(LIST, list, .fallback = NULL),
};

static void settings(const char *path)
{
    AUTO(arena) struct arena a = {0};
    struct values v;
    struct errinfo err;
    if (settings_load(TABLE, sizeof(TABLE) / sizeof(TABLE[0]), path, NULL, &a, &v, sizeof(v), &err) != OK) {
        assert(err.msg[0] != '\0');
        return;
    }
    assert(v.number >= 1 && v.number <= 65535 && v.text != NULL);
    for (size_t i = 0; i < v.list.n; i++)
        assert(v.list.items[i] != NULL);
}

static void inventory(const char *path)
{
    struct inventory *inv;
    if (inventory_load(path, &inv, NULL) != OK)
        return;
    assert(inv->nodes_n <= INVENTORY_NODES_MAX);
    inventory_free(inv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t choice;
    struct str rest;
    struct fuzz_file file;
    if (!fuzz_choose(data, size, 2, &choice, &rest))
        return 0;
    fuzz_file_init(&file, rest);
    if (choice == 0)
        settings(file.path);
    else
        inventory(file.path);
    fuzz_file_done(&file);
    return 0;
}
