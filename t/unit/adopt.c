/* Claim: a queue file of Postfix's that cannot be taken over for now stays where it is and is told so; the next call takes it. One that is
 * damaged goes to corrupt/. */
#include "queue/adopt.h"

#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define BEGIN                                                                                                \
	"C\x0d"                                                                                              \
	"10 100 1 0 10"                                                                                      \
	"T\x0c"                                                                                              \
	"1795903491 1"                                                                                       \
	"S\x03"                                                                                              \
	"s@a"                                                                                                \
	"R\x03"                                                                                              \
	"r@b"                                                                                                \
	"M"

struct told {
	unsigned taken, later, never;
};

static void tell(void *arg, const char *name, const struct err *why, bool later)
{
	struct told *t = arg;

	(void)name;
	t->taken += !why;
	t->later += why && later;
	t->never += why && !later;
}

static void put(const char *path, const char *text, size_t n)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f) | chmod(path, 0700), 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static void full_disk_and_damage(void **state)
{
	static const char whole[] = BEGIN "\0N\4x: yX\0E", cut[] = BEGIN "\0N\4x: y";
	struct rlimit was, none;
	char dir[] = "/tmp/postern-adopt.XXXXXX", path[200];
	struct queue *q;
	struct told t = { 0 };
	struct err e;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(queue_open(dir, true, &q, &e), RC_OK);
	snprintf(path, sizeof path, "%s/hold/ABCDEF12345", dir);
	put(path, whole, sizeof whole);
	snprintf(path, sizeof path, "%s/hold/ABCDEF99999", dir);
	put(path, cut, sizeof cut - 1);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	none = (struct rlimit){ 100, was.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	enum rc rc = queue_adopt(q, QW_HOLD, tell, &t, &e);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(rc, RC_OK);
	assert_true(t.taken == 0 && t.later == 1 && t.never == 1);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof path, "%s/corrupt/ABCDEF99999", dir);
	assert_int_equal(access(path, F_OK), 0);
	t = (struct told){ 0 };
	assert_int_equal(queue_adopt(q, QW_HOLD, tell, &t, &e), RC_OK);
	assert_true(t.taken == 1 && t.later == 0 && t.never == 0);
	t = (struct told){ 0 };
	assert_int_equal(queue_adopt(q, QW_HOLD, tell, &t, &e), RC_OK);
	assert_true(t.taken == 0 && t.later == 0 && t.never == 0); /* it is ours now */
	queue_close(&q);
	assert_int_equal(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(full_disk_and_damage) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
