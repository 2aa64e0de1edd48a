#include "cli/command.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/own.h"

static int flag_index(const struct command *command, struct str name)
{
    for (int i = 0; command->flags != NULL && command->flags[i].name != NULL; i++)
        if (str_eq_c(name, command->flags[i].name)) {
            assert(i < COMMAND_FLAGS_MAX && "struct cli has room for the value");
            return i;
        }
    return -1;
}

static const char *flag_value(const struct cli *c, const char *name)
{
    int i = flag_index(c->command, str_from(name));
    assert(i >= 0 && "the command's table has this flag");
    return c->values[i];
}

bool cli_flag(const struct cli *c, const char *name)
{
    return flag_value(c, name) != NULL;
}

const char *cli_text(const struct cli *c, const char *name)
{
    return flag_value(c, name);
}

int64_t cli_count(const struct cli *c, const char *name, int64_t fallback)
{
    const char *text = flag_value(c, name);
    uint64_t v = 0;
    return text != NULL && str_parse_u64(str_from(text), INT64_MAX, &v) ? (int64_t)v : fallback;
}

int cli_fail(const struct cli *c, const struct errinfo *err)
{
    if (c->json) {
        AUTO(buf) struct buf out = {0};
        buf_addf(&out, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":", err_name(err->code),
                 err_http_status(err->code));
        buf_add_json_string(&out, str_from(err->msg));
        buf_addf(&out, ",\"code\":\"%s\"}\n", err_name(err->code));
        (void)fputs(out.ptr, stderr);
    } else {
        (void)fprintf(stderr, "slipform: %s\n", err->msg);
    }
    return err_exit_code(err->code);
}

int cli_failf(const struct cli *c, enum err code, const char *fmt, ...)
{
    struct errinfo err = {.code = code};
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err.msg, sizeof(err.msg), fmt, ap);
    va_end(ap);
    return cli_fail(c, &err);
}

void cli_say(const struct cli *c, const char *fmt, ...)
{
    (void)c;
    va_list ap;
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
}

static void help_all(void)
{
    (void)puts("slipform " SLIPFORM_VERSION
               ": your own platform on your own servers\n\nusage: slipform <verb> [options]\n");
    for (const struct command *command = CLI_COMMANDS; command->name != NULL; command++)
        if (command->summary != NULL)
            (void)printf("  %-10s %-28s %s\n", command->name, command->args_doc, command->summary);
    (void)puts("\n  slipform <verb> --help tells more. Everywhere: --json.\n"
               "  SLIPFORM_HOME (default /var/lib/slipform) is where the installation lives.\n"
               "  Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 denied, 5 unavailable or timed out.");
}

static void help_command(const struct command *command)
{
    (void)printf("usage: slipform %s %s\n\n%s\n\n", command->name, command->args_doc,
                 command->summary != NULL ? command->summary : "");
    for (const struct flag *f = command->flags; f != NULL && f->name != NULL; f++)
        (void)printf("  --%-16s %-8s %s\n", f->name, f->placeholder, f->doc);
    (void)printf("  --%-16s %-8s %s\n", "json", "", "one JSON document on stdout; errors as problem+json on stderr");
    if (command->details != NULL)
        (void)printf("\n%s", command->details);
}

__attribute__((format(printf, 2, 3))) static int usage(const struct cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char text[256];
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (c->command != NULL)
        (void)fprintf(stderr, "slipform: %s\nusage: slipform %s %s (--help tells more)\n", text, c->command->name,
                      c->command->args_doc);
    else
        (void)fprintf(stderr, "slipform: %s (--help tells more)\n", text);
    return 2;
}

/* One "--name", "--name value" or "--name=value". Returns how many words it took; 0: usage error was said. */
static int parse_flag(struct cli *c, char **words, int words_n)
{
    struct str name = str_from(words[0] + 2);
    const char *value = NULL;
    size_t eq = str_find(name, '=');
    if (eq < name.len) {
        value = name.ptr + eq + 1;
        name = str_slice(name, 0, eq);
    }
    if (str_eq_c(name, "json")) {
        c->json = true;
        return 1;
    }
    int i = flag_index(c->command, name);
    if (i < 0)
        return usage(c, "unknown option '%s'", words[0]), 0;
    if (c->command->flags[i].type == FLAG_BOOL) {
        if (value != NULL)
            return usage(c, "'--%s' takes no value", c->command->flags[i].name), 0;
        c->values[i] = "";
        return 1;
    }
    bool is_own_word = value == NULL;
    if (is_own_word) {
        if (words_n < 2)
            return usage(c, "'--%s' needs a value", c->command->flags[i].name), 0;
        value = words[1];
    }
    uint64_t number = 0;
    if (c->command->flags[i].type == FLAG_COUNT && !str_parse_u64(str_from(value), INT64_MAX, &number))
        return usage(c, "'--%s' needs a number, not '%s'", c->command->flags[i].name, value), 0;
    c->values[i] = value;
    return is_own_word ? 2 : 1;
}

static int parse(struct cli *c, char **words, int words_n)
{
    bool only_args = false;
    for (int i = 0; i < words_n;) {
        if (!only_args && strcmp(words[i], "--") == 0) {
            only_args = true;
            i++;
        } else if (!only_args && strcmp(words[i], "--help") == 0) {
            help_command(c->command);
            return -1;
        } else if (!only_args && strncmp(words[i], "--", 2) == 0) {
            int took = parse_flag(c, words + i, words_n - i);
            if (took == 0)
                return 2;
            i += took;
        } else {
            if (c->args_n >= c->command->args_max)
                return usage(c, "unexpected '%s'", words[i]);
            c->args[c->args_n++] = words[i++];
        }
    }
    if (c->args_n < c->command->args_min)
        return usage(c, "'%s' needs %s", c->command->name, c->command->args_doc);
    return 0;
}

static int open_home(struct cli *c)
{
    const char *path = getenv("SLIPFORM_HOME");
    struct errinfo err;
    if (home_open(path != NULL && path[0] != '\0' ? path : "/var/lib/slipform", &c->home, &err) != OK)
        return cli_fail(c, &err);
    if (c->command->needs_installation && c->home.inst.name.len == 0)
        return cli_failf(c, ERR_NOT_FOUND,
                         "there is no installation in '%s': raise one with 'make up' or 'slipform up'", c->home.path);
    return 0;
}

int cli_main(int argc, char **argv)
{
    char position[CLI_POSITION_SIZE] = "";
    struct cli c = {.stderr_is_tty = isatty(2) == 1, .position = position};
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* who follows it through a pipe reads each line as it comes */
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        help_all();
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("slipform " SLIPFORM_VERSION);
        return 0;
    }
    for (const struct command *command = CLI_COMMANDS; command->name != NULL; command++)
        if (strcmp(command->name, argv[1]) == 0)
            c.command = command;
    if (c.command == NULL)
        return usage(&c, "unknown verb '%s'", argv[1]);
    ssize_t n = readlink("/proc/self/exe", c.exe_folder, sizeof(c.exe_folder) - 1);
    char *slash = n > 0 ? strrchr(c.exe_folder, '/') : NULL;
    if (slash != NULL)
        *slash = '\0';
    int rc = parse(&c, argv + 2, argc - 2);
    if (rc == 0)
        rc = open_home(&c);
    if (rc == 0)
        rc = c.command->run(&c);
    home_close(&c.home);
    return rc < 0 ? 0 : rc;
}
