/* Claim: tasks run one at a time, wait without losing a wake-up, and every wait ends at its deadline; timers,
 * signals and helper threads reach the loop; a child of fork() starts afresh. */
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* Tasks have stacks of their own, out of which cmocka's longjmp() must not go. */
#define CHECK(cond)                                                                                          \
	do {                                                                                                 \
		if (!(cond)) {                                                                               \
			dprintf(2, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #cond);          \
			_exit(1);                                                                            \
		}                                                                                            \
	} while (0)

static char story[256]; /* what happened, a letter each */

static void tell(char c)
{
	size_t n = strlen(story);

	CHECK(n + 1 < sizeof(story));
	story[n] = c;
	story[n + 1] = '\0';
}

static int begin(void **state)
{
	(void)state;
	loop_init();
	story[0] = '\0';
	return 0;
}

static int run(void)
{
	return loop_run();
}

/* ---- spawning, yielding, order ---- */
static void three_steps(void *arg)
{
	char c = *(char *)arg;

	for (int i = 0; i < 3; i++) {
		tell(c);
		task_yield();
	}
}

static void tasks_take_turns(void **state)
{
	char a = 'a', b = 'b';

	(void)state;
	assert_null(task_self());
	task_spawn(three_steps, &a);
	task_spawn(three_steps, &b);
	assert_int_equal(task_count(), 2);
	assert_int_equal(run(), 0);
	assert_string_equal(story, "ababab");
	assert_int_equal(task_count(), 0);
}

static void spawn_more(void *arg)
{
	int *left = arg;

	CHECK(task_self() != NULL);
	if (*left == 0)
		return;
	--*left;
	task_spawn(spawn_more, left);
	task_spawn(spawn_more, left);
}

static void tasks_spawn_tasks(void **state)
{
	int left = 1000;

	(void)state;
	task_spawn(spawn_more, &left);
	run();
	assert_int_equal(left, 0);
}

static int depth_sum(int depth)
{
	volatile char pad[512];

	pad[0] = pad[511] = (char)depth;
	if (depth == 0)
		return 0;
	task_yield();
	return depth_sum(depth - 1) + (pad[511] == (char)depth);
}

static void go_deep(void *arg)
{
	*(int *)arg = depth_sum(200);
}

static void stacks_are_apart(void **state)
{
	int sum[20] = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sum); i++)
		task_spawn(go_deep, &sum[i]);
	run();
	for (size_t i = 0; i < ARRAY_LEN(sum); i++)
		assert_int_equal(sum[i], 200);
}

#if defined(__x86_64__)
#include <xmmintrin.h>
static void set_rounding(void *arg)
{
	CHECK(_MM_GET_ROUNDING_MODE() == _MM_ROUND_NEAREST);
	_MM_SET_ROUNDING_MODE(*(unsigned *)arg);
	task_yield();
	CHECK(_MM_GET_ROUNDING_MODE() == *(unsigned *)arg);
}

/* A task that changes the floating point mode changes it for itself only. */
static void switches_keep_the_floating_point_mode(void **state)
{
	unsigned up = _MM_ROUND_UP, down = _MM_ROUND_DOWN;

	(void)state;
	task_spawn(set_rounding, &up);
	task_spawn(set_rounding, &down);
	run();
	assert_int_equal(_MM_GET_ROUNDING_MODE(), _MM_ROUND_NEAREST);
}
#else
static void switches_keep_the_floating_point_mode(void **state)
{
	(void)state;
	skip();
}
#endif

static void overflow(void *arg)
{
	volatile char pad[4096];

	pad[0] = 1;
	if (arg == NULL) /* always */
		overflow(NULL);
	pad[1] = pad[0];
}

