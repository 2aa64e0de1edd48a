#include "node/runtime/tail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "os/file.h"

struct tail {
    uv_fs_event_t event;
    uv_timer_t timer;
    int handles_n; /* that are not closed yet */
    int fd, at_fd;
    int64_t at, punched;
    struct lines *lines;
    enum runtime_stream stream;
};

static void save_position(const struct tail *t)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%020lld\n", (long long)t->at);
    if (pwrite(t->at_fd, text, (size_t)n, 0) != n)
        return; /* then some lines come twice after the next restart */
}

static int64_t load_position(int at_fd, int64_t size)
{
    char text[24];
    uint64_t at = 0;
    ssize_t n = pread(at_fd, text, sizeof(text), 0);
    if (n <= 0 || !str_parse_u64(str_trim((struct str){text, (size_t)n}), INT64_MAX, &at) || (int64_t)at > size)
        return 0;
    return (int64_t)at;
}

static void punch(struct tail *t)
{
    int64_t to = t->at / 4096 * 4096;
    if (to - t->punched < TAIL_PUNCH_BYTES)
        return;
    /* where the file system can't, the file grows until the program is started anew */
    (void)fallocate(t->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, t->punched, to - t->punched);
    t->punched = to;
}

/* False when the end was reached. */
static bool read_round(struct tail *t)
{
    size_t done = 0;
    ssize_t n = 1;
    while (done < TAIL_ROUND_BYTES && n > 0) {
        char bytes[16384];
        n = pread(t->fd, bytes, sizeof(bytes), t->at);
        if (n <= 0)
            break;
        t->at += n;
        done += (size_t)n;
        lines_add(t->lines, t->stream, (struct str){bytes, (size_t)n}, clock_mono_us());
    }
    if (done > 0) {
        save_position(t);
        punch(t);
    }
    return n > 0;
}

static void on_timer(uv_timer_t *timer)
{
    struct tail *t = timer->data;
    /* more to read: soon, but after others had their turn; the pause also bounds what a flood costs us */
    bool more = read_round(t);
    (void)uv_timer_start(&t->timer, on_timer, more ? 10 : TAIL_LOOK_MS, 0);
}

static void on_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    (void)name, (void)events, (void)status;
    struct tail *t = event->data;
    if (uv_timer_get_due_in(&t->timer) > 10)
        (void)uv_timer_start(&t->timer, on_timer, 10, 0);
}

static enum err open_files(struct tail *t, const char *path, uid_t uid, gid_t gid, int *ret_write_fd,
                           struct errinfo *err)
{
    auto_free char *at_path = mem_printf("%s.at", path);
    auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    auto_close int at_fd = open(at_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    if (fd < 0 || at_fd < 0 || fstat(fd, &st) < 0 || fchown(fd, uid, gid) < 0)
        return err_set_os(err, ERR_IO, errno, "open log '%s'", path);
    t->at = load_position(at_fd, st.st_size);
    if (ret_write_fd != NULL && t->at == st.st_size && ftruncate(fd, 0) == 0)
        t->at = 0;
    t->punched = t->at / 4096 * 4096;
    if (ret_write_fd != NULL && (*ret_write_fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW)) < 0)
        return err_set_os(err, ERR_IO, errno, "open log '%s'", path);
    t->fd = TAKE_FD(fd);
    t->at_fd = TAKE_FD(at_fd);
    return OK;
}

enum err tail_open(uv_loop_t *loop, const char *path, uid_t uid, gid_t gid, struct lines *lines,
                   enum runtime_stream stream, struct tail **ret_tail, int *ret_write_fd, struct errinfo *err)
{
    struct tail *t = mem_alloc(sizeof(*t));
    t->lines = lines;
    t->stream = stream;
    enum err rc = open_files(t, path, uid, gid, ret_write_fd, err);
    if (rc != OK) {
        free(t);
        return rc;
    }
    (void)uv_timer_init(loop, &t->timer);
    (void)uv_fs_event_init(loop, &t->event);
    t->timer.data = t->event.data = t;
    t->handles_n = 2;
    (void)uv_fs_event_start(&t->event, on_event, path, 0); /* without it the timer looks */
    (void)uv_timer_start(&t->timer, on_timer, 0, 0);
    *ret_tail = t;
    return OK;
}

void tail_finish(struct tail *t)
{
    struct stat st;
    for (int round = 0; round < 16; round++)
        if (!read_round(t))
            return;
    if (fstat(t->fd, &st) == 0 && st.st_size > t->at) {
        lines_note(t->lines, t->stream, "slipform: skipped %lld bytes of output at the end",
                   (long long)(st.st_size - t->at));
        t->at = st.st_size;
        save_position(t);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct tail *t = handle->data;
    if (--t->handles_n > 0)
        return;
    (void)close(t->fd);
    (void)close(t->at_fd);
    free(t);
}

void tail_close(struct tail *t)
{
    if (t == NULL)
        return;
    uv_close((uv_handle_t *)&t->timer, on_closed);
    uv_close((uv_handle_t *)&t->event, on_closed);
}
