#include "daemon/notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/own.h"
#include "base/str.h"

enum err notify_send(const char *socket_path, const char *text, struct errinfo *err)
{
    if (socket_path == NULL || socket_path[0] == '\0')
        return OK;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if ((socket_path[0] != '/' && socket_path[0] != '@') ||
        !str_copy_to(str_from(socket_path), to.sun_path, sizeof(to.sun_path)))
        return err_set(err, ERR_INVALID, "NOTIFY_SOCKET '%.120s' is no socket path", socket_path);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(socket_path));
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    size_t n = strlen(text);
    if (fd < 0 || sendto(fd, text, n, MSG_NOSIGNAL, (struct sockaddr *)&to, size) != (ssize_t)n)
        return err_set_os(err, ERR_IO, errno, "notify the service manager at '%.120s'", socket_path);
    return OK;
}
