/* tollgate events [--kafka HOST:PORT] [--topic NAME] [--follow]: usage events as JSON lines.
 *
 * Reads every partition from the beginning to the end known at the start (or on, with --follow),
 * outside any consumer group, so that looking changes nothing. Every record is one line, duplicates
 * included. TOLLGATE_KAFKA_SECURITY, _CA_FILE, _CERT_FILE, _KEY_FILE, _SASL_MECHANISM,
 * _SASL_USERNAME and _SASL_PASSWORD are what the services' settings under `kafka` are. */
#include "cli/commands.h"

#include "libs/json/json.h"
#include "libs/usage/event.h"
#include "libs/usage/kafka.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTITIONS_MAX = 1024, METADATA_MS = 10000, POLL_MS = 200 };

static void put_text(tg_json_out *out, const char *key, const char *value)
{
    tg_json_out_key(out, key);
    tg_json_out_text(out, value);
}

static void put_u64(tg_json_out *out, const char *key, uint64_t value)
{
    tg_json_out_key(out, key);
    tg_json_out_u64(out, value);
}

static void print_event(const tg_usage_event *e)
{
    static const char *const sources[] = {"unknown", "reported", "estimated"};
    tg_buf line;
    tg_buf_init(&line, 0);
    tg_json_out out = tg_json_out_to(&line);
    tg_json_out_begin_object(&out);
    put_text(&out, "request_id", e->request_id);
    put_u64(&out, "attempt", e->attempt);
    put_text(&out, "instance_id", e->instance_id);
    put_text(&out, "client_request_id", e->client_request_id);
    put_text(&out, "traceparent", e->traceparent);
    put_text(&out, "tenant", e->tenant);
    put_text(&out, "key_id", e->key_id);
    put_text(&out, "task_type", e->task_type);
    put_text(&out, "rule", e->rule);
    put_text(&out, "policy_version", e->policy_version);
    put_text(&out, "target", e->target);
    put_text(&out, "endpoint", e->endpoint);
    put_text(&out, "provider", e->provider);
    put_text(&out, "model_requested", e->model_requested);
    put_text(&out, "model_sent", e->model_sent);
    put_text(&out, "model_answered", e->model_answered);
    put_u64(&out, "input_tokens", e->tokens.input);
    put_u64(&out, "cache_read_tokens", e->tokens.cache_read);
    put_u64(&out, "cache_write_5m_tokens", e->tokens.cache_write_5m);
    put_u64(&out, "cache_write_1h_tokens", e->tokens.cache_write_1h);
    put_u64(&out, "output_tokens", e->tokens.output);
    put_u64(&out, "reasoning_tokens", e->tokens.reasoning);
    put_text(&out, "input_source", sources[e->input_source]);
    put_text(&out, "output_source", sources[e->output_source]);
    put_text(&out, "outcome", tg_outcome_name(e->outcome));
    put_u64(&out, "upstream_status", e->upstream_status);
    put_u64(&out, "opened_unix_ns", e->opened_unix_ns);
    put_u64(&out, "closed_unix_ns", e->closed_unix_ns);
    put_u64(&out, "first_token_ns", e->first_token_ns);
    put_u64(&out, "total_ns", e->total_ns);
    put_u64(&out, "gpu_ns", e->gpu_ns);
    put_text(&out, "numerics", e->numerics);
    put_text(&out, "price_book", e->price_book);
    tg_json_out_key(&out, "cost_picousd");
    tg_json_out_i64(&out, e->cost_picousd);
    tg_json_out_key(&out, "price_assumed");
    tg_json_out_bool(&out, e->price_assumed);
    tg_json_out_end_object(&out);
    printf("%s\n", line.data);
    tg_buf_free(&line);
}

typedef struct reader {
    rd_kafka_t *kafka;
    rd_kafka_topic_partition_list_t *assigned;
    int64_t end[PARTITIONS_MAX]; /* offset to stop at */
    int left;                    /* partitions not yet at their end */
    bool follow;
} reader;

static int assign(reader *r, const char *topic)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(r->kafka, topic, NULL);
    rd_kafka_resp_err_t rc = rd_kafka_metadata(r->kafka, 0, handle, &metadata, METADATA_MS);
    rd_kafka_topic_destroy(handle);
    if (rc)
        return (int)rc;
    r->assigned = rd_kafka_topic_partition_list_new(8);
    for (int i = 0; metadata->topic_cnt == 1 && i < metadata->topics[0].partition_cnt; i++) {
        int32_t id = metadata->topics[0].partitions[i].id;
        int64_t low, high;
        if (id >= PARTITIONS_MAX)
            continue;
        rc = rd_kafka_query_watermark_offsets(r->kafka, topic, id, &low, &high, METADATA_MS);
        if (rc)
            break;
        rd_kafka_topic_partition_list_add(r->assigned, topic, id)->offset =
            RD_KAFKA_OFFSET_BEGINNING;
        r->end[id] = high;
        r->left += high > low;
    }
    rd_kafka_metadata_destroy(metadata);
    return rc ? (int)rc : (int)rd_kafka_assign(r->kafka, r->assigned);
}

