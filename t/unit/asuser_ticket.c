/* t/unit/asuser_ticket.c - a monitor that serves by tickets starts a process for whom auth names, and for nobody else:
 * a front that names a user itself, or hands in a forged or spent ticket, one of another service, or one that leads
 * to a socket which is not auth's, gets nothing (asuser/ticket.h). The test plays front and auth. */
#include "asuser/private.h"
#include "log/log.h"
#include "task/task.h"
#include <errno.h>
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

static const unsigned char good[TICKET_SECRET] = "sixteen bytes..",
			   other_service[TICKET_SECRET] = "for pop3 alone.";

static int child_main(int fd, const struct asuser_id *id)
{
	uint32_t uid = (uint32_t)getuid();

	return write(fd, &uid, sizeof(uid)) == (ssize_t)sizeof(uid) && strcmp(id->tag, "imap") == 0 ? 0 : 1;
}

static const struct asuser_conf conf = {
	.name = "test",
	.seqpacket = true,
	.min_uid = 1,
	.child_rights = "stdio",
	.child_main = child_main,
	.ticket_dir = dir,
	.ticket_service = "imap",
};

static uint32_t expected_uid(void)
{
	return geteuid() == 0 ? TEST_UID : (uint32_t)geteuid();
}

/* ---- auth ---- */
static void answer(int fd, unsigned server, bool *spent)
{
	struct ticket_question q;
	struct ticket_answer a = { .magic = TICKET_MAGIC, .rc = RC_NOTFOUND };

	if (recv(fd, &q, sizeof(q), 0) != (ssize_t)sizeof(q) || q.magic != TICKET_MAGIC)
		return;
	memcpy(a.secret, q.secret, TICKET_SECRET);
	if (memcmp(q.secret, good, TICKET_SECRET) == 0 && strcmp(q.service, "imap") == 0 && !*spent) {
		a.rc = RC_OK;
		a.id = (struct asuser_id){
			.uid = expected_uid(), .gid = expected_uid(), .user = "kim", .tag = "imap"
		};
		if (server == AUTH_ROOT)
			a.id.uid = 0;
		*spent = true;
	}
	if (server == SILENT)
		memset(a.secret, 'x', TICKET_SECRET);
	(void)!send(fd, &a, sizeof(a), MSG_NOSIGNAL);
}

static NORETURN void serve(int listener, unsigned server)
{
	bool spent = false;

	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			_exit(0);
		answer(fd, server, &spent);
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

/* The uid of the process that was started, or 0 for none. */
static uint32_t ask(const void *request, size_t n)
{
	struct asuser_reply r;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec iov = { &r, sizeof(r) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control) };
	uint32_t uid = 0;
	int fd;

	assert_int_equal(send(front, request, n, 0), n);
	assert_int_equal(recvmsg(front, &m, 0), sizeof(r));
	if (r.rc != RC_OK) {
		assert_null(CMSG_FIRSTHDR(&m));
		return 0;
	}
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	assert_int_equal(recv(fd, &uid, sizeof(uid), 0), sizeof(uid));
	close(fd);
	return uid;
}

static uint32_t hand_in(unsigned server, const unsigned char *secret)
{
	struct asuser_ticket_request r = { .magic = ASUSER_MAGIC_TICKET, .ticket = { .server = server } };

	memcpy(r.ticket.secret, secret, TICKET_SECRET);
	return ask(&r, sizeof(r));
}

static void a_front_cannot_name_a_user(void **state)
{
	struct asuser_request r = { .magic = ASUSER_MAGIC,
				    .id = { .uid = geteuid() == 0 ? OTHER_UID : (uint32_t)geteuid(),
					    .gid = OTHER_UID,
					    .user = "lee",
					    .tag = "imap" } };
	char padded[sizeof(struct asuser_ticket_request) + sizeof(struct asuser_request)] = { 0 };
	struct asuser_ticket_request t = { .magic = ASUSER_MAGIC_TICKET, .ticket = { .server = SERVER } };

	(void)state;
	memcpy(t.ticket.secret, good, TICKET_SECRET);
	assert_int_equal(ask(&r, sizeof(r)), 0);
	r.magic = ASUSER_MAGIC_TICKET;
	assert_int_equal(ask(&r, sizeof(r)), 0);
	memcpy(padded, &t, sizeof(t)); /* a ticket, and more behind it */
	memcpy(padded + sizeof(t), &r, sizeof(r));
	assert_int_equal(ask(padded, sizeof(padded)), 0);
	assert_int_equal(ask(&t, sizeof(t) - 1), 0);
	t.magic = ASUSER_MAGIC;
	assert_int_equal(ask(&t, sizeof(t)), 0);
}

static void a_forged_ticket_is_refused(void **state)
{
	unsigned char forged[TICKET_SECRET];

	(void)state;
	memcpy(forged, good, sizeof(forged));
	forged[TICKET_SECRET - 1] ^= 1;
	assert_int_equal(hand_in(SERVER, forged), 0);
	assert_int_equal(hand_in(SERVER, other_service), 0);
	assert_int_equal(hand_in(99, good), 0); /* no process of auth has that pid */
}

static void a_socket_that_is_not_auths_is_refused(void **state)
{
	(void)state;
	if (geteuid() == 0)
		assert_int_equal(hand_in(IMPOSTOR, good), 0);
	assert_int_equal(hand_in(SILENT, good), 0);
	assert_int_equal(hand_in(AUTH_ROOT, good), 0); /* what auth says is checked, too */
}

static void a_ticket_is_good_once(void **state)
{
	(void)state;
	assert_int_equal(hand_in(SERVER, good), expected_uid());
	assert_int_equal(hand_in(SERVER, good), 0);
}

static void text_form(void **state)
{
	struct asuser_ticket t = { .server = 4242 }, back;
	char text[TICKET_TEXT_MAX];

	(void)state;
	memcpy(t.secret, good, TICKET_SECRET);
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
					    cmocka_unit_test(a_ticket_is_good_once),
					    cmocka_unit_test(text_form) };
	return cmocka_run_group_tests(tests, start, stop);
}
