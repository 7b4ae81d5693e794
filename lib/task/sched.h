/* task/sched.h - what the files of lib/task share; nobody else includes it.
 *
 *	            spawn                        context_switch
 *	task_spawn() ----> [run queue] --------------------------> running
 *	                       ^                                      |
 *	                       |  sched_wake(): event, timer,         | sched_block()
 *	                       |  waitq, offload                      v
 *	                       +---------------------------------- waiting
 *
 * A task is woken once: the first cause wins, later ones find it no longer waiting. */
#ifndef TASK_SCHED_H
#define TASK_SCHED_H

#include "task/task.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define TASK_ASAN   1
#define STACK_BYTES (4 * TASK_STACK_BYTES) /* red zones make every frame larger */
#else
#define TASK_ASAN   0
#define STACK_BYTES TASK_STACK_BYTES
#endif

/* Lies at the top of its own stack: an idle task costs its touched pages and nothing else. */
struct task {
	struct list link; /* the run queue, or the waitq it waits in */
	struct list idle; /* waiting tasks whose stack was not trimmed yet, longest wait first */
	void *sp;	  /* where it stopped */
	char *stack;	  /* lowest usable byte */
	task_fn *fn;
	void *arg;
	struct timer deadline;
	mono_t since;  /* start of this wait */
	enum rc woken; /* why this wait ended */
	bool waiting, finished;
	void *fake_stack; /* ASan's */
};

/* ---- switch.c ---- */
/* Saves the registers a call keeps, stores the stack pointer in *save and goes on where `to` stopped. */
void context_switch(void **save, void *to);
/* A stopped context that starts entry() on the stack ending at `top`; entry() never returns. */
void *context_make(void *top, void (*entry)(void));
/* Bytes below the stopped stack pointer that may still be wanted: with swapcontext() its caller's frame. */
#if defined(__x86_64__) || defined(__aarch64__)
#define CONTEXT_BELOW_SP 0
#else
#define CONTEXT_BELOW_SP 1024
#endif

/* ---- task.c ---- */
extern struct list sched_ready; /* tasks that can run */
/* Stops the running task until sched_wake(), at the latest at `d` (then RC_TIMEOUT). */
enum rc sched_block(deadline_t d);
/* Makes t runnable with the answer `rc`; false when it was already. */
bool sched_wake(struct task *t, enum rc rc);
void sched_run(struct task *t); /* the loop's side: runs t until it waits or ends */
void sched_forget_all(void);	/* after fork */

/* ---- timers.c ---- */
void timers_fire(mono_t now);
/* Milliseconds until the earliest timer, -1 when there is none. */
int64_t timers_next_ms(mono_t now);
size_t timers_count(void);
void timers_forget_all(void);

/* ---- loop.c ---- */
void loop_wake(void); /* from any thread or signal handler: ends the present wait of the loop */

/* Waiting for several descriptors at once. `events` is TASK_READ, TASK_WRITE or both; `ready` is what came.
 * Every fd has just said EAGAIN to whoever asks (see TASK_DRAINED). */
struct fd_wait {
	int fd, events, ready;
};
enum rc sched_wait_fds(struct fd_wait *w, size_t n, deadline_t d);

/* ---- stream.c ---- */
void stream_forget_buffers(void); /* the freed ones that were kept */

/* ---- offload.c ---- */
void offload_finish(void); /* wakes the tasks whose calls have returned */
void offload_forget_all(void);

#endif
