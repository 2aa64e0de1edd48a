#include "node/runtime/common.h"

#include <stdio.h>

#include "base/own.h"
#include "os/file.h"

#define MARK_FILE "running.json"

static const struct field MARK_FIELDS[] = {
    FIELD_REQ(STR, runtime_mark, runtime, "runtime", "that started it"),
    FIELD_REQ(STR, runtime_mark, boot_id, "boot_id", "of the host"),
    FIELD_OPT(I64, runtime_mark, pid, "pid", "of its first process"),
    FIELD_OPT(I64, runtime_mark, start_ticks, "start_ticks", "its start, in /proc/<pid>/stat"),
    FIELD_OPT(BOOL, runtime_mark, accelerated, "accelerated", "by KVM"),
};
static const struct field_table MARK_TABLE = FIELD_TABLE(runtime_mark, MARK_FIELDS);

const char *runtime_stream_name(enum runtime_stream stream)
{
    static const char *const NAMES[] = {"stdout", "stderr", "console"};
    return NAMES[stream];
}

const struct runtime_ops *runtime_find(struct str name)
{
    static const struct runtime_ops *const ALL[] = {&RUNTIME_NULL, &RUNTIME_HOST, &RUNTIME_QEMU};
    for (size_t i = 0; i < sizeof(ALL) / sizeof(ALL[0]); i++)
        if (str_eq_c(name, ALL[i]->name))
            return ALL[i];
    return NULL;
}

enum err runtime_mark_write(const char *state_dir, const struct runtime_mark *mark, struct errinfo *err)
{
    auto_free char *path = mem_printf("%s/" MARK_FILE, state_dir);
    AUTO(buf) struct buf text = {0};
    fields_encode(&MARK_TABLE, mark, &text);
    return file_replace(path, buf_str(&text), 0600, err);
}

enum err runtime_mark_read(const char *state_dir, const char *runtime, struct arena *a, struct runtime_mark *ret_mark,
                           struct errinfo *err)
{
    auto_free char *path = mem_printf("%s/" MARK_FILE, state_dir);
    AUTO(buf) struct buf text = {0};
    char boot_id[BOOT_ID_SIZE];
    enum err rc = file_read(path, 4096, &text, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "nothing was started in '%s'", state_dir);
    if (rc != OK || (rc = boot_id_read(boot_id, err)) != OK)
        return rc;
    /* a mark that cannot be read was written by nobody of ours, or by another version: nothing to adopt by it */
    if (fields_parse(&MARK_TABLE, buf_str(&text), a, ret_mark, NULL) != OK || !str_eq_c(ret_mark->boot_id, boot_id) ||
        !str_eq_c(ret_mark->runtime, runtime))
        return err_set(err, ERR_NOT_FOUND, "what was started in '%s' is gone with another boot", state_dir);
    return OK;
}

enum err runtime_mark_remove(const char *state_dir, struct errinfo *err)
{
    auto_free char *path = mem_printf("%s/" MARK_FILE, state_dir);
    return file_remove(path, err);
}

enum err runtime_mark_child(const char *state_dir, const char *runtime, struct child_ref ref, bool accelerated,
                            struct errinfo *err)
{
    char boot_id[BOOT_ID_SIZE];
    enum err rc = boot_id_read(boot_id, err);
    if (rc != OK)
        return rc;
    return runtime_mark_write(state_dir,
                              &(struct runtime_mark){.runtime = str_from(runtime),
                                                     .boot_id = str_from(boot_id),
                                                     .pid = ref.pid,
                                                     .start_ticks = (int64_t)ref.start_ticks,
                                                     .accelerated = accelerated},
                              err);
}

enum err runtime_destroy(const struct runtime_host *host, const char *state_dir, const char *cgroup,
                         struct errinfo *err)
{
    if (cgroup != NULL && host->cgroups.kind != CGROUP_NONE) {
        enum err rc = cgroup_kill(&host->cgroups, cgroup, err);
        if (rc != OK || (rc = cgroup_remove(&host->cgroups, cgroup, err)) != OK)
            return rc;
        cgroup_prune(&host->cgroups, cgroup);
    }
    return folder_remove(state_dir, err);
}

void runtime_describe(char *text, size_t size, const char *who, int exit_code, int signal)
{
    if (signal != 0)
        (void)snprintf(text, size, "%s was killed by signal %d (%s)", who, signal, strsignal(signal));
    else
        (void)snprintf(text, size, "%s exited with code %d", who, exit_code);
}
