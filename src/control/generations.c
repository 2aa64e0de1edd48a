/* list (what is in the folder) -> open as they are asked for -> drop the first ones. A folder that cannot be read or
 * deleted is left: what is read or appended there says why. */
#include "control/generations.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"

static char *path_of(const struct generations *g, uint64_t base)
{
    return mem_printf("%s/%020llu", g->folder, (unsigned long long)base);
}

struct generation *generations_last(const struct generations *g)
{
    return &g->items[g->n - 1];
}

void generations_add(struct generations *g, uint64_t base)
{
    size_t at = g->n;
    g->items = mem_realloc(g->items, (g->n + 1) * sizeof(*g->items));
    for (; at > 0 && g->items[at - 1].base > base; at--)
        g->items[at] = g->items[at - 1];
    g->items[at] = (struct generation){base, NULL};
    g->n++;
}

static bool is_known(const struct generations *g, uint64_t base)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->items[i].base == base)
            return true;
    return false;
}

bool generations_list(struct generations *g)
{
    uint64_t newest = g->n == 0 ? 0 : generations_last(g)->base;
    DIR *dir = g->folder == NULL ? NULL : opendir(g->folder);
    for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        int64_t base = 0;
        if (strlen(e->d_name) == 20 && str_parse_i64(str_from(e->d_name), &base) && base >= 0 &&
            !is_known(g, (uint64_t)base)) {
            generations_add(g, (uint64_t)base);
            g->is_made = true;
        }
    }
    if (dir != NULL)
        (void)closedir(dir);
    if (g->n == 0)
        generations_add(g, 0);
    return generations_last(g)->base > newest;
}

struct generation *generations_at(const struct generations *g, uint64_t after)
{
    struct generation *found = &g->items[0];
    for (size_t i = 0; i < g->n; i++)
        if (g->items[i].base <= after)
            found = &g->items[i];
    return found;
}

struct generation *generations_behind(const struct generations *g, uint64_t base)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->items[i].base > base)
            return &g->items[i];
    return NULL;
}

struct log_queue *generations_open(const struct generations *g, struct generation *one)
{
    bool writes = g->writes && one == generations_last(g);
    if (one->queue == NULL) {
        auto_free char *path = path_of(g, one->base);
        auto_free char *spec = mem_printf("files;path=%s", path);
        one->queue = log_queue_new(g->loop, spec, writes ? STORE_CREATE : STORE_READ, ID_NONE);
    }
    return one->queue;
}

/* The folder of a files store holds files, and one folder of files. */
static void remove_folder(const char *path, bool is_deep)
{
    DIR *dir = opendir(path);
    for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        auto_free char *file = mem_printf("%s/%s", path, e->d_name);
        if (e->d_name[0] != '.' && unlink(file) != 0 && is_deep)
            remove_folder(file, false);
    }
    if (dir != NULL)
        (void)closedir(dir);
    (void)rmdir(path);
}

static void drop_first(struct generations *g, void (*closed)(void *ctx), void *ctx)
{
    struct generation first = g->items[0];
    auto_free char *path = path_of(g, first.base);
    memmove(&g->items[0], &g->items[1], --g->n * sizeof(first));
    if (first.queue != NULL)
        log_queue_close(first.queue, closed, ctx);
    remove_folder(path, true);
}

/* By its files: the newest was written then. */
static bool is_old(const struct generations *g, const struct generation *one)
{
    struct stat st;
    auto_free char *path = path_of(g, one->base);
    auto_free char *head = mem_printf("%s/head", path);
    return stat(head, &st) == 0 && time(NULL) - st.st_mtime > g->kept_s;
}

void generations_drop_old(struct generations *g, void (*closed)(void *ctx), void *ctx)
{
    if (g->folder == NULL)
        return;
    while (g->n > 1 && (g->n > g->n_max || is_old(g, &g->items[0])))
        drop_first(g, closed, ctx);
}

void generations_close(struct generations *g, void (*closed)(void *ctx), void *ctx)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->items[i].queue != NULL)
            log_queue_close(g->items[i].queue, closed, ctx);
}

void generations_done(struct generations *g)
{
    free(g->items);
    free(g->folder);
}