static void an_overflowing_stack_is_a_crash(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		dup2(open("/dev/null", O_WRONLY), STDERR_FILENO); /* the sanitizer's report */
		loop_after_fork();
		task_spawn(overflow, NULL);
		loop_run();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- sleeping and timers ---- */
static void sleeper(void *arg)
{
	task_sleep_ms(*(int *)arg);
	tell((char)('0' + *(int *)arg / 10));
}

static void sleepers_wake_in_order(void **state)
{
	int ms[] = { 30, 10, 20, 0 };
	mono_t start = loop_now();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ms); i++)
		task_spawn(sleeper, &ms[i]);
	run();
	assert_string_equal(story, "0123");
	assert_true(mono_diff_ms(loop_now(), start) >= 30);
	assert_true(mono_diff_ms(loop_now(), start) <
		    20 * 1000); /* nothing of the loop's own keeps it alive */
}

static void long_sleeper(void *arg)
{
	(void)arg;
	task_sleep_ms(3600 * 1000);
	tell('z');
}

static void advance_an_hour(void *arg)
{
	(void)arg;
	task_yield();
	loop_clock_advance(3600 * 1000);
}

static void the_clock_can_be_moved(void **state)
{
	mono_t before = mono_now();

	(void)state;
	task_spawn(long_sleeper, NULL);
	task_spawn(advance_an_hour, NULL);
	run();
	assert_string_equal(story, "z");
	assert_true(mono_diff_ms(mono_now(), before) < 1000 * 1000);
}

static void timer_tells(void *arg)
{
	tell(*(char *)arg);
}

static struct timer again;
static void timer_sets_itself(void *arg)
{
	int *left = arg;

	tell('r');
	if (--*left > 0)
		timer_set(&again, deadline_ms(0)); /* due now, and still not in this turn */
}

static void timers_fire_move_and_cancel(void **state)
{
	struct timer t[3];
	char names[] = "abc";
	int left = 3;

	(void)state;
	for (int i = 0; i < 3; i++)
		timer_init(&t[i], timer_tells, &names[i]);
	timer_cancel(&t[0]); /* not set: harmless */
	timer_set(&t[0], deadline_ms(40));
	timer_set(&t[1], deadline_ms(5));
	timer_set(&t[2], deadline_ms(5));
	timer_set(&t[0], deadline_ms(1)); /* moved to the front */
	timer_cancel(&t[2]);
	timer_cancel(&t[2]);
	timer_init(&again, timer_sets_itself, &left);
	timer_set(&again, deadline_ms(10));
	run();
	assert_string_equal(story, "abrrr");
	timer_set(&t[0], DEADLINE_NEVER);
	run(); /* a timer for never keeps no loop */
	assert_string_equal(story, "abrrr");
}

static void cancel_the_other(void *arg)
{
	tell('x');
	timer_cancel(arg);
}

static void a_due_timer_can_still_be_cancelled(void **state)
{
	struct timer a, b;
	deadline_t d = deadline_ms(1);

	(void)state;
	timer_init(&a, cancel_the_other, &b);
	timer_init(&b, cancel_the_other, &a);
	timer_set(&a, d);
	timer_set(&b, d);
	run();
	assert_string_equal(story, "x");
}

static int64_t last_fired;
static void in_order(void *arg)
{
	struct timer *t = arg;

	CHECK(t->at.ms >= last_fired);
	last_fired = t->at.ms;
}

static void many_timers_fire_in_order(void **state)
{
	static struct timer t[2000];
	unsigned seed = 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		timer_init(&t[i], in_order, &t[i]);
		timer_set(&t[i], deadline_ms((seed = seed * 1103515245 + 12345) >> 16 & 1023));
	}
	for (size_t i = 0; i < ARRAY_LEN(t); i += 3)
		timer_cancel(&t[i]);
	for (size_t i = 0; i < ARRAY_LEN(t); i += 5)
		timer_set(&t[i], deadline_ms((seed = seed * 1103515245 + 12345) >> 16 & 1023));
	last_fired = 0;
	task_spawn(advance_an_hour, NULL);
	run();
	assert_true(last_fired > 0);
}

static void deadlines_do_not_overflow(void **state)
{
	(void)state;
	assert_true(deadline_s(INT64_MAX).at.ms == DEADLINE_NEVER.at.ms);
	assert_false(deadline_passed(DEADLINE_NEVER));
	assert_true(deadline_passed(deadline_s(0)));
	assert_true(deadline_passed(deadline_s(-5)));
	assert_false(deadline_passed(deadline_s(5)));
}

