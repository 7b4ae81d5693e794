/* Delivery into Maildir and mbox: complete or not at all, never twice for one queue id and recipient, limits
 * and quoting kept. */
#include "store/paths.h"
#include "store/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

static char base[256];

static int setup(void **state)
{
	(void)state;
	snprintf(base, sizeof(base), "/tmp/store_deliver.XXXXXX");
	assert_non_null(mkdtemp(base));
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	return nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* In place of libc's: remembers in which order things became durable. In the test of many at once: counts flushes of
 * directories, and the first flush of all waits for the other threads. */
static char order[16];
#define MANY 8
static atomic_uint arrived, flushes, directories;
static bool many;
static char broken; /* 'f', 'd': flushes of such fail */
static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;

static int fsync_many(int fd)
{
	struct stat st;
	if (atomic_fetch_add(&flushes, 1) == 0) {
		while (atomic_load(&arrived) < MANY)
			usleep(1000);
		usleep(1000 * 1000);
	}
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		atomic_fetch_add(&directories, 1);
	return (int)syscall(SYS_fsync, fd);
}

int fsync(int fd)
{
	struct stat st;
	if (many)
		return fsync_many(fd);
	if (fstat(fd, &st) != 0)
		return -1;
	char kind = S_ISDIR(st.st_mode) ? 'd'
		    : st.st_nlink	? 'f'
					: '?'; /* '?': a file that has no name yet */
	pthread_mutex_lock(&order_lock);
	size_t n = strlen(order);
	if (n + 1 < sizeof(order)) {
		order[n] = kind;
		order[n + 1] = '\0';
	}
	pthread_mutex_unlock(&order_lock);
	if (kind == broken) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

static struct store_loc location(const char *text)
{
	struct store_loc l;
	struct err e;
	assert_int_equal(store_loc_parse(span_str(text), base, "kim@example.org", &l, &e), RC_OK);
	return l;
}

static size_t files_in(const char *sub, char *first, size_t size)
{
	char p[512];
	size_t n = 0;
	snprintf(p, sizeof(p), "%s/%s", base, sub);
	DIR *d = opendir(p);
	for (struct dirent *de; d && (de = readdir(d));)
		if (de->d_name[0] != '.') {
			snprintf(first, size, "%s/%s", p, de->d_name);
			n++;
		}
	if (d)
		closedir(d);
	return n;
}

static struct span slurp(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, out, size);
	close(fd);
	return span_make(out, n > 0 ? (size_t)n : 0);
}

static struct store_delivery message(const struct span *body, const char *qid, const char *rcpt)
{
	return (struct store_delivery){ .qid = span_str(qid),
					.recipient = span_str(rcpt),
					.sender = SPAN("s@example.org"),
					.prefix = SPAN("Return-Path: <s@example.org>\nDelivered-To: x\n"),
					.piece = body,
					.pieces = 1,
					.fd = -1,
					.arrival_us = wall_now().us };
}

static void maildir_repeats_nothing(void **state)
{
	struct store_loc l = location("maildir:~/Maildir");
	struct span body = SPAN("Received: id ABC123DEF0\nSubject: x\n\nFrom here\n");
	struct store_delivery m = message(&body, "ABC123DEF0", "kim@example.org");
	struct store_delivered d;
	struct err e;
	char path[1024], moved[1100], text[512];
	(void)state;
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_OK);
	assert_false(d.repeated);
	assert_int_equal(files_in("Maildir/new", path, sizeof(path)), 1);
	assert_int_equal(files_in("Maildir/tmp", text, sizeof(text)), 0);
	struct span got = slurp(path, text, sizeof(text));
	assert_true(span_starts(got, m.prefix) && span_ends(got, body));
	assert_non_null(strstr(d.name, ",S="));
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e),
			 RC_OK); /* the agent was killed after new/ was written */
	assert_true(d.repeated);
	snprintf(moved, sizeof(moved), "%s/Maildir/cur/%s:2,S", base, strrchr(path, '/') + 1);
	assert_int_equal(rename(path, moved), 0); /* ... and a client has read it */
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_OK);
	assert_true(d.repeated);
	assert_int_equal(files_in("Maildir/new", path, sizeof(path)), 0);
	m.recipient =
	    SPAN("other@example.org"); /* an alias may name the same mailbox twice: not the same delivery */
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_OK);
	assert_false(d.repeated);
	assert_int_equal(store_deliver(&l, "Nope", &m, &d, &e), RC_NOTFOUND);
	m.max_bytes = 10;
	m.qid = SPAN("ABC123DEF1");
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_LIMIT);
	assert_int_equal(files_in("Maildir/new", path, sizeof(path)), 1);
}

