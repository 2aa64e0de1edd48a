/* Keys: what every kind has in common. */
#include "store/key.h"

#include <inttypes.h>
#include <string.h>

#include "store/kind.h"

bool store_key_name_is_fine(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && n < STORE_KEY_NAME_SIZE && name[n] == '\0';
}

static bool is_value(const char *wrapped)
{
    size_t n = strnlen(wrapped, STORE_KEY_TEXT_SIZE);
    for (size_t i = 0; i < n; i++)
        if (wrapped[i] <= ' ' || wrapped[i] > '~')
            return false;
    return n > 0 && n < STORE_KEY_TEXT_SIZE;
}

static enum err check(const struct store *s, const char *name, struct errinfo *err)
{
    if (!store_key_name_is_fine(name))
        return err_set(err, ERR_INVALID, "'%.64s' is no name of a key: up to 63 letters, digits, '_', '-'", name);
    if (s->kind->key_put == NULL)
        return err_set(err, ERR_DENIED, "log '%s' keeps no keys", s->name);
    return s->impl != NULL ? OK : err_set(err, ERR_IO, "log '%s' is closed after a failure", s->name);
}

static enum err check_write(const struct store *s, const char *name, struct errinfo *err)
{
    enum err rc = check(s, name, err);
    if (rc == OK && s->mode == STORE_READ)
        rc = err_set(err, ERR_DENIED, "log '%s' is open for reading only", s->name);
    return rc;
}

enum err store_key_put(struct store *s, const char *name, const char *was, const char *wrapped, struct errinfo *err)
{
    struct store_key key = {.written_us = store_clock_us(s)};
    enum err rc = check_write(s, name, err);
    if (rc != OK)
        return rc;
    if (!is_value(wrapped) || (was != NULL && !is_value(was)))
        return err_set(err, ERR_INVALID, "the value of key '%s' is not 1 to %u printable characters", name,
                       STORE_KEY_TEXT_SIZE - 1);
    memcpy(key.name, name, strlen(name) + 1);
    memcpy(key.wrapped, wrapped, strlen(wrapped) + 1);
    return s->kind->key_put(s, &key, was, err);
}

enum err store_key_get(struct store *s, const char *name, struct store_key *ret, struct errinfo *err)
{
    enum err rc = check(s, name, err);
    return rc == OK ? s->kind->key_get(s, name, ret, err) : rc;
}

enum err store_key_drop(struct store *s, const char *name, struct errinfo *err)
{
    enum err rc = check_write(s, name, err);
    return rc == OK ? s->kind->key_drop(s, name, err) : rc;
}

enum err store_keys(struct store *s, const char *after, struct store_key ret[static STORE_KEYS_PAGE], size_t *ret_n,
                    struct errinfo *err)
{
    *ret_n = 0;
    enum err rc = check(s, after[0] == '\0' ? "any" : after, err);
    return rc == OK ? s->kind->key_list(s, after, ret, STORE_KEYS_PAGE, ret_n, err) : rc;
}

char *store_key_text(const struct store_key *key)
{
    return mem_printf("%" PRId64 " %s", key->written_us, key->wrapped);
}

bool store_key_text_read(struct str text, struct store_key *ret)
{
    size_t space = str_find(text, ' ');
    int64_t written_us = 0;
    struct store_key key = {0};
    if (space == text.len || !str_parse_i64(str_slice(text, 0, space), &written_us) ||
        !str_copy_to(str_slice(text, space + 1, text.len), key.wrapped, sizeof(key.wrapped)) || !is_value(key.wrapped))
        return false;
    ret->written_us = written_us;
    memcpy(ret->wrapped, key.wrapped, sizeof(key.wrapped));
    return true;
}
