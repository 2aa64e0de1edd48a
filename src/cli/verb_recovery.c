/* slipform recovery: the file with which an installation that lost its keys lives again. The passphrase comes from a
 * file, from stdin, or from the terminal without an echo; it is in no argument and in no environment. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/own.h"
#include "cli/verbs.h"
#include "install/files.h"
#include "install/recovery.h"

const struct flag RECOVERY_FLAGS[] = {
    {"passphrase-file", FLAG_TEXT, "FILE", "its first line is the passphrase; else stdin, else the terminal"},
    {"code", FLAG_BOOL, "", "create: under a new code instead, which is printed once"},
    {"add", FLAG_BOOL, "", "restore: add its sealing keys to others that are there"},
    {0},
};
const char RECOVERY_DETAILS[] =
    "  recovery create FILE    the sealing keys and the CA under a passphrase: keep it off this machine\n"
    "  recovery check FILE     does it open, and is it of the keys that are in use now? Exit code 1: it is stale\n"
    "  recovery restore FILE   put back what is missing here of 'ca/' (and 'installation.json')\n"
    "\n'slipform up' makes 'operator/recovery.key' under the code in 'operator/recovery-code' by itself, anew after a\n"
    "rotation: copy both off this machine, to different places. Then the code may be deleted here.\n";

/* ---- the passphrase ---- */

enum { LINE_MAX_SIZE = RECOVERY_PASSPHRASE_MAX + 2 };

/* The first line, at most LINE_MAX_SIZE bytes. */
static enum err read_line(int fd, const char *what, struct buf *ret, struct errinfo *err)
{
    buf_reserve(ret, LINE_MAX_SIZE); /* at once: nothing is left behind by growing */
    char c = '\0';
    ssize_t n = 0;
    while (ret->len < LINE_MAX_SIZE - 1 && (n = read(fd, &c, 1)) == 1 && c != '\n')
        buf_add_char(ret, c);
    if (n < 0)
        return err_set_os(err, ERR_IO, errno, "read the passphrase from %s", what);
    return OK;
}

static enum err ask(int tty, const char *question, struct buf *ret, struct errinfo *err)
{
    struct termios was, silent;
    if (tcgetattr(tty, &was) != 0)
        return err_set_os(err, ERR_IO, errno, "ask for the passphrase");
    silent = was;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    (void)dprintf(tty, "%s", question);
    (void)tcsetattr(tty, TCSAFLUSH, &silent);
    enum err rc = read_line(tty, "the terminal", ret, err);
    (void)tcsetattr(tty, TCSAFLUSH, &was);
    (void)dprintf(tty, "\n");
    return rc;
}

static enum err ask_twice(bool is_new, struct buf *ret, struct errinfo *err)
{
    AUTO(buf) struct buf again = {0};
    auto_close int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
    if (tty < 0)
        return err_set_os(err, ERR_IO, errno, "open the terminal");
    enum err rc = ask(tty, is_new ? "new passphrase: " : "passphrase: ", ret, err);
    if (rc == OK && is_new)
        rc = ask(tty, "again: ", &again, err);
    if (rc == OK && is_new && !str_eq(buf_str(ret), buf_str(&again)))
        rc = err_set(err, ERR_INVALID, "these were two different passphrases");
    if (again.ptr != NULL)
        explicit_bzero(again.ptr, again.size);
    return rc;
}

static enum err read_passphrase(const struct cli *c, bool is_new, struct buf *ret, struct errinfo *err)
{
    const char *file = cli_text(c, "passphrase-file");
    if (file == NULL)
        return isatty(STDIN_FILENO) ? ask_twice(is_new, ret, err) : read_line(STDIN_FILENO, "stdin", ret, err);
    auto_close int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open '%s'", file);
    return read_line(fd, file, ret, err);
}

/* ---- verbs ---- */

static int create(struct cli *c, const char *file)
{
    struct errinfo err = {0};
    struct buf passphrase = {0};
    bool is_code = cli_flag(c, "code");
    enum err rc = OK;
    if (is_code) {
        char code[RECOVERY_CODE_SIZE];
        recovery_code(code);
        buf_add_c(&passphrase, code);
        explicit_bzero(code, sizeof(code));
    } else {
        rc = read_passphrase(c, true, &passphrase, &err);
    }
    if (rc == OK)
        rc = recovery_create(&c->home, file, buf_str(&passphrase), NULL, &err);
    if (rc == OK && c->json)
        (void)printf(is_code ? "{\"code\":\"%.*s\"}\n" : "{}\n", STR_ARG(buf_str(&passphrase)));
    else if (rc == OK && is_code)
        (void)printf("the code, which is printed this once: %.*s\n", STR_ARG(buf_str(&passphrase)));
    if (passphrase.ptr != NULL)
        explicit_bzero(passphrase.ptr, passphrase.size);
    buf_done(&passphrase);
    if (rc != OK)
        return cli_fail(c, &err);
    cli_say(c, "copy '%s' off this machine; 'slipform recovery check' says whether it opens", file);
    return 0;
}

