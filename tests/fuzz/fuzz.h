#pragma once
/* What a fuzz target defines, and what targets share. A property that does not hold aborts (assert). */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte of an input chooses among n (0 <= result < n; a letter of the corpus stands for itself: 'a' is 0); the
 * rest is *ret_rest. False: there is no byte. */
static inline bool fuzz_choose(const uint8_t *data, size_t size, size_t n, size_t *ret_choice, struct str *ret_rest)
{
    if (size == 0)
        return false;
    *ret_choice = (data[0] >= 'a' ? (size_t)data[0] - 'a' : (size_t)data[0]) % n;
    *ret_rest = (struct str){(const char *)data + 1, size - 1};
    return true;
}

/* The text with a NUL behind it, for what takes C strings; without the bytes behind its first NUL. Returned: free(). */
static inline char *fuzz_text(struct str s)
{
    char *text = mem_alloc(s.len + 1);
    if (s.len > 0)
        memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    return text;
}

/* The bytes as a file without a name; *ret_path opens it. Lives until fuzz_file_done. */
struct fuzz_file {
    int fd;
    char path[40]; /* /proc/self/fd/N */
};
void fuzz_file_init(struct fuzz_file *f, struct str bytes);
void fuzz_file_done(struct fuzz_file *f);

/* A folder in memory, empty at each call, the same one through the process, removed at its end. */
const char *fuzz_folder(void);
void fuzz_write(const char *folder, const char *name, struct str bytes);
