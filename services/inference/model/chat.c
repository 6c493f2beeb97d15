#include "services/inference/model/chat.h"

#include "libs/base/clock.h"
#include "services/inference/template/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tg_str piece_of(const tg_tokenizer *tokenizer, uint32_t id)
{
    return id == TG_TOKEN_NONE ? (tg_str){"", 0} : tg_tokenizer_piece(tokenizer, id);
}

/* Marks that are control tokens have no text of their own, so that who reads answers has to know
 * them. */
static void find_marks(tg_model *model)
{
    const tg_answer_format *f = &model->answer;
    const bool mistral = f->tools == TG_TOOLS_MISTRAL;
    const tg_str marks[] = {tg_reasoning_open(f->reasoning),
                            tg_reasoning_close(f->reasoning),
                            tg_tools_open(f->tools),
                            tg_tools_close(f->tools),
                            tg_str_of(mistral ? "[ARGS]" : ""),
                            tg_str_of(mistral ? "[CALL_ID]" : "")};
    model->marks_len = 0;
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        const uint32_t id = marks[i].len > 0 ? tg_tokenizer_find_control(model->tokenizer, marks[i])
                                             : TG_TOKEN_NONE;
        if (id != TG_TOKEN_NONE)
            model->marks[model->marks_len++] = id;
    }
}

static void note_format(tg_model *model, tg_str source)
{
    model->answer = tg_answer_format_of(source);
    find_marks(model);
}

int tg_chat_detect(tg_model *model)
{
    tg_str source;
    tg_error err = {""};
    model->chat = TG_CHAT_NONE;
    if (tg_gguf_str(model->gguf, "tokenizer.chat_template", NULL, &source) < 0 || source.len == 0)
        return 0;
    int rc = tg_template_compile(source, &err, &model->template);
    if (rc == -ENOMEM)
        return rc;
    model->chat = rc < 0 ? TG_CHAT_UNSUPPORTED : TG_CHAT_TEMPLATE;
    tg_str_copy(model->template_problem, sizeof(model->template_problem), tg_str_of(err.text));
    note_format(model, source);
    return 0;
}

static int override_template(tg_model *model, tg_str source, tg_error *err)
{
    tg_template *compiled = NULL;
    int rc = tg_template_compile(source, err, &compiled);
    if (rc < 0)
        return rc;
    tg_template_free(model->template);
    model->template = compiled;
    model->chat = TG_CHAT_TEMPLATE;
    note_format(model, source);
    return 0;
}

static int read_template(const char *path, tg_error *err, tg_buf *ret)
{
    char chunk[4096];
    FILE *file = fopen(path, "rb");
    int rc = file ? 0 : tg_error_set(err, -errno, "it cannot be opened: %s", strerror(errno));
    for (size_t n; rc == 0 && (n = fread(chunk, 1, sizeof(chunk), file)) > 0;)
        rc = tg_buf_add(ret, chunk, n);
    if (rc == -ENOSPC)
        tg_error_set(err, rc, "it is longer than %zu bytes", TG_TEMPLATE_SOURCE_MAX);
    if (rc == 0 && ferror(file))
        rc = tg_error_set(err, -EIO, "it cannot be read");
    if (file)
        fclose(file);
    return rc;
}

static int override_from(tg_model *model, const char *path, tg_error *err)
{
    tg_buf source;
    tg_buf_init(&source, TG_TEMPLATE_SOURCE_MAX);
    int rc = read_template(path, err, &source);
    if (rc == 0)
        rc = override_template(model, tg_buf_str(&source), err);
    if (rc < 0)
        tg_error_prefix(err, "chat template '%s'", path);
    tg_buf_free(&source);
    return rc;
}

int tg_chat_configure(tg_model *model, const char *template_file, const char *tool_format,
                      tg_error *err)
{
    int rc = template_file && *template_file ? override_from(model, template_file, err) : 0;
    if (rc < 0 || !tool_format || !*tool_format)
        return rc;
    rc = tg_tool_format_parse(tg_str_of(tool_format), err, &model->answer.tools);
    if (rc == 0)
        find_marks(model);
    return rc;
}

static bool known_role(tg_str role)
{
    return tg_str_is(role, "system") || tg_str_is(role, "user") || tg_str_is(role, "assistant") ||
           tg_str_is(role, "tool");
}

/* A file without a template: contents, a line end between. */
static size_t plain(const tg_prompt_message *messages, size_t messages_len, tg_token_span *spans)
{
    size_t len = 0;
    for (size_t i = 0; i < messages_len; i++) {
        if (i > 0)
            spans[len++] = (tg_token_span){TG_STR("\n"), true};
        spans[len++] = (tg_token_span){messages[i].content, false};
    }
    return len;
}

