#include "services/inference/constrain/constraint.h"

#include "services/inference/constrain/constraint_inside.h"
#include "services/inference/constrain/schema.h"

#include <errno.h>
#include <stdlib.h>

bool tg_constraint_spec_eq(const tg_constraint_spec *a, const tg_constraint_spec *b)
{
    bool same = a->kind == b->kind && a->texts_len == b->texts_len &&
                a->texts_len <= TG_CONSTRAINT_CHOICES_MAX;
    for (size_t i = 0; same && i < a->texts_len; i++)
        same = tg_str_eq(a->texts[i], b->texts[i]);
    return same;
}

static int compile_regex(const tg_regex *regex, tg_program *p, tg_error *err)
{
    tg_dfa *dfa = NULL;
    int rc = tg_dfa_from_regex(regex, err, &dfa);
    if (rc < 0)
        return rc;
    p->start = tg_program_add(p, TG_OP_LEXEME, tg_program_lexeme(p, dfa), 0);
    tg_program_add(p, TG_OP_DONE, 0, 0);
    return tg_program_finish(p, err);
}

/* Balanced, so that a thousand texts nest ten deep. */
static const tg_regex *any_of(const tg_str *texts, size_t len, tg_arena *arena)
{
    if (len == 1)
        return tg_regex_text(arena, texts[0]);
    return tg_regex_alt(arena, any_of(texts, len / 2, arena),
                        any_of(texts + len / 2, len - len / 2, arena));
}

static int compile_choice(const tg_constraint_spec *spec, tg_arena *arena, tg_program *p,
                          tg_error *err)
{
    size_t bytes = 0;
    if (spec->texts_len == 0 || spec->texts_len > TG_CONSTRAINT_CHOICES_MAX)
        return tg_error_set(err, -EINVAL, "a choice of %zu texts; 1 to %d are allowed",
                            spec->texts_len, TG_CONSTRAINT_CHOICES_MAX);
    for (size_t i = 0; i < spec->texts_len; i++) {
        bytes += spec->texts[i].len;
        if (spec->texts[i].len == 0 || !tg_utf8_valid(spec->texts[i].data, spec->texts[i].len))
            return tg_error_set(err, -EINVAL, "text %zu of the choice is empty or not valid UTF-8",
                                i);
    }
    if (bytes > TG_CONSTRAINT_TEXT_BYTES_MAX)
        return tg_error_set(err, -EMSGSIZE, "a choice of %zu bytes; at most %u are allowed", bytes,
                            TG_CONSTRAINT_TEXT_BYTES_MAX);
    return compile_regex(any_of(spec->texts, spec->texts_len, arena), p, err);
}

static int compile(const tg_constraint_spec *spec, tg_arena *arena, tg_constraint *c, tg_error *err)
{
    tg_program *p = &c->program;
    const tg_regex *regex = NULL;
    int rc;
    switch (spec->kind) {
    case TG_CONSTRAINT_JSON_OBJECT: return tg_program_json_object(p, arena, err);
    case TG_CONSTRAINT_JSON_SCHEMA:
        if (spec->texts_len != 1)
            return tg_error_set(err, -EINVAL, "one JSON schema is needed");
        return tg_program_json_schema(p, spec->texts[0], arena, err);
    case TG_CONSTRAINT_CALL:
        return tg_program_calls(p, spec->texts, spec->texts_len, arena, err, &c->calls);
    case TG_CONSTRAINT_REGEX:
        if (spec->texts_len != 1)
            return tg_error_set(err, -EINVAL, "one regular expression is needed");
        rc = tg_regex_parse(spec->texts[0], true, arena, err, &regex);
        return rc < 0 ? rc : compile_regex(regex, p, err);
    case TG_CONSTRAINT_CHOICE: return compile_choice(spec, arena, p, err);
    default: return tg_error_set(err, -EINVAL, "no constraint");
    }
}

/* For what will be known of each state of each lexeme. */
static int make_room(tg_constraint *c)
{
    const tg_program *p = &c->program;
    c->alone = p->lexemes_len == 1 && p->len == 2;
    c->bytes = p->len * sizeof(*p->code);
    c->lexemes = calloc(p->lexemes_len, sizeof(*c->lexemes));
    for (uint32_t i = 0; i < p->lexemes_len && c->lexemes; i++) {
        const tg_dfa *dfa = p->lexemes[i];
        tg_lexeme_walks *l = &c->lexemes[i];
        c->bytes += (size_t)dfa->states *
                    (dfa->classes * sizeof(*dfa->next) + sizeof(*l->walks) + sizeof(*l->kinds));
        c->bytes += dfa->classes * sizeof(*l->classes);
        l->walks = calloc(dfa->states, sizeof(*l->walks));
        l->kinds = calloc(dfa->states, sizeof(*l->kinds));
        l->classes = calloc(dfa->classes, sizeof(*l->classes));
        if (!l->walks || !l->kinds || !l->classes)
            return -ENOMEM;
        for (uint32_t b = 0; b < 256; b++) {
            l->classes[dfa->class_of[b]].kinds |= (uint16_t)(1u << tg_trie_kind((uint8_t)b));
            l->classes[dfa->class_of[b]].bytes++;
        }
    }
    return c->lexemes ? 0 : -ENOMEM;
}

int tg_constraint_compile(const tg_constraint_spec *spec, const tg_vocab_trie *trie, tg_error *err,
                          tg_constraint **ret)
{
    tg_arena arena;
    tg_constraint *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    atomic_init(&c->references, 1);
    atomic_init(&c->walk_bytes, 0);
    c->trie = trie;
    tg_arena_init(&arena, 0);
    tg_program_init(&c->program);
    c->program.reach = trie->depth;
    int rc = compile(spec, &arena, c, err);
    tg_arena_free(&arena);
    if (rc == 0)
        rc = make_room(c);
    if (rc < 0)
        tg_constraint_release(c);
    else
        *ret = c;
    return rc;
}

size_t tg_constraint_bytes(const tg_constraint *c)
{
    return c->bytes + atomic_load(&c->walk_bytes);
}

uint32_t tg_constraint_loose(const tg_constraint *c, const char **ret_why)
{
    *ret_why = c->calls.why.text;
    return c->calls.loose;
}

tg_constraint *tg_constraint_retain(tg_constraint *c)
{
    atomic_fetch_add(&c->references, 1);
    return c;
}

tg_constraint *tg_constraint_release(tg_constraint *c)
{
    if (!c || atomic_fetch_sub(&c->references, 1) > 1)
        return NULL;
    tg_walks_drop(c);
    for (uint32_t i = 0; i < c->program.lexemes_len && c->lexemes; i++) {
        free(c->lexemes[i].walks);
        free(c->lexemes[i].kinds);
        free(c->lexemes[i].classes);
    }
    free(c->lexemes);
    tg_program_free(&c->program);
    free(c);
    return NULL;
}
