#include "cli/generate.h"

#include "cli/load_bar.h"
#include "cli/read_file.h"
#include "services/inference/answer/offer.h"
#include "services/inference/backend/backend.h"
#include "services/inference/engine/engine.h"

#include <errno.h>
#include <getopt.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static const char usage_text[] =
    "usage: tollgate generate --model FILE --prompt TEXT [options]\n"
    "  --chat             the prompt is a user's message: apply the model's chat template\n"
    "  --system TEXT      with --chat: the system message\n"
    "  --answer TEXT      with --chat: the beginning of the answer, which goes on from there\n"
    "  --tools FILE       with --chat: the tools in FILE, a JSON array as OpenAI writes it; calls "
    "come as lines of JSON,\n"
    "                     and what the model thinks before its answer goes to stderr\n"
    "  --tool-choice C    with --tools: auto (default), none, required, or a tool's name\n"
    "  --one-tool-call    with --tools: the answer ends behind its first call\n"
    "  --chat-template F  with --chat: the template in file F instead of the model's own\n"
    "  --echo             print the prompt before its continuation\n"
    "  --max-tokens N     stop after N tokens (default 256)\n"
    "  --temperature T    0 is greedy (default 0)\n"
    "  --top-p P, --top-k K, --min-p P\n"
    "  --repetition-penalty R, --presence-penalty P, --frequency-penalty F\n"
    "  --logit-bias ID:B  add B to a token's logit; may be given up to 16 times\n"
    "  --min-tokens N     no end before N tokens\n"
    "  --seed S           for a temperature above 0 (default: drawn, and printed)\n"
    "  --stop TEXT        stop before TEXT; may be given up to 16 times\n"
    "  --json             the answer is a JSON object\n"
    "  --json-schema FILE the answer is JSON that the JSON schema in FILE describes\n"
    "  --regex R          the answer matches R as a whole\n"
    "  --choice TEXT      the answer is this text, or one of several; may be given up to 16 times\n"
    "  --logprobs N       after the answer, a line for each token: its log-probability and the N "
    "likeliest\n"
    "  --no-speculation   never guess tokens (the output is the same)\n"
    "  --threads N        default: one per processor\n"
    "  --kv-type T        what keys and values are rounded to: f16 (default) or q8\n";

enum { BIAS_MAX = 16, CHOICES_MAX = 16, SCHEMA_BYTES_MAX = 1 << 20, TOOLS_BYTES_MAX = 1 << 20 };

typedef struct options {
    const char *model, *prompt, *system, *answer, *chat_template, *tool_choice;
    bool chat, one_tool_call, echo, has_seed, logprobs, no_speculation;
    uint32_t top_logprobs;
    uint32_t max_tokens, threads;
    tg_kv_type kv_type;
    tg_sampling sampling;
    tg_str stop[TG_STOP_STRINGS_MAX];
    size_t stop_len;
    tg_adjustments adjustments;
    tg_logit_bias bias[BIAS_MAX];
    tg_constraint_spec constraint;
    tg_str texts[CHOICES_MAX];
    tg_buf schema;
    tg_buf tools; /* empty: none are offered */
} options;

static int parse_number(const char *name, const char *text, double least, double most, double *ret)
{
    char *end;
    errno = 0;
    *ret = strtod(text, &end);
    if (errno == 0 && *text != '\0' && *end == '\0' && *ret >= least && *ret <= most)
        return 0;
    fprintf(stderr, "tollgate generate: --%s is '%s'; a number from %g to %g is allowed\n", name,
            text, least, most);
    return -EINVAL;
}

static int parse_seed(const char *text, options *o)
{
    char *end;
    errno = 0;
    o->sampling.seed = strtoull(text, &end, 0);
    o->has_seed = true;
    if (errno == 0 && *text >= '0' && *text <= '9' && *end == '\0')
        return 0;
    fprintf(stderr, "tollgate generate: --seed is '%s'; 0 to 2^64 − 1 is allowed\n", text);
    return -EINVAL;
}

static int parse_kv_type(const char *text, options *o)
{
    o->kv_type = strcmp(text, "q8") == 0 ? TG_KV_Q8 : TG_KV_F16;
    if (o->kv_type == TG_KV_Q8 || strcmp(text, "f16") == 0)
        return 0;
    fprintf(stderr, "tollgate generate: --kv-type is '%s'; f16 and q8 are allowed\n", text);
    return -EINVAL;
}

