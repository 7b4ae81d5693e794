/* task/task.c - tasks: their stacks, starting, stopping, waking. The picture stands in task/sched.h. */
#include "task/sched.h"

#include <malloc.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CACHED_STACKS	  64	      /* finished stacks kept for the next tasks */
#define CACHED_WARM_BYTES (16 * 1024) /* of each, what a short task touches anyway stays in memory */
#define TRIM_AFTER_MS	  2000	      /* a wait this long gives the unused part of the stack back */
#define GUARD_BYTES	  page_bytes()

struct list sched_ready = { &sched_ready, &sched_ready };

static struct list idle = { &idle, &idle };
static struct task *running;
static size_t count;
static void *loop_sp;
static struct timer trim_timer;

static size_t page_bytes(void)
{
	static size_t bytes;

	if (bytes == 0)
		bytes = (size_t)sysconf(_SC_PAGESIZE);
	return bytes;
}

/* ---- what AddressSanitizer must know about stacks ---- */
#if TASK_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>

static const void *loop_bottom;
static size_t loop_bytes;
static void *loop_fake;

static void leaving_loop(const struct task *t)
{
	__sanitizer_start_switch_fiber(&loop_fake, t->stack, STACK_BYTES);
}

static void back_in_loop(void)
{
	__sanitizer_finish_switch_fiber(loop_fake, NULL, NULL);
}

static void leaving_task(struct task *t)
{
	__sanitizer_start_switch_fiber(t->finished ? NULL : &t->fake_stack, loop_bottom, loop_bytes);
}

static void back_in_task(const struct task *t)
{
	__sanitizer_finish_switch_fiber(t->fake_stack, &loop_bottom, &loop_bytes);
}

/* Frames of a former task left poison behind; what a waiting task owns is no leak. */
static void stack_taken(char *stack)
{
	ASAN_UNPOISON_MEMORY_REGION(stack, STACK_BYTES);
	__lsan_register_root_region(stack, STACK_BYTES);
}

static void stack_given_back(char *stack)
{
	__lsan_unregister_root_region(stack, STACK_BYTES);
	ASAN_UNPOISON_MEMORY_REGION(stack, STACK_BYTES);
}
#else
static void leaving_loop(const struct task *t)
{
	(void)t;
}
static void back_in_loop(void)
{
}
static void leaving_task(const struct task *t)
{
	(void)t;
}
static void back_in_task(const struct task *t)
{
	(void)t;
}
static void stack_taken(const char *stack)
{
	(void)stack;
}
static void stack_given_back(const char *stack)
{
	(void)stack;
}
#endif

/* ---- stacks ---- */
static char *cache[CACHED_STACKS];
static size_t cached;
static size_t cold; /* of these, how many from the first on have given back what a short task does not need */

static NORETURN void no_stack(void)
{
	static const char text[] = "fatal: out of memory for a task's stack (or vm.max_map_count reached)\n";
	ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)n;
	_exit(75); /* as xmalloc() does */
}

static char *stack_new(void)
{
	char *p = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (p == MAP_FAILED || mprotect(p, GUARD_BYTES, PROT_NONE) != 0)
		no_stack();
	return p + GUARD_BYTES;
}

static char *stack_get(void)
{
	char *stack = cached != 0 ? cache[--cached] : stack_new();

	if (cold > cached)
		cold = cached;
	stack_taken(stack);
	return stack;
}

static void stack_put(char *stack)
{
	stack_given_back(stack);
	if (cached == CACHED_STACKS) {
		munmap(stack - GUARD_BYTES, GUARD_BYTES + STACK_BYTES);
		return;
	}
	cache[cached++] = stack;
}

/* Not at the end of each task: a busy process uses the same few stacks again at once. */
static void cool_stacks(void)
{
	for (; cold < cached; cold++)
		madvise(cache[cold], STACK_BYTES - CACHED_WARM_BYTES, MADV_DONTNEED);
}

/* ---- giving back what a long wait does not need: a TLS handshake goes deep once, then the session idles
 * ---- */
static void stack_trim(const struct task *t)
{
	uintptr_t lo = (uintptr_t)t->stack;
	uintptr_t hi = ((uintptr_t)t->sp - CONTEXT_BELOW_SP) & ~(uintptr_t)(page_bytes() - 1);

	if (!TASK_ASAN && hi > lo)
		madvise(t->stack, hi - lo, MADV_DONTNEED);
}

