#pragma once
/* edge/run_dir.h - the folder of Envoy's files and sockets. Layer: edge. */

/* `run_dir` when given; else `state_dir` when socket paths in it are short enough for the kernel (107 bytes); else a
 * folder below /run/slipform that follows from state_dir. Returned: free(). */
char *run_dir_choose(const char *run_dir, const char *state_dir);
