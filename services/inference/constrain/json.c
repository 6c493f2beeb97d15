/* Programs for JSON: lexemes, and values, objects and arrays of anything. */
#include "services/inference/constrain/program.h"

#include <errno.h>

#define SPACE "( |\\n {0,32})?"
#define DIGIT_RUN "[0-9]{0,16}" /* digits are bounded as white space is */
#define INTEGER "-?(0|[1-9]" DIGIT_RUN ")"
#define NUMBER INTEGER "(\\.[0-9]" DIGIT_RUN ")?([eE][+-]?[0-9]{1,2})?"
#define STRING "\"" TG_JSON_CHARACTER "*\""

static uint32_t lexeme(tg_program *p, tg_arena *arena, const char *pattern, tg_error *err)
{
    const tg_regex *regex = NULL;
    tg_dfa *dfa = NULL;
    int rc = tg_regex_parse(tg_str_of(pattern), true, arena, err, &regex);
    if (rc == 0)
        rc = tg_dfa_from_regex(regex, err, &dfa);
    if (rc < 0 && p->rc == 0)
        p->rc = rc;
    return rc < 0 ? 0 : tg_program_lexeme(p, dfa);
}

/* '{' or '[', members with commas between, and the end. Returns where it begins. */
static uint32_t members(tg_program *p, const tg_json_parts *j, uint32_t open, uint32_t close,
                        uint32_t member)
{
    const uint32_t first = tg_program_add(p, TG_OP_LEXEME, open, 0);
    tg_program_add(p, TG_OP_LEXEME, j->space, 0);
    const uint32_t empty = tg_program_add(p, TG_OP_SPLIT, p->len + 1, 0);
    const uint32_t next = tg_program_add(p, TG_OP_CALL, member, 0);
    const uint32_t more = tg_program_add(p, TG_OP_SPLIT, p->len + 1, 0);
    tg_program_add(p, TG_OP_LEXEME, j->comma, 0);
    tg_program_add(p, TG_OP_LEXEME, j->space, 0);
    tg_program_add(p, TG_OP_JUMP, next, 0);
    const uint32_t end = tg_program_add(p, TG_OP_LEXEME, j->space, 0);
    const uint32_t closing = tg_program_add(p, TG_OP_LEXEME, close, 0);
    tg_program_add(p, TG_OP_RETURN, 0, 0);
    if (p->rc == 0) {
        p->code[more].b = end;
        p->code[empty].b = closing;
    }
    return first;
}

void tg_program_json_parts(tg_program *p, tg_arena *arena, tg_error *err, tg_json_parts *ret)
{
    tg_json_parts j = {.space = lexeme(p, arena, SPACE, err),
                       .comma = lexeme(p, arena, ",", err),
                       .colon = lexeme(p, arena, ":", err),
                       .open = lexeme(p, arena, "\\{", err),
                       .close = lexeme(p, arena, "\\}", err),
                       .open_list = lexeme(p, arena, "\\[", err),
                       .close_list = lexeme(p, arena, "\\]", err),
                       .string = lexeme(p, arena, STRING, err),
                       .number = lexeme(p, arena, NUMBER, err),
                       .integer = lexeme(p, arena, INTEGER, err),
                       .boolean = lexeme(p, arena, "true|false", err),
                       .null = lexeme(p, arena, "null", err)};
    const uint32_t scalar = lexeme(p, arena, STRING "|" NUMBER "|true|false|null", err);
    /* value: scalar | object | array */
    j.value = tg_program_add(p, TG_OP_SPLIT, p->len + 1, p->len + 3);
    tg_program_add(p, TG_OP_LEXEME, scalar, 0);
    tg_program_add(p, TG_OP_RETURN, 0, 0);
    const uint32_t nested = tg_program_add(p, TG_OP_SPLIT, 0, 0);
    /* member: a key and a value */
    const uint32_t member = tg_program_add(p, TG_OP_LEXEME, j.string, 0);
    tg_program_add(p, TG_OP_LEXEME, j.colon, 0);
    tg_program_add(p, TG_OP_LEXEME, j.space, 0);
    tg_program_add(p, TG_OP_CALL, j.value, 0);
    tg_program_add(p, TG_OP_RETURN, 0, 0);
    j.object = members(p, &j, j.open, j.close, member);
    j.list = members(p, &j, j.open_list, j.close_list, j.value);
    if (p->rc == 0) {
        p->code[nested].a = j.object;
        p->code[nested].b = j.list;
    }
    *ret = j;
}

int tg_program_json_object(tg_program *p, tg_arena *arena, tg_error *err)
{
    tg_json_parts j;
    tg_program_json_parts(p, arena, err, &j);
    p->start = tg_program_add(p, TG_OP_CALL, j.object, 0);
    tg_program_add(p, TG_OP_DONE, 0, 0);
    return tg_program_finish(p, err);
}
