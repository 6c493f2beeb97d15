/* What the parts of the template interpreter share: nodes of the syntax tree, values, one
 * rendering.
 *
 * A failure is kept in the rendering (`rc`, first reason wins): functions then return an undefined
 * value, and loops stop when they see it. Everything a rendering makes lives in its arena.
 */
#ifndef TG_INFERENCE_TEMPLATE_INTERNAL_H
#define TG_INFERENCE_TEMPLATE_INTERNAL_H

#include "libs/base/arena.h"
#include "services/inference/template/template.h"

typedef enum tg_node_kind {
    TG_NODE_TEXT,
    TG_NODE_PRINT,
    TG_NODE_SET,
    TG_NODE_SET_BLOCK,
    TG_NODE_FOR,
    TG_NODE_IF,
    TG_NODE_MACRO,
    TG_NODE_CALL_BLOCK,
    TG_NODE_GROUP,
    TG_NODE_BREAK,
    TG_NODE_CONTINUE, /* statements */
    TG_NODE_NONE,
    TG_NODE_BOOL,
    TG_NODE_INT,
    TG_NODE_FLOAT,
    TG_NODE_STR,
    TG_NODE_NAME,
    TG_NODE_LIST,
    TG_NODE_DICT,
    TG_NODE_ATTR,
    TG_NODE_ITEM,
    TG_NODE_SLICE,
    TG_NODE_CALL,
    TG_NODE_FILTER,
    TG_NODE_TEST,
    TG_NODE_NOT,
    TG_NODE_NEG,
    TG_NODE_AND,
    TG_NODE_OR,
    TG_NODE_COND,
    TG_NODE_BINARY,
    TG_NODE_COMPARE,
} tg_node_kind;

typedef enum tg_op {
    TG_OP_ADD, TG_OP_SUB, TG_OP_MUL, TG_OP_DIV, TG_OP_FLOORDIV, TG_OP_MOD, TG_OP_POW, TG_OP_CONCAT,
    TG_OP_EQ, TG_OP_NE, TG_OP_LT, TG_OP_LE, TG_OP_GT, TG_OP_GE, TG_OP_IN, TG_OP_NOT_IN,
} tg_op;

typedef struct tg_node tg_node;
struct tg_node {
    tg_node_kind kind;
    tg_op op;
    int line;
    tg_str text; /* text, string, name, attribute, filter, test; keyword of an argument (`name=`) */
    int64_t integer;
    double real;
    /* a: the value worked on, a condition, a target; b, c, d: further operands.
     * FOR: a targets, b iterable, c condition or NULL, body, other (else). IF: a condition, body,
     * other. MACRO: args are names with a = default or NULL. CALL_BLOCK: a the call, body, args.
     * SLICE: b start, c stop, d step. COND: b if a else c. COMPARE: a op b, then next for
     * chains. */
    tg_node *a, *b, *c, *d;
    tg_node *args;  /* list by next: elements, arguments (text: keyword), pairs (a key, b value) */
    tg_node *body;  /* list by next */
    tg_node *other; /* list by next */
    tg_node *next;
};

struct tg_template {
    tg_arena arena;
    tg_node *body;
};

int tg_template_parse(tg_arena *arena, tg_str source, tg_error *err, tg_node **ret);

typedef enum tg_value_kind {
    TG_VALUE_UNDEFINED,
    TG_VALUE_NONE,
    TG_VALUE_BOOL,
    TG_VALUE_INT,
    TG_VALUE_FLOAT,
    TG_VALUE_STR,
    TG_VALUE_LIST,
    TG_VALUE_DICT,
    TG_VALUE_NAMESPACE,
    TG_VALUE_LOOP,
    TG_VALUE_MACRO,
    TG_VALUE_FUNCTION,
} tg_value_kind;

typedef struct tg_value tg_value;

typedef struct tg_text {
    const char *s;
    const uint8_t *trusted; /* as long as s */
    size_t len;
} tg_text;

typedef struct tg_list_value {
    tg_value *items; /* of a dict: keys and values in turn */
    size_t len;      /* items, or pairs */
    size_t size;
} tg_list_value;

typedef struct tg_scope tg_scope;

typedef struct tg_macro {
    const tg_node *node;
    tg_scope *scope;
    const tg_value *caller;
} tg_macro;

typedef struct tg_loop {
    const tg_list_value *items;
    size_t at;
    int64_t depth;
} tg_loop;