static int parse_bias(const char *text, options *o)
{
    char *end;
    errno = 0;
    const unsigned long id = strtoul(text, &end, 10);
    const bool both = *end == ':' && end[1] != '\0';
    const float bias = both ? strtof(end + 1, &end) : 0;
    if (!both || errno != 0 || *text < '0' || *text > '9' || *end != '\0' || id > UINT32_MAX ||
        o->adjustments.bias_len == BIAS_MAX) {
        fprintf(stderr,
                "tollgate generate: --logit-bias is '%s'; up to %d times ID:BIAS is allowed\n",
                text, BIAS_MAX);
        return -EINVAL;
    }
    o->bias[o->adjustments.bias_len++] = (tg_logit_bias){(uint32_t)id, bias};
    o->adjustments.bias = o->bias;
    return 0;
}

static int add_constraint(options *o, tg_constraint_kind kind)
{
    const bool again = kind == TG_CONSTRAINT_CHOICE && o->constraint.kind == kind &&
                       o->constraint.texts_len < CHOICES_MAX;
    if (o->constraint.kind != TG_CONSTRAINT_NONE && !again) {
        fputs("tollgate generate: one of --json, --json-schema, --regex and up to 16 times "
              "--choice is allowed\n",
              stderr);
        return -EINVAL;
    }
    o->constraint.kind = kind;
    o->constraint.texts = o->texts;
    if (kind != TG_CONSTRAINT_JSON_OBJECT)
        o->texts[o->constraint.texts_len++] = tg_str_of(optarg);
    return 0;
}

static int add_schema(options *o)
{
    tg_error err = {""};
    if (add_constraint(o, TG_CONSTRAINT_JSON_SCHEMA) < 0)
        return -EINVAL;
    const int rc = tg_cli_read_file(optarg, &o->schema, &err);
    if (rc < 0)
        fprintf(stderr, "tollgate generate: %s\n", err.text);
    o->texts[0] = tg_buf_str(&o->schema);
    return rc;
}

static int add_tools(options *o)
{
    tg_error err = {""};
    int rc = 0;
    tg_buf_clear(&o->tools);
    rc = tg_cli_read_file(optarg, &o->tools, &err);
    if (rc == 0 && o->tools.len == 0)
        rc = tg_error_set(&err, -EINVAL, "%s: empty; --tools takes a JSON array of tools", optarg);
    if (rc < 0)
        fprintf(stderr, "tollgate generate: %s\n", err.text);
    return rc;
}

static int parse_option(int which, const char *name, options *o)
{
    double number = 0;
    int rc = 0;
    switch (which) {
    case 'm': o->model = optarg; return 0;
    case 'p': o->prompt = optarg; return 0;
    case 'y': o->system = optarg; return 0;
    case 'A': o->answer = optarg; return 0;
    case 'T': o->chat_template = optarg; return 0;
    case 'c': o->chat = true; return 0;
    case 'U': return add_tools(o);
    case 'H': o->tool_choice = optarg; return 0;
    case '1': o->one_tool_call = true; return 0;
    case 'e': o->echo = true; return 0;
    case 's': return parse_seed(optarg, o);
    case 'S':
        if (o->stop_len == TG_STOP_STRINGS_MAX)
            return -EINVAL;
        o->stop[o->stop_len++] = tg_str_of(optarg);
        return 0;
    case 'n':
        rc = parse_number(name, optarg, 0, 1e6, &number);
        o->max_tokens = (uint32_t)number;
        return rc;
    case 'j':
        rc = parse_number(name, optarg, 0, TG_THREADS_MAX, &number);
        o->threads = (uint32_t)number;
        return rc;
    case 'k':
        rc = parse_number(name, optarg, 0, 1e6, &number);
        o->sampling.top_k = (uint32_t)number;
        return rc;
    case 't':
        rc = parse_number(name, optarg, 0, 100, &number);
        o->sampling.temperature = (float)number;
        return rc;
    case 'P':
        rc = parse_number(name, optarg, 0, 1, &number);
        o->sampling.top_p = (float)number;
        return rc;
    case 'B': return parse_bias(optarg, o);
    case 'K': return parse_kv_type(optarg, o);
    case 'R':
        rc = parse_number(name, optarg, 0, 2, &number);
        o->adjustments.repetition_penalty = (float)number;
        return rc;
    case 'Q':
        rc = parse_number(name, optarg, -2, 2, &number);
        o->adjustments.presence_penalty = (float)number;
        return rc;
    case 'F':
        rc = parse_number(name, optarg, -2, 2, &number);
        o->adjustments.frequency_penalty = (float)number;
        return rc;
    case 'N':
        rc = parse_number(name, optarg, 0, 1e6, &number);
        o->adjustments.min_tokens = (uint32_t)number;
        return rc;
    case 'L':
        rc = parse_number(name, optarg, 0, TG_LOGPROBS_TOP_MAX, &number);
        o->logprobs = true;
        o->top_logprobs = (uint32_t)number;
        return rc;
    case 'O': return add_constraint(o, TG_CONSTRAINT_JSON_OBJECT);
    case 'J': return add_schema(o);
    case 'X': return add_constraint(o, TG_CONSTRAINT_REGEX);
    case 'C': return add_constraint(o, TG_CONSTRAINT_CHOICE);
    case 'G': o->no_speculation = true; return 0;
    case 'M':
        rc = parse_number(name, optarg, 0, 1, &number);
        o->sampling.min_p = (float)number;
        return rc;
    default: return -EINVAL;
    }
}

