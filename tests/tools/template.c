/* Renders a chat template for conversations on stdin, a JSON object of variables each line:
 *
 *     test-template FILE
 *
 * For each: "ok BYTES", a line end, the text, then a string of as many 0 and 1 (1: the template wrote the byte), a line end; or
 * "refused MESSAGE". Exit status 2 with a message when the template itself is not understood. */
#include "libs/base/buf.h"
#include "services/inference/template/template.h"

#include <stdio.h>
#include <stdlib.h>

static int read_file(const char *path, tg_buf *ret)
{
    char chunk[4096];
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), file)) > 0;)
        tg_buf_add(ret, chunk, n);
    return fclose(file);
}

static void render(const tg_template *t, tg_str variables)
{
    const tg_template_input in = {.variables = variables, .bos_token = TG_STR("<s>"), .eos_token = TG_STR("</s>"),
                                  .add_generation_prompt = true, .now_s = 1764000000};
    tg_template_text text = {0};
    tg_error err = {""};
    if (tg_template_render(t, &in, &err, &text) < 0) {
        printf("refused %s\n", err.text);
        return;
    }
    printf("ok %zu\n", text.len);
    fwrite(text.bytes, 1, text.len, stdout);
    for (size_t i = 0; i < text.len; i++)
        putchar(text.trusted[i] ? '1' : '0');
    putchar('\n');
    tg_template_text_free(&text);
}

int main(int argc, char **argv)
{
    tg_buf source;
    tg_error err = {""};
    tg_template *t = NULL;
    char *line = NULL;
    size_t cap = 0;
    tg_buf_init(&source, 0);
    if (argc != 2 || read_file(argv[1], &source) != 0) {
        fputs("usage: test-template FILE\n", stderr);
        return 1;
    }
    if (tg_template_compile(tg_buf_str(&source), &err, &t) < 0) {
        fprintf(stderr, "%s\n", err.text);
        tg_buf_free(&source);
        return 2;
    }
    for (ssize_t len; (len = getline(&line, &cap, stdin)) > 0;)
        render(t, (tg_str){line, (size_t)len});
    free(line);
    tg_template_free(t);
    tg_buf_free(&source);
    return 0;
}
