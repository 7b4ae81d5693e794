/* t/unit/asuser_ticket.c - a monitor that serves by tickets passes a connection to the process of whom auth names, and to nobody else: a
 * front that names a user itself, or hands in a forged or spent ticket, one of another service, or one that leads
 * to a socket which is not auth's, reaches nobody, whether that user's process runs or not, and it never gets a descriptor of one
 * (asuser/asuser.h, asuser/ticket.h). The test plays front and auth. */
#include "asuser/private.h"
#include "log/log.h"
#include "task/task.h"
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define TEST_UID  54321
#define OTHER_UID 54322
#define SERVER	  1 /* the pid in its socket's name; auth */
#define IMPOSTOR  2 /* listens there with another uid */
#define SILENT	  3 /* listens, and does not answer with what a monitor can believe */
#define AUTH_ROOT 4 /* auth as it would be if it were led to name root */

static char dir[] = "/tmp/postern-ticket-XXXXXX";
static pid_t servers[8], monitor;
static unsigned servers_n;
static int front = -1;

/* Tickets, by what they stand for; the last byte tells them apart. */
static const unsigned char of_kim[TICKET_SECRET] = "kim; once......",
			   of_kim_again[TICKET_SECRET] = "kim; once.....2",
			   of_lee[TICKET_SECRET] = "lee; once......",
			   of_mo[TICKET_SECRET] = "mo; good always",
			   other_service[TICKET_SECRET] = "for pop3 alone.";

/* What a user's process says of itself, once it has a connection; the bytes that came with that tell it what to do. */
struct report {
	uint32_t uid;
	int32_t pid;
	char user[16];
};

static int child_main(int fd, const struct asuser_id *id)
{
	struct report r = { .uid = (uint32_t)getuid(), .pid = (int32_t)getpid() };
	char bytes[16];
	int fds[2];
	size_t n;

	snprintf(r.user, sizeof(r.user), "%.15s", strcmp(id->tag, "imap") == 0 ? id->user : "");
	for (;;) {
		struct pollfd p = { fd, POLLIN, 0 };

		(void)!poll(&p, 1, -1);
		if (asuser_take(fd, bytes, sizeof(bytes), &n, fds) != RC_OK)
			return 0;
		asuser_answer(fds[0], RC_OK);
		(void)!write(fds[0], &r, sizeof(r));
		close(fds[0]);
		if (span_is(span_make(bytes, n), "close"))
			shutdown(fd, SHUT_RDWR);
		if (span_is(span_make(bytes, n), "hang"))
			sleep(30);
	}
}

static const struct asuser_conf conf = {
	.name = "test",
	.min_uid = 1,
	.child_rights = "stdio recvfd",
	.child_main = child_main,
	.ticket_dir = dir,
	.ticket_service = "imap",
};

static uint32_t expected_uid(void)
{
	return geteuid() == 0 ? TEST_UID : (uint32_t)geteuid();
}

/* ---- auth ---- */
static const struct {
	const unsigned char *secret;
	const char *user;
	bool always;
} made[] = { { of_kim, "kim", false },
	     { of_kim_again, "kim", false },
	     { of_lee, "lee", false },
	     { of_mo, "mo", true } };

static void answer(int fd, unsigned server, bool *spent)
{
	struct ticket_question q;
	struct ticket_answer a = { .magic = TICKET_MAGIC, .rc = RC_NOTFOUND };

	if (recv(fd, &q, sizeof(q), 0) != (ssize_t)sizeof(q) || q.magic != TICKET_MAGIC)
		return;
	memcpy(a.secret, q.secret, TICKET_SECRET);
	for (size_t i = 0; i < ARRAY_LEN(made); i++)
		if (memcmp(q.secret, made[i].secret, TICKET_SECRET) == 0 && strcmp(q.service, "imap") == 0 &&
		    !spent[i]) {
			a.rc = RC_OK;
			a.id =
			    (struct asuser_id){ .uid = expected_uid(), .gid = expected_uid(), .tag = "imap" };
			snprintf(a.id.user, sizeof(a.id.user), "%s", made[i].user);
			if (server == AUTH_ROOT)
				a.id.uid = 0;
			spent[i] = !made[i].always;
		}
	if (server == SILENT)
		memset(a.secret, 'x', TICKET_SECRET);
	(void)!send(fd, &a, sizeof(a), MSG_NOSIGNAL);
}

static NORETURN void serve(int listener, unsigned server)
{
	bool spent[ARRAY_LEN(made)] = { false };

	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			_exit(0);
		answer(fd, server, spent);
		close(fd);
	}
}

/* Listens before it returns. */
static void start_server(unsigned server, uint32_t uid)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int ready[2];
	char c;

	assert_int_equal(pipe(ready), 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/" TICKET_PREFIX "%u", dir, server);
	if ((servers[servers_n++] = fork()) == 0) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

		if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || (uid && setuid(uid) < 0) ||
		    listen(fd, 8) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		serve(fd, server);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
}

