/* What the two halves of the template's parser share: expression.c reads tokens and expressions,
 * parse.c blocks. A failure stays in `rc`; reading then goes on at the tag's end, and loops stop
 * when they see it. */
#ifndef TG_INFERENCE_TEMPLATE_PARSER_H
#define TG_INFERENCE_TEMPLATE_PARSER_H

#include "services/inference/template/internal.h"

typedef enum tg_token_kind {
    TG_TOKEN_KIND_END,
    TG_TOKEN_KIND_NAME,
    TG_TOKEN_KIND_INT,
    TG_TOKEN_KIND_FLOAT,
    TG_TOKEN_KIND_STR,
    TG_TOKEN_KIND_OP,
} tg_token_kind;

typedef struct tg_parser {
    tg_arena *arena;
    tg_str src;
    size_t at;
    int line, depth, braces;
    int rc;
    tg_error *err;
    bool print; /* inside {{ }} rather than {% %} */
    tg_token_kind kind;
    tg_str text; /* of the token */
    tg_str tag;  /* parse.c: the name that ended the body read last */
    tg_node none; /* what there is instead of a node when memory is out; `rc` says so */
} tg_parser;

static inline bool tg_parse_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

void tg_parse_fail(tg_parser *p, int rc, const char *what, tg_str text);
tg_node *tg_parse_node(tg_parser *p, tg_node_kind kind);
void tg_parse_next(tg_parser *p);
bool tg_parse_at_name(const tg_parser *p, const char *name);
bool tg_parse_accept(tg_parser *p, const char *text);
void tg_parse_expect(tg_parser *p, const char *text);
tg_str tg_parse_name(tg_parser *p);
tg_node *tg_parse_args(tg_parser *p, const char *close, bool defaults);
tg_node *tg_parse_postfix(tg_parser *p, tg_node *n);
tg_node *tg_parse_expr(tg_parser *p);
tg_node *tg_parse_tuple(tg_parser *p);
void tg_parse_end_tag(tg_parser *p, bool trims);

#endif
