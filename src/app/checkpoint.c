#include "app/checkpoint.h"

#include <inttypes.h>

#include "base/json.h"
#include "base/own.h"
#include "event/fields.h"
#include "store/durable.h"

/* The first line of the file. */
struct checkpoint_line {
    int64_t format, seq, sum, size, version;
    struct id log;
    struct str model_hash, bytes_hash;
};
static const struct field CHECKPOINT_LINE_FIELDS[] = {
    FIELD_REQ(I64, checkpoint_line, version, "checkpoint", "1"),
    FIELD_REQ(ID, checkpoint_line, log, "log", "incarnation of the log"),
    FIELD_REQ(I64, checkpoint_line, seq, "seq", "the last event that is in it"),
    FIELD_REQ(I64, checkpoint_line, sum, "sum", "of that event"),
    FIELD_REQ(I64, checkpoint_line, format, "format", "of the bytes"),
    FIELD_REQ(STR, checkpoint_line, model_hash, "model_hash", "of the model at seq"),
    FIELD_REQ(I64, checkpoint_line, size, "size", "of the bytes"),
    FIELD_REQ(STR, checkpoint_line, bytes_hash, "bytes_hash", "SHA-256 of the bytes"),
};
static const struct field_table CHECKPOINT_LINE_TABLE = FIELD_TABLE(checkpoint_line, CHECKPOINT_LINE_FIELDS);

/* A line of 8 members: far below this. */
#define LINE_SIZE_MAX 4096u

enum err checkpoint_save(const char *path, const struct checkpoint *c, struct errinfo *err)
{
    if (c->bytes.len > CHECKPOINT_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "a checkpoint of %zu bytes is over %u", c->bytes.len, CHECKPOINT_SIZE_MAX);
    char log[ID_TEXT_SIZE], model[DIGEST_TEXT_SIZE], hash[DIGEST_TEXT_SIZE];
    uint8_t digest[HASH_SIZE];
    hash_bytes(c->bytes.ptr, c->bytes.len, digest);
    id_format(c->log, log);
    hash_digest_format(c->model_hash, model);
    hash_digest_format(digest, hash);
    AUTO(buf) struct buf file = {0};
    buf_addf(&file,
             "{\"checkpoint\":1,\"log\":\"%s\",\"seq\":%" PRIu64 ",\"sum\":%" PRIu32 ",\"format\":%" PRIu64
             ",\"model_hash\":\"%s\",\"size\":%zu,\"bytes_hash\":\"%s\"}\n",
             log, c->pos.seq, c->pos.sum, c->format, model, c->bytes.len, hash);
    buf_add_str(&file, c->bytes);
    return durable_replace(path, buf_str(&file), err);
}

static enum err no_fit(struct errinfo *err, const char *path, const char *why)
{
    return err_set(err, ERR_NOT_FOUND, "checkpoint '%s' does not fit: %s", path, why);
}

static enum err parse(const char *path, struct str file, struct checkpoint *ret, struct errinfo *err)
{
    AUTO(arena) struct arena arena = {0};
    struct checkpoint_line line;
    size_t end = str_find(file, '\n');
    if (end == file.len || end > LINE_SIZE_MAX ||
        fields_parse(&CHECKPOINT_LINE_TABLE, str_slice(file, 0, end), &arena, &line, NULL) != OK || line.version != 1)
        return no_fit(err, path, "its first line is not that of a checkpoint");
    *ret = (struct checkpoint){.log = line.log,
                               .pos = {(uint64_t)line.seq, (uint32_t)line.sum},
                               .format = (uint64_t)line.format,
                               .bytes = str_slice(file, end + 1, file.len)};
    uint8_t said[HASH_SIZE], digest[HASH_SIZE];
    hash_bytes(ret->bytes.ptr, ret->bytes.len, digest);
    if (line.seq < 0 || !hash_digest_parse(line.model_hash, ret->model_hash) ||
        !hash_digest_parse(line.bytes_hash, said) || (uint64_t)line.size != ret->bytes.len ||
        memcmp(said, digest, HASH_SIZE) != 0)
        return no_fit(err, path, "its bytes are not what was written");
    return OK;
}

/* The log must still hold the event that the checkpoint ends with. */
static enum err check_log(const char *path, struct store *log, const struct checkpoint *c, struct errinfo *err)
{
    if (!id_eq(c->log, store_log_id(log)))
        return no_fit(err, path, "it is of another log");
    AUTO(store_batch) struct store_batch b = {0};
    struct errinfo why = {0};
    enum err rc = store_read(log, c->pos.seq, 1, 0, &b, &why);
    if (rc == ERR_IO)
        return err_set(err, rc, "%s", why.msg);
    if (rc == ERR_NOT_FOUND || (rc == OK && b.after.sum != c->pos.sum))
        return no_fit(err, path, "the log does not hold the event that it ends with");
    return rc == OK ? OK : no_fit(err, path, why.msg);
}

enum err checkpoint_load(const char *path, struct store *log, uint64_t format, struct buf *bytes,
                         struct checkpoint *ret, struct errinfo *err)
{
    buf_clear(bytes);
    enum err rc = durable_read(path, CHECKPOINT_SIZE_MAX + LINE_SIZE_MAX, bytes, err);
    if (rc == ERR_LIMIT)
        return no_fit(err, path, "it is too big");
    if (rc != OK)
        return rc;
    struct checkpoint c;
    rc = parse(path, buf_str(bytes), &c, err);
    if (rc == OK && c.format != format)
        rc = no_fit(err, path, "it is of another format");
    if (rc == OK)
        rc = check_log(path, log, &c, err);
    if (rc == OK)
        *ret = c;
    return rc;
}
