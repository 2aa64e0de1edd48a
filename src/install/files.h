#pragma once
/* install/files.h - the unprivileged user, folders and programs of an installation. Layer: install. */
#include "install/up.h"

/* The user that host programs run as, made when missing. */
#define INSTALL_USER "slipform"
must_check enum err files_user(int *ret_uid, int *ret_gid, struct errinfo *err);
must_check enum err files_folders(const struct home *h, int uid, int gid, struct errinfo *err);
/* From here on this process is that user, with root's right to become another one again. ERR_DENIED */
must_check enum err files_act_as(uid_t uid, gid_t gid, struct errinfo *err);
/* Copy programs, kernel and initramfs whose bytes differ, each replaced at once. *ret_changed: at least one was. */
must_check enum err files_programs(const struct home *h, const struct up_options *o, bool *ret_changed,
                                   struct errinfo *err);
/* The name of its folder below run/, where sockets of Envoys are: short, a socket's name has 107 bytes at most. */
struct str files_run_name(const struct installation_node *n);
/* Give the event log's files to the user (the installer wrote the first events as root). */
must_check enum err files_own_log(const struct home *h, int uid, int gid, struct errinfo *err);
