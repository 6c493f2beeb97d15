/* The engine-only build's program: `tollgate-generate` is `tollgate generate`. */
#include "cli/generate.h"

int main(int argc, char **argv) { return tg_cli_generate(argc, argv); }