static int parse(int argc, char **argv, options *o)
{
    static const struct option known[] = {{"model", required_argument, NULL, 'm'},
                                          {"prompt", required_argument, NULL, 'p'},
                                          {"system", required_argument, NULL, 'y'},
                                          {"chat", no_argument, NULL, 'c'},
                                          {"answer", required_argument, NULL, 'A'},
                                          {"chat-template", required_argument, NULL, 'T'},
                                          {"echo", no_argument, NULL, 'e'},
                                          {"max-tokens", required_argument, NULL, 'n'},
                                          {"temperature", required_argument, NULL, 't'},
                                          {"top-p", required_argument, NULL, 'P'},
                                          {"top-k", required_argument, NULL, 'k'},
                                          {"min-p", required_argument, NULL, 'M'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"stop", required_argument, NULL, 'S'},
                                          {"repetition-penalty", required_argument, NULL, 'R'},
                                          {"presence-penalty", required_argument, NULL, 'Q'},
                                          {"frequency-penalty", required_argument, NULL, 'F'},
                                          {"logit-bias", required_argument, NULL, 'B'},
                                          {"min-tokens", required_argument, NULL, 'N'},
                                          {"threads", required_argument, NULL, 'j'},
                                          {"logprobs", required_argument, NULL, 'L'},
                                          {"no-speculation", no_argument, NULL, 'G'},
                                          {"json", no_argument, NULL, 'O'},
                                          {"regex", required_argument, NULL, 'X'},
                                          {"choice", required_argument, NULL, 'C'},
                                          {"json-schema", required_argument, NULL, 'J'},
                                          {"kv-type", required_argument, NULL, 'K'},
                                          {"tools", required_argument, NULL, 'U'},
                                          {"tool-choice", required_argument, NULL, 'H'},
                                          {"one-tool-call", no_argument, NULL, '1'},
                                          {NULL, 0, NULL, 0}};
    int which, index = 0;
    optind = 1;
    while ((which = getopt_long(argc, argv, "", known, &index)) != -1)
        if (which == '?' || parse_option(which, known[index].name, o) < 0)
            return -EINVAL;
    if ((o->tools.len > 0 && !o->chat) ||
        ((o->tool_choice || o->one_tool_call) && o->tools.len == 0)) {
        const char *more = !o->chat         ? "tools"
                           : o->tool_choice ? "tool-choice"
                                            : "one-tool-call",
                   *with = o->chat ? "tools" : "chat";
        fprintf(stderr, "tollgate generate: --%s goes with --%s only\n", more, with);
        return -EINVAL;
    }
    return o->model && o->prompt && optind == argc ? 0 : -EINVAL;
}

typedef struct progress {
    sem_t ready;
    tg_finish finish;
    tg_gen_usage usage;
    const tg_tokenizer *tokenizer;
    tg_buf logprobs; /* lines */
    tg_answer *answer; /* NULL: it is shown as it is */
    bool line;         /* something stands on this line of the output */
    bool call;         /* a call's line has begun and not ended */
    tg_arena arena;    /* of what `answer` points to */
    int rc;
} progress;

static void on_ready(void *user) { sem_post(&((progress *)user)->ready); }

static void add_logprobs(progress *p, const tg_engine_event *event)
{
    for (uint32_t i = 0; i < event->logprobs_len; i++) {
        const tg_str piece = tg_tokenizer_piece(p->tokenizer, event->logprobs[i].id);
        tg_buf_printf(&p->logprobs, "%s%u '%.*s' %.4f",
                      i == 0   ? ""
                      : i == 1 ? "   "
                               : ", ",
                      event->logprobs[i].id, (int)piece.len, piece.data,
                      (double)event->logprobs[i].logprob);
    }
    if (event->logprobs_len > 0)
        tg_buf_add(&p->logprobs, "\n", 1);
}

