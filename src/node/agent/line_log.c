#include "node/agent/line_log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "os/file.h"
#include "wire/deployment.h"

enum { PREVIOUS, CURRENT };

struct line_log {
    char *paths[2], *acked_path;
    struct id instance;
    int fd; /* of the current file; -1 when it cannot be opened */
    size_t size_max, size;
    int64_t seq, acked_seq;
    int read_file; /* where the next batch begins */
    off_t read_offset;
    off_t batch_offset; /* behind the batch that is under way, in batch_file */
    int batch_file;
    int64_t batch_seq;
    char last[256];
    bool is_last_console;
};

/* Every number up to here is exact in JSON; a larger one on disk was not written by us, and counts as torn. */
static const uint64_t SEQ_MAX = (uint64_t)1 << 53;

/* The number is the last member of a line. */
static int64_t seq_of(struct str line)
{
    size_t colon = str_rfind(line, ':');
    uint64_t seq = 0;
    if (colon >= line.len || line.ptr[line.len - 1] != '}' ||
        !str_parse_u64(str_slice(line, colon + 1, line.len - 1), SEQ_MAX, &seq))
        return 0;
    return (int64_t)seq;
}

/* Read forward from *offset until the line behind `seq`; leaves *offset there. */
static void skip_to(const char *path, int64_t seq, off_t *offset, int64_t *ret_last)
{
    AUTO(buf) struct buf all = {0};
    struct errinfo ignored;
    if (file_read(path, LINE_LOG_SIZE_MAX, &all, &ignored) != OK)
        return;
    struct str rest = buf_str(&all), line;
    while (str_find(rest, '\n') < rest.len && str_next(&rest, '\n', &line)) {
        int64_t at = seq_of(line);
        if (at > *ret_last)
            *ret_last = at;
        if (at > 0 && at <= seq) /* a torn one has no number */
            *offset = (off_t)(rest.ptr - all.ptr);
    }
}

static void open_current(struct line_log *l)
{
    l->fd = open(l->paths[CURRENT], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    struct stat st;
    l->size = l->fd >= 0 && fstat(l->fd, &st) == 0 ? (size_t)st.st_size : 0;
}

/* A line that was cut by a crash ends here. */
static void end_torn_line(struct line_log *l)
{
    AUTO(buf) struct buf all = {0};
    struct errinfo ignored;
    if (file_read(l->paths[CURRENT], LINE_LOG_SIZE_MAX, &all, &ignored) == OK && all.len > 0 &&
        all.ptr[all.len - 1] != '\n' && l->fd >= 0)
        l->size += write(l->fd, "\n", 1) == 1 ? 1 : 0;
}

enum err line_log_open(const char *folder, struct id instance, size_t size_max, struct line_log **ret_log,
                       struct errinfo *err)
{
    enum err rc = folder_make(folder, 0750, err);
    if (rc != OK)
        return rc;
    struct line_log *l = mem_alloc(sizeof(*l));
    l->instance = instance;
    l->size_max = size_max == 0 ? LINE_LOG_SIZE_MAX : size_max;
    l->paths[PREVIOUS] = mem_printf("%s/previous.ndjson", folder);
    l->paths[CURRENT] = mem_printf("%s/current.ndjson", folder);
    l->acked_path = mem_printf("%s/acked", folder);
    open_current(l);
    end_torn_line(l);
    AUTO(buf) struct buf acked = {0};
    struct errinfo ignored;
    uint64_t seq = 0;
    if (file_read(l->acked_path, 64, &acked, &ignored) == OK && str_parse_u64(buf_str(&acked), SEQ_MAX, &seq))
        l->acked_seq = (int64_t)seq;
    off_t offsets[2] = {0, 0};
    int64_t last = 0, last_previous = 0;
    skip_to(l->paths[PREVIOUS], l->acked_seq, &offsets[PREVIOUS], &last_previous);
    last = last_previous;
    skip_to(l->paths[CURRENT], l->acked_seq, &offsets[CURRENT], &last);
    l->read_file = last_previous > l->acked_seq ? PREVIOUS : CURRENT;
    l->read_offset = offsets[l->read_file];
    l->seq = last > l->acked_seq ? last : l->acked_seq;
    *ret_log = l;
    return OK;
}

void line_log_close(struct line_log *l)
{
    if (l == NULL)
        return;
    if (l->fd >= 0)
        (void)close(l->fd);
    free(l->paths[0]);
    free(l->paths[1]);
    free(l->acked_path);
    free(l);
}

static void rotate(struct line_log *l)
{
    if (l->fd >= 0)
        (void)close(l->fd);
    (void)rename(l->paths[CURRENT], l->paths[PREVIOUS]);
    if (l->read_file == PREVIOUS) /* what was not shipped is lost: the oldest go */
        l->read_offset = 0;
    l->read_file = PREVIOUS;
    l->batch_seq = 0; /* an answer that is still to come moves nothing: the lines go again */
    open_current(l);
}

/* What the kernel says as it goes down is no word of the program's. */
static void keep_last(struct line_log *l, bool is_console, struct str text)
{
    if (is_console && l->last[0] != '\0' && !l->is_last_console)
        return;
    l->is_last_console = is_console;
    (void)snprintf(l->last, sizeof(l->last), "%.*s", text.len > 255 ? 255 : (int)text.len,
                   text.ptr == NULL ? "" : text.ptr);
}

void line_log_add(struct line_log *l, const char *stream, struct str text, int64_t wall_us)
{
    char time[CLOCK_TEXT_SIZE];
    clock_format_us(wall_us, time);
    struct log_line line = {.time = str_from(time),
                            .instance_id = l->instance,
                            .stream = str_from(stream),
                            .text = text,
                            .seq = l->seq + 1};
    AUTO(buf) struct buf bytes = {0};
    fields_encode(&LOG_LINE_WIRE, &line, &bytes);
    buf_add_char(&bytes, '\n');
    if (l->size + bytes.len > l->size_max / 2)
        rotate(l);
    keep_last(l, strcmp(stream, "console") == 0, text);
    ssize_t n = l->fd < 0 ? -1 : write(l->fd, bytes.ptr, bytes.len);
    if (n < 0)
        return;
    l->size += (size_t)n;
    l->seq++;
    if ((size_t)n < bytes.len) /* the disk is full: what is there of it ends with a line */
        l->size += write(l->fd, "\n", 1) == 1 ? 1 : 0;
}

/* Whole lines from an offset. Returns how many bytes were taken. */
static size_t read_lines(const char *path, off_t offset, struct buf *out, int64_t *ret_seq)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    auto_free char *bytes = mem_alloc(LINE_LOG_BATCH_MAX);
    ssize_t n = pread(fd, bytes, LINE_LOG_BATCH_MAX, offset);
    if (n <= 0)
        return 0;
    struct str all = {bytes, (size_t)n};
    size_t end = str_rfind(all, '\n');
    if (end >= all.len)
        return 0;
    struct str rest = str_slice(all, 0, end + 1), line;
    while (rest.len > 0 && str_next(&rest, '\n', &line)) {
        int64_t seq = seq_of(line);
        if (seq == 0)
            continue; /* torn */
        *ret_seq = seq;
        buf_add_str(out, line);
        buf_add_char(out, '\n');
    }
    return end + 1;
}