/* A span for each run of bytes of one origin. Returns how many; without `spans` it only counts. */
static size_t spans_of(const tg_template_text *text, tg_token_span *spans)
{
    size_t len = 0;
    for (size_t at = 0, end; at < text->len; at = end, len++) {
        for (end = at + 1; end < text->len && text->trusted[end] == text->trusted[at];)
            end++;
        if (spans)
            spans[len] = (tg_token_span){{text->bytes + at, end - at}, text->trusted[at] != 0};
    }
    return len;
}

/* Where `wanted` ends in a run of bytes of one origin, at the run's end rather than within it; or
 * NULL. */
static const char *end_in(const char *run, size_t len, tg_str wanted)
{
    if (len < wanted.len)
        return NULL;
    if (memcmp(run + len - wanted.len, wanted.data, wanted.len) == 0)
        return run + len;
    const char *found = memmem(run, len, wanted.data, wanted.len);
    return found ? found + wanted.len : NULL;
}

/* Cuts the text where the last message's content, as the template left it, ends: in the last run of
 * data that holds it. */
static int cut_behind(tg_template_text *text, tg_str content, tg_error *err)
{
    const tg_str wanted[] = {content, tg_str_trim(content)};
    for (size_t end = text->len, at; end > 0; end = at) {
        for (at = end - 1; at > 0 && text->trusted[at - 1] == text->trusted[end - 1];)
            at--;
        for (size_t k = 0; k < 2 && !text->trusted[at] && wanted[k].len > 0; k++) {
            const char *found = end_in(text->bytes + at, end - at, wanted[k]);
            if (found) {
                text->len = (size_t)(found - text->bytes);
                return 0;
            }
        }
    }
    return tg_error_set(err, -EINVAL,
                        "the last message is to be continued, but it is empty or the chat template "
                        "does not show it");
}

/* Behind the text, as the template's own. */
static int append(tg_template_text *text, const char *more)
{
    const size_t len = strlen(more);
    char *bytes = realloc(text->bytes, text->len + len + 1);
    text->bytes = bytes ? bytes : text->bytes;
    uint8_t *trusted = realloc(text->trusted, text->len + len + 1);
    text->trusted = trusted ? trusted : text->trusted;
    if (!bytes || !trusted)
        return -ENOMEM;
    memcpy(bytes + text->len, more, len);
    memset(trusted + text->len, 1, len);
    text->len += len;
    return 0;
}

static const char *last_of(tg_str text, tg_str part)
{
    const char *found = NULL;
    for (const char *at = text.data; part.len > 0; at = found + 1) {
        at = memmem(at, text.len - (size_t)(at - text.data), part.data, part.len);
        if (!at)
            break;
        found = at;
    }
    return found;
}

/* Whether the prompt ends within thinking: the template's last word opens it, or the answer that
 * goes on did. */
static bool is_thinking(const tg_model *model, const tg_prompt *prompt,
                        const tg_template_text *text)
{
    const tg_str open = tg_reasoning_open(model->answer.reasoning);
    if (open.len == 0)
        return false;
    if (prompt->goes_on) {
        const tg_str close = tg_reasoning_close(model->answer.reasoning);
        const tg_str content = prompt->messages[prompt->messages_len - 1].content;
        const char *opened = last_of(content, open), *closed = last_of(content, close);
        return opened && (!closed || closed < opened);
    }
    const tg_str end = tg_str_trim((tg_str){text->bytes, text->len});
    const size_t at = (size_t)(end.data - text->bytes) + end.len;
    return end.len >= open.len && memcmp(end.data + end.len - open.len, open.data, open.len) == 0 &&
           text->trusted[at - 1];
}

/* The mark that opens a call, behind the end of what the template has begun to think. */
static int open_call(const tg_model *model, bool thinking, tg_template_text *text)
{
    int rc = 0;
    if (thinking) {
        rc = append(text, "\n");
        rc = rc < 0 ? rc : append(text, tg_reasoning_close(model->answer.reasoning).data);
        rc = rc < 0 ? rc : append(text, "\n\n");
    }
    /* a call is the whole answer there, without a mark */
    if (rc < 0 || model->answer.tools == TG_TOOLS_LLAMA3)
        return rc;
    rc = append(text, tg_tools_open(model->answer.tools).data);
    return rc < 0 || model->answer.tools != TG_TOOLS_HERMES ? rc : append(text, "\n");
}

static int render(const tg_model *model, const tg_prompt *prompt, tg_error *err,
                  tg_template_text *ret)
{
    tg_template_message *list = calloc(prompt->messages_len, sizeof(*list));
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < prompt->messages_len; i++) {
        const tg_prompt_message *m = &prompt->messages[i];
        list[i] = (tg_template_message){m->role,         m->content,    m->name,
                                        m->tool_call_id, m->tool_calls, m->reasoning};
    }
    const tg_template_input in = {
        .messages = list,
        .messages_len = prompt->messages_len,
        .tools = prompt->tools,
        .variables = prompt->args,
        .bos_token = piece_of(model->tokenizer, tg_tokenizer_bos(model->tokenizer)),
        .eos_token = piece_of(model->tokenizer, tg_tokenizer_eos(model->tokenizer)),
        .add_generation_prompt = !prompt->goes_on,
        .now_s = (int64_t)(tg_clock_wall_ns() / 1000000000u)};
    int rc = tg_template_render(model->template, &in, err, ret);
    free(list);
    return rc == -E2BIG
               ? tg_error_set(err, -EMSGSIZE, "the chat template writes more than is allowed")
               : rc;
}

