#pragma once
/* os/child_start.h - the fork: everything between us and the first instruction of the new program.
 * Layer: os, inside. */
#include "os/child.h"

/* *ret_pid is a child of ours, with the program in it; *ret_pidfd is returned: close. Errors as child_spawn. */
must_check enum err child_start(const struct child_spec *spec, pid_t *ret_pid, int *ret_pidfd, struct errinfo *err);
/* Start of a process; a zombie's too. OK | ERR_NOT_FOUND */
must_check enum err child_start_ticks(pid_t pid, uint64_t *ret_ticks, struct errinfo *err);
/* waitid as a status. False while it runs; a process that is not our child counts as ended, with is_known false. */
bool child_reap(int pidfd, struct child_status *ret_status);
