#pragma once
/* os/nft.h - nftables commands, each call one atomic transaction. Layer: os (libnftables). */
#include "base/buf.h"
#include "base/err.h"

struct nft;
/* *ret_nft is returned: nft_close. It stays with the namespace it was opened in. OK | ERR_UNAVAILABLE no nftables */
must_check enum err nft_open(struct nft **ret_nft, struct errinfo *err);
void nft_close(struct nft *n);
/* Run a script as `nft -f` would: all of it or nothing. ret_output (may be NULL) gets what it prints.
 * OK | ERR_NOT_FOUND an object that is named does not exist | ERR_INVALID, ERR_IO with what nft said */
must_check enum err nft_run(struct nft *n, const char *script, struct buf *ret_output, struct errinfo *err);
