#include "daemon/options.h"

#include <assert.h>

/* "--name" or "--name=value"; *ret_value is NULL without a `=`. */
static bool is_option(const char *arg, const char *name, const char **ret_value)
{
    size_t n = strlen(name);
    if (strncmp(arg, "--", 2) != 0 || strncmp(arg + 2, name, n) != 0 || (arg[n + 2] != '\0' && arg[n + 2] != '='))
        return false;
    *ret_value = arg[n + 2] == '=' ? arg + n + 3 : NULL;
    return true;
}

static enum err take_value(int argc, char **argv, int *i, const char *value, const char **ret, struct errinfo *err)
{
    if (value == NULL && *i + 1 >= argc)
        return err_set(err, ERR_INVALID, "%s needs a value", argv[*i]);
    *ret = value != NULL ? value : argv[++*i];
    return OK;
}

static enum err take_switch(const char *arg, const char *value, struct errinfo *err)
{
    return value == NULL ? OK : err_set(err, ERR_INVALID, "%s takes no value", arg);
}

static enum err take_flag(int argc, char **argv, int *i, const struct program *program, struct options *ret,
                          struct errinfo *err)
{
    const char *arg = argv[*i], *value = NULL;
    for (size_t k = 0; k < program->flags_n; k++) {
        if (!is_option(arg, program->flags[k].name, &value))
            continue;
        if (program->flags[k].value != NULL)
            return take_value(argc, argv, i, value, &ret->flag_values[k], err);
        ret->flag_values[k] = "";
        return take_switch(arg, value, err);
    }
    return err_set(err, ERR_INVALID, "there is no option '%s'; see --help", arg);
}

enum err options_parse(int argc, char **argv, const struct program *program, struct options *ret, struct errinfo *err)
{
    assert(program->flags_n <= OPTION_FLAGS_MAX);
    *ret = (struct options){.help = false};
    enum err rc = OK;
    for (int i = 1; rc == OK && i < argc; i++) {
        const char *value = NULL;
        bool *on = NULL;
        if (is_option(argv[i], "config", &value))
            rc = take_value(argc, argv, &i, value, &ret->config, err);
        else if (is_option(argv[i], "help", &value) || strcmp(argv[i], "-h") == 0)
            on = &ret->help;
        else if (is_option(argv[i], "version", &value))
            on = &ret->version;
        else if (is_option(argv[i], "check-config", &value))
            on = &ret->check_config;
        else
            rc = take_flag(argc, argv, &i, program, ret, err);
        if (on != NULL) {
            *on = true;
            rc = take_switch(argv[i], value, err);
        }
    }
    return rc;
}

void options_help(const struct program *program, const struct setting *table, size_t n, struct buf *out)
{
    buf_addf(out, "%s - %s\n\nusage: %s [--config FILE.yaml]\n\n", program->name, program->doc, program->name);
    buf_addf(out, "  %-24s %s\n", "--config FILE", "settings, as `name: value` lines of YAML");
    buf_addf(out, "  %-24s %s\n", "--check-config", "only look whether the settings are right");
    for (size_t i = 0; i < program->flags_n; i++) {
        const struct program_flag *f = &program->flags[i];
        int width = 22 - (int)strlen(f->name);
        buf_addf(out, "  --%s %-*s%s\n", f->name, width > 0 ? width : 1, f->value == NULL ? "" : f->value, f->doc);
    }
    buf_addf(out, "  %-24s %s\n  %-24s %s\n\nSettings (file, or environment, which wins):\n", "--help", "this text",
             "--version", "print the version");
    settings_help(table, n, out);
}