/* ---- wait queues ---- */
static struct waitq queue;
static void waiter(void *arg)
{
	CHECK(waitq_wait(&queue, deadline_s(10)) == RC_OK);
	tell(*(char *)arg);
}

static void impatient(void *arg)
{
	(void)arg;
	CHECK(waitq_wait(&queue, deadline_ms(0)) == RC_TIMEOUT);
	CHECK(waitq_wait(&queue, deadline_ms(5)) == RC_TIMEOUT);
	tell('t');
}

static void waker(void *arg)
{
	(void)arg;
	task_sleep_ms(20); /* the impatient one left the queue */
	waitq_wake_one(&queue);
	task_yield();
	tell('|');
	waitq_wake_all(&queue);
	waitq_wake_all(&queue);
}

static void waitq_wakes_in_order_and_forgets_who_left(void **state)
{
	char names[] = "abc";

	(void)state;
	waitq_init(&queue);
	waitq_wake_one(&queue);
	task_spawn(impatient, NULL);
	for (int i = 0; i < 3; i++)
		task_spawn(waiter, &names[i]);
	task_spawn(waker, NULL);
	run();
	assert_string_equal(story, "ta|bc");
}

/* ---- descriptors ---- */
static int pair[2];

static void pair_open(void)
{
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
}

static void pair_close(void)
{
	for (int i = 0; i < 2; i++) {
		task_forget_fd(pair[i]);
		close(pair[i]);
	}
}

static void wait_readable(void *arg)
{
	char c;

	(void)arg;
	CHECK(task_wait_fd(pair[0], TASK_READ, deadline_ms(5)) == RC_TIMEOUT);
	CHECK(task_wait_fd(pair[0], TASK_READ, deadline_ms(0)) == RC_TIMEOUT);
	CHECK(task_wait_fd(pair[0], TASK_READ, deadline_s(10)) == RC_OK);
	CHECK(read(pair[0], &c, 1) == 1);
	tell(c);
	/* One byte is left and was announced already: a wait must find it all the same. */
	CHECK(task_wait_fd(pair[0], TASK_READ, deadline_s(10)) == RC_OK);
	CHECK(task_wait_fd(pair[0], TASK_READ, deadline_ms(0)) == RC_OK);
	CHECK(read(pair[0], &c, 1) == 1);
	tell(c);
	CHECK(read(pair[0], &c, 1) < 0 && errno == EAGAIN);
	CHECK(task_wait_fd(pair[0], TASK_READ | TASK_DRAINED, deadline_s(10)) == RC_OK);
	CHECK(read(pair[0], &c, 1) == 0); /* the end, too, is something to read */
	tell('.');
}

static void write_two(void *arg)
{
	(void)arg;
	task_sleep_ms(20);
	CHECK(write(pair[1], "ab", 2) == 2);
	task_sleep_ms(20);
	shutdown(pair[1], SHUT_WR);
}

static void a_wait_loses_nothing(void **state)
{
	(void)state;
	pair_open();
	task_spawn(wait_readable, NULL);
	task_spawn(write_two, NULL);
	run();
	assert_string_equal(story, "ab.");
	pair_close();
}

static void drained_reader(void *arg)
{
	char c;

	(void)arg;
	for (int got = 0; got < 100;) {
		ssize_t n = read(pair[0], &c, 1);

		if (n == 1) {
			got++;
			continue;
		}
		CHECK(n < 0 && errno == EAGAIN);
		CHECK(task_wait_fd(pair[0], TASK_READ | TASK_DRAINED, deadline_s(10)) == RC_OK);
		if (got % 7 == 0)
			task_yield(); /* bytes arrive between the event and the read, and before the wait */
	}
	tell('d');
}

static void slow_writer(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		CHECK(write(pair[1], "x", 1) == 1);
		for (int k = 0; k < i % 4; k++)
			task_yield();
	}
}

