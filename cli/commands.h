/* The subcommands of `tollgate`. Each gets argv from its own name on and returns the exit status:
 * 0, 1 for a failure it has reported on stderr, 2 for wrong usage. */
#ifndef TG_CLI_COMMANDS_H
#define TG_CLI_COMMANDS_H

int tg_cli_generate(int argc, char **argv);
int tg_cli_model(int argc, char **argv);
int tg_cli_policy(int argc, char **argv);
int tg_cli_ledger(int argc, char **argv);
int tg_cli_targets(int argc, char **argv);
int tg_cli_events(int argc, char **argv);
int tg_cli_keys(int argc, char **argv);
int tg_cli_config(int argc, char **argv);

#endif