static int read_all(reader *r)
{
    int status = 0;
    while (r->left > 0 || r->follow) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(r->kafka, POLL_MS);
        tg_usage_event event;
        tg_error err = {""};
        if (!message)
            continue;
        if (message->err) {
            if (message->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
                fprintf(stderr, "tollgate events: %s\n", rd_kafka_message_errstr(message));
        } else {
            if (tg_usage_event_decode(message->payload, message->len, &err, &event) == 0) {
                print_event(&event);
            } else {
                fprintf(stderr, "tollgate events: partition %d offset %lld: %s\n",
                        message->partition, (long long)message->offset, err.text);
                status = 1;
            }
            if (message->offset + 1 == r->end[message->partition])
                r->left--;
        }
        rd_kafka_message_destroy(message);
        if (r->follow)
            fflush(stdout);
    }
    return status;
}

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

static int index_in(const char *const *names, const char *name)
{
    int i = 0;
    while (names[i] && strcmp(names[i], name) != 0)
        i++;
    return names[i] ? i : -1;
}

/* How brokers are spoken to comes from the environment: a password has no place among a process's
 * arguments. */
static int connect_to(const char *brokers, rd_kafka_t **ret)
{
    /* the group is required, and unused */
    static const tg_kafka_property properties[] = {{"group.id", "tollgate-events"},
                                                   {"enable.auto.commit", "false"}};
    const char *security = from_environment("TOLLGATE_KAFKA_SECURITY");
    const char *mechanism = from_environment("TOLLGATE_KAFKA_SASL_MECHANISM");
    const tg_kafka_link link = {
        .brokers = brokers,
        .security = *security ? index_in(tg_kafka_security_names, security) : TG_KAFKA_PLAINTEXT,
        .ca_file = from_environment("TOLLGATE_KAFKA_CA_FILE"),
        .cert_file = from_environment("TOLLGATE_KAFKA_CERT_FILE"),
        .key_file = from_environment("TOLLGATE_KAFKA_KEY_FILE"),
        .mechanism = index_in(tg_kafka_mechanism_names, *mechanism ? mechanism : "PLAIN"),
        .username = from_environment("TOLLGATE_KAFKA_SASL_USERNAME"),
        .password = from_environment("TOLLGATE_KAFKA_SASL_PASSWORD"),
    };
    rd_kafka_conf_t *conf;
    tg_error err = {""};
    int rc = 0;
    if (link.security < 0)
        rc = tg_error_set(&err, -EINVAL,
                          "TOLLGATE_KAFKA_SECURITY is '%s'; plaintext, ssl, sasl_plaintext and "
                          "sasl_ssl are allowed",
                          security);
    if (rc == 0 && link.mechanism < 0)
        rc = tg_error_set(&err, -EINVAL,
                          "TOLLGATE_KAFKA_SASL_MECHANISM is '%s'; PLAIN, SCRAM-SHA-256 and "
                          "SCRAM-SHA-512 are allowed",
                          mechanism);
    if (rc == 0)
        rc = tg_kafka_configure("kafka", &link, "tollgate-events", properties,
                                sizeof properties / sizeof *properties, &err, &conf);
    if (rc == 0)
        rc = tg_kafka_new("kafka", RD_KAFKA_CONSUMER, conf, &err, ret);
    if (rc < 0)
        fprintf(stderr, "tollgate events: %s\n", err.text);
    return rc;
}

int tg_cli_events(int argc, char **argv)
{
    static const struct option options[] = {{"kafka", required_argument, NULL, 'k'},
                                            {"topic", required_argument, NULL, 't'},
                                            {"follow", no_argument, NULL, 'f'},
                                            {NULL, 0, NULL, 0}};
    const char *brokers = getenv("TOLLGATE_KAFKA"), *topic = "tollgate.usage.v1";
    reader r = {0};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'k')
            brokers = optarg;
        else if (c == 't')
            topic = optarg;
        else if (c == 'f')
            r.follow = true;
        else
            brokers = NULL;
    }
    if (!brokers || optind < argc) {
        fprintf(stderr, "usage: tollgate events [--kafka HOST:PORT] [--topic NAME] [--follow]\n");
        return 2;
    }
    if (connect_to(brokers, &r.kafka) < 0)
        return 1;
    rd_kafka_poll_set_consumer(r.kafka);
    int rc = assign(&r, topic), status = 1;
    if (rc)
        fprintf(stderr, "tollgate events: %s: %s\n", brokers,
                rd_kafka_err2str((rd_kafka_resp_err_t)rc));
    else
        status = read_all(&r);
    if (r.assigned)
        rd_kafka_topic_partition_list_destroy(r.assigned);
    rd_kafka_consumer_close(r.kafka);
    rd_kafka_destroy(r.kafka);
    return status;
}
