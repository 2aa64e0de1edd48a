/* The files store: who appends, and in which order. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "store/files.h"

/* Who has it, for people: as the kernel lists locks. "" when that cannot be told. */
static void say_holder(const struct files *f, char ret[static 64])
{
    char line[256], stat_path[32], state = '?';
    struct stat lock;
    long pid = 0;
    unsigned long inode = 0;
    FILE *locks = fopen("/proc/locks", "re");
    bool is_found = false;
    ret[0] = '\0';
    while (locks != NULL && fstat(f->lock_fd, &lock) == 0 && !is_found && fgets(line, sizeof(line), locks) != NULL)
        is_found = sscanf(line, "%*d: FLOCK %*s %*s %ld %*x:%*x:%lu", &pid, &inode) == 2 && inode == lock.st_ino;
    if (locks != NULL)
        (void)fclose(locks);
    if (!is_found)
        return;
    (void)snprintf(stat_path, sizeof(stat_path), "/proc/%ld/stat", pid);
    FILE *stat_file = fopen(stat_path, "re");
    if (stat_file != NULL) {
        (void)fscanf(stat_file, "%*d (%*[^)]) %c", &state);
        (void)fclose(stat_file);
    }
    (void)snprintf(ret, 64, ": process %ld%s", pid, state == 'T' ? ", which stands still (SIGSTOP)" : "");
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
            char holder[64];
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
