/* tollgate config print [DOCUMENT] [--config FILE]
 *
 * Every key of a document (a service's settings, or one that services share) with its meaning,
 * bounds and default; with --config the values a file gives. */
#include "cli/commands.h"

#include "libs/config/mesh.h"
#include "libs/config/settings.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const tg_schema *schema;
} documents[] = {{"router", &tg_router_schema},   {"inference", &tg_inference_schema},
                 {"billing", &tg_billing_schema}, {"health", &tg_health_schema},
                 {"targets", &tg_targets_schema}, {"prices", &tg_prices_schema},
                 {"tenants", &tg_tenants_schema}, {"keys", &tg_keys_schema}};

static int print_document(size_t i, const char *file)
{
    tg_arena arena;
    tg_buf out;
    tg_error err = {""};
    const void *values = NULL;
    tg_arena_init(&arena, 0);
    tg_buf_init(&out, 0);
    int rc = file ? tg_schema_load(documents[i].schema, file, &arena, &err, &values) : 0;
    if (rc == 0)
        rc = tg_schema_print(documents[i].schema, values, &out);
    if (rc < 0)
        fprintf(stderr, "tollgate config: %s\n", err.text[0] ? err.text : strerror(-rc));
    else
        printf("# %s.yaml\n%s\n", documents[i].name, out.data ? out.data : "");
    tg_buf_free(&out);
    tg_arena_free(&arena);
    return rc < 0;
}

int tg_cli_config(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {NULL, 0, NULL, 0}};
    const char *file = NULL;
    int status = 0, printed = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c != 'c')
            return 2;
        file = optarg;
    }
    bool print = optind < argc && strcmp(argv[optind], "print") == 0;
    const char *only = optind + 1 < argc ? argv[optind + 1] : NULL;
    for (size_t i = 0; print && i < sizeof documents / sizeof *documents; i++) {
        if (only ? strcmp(only, documents[i].name) == 0 : !file) {
            status |= print_document(i, file);
            printed++;
        }
    }
    if (printed > 0)
        return status;
    fprintf(stderr, "usage: tollgate config print [DOCUMENT] [--config FILE]\n"
                    "documents:");
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++)
        fprintf(stderr, " %s", documents[i].name);
    fprintf(stderr, "\n");
    return 2;
}
