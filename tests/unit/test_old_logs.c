/* Logs of every release fold for ever, to what they said: tests/data/logs/<release>/<name>.jsonl beside
 * <name>.expected. The first lines of an .expected are what anybody can see of the model; they never change. The last
 * is model_hash, which changes when the model has another shape (platform/members.c), knowingly: OLD_LOGS_UPDATE=1
 * test_old_logs FOLDER writes it anew, and refuses when anything else has changed. HACKING.md says how a release adds
 * its logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/own.h"
#include "event/hash.h"
#include "os/file.h"
#include "platform/model.h"
#include "store/store.h"

static const char *logs_folder;

static void fold(const char *path, struct model *m)
{
    auto_free char *spec = mem_printf("jsonl;path=%s", path);
    struct store *s = NULL;
    struct errinfo err = {0};
    AUTO(store_batch) struct store_batch b = {0};
    if (store_open(spec, &(struct store_options){.mode = STORE_READ}, &s, NULL, &err) != OK ||
        store_read(s, 0, 0, 0, &b, &err) != OK)
        fail_msg("%s: %s", path, err.msg);
    assert_int_equal(b.items[b.n - 1].seq, b.end.seq);
    for (size_t i = 0; i < b.n; i++) {
        AUTO(arena) struct arena a = {0};
        struct event ev;
        enum err rc = event_decode(&b.items[i].e, &a, &ev, &err);
        if (rc != OK || model_apply(m, &ev, &err) != OK)
            fail_msg("%s, event %zu: %s", path, i + 1, err.msg);
    }
    store_close(s);
}

static void add_instances(const struct model *m, struct buf *out)
{
    char id[ID_TEXT_SIZE];
    MODEL_EACH (instance, i, &m->instances) {
        id_format(i->id, id);
        buf_addf(out, "instance %s of '%s' on '%s': %s %s, restarts %u, address '%s', cause '%s'\n", id,
                 i->process->name, i->node == NULL ? "" : i->node->name,
                 instance_status_name((enum instance_status)i->status), health_name((enum health)i->health),
                 i->restarts, i->address, i->cause);
    }
}

static void describe(const struct model *m, struct buf *out)
{
    char id[ID_TEXT_SIZE];
    buf_addf(out, "events %llu\n", (unsigned long long)m->seq);
    buf_addf(out, "regions %zu, zones %zu, definitions %zu, certificates %zu\n", m->regions.n, m->zones.n,
             m->definitions.n, m->certificates.n);
    MODEL_EACH (node, n, &m->nodes)
        buf_addf(out, "node '%s': %s, boot '%s', instances %zu\n", n->name, node_status_name(n->status), n->boot_id,
                 n->instances.n);
    MODEL_EACH (project, p, &m->projects) {
        id_format(p->live == NULL ? ID_NONE : p->live->id, id);
        buf_addf(out, "project '%s': live %s, deployments %zu, hosts %u\n", p->slug, id, p->deployments.n, p->hosts.n);
    }
    MODEL_EACH (process, p, &m->processes) {
        id_format(p->id, id);
        buf_addf(out, "process %s '%s': %s, image '%s', instances %zu of %lld\n", id, p->name,
                 p->project == NULL ? "no deployment" : deployment_status_name(p->status), p->image_digest,
                 p->instances.n, (long long)p->instances_wanted);
    }
    MODEL_EACH (image, i, &m->images)
        buf_addf(out, "image '%s': %s, %lld bytes\n", i->digest, image_status_name(i->status),
                 (long long)i->size_bytes);
    add_instances(m, out);
}

static void add_hash(const struct model *m, struct buf *out)
{
    uint8_t hash[HASH_SIZE];
    char text[DIGEST_TEXT_SIZE];
    model_hash(m, hash);
    hash_digest_format(hash, text);
    buf_addf(out, "model_hash %s\n", text);
}

static void check_log(const char *path)
{
    AUTO(buf) struct buf found = {0}, expected = {0};
    auto_free char *expected_path = mem_printf("%.*s.expected", (int)(strlen(path) - strlen(".jsonl")), path);
    struct model *m = model_new();
    struct errinfo err = {0};
    bool is_update = getenv("OLD_LOGS_UPDATE") != NULL;
    fold(path, m);
    describe(m, &found);
    size_t facts_len = found.len;
    add_hash(m, &found);
    model_free(m);
    enum err rc = file_read(expected_path, 1 << 20, &expected, &err);
    if (rc == OK && (expected.len < facts_len || memcmp(expected.ptr, found.ptr, facts_len) != 0))
        fail_msg("%s: the log says something else than it said at its release:\n%s", path, found.ptr);
    if (is_update)
        assert_int_equal(file_replace(expected_path, buf_str(&found), 0644, &err), OK);
    else if (rc != OK)
        fail_msg("%s: %s", path, err.msg);
    else if (!str_eq(buf_str(&found), buf_str(&expected)))
        fail_msg(
            "%s: only model_hash is another one. When the model's shape was changed on purpose: OLD_LOGS_UPDATE=1 %s",
            path, "build/tests/test_old_logs tests/data/logs");
}

/* Every .jsonl below a folder. Returns how many. */
static int each_log(const char *folder)
{
    int n = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return 0;
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        if (d->d_name[0] == '.')
            continue;
        auto_free char *path = mem_printf("%s/%s", folder, d->d_name);
        if (str_ends(str_from(path), STR(".jsonl"))) {
            check_log(path);
            n++;
        } else {
            n += each_log(path);
        }
    }
    (void)closedir(dir);
    return n;
}

static void old_logs_fold_to_what_they_said(void **state)
{
    (void)state;
    assert_true(each_log(logs_folder) >= 4); /* of 0.1 */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(old_logs_fold_to_what_they_said)};
    if (argc != 2)
        return 2;
    logs_folder = argv[1];
    return cmocka_run_group_tests_name("old_logs", tests, NULL, NULL);
}