struct tg_value {
    tg_value_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        tg_text s;
        tg_list_value *list;
        tg_macro *macro;
        tg_loop *loop;
        tg_str name; /* function; what is undefined */
    };
};

typedef struct tg_out {
    char *s;
    uint8_t *trusted;
    size_t len, size;
} tg_out;

typedef struct tg_render {
    tg_arena arena;
    tg_error *err;
    int rc;
    int line;
    uint64_t steps;
    size_t writing; /* bytes of the buffers in use: a macro's stands beside its caller's */
    int depth;
    int64_t loops;
    int64_t now_s;
} tg_render;

/* Arguments of a call, a filter or a test: positional ones, then named ones. */
typedef struct tg_args {
    tg_value *v;
    tg_str *names; /* data NULL: positional */
    size_t len;
} tg_args;

void tg_render_fail(tg_render *r, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool tg_render_step(tg_render *r, uint64_t steps); /* false when the rendering has failed */

/* What is looked at or copied in one step. Whatever walks over something of any length counts it
 * so. */
enum { TG_STEP_BYTES = 256, TG_STEP_ENTRIES = 16 };

tg_value tg_value_str(tg_text s);
/* copies the marks only */
tg_value tg_value_bytes(tg_render *r, const char *s, size_t len, bool trusted);
tg_value tg_value_int(int64_t i);
tg_value tg_value_bool(bool b);
tg_value tg_value_list(tg_render *r, tg_value_kind kind);
void tg_list_add(tg_render *r, tg_list_value *list, tg_value v);
void tg_dict_set(tg_render *r, tg_list_value *dict, tg_value key, tg_value v);
const tg_value *tg_dict_get(tg_render *r, const tg_list_value *dict, const tg_value *key);
const tg_value *tg_dict_find(tg_render *r, const tg_list_value *dict, tg_str key);
tg_str tg_value_text(const tg_value *v); /* of a string; else empty */
bool tg_value_true(const tg_value *v);
bool tg_value_equal(tg_render *r, const tg_value *a, const tg_value *b);
int tg_value_order(tg_render *r, const tg_value *a, const tg_value *b); /* -1, 0, 1 */
bool tg_value_in(tg_render *r, const tg_value *item, const tg_value *box);
const tg_list_value *tg_value_items(tg_render *r, const tg_value *v); /* what a loop walks over */
const char *tg_value_kind_name(const tg_value *v);
size_t tg_utf8_step(tg_text s, size_t at); /* bytes of the character at `at` */

void tg_out_add(tg_render *r, tg_out *o, const char *s, const uint8_t *trusted, size_t len,
                bool trust);
void tg_out_text(tg_render *r, tg_out *o, tg_text s);
void tg_out_value(tg_render *r, tg_out *o, const tg_value *v); /* as {{ v }} prints it */
tg_value tg_out_take(tg_render *r, tg_out *o); /* the string, in the arena; frees the buffer */
tg_value tg_value_string(tg_render *r, const tg_value *v);

/* indent < 0: on one line. */
void tg_out_json(tg_render *r, tg_out *o, const tg_value *v, int indent, int level, tg_str comma,
                 tg_str colon, bool sort, bool ascii);
/* `what` is named where it fails the rendering, with -EINVAL. */
tg_value tg_json_value(tg_render *r, tg_str json, const char *what);
/* False, and nothing else, when the text is no JSON object. */
bool tg_json_object_in(tg_render *r, tg_str text, tg_value *ret);

/* conversation.c: the list of the messages. Fails the rendering with -EINVAL. */
tg_value tg_conversation(tg_render *r, const tg_template_message *messages, size_t len);

const tg_value *tg_args_get(const tg_args *a, size_t at, const char *name);
bool tg_name_among(tg_str name, const char *const *names); /* up to NULL */
bool tg_filter_known(tg_str name);
bool tg_test_known(tg_str name);
bool tg_method_known(tg_str name);
tg_value tg_filter_apply(tg_render *r, tg_str name, const tg_value *v, const tg_args *a);
bool tg_test_apply(tg_render *r, tg_str name, const tg_value *v, const tg_args *a);
tg_value tg_method_call(tg_render *r, const tg_value *v, tg_str name, const tg_args *a);
tg_value tg_value_attr(tg_render *r, const tg_value *v, tg_str name);
tg_value tg_function_call(tg_render *r, tg_str name, const tg_args *a);
void tg_sort_values(tg_render *r, tg_value *v, size_t len, bool reverse, tg_str attribute,
                    bool nocase);

#endif
