#include "services/inference/constrain/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NO_END = UINT8_MAX };

void tg_program_init(tg_program *program) { *program = (tg_program){0}; }

void tg_program_free(tg_program *program)
{
    for (uint32_t i = 0; i < program->lexemes_len; i++)
        tg_dfa_free(program->lexemes[i]);
    free(program->lexemes);
    free(program->code);
    free(program->depth);
    *program = (tg_program){0};
}

uint32_t tg_program_add(tg_program *p, tg_op op, uint32_t a, uint32_t b)
{
    if (p->rc < 0)
        return 0;
    if (p->len == p->cap) {
        const uint32_t cap = p->cap ? 2 * p->cap : 64;
        tg_instruction *code =
            p->len < TG_PROGRAM_LEN_MAX ? realloc(p->code, cap * sizeof(*code)) : NULL;
        if (!code) {
            p->rc = p->len < TG_PROGRAM_LEN_MAX ? -ENOMEM : -EMSGSIZE;
            return 0;
        }
        p->code = code;
        p->cap = cap;
    }
    p->code[p->len] = (tg_instruction){op, a, b};
    return p->len++;
}

uint32_t tg_program_lexeme(tg_program *p, tg_dfa *dfa)
{
    tg_dfa **more = dfa && p->rc == 0 && p->lexemes_len < TG_PROGRAM_LEXEMES_MAX
                        ? realloc(p->lexemes, (p->lexemes_len + 1) * sizeof(*more)) : NULL;
    if (!more) {
        if (p->rc == 0)
            p->rc = p->lexemes_len < TG_PROGRAM_LEXEMES_MAX ? -ENOMEM : -EMSGSIZE;
        tg_dfa_free(dfa);
        return 0;
    }
    p->lexemes = more;
    p->lexemes[p->lexemes_len] = dfa;
    return p->lexemes_len++;
}

int tg_program_rc(const tg_program *p, tg_error *err)
{
    if (p->rc != -EMSGSIZE)
        return p->rc;
    return tg_error_set(err, p->rc,
                        "this constraint is too large: more than %u steps or %d lexemes",
                        TG_PROGRAM_LEN_MAX, TG_PROGRAM_LEXEMES_MAX);
}

void tg_program_undo(tg_program *p, uint32_t len, uint32_t lexemes_len)
{
    while (p->lexemes_len > lexemes_len)
        tg_dfa_free(p->lexemes[--p->lexemes_len]);
    p->len = len;
    p->rc = 0;
}

static uint8_t depth_at(const tg_program *p, uint32_t pc)
{
    const tg_instruction *in = &p->code[pc];
    uint8_t inner, after;
    switch (in->op) {
    case TG_OP_LEXEME: return p->depth[pc + 1];
    case TG_OP_SPLIT: return p->depth[in->a] < p->depth[in->b] ? p->depth[in->a] : p->depth[in->b];
    case TG_OP_JUMP: return p->depth[in->a];
    case TG_OP_CALL:
        inner = p->depth[in->a];
        after = p->depth[pc + 1];
        if (inner >= TG_CALL_DEPTH_MAX || after == NO_END)
            return NO_END;
        return inner + 1 > after ? (uint8_t)(inner + 1) : after;
    default: return 0;
    }
}

int tg_program_finish(tg_program *p, tg_error *err)
{
    if (p->rc < 0)
        return tg_program_rc(p, err);
    free(p->depth);
    p->depth = malloc(p->len);
    if (!p->depth)
        return -ENOMEM;
    memset(p->depth, NO_END, p->len);
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t pc = p->len; pc-- > 0;) {
            const uint8_t depth = depth_at(p, pc);
            changed |= depth < p->depth[pc];
            p->depth[pc] = depth < p->depth[pc] ? depth : p->depth[pc];
        }
    }
    return p->depth[p->start] == NO_END
               ? tg_error_set(err, -EINVAL, "no text can satisfy this constraint")
               : 0;
}
