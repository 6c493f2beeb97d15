/* Renders a chat template for conversations on stdin, a JSON object of variables each line:
 *
 *     test-template FILE
 *     test-template FILE --fields    {"messages": [{field of tg_template_message: string}],
 *                                    "tools": string, "variables": string}
 *
 * For each: "ok BYTES", a line end, the text, then a string of as many 0 and 1 (1: the template
 * wrote the byte), a line end; or "refused MESSAGE". Exit status 2 with a message when the
 * template itself is not understood. */
#include "libs/base/buf.h"
#include "services/inference/template/template.h"
#include "services/inference/text/json_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static tg_str member(const tg_json_node *object, const char *key)
{
    const tg_json_node *node = tg_json_tree_get(object, key);
    return node ? node->text : (tg_str){NULL, 0};
}

/* Field by field, as a service gives them. */
static int read_fields(tg_str line, tg_arena *arena, tg_template_input *in)
{
    const tg_json_node *root = NULL, *list;
    tg_template_message *messages;
    if (tg_json_tree_parse(line, arena, NULL, &root) < 0 ||
        !(list = tg_json_tree_get(root, "messages")) ||
        !(messages = tg_arena_zalloc(arena, list->len + 1, sizeof *messages)))
        return -1;
    for (const tg_json_node *m = list->first; m; m = m->next)
        messages[in->messages_len++] = (tg_template_message){
            member(m, "role"),         member(m, "content"),    member(m, "name"),
            member(m, "tool_call_id"), member(m, "tool_calls"), member(m, "reasoning")};
    in->messages = messages;
    in->tools = member(root, "tools");
    in->variables = member(root, "variables");
    return 0;
}

static void render(const tg_template *t, const tg_template_input *given)
{
    tg_template_input in = *given;
    in.bos_token = TG_STR("<s>");
    in.eos_token = TG_STR("</s>");
    in.add_generation_prompt = true;
    in.now_s = 1764000000;
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
    const bool fields = argc == 3 && strcmp(argv[2], "--fields") == 0;
    if ((argc != 2 && !fields) || read_file(argv[1], &source) != 0) {
        fputs("usage: test-template FILE [--fields]\n", stderr);
        return 1;
    }
    if (tg_template_compile(tg_buf_str(&source), &err, &t) < 0) {
        fprintf(stderr, "%s\n", err.text);
        tg_buf_free(&source);
        return 2;
    }
    for (ssize_t len; (len = getline(&line, &cap, stdin)) > 0;) {
        tg_template_input in = {.variables = {line, (size_t)len}};
        tg_arena arena;
        tg_arena_init(&arena, 0);
        if (fields && read_fields((tg_str){line, (size_t)len}, &arena, &in) < 0)
            printf("refused no fields\n");
        else
            render(t, &in);
        tg_arena_free(&arena);
    }
    free(line);
    tg_template_free(t);
    tg_buf_free(&source);
    return 0;
}