/* At the same moment, so that one commit of the journal serves both. */
static void maildir_syncs_the_named_file_and_its_directory(void **state)
{
	struct store_loc l = location("maildir:~/Maildir");
	struct span body = SPAN("Subject: x\n\ny\n");
	struct store_delivery m = message(&body, "ABC123DEF0", "kim@example.org");
	struct store_delivered d;
	struct err e;
	(void)state;
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_OK); /* makes the Maildir, too */
	m.qid = SPAN("ABC123DEF1");
	order[0] = '\0';
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_OK);
	assert_true(strcmp(order, "fd") == 0 || strcmp(order, "df") == 0);
}

/* What may not be on disk is not acknowledged, and does not stay; the next attempt delivers. */
static void maildir_keeps_nothing_that_was_not_flushed(void **state)
{
	struct store_loc l = location("maildir:~/third");
	struct span body = SPAN("Subject: x\n\ny\n");
	struct store_delivery m = message(&body, "ABC123DEF2", "kim@example.org");
	struct store_delivered d;
	struct err e;
	char path[1024];
	(void)state;
	m.qid = SPAN("ABC123DEF0");
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_OK);
	m.qid = SPAN("ABC123DEF1");
	for (const char *p = "fd"; *p; p++) {
		broken = *p;
		assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_SYS);
		broken = 0;
		assert_int_equal(files_in("third/new", path, sizeof(path)), 1);
	}
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_OK);
	assert_false(d.repeated);
	assert_int_equal(files_in("third/new", path, sizeof(path)), 2);
}

static void *deliver_one(void *arg)
{
	static const struct span body = SPAN("Subject: x\n\ny\n");
	const unsigned *i = arg;
	struct store_loc l = location(*i % 2 ? "maildir:~/Maildir" : "maildir:~/other");
	char qid[24];
	struct store_delivered d;
	struct err e;
	snprintf(qid, sizeof(qid), "ABC123DEF%u", *i / 4 * 4); /* one message for each mailbox comes twice */
	struct store_delivery m = message(&body, qid, "kim@example.org");
	m.arrival_us = 1;
	atomic_fetch_add(&arrived, 1);
	return store_deliver(&l, "INBOX", &m, &d, &e) == RC_OK ? (void *)(uintptr_t)(1 + d.repeated) : NULL;
}

/* Deliveries at once commit together: nothing lost, a repetition beside its original found, fewer flushes of
 * directories than messages. */
static void maildir_many_at_once(void **state)
{
	pthread_t t[MANY];
	unsigned number[MANY], how[3] = { 0 };
	char path[1024];
	void *result;
	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		number[i] = i;
	for (unsigned i = MANY; i < MANY + 2; i++) /* makes the Maildirs */
		assert_non_null(deliver_one(&i));
	atomic_store(&arrived, 0);
	many = true;
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(pthread_create(&t[i], NULL, deliver_one, &number[i]), 0);
	for (unsigned i = 0; i < MANY; i++) {
		pthread_join(t[i], &result);
		assert_in_range((uintptr_t)result, 1, 2);
		how[(uintptr_t)result]++;
	}
	many = false;
	assert_int_equal(how[2], MANY / 2);
	assert_int_equal(files_in("Maildir/new", path, sizeof(path)), 1 + MANY / 4);
	assert_int_equal(files_in("other/new", path, sizeof(path)), 1 + MANY / 4);
	/* Those found to be there already flush for themselves: file, new/ and cur/. */
	assert_in_range(directories, 2, MANY / 2 * 2 + MANY / 2 - 1);
}

