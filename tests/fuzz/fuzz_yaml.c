/* Any bytes as YAML: parsed to a tree, whose parents stand before their children, then read by
 * every schema. What a schema accepts is printed, and the printed text is accepted and prints
 * the same. */
#include "libs/config/mesh.h"
#include "libs/config/settings.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static const char *fake_env(const char *name)
{
    return strcmp(name, "A") == 0 ? "127.0.0.1:1" : strcmp(name, "E") == 0 ? "" : NULL;
}

static void check_tree(const tg_yaml_node *node)
{
    size_t count = 0;
    require(node->line > 0 && node->column > 0);
    require(node->type != TG_YAML_SCALAR || strlen(node->text.data) == node->text.len);
    for (const tg_yaml_node *child = node->first; child; child = child->next, count++) {
        require((child->key != NULL) == (node->type == TG_YAML_MAPPING));
        require(child->line >= node->line);
        check_tree(child);
    }
    require(count == node->count);
}

static void check_schema(const tg_schema *schema, const tg_yaml_node *root, tg_arena *arena)
{
    tg_error err = {""};
    void *value = tg_arena_alloc(arena, schema->size), *again = tg_arena_alloc(arena, schema->size);
    const tg_yaml_node *printed = NULL;
    if (!value || !again)
        return;
    if (tg_schema_read(schema, root, arena, &err, value) < 0) {
        require(err.text[0] != '\0');
        return;
    }
    tg_buf first, second;
    tg_buf_init(&first, 0);
    tg_buf_init(&second, 0);
    require(tg_schema_print(schema, value, &first) == 0);
    require(tg_yaml_parse(arena, "printed", tg_buf_str(&first), NULL, &err, &printed) == 0);
    require(tg_schema_read(schema, printed, arena, &err, again) == 0);
    require(tg_schema_print(schema, again, &second) == 0);
    require(tg_str_eq(tg_buf_str(&first), tg_buf_str(&second)));
    tg_buf_free(&first);
    tg_buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const tg_schema *const schemas[] = {
        &tg_router_schema,  &tg_inference_schema, &tg_billing_schema, &tg_health_schema,
        &tg_targets_schema, &tg_prices_schema,    &tg_tenants_schema, &tg_keys_schema};
    tg_arena arena;
    tg_error err = {""};
    const tg_yaml_node *root = NULL;
    tg_arena_init(&arena, 0);
    if (tg_yaml_parse(&arena, "f", (tg_str){(const char *)data, size}, fake_env, &err, &root) ==
        0) {
        check_tree(root);
        for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++)
            check_schema(schemas[i], root, &arena);
    } else {
        require(err.text[0] != '\0');
    }
    tg_arena_free(&arena);
    return 0;
}
