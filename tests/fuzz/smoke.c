/* Stands in for libFuzzer: every file of a corpus folder as it is, then changed at random, always the same way. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "fuzz.h"

#define RUNS_A_FILE 3000
#define CHANGES_MAX 8
#define FILE_SIZE_MAX 65536

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void change(struct buf *b, uint64_t *random)
{
    static const char *const TOKENS[] = {"\"",  "{", "}", ",", "\\u0000", "#-1", "\n", "\xff", "9999999999999999999",
                                         "[[[["};
    size_t at = b->len == 0 ? 0 : (size_t)(next_random(random) % b->len);
    switch (next_random(random) % 4) {
    case 0:
        if (b->len > 0)
            b->ptr[at] = (char)next_random(random);
        break;
    case 1: /* a part is lost */ b->len -= b->len == 0 ? 0 : (size_t)(next_random(random) % (b->len - at)); break;
    case 2: { /* a part is doubled */
        size_t n = b->len == 0 ? 0 : (size_t)(next_random(random) % (b->len - at));
        buf_reserve(b, n);
        buf_add(b, b->ptr + at, n);
        break;
    }
    default: {
        const char *token = TOKENS[next_random(random) % (sizeof(TOKENS) / sizeof(TOKENS[0]))];
        AUTO(buf) struct buf out = {0};
        buf_add(&out, b->ptr, at);
        buf_add_c(&out, token);
        buf_add(&out, b->ptr + at, b->len - at);
        buf_clear(b);
        buf_add(b, out.ptr, out.len);
    }
    }
}

static void run(const struct buf *b)
{
    uint8_t *exact = mem_alloc(b->len + (b->len == 0)); /* no byte more, so that a sanitizer sees one read too far */
    if (b->len > 0)
        memcpy(exact, b->ptr, b->len);
    (void)LLVMFuzzerTestOneInput(exact, b->len);
    free(exact);
}

static bool run_file(const char *path)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    AUTO(buf) struct buf file = {0}, changed = {0};
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_SIZE_MAX)
        return false;
    buf_reserve(&file, (size_t)st.st_size);
    ssize_t n = read(fd, file.ptr, (size_t)st.st_size);
    file.len = n > 0 ? (size_t)n : 0;
    run(&file);
    uint64_t random = 0x9e3779b97f4a7c15;
    for (int i = 0; i < RUNS_A_FILE; i++) {
        buf_clear(&changed);
        buf_add(&changed, file.ptr, file.len);
        for (uint64_t k = next_random(&random) % CHANGES_MAX + 1; k > 0 && changed.len < FILE_SIZE_MAX; k--)
            change(&changed, &random);
        run(&changed);
    }
    return true;
}

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (dir == NULL) {
        (void)fprintf(stderr, "usage: fuzz_NAME CORPUS\n");
        return 2;
    }
    int files = 0;
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        auto_free char *path = mem_printf("%s/%s", argv[1], d->d_name);
        files += run_file(path);
    }
    (void)closedir(dir);
    printf("%d files, %d runs each\n", files, RUNS_A_FILE);
    return files > 0 ? 0 : 1;
}
