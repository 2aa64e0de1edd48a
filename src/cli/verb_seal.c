/* slipform seal: which keys the keys of sealed values are wrapped under, and their rotation. On an operator's machine,
 * as root: the key file is there, and nothing of it goes anywhere. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/eventlog.h"
#include "cli/verbs.h"
#include "install/files.h"
#include "install/log_place.h"
#include "install/recovery.h"
#include "install/seal.h"

const struct flag SEAL_FLAGS[] = {
    {"key-file", FLAG_TEXT, "FILE", "instead of the installation's 'ca/seal.key' (setting 'seal_key_file')"},
    {"log", FLAG_TEXT, "LOG", "instead of the installation's event log (setting 'event_store')"},
    {0},
};
const char SEAL_DETAILS[] =
    "  seal          the keys by their ids, and how many keys of sealed values are wrapped under each\n"
    "  seal add      a next key, which nothing is under yet: copy the file to all operators before 'rotate'\n"
    "  seal rotate   a new key, or the next one, and all wrapped anew under it, beside programs that run; "
    "interrupted,\n"
    "                the same command goes on\n"
    "  seal new      a new file where it was lost for good ('slipform recovery restore' is the better way)\n";

struct place_texts {
    char file[PATH_SIZE], spec[LOG_SPEC_SIZE];
    char *given;
};

static struct seal_place place_of(const struct cli *c, struct place_texts *t)
{
    const char *file = cli_text(c, "key-file"), *log = cli_text(c, "log");
    t->given = log == NULL ? NULL : eventlog_spec(log);
    return (struct seal_place){file != NULL ? file : home_path(&c->home, t->file, "ca/seal.key"),
                               log != NULL ? t->given : log_spec(&c->home, LOG_AS_REPLICA, t->spec)};
}

static void print_report(const struct cli *c, const struct seal_report *r)
{
    auto_json json_t *rows = json_array();
    if (!c->json)
        (void)printf("%-18s %-9s %s\n", "KEY", "IS", "WRAPS");
    for (size_t i = 0; i < r->n; i++) {
        json_t *row = json_object();
        json_object_set_new(row, "key_id", json_string(r->keys[i].id));
        json_object_set_new(row, "is", json_string(r->keys[i].word));
        json_object_set_new(row, "wraps", json_integer((json_int_t)r->keys[i].wrapped_n));
        json_array_append_new(rows, row);
        if (!c->json)
            (void)printf("%-18s %-9s %llu\n", r->keys[i].id, r->keys[i].word, (unsigned long long)r->keys[i].wrapped_n);
    }
    if (c->json) {
        auto_free char *text = json_format(rows);
        (void)puts(text);
    }
}

static int look(struct cli *c, const struct seal_place *p)
{
    struct seal_report r;
    struct errinfo err = {0};
    if (seal_look(p, &r, &err) != OK)
        return cli_fail(c, &err);
    print_report(c, &r);
    return 0;
}

static int add(struct cli *c, const struct seal_place *p)
{
    struct errinfo err = {0};
    char id[17] = "";
    if (seal_add(p, id, &err) != OK)
        return cli_fail(c, &err);
    (void)printf(c->json ? "{\"next\":\"%s\"}\n"
                         : "key %s is the next one: copy the file to all operators, then 'slipform seal rotate'\n",
                 id);
    return 0;
}

static void say_it(void *ctx, const char *text)
{
    cli_say(ctx, "%s", text);
}

static int rotate(struct cli *c, const struct seal_place *p)
{
    struct errinfo err = {0};
    char id[17] = "";
    uint64_t rows = 0;
    enum err rc = seal_rotate(p, &rows, id, &err);
    if (rc == OK && cli_text(c, "key-file") == NULL)
        rc = recovery_keep(&c->home, NULL, say_it, c, &err); /* those made before do not have this key */
    if (rc != OK)
        return cli_fail(c, &err);
    if (cli_text(c, "key-file") != NULL)
        cli_say(c, "recovery keys made before are stale: 'slipform recovery create FILE'");
    (void)printf(c->json ? "{\"current\":\"%s\",\"wrapped\":%llu}\n"
                         : "key %s is the current one, %llu keys were wrapped anew\n",
                 id, (unsigned long long)rows);
    return 0;
}

static int make_new(struct cli *c, const struct seal_place *p)
{
    struct errinfo err = {0};
    int uid = -1, gid = -1;
    enum err rc = cli_text(c, "key-file") == NULL ? files_user(&uid, &gid, &err) : OK;
    if (rc == OK)
        rc = seal_new(p, uid, gid, &err);
    if (rc != OK)
        return cli_fail(c, &err);
    (void)printf(c->json ? "{}\n" : "new keys: what was sealed before stays closed, set secrets again\n");
    return 0;
}

int verb_seal(struct cli *c)
{
    static const struct {
        const char *name;
        int (*run)(struct cli *c, const struct seal_place *p);
    } VERBS[] = {{"", look}, {"add", add}, {"rotate", rotate}, {"new", make_new}};
    const char *verb = c->args_n > 0 ? c->args[0] : "";
    struct place_texts t = {0};
    if (c->home.inst.name.len == 0 && (cli_text(c, "key-file") == NULL || cli_text(c, "log") == NULL))
        return cli_failf(c, ERR_NOT_FOUND, "there is no installation in '%s': name --key-file and --log", c->home.path);
    struct seal_place p = place_of(c, &t);
    int exit_code = -1;
    for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++)
        if (strcmp(VERBS[i].name, verb) == 0)
            exit_code = VERBS[i].run(c, &p);
    free(t.given);
    if (exit_code >= 0)
        return exit_code;
    (void)cli_failf(c, ERR_INVALID, "say 'seal', 'seal add', 'seal rotate' or 'seal new'");
    return 2;
}
