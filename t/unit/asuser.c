/* t/unit/asuser.c - the monitor forks a child that is the user and nothing more, refuses root, the suite's
 * own users, bad paths and names, and reports how a child ended (asuser/asuser.h). */
#include "asuser/asuser.h"
#include "asuser/private.h"
#include "log/log.h"
#include "task/task.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define TEST_UID 54321
#define TEST_GID 54322

static char dir[] = "/tmp/postern-asuser-XXXXXX";
static char home[64];

/* Tells who it is and what it can reach. */
static int child_main(int fd, const struct asuser_id *id)
{
	char line[256], path[ASUSER_PATH_MAX + 8];
	snprintf(path, sizeof path, "%s/new", id->dir);
	int made = open(path, O_WRONLY | O_CREAT, 0600);
	int other = open("/etc/passwd", O_RDONLY);
	snprintf(line, sizeof line, "%ld %ld %s %d %d %d", (long)getuid(), (long)getgid(), id->tag, made >= 0,
		 other >= 0, setuid(0) == 0);
	if (write(fd, line, strlen(line)) < 0)
		return 2;
	return 7;
}

static const struct asuser_conf conf = {
	.name = "test",
	.seqpacket = true,
	.min_uid = 1,
	.child_rights = "stdio rpath wpath",
	.child_main = child_main,
};

static struct asuser_id good_id(void)
{
	struct asuser_id id = {
		.uid = TEST_UID, .gid = TEST_GID, .make_dir = 1, .tag = "imap", .user = "no-such-user"
	};
	if (geteuid() != 0) {
		id.uid = geteuid();
		id.gid = getegid();
	}
	snprintf(id.dir, sizeof id.dir, "%s", home);
	return id;
}

static bool refused_after(void (*spoil)(struct asuser_id *id))
{
	struct asuser_request r = { .magic = ASUSER_MAGIC, .id = good_id() };
	struct err e;
	spoil(&r.id);
	return asuser_validate(&r, &conf, &e) == RC_DENIED;
}

static void spoil_nothing(struct asuser_id *id)
{
	(void)id;
}
static void spoil_uid(struct asuser_id *id)
{
	id->uid = 0;
}
static void spoil_own_user(struct asuser_id *id)
{
	id->uid = 4711;
}
static void spoil_relative(struct asuser_id *id)
{
	snprintf(id->dir, sizeof id->dir, "tmp/x");
}
static void spoil_dots(struct asuser_id *id)
{
	snprintf(id->home, sizeof id->home, "/home/kim/../root");
}
static void spoil_unterminated(struct asuser_id *id)
{
	memset(id->home, 'x', sizeof id->home);
	id->home[0] = '/';
}
static void spoil_name(struct asuser_id *id)
{
	snprintf(id->user, sizeof id->user, "kim\nroot");
}
static void spoil_exec(struct asuser_id *id)
{
	id->allow_exec = 1;
}
static void spoil_flag(struct asuser_id *id)
{
	id->make_dir = 2;
}

static void validation(void **state)
{
	(void)state;
	sandbox_reserve(4711);
	assert_false(refused_after(spoil_nothing));
	assert_true(refused_after(spoil_uid));
	assert_true(refused_after(spoil_own_user));
	assert_true(refused_after(spoil_relative));
	assert_true(refused_after(spoil_dots));
	assert_true(refused_after(spoil_unterminated));
	assert_true(refused_after(spoil_name));
	assert_true(refused_after(spoil_exec));
	assert_true(refused_after(spoil_flag));
}

static char answer[256];
static int32_t end_status;
static enum rc refused_rc;

static void run_task(void *arg)
{
	(void)arg;
	struct asuser_id id = good_id(), bad = good_id();
	struct err e;
	int fd, status_fd, unused;
	if (asuser_run_wait(&id, &fd, &status_fd, &e) != RC_OK)
		return;
	(void)!task_wait_fd(fd, TASK_READ, deadline_s(10));
	ssize_t n = recv(fd, answer, sizeof answer - 1, 0);
	answer[n > 0 ? n : 0] = '\0';
	if (task_wait_fd(status_fd, TASK_READ, deadline_s(10)) != RC_OK ||
	    read(status_fd, &end_status, 4) != 4)
		end_status = -1;
	task_forget_fd(fd);
	close(fd);
	bad.uid = 0;
	refused_rc = asuser_run(&bad, &unused, &e);
	loop_stop(0);
}

static void child_is_the_user(void **state)
{
	(void)state;
	char expected[256];
	struct err e;
	struct asuser_id id = good_id();
	loop_init();
	assert_int_equal(asuser_start(&conf, &e), RC_OK);
	task_spawn(run_task, NULL);
	loop_run();
	int outside = sandbox_landlock_abi() == 0;
	snprintf(expected, sizeof expected, "%lu %lu imap 1 %d 0", (unsigned long)id.uid,
		 (unsigned long)id.gid, outside);
	assert_string_equal(answer, expected);
	assert_true(WIFEXITED(end_status) && WEXITSTATUS(end_status) == 7);
	assert_int_equal(refused_rc, RC_DENIED);
	struct stat st;
	assert_int_equal(stat(home, &st), 0);
	assert_int_equal(st.st_uid, id.uid);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static int make_dir(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL || chmod(dir, 0755) < 0)
		return -1;
	snprintf(home, sizeof home, "%s/home", dir);
	return 0;
}

static int remove_dir(void **state)
{
	char path[96];
	(void)state;
	snprintf(path, sizeof path, "%s/new", home);
	unlink(path);
	rmdir(home);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(validation),
					    cmocka_unit_test(child_is_the_user) };
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
