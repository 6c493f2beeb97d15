/* The JSON schema of a call: what a model that must call a tool is held to. */
#include "services/inference/answer/tools.h"

#include <stdio.h>

static int quote(tg_buf *to, tg_str text)
{
    int rc = tg_buf_add_char(to, '"');
    for (size_t i = 0; i < text.len && rc == 0; i++) {
        const unsigned char c = (unsigned char)text.data[i];
        if (c < 0x20)
            rc = tg_buf_printf(to, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            rc = tg_buf_printf(to, "\\%c", c);
        else
            rc = tg_buf_add_char(to, (char)c);
    }
    return rc < 0 ? rc : tg_buf_add_char(to, '"');
}

static int add(tg_buf *to, const tg_json_node *node, const char *root);

/* A reference within a tool's own schema is one below `root` in the whole. */
static int add_reference(tg_buf *to, tg_str reference, const char *root)
{
    tg_buf text;
    tg_buf_init(&text, 0);
    int rc = tg_buf_add_text(&text, root);
    if (rc == 0)
        rc = tg_buf_add(&text, reference.data + 1, reference.len - 1);
    if (rc == 0)
        rc = quote(to, tg_buf_str(&text));
    tg_buf_free(&text);
    return rc;
}

static int add_children(tg_buf *to, const tg_json_node *node, const char *root)
{
    const bool object = node->kind == TG_JSON_OBJECT;
    int rc = tg_buf_add_char(to, object ? '{' : '[');
    for (const tg_json_node *child = node->first; child && rc == 0; child = child->next) {
        const bool reference = object && child->kind == TG_JSON_STRING && tg_str_is(child->key, "$ref") && tg_str_starts(child->text, "#");
        if (child != node->first)
            rc = tg_buf_add_char(to, ',');
        if (rc == 0 && object)
            rc = quote(to, child->key);
        if (rc == 0 && object)
            rc = tg_buf_add_char(to, ':');
        if (rc == 0)
            rc = reference ? add_reference(to, child->text, root) : add(to, child, root);
    }
    return rc < 0 ? rc : tg_buf_add_char(to, object ? '}' : ']');
}

/* Trees nest at most TG_JSON_TREE_DEPTH_MAX deep. */
static int add(tg_buf *to, const tg_json_node *node, const char *root)
{
    switch (node->kind) {
    case TG_JSON_NULL: return tg_buf_add_text(to, "null");
    case TG_JSON_BOOL: return tg_buf_add_text(to, node->boolean ? "true" : "false");
    case TG_JSON_NUMBER: return tg_buf_add_str(to, node->text);
    case TG_JSON_STRING: return quote(to, node->text);
    default: return add_children(to, node, root);
    }
}

static int add_definition(tg_buf *to, const tg_tools *tools, size_t i)
{
    char root[32];
    snprintf(root, sizeof(root), "#/$defs/%zu", i);
    int rc = tg_buf_printf(to, "\"%zu\":", i);
    if (rc < 0)
        return rc;
    return tools->parameters[i] ? add(to, tools->parameters[i], root) : tg_buf_add_text(to, "{\"type\":\"object\",\"properties\":{}}");
}

static int add_call(tg_buf *to, const tg_tools *tools, size_t i, const char *arguments)
{
    int rc = tg_buf_add_text(to, "{\"type\":\"object\",\"properties\":{\"name\":{\"const\":");
    if (rc == 0)
        rc = quote(to, tools->names[i]);
    return rc < 0 ? rc : tg_buf_printf(to, "},\"%s\":{\"$ref\":\"#/$defs/%zu\"}},\"required\":[\"name\",\"%s\"],\"additionalProperties\":false}",
                                       arguments, i, arguments);
}

int tg_tools_schema(const tg_tools *tools, tg_tool_format format, tg_buf *ret)
{
    const char *arguments = format == TG_TOOLS_LLAMA3 ? "parameters" : "arguments";
    const size_t first = tools->only < tools->len ? tools->only : 0, end = tools->only < tools->len ? tools->only + 1 : tools->len;
    int rc = tg_buf_add_text(ret, "{\"$defs\":{");
    for (size_t i = first; i < end && rc == 0; i++) {
        rc = i > first ? tg_buf_add_char(ret, ',') : 0;
        rc = rc < 0 ? rc : add_definition(ret, tools, i);
    }
    if (rc == 0)
        rc = tg_buf_add_text(ret, "},\"anyOf\":[");
    for (size_t i = first; i < end && rc == 0; i++) {
        rc = i > first ? tg_buf_add_char(ret, ',') : 0;
        rc = rc < 0 ? rc : add_call(ret, tools, i, arguments);
    }
    return rc < 0 ? rc : tg_buf_add_text(ret, "]}");
}