static int encode_text(const tg_model *model, const tg_template_text *text, tg_token_list *tokens)
{
    const size_t len = spans_of(text, NULL);
    tg_token_span *spans = calloc(len + 1, sizeof(*spans));
    if (!spans)
        return -ENOMEM;
    spans_of(text, spans);
    int rc = tg_tokenizer_encode(model->tokenizer, spans, len, true, tokens);
    free(spans);
    return rc;
}

static int encode_template(const tg_model *model, const tg_prompt *prompt, tg_error *err,
                           tg_token_list *tokens, bool *ret_thinking)
{
    tg_template_text text = {0};
    int rc = render(model, prompt, err, &text);
    if (rc < 0)
        return rc;
    if (prompt->goes_on)
        rc = cut_behind(&text, prompt->messages[prompt->messages_len - 1].content, err);
    const bool thinking = rc == 0 && is_thinking(model, prompt, &text);
    if (rc == 0 && prompt->calls)
        rc = open_call(model, thinking, &text);
    if (rc == 0)
        rc = encode_text(model, &text, tokens);
    if (rc == 0)
        *ret_thinking = thinking && !prompt->calls;
    tg_template_text_free(&text);
    return rc;
}

static int encode_plain(const tg_model *model, const tg_prompt_message *messages,
                        size_t messages_len, tg_token_list *tokens)
{
    tg_token_span *spans = calloc(2 * messages_len, sizeof(*spans));
    if (!spans)
        return -ENOMEM;
    int rc = tg_tokenizer_encode(model->tokenizer, spans, plain(messages, messages_len, spans),
                                 true, tokens);
    free(spans);
    return rc;
}

/* Nothing that was given may be passed over in silence. */
static int check_fields(const tg_model *model, const tg_prompt *prompt, tg_error *err)
{
    if (prompt->tools.len > 0 && !model->answer.takes_tools)
        return tg_error_set(err, -EINVAL, "the model's chat template has no place for tools");
    if (prompt->calls && model->answer.tools == TG_TOOLS_NONE)
        return tg_error_set(err, -EINVAL, "how this model writes calls of tools is not known");
    if (prompt->args.len > 0 && model->chat != TG_CHAT_TEMPLATE)
        return tg_error_set(err, -EINVAL, "the model has no chat template that could take values");
    for (size_t i = 0; i < prompt->messages_len && model->chat != TG_CHAT_TEMPLATE; i++) {
        const tg_prompt_message *m = &prompt->messages[i];
        if (m->tool_calls.len > 0 || tg_str_is(m->role, "tool"))
            return tg_error_set(
                err, -EINVAL,
                "message %zu is about calls of tools; the model has no chat template for them", i);
    }
    return 0;
}

int tg_chat_encode(const tg_model *model, const tg_prompt *prompt, tg_error *err,
                   tg_token_list *tokens, bool *ret_thinking)
{
    const size_t len = prompt->messages_len;
    *ret_thinking = false;
    if (model->chat == TG_CHAT_UNSUPPORTED)
        return tg_error_set(
            err, -ENOTSUP,
            "the model's chat template is not supported (%s); chat_template_file "
            "(--chat-template) can name another, and raw text can be sent instead of messages",
            model->template_problem);
    if (len == 0 || len > TG_PROMPT_MESSAGES_MAX)
        return tg_error_set(err, -EINVAL, "%zu messages; 1 to %d are allowed", len,
                            TG_PROMPT_MESSAGES_MAX);
    for (size_t i = 0; i < len; i++) {
        const tg_str role = prompt->messages[i].role;
        if (!known_role(role))
            return tg_error_set(
                err, -EINVAL,
                "message %zu has the role '%.*s'; system, user, assistant and tool are allowed", i,
                (int)(role.len < 32 ? role.len : 32), role.data);
    }
    if (prompt->goes_on && !tg_str_is(prompt->messages[len - 1].role, "assistant"))
        return tg_error_set(err, -EINVAL,
                            "the last message is to be continued, but it is not the assistant's");
    if (prompt->goes_on && prompt->calls)
        return tg_error_set(err, -EINVAL,
                            "an answer that has begun cannot be made a call of a tool");
    int rc = check_fields(model, prompt, err);
    if (rc < 0)
        return rc;
    return model->chat == TG_CHAT_TEMPLATE
               ? encode_template(model, prompt, err, tokens, ret_thinking)
               : encode_plain(model, prompt->messages, len, tokens);
}
