/* The stand-ins: one process that plays the OpenAI, Anthropic and Bedrock APIs on one port, by
 * path, deterministic by seed, with faults on demand and a log of its own. See usage() below;
 * faults and the admin port are described in fault.h and admin.h, the log in log.h, counting in
 * answer.h.
 */
#include "tests/providers/admin.h"
#include "tests/providers/keys.h"
#include "tests/providers/log.h"
#include "tests/providers/models.h"
#include "tests/providers/serve.h"
#include "tests/providers/told.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *bind, *cert, *key, *log, *aws_access, *aws_secret;
    int http, https, admin; /* ports; -1: not asked for; 0: any */
    uint64_t seed;
    bool reuseport, quiet;
};

struct program {
    struct net net;
    uv_signal_t terminate, interrupt;
};

static int usage(void)
{
    fputs("usage: providers --http PORT --admin PORT (--log FILE | --quiet) [--seed N]\n"
          "                 [--https PORT --cert FILE --key FILE] [--bind ADDRESS] [--reuseport]\n"
          "                 [--keys FILE] [--openai-key K] [--anthropic-key K]\n"
          "                 [--aws-access-key A --aws-secret-key S]\n"
          "                 [--models NAME,NAME] [--tokens N] [--write token|all]\n"
          "\n"
          "  port 0 takes any; the ports are printed as `listening http=N https=N admin=N`\n"
          "  --keys FILE    lines `openai KEY`, `anthropic KEY`, `aws ACCESS SECRET`; a dialect\n"
          "                 without a key accepts every key\n"
          "  --quiet        (or --bench) no log\n"
          "  --models       others are unknown; without it every name is answered\n"
          "  --tokens N     the length of every answer\n"
          "  --write all    a stream's events in one write; token, the default: one write each\n",
          stderr);
    return 2;
}

static int parse_port(const char *text, int *ret)
{
    char *end;
    long port = strtol(text, &end, 10);
    if (*end || end == text || port < 0 || port > 65535) {
        fprintf(stderr, "providers: '%s' is no port\n", text);
        return -1;
    }
    *ret = (int)port;
    return 0;
}

enum {
    HTTP = 1,
    HTTPS,
    ADMIN,
    CERT,
    KEY,
    LOG,
    SEED,
    BIND,
    REUSEPORT,
    QUIET,
    KEYS,
    OPENAI_KEY,
    ANTHROPIC_KEY,
    AWS_ACCESS,
    AWS_SECRET,
    MODELS,
    TOKENS,
    WRITE
};

static int take(struct options *o, int which, const char *value)
{
    switch (which) {
    case HTTP:
        return parse_port(value, &o->http);
    case HTTPS:
        return parse_port(value, &o->https);
    case ADMIN:
        return parse_port(value, &o->admin);
    case CERT:
        o->cert = value;
        return 0;
    case KEY:
        o->key = value;
        return 0;
    case LOG:
        o->log = value;
        return 0;
    case SEED:
        o->seed = strtoull(value, NULL, 0);
        return 0;
    case BIND:
        o->bind = value;
        return 0;
    case REUSEPORT:
        o->reuseport = true;
        return 0;
    case QUIET:
        o->quiet = true;
        return 0;
    case KEYS:
        return keys_read(value);
    case OPENAI_KEY:
        return keys_add(OPENAI, value, "");
    case ANTHROPIC_KEY:
        return keys_add(ANTHROPIC, value, "");
    case AWS_ACCESS:
        o->aws_access = value;
        return 0;
    case AWS_SECRET:
        o->aws_secret = value;
        return 0;
    case MODELS:
        return models_set(value);
    case TOKENS:
        told_conf.tokens = atoll(value);
        return told_conf.tokens >= 0 ? 0 : -1;
    case WRITE:
        told_conf.write_all = strcmp(value, "all") == 0;
        return told_conf.write_all || strcmp(value, "token") == 0 ? 0 : -1;
    default:
        return -1;
    }
}