bool line_log_batch(struct line_log *l, struct buf *out, int64_t *ret_seq)
{
    *ret_seq = 0;
    size_t used = read_lines(l->paths[l->read_file], l->read_offset, out, ret_seq);
    if (used == 0 && l->read_file == PREVIOUS) {
        l->read_file = CURRENT;
        l->read_offset = 0;
        used = read_lines(l->paths[CURRENT], 0, out, ret_seq);
    }
    l->batch_file = l->read_file;
    l->batch_offset = l->read_offset + (off_t)used;
    l->batch_seq = *ret_seq;
    return *ret_seq > 0;
}

void line_log_ack(struct line_log *l, int64_t seq)
{
    if (seq <= l->acked_seq)
        return;
    l->acked_seq = seq;
    if (seq >= l->batch_seq && l->batch_seq > 0 && l->batch_file == l->read_file)
        l->read_offset = l->batch_offset;
    auto_close int fd = open(l->acked_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    auto_free char *text = mem_printf("%lld", (long long)seq);
    if (fd >= 0 && write(fd, text, strlen(text)) < 0)
        return; /* lines go again after a restart, which does no harm */
}

bool line_log_has_news(const struct line_log *l)
{
    return l->seq > l->acked_seq;
}

void line_log_tail(struct line_log *l, size_t size, struct buf *out)
{
    AUTO(buf) struct buf all = {0};
    struct errinfo ignored;
    for (int i = PREVIOUS; i <= CURRENT; i++)
        err_ignore(file_read(l->paths[i], LINE_LOG_SIZE_MAX, &all, &ignored)); /* a missing file has no lines */
    struct str text = buf_str(&all);
    if (text.len > size) {
        text = str_slice(text, text.len - size, text.len);
        size_t cut = str_find(text, '\n');
        text = str_slice(text, cut < text.len ? cut + 1 : cut, text.len);
    }
    buf_add_str(out, text);
}

const char *line_log_last(const struct line_log *l)
{
    return l->last;
}