/* ---- the front ---- */

/* What came of it: the answer's rc; RC_EOF: none. */
static enum rc outcome(int ours, struct report *r)
{
	struct asuser_answer a;
	ssize_t n = recv(ours, &a, sizeof(a), 0);

	memset(r, 0, sizeof(*r));
	if (n <= 0)
		return RC_EOF;
	assert_int_equal(n, sizeof(a));
	if (a.rc == RC_OK) {
		assert_int_equal(recv(ours, r, sizeof(*r), MSG_WAITALL), sizeof(*r));
		assert_int_equal(a.pid, r->pid);
		assert_int_equal(r->uid, expected_uid());
	}
	return (enum rc)a.rc;
}

static void send_off(const struct iovec *iov, int far_end)
{
	struct pollfd p = { front, POLLOUT, 0 };

	while (asuser_send(front, iov, 1, &far_end, 1) < 0) {
		assert_int_equal(errno, EAGAIN);
		(void)!poll(&p, 1, 10000);
	}
}

/* Sends a record with one end of a pair, and says what came back on the other; the monitor itself says nothing to the front. */
static enum rc send_to(const void *record, size_t n, struct report *r)
{
	const struct iovec iov = { (void *)(uintptr_t)record, n };
	int pair[2];
	char c;
	enum rc rc;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	send_off(&iov, pair[1]);
	close(pair[1]);
	rc = outcome(pair[0], r);
	close(pair[0]);
	assert_int_equal(recv(front, &c, 1, MSG_DONTWAIT), -1);
	return rc;
}

static enum rc hand_in_to(unsigned server, const unsigned char *secret, const char *bytes, struct report *r)
{
	struct {
		struct asuser_ticket_request q;
		char bytes[16];
	} record = { .q = { .magic = ASUSER_MAGIC_TICKET, .ticket = { .server = server } } };

	memcpy(record.q.ticket.secret, secret, TICKET_SECRET);
	snprintf(record.bytes, sizeof(record.bytes), "%s", bytes);
	return send_to(&record, sizeof(record.q) + strlen(bytes), r);
}

static enum rc hand_in(const unsigned char *secret, struct report *r)
{
	return hand_in_to(SERVER, secret, "x", r);
}

static void a_front_cannot_name_a_user(void **state)
{
	struct asuser_request q = { .magic = ASUSER_MAGIC,
				    .id = { .uid = geteuid() == 0 ? OTHER_UID : (uint32_t)geteuid(),
					    .gid = OTHER_UID,
					    .user = "lee",
					    .tag = "imap" } };
	struct asuser_ticket_request t = { .magic = ASUSER_MAGIC_TICKET, .ticket = { .server = SERVER } };
	char large[sizeof(t) + ASUSER_BYTES_MAX + 1] = { 0 };
	struct report r;

	(void)state;
	memcpy(t.ticket.secret, of_kim, TICKET_SECRET);
	assert_int_equal(send_to(&q, sizeof(q), &r), RC_DENIED);
	q.magic = ASUSER_MAGIC_TICKET; /* taken for a ticket: of no process of auth */
	assert_int_equal(send_to(&q, sizeof(q), &r), RC_AGAIN);
	assert_int_equal(send_to(&t, sizeof(t), &r), RC_DENIED); /* nothing for the process */
	assert_int_equal(send_to(&t, sizeof(t) - 1, &r), RC_DENIED);
	memcpy(large, &t, sizeof(t));
	assert_int_equal(send_to(large, sizeof(large), &r), RC_EOF); /* more than there is room for */
	assert_int_equal(send(front, large, sizeof(t) + 1, 0), sizeof(t) + 1); /* no connection */
	t.magic = ASUSER_MAGIC;
	assert_int_equal(send_to(&t, sizeof(t), &r), RC_DENIED);
}

static void a_forged_ticket_is_refused(void **state)
{
	unsigned char forged[TICKET_SECRET];
	struct report r;

	(void)state;
	memcpy(forged, of_kim, sizeof(forged));
	forged[TICKET_SECRET - 1] ^= 1;
	assert_int_equal(hand_in(forged, &r), RC_DENIED);
	assert_int_equal(hand_in(other_service, &r), RC_DENIED);
	assert_int_equal(hand_in_to(99, of_kim, "x", &r), RC_AGAIN); /* no process of auth has that pid */
}

static void a_socket_that_is_not_auths_is_refused(void **state)
{
	struct report r;

	(void)state;
	if (geteuid() == 0)
		assert_int_equal(hand_in_to(IMPOSTOR, of_kim, "x", &r), RC_DENIED);
	assert_int_equal(hand_in_to(SILENT, of_kim, "x", &r), RC_SYNTAX);
	assert_int_equal(hand_in_to(AUTH_ROOT, of_kim, "x", &r),
			 RC_DENIED); /* what auth says is checked, too */
}

