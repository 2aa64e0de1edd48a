#include "control/certificate.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/own.h"
#include "crypto/ca.h"
#include "crypto/cert.h"
#include "crypto/file.h"
#include "crypto/identity.h"

struct certificates {
    char *folder;
    struct ca *ca; /* NULL: issues nothing */
};

static enum err folder_make(const char *path, struct errinfo *err)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return OK;
    return err_set_os(err, errno == EACCES ? ERR_DENIED : ERR_IO, errno, "make folder '%s'", path);
}

enum err certificates_open(const char *folder, const char *ca_cert_file, const char *ca_key_file,
                           struct certificates **ret, struct errinfo *err)
{
    auto_ca struct ca *ca = NULL;
    enum err rc = folder_make(folder, err);
    if (rc == OK && ca_cert_file != NULL && ca_key_file != NULL)
        rc = ca_load(ca_cert_file, ca_key_file, &ca, err);
    if (rc != OK)
        return rc;
    struct certificates *c = mem_alloc(sizeof(*c));
    c->folder = mem_strdup(folder);
    c->ca = TAKE(ca);
    *ret = c;
    return OK;
}

void certificates_close(struct certificates *c)
{
    if (c == NULL)
        return;
    ca_free(c->ca);
    free(c->folder);
    free(c);
}

bool certificates_can_issue(const struct certificates *c)
{
    return c->ca != NULL;
}

static char *file_name(const struct certificates *c, struct id id, const char *name)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    return mem_printf("%s/%s%s%s", c->folder, text, name == NULL ? "" : "/", name == NULL ? "" : name);
}

enum err certificates_keep(const struct certificates *c, struct id certificate_id, struct str chain_pem,
                           struct str key_pem, struct errinfo *err)
{
    auto_free char *folder = file_name(c, certificate_id, NULL);
    auto_free char *key_file = file_name(c, certificate_id, "key.pem");
    auto_free char *chain_file = file_name(c, certificate_id, "chain.pem");
    enum err rc = folder_make(folder, err);
    if (rc == OK)
        rc = crypto_file_write(key_file, key_pem, 0600, -1, -1, err);
    if (rc == OK)
        rc = crypto_file_write(chain_file, chain_pem, 0600, -1, -1, err);
    return rc;
}

enum err certificates_issue(struct certificates *c, const char *host, struct buf *ret_chain_pem,
                            struct buf *ret_key_pem, char ret_not_after[static CLOCK_TEXT_SIZE], struct errinfo *err)
{
    if (c->ca == NULL)
        return err_set(err, ERR_UNAVAILABLE, "no CA is set up here: set 'ca_cert_file' and 'ca_key_file'");
    struct leaf_options o = {.dns_names = &host, .dns_names_n = 1, .server = true, .days = CERTIFICATE_DAYS};
    size_t from = ret_chain_pem->len;
    enum err rc = ca_issue(c->ca, &o, ret_chain_pem, ret_key_pem, err);
    AUTO(arena) struct arena a = {0};
    struct cert_info info = {0};
    if (rc == OK)
        rc = cert_info_read(str_slice(buf_str(ret_chain_pem), from, ret_chain_pem->len), &a, &info, err);
    if (rc != OK)
        return err_wrap(err, rc, "certificate for '%s'", host);
    clock_format_us(info.not_after_s * 1000000, ret_not_after);
    return OK;
}

enum err certificates_read(const struct certificates *c, struct id certificate_id, struct buf *ret_chain_pem,
                           struct buf *ret_key_pem, struct errinfo *err)
{
    auto_free char *key_file = file_name(c, certificate_id, "key.pem");
    auto_free char *chain_file = file_name(c, certificate_id, "chain.pem");
    enum err rc = crypto_file_read(chain_file, ret_chain_pem, err);
    return rc == OK ? crypto_file_read(key_file, ret_key_pem, err) : rc;
}

enum err certificates_issue_identity(struct certificates *c, const char *installation, const char *role, const char *id,
                                     int days, struct buf *ret_cert_pem, struct buf *ret_key_pem, struct errinfo *err)
{
    if (c->ca == NULL)
        return err_set(err, ERR_UNAVAILABLE, "no CA is set up here: set 'ca_cert_file' and 'ca_key_file'");
    struct identity identity;
    enum err rc = identity_make(installation, role, id, &identity, err);
    if (rc != OK)
        return rc;
    char uri[IDENTITY_URI_SIZE];
    identity_format(&identity, uri);
    const char *uris[] = {uri};
    struct leaf_options o = {.uris = uris, .uris_n = 1, .client = true, .days = days};
    return ca_issue(c->ca, &o, ret_cert_pem, ret_key_pem, err);
}
