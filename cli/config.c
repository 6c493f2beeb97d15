/* tollgate config print [router|inference|billing|health] [--config FILE]
 *
 * Every setting with its meaning, bounds and default; with --config the values a file gives. */
#include "cli/commands.h"

#include "libs/config/settings.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const tg_schema *schema;
} services[] = {{"router", &tg_router_schema},
                {"inference", &tg_inference_schema},
                {"billing", &tg_billing_schema},
                {"health", &tg_health_schema}};

static int print_service(size_t i, const char *file)
{
    tg_arena arena;
    tg_buf out;
    tg_error err = {""};
    const void *values = NULL;
    tg_arena_init(&arena, 0);
    tg_buf_init(&out, 0);
    int rc = file ? tg_schema_load(services[i].schema, file, &arena, &err, &values) : 0;
    if (rc == 0)
        rc = tg_schema_print(services[i].schema, values, &out);
    if (rc < 0)
        fprintf(stderr, "tollgate config: %s\n", err.text[0] ? err.text : strerror(-rc));
    else
        printf("# %s.yaml\n%s\n", services[i].name, out.data ? out.data : "");
    tg_buf_free(&out);
    tg_arena_free(&arena);
    return rc < 0;
}

int tg_cli_config(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
    const char *file = NULL;
    int status = 0, printed = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c != 'c')
            return 2;
        file = optarg;
    }
    bool print = optind < argc && strcmp(argv[optind], "print") == 0;
    const char *only = optind + 1 < argc ? argv[optind + 1] : NULL;
    for (size_t i = 0; print && i < sizeof services / sizeof *services; i++) {
        if (only ? strcmp(only, services[i].name) == 0 : !file) {
            status |= print_service(i, file);
            printed++;
        }
    }
    if (printed > 0)
        return status;
    fprintf(stderr, "usage: tollgate config print [router|inference|billing|health] [--config FILE]\n");
    return 2;
}
