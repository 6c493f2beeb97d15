/* `tollgate generate`: runs a model file alone, on this machine, without any service. */
#ifndef TG_CLI_GENERATE_H
#define TG_CLI_GENERATE_H

/* argv[0] is "generate". Text goes to stdout, a line of figures to stderr. The exit status: 0, 1
 * for a failure (explained on stderr), 2 for wrong usage. */
int tg_cli_generate(int argc, char **argv);

#endif
