#pragma once
/* node/runtime/tail.h - follow a file that a program appends its output to.
 * Layer: node, inside runtime/. A file, not a pipe: a program must neither block nor die while the agent is away. What
 * was read is given back to the file system (a hole is punched), so that the file stays small however long the program
 * runs; its size as shown grows, its blocks don't. The position survives the agent in "<file>.at". */
#include <uv.h>

#include "base/err.h"
#include "node/runtime/lines.h"

/* Holes are punched in steps of that. Chosen, never measured. */
#define TAIL_PUNCH_BYTES (256 * 1024)
/* Read at most that much, then let the loop do other things. */
#define TAIL_ROUND_BYTES (256 * 1024)
/* inotify tells of news; where it can't, this look does. */
#define TAIL_LOOK_MS 1000

struct tail;
/* Follow `path`, made when missing and owned by uid, from where an earlier run stopped. *ret_write_fd (may be NULL) is
 * returned: for the program, opened for appending. `lines` gets its bytes, from the loop. */
must_check enum err tail_open(uv_loop_t *loop, const char *path, uid_t uid, gid_t gid, struct lines *lines,
                              enum runtime_stream stream, struct tail **ret_tail, int *ret_write_fd,
                              struct errinfo *err);
/* Read to the end now: the program is over. At most 16 rounds: what is beyond is told as skipped. */
void tail_finish(struct tail *t);
void tail_close(struct tail *t);
