/* t/unit/log.c - log/log.h: line shapes, escaping, cutting, and that a full or absent log never holds anyone
 * up. */
#include "log/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/unit-log-XXXXXX";
static char path[sizeof(dir) + 16];
static int file = -1;

static int group_setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/log", dir);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static void use_file(const char *service)
{
	file = memfd_create("log", MFD_CLOEXEC);
	fcntl(file, F_SETFL, O_APPEND);
	log_init(&(struct log_conf){ .service = service, .file_fd = file });
}

static const char *contents(void)
{
	static char text[64 * 1024];
	ssize_t n = pread(file, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static int syslog_server(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	unlink(path);
	memcpy(un.sun_path, path, sizeof(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static const char *syslog_receive(int fd)
{
	static char text[4096];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return NULL;
	text[n] = '\0';
	return text;
}

static void assert_matches(const char *text, const char *pattern)
{
	regex_t re;
	int rc;

	assert_non_null(text);
	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	if ((rc = regexec(&re, text, 0, NULL, 0)) != 0)
		print_error("\"%s\" does not match %s\n", text, pattern);
	regfree(&re);
	assert_int_equal(rc, 0);
}

#define STAMP "[A-Z][a-z][a-z] [ 1-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9] "

static void file_lines_look_as_syslogd_writes_them(void **state)
{
	(void)state;
	use_file("smtpd");
	log_info("connect from %s", "unknown[192.0.2.1]");
	log_warning("w");
	log_error("e");
	log_line(LOG_LEVEL_PANIC, "p");
	log_debug("not wanted");
	assert_matches(contents(),
		       "^" STAMP
		       "[^ .]+ postfix/smtpd\\[[0-9]+\\]: connect from unknown\\[192\\.0\\.2\\.1\\]\n" STAMP
		       "[^ ]+ postfix/smtpd\\[[0-9]+\\]: warning: w\n" STAMP
		       "[^ ]+ postfix/smtpd\\[[0-9]+\\]: error: e\n" STAMP
		       "[^ ]+ postfix/smtpd\\[[0-9]+\\]: panic: p\n$");
	log_init(
	    &(struct log_conf){ .tag = "mx2", .service = "submission/smtpd", .file_fd = file, .verbose = 1 });
	log_debug("wanted");
	assert_matches(contents(), " mx2/submission/smtpd\\[[0-9]+\\]: wanted\n$");
	assert_string_equal(log_service(), "submission/smtpd");
	assert_int_equal(log_verbose(), 1);
}

/* Nothing in a text starts a line, forges a field of the next, or breaks a terminal. */
static void bytes_that_do_not_belong_become_question_marks(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "a\nb\r\tc\x1b[0m\x7f", "a?b??c?[0m?" },
		{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x93\xac",
		  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x93\xac" },
		{ "\xff\xfe|\xc3|\x80|\xe2\x82|", "??|?|?|??|" },
		{ "\xc0\x8a|\xe0\x80\x8a|\xf0\x80\x80\x8a|", "??|???|????|" }, /* overlong LF */
		{ "\xed\xa0\x80|\xf4\x90\x80\x80|", "???|????|" },	       /* surrogate, past U+10FFFF */
		{ "\xc2\x85|\xc2\x9b|\xe2\x80\xa8|\xe2\x80\xa9|",
		  "??|??|???|???|" }, /* NEL, CSI, U+2028, U+2029 */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char want[128];

		use_file("t");
		log_info("%s", cases[i].in);
		snprintf(want, sizeof(want), "]: %s\n", cases[i].out);
		assert_non_null(strstr(contents(), want));
		assert_int_equal(strcspn(contents(), "\n") + 1, strlen(contents()));
	}
}

static void long_lines_are_cut_between_characters(void **state)
{
	static char text[6001];

	(void)state;
	for (size_t shift = 0; shift < 3; shift++) {
		size_t n;

		memset(text, 'x', shift);
		for (size_t i = shift; i + 3 < sizeof(text); i += 3)
			memcpy(text + i, "\xe2\x82\xac", 3);
		use_file("t");
		log_info("%s", text);
		n = strlen(contents());
		assert_in_range(n, LOG_LINE_MAX - 3, LOG_LINE_MAX);
		assert_null(strchr(contents(), '?'));
		assert_string_equal(contents() + n - 4, "\xe2\x82\xac\n");
	}
}

static void syslog_records_carry_priority_and_tag(void **state)
{
	int server = syslog_server();

	(void)state;
	log_init(
	    &(struct log_conf){ .service = "qmgr", .to_syslog = true, .syslog_path = path, .file_fd = -1 });
	log_info("%s: removed", "4bXyZ");
	assert_matches(syslog_receive(server), "^<22>" STAMP "postfix/qmgr\\[[0-9]+\\]: 4bXyZ: removed$");
	log_line(LOG_LEVEL_FATAL, "f");
	assert_matches(syslog_receive(server), "^<18>" STAMP "postfix/qmgr\\[[0-9]+\\]: fatal: f$");
	log_init(&(struct log_conf){ .service = "qmgr",
				     .to_syslog = true,
				     .syslog_path = path,
				     .file_fd = -1,
				     .facility = LOG_LOCAL3 });
	log_warning("w");
	assert_matches(syslog_receive(server), "^<156>" STAMP "postfix/qmgr\\[[0-9]+\\]: warning: w$");
	close(server);
}

static void a_full_syslog_drops_and_counts(void **state)
{
	int server = syslog_server(), got = 0, lost = 0;
	const char *line = NULL;

	(void)state;
	log_init(&(struct log_conf){ .service = "t", .to_syslog = true, .syslog_path = path, .file_fd = -1 });
	for (int i = 0; i < 5000; i++)
		log_info("line %d", i); /* returns, though nobody reads */
	while ((line = syslog_receive(server)))
		got++;
	assert_in_range(got, 1, 4999);
	log_info("after");
	line = syslog_receive(server);
	assert_matches(line, "^<22>" STAMP "postfix/t\\[[0-9]+\\]: warning: [0-9]+ log lines dropped$");
	assert_int_equal(sscanf(strstr(line, "warning: "), "warning: %d", &lost), 1);
	assert_int_equal(got + lost, 5000);
	assert_matches(syslog_receive(server), ": after$");
	log_info("once only");
	assert_matches(syslog_receive(server), ": once only$");
	close(server);
}

static void a_new_syslog_daemon_is_found(void **state)
{
	int server = syslog_server();

	(void)state;
	log_init(&(struct log_conf){ .service = "t", .to_syslog = true, .syslog_path = path, .file_fd = -1 });
	log_info("one");
	assert_non_null(syslog_receive(server));
	close(server);
	unlink(path);
	usleep(1100 * 1000); /* one attempt a second */
	errno = ENXIO;
	log_info("lost");
	assert_int_equal(errno, ENXIO); /* logging keeps errno */
	server = syslog_server();
	usleep(1100 * 1000);
	log_info("two");
	assert_matches(syslog_receive(server), "warning: 1 log lines dropped$");
	assert_matches(syslog_receive(server), ": two$");
	close(server);
}

static void a_full_pipe_drops_and_counts(void **state)
{
	static char sink[256 * 1024];
	int p[2];
	ssize_t n;

	(void)state;
	assert_int_equal(pipe(p), 0);
	log_init(&(struct log_conf){ .service = "t", .file_fd = p[1] });
	for (int i = 0; i < 5000; i++)
		log_info("line %d", i);
	n = read(p[0], sink, sizeof(sink));
	assert_in_range(n, 4096, sizeof(sink));
	log_info("after");
	n = read(p[0], sink, sizeof(sink) - 1);
	sink[n < 0 ? 0 : n] = '\0';
	assert_matches(sink, "^" STAMP
			     "[^ ]+ postfix/t\\[[0-9]+\\]: warning: [0-9]+ log lines dropped\n.*: after\n$");
	log_set_file(-1); /* closes the former */
	assert_int_equal(read(p[0], sink, 1), 0);
	close(p[0]);
}

static void a_rotated_file_takes_over(void **state)
{
	int former;

	(void)state;
	use_file("t");
	former = file;
	log_info("one");
	file = memfd_create("log", MFD_CLOEXEC);
	log_set_file(file);
	assert_int_equal(fcntl(former, F_GETFD), -1);
	log_info("two");
	assert_null(strstr(contents(), "one"));
	assert_non_null(strstr(contents(), "two\n"));
}

/* "postmap: fatal: ..." on stderr, exit status as asked. */
static void die_tells_and_ends(void **state)
{
	char text[256] = "";
	int p[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(p), 0);
	if ((pid = fork()) == 0) {
		dup2(p[1], STDERR_FILENO);
		log_init(&(struct log_conf){ .service = "postmap", .file_fd = -1, .to_stderr = true });
		log_warning("first");
		if (fork() == 0)
			die("second");
		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 1)
			_exit(99);
		die_status(75, "third %d", 3);
	}
	close(p[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 75);
	assert_true(read(p[0], text, sizeof(text) - 1) > 0);
	assert_string_equal(text,
			    "postmap: warning: first\npostmap: fatal: second\npostmap: fatal: third 3\n");
	close(p[0]);
}

/* ---- postlogd ---- */

static void without_a_file_relayed_lines_go_to_syslog(void **state)
{
	int server = syslog_server();
	char text[256] = "";

	(void)state;
	log_init(&(struct log_conf){
	    .service = "postlogd", .to_syslog = true, .syslog_path = path, .file_fd = -1 });
	log_relayed(&(struct relay_line){ LOG_LEVEL_WARNING, SPAN("postfix/postdrop"), SPAN("late") }, 17,
		    "");
	assert_true(recv(server, text, sizeof(text) - 1, 0) > 0);
	assert_memory_equal(text, "<20>", 4);
	assert_string_equal(text + 20, "postfix/postdrop[17]: warning: late");
	close(server);
}

static void relayed(const char *tag, enum log_level level, const char *text, long pid)
{
	char datagram[RELAY_MAX];
	struct relay_line l;
	size_t n = relay_encode(datagram, &(struct relay_line){ level, span_str(tag), span_str(text) });

	assert_int_equal(relay_decode(span_make(datagram, n), &l), RC_OK);
	log_relayed(&l, pid, "");
}

static void a_relayed_line_looks_as_if_its_sender_had_written_it(void **state)
{
	(void)state;
	use_file("postlogd");
	relayed("postfix/sendmail", LOG_LEVEL_FATAL, "no recipients", 17);
	assert_non_null(strstr(contents(), " postfix/sendmail[17]: fatal: no recipients\n"));
	relayed("", LOG_LEVEL_INFO, "", 18);
	assert_non_null(strstr(contents(), " [18]: \n"));
	relayed("x\ny", LOG_LEVEL_WARNING, "a\nb\r\x1b[1m\xff", 19);
	assert_non_null(strstr(contents(), " x?y[19]: warning: a?b??[1m?\n"));
}

static void long_relayed_lines_are_cut(void **state)
{
	char *text = malloc(100001);

	(void)state;
	memset(text, 'z', 100000);
	text[100000] = '\0';
	use_file("postlogd");
	relayed("x", LOG_LEVEL_INFO, text, 17);
	relayed(text, LOG_LEVEL_INFO, "y", 17);
	assert_true(strlen(contents()) < 2 * (LOG_LINE_MAX + 1));
	assert_non_null(strstr(contents(), "z\n"));
	free(text);
}

static void what_is_no_relayed_line_is_refused(void **state)
{
	static const struct span bad[] = {
		SPAN(""),	 SPAN("L1"),
		SPAN("L11"),	 SPAN("L11x"),
		SPAN("L16x\0y"), SPAN("L1/x\0y"),
		SPAN("L21x\0y"), SPAN("Nov 29 01:02:03 host postfix/smtpd[1]: x"),
	};
	char big[RELAY_MAX + 1] = "L11x";
	struct relay_line l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(relay_decode(bad[i], &l), RC_SYNTAX);
	assert_int_equal(relay_decode(span_make(big, sizeof(big)), &l), RC_SYNTAX);
	assert_int_equal(relay_decode(span_make(big, sizeof(big) - 1), &l), RC_OK);
	memset(big + 3, 't', RELAY_TAG_MAX + 1);
	assert_int_equal(relay_decode(span_make(big, sizeof(big) - 1), &l), RC_SYNTAX);
}

static void users_wear_no_name_of_a_daemon(void **state)
{
	static const struct {
		const char *tag, *is;
		bool as_claimed;
	} cases[] = {
		{ "backup", "backup", true },
		{ "backup/daily", "backup/daily", true },
		{ "sn/sendmail", "sn/sendmail", true },
		{ "postfix/postlog", "postfix/postlog", true },
		{ "sn/smtpd", "sn/postlog", false },
		{ "sn", "sn/postlog", false },
		{ "postfix", "sn/postlog", false },
		{ "postfix/submission/smtpd", "sn/postlog", false },
		{ "postfix-out/qmgr", "sn/postlog", false },
		{ "x[1]: a b\xc3\xa4", "x?1???a?b??", true },
		{ "", "", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char claim[RELAY_TAG_MAX + 1], own[RELAY_TAG_MAX];
		struct span tag = span_str(cases[i].tag);

		assert_int_equal(relay_user_tag(&tag, "sn", claim, own), cases[i].as_claimed);
		assert_true(span_is(tag, cases[i].is));
	}
}

static void what_the_relay_does_not_take_goes_to_stderr(void **state)
{
	char datagram[RELAY_MAX], text[256] = "";
	int pair[2], p[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	assert_int_equal(pipe(p), 0);
	if ((pid = fork()) == 0) {
		dup2(p[1], STDERR_FILENO);
		close(pair[0]);
		log_init(&(struct log_conf){
		    .tag = "sn", .service = "postmap", .file_fd = -1, .relay_fd = pair[1] });
		log_warning("first");
		shutdown(pair[1], SHUT_WR);
		log_warning("second");
		_exit(0);
	}
	close(p[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(recv(pair[0], datagram, sizeof(datagram), 0), 3 + sizeof("sn/postmap") + 5);
	assert_memory_equal(datagram, "L12sn/postmap\0first", 3 + sizeof("sn/postmap") + 5);
	assert_true(read(p[0], text, sizeof(text) - 1) > 0);
	assert_string_equal(text, "postmap: warning: second\n");
	close(p[0]);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(file_lines_look_as_syslogd_writes_them),
		cmocka_unit_test(bytes_that_do_not_belong_become_question_marks),
		cmocka_unit_test(long_lines_are_cut_between_characters),
		cmocka_unit_test(syslog_records_carry_priority_and_tag),
		cmocka_unit_test(a_full_syslog_drops_and_counts),
		cmocka_unit_test(a_new_syslog_daemon_is_found),
		cmocka_unit_test(a_full_pipe_drops_and_counts),
		cmocka_unit_test(a_rotated_file_takes_over),
		cmocka_unit_test(die_tells_and_ends),
		cmocka_unit_test(a_relayed_line_looks_as_if_its_sender_had_written_it),
		cmocka_unit_test(without_a_file_relayed_lines_go_to_syslog),
		cmocka_unit_test(long_relayed_lines_are_cut),
		cmocka_unit_test(what_is_no_relayed_line_is_refused),
		cmocka_unit_test(users_wear_no_name_of_a_daemon),
		cmocka_unit_test(what_the_relay_does_not_take_goes_to_stderr),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
