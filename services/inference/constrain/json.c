/* Programs for JSON: lexemes, and objects of anything. White space: after '{', '[', ',' and ':' and before '}' and ']' there may be
 * one space, or a line end and up to SPACES_MAX spaces; nowhere else, so that no answer runs away in it. */
#include "services/inference/constrain/program.h"

#include <errno.h>

#define SPACE "( |\\n {0,32})?"
#define DIGIT_RUN "[0-9]{0,16}" /* digits are bounded as white space is */
#define NUMBER "-?(0|[1-9]" DIGIT_RUN ")(\\.[0-9]" DIGIT_RUN ")?([eE][+-]?[0-9]{1,2})?"
#define CHARACTER "([^\\x00-\\x1f\"\\\\]|\\\\([\"\\\\/bfnrt]|u([0-9A-Ca-cE-Fe-f][0-9A-Fa-f]{3}|[Dd][0-7][0-9A-Fa-f]{2}|" \
                  "[Dd][89ABab][0-9A-Fa-f]{2}\\\\u[Dd][C-Fc-f][0-9A-Fa-f]{2})))"
#define STRING "\"" CHARACTER "*\""

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
static uint32_t members(tg_program *p, uint32_t open, uint32_t close, uint32_t comma, uint32_t space, uint32_t member)
{
    const uint32_t first = tg_program_add(p, TG_OP_LEXEME, open, 0);
    tg_program_add(p, TG_OP_LEXEME, space, 0);
    const uint32_t empty = tg_program_add(p, TG_OP_SPLIT, p->len + 1, 0);
    const uint32_t next = tg_program_add(p, TG_OP_CALL, member, 0);
    const uint32_t more = tg_program_add(p, TG_OP_SPLIT, p->len + 1, 0);
    tg_program_add(p, TG_OP_LEXEME, comma, 0);
    tg_program_add(p, TG_OP_LEXEME, space, 0);
    tg_program_add(p, TG_OP_JUMP, next, 0);
    const uint32_t end = tg_program_add(p, TG_OP_LEXEME, space, 0);
    const uint32_t closing = tg_program_add(p, TG_OP_LEXEME, close, 0);
    tg_program_add(p, TG_OP_RETURN, 0, 0);
    if (p->rc == 0) {
        p->code[more].b = end;
        p->code[empty].b = closing;
    }
    return first;
}

int tg_program_json_object(tg_program *p, tg_arena *arena, tg_error *err)
{
    const uint32_t space = lexeme(p, arena, SPACE, err), scalar = lexeme(p, arena, STRING "|" NUMBER "|true|false|null", err);
    const uint32_t string = lexeme(p, arena, STRING, err), colon = lexeme(p, arena, ":", err), comma = lexeme(p, arena, ",", err);
    const uint32_t open = lexeme(p, arena, "\\{", err), close = lexeme(p, arena, "\\}", err);
    const uint32_t open_list = lexeme(p, arena, "\\[", err), close_list = lexeme(p, arena, "\\]", err);
    /* value: scalar | object | array */
    const uint32_t value = tg_program_add(p, TG_OP_SPLIT, 1, 3);
    tg_program_add(p, TG_OP_LEXEME, scalar, 0);
    tg_program_add(p, TG_OP_RETURN, 0, 0);
    const uint32_t nested = tg_program_add(p, TG_OP_SPLIT, 0, 0);
    /* member: a key and a value */
    const uint32_t member = tg_program_add(p, TG_OP_LEXEME, string, 0);
    tg_program_add(p, TG_OP_LEXEME, colon, 0);
    tg_program_add(p, TG_OP_LEXEME, space, 0);
    tg_program_add(p, TG_OP_CALL, value, 0);
    tg_program_add(p, TG_OP_RETURN, 0, 0);
    const uint32_t object = members(p, open, close, comma, space, member);
    const uint32_t list = members(p, open_list, close_list, comma, space, value);
    const uint32_t start = tg_program_add(p, TG_OP_CALL, object, 0);
    tg_program_add(p, TG_OP_DONE, 0, 0);
    if (p->rc == 0) {
        p->code[nested].a = object;
        p->code[nested].b = list;
        p->start = start;
    }
    return tg_program_finish(p, err);
}