/* Whatever is in the sender, the date behind it tells that a message begins here. */
static void mbox_sender_is_one_word(void **state)
{
	static const char odd[] = "\"a b\"\0\t\nc d e f g@x.test";
	struct span body = SPAN("Subject: x\n\ny\n");
	struct store_delivery m = message(&body, "ABC123DEF0", "kim@example.org");
	struct store_delivered d;
	struct store_loc l;
	struct err e;
	char path[300], text[4096];
	(void)state;
	snprintf(path, sizeof(path), "%s/odd", base);
	l = location(path);
	m.sender = span_make(odd, sizeof(odd) - 1);
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_OK);
	struct span got = slurp(path, text, sizeof(text));
	assert_true(span_starts(got, SPAN("From \"a-b\"???c-d-e-f-g@x.test  ")));
	assert_true(mbox_from_line(span_head(got, (size_t)span_chr(got, '\n'))) > 0);
}

static void mbox_repeats_nothing(void **state)
{
	struct store_loc l;
	struct span body = SPAN("Received: by x id ABC123DEF0\nSubject: x\n\nFrom here\nlast"),
		    other = SPAN("Subject: y\n\nz\n");
	struct store_delivery m = message(&body, "ABC123DEF0", "kim@example.org");
	struct store_delivered d;
	struct err e;
	struct stat st;
	char path[300], text[4096];
	(void)state;
	snprintf(path, sizeof(path), "%s/mbox", base);
	l = location(path);
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_OK);
	struct span got = slurp(path, text, sizeof(text));
	assert_true(span_starts(got, SPAN("From s@example.org  ")));
	assert_true(span_ends(got, SPAN("\n>From here\nlast\n\n")));
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e), RC_OK);
	assert_true(d.repeated);
	struct store_delivery n = message(&other, "FFF123DEF0", "kim@example.org");
	assert_int_equal(store_deliver(&l, "INBOX", &n, &d, &e), RC_OK);
	assert_false(d.repeated);
	assert_int_equal(store_deliver(&l, "INBOX", &m, &d, &e),
			 RC_OK); /* found behind a later message, too */
	assert_true(d.repeated);
	assert_int_equal(store_deliver(&l, "INBOX", &n, &d, &e),
			 RC_OK); /* no queue id in its header: X-Postern-Id */
	assert_true(d.repeated);
	got = slurp(path, text, sizeof(text));
	assert_true(span_find(got, SPAN("X-Postern-Id: FFF123DEF0\n")) > 0);
	/* Torn at the end by a crash: cut off and written again. */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size - 6), 0);
	assert_int_equal(store_deliver(&l, "INBOX", &n, &d, &e), RC_OK);
	assert_false(d.repeated);
	struct span again = slurp(path, text + 2048, 2048);
	assert_int_equal(again.n, got.n);
	n.max_bytes = 100;
	n.qid = SPAN("EEE123DEF0");
	assert_int_equal(store_deliver(&l, "INBOX", &n, &d, &e), RC_LIMIT);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal((size_t)st.st_size, got.n);
}

static void locations_are_read_as_dovecot_writes_them(void **state)
{
	struct store_loc l = location("maildir:/v/%d/%n/Maildir:INDEX=/i/%u");
	struct err e;
	(void)state;
	assert_string_equal(l.root, "/v/example.org/kim/Maildir");
	assert_string_equal(l.index, "/i/kim@example.org");
	l = location("mbox:~/mail:INBOX=/var/mail/%u");
	assert_int_equal(l.kind, STORE_MBOX);
	assert_string_equal(l.inbox, "/var/mail/kim@example.org");
	l = location("/v/kim/");
	assert_int_equal(l.kind, STORE_MAILDIR);
	assert_int_equal(store_loc_parse(SPAN("maildir:/v/../etc"), "", "", &l, &e), RC_SYNTAX);
	assert_int_equal(store_loc_parse(SPAN("maildir:/v/%u"), "", "../x", &l, &e), RC_SYNTAX);
	assert_int_equal(store_loc_parse(SPAN("maildir:x"), "", "", &l, &e), RC_SYNTAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(maildir_repeats_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(maildir_syncs_the_named_file_and_its_directory, setup,
						teardown),
		cmocka_unit_test_setup_teardown(maildir_keeps_nothing_that_was_not_flushed, setup, teardown),
		cmocka_unit_test_setup_teardown(maildir_many_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(mbox_sender_is_one_word, setup, teardown),
		cmocka_unit_test_setup_teardown(mbox_repeats_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(locations_are_read_as_dovecot_writes_them, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
