/* tollgate targets [--watch] [--health HOST:PORT] [--timeout SECONDS]: the fleet as the health
 * service sees it. */
#include "cli/call.h"
#include "cli/commands.h"

#include "tollgate/v1/health.pb-c.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char *state_name(Tollgate__V1__EndpointState state)
{
    switch (state) {
    case TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_UP: return "up";
    case TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_HALF_OPEN: return "half-open";
    case TOLLGATE__V1__ENDPOINT_STATE__ENDPOINT_STATE_DOWN: return "down";
    default: return "unknown";
    }
}

static void print_ms(uint64_t us)
{
    if (us == 0)
        printf(" %9s", "-");
    else
        printf(" %9.1f", (double)us / 1000.0);
}

static void print_one(const Tollgate__V1__EndpointView *e)
{
    printf("%-28s %-12s %-10s %8llu %7llu", e->target, e->endpoint, state_name(e->state),
           (unsigned long long)e->requests, (unsigned long long)e->errors);
    print_ms(e->first_token_p50_us);
    print_ms(e->first_token_p95_us);
    print_ms(e->total_p95_us);
    printf(" %6llu", (unsigned long long)e->queue_depth);
    if (e->rate_limit && e->rate_limit->has_requests)
        printf(" %9llu", (unsigned long long)e->rate_limit->requests_remaining);
    else
        printf(" %9s", "-");
    printf("  %s\n", e->reason);
}

static bool print_update(void *user, const ProtobufCMessage *reply)
{
    const Tollgate__V1__FleetUpdate *update = (const Tollgate__V1__FleetUpdate *)reply;
    const bool *watch = user;
    if (update->full)
        printf("%-28s %-12s %-10s %8s %7s %9s %9s %9s %6s %9s  %s\n", "target", "endpoint", "state",
               "requests", "errors", "ttft p50", "ttft p95", "total p95", "queue", "left/min",
               "reason");
    for (size_t i = 0; i < update->n_endpoints; i++)
        print_one(update->endpoints[i]);
    fflush(stdout);
    return *watch;
}

int tg_cli_targets(int argc, char **argv)
{
    static const struct option options[] = {{"watch", no_argument, NULL, 'w'},
                                            {"health", required_argument, NULL, 'h'},
                                            {"timeout", required_argument, NULL, 't'},
                                            {NULL, 0, NULL, 0}};
    const char *address = getenv("TOLLGATE_HEALTH_GRPC");
    uint32_t timeout_ms = TG_CLI_TIMEOUT_MS;
    bool watch = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'w') {
            watch = true;
        } else if (c == 'h') {
            address = optarg;
        } else if (c == 't') {
            if (tg_cli_timeout("targets", optarg, &timeout_ms) < 0)
                return 2;
        } else {
            address = NULL;
            break;
        }
    }
    if (!address || optind < argc) {
        fprintf(
            stderr,
            "usage: tollgate targets [--watch | --timeout SECONDS] [--health HOST:PORT]\n"
            "       (or TOLLGATE_HEALTH_GRPC in the environment); times shown are milliseconds\n");
        return 2;
    }
    Tollgate__V1__WatchFleetRequest request = TOLLGATE__V1__WATCH_FLEET_REQUEST__INIT;
    Tollgate__V1__GetFleetRequest get = TOLLGATE__V1__GET_FLEET_REQUEST__INIT;
    return tg_cli_call("targets", address,
                       watch ? "/tollgate.v1.Health/WatchFleet" : "/tollgate.v1.Health/GetFleet",
                       watch ? &request.base : &get.base, &tollgate__v1__fleet_update__descriptor,
                       watch ? 0 : timeout_ms, print_update, &watch);
}
