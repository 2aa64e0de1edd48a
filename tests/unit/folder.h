#pragma once
/* unit/folder.h - folders of a test's own, gone with its process, however that ends.
 *
 * The first one forks a keeper, which waits until the last process of the test has ended (its end of a pipe closes)
 * and removes what has the test's number in its name. It hears no signal of the test's group or terminal. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

static inline int scratch_remove_one_(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st, (void)flag, (void)at;
    return remove(path);
}

/* With all it holds. 0, or -1 when something stayed, or there is none. */
static inline int scratch_remove(const char *path)
{
    return nftw(path, scratch_remove_one_, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void scratch_sweep_(const char *parent, const char *prefix)
{
    DIR *d = opendir(parent);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char path[512];
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        (void)snprintf(path, sizeof(path), "%.200s/%.256s", parent, e->d_name);
        (void)scratch_remove(path);
    }
    if (d != NULL)
        (void)closedir(d);
}

static inline void scratch_keep_(int alive_fd, const char *prefix)
{
    char none;
    (void)setsid();
    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_IGN);
    int fd = dup2(alive_fd, 0); /* everything else, its output too, is the test's */
    (void)close_range(1, ~0u, 0);
    while (read(fd, &none, 1) > 0)
        continue;
    const char *named = getenv("TMPDIR");
    scratch_sweep_("/tmp", prefix);
    scratch_sweep_("/dev/shm", prefix);
    if (named != NULL)
        scratch_sweep_(named, prefix);
    _exit(0);
}

/* "slipform-test-4711-" */
static inline const char *scratch_prefix_(void)
{
    static char prefix[32];
    int pipe_fds[2];
    if (prefix[0] != '\0')
        return prefix;
    (void)snprintf(prefix, sizeof(prefix), "slipform-test-%d-", (int)getpid());
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return prefix;
    if (fork() == 0)
        scratch_keep_(pipe_fds[0], prefix);
    (void)close(pipe_fds[0]); /* the other end stays open until this process and its forks have ended */
    return prefix;
}

/* Where nothing waits for a disk, if there is such a place. */
static inline const char *scratch_in_memory(void)
{
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

/* Make one in `parent`, /tmp or scratch_in_memory(). ret is NULL when that failed, the caller's otherwise (free). */
static inline char *scratch_new(const char *parent)
{
    char *path = mem_printf("%s/%sXXXXXX", parent, scratch_prefix_());
    if (mkdtemp(path) != NULL)
        return path;
    free(path);
    return NULL;
}

/* The same into an array. False: it failed, or does not fit. */
static inline bool scratch_make(const char *parent, char *ret, size_t size)
{
    char *path = scratch_new(parent);
    bool fits = path != NULL && strlen(path) < size;
    if (fits)
        memcpy(ret, path, strlen(path) + 1);
    free(path);
    return fits;
}

/* For cmocka: *state is the path. */
static inline int folder_setup(void **state)
{
    const char *base = getenv("TMPDIR");
    *state = scratch_new(base == NULL ? "/tmp" : base);
    return *state == NULL ? -1 : 0;
}

static inline int folder_teardown(void **state)
{
    int rc = scratch_remove(*state);
    free(*state);
    return rc;
}
