/* Random walks through what JSON schemas allow. On stdin a schema each line; for each:
 *
 *     test-constrain WALKS SEED
 *
 * "refused MESSAGE", or "ok" and then, a line each, WALKS times "end HEX" (the text is whole) or
 * "cut HEX" (it was cut). Exit status 1 with a message when a mask and trying every token
 * disagree. */
#include "tests/unit/services/inference/constrain/constraint_world.h"

#include <stdlib.h>

static bool walk(const world *w, tg_constraint *c, unsigned long walks, uint64_t *random)
{
    world_answer a = {.hurry = 40};
    bool right = true;
    for (unsigned long i = 0; i < walks && right; i++) {
        right = world_draw(w, c, random, i % 4 == 0 ? 16 : 0, &a);
        printf("%s ", a.ended ? "end" : "cut");
        for (size_t k = 0; k < a.text.len; k++)
            printf("%02x", (unsigned char)a.text.data[k]);
        putchar('\n');
    }
    tg_buf_free(&a.text);
    return right;
}

int main(int argc, char **argv)
{
    world w;
    char *line = NULL;
    size_t cap = 0;
    bool right = true;
    if (argc != 3 || !world_make(&w)) {
        fputs("usage: test-constrain WALKS SEED\n", stderr);
        return 1;
    }
    const unsigned long walks = strtoul(argv[1], NULL, 10);
    uint64_t random = strtoull(argv[2], NULL, 10);
    for (ssize_t len; right && (len = getline(&line, &cap, stdin)) > 0;) {
        tg_error err = {""};
        tg_constraint *c = NULL;
        const tg_str schema = {line, (size_t)len};
        if (tg_constraint_compile(&(tg_constraint_spec){TG_CONSTRAINT_JSON_SCHEMA, &schema, 1},
                                  w.trie, &err, &c) < 0) {
            printf("refused %s\n", err.text);
        } else {
            puts("ok");
            right = walk(&w, c, walks, &random);
        }
        fflush(stdout);
        tg_constraint_release(c);
    }
    free(line);
    world_free(&w);
    return right ? 0 : 1;
}