static int parse(int argc, char **argv, struct options *ret)
{
    static const struct option known[] = {{"http", 1, NULL, HTTP},
                                          {"https", 1, NULL, HTTPS},
                                          {"admin", 1, NULL, ADMIN},
                                          {"cert", 1, NULL, CERT},
                                          {"key", 1, NULL, KEY},
                                          {"log", 1, NULL, LOG},
                                          {"seed", 1, NULL, SEED},
                                          {"bind", 1, NULL, BIND},
                                          {"reuseport", 0, NULL, REUSEPORT},
                                          {"quiet", 0, NULL, QUIET},
                                          {"bench", 0, NULL, QUIET},
                                          {"keys", 1, NULL, KEYS},
                                          {"openai-key", 1, NULL, OPENAI_KEY},
                                          {"anthropic-key", 1, NULL, ANTHROPIC_KEY},
                                          {"aws-access-key", 1, NULL, AWS_ACCESS},
                                          {"aws-secret-key", 1, NULL, AWS_SECRET},
                                          {"models", 1, NULL, MODELS},
                                          {"tokens", 1, NULL, TOKENS},
                                          {"write", 1, NULL, WRITE},
                                          {NULL, 0, NULL, 0}};
    *ret = (struct options){.bind = "127.0.0.1", .http = -1, .https = -1, .admin = -1};
    for (int which; (which = getopt_long(argc, argv, "", known, NULL)) != -1;)
        if (take(ret, which, optarg) < 0)
            return -1;
    if (!ret->aws_access != !ret->aws_secret ||
        (ret->aws_access && keys_add(BEDROCK, ret->aws_access, ret->aws_secret) < 0))
        return -1;
    bool tls_complete = ret->https < 0 || (ret->cert && ret->key);
    bool logged = ret->quiet ? !ret->log : ret->log != NULL;
    return optind == argc && ret->http >= 0 && ret->admin >= 0 && tls_complete && logged ? 0 : -1;
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct program *program = signal->data;
    (void)number;
    net_stop(&program->net);
    uv_close((uv_handle_t *)&program->terminate, NULL);
    uv_close((uv_handle_t *)&program->interrupt, NULL);
}

static int listen_on(struct net *net, const struct options *o, const char *what, int port,
                     SSL_CTX *tls, const struct conn_handler *handler, int *ret_port)
{
    bool share = o->reuseport && handler == &serve_handler;
    int err = port < 0 ? 0 : net_listen(net, o->bind, port, share, tls, handler, ret_port);
    if (err < 0)
        fprintf(stderr, "providers: %s on %s:%d: %s\n", what, o->bind, port, uv_strerror(err));
    return err;
}

static int run(struct program *program, const struct options *o, SSL_CTX *tls)
{
    uv_loop_t *loop = program->net.loop;
    int http = 0, https = 0, admin = 0;
    if (listen_on(&program->net, o, "http", o->http, NULL, &serve_handler, &http) < 0 ||
        listen_on(&program->net, o, "https", o->https, tls, &serve_handler, &https) < 0 ||
        listen_on(&program->net, o, "admin", o->admin, NULL, &admin_handler, &admin) < 0)
        return 1;
    uv_signal_init(loop, &program->terminate);
    uv_signal_init(loop, &program->interrupt);
    program->terminate.data = program->interrupt.data = program;
    uv_signal_start(&program->terminate, on_signal, SIGTERM);
    uv_signal_start(&program->interrupt, on_signal, SIGINT);
    printf("listening http=%d https=%d admin=%d\n", http, https, admin);
    fflush(stdout);
    uv_run(loop, UV_RUN_DEFAULT);
    return 0;
}

int main(int argc, char **argv)
{
    static struct program program;
    struct options options;
    SSL_CTX *tls = NULL;
    if (parse(argc, argv, &options) < 0)
        return usage();
    signal(SIGPIPE, SIG_IGN);
    if (log_open(options.log) < 0)
        return 1;
    if (options.https >= 0 && !(tls = tls_context(options.cert, options.key)))
        return 1;
    told_conf.seed = options.seed;
    told_conf.created_s = time(NULL);
    serve_init(options.seed);
    program.net.loop = uv_default_loop();
    int code = run(&program, &options, tls);
    told_end();
    SSL_CTX_free(tls);
    return code;
}
