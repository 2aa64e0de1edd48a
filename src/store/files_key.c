/* The files store: keys, a file of 0600 each in keys/ beside the log (docs/formats/event-log.md), written and removed
 * under the log's lock. A crash leaves the old file or the new one; a torn NAME.tmp holds a key that nothing was sealed
 * under, or one that NAME has too, and goes with it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "os/file.h"
#include "store/disk.h"
#include "store/files.h"
#include "store/key.h"

enum { KEY_FILE_SIZE_MAX = STORE_KEY_TEXT_SIZE + 32 };

/* The folder; with `makes` it is made, durably. -1 and errno. */
static int open_folder(const struct store *s, const struct files *f, bool makes)
{
    if (makes && mkdirat(f->dir_fd, "keys", 0700) == 0 && disk_fsync(s->disk, f->dir_fd) != 0) {
        int why = errno;
        (void)unlinkat(f->dir_fd, "keys", AT_REMOVEDIR); /* made and synced by who tries again */
        errno = why;
        return -1;
    }
    return openat(f->dir_fd, "keys", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static enum err folder_error(const struct store *s, struct errinfo *err)
{
    return err_set_os(err, errno == EACCES ? ERR_DENIED : ERR_IO, errno, "open folder 'keys' of log '%s'", s->name);
}

static enum err read_key(const struct store *s, int folder, const char *name, struct store_key *ret,
                         struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    struct store_key key = {0};
    enum err rc = disk_read_file(s->disk, folder, name, KEY_FILE_SIZE_MAX, &text, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, "log '%s' has no key '%s'", s->name, name);
    if (rc == OK && !store_key_text_read(str_trim(buf_str(&text)), &key))
        rc = ERR_LIMIT;
    if (rc == ERR_LIMIT)
        return err_set(err, ERR_CORRUPT, "key '%s' of log '%s' is damaged: bring it back from a backup", name, s->name);
    if (rc == OK) {
        memcpy(key.name, name, strlen(name) + 1);
        *ret = key;
    }
    return rc;
}

static enum err check_was(const struct store *s, int folder, const char *name, const char *was, struct errinfo *err)
{
    struct store_key now;
    struct errinfo why;
    enum err rc = read_key(s, folder, name, &now, &why);
    if (rc == ERR_NOT_FOUND && was == NULL)
        return OK;
    if (rc == ERR_NOT_FOUND || (rc == OK && (was == NULL || strcmp(now.wrapped, was) != 0)))
        return err_set(err, ERR_CONFLICT, "key '%s' of log '%s' is not as expected", name, s->name);
    if (rc != OK && err != NULL)
        *err = why;
    return rc;
}

static enum err put_locked(struct store *s, struct files *f, const struct store_key *key, const char *was,
                           struct errinfo *err)
{
    AUTO(buf) struct buf line = {0};
    auto_free char *text = store_key_text(key);
    auto_close int folder = open_folder(s, f, true);
    if (folder < 0)
        return folder_error(s, err);
    buf_addf(&line, "%s\n", text);
    enum err rc = check_was(s, folder, key->name, was, err);
    return rc == OK ? disk_replace(s->disk, folder, key->name, buf_str(&line), true, err) : rc;
}

enum err files_key_put(struct store *s, const struct store_key *key, const char *was, struct errinfo *err)
{
    struct files *f = s->impl;
    bool was_held = f->is_held;
    enum err rc = files_lock(s, f, err);
    if (rc != OK)
        return rc;
    rc = put_locked(s, f, key, was, err);
    if (!was_held)
        files_unlock(f);
    return rc;
}

enum err files_key_get(struct store *s, const char *name, struct store_key *ret, struct errinfo *err)
{
    auto_close int folder = open_folder(s, s->impl, false);
    if (folder < 0 && errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "log '%s' has no key '%s'", s->name, name);
    return folder < 0 ? folder_error(s, err) : read_key(s, folder, name, ret, err);
}

static enum err drop_locked(struct store *s, const struct files *f, const char *name, struct errinfo *err)
{
    auto_free char *temporary = mem_printf("%s.tmp", name);
    auto_close int folder = open_folder(s, f, false);
    if (folder < 0)
        return errno == ENOENT ? OK : folder_error(s, err);
    if ((disk_unlink(s->disk, folder, temporary) != 0 && errno != ENOENT) ||
        (disk_unlink(s->disk, folder, name) != 0 && errno != ENOENT) || disk_fsync(s->disk, folder) != 0)
        return err_set_os(err, ERR_IO, errno, "remove key '%s' of log '%s'", name, s->name);
    return OK;
}

enum err files_key_drop(struct store *s, const char *name, struct errinfo *err)
{
    struct files *f = s->impl;
    bool was_held = f->is_held;
    enum err rc = files_lock(s, f, err);
    if (rc != OK)
        return rc;
    rc = drop_locked(s, f, name, err);
    if (!was_held)
        files_unlock(f);
    return rc;
}

enum err files_key_list(struct store *s, const char *after, struct store_key *ret, size_t max, size_t *ret_n,
                        struct errinfo *err)
{
    char **names = NULL;
    size_t n = 0;
    auto_free char *path = mem_printf("%s/keys", s->name);
    struct errinfo why = {0};
    *ret_n = 0;
    enum err rc = folder_list(path, &names, &n, &why);
    auto_close int folder = open_folder(s, s->impl, false);
    for (size_t i = 0; rc == OK && i < n && *ret_n < max; i++) {
        if (!store_key_name_is_fine(names[i]) || strcmp(names[i], after) <= 0)
            continue;
        rc = read_key(s, folder, names[i], &ret[*ret_n], &why);
        *ret_n += rc == OK;
        rc = rc == ERR_NOT_FOUND ? OK : rc; /* dropped meanwhile */
    }
    folder_list_free(names);
    if (rc == OK || rc == ERR_NOT_FOUND)
        return OK;
    if (err != NULL)
        *err = why;
    return rc;
}
