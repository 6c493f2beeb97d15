/* devbroker: a Kafka broker for the demo, so that a fresh machine needs no Java.
 *
 *     devbroker --run-file FILE [--partitions N] [--topics a,b,c]
 *
 * It is librdkafka's mock cluster (librdkafka/rdkafka_mock.h) in a process of its own: the real
 * wire protocol over TCP on 127.0.0.1, with idempotent produce, fetch, consumer groups and
 * committed offsets. The cluster picks its port, so the address "127.0.0.1:PORT" is printed and
 * written to FILE, which appears only once clients can connect and goes away on a clean end.
 * SIGTERM or SIGINT ends it.
 *
 * Limits, all of them librdkafka's:
 *  - memory only: records, groups and committed offsets end with the process;
 *  - a partition keeps about 5 MB or 100,000 batches and then drops its oldest, read or not;
 *  - no administration requests: topics are made by --topics, or on first use with 4 partitions;
 *  - one broker, no TLS, no authentication, loopback only;
 *  - a group's first member waits 3 s to join, a later one its session timeout less 1 s, even
 *    when the member before it left: consumers want a short session.timeout.ms here.
 * Whatever must survive a crash, or a long load, is tested against a real Kafka instead.
 */
#include "libs/base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PARTITIONS_DEFAULT 4
#define PARTITIONS_MAX 256
#define TOPIC_NAME_MAX 249 /* Kafka's own bound */
#define BROKER_COUNT 1     /* one: replication would only copy memory to memory */

typedef struct options {
    const char *run_file;
    const char *topics; /* comma-separated; NULL for none */
    int partitions;
} options;

static int usage(const char *why)
{
    if (why)
        fprintf(stderr, "devbroker: %s\n", why);
    fputs("usage: devbroker --run-file FILE [--partitions N] [--topics a,b,c]\n", stderr);
    return 2;
}

static int parse_partitions(const char *text, int *ret)
{
    uint64_t value;
    int status = tg_str_u64(tg_str_of(text), &value);
    if (status < 0)
        return status;
    if (value < 1 || value > PARTITIONS_MAX)
        return -ERANGE;
    *ret = (int)value;
    return 0;
}

static int parse_options(int argc, char **argv, options *ret)
{
    static const struct option longs[] = {
        {"run-file", required_argument, NULL, 'r'},
        {"partitions", required_argument, NULL, 'p'},
        {"topics", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    options opts = {.partitions = PARTITIONS_DEFAULT};

    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == 'r')
            opts.run_file = optarg;
        else if (c == 't')
            opts.topics = optarg;
        else if (c == 'p' && parse_partitions(optarg, &opts.partitions) == 0)
            continue;
        else if (c == 'p')
            return usage("--partitions takes a number from 1 to 256");
        else
            return usage(NULL);
    }
    if (optind < argc)
        return usage("it takes options only");
    if (!opts.run_file)
        return usage("--run-file is missing");
    *ret = opts;
    return 0;
}

static int create_topics(rd_kafka_mock_cluster_t *cluster, const options *opts)
{
    const char *at = opts->topics;
    while (at && *at) {
        size_t len = strcspn(at, ",");
        char name[TOPIC_NAME_MAX + 1];
        if (len == 0 || !tg_str_copy(name, sizeof(name), (tg_str){at, len}))
            return usage("--topics takes names of 1 to 249 characters, separated by commas");
        rd_kafka_resp_err_t err =
            rd_kafka_mock_topic_create(cluster, name, opts->partitions, BROKER_COUNT);
        if (err) {
            fprintf(stderr, "devbroker: topic %s: %s\n", name, rd_kafka_err2str(err));
            return 1;
        }
        at += len;
        at += *at == ',';
    }
    return 0;
}

/* Whoever waits for the file must never read half an address, hence the rename. */
static int write_run_file(const char *path, const char *address)
{
    char temporary[4096];
    int status = 0;
    int len = snprintf(temporary, sizeof(temporary), "%s.%ld", path, (long)getpid());
    if (len < 0 || (size_t)len >= sizeof(temporary))
        return -ENAMETOOLONG;

    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    if (dprintf(fd, "%s\n", address) < 0)
        status = -EIO;
    if (close(fd) < 0 && status == 0)
        status = -errno;
    if (status == 0 && rename(temporary, path) < 0)
        status = -errno;
    if (status < 0)
        unlink(temporary);
    return status;
}

/* The handle the cluster hangs on: it is never connected to anything. */
static rd_kafka_t *new_handle(void)
{
    char reason[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "client.id", "devbroker", NULL, 0);
    rd_kafka_conf_set(conf, "log_level", "4", NULL, 0); /* no notice that it has no servers */
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason));
    if (!handle) {
        rd_kafka_conf_destroy(conf);
        fprintf(stderr, "devbroker: %s\n", reason);
    }
    return handle;
}

static int run(const options *opts, const sigset_t *stop_signals)
{
    int status = 1;
    int signal_number;
    rd_kafka_mock_cluster_t *cluster = NULL;
    rd_kafka_t *handle = new_handle();
    if (!handle)
        goto out;

    cluster = rd_kafka_mock_cluster_new(handle, BROKER_COUNT);
    if (!cluster) {
        fputs("devbroker: the mock cluster did not start\n", stderr);
        goto out;
    }
    status = create_topics(cluster, opts);
    if (status != 0)
        goto out;

    const char *address = rd_kafka_mock_cluster_bootstraps(cluster);
    int written = write_run_file(opts->run_file, address);
    if (written < 0) {
        fprintf(stderr, "devbroker: %s: %s\n", opts->run_file, strerror(-written));
        status = 1;
        goto out;
    }
    printf("%s\n", address);
    fflush(stdout);

    sigwait(stop_signals, &signal_number);
    unlink(opts->run_file);
out:
    if (cluster)
        rd_kafka_mock_cluster_destroy(cluster);
    if (handle)
        rd_kafka_destroy(handle);
    return status;
}

int main(int argc, char **argv)
{
    options opts = {0};
    sigset_t stop_signals;
    int status = parse_options(argc, argv, &opts);
    if (status != 0)
        return status;

    /* Blocked before librdkafka starts its threads, so that they inherit the mask. */
    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGTERM);
    sigaddset(&stop_signals, SIGINT);
    sigprocmask(SIG_BLOCK, &stop_signals, NULL);
    return run(&opts, &stop_signals);
}