/* The heart of it: that kim's process runs helps nobody who has not logged in as kim. */
static void a_ticket_is_good_once_and_leads_to_its_user(void **state)
{
	struct report kim, again, lee, r;

	(void)state;
	assert_int_equal(hand_in(of_kim, &kim), RC_OK);
	assert_string_equal(kim.user, "kim");
	assert_int_equal(hand_in(of_kim, &r), RC_DENIED);
	assert_int_equal(hand_in(other_service, &r), RC_DENIED);
	assert_int_equal(hand_in(of_lee, &lee), RC_OK);
	assert_string_equal(lee.user, "lee");
	assert_int_not_equal(lee.pid, kim.pid);
	assert_int_equal(hand_in(of_kim_again, &again), RC_OK);
	assert_int_equal(again.pid, kim.pid);
	assert_int_equal(kill(kim.pid, 0), 0);
}

/* One that takes nothing more is followed by a new one, and no connection is lost between the two. */
static void a_process_that_closed_is_replaced(void **state)
{
	struct report first, next;

	(void)state;
	assert_int_equal(hand_in_to(SERVER, of_mo, "close", &first), RC_OK);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(hand_in_to(SERVER, of_mo, "close", &next), RC_OK);
		assert_string_equal(next.user, "mo");
	}
	assert_int_not_equal(first.pid, next.pid);
}

#define MORE_THAN_A_QUEUE 300 /* of the largest records: 2.7 MB */

/* A process that hangs is its user's trouble alone: the monitor does not wait for it. */
static void a_process_that_hangs_holds_nobody_up(void **state)
{
	struct asuser_ticket_request t = { .magic = ASUSER_MAGIC_TICKET, .ticket = { .server = SERVER } };
	static char large[sizeof(t) + ASUSER_BYTES_MAX];
	const struct iovec iov = { large, sizeof(large) };
	struct report hangs, refused;
	int pair[2];

	(void)state;
	memcpy(t.ticket.secret, of_mo, TICKET_SECRET);
	memcpy(large, &t, sizeof(t));
	while (hand_in_to(SERVER, of_mo, "hang", &hangs) != RC_OK)
		;
	for (unsigned i = 0; i < MORE_THAN_A_QUEUE; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		send_off(&iov, pair[1]);
		close(pair[1]);
		if (i + 1 < MORE_THAN_A_QUEUE)
			close(pair[0]);
	}
	assert_int_equal(outcome(pair[0], &refused), RC_AGAIN);
	close(pair[0]);
	kill(hangs.pid, SIGKILL);
}

static void text_form(void **state)
{
	struct asuser_ticket t = { .server = 4242 }, back;
	char text[TICKET_TEXT_MAX];

	(void)state;
	memcpy(t.secret, of_kim, TICKET_SECRET);
	ticket_text(&t, text);
	assert_int_equal(ticket_parse(span_str(text), &back), RC_OK);
	assert_memory_equal(&t, &back, sizeof(t));
	text[strlen(text) - 1] = 'g';
	assert_int_equal(ticket_parse(span_str(text), &back), RC_SYNTAX);
	assert_int_equal(ticket_parse(SPAN(""), &back), RC_SYNTAX);
	assert_int_equal(ticket_parse(SPAN("1.00"), &back), RC_SYNTAX);
	assert_int_equal(ticket_parse(SPAN("99999999999.00000000000000000000000000000000"), &back),
			 RC_SYNTAX);
	assert_int_equal(ticket_parse(SPAN("../x.00000000000000000000000000000000"), &back), RC_SYNTAX);
}

static int start(void **state)
{
	int pair[2];

	(void)state;
	if (!mkdtemp(dir) || chmod(dir, 0711) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		return -1;
	start_server(SERVER, 0);
	start_server(SILENT, 0);
	start_server(AUTH_ROOT, 0);
	if (geteuid() == 0)
		start_server(IMPOSTOR, OTHER_UID);
	if ((monitor = fork()) == 0) {
		close(pair[0]);
		asuser_monitor(pair[1], &conf);
	}
	close(pair[1]);
	front = pair[0];
	return 0;
}

static int stop(void **state)
{
	char path[96];

	(void)state;
	kill(monitor, SIGKILL); /* the servers hold copies of the front's end: no end of file for it */
	waitpid(monitor, NULL, 0);
	close(front);
	for (unsigned i = 0; i < servers_n; i++) {
		kill(servers[i], SIGKILL);
		waitpid(servers[i], NULL, 0);
	}
	for (unsigned i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/" TICKET_PREFIX "%u", dir, i);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_front_cannot_name_a_user),
					    cmocka_unit_test(a_forged_ticket_is_refused),
					    cmocka_unit_test(a_socket_that_is_not_auths_is_refused),
					    cmocka_unit_test(a_ticket_is_good_once_and_leads_to_its_user),
					    cmocka_unit_test(a_process_that_closed_is_replaced),
					    cmocka_unit_test(a_process_that_hangs_holds_nobody_up),
					    cmocka_unit_test(text_form) };
	return cmocka_run_group_tests(tests, start, stop);
}
