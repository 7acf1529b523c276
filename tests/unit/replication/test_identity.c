/* Identity: what init and join leave on disk, and what a damaged, foreign or late token says. */
#include "replication/identity.h"
#include "node/base/clock.h"
#include "replication/internal.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static void dir_of(const char *name, char *out, size_t n)
{
    snprintf(out, n, "%s/%s", root, name);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/merlion-identity-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

static void secrets_free(char *a, char *b)
{
    mem_free(a);
    mem_free(b);
}

static void init_makes_a_member(void **state)
{
    (void)state;
    char dir[128], *ca, *ca_key, path[160];
    struct err_detail e = {0};
    struct link_identity id;
    struct stat st;
    dir_of("n1", dir, sizeof(dir));
    assert_false(replication_is_member(dir));
    assert_int_equal(identity_load(dir, &id, &e), ERR_NOTFOUND);
    assert_int_equal(replication_cluster_init(dir, "alpha", "10.0.0.1:7000", &ca, &ca_key, &e), 0);
    assert_true(replication_is_member(dir));
    assert_true(identity_is_first(dir));
    assert_int_equal(identity_load(dir, &id, &e), 0);
    assert_int_equal(id.node_id, 1);
    assert_true(id.cluster_id != 0 && id.instance != 0);
    assert_string_equal(id.name, "alpha");
    assert_int_equal(id.format_max, STORE_FORMAT_MAX);
    char *peers = identity_first_peers(dir);
    assert_string_equal(peers, "");
    mem_free(peers);
    snprintf(path, sizeof(path), "%s/node", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    snprintf(path, sizeof(path), "%s/node/key.pem", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* Not twice. */
    char *again = NULL, *again_key = NULL;
    assert_int_equal(replication_cluster_init(dir, "alpha", "10.0.0.1:7000", &again, &again_key, &e), ERR_EXISTS);
    assert_null(again);
    identity_close(&id);
    secrets_free(ca, ca_key);
}

struct cluster {
    char dir[128];
    char *ca, *ca_key;
    struct link_identity id;
};

static void cluster_make(struct cluster *c, const char *name)
{
    struct err_detail e = {0};
    dir_of(name, c->dir, sizeof(c->dir));
    assert_int_equal(replication_cluster_init(c->dir, "alpha", "10.0.0.1:7000", &c->ca, &c->ca_key, &e), 0);
    assert_int_equal(identity_load(c->dir, &c->id, &e), 0);
}

static void cluster_free(struct cluster *c)
{
    identity_close(&c->id);
    secrets_free(c->ca, c->ca_key);
}

static void join_round_trip(void **state)
{
    (void)state;
    struct cluster c;
    struct err_detail e = {0};
    char dir[128], *token;
    cluster_make(&c, "c2");
    assert_int_equal(identity_token_make(c.ca, c.ca_key, c.id.cluster_id, 7, "beta", "10.0.0.2:7000",
                                         "10.0.0.1:7000,h:1", &token, &e),
                     0);
    assert_int_equal(strncmp(token, "merlion-join-1.", 15), 0);
    assert_null(strpbrk(token, " \n="));
    dir_of("n2", dir, sizeof(dir));
    /* Of another name. */
    assert_int_equal(replication_join(dir, "gamma", token, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "for beta, this node is called gamma"));
    assert_false(replication_is_member(dir));
    /* Pasted with white space around it. */
    char pasted[8192];
    snprintf(pasted, sizeof(pasted), "  %s\r\n", token);
    assert_int_equal(replication_join(dir, "beta", pasted, &e), 0);
    struct link_identity id;
    assert_int_equal(identity_load(dir, &id, &e), 0);
    assert_int_equal(id.node_id, 7);
    assert_int_equal(id.cluster_id, c.id.cluster_id);
    assert_string_equal(id.name, "beta");
    assert_false(identity_is_first(dir));
    char *peers = identity_first_peers(dir);
    assert_string_equal(peers, "10.0.0.1:7000,h:1");
    mem_free(peers);
    assert_int_equal(replication_join(dir, "beta", token, &e), ERR_EXISTS);
    /* The same token elsewhere is another instance. */
    char other[128];
    struct link_identity id2;
    dir_of("n3", other, sizeof(other));
    assert_int_equal(replication_join(other, "beta", token, &e), 0);
    assert_int_equal(identity_load(other, &id2, &e), 0);
    assert_true(id2.instance != id.instance);
    identity_close(&id);
    identity_close(&id2);
    mem_free(token);
    cluster_free(&c);
}

/* Request ids are of a start: whatever the clock says, a later start has a larger number, and never an old one. */
static void starts_are_numbered(void **state)
{
    (void)state;
    struct err_detail e = {0};
    struct cluster c;
    uint64_t boot = 0;
    cluster_make(&c, "boots");
    char *dir = c.dir;
    assert_int_equal(identity_boot_next(dir, 5000, &boot, &e), 0);
    assert_int_equal(boot, 5000);
    assert_int_equal(identity_boot_next(dir, 5000, &boot, &e), 0);
    assert_int_equal(boot, 5001);
    assert_int_equal(identity_boot_next(dir, 100, &boot, &e), 0); /* a clock that was set back */
    assert_int_equal(boot, 5002);
    assert_int_equal(identity_boot_next(dir, 9000, &boot, &e), 0);
    assert_int_equal(boot, 9000);
    cluster_free(&c);
}

static void start_damage(const struct cluster *c, const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/node/%s", c->dir, name);
    FILE *f = fopen(path, "w");
    fputs("boot 9000", f);
    fclose(f);
}

/* One of two numbers is enough, of a write that was cut short or of an earlier version. */
static void one_number_is_enough(void **state)
{
    (void)state;
    struct err_detail e = {0};
    struct cluster c;
    uint64_t boot = 0;
    char path[160];
    cluster_make(&c, "number");
    assert_int_equal(identity_boot_next(c.dir, 5000, &boot, &e), 0);
    assert_int_equal(identity_boot_next(c.dir, 6000, &boot, &e), 0);
    start_damage(&c, "boot.2"); /* of 5000 */
    assert_int_equal(identity_boot_next(c.dir, 100, &boot, &e), 0);
    assert_int_equal(boot, 6001);
    start_damage(&c, "boot"); /* of 6000 */
    assert_int_equal(identity_boot_next(c.dir, 100, &boot, &e), 0);
    assert_int_equal(boot, 6002);
    snprintf(path, sizeof path, "%s/node/boot.2", c.dir);
    unlink(path);
    assert_int_equal(identity_boot_next(c.dir, 100, &boot, &e), 0);
    assert_int_equal(boot, 6003);
    start_damage(&c, "boot");
    start_damage(&c, "boot.2");
    assert_int_equal(identity_boot_next(c.dir, 9500, &boot, &e), ERR_CORRUPT);
    unlink(path);
    assert_int_equal(identity_boot_next(c.dir, 9500, &boot, &e), ERR_CORRUPT);
    cluster_free(&c);
}

static void damaged_tokens_say_so(void **state)
{
    (void)state;
    struct cluster c;
    struct err_detail e = {0};
    char dir[128], *token;
    cluster_make(&c, "c3");
    dir_of("n4", dir, sizeof(dir));
    assert_int_equal(identity_token_make(c.ca, c.ca_key, c.id.cluster_id, 2, "b", "h:1", "h:2", &token, &e), 0);
    size_t n = strlen(token);
    for (size_t cut = 0; cut < n; cut += cut < 40 || cut > n - 20 ? 1 : 97) {
        char *part = mem_strndup(slice_make(token, cut));
        int rv = replication_join(dir, "b", part, &e);
        assert_true(rv == ERR_INVALID || rv == ERR_VERSION);
        mem_free(part);
    }
    for (size_t at = 15; at < n; at += 53) {
        char was = token[at];
        token[at] = was == 'A' ? 'B' : 'A';
        assert_int_equal(replication_join(dir, "b", token, &e), ERR_INVALID);
        assert_non_null(strstr(e.text, "damaged"));
        token[at] = '%';
        assert_int_equal(replication_join(dir, "b", token, &e), ERR_INVALID);
        token[at] = was;
    }
    token[13] = '2';
    assert_int_equal(replication_join(dir, "b", token, &e), ERR_VERSION);
    assert_int_equal(replication_join(dir, "b", "hello", &e), ERR_INVALID);
    assert_false(replication_is_member(dir));
    mem_free(token);
    cluster_free(&c);
}

static void late_and_foreign_tokens(void **state)
{
    (void)state;
    struct cluster c;
    struct err_detail e = {0};
    char dir[128];
    cluster_make(&c, "c4");
    dir_of("n5", dir, sizeof(dir));
    struct identity_token t = {.cluster_id = c.id.cluster_id,
                               .id = 3,
                               .expires_ms = (uint64_t)clock_wall_ms() - 1000,
                               .name = mem_strdup("c"),
                               .advertise = mem_strdup("h:1"),
                               .peers = mem_strdup("h:2"),
                               .ca_pem = mem_strdup(c.ca)};
    assert_int_equal(identity_cert_make(c.ca, c.ca_key, c.id.cluster_id, 3, &t.cert_pem, &t.key_pem, &e), 0);
    char *token = identity_token_encode(&t);
    assert_int_equal(replication_join(dir, "c", token, &e), ERR_STALE);
    assert_non_null(strstr(e.text, "expired"));
    mem_free(token);
    t.expires_ms += 3600 * 1000;
    t.id = 4; /* not the certificate's */
    token = identity_token_encode(&t);
    assert_int_equal(replication_join(dir, "c", token, &e), ERR_INVALID);
    mem_free(token);
    t.id = 3;
    mem_free(t.name);
    t.name = mem_strdup("x\nfirst 1"); /* would add a line to the identity file */
    token = identity_token_encode(&t);
    assert_int_equal(replication_join(dir, "c", token, &e), ERR_INVALID);
    assert_false(replication_is_member(dir));
    mem_free(token);
    identity_token_close(&t);
    cluster_free(&c);
}

static void damaged_identity_is_not_loaded(void **state)
{
    (void)state;
    struct cluster c;
    struct err_detail e = {0};
    struct link_identity id;
    char path[160], text[1024];
    cluster_make(&c, "c5");
    snprintf(path, sizeof(path), "%s/node/identity", c.dir);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text), f);
    for (size_t at = 0; at < n; at += 7) {
        fseek(f, (long)at, SEEK_SET);
        fputc(text[at] ^ 1, f);
        fflush(f);
        int rv = identity_load(c.dir, &id, &e);
        assert_int_equal(rv, ERR_CORRUPT);
        assert_true(replication_is_member(c.dir)); /* never initialised over */
        fseek(f, (long)at, SEEK_SET);
        fputc(text[at], f);
        fflush(f);
    }
    fclose(f);
    assert_int_equal(identity_load(c.dir, &id, &e), 0);
    identity_close(&id);
    /* A key of another node. */
    struct cluster other;
    cluster_make(&other, "c6");
    char command[400];
    snprintf(command, sizeof(command), "cp %s/node/key.pem %s/node/key.pem", other.dir, c.dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(identity_load(c.dir, &id, &e), ERR_INVALID);
    snprintf(command, sizeof(command), "rm %s/node/key.pem", c.dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(identity_load(c.dir, &id, &e), ERR_CORRUPT);
    cluster_free(&c);
    cluster_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_makes_a_member),
        cmocka_unit_test(join_round_trip),
        cmocka_unit_test(starts_are_numbered),
        cmocka_unit_test(one_number_is_enough),
        cmocka_unit_test(damaged_tokens_say_so),
        cmocka_unit_test(late_and_foreign_tokens),
        cmocka_unit_test(damaged_identity_is_not_loaded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
