#include "build/job.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "build/command.h"
#include "os/file.h"

#define REGISTRY_PORT 5000
#define REGISTRY_START_TIMEOUT_US 20000000
#define REGISTRY_POLL_MS 20

static const char CONFIG[] = "version: 0.1\n"
                             "log: {level: error}\n"
                             "storage:\n"
                             "  filesystem: {rootdirectory: '%.*s'}\n"
                             "  maintenance: {readonly: {enabled: true}}\n"
                             "http: {addr: '127.0.0.1:%d'}\n";

static bool answers(void)
{
    auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(REGISTRY_PORT)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct sockaddr *generic = (struct sockaddr *)&a;
    return fd >= 0 && connect(fd, generic, sizeof(a)) == 0;
}

enum err job_start_registry(struct job *j, struct errinfo *err)
{
    struct str folder = j->request->registry_folder;
    if (folder.len == 0)
        return OK;
    if (!file_is_folder(arena_str(&j->arena, folder).ptr)) {
        (void)printf("no local registry in '%.*s': base images come from public registries\n", STR_ARG(folder));
        return OK;
    }
    const char *config = arena_printf(&j->arena, "%s/registry.yml", j->folder);
    auto_free char *text = mem_printf(CONFIG, STR_ARG(folder), REGISTRY_PORT);
    auto_close int fd = open(config, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return err_set_os(err, ERR_IO, errno, "write '%s'", config);
    const char *log = arena_printf(&j->arena, "%s/registry.log", j->folder);
    auto_close int log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    pid_t pid = 0;
    const char *const argv[] = {"docker-registry", "serve", config, NULL};
    const struct command c = {.argv = argv, .env = (const char *const *)j->env};
    enum err rc = command_start(&c, log_fd, &pid, err);
    int64_t give_up_us = clock_mono_us() + REGISTRY_START_TIMEOUT_US;
    while (rc == OK && !answers()) {
        if (waitpid(pid, NULL, WNOHANG) == pid || clock_mono_us() > give_up_us)
            return err_set(err, ERR_UNAVAILABLE, "the local registry did not start");
        (void)poll(NULL, 0, REGISTRY_POLL_MS);
    }
    return rc;
}
