/* task/waitq.c - tasks that wait for other tasks, first come first served. */
#include "task/sched.h"

void waitq_init(struct waitq *q)
{
	list_init(&q->waiters);
}

enum rc waitq_wait(struct waitq *q, deadline_t d)
{
	struct task *t = task_self();

	INVARIANT(t != NULL);
	if (deadline_passed(d))
		return RC_TIMEOUT;
	list_add_tail(&q->waiters, &t->link);
	return sched_block(d); /* whoever wakes it takes it off the queue */
}

void waitq_wake_one(struct waitq *q)
{
	struct list *first = list_first(&q->waiters);

	if (first != NULL)
		sched_wake(LIST_ENTRY(first, struct task, link), RC_OK);
}

void waitq_wake_all(struct waitq *q)
{
	while (!list_empty(&q->waiters))
		waitq_wake_one(q);
}
