/* Stands in for libFuzzer, with any compiler: every file of a corpus folder as it is, then changed at random. The seed
 * is printed, and an input that ends the process is left in the current folder as fuzz-crash-PID. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "fuzz.h"

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

/* For the handler of a crash, which may not format anything. */
static const struct buf *now;
static char crash_message[64];
static const char *crash_file;

static void on_crash(int signal_number)
{
    int fd = open(crash_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (now != NULL && fd >= 0 && write(fd, now->ptr, now->len) == (ssize_t)now->len)
        (void)!write(2, crash_message, sizeof(crash_message));
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

static void prepare_for_crashes(void)
{
    static const char SAYS[] = "the input is in ";
    static char name[sizeof(crash_message) - sizeof(SAYS)];
    (void)snprintf(name, sizeof(name), "fuzz-crash-%d", (int)getpid());
    (void)snprintf(crash_message, sizeof(crash_message), "%s%s", SAYS, name);
    size_t len = strlen(crash_message);
    memset(crash_message + len, ' ', sizeof(crash_message) - len); /* written whole */
    crash_message[sizeof(crash_message) - 1] = '\n';
    crash_file = name;
    (void)signal(SIGABRT, on_crash);
    (void)signal(SIGSEGV, on_crash);
}

static void run(const struct buf *b)
{
    now = b;
    uint8_t *exact = mem_alloc(b->len + (b->len == 0)); /* no byte more, so that a sanitizer sees one read too far */
    if (b->len > 0)
        memcpy(exact, b->ptr, b->len);
    (void)LLVMFuzzerTestOneInput(exact, b->len);
    free(exact);
}

static bool run_file(const char *path, uint64_t seed, int runs_n)
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
    uint64_t random = seed * 0x9e3779b97f4a7c15 + 1;
    for (int i = 0; i < runs_n; i++) {
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
    DIR *dir = argc == 3 ? opendir(argv[2]) : NULL;
    const char *seed_text = getenv("FUZZ_SEED");
    uint64_t runs_n = 0, seed = 1;
    if (dir == NULL || !str_parse_u64(str_from(argv[1]), 1000000, &runs_n) ||
        (seed_text != NULL && !str_parse_u64(str_from(seed_text), UINT64_MAX, &seed))) {
        (void)fprintf(stderr, "usage: [FUZZ_SEED=N] fuzz_NAME RUNS_A_FILE CORPUS\n");
        return 2;
    }
    (void)fprintf(stderr, "FUZZ_SEED=%llu\n", (unsigned long long)seed);
    prepare_for_crashes();
    int files = 0;
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        auto_free char *path = mem_printf("%s/%s", argv[2], d->d_name);
        files += run_file(path, seed, (int)runs_n);
    }
    (void)closedir(dir);
    printf("%d files, %llu runs each\n", files, (unsigned long long)runs_n);
    return files > 0 ? 0 : 1;
}
