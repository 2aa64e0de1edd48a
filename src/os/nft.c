#include "os/nft.h"

#include <errno.h>
#include <nftables/libnftables.h>

#include "base/mem.h"

struct nft {
    struct nft_ctx *ctx;
};

enum err nft_open(struct nft **ret_nft, struct errinfo *err)
{
    struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
    if (ctx == NULL)
        return err_set(err, ERR_UNAVAILABLE, "nftables cannot be used here; is the kernel module nf_tables there?");
    struct nft *n = mem_alloc(sizeof(*n));
    n->ctx = ctx;
    (void)nft_ctx_buffer_output(ctx);
    (void)nft_ctx_buffer_error(ctx);
    *ret_nft = n;
    return OK;
}

void nft_close(struct nft *n)
{
    if (n == NULL)
        return;
    nft_ctx_free(n->ctx);
    free(n);
}

enum err nft_run(struct nft *n, const char *script, struct buf *ret_output, struct errinfo *err)
{
    int rc = nft_run_cmd_from_buffer(n->ctx, script);
    /* Reading a buffer out also empties it. */
    const char *output = nft_ctx_get_output_buffer(n->ctx), *said = nft_ctx_get_error_buffer(n->ctx);
    if (rc == 0) {
        if (ret_output != NULL && output != NULL)
            buf_add_c(ret_output, output);
        return OK;
    }
    bool missing = said != NULL && strstr(said, strerror(ENOENT)) != NULL;
    return err_set(err, missing ? ERR_NOT_FOUND : ERR_IO, "nft: %.400s", said == NULL ? "failed" : said);
}
