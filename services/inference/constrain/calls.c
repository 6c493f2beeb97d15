#include "services/inference/constrain/calls.h"

#include "services/inference/constrain/schema_inside.h"

#include <errno.h>

enum { BEFORE, BEHIND, KEY, FIRST_TOOL }; /* in the texts; of each tool its name and its schema */

typedef struct writer {
    tg_schema_compiler c;
    const tg_str *texts;
    size_t tools;
    /* of the first tool: a jump to what they may be; of the others, behind it */
    uint32_t arguments;
    const tg_json_node *object; /* the schema of any */
    size_t bytes;               /* of the schemas so far */
} writer;

static tg_str name_of(const writer *w, size_t tool) { return w->texts[FIRST_TOOL + 2 * tool]; }

static void add_lexeme(writer *w, uint32_t lexeme)
{
    tg_program_add(w->c.p, TG_OP_LEXEME, lexeme, 0);
}

static int write_text(writer *w, tg_str text)
{
    tg_dfa *dfa = NULL;
    if (text.len == 0)
        return 0;
    const int rc = tg_dfa_from_regex(tg_regex_text(w->c.arena, text), w->c.err, &dfa);
    if (rc == 0)
        add_lexeme(w, tg_program_lexeme(w->c.p, dfa));
    return rc;
}

/* A tool's name, its arguments and the way to the object's end; or the next tool. */
static int write_tool(writer *w, size_t i, uint32_t arguments_key, uint32_t end)
{
    tg_program *p = w->c.p;
    const tg_json_node name = {.kind = TG_JSON_STRING, .text = name_of(w, i)}, *names = &name;
    uint32_t lexeme = 0;
    const bool last = i + 1 == w->tools;
    const int rc = tg_schema_literals(&w->c, &names, 1, &lexeme);
    const uint32_t split = last ? 0 : tg_program_add(p, TG_OP_SPLIT, p->len + 1, 0);
    add_lexeme(w, lexeme);
    add_lexeme(w, w->c.json.comma);
    add_lexeme(w, w->c.json.space);
    add_lexeme(w, arguments_key);
    add_lexeme(w, w->c.json.space);
    tg_program_add(p, TG_OP_CALL, w->arguments + (uint32_t)i, 0);
    tg_program_add(p, TG_OP_JUMP, end, 0);
    if (!last && p->rc == 0)
        p->code[split].b = p->len;
    return rc;
}

/* All but the schemas: any object will do. So little that there is room for it. */
static int write_calls(writer *w, tg_calls *ret)
{
    tg_program *p = w->c.p;
    const tg_json_parts *j = &w->c.json;
    uint32_t name_key = 0, arguments_key = 0;
    int rc = tg_schema_key(&w->c, TG_STR("name"), &name_key);
    if (rc == 0)
        rc = tg_schema_key(&w->c, w->texts[KEY], &arguments_key);
    w->arguments = p->len;
    for (size_t i = 0; i < w->tools; i++)
        tg_program_add(p, TG_OP_JUMP, j->object, 0);
    const uint32_t end = p->len;
    add_lexeme(w, j->space);
    add_lexeme(w, j->close);
    tg_program_add(p, TG_OP_RETURN, 0, 0);
    const uint32_t call = p->len;
    add_lexeme(w, j->open);
    add_lexeme(w, j->space);
    add_lexeme(w, name_key);
    add_lexeme(w, j->space);
    for (size_t i = 0; i < w->tools && rc == 0; i++)
        rc = write_tool(w, i, arguments_key, end);
    p->start = p->len;
    rc = rc < 0 ? rc : write_text(w, w->texts[BEFORE]);
    add_lexeme(w, j->space);
    tg_program_add(p, TG_OP_CALL, call, 0);
    if (w->texts[BEHIND].len > 0)
        add_lexeme(w, j->space);
    rc = rc < 0 ? rc : write_text(w, w->texts[BEHIND]);
    tg_program_add(p, TG_OP_DONE, 0, 0);
    ret->tools = w->tools;
    ret->first = p->len;
    for (uint32_t i = 0; i < w->tools; i++) {
        add_lexeme(w, j->space);
        tg_program_add(p, TG_OP_CALL, w->arguments + i, 0);
        tg_program_add(p, TG_OP_DONE, 0, 0);
    }
    return rc < 0 ? rc : p->rc;
}

