/* task/offload.c - a pool of threads for calls that block in the kernel.
 * A caller's job lies on its stack; the thread hands it back on `done` and wakes the loop, once for a batch.
 */
#include "task/sched.h"

#include <pthread.h>
#include <signal.h>

#define THREAD_STACK_BYTES STACK_BYTES

struct job {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
	struct task *task;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list todo, done;
	unsigned threads, free; /* free: waiting for work that nobody promised them yet */
	unsigned max;		/* no thread beyond this is started */
} pool;
static bool pool_ready;

static void pool_init(void)
{
	if (pool_ready)
		return;
	pthread_mutex_init(&pool.lock, NULL);
	pthread_cond_init(&pool.work, NULL);
	list_init(&pool.todo);
	list_init(&pool.done);
	pool.threads = pool.free = 0;
	pool.max = OFFLOAD_THREADS;
	pool_ready = true;
}

static void *thread_main(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&pool.lock);
	for (;;) {
		struct list *first = list_first(&pool.todo);
		struct job *job;
		bool wake;

		if (first == NULL) {
			pthread_cond_wait(&pool.work, &pool.lock);
			continue;
		}
		list_del(first);
		pool.free--;
		pthread_mutex_unlock(&pool.lock);
		job = LIST_ENTRY(first, struct job, link);
		job->fn(job->arg);
		pthread_mutex_lock(&pool.lock);
		pool.free++;
		wake = list_empty(&pool.done);
		list_add_tail(&pool.done, &job->link);
		if (wake) /* else the loop was told and has not looked yet */
			loop_wake();
	}
	return NULL;
}

/* False when the system refuses. The lock is held. */
static bool thread_start(void)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t id;
	int failed;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
	sigfillset(&all);
	sigdelset(&all, SIGSYS); /* blocked, a denied system call would kill the process (sandbox/denied.c) */
	pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited: signals are for the loop's thread */
	failed = pthread_create(&id, &attr, thread_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (failed != 0)
		return false;
	pool.threads++;
	pool.free++;
	return true;
}

void offload_start(unsigned threads)
{
	pool_init();
	pthread_mutex_lock(&pool.lock);
	while (pool.threads < threads && thread_start())
		;
	if (pool.threads != 0)
		pool.max = pool.threads; /* a sandbox may forbid clone(2) from here on */
	pthread_mutex_unlock(&pool.lock);
}

static size_t todo_longer_than(size_t limit)
{
	size_t n = 0;

	LIST_EACH(it, &pool.todo)
	{
		if (++n > limit)
			break;
	}
	return n > limit;
}

void task_offload(void (*fn)(void *arg), void *arg)
{
	struct job job = { .fn = fn, .arg = arg, .task = task_self() };
	bool somebody;

	if (job.task == NULL) {
		fn(arg);
		return;
	}
	pool_init();
	pthread_mutex_lock(&pool.lock);
	list_add_tail(&pool.todo, &job.link);
	if (pool.threads < pool.max && todo_longer_than(pool.free))
		thread_start();
	somebody = pool.threads != 0;
	if (somebody)
		pthread_cond_signal(&pool.work);
	else
		list_del(&job.link);
	pthread_mutex_unlock(&pool.lock);
	if (somebody)
		(void)sched_block(DEADLINE_NEVER);
	else
		fn(arg); /* no thread at all: slow, but right */
}

void offload_finish(void)
{
	struct list *first;

	if (!pool_ready)
		return;
	pthread_mutex_lock(&pool.lock);
	while ((first = list_first(&pool.done)) != NULL) {
		list_del(first);
		sched_wake(LIST_ENTRY(first, struct job, link)->task, RC_OK);
	}
	pthread_mutex_unlock(&pool.lock);
}

void offload_forget_all(void)
{
	pool_ready = false; /* the threads stayed in the parent; the lock may be held by one of them */
}
