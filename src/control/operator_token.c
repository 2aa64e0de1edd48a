#include "control/operator_token.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "crypto/file.h"

/* 1000: more operators than any installation has (chosen). */
#define TOKENS_MAX 1000u

void operator_tokens_done(struct operator_tokens *t)
{
    free(t->hashes);
    *t = (struct operator_tokens){0};
}

static void tokens_read(struct operator_tokens *t)
{
    AUTO(buf) struct buf text = {0};
    if (crypto_file_read(t->file, &text, NULL) != OK)
        return;
    t->n = 0;
    struct str rest = buf_str(&text), line;
    while (str_next(&rest, '\n', &line) && t->n < TOKENS_MAX) {
        line = str_trim(line);
        if (line.len != TOKEN_HASH_TEXT_SIZE - 1 || line.ptr[0] == '#')
            continue;
        t->hashes = mem_realloc(t->hashes, (t->n + 1) * sizeof(*t->hashes));
        if (str_copy_to(line, t->hashes[t->n], TOKEN_HASH_TEXT_SIZE))
            t->n++;
    }
}

bool operator_tokens_match(struct operator_tokens *t, struct str token)
{
    struct stat st;
    if (t->file == NULL || stat(t->file, &st) != 0)
        return false;
    int64_t changed_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (changed_ns != t->changed_ns || st.st_size != t->size) {
        tokens_read(t);
        t->changed_ns = changed_ns;
        t->size = st.st_size;
    }
    bool found = false;
    for (size_t i = 0; i < t->n; i++)
        found |= token_matches(token, t->hashes[i]);
    return found;
}
