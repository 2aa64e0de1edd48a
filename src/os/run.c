#include "os/run.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/own.h"
#include "os/child.h"
#include "os/ns.h"

enum { TIMEOUT_MS_DEFAULT = 60000, PROGRAM_PATH_SIZE = 512 };

static enum err find_program(const char *name, char ret_path[static PROGRAM_PATH_SIZE], struct errinfo *err)
{
    if (strchr(name, '/') != NULL) {
        (void)snprintf(ret_path, PROGRAM_PATH_SIZE, "%s", name);
        return OK;
    }
    const char *path = getenv("PATH");
    AUTO(buf) struct buf folders = {0};
    buf_addf(&folders, "%s:/usr/sbin:/sbin:/usr/bin:/bin", path == NULL ? "" : path);
    struct str rest = buf_str(&folders), folder;
    while (str_next(&rest, ':', &folder)) {
        int n = snprintf(ret_path, PROGRAM_PATH_SIZE, "%.*s/%s", STR_ARG(folder), name);
        if (folder.len > 0 && n < PROGRAM_PATH_SIZE && access(ret_path, X_OK) == 0)
            return OK;
    }
    return err_set(err, ERR_NOT_FOUND, "there is no program '%s': run 'tools/setup'", name);
}

static enum err text_fd(struct str text, int *ret_fd, struct errinfo *err)
{
    auto_close int fd = memfd_create("stdin", MFD_CLOEXEC);
    if (fd < 0 || write(fd, text.ptr == NULL ? "" : text.ptr, text.len) != (ssize_t)text.len ||
        lseek(fd, 0, SEEK_SET) != 0)
        return err_set_os(err, ERR_IO, errno, "memory file for %zu bytes of input", text.len);
    *ret_fd = TAKE_FD(fd);
    return OK;
}

enum err run_program(const struct run_options *o, struct buf *ret_output, struct errinfo *err)
{
    char path[PROGRAM_PATH_SIZE];
    auto_close int in = -1, ns = -1;
    enum err rc = find_program(o->argv[0], path, err);
    if (rc == OK)
        rc = text_fd(o->stdin_text, &in, err);
    if (rc == OK && o->netns != NULL)
        rc = netns_open(o->netns, &ns, err);
    if (rc != OK)
        return rc;
    static const char *const ENV[] = {"PATH=/usr/sbin:/sbin:/usr/bin:/bin", "LANG=C", NULL};
    struct child_fd stdin_fd = {.from = in, .to = 0};
    struct child_spec spec = {.program = path,
                              .argv = o->argv,
                              .env = ENV,
                              .fds = &stdin_fd,
                              .fds_n = 1,
                              .die_with_parent = true,
                              .netns_fd = ns < 0 ? 0 : ns};
    AUTO(buf) struct buf own = {0};
    return child_run(&spec, o->timeout_ms == 0 ? TIMEOUT_MS_DEFAULT : o->timeout_ms,
                     ret_output != NULL ? ret_output : &own, err);
}