uint32_t tg_calls_arguments(const tg_calls *calls, size_t tool)
{
    return calls->first + 3 * (uint32_t)tool;
}

static int write_schema(writer *w, tg_str schema, uint32_t *ret)
{
    tg_schema_compiler *c = &w->c;
    tg_conjunction all = {.len = 0};
    w->bytes += schema.len;
    if (w->bytes > TG_SCHEMA_BYTES_MAX)
        return tg_error_set(c->err, -EMSGSIZE,
                            "the tools' parameters are longer than %u bytes together",
                            TG_SCHEMA_BYTES_MAX);
    if (c->work >= TG_SCHEMA_WORK_MAX)
        return tg_error_set(c->err, -EMSGSIZE,
                            "the tools before it took the %u million steps for compiling them all",
                            TG_SCHEMA_WORK_MAX / 1000000);
    int rc = tg_json_tree_parse(schema, c->arena, c->err, &c->root);
    if (rc == 0)
        rc = tg_schema_add_part(c, &all, w->object);
    if (rc == 0)
        rc = tg_schema_add_part(c, &all, c->root);
    if (rc == 0)
        rc = tg_schema_write(c, &all, ret);
    return rc < 0 ? rc : c->p->rc;
}

static void note(tg_calls *calls, tg_str name, tg_error *why)
{
    tg_error_prefix(why, "the tool '%.*s'", (int)(name.len < 64 ? name.len : 64), name.data);
    if (calls->loose++ == 0)
        calls->why = *why;
}

/* 0, also where it cannot be held to; -ENOMEM. */
static int hold(writer *w, size_t i, tg_calls *calls)
{
    tg_schema_compiler *c = &w->c;
    tg_program *p = c->p;
    const uint32_t len = p->len, program_lexemes = p->lexemes_len, lexemes = c->lexemes_len;
    uint32_t root = 0;
    tg_error why = {""};
    c->err = &why;
    int rc = write_schema(w, w->texts[FIRST_TOOL + 2 * i + 1], &root);
    if (rc == 0)
        p->code[w->arguments + i].a = root;
    if (rc == 0 || rc == -ENOMEM)
        return rc;
    if (rc == -EMSGSIZE) /* an automaton too large is not counted among the work; what it took is */
        c->work += TG_DFA_WORK_MAX;
    tg_program_rc(p, &why);
    tg_program_undo(p, len, program_lexemes);
    c->lexemes_len = lexemes;
    note(calls, name_of(w, i), &why);
    return 0;
}

/* Tools whose arguments no text can satisfy may have any as well. */
static int free_dead_ends(writer *w, tg_error *err, tg_calls *calls)
{
    tg_program *p = w->c.p;
    const uint32_t before = calls->loose;
    int rc = tg_program_finish(p, NULL);
    for (size_t i = 0; i < w->tools && (rc == 0 || rc == -EINVAL); i++) {
        if (p->depth[w->arguments + i] != UINT8_MAX)
            continue;
        tg_error why = {"no text can satisfy its parameters"};
        p->code[w->arguments + i].a = w->c.json.object;
        note(calls, name_of(w, i), &why);
    }
    return calls->loose > before ? tg_program_finish(p, err) : rc;
}

int tg_program_calls(tg_program *p, const tg_str *texts, size_t len, tg_arena *arena, tg_error *err,
                     tg_calls *ret)
{
    writer w = {
        .c = {.p = p, .arena = arena, .err = err}, .texts = texts, .tools = (len - FIRST_TOOL) / 2};
    if (len < FIRST_TOOL + 2 || len % 2 == 0)
        return tg_error_set(err, -EINVAL,
                            "calls need three texts, and of each tool two; there are %zu", len);
    tg_program_json_parts(p, arena, err, &w.c.json);
    int rc = p->rc < 0 ? p->rc
                       : tg_json_tree_parse(TG_STR("{\"type\":\"object\"}"), arena, err, &w.object);
    if (rc == 0)
        rc = write_calls(&w, ret);
    for (size_t i = 0; i < w.tools && rc == 0; i++)
        rc = hold(&w, i, ret);
    return rc < 0 ? rc : free_dead_ends(&w, err, ret);
}
