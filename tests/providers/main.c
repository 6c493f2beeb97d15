#include "tests/providers/common.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

options opt = {.bind = "127.0.0.1", .http_port = -1, .https_port = -1, .admin_port = -1};

void public_handler(const request *in, reply *out)
{
    if (strcmp(in->path, "/v1/messages") == 0)
        anthropic_handler(in, out);
    else if (strncmp(in->path, "/model/", 7) == 0)
        bedrock_handler(in, out);
    else if (strcmp(in->path, "/v1/chat/completions") == 0 || strcmp(in->path, "/v1/models") == 0)
        openai_handler(in, out);
    else
        dialect_error(OPENAI, out, 404, "invalid_request_error", "Unknown request URL");
}

static void on_signal(uv_signal_t *handle, int signum)
{
    (void)signum;
    uv_stop(handle->loop);
}

static void usage(void)
{
    fprintf(stderr, "usage: providers --http PORT [--https PORT --cert FILE --key FILE] --admin PORT\n"
                    "                 [--log FILE] [--seed N] [--bind ADDRESS] [--reuseport]\n"
                    "                 [--openai-key K] [--anthropic-key K] [--aws-access-key A "
                    "--aws-secret-key S]\n");
    exit(2);
}

static void parse(int argc, char **argv)
{
    enum { HTTP, HTTPS, ADMIN, CERT, KEY, LOG, SEED, BIND, REUSE, OKEY, AKEY, WSACCESS, WSSECRET };
    static const struct option known[] = {
        {"http", 1, NULL, HTTP},       {"https", 1, NULL, HTTPS},          {"admin", 1, NULL, ADMIN},
        {"cert", 1, NULL, CERT},       {"key", 1, NULL, KEY},              {"log", 1, NULL, LOG},
        {"seed", 1, NULL, SEED},       {"bind", 1, NULL, BIND},            {"reuseport", 0, NULL, REUSE},
        {"openai-key", 1, NULL, OKEY}, {"anthropic-key", 1, NULL, AKEY},   {"aws-access-key", 1, NULL, WSACCESS},
        {"aws-secret-key", 1, NULL, WSSECRET}, {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case HTTP: opt.http_port = atoi(optarg); break;
        case HTTPS: opt.https_port = atoi(optarg); break;
        case ADMIN: opt.admin_port = atoi(optarg); break;
        case CERT: opt.cert = optarg; break;
        case KEY: opt.key = optarg; break;
        case LOG: opt.log = optarg; break;
        case SEED: opt.seed = strtoull(optarg, NULL, 0); break;
        case BIND: opt.bind = optarg; break;
        case REUSE: opt.reuseport = true; break;
        case OKEY: opt.openai_key = optarg; break;
        case AKEY: opt.anthropic_key = optarg; break;
        case WSACCESS: opt.aws_access_key = optarg; break;
        case WSSECRET: opt.aws_secret_key = optarg; break;
        default: usage();
        }
    }
    if (opt.http_port < 0 || optind < argc || (opt.https_port >= 0 && (!opt.cert || !opt.key)))
        usage();
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    uv_signal_t term, intr;
    parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    log_open(opt.log);
    int http = http_listen(loop, opt.bind, opt.http_port, false, public_handler);
    int https = opt.https_port >= 0 ? http_listen(loop, opt.bind, opt.https_port, true, public_handler) : 0;
    int admin = opt.admin_port >= 0 ? http_listen(loop, opt.bind, opt.admin_port, false, admin_handler) : 0;
    uv_signal_init(loop, &term);
    uv_signal_init(loop, &intr);
    uv_signal_start(&term, on_signal, SIGTERM);
    uv_signal_start(&intr, on_signal, SIGINT);
    printf("listening http=%d https=%d admin=%d\n", http, https, admin);
    fflush(stdout);
    uv_run(loop, UV_RUN_DEFAULT);
    _Exit(0); /* a test tool: what is open goes with the process */
}