static void a_drained_wait_loses_nothing(void **state)
{
	(void)state;
	pair_open();
	task_spawn(drained_reader, NULL);
	task_spawn(slow_writer, NULL);
	run();
	assert_string_equal(story, "d");
	pair_close();
}

static void reader_of_pair(void *arg)
{
	(void)arg;
	CHECK(task_wait_fd(pair[0], TASK_READ, deadline_s(10)) == RC_OK);
	tell('r');
}

static void writer_of_pair(void *arg)
{
	char junk[4096] = { 0 };

	(void)arg;
	while (write(pair[0], junk, sizeof(junk)) > 0)
		;
	CHECK(task_wait_fd(pair[0], TASK_WRITE, deadline_ms(10)) == RC_TIMEOUT);
	CHECK(task_wait_fd(pair[0], TASK_WRITE, deadline_s(10)) == RC_OK);
	tell('w');
	CHECK(write(pair[1], "x", 1) == 1);
}

static void emptier(void *arg)
{
	char junk[4096];

	(void)arg;
	task_sleep_ms(30);
	while (read(pair[1], junk, sizeof(junk)) > 0)
		;
}

static void reader_and_writer_wait_on_one_fd(void **state)
{
	(void)state;
	pair_open();
	task_spawn(reader_of_pair, NULL);
	task_spawn(writer_of_pair, NULL);
	task_spawn(emptier, NULL);
	run();
	assert_string_equal(story, "wr");
	pair_close();
}

static void waits_in_vain(void *arg)
{
	(void)arg;
	CHECK(task_wait_fd(pair[0], TASK_READ, deadline_s(10)) == RC_SYS);
	CHECK(errno == EBADF);
	tell('g');
}

static void forgets(void *arg)
{
	(void)arg;
	task_yield();
	pair_close();
}

static void forgetting_ends_the_wait(void **state)
{
	(void)state;
	pair_open();
	task_spawn(waits_in_vain, NULL);
	task_spawn(forgets, NULL);
	run();
	assert_string_equal(story, "g");
}

static void reuses_a_number(void *arg)
{
	int old;

	(void)arg;
	pair_open();
	CHECK(task_wait_fd(pair[0], TASK_READ, deadline_ms(1)) == RC_TIMEOUT);
	old = pair[0];
	close(pair[0]); /* a defect of the caller: not forgotten */
	close(pair[1]);
	pair_open();
	CHECK(pair[0] == old);
	CHECK(write(pair[1], "x", 1) == 1);
	CHECK(task_wait_fd(pair[0], TASK_READ, deadline_s(5)) == RC_OK);
	pair_close();
	tell('n');
}

static void a_reused_number_still_works(void **state)
{
	(void)state;
	task_spawn(reuses_a_number, NULL);
	run();
	assert_string_equal(story, "n");
}

static void waits_for_a_file(void *arg)
{
	int fd = open("/proc/self/exe", O_RDONLY);

	(void)arg;
	CHECK(fd >= 0);
	for (int i = 0; i < 3; i++) {
		CHECK(task_wait_fd(fd, TASK_READ, deadline_s(10)) == RC_OK);
		tell('f');
	}
	task_forget_fd(fd);
	close(fd);
	CHECK(task_wait_fd(-1, TASK_READ, deadline_s(10)) == RC_SYS && errno == EBADF);
}

static void a_regular_file_is_always_ready(void **state)
{
	char a = 'a';

	(void)state;
	task_spawn(waits_for_a_file, NULL);
	task_spawn(three_steps, &a);
	run();
	assert_string_equal(story, "afafaf"); /* and it does not shut others out */
}

static void waits_work_outside_of_tasks(void **state)
{
	(void)state;
	pair_open();
	assert_int_equal(task_wait_fd(pair[0], TASK_READ, deadline_ms(5)), RC_TIMEOUT);
	assert_int_equal(task_wait_fd(pair[0], TASK_WRITE, deadline_s(5)), RC_OK);
	assert_int_equal(write(pair[1], "x", 1), 1);
	assert_int_equal(task_wait_fd(pair[0], TASK_READ | TASK_DRAINED, deadline_s(5)), RC_OK);
	pair_close();
}