static void end_call(progress *p)
{
    if (p->call)
        putchar('}');
    p->call = false;
}

static void put_quoted(tg_str text)
{
    putchar('"');
    for (size_t i = 0; i < text.len; i++) {
        const unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\')
            putchar('\\');
        if (c < ' ')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

/* Arguments come in the model's own bytes. */
static void on_piece(void *user, const tg_answer_piece *piece)
{
    progress *p = user;
    FILE *to = piece->kind == TG_ANSWER_REASONING ? stderr : stdout;
    if (piece->kind == TG_ANSWER_CALL || piece->kind == TG_ANSWER_TEXT) {
        if (p->call || (piece->kind == TG_ANSWER_CALL && p->line)) {
            end_call(p);
            putchar('\n');
        }
        p->line = true;
    }
    if (piece->kind == TG_ANSWER_CALL) {
        p->call = true;
        fputs("{\"name\": ", stdout);
        put_quoted(piece->text);
        fputs(", \"arguments\": ", stdout);
    } else {
        fwrite(piece->text.data, 1, piece->text.len, to);
    }
}

static void show(progress *p, const tg_engine_event *event)
{
    if (!p->answer) {
        if (event->text.len > 0)
            fwrite(event->text.data, 1, event->text.len, stdout);
        return;
    }
    int rc = tg_answer_push(p->answer, event->text, on_piece, p);
    if (rc == 0 && event->finish != TG_FINISH_NONE)
        rc = tg_answer_end(p->answer, on_piece, p);
    if (event->finish != TG_FINISH_NONE)
        end_call(p);
    p->rc = p->rc < 0 ? p->rc : rc;
}

static void on_event(void *user, const tg_engine_event *event)
{
    progress *p = user;
    add_logprobs(p, event);
    show(p, event);
    fflush(stdout);
    if (event->finish != TG_FINISH_NONE) {
        p->finish = event->finish;
        p->usage = event->usage;
    }
}

static double per_second(uint32_t tokens, uint64_t ns)
{
    return ns ? (double)tokens * 1e9 / (double)ns : 0;
}

static int offer_tools(tg_engine *engine, const options *o, tg_arena *arena,
                       tg_gen_request *request, tg_answer_conf *ret, tg_error *err)
{
    const tg_model *model = tg_engine_model(engine);
    const tg_str json = tg_buf_str(&o->tools);
    tg_tools tools;
    int rc = tg_tools_read(json, tg_str_of(o->tool_choice), arena, err, &tools);
    ret->reasoning = model->answer.reasoning;
    request->marks = true;
    return rc < 0 ? rc : tg_tools_offer(model, &tools, json, arena, request, ret, err);
}

static void tell_loose(const tg_constraint *calls, size_t tools)
{
    const char *why;
    const uint32_t loose = tg_constraint_loose(calls, &why);
    if (loose > 0)
        fprintf(
            stderr,
            "tollgate generate: calls of %u of %zu tools may have any object for arguments: %s\n",
            loose, tools, why);
}

/* Submits the request, and makes the reader of its answer where it offers tools. */
static int submit(tg_engine *engine, const options *o, tg_gen_request *request, progress *p,
                  tg_error *err)
{
    tg_answer_conf conf = {.one_call = o->one_tool_call};
    tg_gen_ticket ticket;
    int rc = o->tools.len > 0 ? offer_tools(engine, o, &p->arena, request, &conf, err) : 0;
    if (rc == 0 && request->constrains_calls)
        rc = tg_engine_compile(engine, &request->constraint, err, &request->compiled);
    if (rc == 0)
        rc = tg_engine_submit(engine, request, err, &ticket);
    if (rc == 0 && request->compiled)
        tell_loose(request->compiled, conf.names_len);
    request->compiled = tg_constraint_release(request->compiled);
    if (rc == 0 && o->tools.len > 0) {
        conf.thinking = ticket.thinking;
        rc = tg_answer_new(&conf, &p->answer);
    }
    return rc;
}

static int generate(tg_engine *engine, const options *o, progress *p, tg_error *err)
{
    const tg_prompt_message messages[3] = {
        {.role = TG_STR("system"), .content = tg_str_of(o->system)},
        {.role = TG_STR("user"), .content = tg_str_of(o->prompt)},
        {.role = TG_STR("assistant"), .content = tg_str_of(o->answer)}};
    const tg_str text = tg_str_of(o->prompt);
    tg_gen_request request = {.sampling = o->sampling,
                              .adjustments = o->adjustments,
                              .max_tokens = o->max_tokens,
                              .stop = o->stop,
                              .stop_len = o->stop_len,
                              .constraint = o->constraint,
                              .logprobs = o->logprobs,
                              .top_logprobs = o->top_logprobs};
    if (o->chat) {
        request.messages = o->system ? messages : messages + 1;
        request.messages_len = (o->system ? 2u : 1u) + (o->answer ? 1u : 0u);
        request.continue_final = o->answer != NULL;
    } else {
        request.text = &text;
    }
    int rc = submit(engine, o, &request, p, err);
    if (rc < 0)
        return rc;
    if (o->echo)
        fputs(o->prompt, stdout);
    while (p->finish == TG_FINISH_NONE) {
        while (sem_wait(&p->ready) < 0 && errno == EINTR)
            ;
        tg_engine_drain(engine, on_event, p);
    }
    putchar('\n');
    if (p->logprobs.len > 0)
        fwrite(p->logprobs.data, 1, p->logprobs.len, stdout);
    if (p->rc < 0)
        return p->rc;
    if (p->finish == TG_FINISH_ERROR)
        return tg_error_set(err, -EDOM,
                            "the generation failed: the model's logits are not numbers%s",
                            o->constraint.kind == TG_CONSTRAINT_NONE
                                ? ""
                                : ", or it has no token that goes on in the form asked for");
    return 0;
}

static void print_figures(tg_engine *engine, const options *o, const tg_gen_usage *usage)
{
    tg_engine_status status;
    tg_engine_get_status(engine, &status);
    fprintf(stderr, "%s %s, %s, %u threads: %u prompt tokens at %.0f/s, %u output tokens at %.1f/s",
            status.model, status.quantisation, status.path, status.threads, usage->prompt_tokens,
            per_second(usage->prompt_tokens, usage->prefill_ns), usage->output_tokens,
            per_second(usage->output_tokens - (usage->output_tokens > 0), usage->decode_ns));
    if (usage->guessed_tokens > 0)
        fprintf(stderr, ", %u of %u guesses right", usage->right_tokens, usage->guessed_tokens);
    if (o->sampling.temperature > 0)
        fprintf(stderr, ", seed %llu", (unsigned long long)o->sampling.seed);
    fputc('\n', stderr);
}

int tg_cli_generate(int argc, char **argv)
{
    options o = {.max_tokens = 256};
    progress p = {.finish = TG_FINISH_NONE};
    tg_engine *engine = NULL;
    tg_load_bar bar = {0};
    tg_error err = {""};
    tg_buf_init(&o.schema, SCHEMA_BYTES_MAX);
    tg_buf_init(&o.tools, TOOLS_BYTES_MAX);
    tg_arena_init(&p.arena, 0);
    if (parse(argc, argv, &o) < 0) {
        fputs(usage_text, stderr);
        tg_buf_free(&o.schema);
        tg_buf_free(&o.tools);
        return 2;
    }
    if (!o.has_seed && getrandom(&o.sampling.seed, sizeof(o.sampling.seed), 0) < 0)
        o.sampling.seed = 0;
    sem_init(&p.ready, 0, 0);
    tg_buf_init(&p.logprobs, 0);
    const tg_engine_conf conf = {.model_path = o.model,
                                 .chat_template_file = o.chat_template,
                                 .threads = o.threads,
                                 .max_seqs = 1,
                                 .max_queue = 1,
                                 .kv_type = o.kv_type,
                                 .no_speculation = o.no_speculation,
                                 .notify = on_ready,
                                 .notify_user = &p,
                                 .progress = tg_load_bar_progress,
                                 .progress_user = &bar};
    int rc = tg_engine_new(&conf, &err, &engine);
    if (rc == 0) {
        p.tokenizer = tg_engine_model(engine)->tokenizer;
        rc = generate(engine, &o, &p, &err);
    }
    if (rc == 0)
        print_figures(engine, &o, &p.usage);
    else
        fprintf(stderr, "tollgate generate: %s\n", err.text[0] ? err.text : "out of memory");
    tg_engine_free(engine);
    sem_destroy(&p.ready);
    tg_buf_free(&p.logprobs);
    tg_buf_free(&o.schema);
    tg_buf_free(&o.tools);
    tg_answer_free(p.answer);
    tg_arena_free(&p.arena);
    return rc == 0 ? 0 : 1;
}