static int check(struct cli *c, const char *file)
{
    static const char *const NAMES[] = {
        [RECOVERY_CURRENT] = "current", [RECOVERY_STALE] = "stale", [RECOVERY_UNKNOWN] = "unknown"};
    struct errinfo err = {0};
    struct buf passphrase = {0};
    AUTO(recovery) struct recovery r = {0};
    enum recovery_verdict verdict = RECOVERY_UNKNOWN;
    char why[256] = "";
    enum err rc = read_passphrase(c, false, &passphrase, &err);
    if (rc == OK)
        rc = recovery_check(&c->home, file, buf_str(&passphrase), &r, &verdict, why, &err);
    if (passphrase.ptr != NULL)
        explicit_bzero(passphrase.ptr, passphrase.size);
    buf_done(&passphrase);
    if (rc != OK)
        return cli_fail(c, &err);
    if (c->json) {
        AUTO(buf) struct buf out = {0};
        buf_addf(&out, "{\"status\":\"%s\",\"installation\":", NAMES[verdict]);
        buf_add_json_string(&out, str_from(r.installation));
        buf_addf(&out, ",\"made\":\"%s\",\"key_id\":\"%s\",\"cause\":", r.made, r.key_id);
        buf_add_json_string(&out, str_from(why));
        (void)printf("%s}\n", out.ptr);
    } else if (verdict == RECOVERY_CURRENT) {
        (void)printf("it opens and is current: '%s', made %s, key %s\n", r.installation, r.made, r.key_id);
    } else if (verdict == RECOVERY_STALE) {
        (void)printf("it opens, but is stale (%s): make a new one with 'slipform recovery create FILE'\n", why);
    } else {
        (void)printf("it opens: '%s', made %s, key %s; there is nothing here to compare it with (%s)\n", r.installation,
                     r.made, r.key_id, why);
    }
    return verdict == RECOVERY_STALE ? 1 : 0;
}

static int restore(struct cli *c, const char *file)
{
    struct errinfo err = {0};
    struct buf passphrase = {0};
    struct recovery_restored done = {0};
    struct recovery_order o = {.file = file, .adds = cli_flag(c, "add"), .uid = -1, .gid = -1};
    enum err rc = read_passphrase(c, false, &passphrase, &err);
    o.passphrase = buf_str(&passphrase);
    if (rc == OK && geteuid() == 0)
        rc = files_user(&o.uid, &o.gid, &err);
    if (rc == OK)
        rc = recovery_restore(&c->home, &o, &done, &err);
    if (passphrase.ptr != NULL)
        explicit_bzero(passphrase.ptr, passphrase.size);
    buf_done(&passphrase);
    if (rc != OK)
        return cli_fail(c, &err);
    if (c->json) {
        (void)printf("{\"written\":[");
        for (size_t i = 0; i < done.written_n; i++)
            (void)printf("%s\"%s\"", i > 0 ? "," : "", done.written[i]);
        (void)printf("],\"added\":%zu}\n", done.added_n);
        return 0;
    }
    for (size_t i = 0; i < done.written_n; i++)
        (void)printf("'%s' is back\n", done.written[i]);
    if (done.added_n > 0)
        (void)printf("%zu old sealing keys were added: 'slipform seal rotate' wraps what is under them anew\n",
                     done.added_n);
    if (done.written_n == 0 && done.added_n == 0)
        (void)printf("nothing was missing\n");
    else
        (void)printf("programs that run take the sealing keys by themselves; 'slipform up' puts the rest right\n");
    return 0;
}

int verb_recovery(struct cli *c)
{
    static const struct {
        const char *name;
        int (*run)(struct cli *c, const char *file);
    } VERBS[] = {{"create", create}, {"check", check}, {"restore", restore}};
    for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++)
        if (strcmp(VERBS[i].name, c->args[0]) == 0)
            return VERBS[i].run(c, c->args[1]);
    (void)cli_failf(c, ERR_INVALID, "say 'recovery create FILE', 'check FILE' or 'restore FILE'");
    return 2;
}
