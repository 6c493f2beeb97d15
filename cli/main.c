/* tollgate: the command for people. Each subcommand is a file of its name. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"generate", tg_cli_generate, "continue a prompt with the engine alone"},
    {"model", tg_cli_model, "inspect FILE: what is in a model file, and the memory it will need"},
    {"policy", tg_cli_policy, "check FILE | explain: what a policy says, without sending anything"},
    {"ledger", tg_cli_ledger, "statement | verify | compare: what tenants used and owe"},
    {"targets", tg_cli_targets, "the fleet as the health service sees it [--watch]"},
    {"events", tg_cli_events, "usage events from Kafka as JSON lines"},
    {"keys", tg_cli_keys, "new: make an API key and its line for keys.yaml"},
    {"config", tg_cli_config, "print DOCUMENT: every setting, its default and meaning"},
};

static void usage(FILE *to)
{
    fprintf(to, "usage: tollgate COMMAND …\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "tollgate: there is no command '%s'\n\n", argv[1]);
    usage(stderr);
    return 2;
}