/* ---- stopping, signals, threads, fork ---- */
static void stops(void *arg)
{
	(void)arg;
	tell('s');
	loop_stop(3);
	task_yield();
	tell('S');
}

static void a_stopped_loop_can_go_on(void **state)
{
	char a = 'a';

	(void)state;
	task_spawn(stops, NULL);
	task_spawn(three_steps, &a);
	assert_int_equal(run(), 3);
	assert_string_equal(story, "s");
	assert_int_equal(run(), 0);
	assert_string_equal(story, "saSaa");
}

static void on_signal(void *arg)
{
	tell(*(char *)arg);
	if (strlen(story) == 2)
		loop_stop(0);
}

static void raises(void *arg)
{
	(void)arg;
	raise(SIGUSR1);
	task_sleep_ms(10);
	kill(getpid(), SIGUSR2);
}

static void signals_reach_the_loop(void **state)
{
	static char one = '1', two = '2';
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) { /* a watched signal keeps its loop running: not in the process of the other tests */
		loop_after_fork();
		loop_on_signal(SIGUSR1, on_signal, &one);
		loop_on_signal(SIGUSR2, on_signal, &two);
		task_spawn(raises, NULL);
		loop_run();
		_exit(strcmp(story, "12") == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void slow_call(void *arg)
{
	sigset_t blocked;

	usleep(50 * 1000);
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	*(int *)arg = sigismember(&blocked, SIGTERM) ? gettid() : -1;
}

static void offloads(void *arg)
{
	int tid = 0;

	(void)arg;
	task_offload(slow_call, &tid);
	CHECK(tid > 0 && tid != gettid());
	tell('o');
}

static void threads_run_beside_the_tasks(void **state)
{
	mono_t start = loop_now();
	char a = 'a';
	int tid = 0;

	(void)state;
	for (int i = 0; i < 2 * OFFLOAD_THREADS; i++)
		task_spawn(offloads, NULL);
	task_spawn(three_steps, &a);
	run();
	assert_int_equal(strlen(story), 3 + 2 * OFFLOAD_THREADS);
	assert_int_equal(strncmp(story, "aaa", 3), 0);
	assert_true(mono_diff_ms(loop_now(), start) < 50 * OFFLOAD_THREADS); /* not one after the other */
	slow_call(&tid);
	assert_int_equal(tid, -1); /* signals stay open here */
}

static void forks(void *arg)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) { /* on the stack of a task of the parent's */
		loop_after_fork();
		CHECK(task_self() == NULL && task_count() == 0);
		task_spawn(three_steps, arg);
		task_spawn(offloads, NULL);
		CHECK(loop_run() == 0);
		CHECK(strcmp(story, "bbbo") == 0);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	tell('p');
}

static void a_child_starts_afresh(void **state)
{
	char b = 'b';

	(void)state;
	task_spawn(forks, &b);
	task_spawn(sleeper, &(int){ 10 });
	run();
	assert_string_equal(story, "p1");
}

#define T(f) cmocka_unit_test_setup(f, begin)
int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(tasks_take_turns),
		T(tasks_spawn_tasks),
		T(stacks_are_apart),
		T(switches_keep_the_floating_point_mode),
		T(an_overflowing_stack_is_a_crash),
		T(sleepers_wake_in_order),
		T(the_clock_can_be_moved),
		T(timers_fire_move_and_cancel),
		T(a_due_timer_can_still_be_cancelled),
		T(many_timers_fire_in_order),
		T(deadlines_do_not_overflow),
		T(waitq_wakes_in_order_and_forgets_who_left),
		T(a_wait_loses_nothing),
		T(a_drained_wait_loses_nothing),
		T(reader_and_writer_wait_on_one_fd),
		T(forgetting_ends_the_wait),
		T(a_reused_number_still_works),
		T(a_regular_file_is_always_ready),
		T(waits_work_outside_of_tasks),
		T(a_stopped_loop_can_go_on),
		T(signals_reach_the_loop),
		T(threads_run_beside_the_tasks),
		T(a_child_starts_afresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
