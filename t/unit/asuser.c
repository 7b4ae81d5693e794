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

static char root_dir[64], root_box[80];

/* As root, but for nothing but the mailbox: "who box shadow beside exec truncate chown kill". */
static int root_main(int fd)
{
	char name[] = "true", *argv[] = { name, NULL };
	char line[128], beside[96];
	snprintf(beside, sizeof beside, "%s/beside", root_dir);
	int box = open(root_box, O_RDWR), shadow = open("/etc/shadow", O_RDONLY),
	    other = open(beside, O_WRONLY | O_CREAT, 0600), run = execve("/bin/true", argv, NULL);
	snprintf(line, sizeof line, "%ld %d %d %d %d %d %d %d", (long)geteuid(), box >= 0, shadow >= 0,
		 other >= 0, run >= 0, truncate("/etc/nologin", 0) == 0, chown(root_box, 1, 1) == 0,
		 unlink(root_box) == 0);
	return write(fd, line, strlen(line)) < 0 ? 2 : 7;
}

/* Tells who it is and what it can reach. */
static int child_main(int fd, const struct asuser_id *id)
{
	if (id->root)
		return root_main(fd);
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

static enum rc enter_box(int fd, struct sandbox_path *out, size_t max, size_t *n, struct err *e)
{
	(void)fd;
	(void)max;
	int made = open(root_box, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (made < 0)
		return err_sys(e, "open %s", root_box);
	close(made);
	out[(*n)++] = (struct sandbox_path){ root_box, SB_READ | SB_WRITE };
	return RC_OK;
}

static const struct asuser_conf conf = {
	.name = "test",
	.seqpacket = true,
	.min_uid = 1,
	.child_rights = "stdio rpath wpath",
	.child_main = child_main,
	.root_dir = root_dir,
	.root_rights = "stdio rpath wfile",
	.root_enter = enter_box,
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

/* Nothing but the flag may be said with it, and a daemon that asked for no such child gets none. */
static void root_request(void **state)
{
	(void)state;
	struct asuser_request good = { .magic = ASUSER_MAGIC,
				       .id = { .user = "root", .tag = "root", .root = ASUSER_ROOT_MAILBOX } },
			      r = good;
	static const char *const named[] = { "/etc/hostname", NULL };
	struct asuser_conf without = conf;
	struct err e;
	if (geteuid() == 0 && sandbox_landlock_abi() > 0)
		assert_int_equal(asuser_validate(&r, &conf, &e), RC_OK);
	without.root_dir = NULL;
	assert_int_equal(asuser_validate(&r, &without, &e), RC_DENIED);
	snprintf(r.id.dir, sizeof r.id.dir, "/etc");
	assert_int_equal(asuser_validate(&r, &conf, &e), RC_DENIED);
	r = good;
	snprintf(r.id.home, sizeof r.id.home, "/root");
	assert_int_equal(asuser_validate(&r, &conf, &e), RC_DENIED);
	r = good;
	r.id.allow_exec = 1;
	assert_int_equal(asuser_validate(&r, &conf, &e), RC_DENIED);
	r = good;
	r.id.uid = TEST_UID;
	assert_int_equal(asuser_validate(&r, &conf, &e), RC_DENIED);
	r = good;
	r.id.root = 3;
	assert_int_equal(asuser_validate(&r, &conf, &e), RC_DENIED);
	/* files of root's that may be read: for a daemon that named some */
	r.id.root = ASUSER_ROOT_FILES;
	assert_int_equal(asuser_validate(&r, &conf, &e), RC_DENIED);
	without.root_files = named;
	if (geteuid() == 0 && sandbox_landlock_abi() > 0)
		assert_int_equal(asuser_validate(&r, &without, &e), RC_OK);
	r.id.root = ASUSER_ROOT_MAILBOX;
	assert_int_equal(asuser_validate(&r, &without, &e), RC_DENIED);
}

static char answer[256], root_answer[256];
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
	id = (struct asuser_id){ .user = "root", .tag = "root", .root = ASUSER_ROOT_MAILBOX };
	if (asuser_run(&id, &fd, &e) == RC_OK) {
		(void)!task_wait_fd(fd, TASK_READ, deadline_s(10));
		n = recv(fd, root_answer, sizeof root_answer - 1, 0);
		root_answer[n > 0 ? n : 0] = '\0';
		task_forget_fd(fd);
		close(fd);
	}
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
	if (geteuid() == 0 && !outside)
		assert_string_equal(root_answer, "0 1 0 0 0 0 0 0");
	else
		assert_string_equal(root_answer, "");
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
	snprintf(root_dir, sizeof root_dir, "%s", dir);
	snprintf(root_box, sizeof root_box, "%s/box", dir);
	return 0;
}

static int remove_dir(void **state)
{
	char path[96];
	(void)state;
	snprintf(path, sizeof path, "%s/new", home);
	unlink(path);
	rmdir(home);
	unlink(root_box);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(validation), cmocka_unit_test(root_request),
					    cmocka_unit_test(child_is_the_user) };
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
