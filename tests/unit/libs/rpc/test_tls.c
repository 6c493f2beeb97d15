/* TLS and mutual TLS. Two certificate authorities are made at run time with the openssl command. */
#include "tests/unit/libs/rpc/world.h"

#include <unistd.h>

static char folder[] = "/tmp/tg-rpc-tls-XXXXXX";
static char files[9][96];
enum { CA, CA_KEY, CERT, KEY, CLIENT_CERT, CLIENT_KEY, OTHER_CA, OTHER_CERT, OTHER_KEY };

static void run(const char *format, const char *a, const char *b, const char *c, const char *d)
{
    char command[1024], step[1024];
    snprintf(step, sizeof step, format, a, b, c, d);
    snprintf(command, sizeof command, "cd %s && { %s; } >>log 2>&1", folder, step);
    if (system(command) != 0) {
        fprintf(stderr, "failed: %s\n", command);
        CU_FAIL_FATAL("openssl made no certificate");
    }
}

static void make_authority(const char *name)
{
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout "
        "%s.key -out %s.pem -subj /CN=%s%s",
        name, name, name, "");
}

static void make_certificate(const char *authority, const char *name)
{
    run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key -out %s.csr "
        "-subj /CN=%s%s",
        name, name, name, "");
    run("printf 'subjectAltName=DNS:mesh.test' >san && openssl x509 -req -in %s.csr -days 2 -CA "
        "%s.pem -CAkey %s.key -CAcreateserial -extfile san -out %s.pem",
        name, authority, authority, name);
}

static void make_files(void)
{
    static const char *const names[] = {"ca.pem",     "ca.key",      "server.pem",
                                        "server.key", "client.pem",  "client.key",
                                        "other.pem",  "foreign.pem", "foreign.key"};
    static bool made;
    if (made)
        return;
    made = true;
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    make_authority("ca");
    make_authority("other");
    make_certificate("ca", "server");
    make_certificate("ca", "client");
    make_certificate("other", "foreign");
    for (size_t i = 0; i < 9; i++)
        snprintf(files[i], sizeof files[i], "%s/%s", folder, names[i]);
}

static tg_rpc_code call_with(const tg_rpc_tls *server, const tg_rpc_tls *channel,
                             tg_rpc_loop_owner owner)
{
    static world w;
    set_up_tls(&w, owner, server, channel);
    observe(&w, 3, 5000, false);
    tg_rpc_loop_run(w.loop);
    tg_rpc_code code = w.code;
    CU_ASSERT_EQUAL(w.got, code == TG_RPC_OK);
    tear_down(&w);
    return code;
}

static void test_mutual(void)
{
    make_files();
    for (size_t i = 0; i < 2; i++) {
        tg_rpc_tls server = {
            .cert_file = files[CERT], .key_file = files[KEY], .ca_file = files[CA]};
        tg_rpc_tls good = {.cert_file = files[CLIENT_CERT],
                           .key_file = files[CLIENT_KEY],
                           .ca_file = files[CA],
                           .server_name = "mesh.test"};
        tg_rpc_tls none = {.ca_file = files[CA], .server_name = "mesh.test"};
        tg_rpc_tls foreign = {.cert_file = files[OTHER_CERT],
                              .key_file = files[OTHER_KEY],
                              .ca_file = files[CA],
                              .server_name = "mesh.test"};
        CU_ASSERT_EQUAL(call_with(&server, &good, owners[i]), TG_RPC_OK);
        CU_ASSERT_EQUAL(call_with(&server, &none, owners[i]), TG_RPC_UNAVAILABLE);
        CU_ASSERT_EQUAL(call_with(&server, &foreign, owners[i]), TG_RPC_UNAVAILABLE);
        CU_ASSERT_EQUAL(call_with(&server, NULL, owners[i]), TG_RPC_UNAVAILABLE);
    }
}

static void test_server_only(void)
{
    make_files();
    tg_rpc_tls server = {.cert_file = files[CERT], .key_file = files[KEY]};
    tg_rpc_tls good = {.ca_file = files[CA], .server_name = "mesh.test"};
    tg_rpc_tls other_name = {.ca_file = files[CA], .server_name = "else.test"};
    tg_rpc_tls other_ca = {.ca_file = files[OTHER_CA], .server_name = "mesh.test"};
    CU_ASSERT_EQUAL(call_with(&server, &good, TG_RPC_LOOP_DEFAULT), TG_RPC_OK);
    CU_ASSERT_EQUAL(call_with(&server, &other_name, TG_RPC_LOOP_DEFAULT), TG_RPC_UNAVAILABLE);
    CU_ASSERT_EQUAL(call_with(&server, &other_ca, TG_RPC_LOOP_DEFAULT), TG_RPC_UNAVAILABLE);
}

/* A half-given pair never ends in plain text. */
static void test_incomplete(void)
{
    tg_rpc_loop *loop;
    tg_rpc_server *server = NULL;
    tg_rpc_channel *channel = NULL;
    tg_error err = {""};
    make_files();
    tg_rpc_init();
    tg_rpc_tls only_ca = {.ca_file = files[CA]}, only_cert = {.cert_file = files[CERT]};
    tg_rpc_tls missing = {.cert_file = "/nowhere/x.pem", .key_file = files[KEY]};
    CU_ASSERT_EQUAL_FATAL(tg_rpc_loop_new(TG_RPC_LOOP_DEFAULT, &err, &loop), 0);
    CU_ASSERT_EQUAL(tg_rpc_server_new(loop, "127.0.0.1:0", &only_ca, &err, &server), -EINVAL);
    CU_ASSERT_EQUAL(tg_rpc_server_new(loop, "127.0.0.1:0", &only_cert, &err, &server), -EINVAL);
    CU_ASSERT_EQUAL(tg_rpc_channel_new(loop, "127.0.0.1:1", &only_cert, 0, &err, &channel),
                    -EINVAL);
    err.text[0] = '\0';
    CU_ASSERT_EQUAL(tg_rpc_server_new(loop, "127.0.0.1:0", &missing, &err, &server), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nowhere/x.pem"));
    CU_ASSERT_PTR_NULL(server);
    CU_ASSERT_PTR_NULL(channel);
    tg_rpc_loop_free(loop);
    run("rm -rf %s%s%s%s", folder, "", "", ""); /* the last test */
}

static const tg_test tests[] = {
    {"mutual", test_mutual},
    {"server_only", test_server_only},
    {"incomplete", test_incomplete},
};
TG_TEST_MAIN("libs_rpc_tls", tests)