/* Nobody has done anything for a while: what the last commands took and freed goes back to the system, holes in the
 * middle of the heap included. With a process per user this is the larger part of what an idle session costs. */
static void trim_heap(void)
{
	stream_forget_buffers();
#if defined(__GLIBC__)
	malloc_trim(0);
#endif
}

static void trim_idle(void *arg)
{
	mono_t now = loop_now();
	struct list *first;

	(void)arg;
	cool_stacks();
	while ((first = list_first(&idle)) != NULL) {
		struct task *t = LIST_ENTRY(first, struct task, idle);

		if (mono_diff_ms(now, t->since) < TRIM_AFTER_MS)
			break;
		list_del(&t->idle);
		stack_trim(t);
	}
	if (first != NULL)
		timer_set(&trim_timer, deadline_ms(TRIM_AFTER_MS));
	else
		trim_heap();
}

static void trim_soon(void)
{
	if (heap_has(&trim_timer.heap))
		return;
	timer_init(&trim_timer, trim_idle, NULL);
	timer_set(&trim_timer, deadline_ms(TRIM_AFTER_MS));
}

static void idle_begins(struct task *t)
{
	list_add_tail(&idle, &t->idle);
	trim_soon();
}

/* ---- starting and ending ---- */
static void switch_to_loop(struct task *t)
{
	leaving_task(t);
	context_switch(&t->sp, loop_sp);
	back_in_task(t);
}

static NORETURN void task_main(void)
{
	struct task *t = running;

	back_in_task(t);
	t->fn(t->arg);
	t->finished = true;
	switch_to_loop(t);
	abort(); /* its stack is gone */
}

static void task_timeout(void *arg)
{
	sched_wake(arg, RC_TIMEOUT);
}

void task_spawn(task_fn *fn, void *arg)
{
	char *stack = stack_get();
	size_t own = (sizeof(struct task) + 63) & ~(size_t)63;
	struct task *t = (struct task *)(void *)(stack + STACK_BYTES - own);

	*t = (struct task){ .stack = stack, .fn = fn, .arg = arg };
	list_init(&t->link);
	list_init(&t->idle);
	timer_init(&t->deadline, task_timeout, t);
	t->sp = context_make(t, task_main);
	list_add_tail(&sched_ready, &t->link);
	count++;
}

void sched_run(struct task *t)
{
	running = t;
	leaving_loop(t);
	context_switch(&loop_sp, t->sp);
	back_in_loop();
	running = NULL;
	if (!t->finished)
		return;
	stack_put(t->stack);
	if (--count == 0)
		timer_cancel(&trim_timer); /* it must not keep an empty loop running */
	else
		trim_soon();
}

void sched_forget_all(void)
{
	/* The caller may stand on one of these stacks: none is unmapped. */
	running = NULL;
	count = 0;
	list_init(&sched_ready);
	list_init(&idle);
}

struct task *task_self(void)
{
	return running;
}

size_t task_count(void)
{
	return count;
}

/* ---- waiting ---- */
enum rc sched_block(deadline_t d)
{
	struct task *t = running;

	INVARIANT(t != NULL);
	t->waiting = true;
	t->since = loop_now();
	timer_set(&t->deadline, d);
	idle_begins(t);
	switch_to_loop(t);
	return t->woken;
}

bool sched_wake(struct task *t, enum rc rc)
{
	if (!t->waiting)
		return false;
	t->waiting = false;
	t->woken = rc;
	timer_cancel(&t->deadline);
	list_del(&t->idle);
	list_del(&t->link); /* out of its waitq */
	list_add_tail(&sched_ready, &t->link);
	return true;
}

void task_yield(void)
{
	struct task *t = running;

	if (t == NULL)
		return;
	list_add_tail(&sched_ready, &t->link);
	switch_to_loop(t);
}

void task_sleep_ms(int64_t ms)
{
	if (running != NULL) {
		(void)sched_block(deadline_ms(ms));
	} else if (ms > 0) {
		struct timespec ts = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

		nanosleep(&ts, NULL);
	}
}
