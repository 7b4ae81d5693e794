/* task/task.h - coroutines on one epoll loop. A task is a function with a stack of its own (mmap, guard page below);
 * it runs until it waits, and every wait has a deadline. One thread runs all tasks: what is true between two waits
 * stays true; what was true before a wait is checked again after it.
 *
 * Stacks: TASK_STACK_BYTES of address space, of which only touched pages cost memory. Overflow hits the guard page:
 * a crash of this process, never silent. Switches are annotated for ASan; finished stacks are kept for reuse (a few). */
#ifndef TASK_TASK_H
#define TASK_TASK_H

#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/rc.h"
#include <stdbool.h>
#include <stdint.h>

#define TASK_STACK_BYTES (256 * 1024)

typedef void task_fn(void *arg);
struct task; /* opaque */

/* ---- deadlines ---- */
typedef struct {
	mono_t at;
} deadline_t;
#define DEADLINE_NEVER ((deadline_t){ { INT64_MAX } })
deadline_t deadline_s(int64_t s); /* s seconds from now; s <= 0 means at once */
deadline_t deadline_ms(int64_t ms);
bool deadline_passed(deadline_t d);

/* ---- the loop ---- */
void loop_init(void); /* once per process; before any other call here. Ignores SIGPIPE. */
int loop_run(
    void); /* until loop_stop() or no task and no watcher is left; the argument of loop_stop() or 0 */
void loop_stop(int status);
void loop_after_fork(
    void); /* in a child that wants a loop of its own: forgets all tasks, makes a new epoll */
/* The clock of the loop; tests may move it (added to mono_now()). */
mono_t loop_now(void);
void loop_clock_advance(int64_t ms);
/* Calls fn(arg) from the loop whenever signal `sig` arrives. */
void loop_on_signal(int sig, void (*fn)(void *arg), void *arg);

/* ---- tasks ---- */
void task_spawn(task_fn *fn, void *arg); /* runs at the next turn of the loop */
struct task *task_self(void);		 /* NULL outside of tasks */
size_t task_count(void);
void task_yield(void); /* lets others run; returns in the same turn or the next */
void task_sleep_ms(int64_t ms);
#define TASK_READ  1
#define TASK_WRITE 2
/* Added to events: the caller has just seen EAGAIN in that direction. Saves a system call per wait (streams do this). */
#define TASK_DRAINED 4
/* Waits until fd is readable/writable (or in error). RC_OK, RC_TIMEOUT, RC_SYS. One waiter per fd and direction.
 * A reader and a writer may wait on one fd at once. Call task_forget_fd() before close(fd). */
MUST_CHECK enum rc task_wait_fd(int fd, int events, deadline_t d);
void task_forget_fd(int fd);

/* ---- waiting for another task ---- */
struct waitq {
	struct list waiters;
};
void waitq_init(struct waitq *q);
MUST_CHECK enum rc waitq_wait(struct waitq *q, deadline_t d); /* RC_OK woken, RC_TIMEOUT */
void waitq_wake_one(struct waitq *q);
void waitq_wake_all(struct waitq *q);

/* ---- timers that are not tasks ---- */
struct timer {
	struct list link;      /* private */
	struct heap_item heap; /* private */
	mono_t at;
	void (*fn)(void *arg);
	void *arg;
};
void timer_init(struct timer *t, void (*fn)(void *arg), void *arg);
void timer_set(struct timer *t, deadline_t d); /* fires once; setting again moves it */
void timer_cancel(struct timer *t);	       /* harmless when not set */

/* ---- one blocking call on a helper thread ---- */
/* Runs fn(arg) on a pool thread (at most OFFLOAD_THREADS at a time, the rest queue) and returns when it has finished.
 * fn must not touch tasks, logs or shared state; it blocks signals. Outside of a task it is a plain call. */
#define OFFLOAD_THREADS 16
void task_offload(void (*fn)(void *arg), void *arg);
/* Starts the threads now (before seccomp, so that clone is not needed later). */
void offload_start(unsigned threads);

#endif
