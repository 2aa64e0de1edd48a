#pragma once
/* guest/program.h - the image's program: its words, environment, user and folder, and its start.
 * Layer: guest. */
#include <sys/types.h>

#include "guest/user.h"
#include "wire/guest.h"

struct program {
    pid_t pid;     /* 0: not started or ended */
    int output[2]; /* read ends of its stdout and stderr, non-blocking; -1: closed */
};

/* Words: entrypoint, then cmd. *ret_words (NULL-terminated) is in the arena. ERR_INVALID: the image names no program */
must_check enum err program_words(const struct image_config *image, struct arena *a, const char *const **ret_words,
                                  struct errinfo *err);
/* The image's environment, then the platform's over it, PATH and HOME where nobody set them. In the arena. */
const char *const *program_env(const struct guest_config *c, const struct user *u, struct arena *a);
/* The file that `word` means: itself when it has a slash, else the first on PATH. In the arena; ERR_NOT_FOUND. */
must_check enum err program_path(const char *word, const char *const *env, const char *workdir, struct arena *a,
                                 const char **ret_path, struct errinfo *err);
/* "SIGTERM", "TERM", "15", ""; 0 when it is none. */
int program_signal(struct str text);
/* Start it as a child in a session of its own. OK | ERR_… with what is wrong with the image */
must_check enum err program_start(const struct guest_config *c, struct program *ret_program, struct errinfo *err);
