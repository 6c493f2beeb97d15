/* Chat templates: the part of Jinja that models' files use, in a few bounded hundred lines.
 *
 * Blocks: set (also of a block), for (with a filter, else, loop.*, break, continue), if/elif/else,
 * macro, call, generation (transparent), comments. trim_blocks and lstrip_blocks are on, as the
 * libraries that train models have it. Expressions: Jinja's, without tuples as values of their own
 * (they are lists) and with integers of 64 bits. What is not understood is refused when the
 * template is compiled, by name and line. Undefined values print as nothing; reading an attribute
 * of one is an error.
 *
 * Provenance: every byte of every string remembers whether the template wrote it (a literal, text
 * between the tags, bos_token, eos_token) or data did (messages and variables, and what tojson and
 * printing make of values). Slicing, joining, trimming, splitting and replacing keep each byte's
 * mark. Who encodes the text yields special tokens only from the template's bytes, so that no
 * message can forge a turn.
 *
 * Threads: a compiled template is immutable and may render on many threads. Ownership:
 * tg_template_free, tg_template_text_free. No clock: `now_s` is handed in, and read in UTC.
 */
#ifndef TG_INFERENCE_TEMPLATE_H
#define TG_INFERENCE_TEMPLATE_H

#include "libs/base/error.h"
#include "libs/base/str.h"

#define TG_TEMPLATE_SOURCE_MAX ((size_t)1 << 20)  /* bytes of a chat template */
/* nesting of a chat template's blocks, calls and values */
#define TG_TEMPLATE_DEPTH_MAX 64
/* steps of rendering a chat template, each of little work */
#define TG_TEMPLATE_STEPS_MAX 4000000
#define TG_TEMPLATE_OUTPUT_MAX ((size_t)16 << 20) /* bytes a chat template may write */
/* bytes of a chat template's values, and of unfinished texts */
#define TG_TEMPLATE_MEMORY_MAX ((size_t)256 << 20)

typedef struct tg_template tg_template;

/* A template sees role and content, and of the others those that are not empty: name, tool_call_id,
 * tool_calls and reasoning_content. A call's arguments are an object to it, also where the JSON
 * holds them as a string. */
typedef struct tg_template_message {
    tg_str role;
    tg_str content;
    tg_str name;
    tg_str tool_call_id;
    tg_str tool_calls; /* a JSON array of {"id", "type", "function": {"name", "arguments"}} */
    tg_str reasoning;
} tg_template_message;

typedef struct tg_template_input {
    const tg_template_message *messages; /* become `messages` */
    size_t messages_len;
    tg_str tools;     /* a JSON array, becomes `tools`; empty: none */
    tg_str variables; /* a JSON object: whatever else the template asks for; empty: none. Beside
                       * messages it must not hold what is named here, without them it may */
    tg_str bos_token; /* trusted */
    tg_str eos_token; /* trusted */
    bool add_generation_prompt;
    int64_t now_s; /* seconds since 1970, for strftime_now */
} tg_template_input;

typedef struct tg_template_text {
    char *bytes;
    uint8_t *trusted; /* per byte: 1 when the template wrote it */
    size_t len;
} tg_template_text;

/* 0; -ENOTSUP (a construct that is not supported) or -EINVAL (not a template), with the line;
 * -EMSGSIZE (too long or too deep); -ENOMEM. */
int tg_template_compile(tg_str source, tg_error *err, tg_template **ret);
tg_template *tg_template_free(tg_template *t);

/* 0; -EINVAL (JSON that is not what is said above, an operation on a value that has none such, or
 * what the template itself raises), with a message; -E2BIG (a bound above); -ENOMEM. */
int tg_template_render(const tg_template *t, const tg_template_input *in, tg_error *err,
                       tg_template_text *ret);
void tg_template_text_free(tg_template_text *text);

#endif
