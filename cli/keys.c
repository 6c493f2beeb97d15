/* tollgate keys new --id ID --tenant TENANT [--secret-file FILE]
 *
 * Prints the line for keys.yaml (which holds a salted hash, never the key) on stdout. The key
 * itself goes to FILE (mode 600), or to stderr once; it cannot be shown again. */
#include "cli/commands.h"

#include "libs/config/mesh.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int write_secret(const char *path, const char *secret)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t len = strlen(secret);
    if (fd < 0 || write(fd, secret, len) != (ssize_t)len || close(fd) < 0) {
        fprintf(stderr, "tollgate keys: %s: %s\n", path, strerror(errno));
        return 1;
    }
    return 0;
}

int tg_cli_keys(int argc, char **argv)
{
    static const struct option options[] = {{"id", required_argument, NULL, 'i'},
                                            {"tenant", required_argument, NULL, 't'},
                                            {"secret-file", required_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    const char *id = NULL, *tenant = NULL, *file = NULL;
    char secret[TG_KEY_TEXT], yaml[512];
    bool new = argc > 1 && strcmp(argv[1], "new") == 0;
    for (int c; new && (c = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1;) {
        if (c == 'i')
            id = optarg;
        else if (c == 't')
            tenant = optarg;
        else if (c == 's')
            file = optarg;
        else
            new = false;
    }
    if (!new || !id || !tenant) {
        fprintf(stderr, "usage: tollgate keys new --id ID --tenant TENANT [--secret-file FILE]\n");
        return 2;
    }
    if (tg_keys_make(id, tenant, secret, yaml) < 0) {
        fprintf(stderr, "tollgate keys: '%s' or '%s' is no name (letters, digits, '-', '_', '.')\n",
                id, tenant);
        return 1;
    }
    if (file && write_secret(file, secret) != 0)
        return 1;
    if (!file)
        fprintf(stderr, "the key, shown once: %s\n", secret);
    printf("%s", yaml);
    return 0;
}
