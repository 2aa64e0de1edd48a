/* The files store: who appends, and in which order. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "store/files.h"

/* Who has it, for people: as the kernel lists locks. "" when that cannot be told. */
static void say_holder(const struct files *f, char ret[static 80])
{
    char line[256], pid[24], place[64], inode[32], stat_path[48], state = '?';
    struct stat lock;
    FILE *locks = fopen("/proc/locks", "re");
    bool is_found = false;
    ret[0] = '\0';
    if (locks == NULL || fstat(f->lock_fd, &lock) != 0)
        lock.st_ino = 0;
    (void)snprintf(inode, sizeof(inode), ":%llu", (unsigned long long)lock.st_ino);
    while (locks != NULL && !is_found && fgets(line, sizeof(line), locks) != NULL) {
        bool is_lock = sscanf(line, "%*s FLOCK %*s %*s %23s %63s", pid, place) == 2;
        const char *at = is_lock ? strrchr(place, ':') : NULL; /* major:minor:inode */
        is_found = at != NULL && strcmp(at, inode) == 0;
    }
    if (locks != NULL)
        (void)fclose(locks);
    if (!is_found)
        return;
    (void)snprintf(stat_path, sizeof(stat_path), "/proc/%s/stat", pid);
    FILE *stat_file = fopen(stat_path, "re");
    if (stat_file != NULL) {
        if (fscanf(stat_file, "%*s (%*[^)]) %c", &state) != 1)
            state = '?';
        (void)fclose(stat_file);
    }
    (void)snprintf(ret, 80, ": process %s%s", pid, state == 'T' ? ", which stands still (SIGSTOP)" : "");
}

/* flock cannot wait with a bound, so ask again with growing pauses: the holder needs one fdatasync (0.1 to 5 ms). */
static enum err wait_for(struct store *s, const struct files *f, int fd, int64_t until_us, struct errinfo *err)
{
    for (long pause_ns = 20000;; pause_ns = pause_ns < 1000000 ? pause_ns * 2 : pause_ns) {
        if (atomic_load(&s->is_cancelled))
            return err_set(err, ERR_CANCELLED, "log '%s': asked to stop", s->name);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return OK;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_set_os(err, ERR_IO, errno, "lock log '%s'", s->name);
        if (clock_mono_us() >= until_us) {
            char holder[80];
            say_holder(f, holder);
            return err_set(err, ERR_UNAVAILABLE, "log '%s' was locked by somebody else for %" PRIu64 " ms%s", s->name,
                           f->lock_wait_ms, holder);
        }
        (void)nanosleep(&(struct timespec){0, pause_ns}, NULL);
    }
}

/* One waits for the lock, the others for their turn to: so who has just let go of the lock, and would have it again
 * before anybody's pause is over, comes after the one who waits. */
enum err files_lock(struct store *s, struct files *f, struct errinfo *err)
{
    if (f->is_held)
        return OK;
    int64_t until_us = clock_mono_us() + (int64_t)f->lock_wait_ms * 1000;
    enum err rc = wait_for(s, f, f->turn_fd, until_us, err);
    if (rc != OK)
        return rc;
    rc = wait_for(s, f, f->lock_fd, until_us, err);
    (void)flock(f->turn_fd, LOCK_UN); /* cannot fail on a descriptor that is locked */
    f->is_locked = rc == OK;
    return rc;
}

void files_unlock(struct files *f)
{
    f->is_held = f->is_locked = false;
    (void)flock(f->lock_fd, LOCK_UN); /* cannot fail on a descriptor that is locked */
}
