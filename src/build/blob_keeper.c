/* A question and its answer are one packet each, of one program to itself: as they are in memory. */
#include "build/blob_keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "blob/blob.h"

/* A store that was away is asked again after a second (chosen; each attempt has its own repetitions). */
#define AGAIN_MS 1000

enum ask_what { ASK_GET = 1, ASK_PUT };
struct ask {
    enum ask_what what;
    char digest[DIGEST_TEXT_SIZE]; /* of what is got */
    uint64_t size_max;
    int64_t deadline_us;
};
struct answer {
    struct errinfo err;
    char digest[DIGEST_TEXT_SIZE]; /* of what was put */
    uint64_t size_bytes;
};

/* ---- packets with a descriptor, or without (-1) ---- */

static bool packet_send(int fd, void *bytes, size_t size, int with_fd)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {.iov_base = bytes, .iov_len = size};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (with_fd >= 0) {
        m.msg_control = control;
        m.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &with_fd, sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)size;
}

/* False: the other end is gone. *ret_fd: close(), or -1. */
static bool packet_receive(int fd, void *bytes, size_t size, int *ret_fd)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {.iov_base = bytes, .iov_len = size};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    ssize_t n;
    *ret_fd = -1;
    do
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
    return n == (ssize_t)size;
}

/* ---- the keeper ---- */

static enum err answer_once(struct blob_store *store, const struct ask *a, int file_fd, struct answer *ret, int *ret_fd)
{
    uint64_t size;
    if (a->what == ASK_GET)
        return blob_open(store, a->digest, ret_fd, &size, &ret->err);
    if (lseek(file_fd, 0, SEEK_SET) != 0)
        return err_set_os(&ret->err, ERR_IO, errno, "read what is to be stored");
    return blob_put_fd(store, file_fd, a->size_max, NULL, ret->digest, &ret->size_bytes, &ret->err);
}

/* Again and again while the store is away. */
static void answer_ask(struct blob_store *store, const struct ask *a, int file_fd, struct answer *ret, int *ret_fd)
{
    for (bool told = false;; told = true) {
        *ret = (struct answer){0};
        enum err rc = answer_once(store, a, file_fd, ret, ret_fd);
        if (rc == OK)
            ret->err = (struct errinfo){0}; /* of something that was tried on the way */
        if (rc != ERR_UNAVAILABLE || clock_mono_us() + AGAIN_MS * 1000 > a->deadline_us)
            return;
        if (!told) {
            (void)printf("the blobs are away, and asked again: %s\n", ret->err.msg);
            (void)fflush(stdout);
        }
        (void)poll(NULL, 0, AGAIN_MS);
    }
}

static void keep(const char *spec, int fd)
{
    auto_blob_store struct blob_store *store = NULL;
    struct errinfo broken = {0};
    err_ignore(blob_store_open(spec, &store, &broken)); /* told to whoever asks */
    for (;;) {
        struct ask ask;
        auto_close int file_fd = -1, blob_fd = -1;
        if (!packet_receive(fd, &ask, sizeof(ask), &file_fd))
            return;
        struct answer answer = {.err = broken};
        if (store != NULL)
            answer_ask(store, &ask, file_fd, &answer, &blob_fd);
        if (!packet_send(fd, &answer, sizeof(answer), blob_fd))
            return;
    }
}

enum err blob_keeper_start(const char *spec, struct blob_keeper *ret, struct errinfo *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return err_set_os(err, ERR_IO, errno, "make a socket for the blobs");
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
            keep(spec, ends[1]);
        _exit(0);
    }
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        return err_set_os(err, ERR_IO, errno, "start the process that has the blobs");
    }
    *ret = (struct blob_keeper){pid, ends[0]};
    return OK;
}

void blob_keeper_stop(struct blob_keeper *k)
{
    if (k->fd >= 0)
        (void)close(TAKE_FD(k->fd));
    if (k->pid <= 0)
        return;
    (void)kill(k->pid, SIGKILL);
    while (waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    k->pid = 0;
}

/* ---- who asks ---- */

static enum err ask_keeper(int fd, struct ask *a, int file_fd, struct answer *ret, int *ret_fd, struct errinfo *err)
{
    if (!packet_send(fd, a, sizeof(*a), file_fd) || !packet_receive(fd, ret, sizeof(*ret), ret_fd))
        return err_set(err, ERR_IO, "the process that has the blobs is gone");
    if (ret->err.code != OK && err != NULL)
        *err = ret->err;
    return ret->err.code;
}

enum err blob_keeper_get(int fd, const char *digest, int64_t deadline_us, int *ret_fd, struct errinfo *err)
{
    struct ask a = {.what = ASK_GET, .deadline_us = deadline_us};
    struct answer answer;
    (void)snprintf(a.digest, sizeof(a.digest), "%s", digest);
    int got = -1;
    enum err rc = ask_keeper(fd, &a, -1, &answer, &got, err);
    if (rc == OK && got < 0)
        return err_set(err, ERR_IO, "the process that has the blobs gave none");
    if (rc == OK)
        *ret_fd = got;
    else if (got >= 0)
        (void)close(got);
    return rc;
}

enum err blob_keeper_put(int fd, int file_fd, uint64_t size_max, int64_t deadline_us, char ret_digest[DIGEST_TEXT_SIZE],
                         uint64_t *ret_size_bytes, struct errinfo *err)
{
    struct ask a = {.what = ASK_PUT, .size_max = size_max, .deadline_us = deadline_us};
    struct answer answer;
    auto_close int none = -1;
    enum err rc = ask_keeper(fd, &a, file_fd, &answer, &none, err);
    if (rc != OK)
        return rc;
    memcpy(ret_digest, answer.digest, DIGEST_TEXT_SIZE);
    *ret_size_bytes = answer.size_bytes;
    return OK;
}
