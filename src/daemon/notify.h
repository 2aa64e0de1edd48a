#pragma once
/* daemon/notify.h - the service manager's notification socket (sd_notify(3)), a plain datagram. Layer: daemon. */
#include "base/err.h"

/* socket_path: value of NOTIFY_SOCKET, "@..." for an abstract one; NULL or "": nothing is done.
 * OK | ERR_INVALID path | ERR_IO. */
must_check enum err notify_send(const char *socket_path, const char *text, struct errinfo *err);
