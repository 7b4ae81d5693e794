/* task/loop.c - the loop: run what can run, fire timers, wait for events; signals; descriptors.
 *
 * Descriptors are registered edge-triggered and only for the directions that somebody waits for, so a
 * connection costs one epoll_ctl(2) when it first waits and one when it is forgotten. Edges are enough for a
 * caller that has just seen EAGAIN (TASK_DRAINED); for others each wait registers again, which makes the
 * kernel look afresh. An edge that finds nobody waiting is remembered in `ready`. */
#include "task/sched.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS_PER_TURN 256
#define ROUNDS_PER_TURN 4 /* tasks that hand over to each other do so without a system call in between */
#define WAKE_KEY	UINT64_MAX

struct fd_slot {
	struct task *reader, *writer;
	uint32_t generation; /* tells late events of a forgotten descriptor from those of its successor */
	uint8_t asked;	     /* TASK_READ | TASK_WRITE as registered with epoll */
	uint8_t ready;	     /* edges that nobody has used yet */
	uint8_t ended;	     /* after a hang-up that direction never blocks again */
	bool registered;
	bool always; /* epoll refuses it: a regular file */
};

static int epoll_fd = -1, wake_fd = -1;
static struct fd_slot *slots;
static size_t slots_n;
static bool stopping;
static int stop_status;
static int64_t clock_ahead_ms;

/* ---- signals: the handler notes the number, the loop makes the call ---- */
static struct {
	void (*fn)(void *arg);
	void *arg;
	volatile sig_atomic_t arrived;
} signals[NSIG];
static volatile sig_atomic_t any_signal;
static size_t signals_watched;

void loop_wake(void)
{
	static const uint64_t one = 1;
	ssize_t n = write(wake_fd, &one, sizeof(one));

	(void)n; /* it fails only when the counter is full, and then the loop is awake */
}

static void signal_handler(int sig)
{
	int saved = errno;

	signals[sig].arrived = 1;
	any_signal = 1;
	loop_wake();
	errno = saved;
}

static void signals_deliver(void)
{
	if (!any_signal)
		return;
	any_signal = 0;
	for (int sig = 1; sig < NSIG; sig++) {
		if (!signals[sig].arrived)
			continue;
		signals[sig].arrived = 0;
		if (signals[sig].fn != NULL)
			signals[sig].fn(signals[sig].arg);
	}
}

void loop_on_signal(int sig, void (*fn)(void *arg), void *arg)
{
	struct sigaction sa = { .sa_handler = signal_handler, .sa_flags = SA_RESTART };

	INVARIANT(sig > 0 && sig < NSIG && fn != NULL);
	if (signals[sig].fn == NULL)
		signals_watched++;
	signals[sig].fn = fn;
	signals[sig].arg = arg;
	sigfillset(&sa.sa_mask);
	INVARIANT(sigaction(sig, &sa, NULL) == 0);
}

static void signals_forget_all(void)
{
	for (int sig = 1; sig < NSIG; sig++) {
		if (signals[sig].fn != NULL)
			signal(sig, SIG_DFL);
		signals[sig].fn = NULL;
		signals[sig].arrived = 0;
	}
	any_signal = 0;
	signals_watched = 0;
}

/* ---- beginning, clock ---- */
static void kernel_open(void)
{
	/* Edge-triggered: each write to the counter is an event, and nobody needs to read it. */
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = WAKE_KEY };

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	INVARIANT(epoll_fd >= 0 && wake_fd >= 0);
	INVARIANT(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &ev) == 0);
}

void loop_init(void)
{
	if (epoll_fd >= 0)
		return;
	signal(SIGPIPE, SIG_IGN);
	kernel_open();
}

void loop_after_fork(void)
{
	signals_forget_all(); /* first: a handler must not write to the parent's counter */
	timers_forget_all();
	sched_forget_all();
	offload_forget_all();
	for (size_t i = 0; i < slots_n; i++)
		slots[i] = (struct fd_slot){ .generation = slots[i].generation + 1 };
	if (epoll_fd >= 0) {
		close(epoll_fd);
		close(wake_fd);
	}
	stopping = false;
	signal(SIGPIPE, SIG_IGN);
	kernel_open();
}

mono_t loop_now(void)
{
	return mono_after(mono_now(), clock_ahead_ms);
}

void loop_clock_advance(int64_t ms)
{
	clock_ahead_ms += ms;
}

/* ---- descriptors ---- */
static struct fd_slot *slot_of(int fd)
{
	if ((size_t)fd >= slots_n) {
		size_t n = slots_n != 0 ? slots_n : 64;

		while (n <= (size_t)fd)
			n *= 2;
		slots = xrealloc(slots, n * sizeof(*slots));
		memset(slots + slots_n, 0, (n - slots_n) * sizeof(*slots));
		slots_n = n;
	}
	return &slots[fd];
}

static uint32_t epoll_bits(int events)
{
	uint32_t bits = EPOLLET;

	if ((events & TASK_READ) != 0)
		bits |= EPOLLIN | EPOLLRDHUP;
	if ((events & TASK_WRITE) != 0)
		bits |= EPOLLOUT;
	return bits;
}

/* Registers fd for `events`; the kernel reports at once what is ready already. RC_OK, or RC_SYS with errno.
 */
static enum rc slot_register(struct fd_slot *slot, int fd, int events)
{
	struct epoll_event ev = { .events = epoll_bits(events) };
	int op = slot->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	int failed;

	ev.data.u64 = (uint64_t)slot->generation << 32 | (uint32_t)fd;
	failed = epoll_ctl(epoll_fd, op, fd, &ev);
	if (failed != 0 && op == EPOLL_CTL_MOD &&
	    errno == ENOENT) { /* closed and opened again, not forgotten */
		slot->ended = slot->ready = 0;
		failed = epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
	}
	if (failed != 0 && errno == EPERM) {
		slot->always = true;
		return RC_OK;
	}
	if (failed != 0)
		return RC_SYS;
	slot->registered = true;
	slot->asked = (uint8_t)events;
	return RC_OK;
}

void task_forget_fd(int fd)
{
	struct fd_slot *slot;

	if (fd < 0 || (size_t)fd >= slots_n)
		return;
	slot = &slots[fd];
	if (slot->registered)
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	if (slot->reader != NULL)
		sched_wake(slot->reader, RC_GONE);
	if (slot->writer != NULL)
		sched_wake(slot->writer, RC_GONE);
	*slot = (struct fd_slot){ .generation = slot->generation + 1 };
}

static enum rc wait_outside_tasks(struct fd_wait *w, size_t n, deadline_t d)
{
	struct pollfd p[4];
	int64_t left = d.at.ms == DEADLINE_NEVER.at.ms ? -1 : mono_diff_ms(d.at, loop_now());
	int got;

	INVARIANT(n <= ARRAY_LEN(p));
	for (size_t i = 0; i < n; i++) {
		p[i] = (struct pollfd){ .fd = w[i].fd };
		p[i].events = (short)((w[i].events & TASK_READ ? POLLIN : 0) |
				      (w[i].events & TASK_WRITE ? POLLOUT : 0));
	}
	if (d.at.ms != DEADLINE_NEVER.at.ms && left < 0)
		left = 0;
	do
		got = poll(p, (nfds_t)n, left > INT32_MAX ? INT32_MAX : (int)left);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got < 0 ? RC_SYS : RC_TIMEOUT;
	for (size_t i = 0; i < n; i++) {
		if (p[i].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL))
			w[i].ready |= w[i].events & TASK_READ;
		if (p[i].revents & (POLLOUT | POLLHUP | POLLERR | POLLNVAL))
			w[i].ready |= w[i].events & TASK_WRITE;
	}
	return RC_OK;
}

/* Makes sure that an edge will come for what w asks; notes in w->ready what needs no waiting. */
static enum rc wait_prepare(struct fd_wait *w, bool drained)
{
	struct fd_slot *slot = slot_of(w->fd);
	int both;

	if (drained) {
		w->ready = (slot->ready | slot->ended) & w->events;
		slot->ready = (uint8_t)(slot->ready & ~w->ready);
		both = slot->asked | w->events;
	} else {
		slot->ready = (uint8_t)(slot->ready & ~w->events);
		both = w->events | (slot->reader != NULL ? TASK_READ : 0) |
		       (slot->writer != NULL ? TASK_WRITE : 0);
	}
	if (w->ready == 0 && !slot->always && !(drained && slot->asked == both)) {
		enum rc rc = slot_register(slot, w->fd, both);

		if (rc != RC_OK)
			return rc;
	}
	if (slot->always)
		w->ready = w->events;
	return RC_OK;
}

static void wait_enter(const struct fd_wait *w)
{
	struct fd_slot *slot = slot_of(w->fd);

	if ((w->events & TASK_READ) != 0) {
		INVARIANT(slot->reader == NULL); /* one waiter per fd and direction */
		slot->reader = task_self();
	}
	if ((w->events & TASK_WRITE) != 0) {
		INVARIANT(slot->writer == NULL);
		slot->writer = task_self();
	}
}

/* The event that woke us took us out of its direction; what is left of us is taken out here. */
static void wait_leave(struct fd_wait *w)
{
	struct fd_slot *slot = slot_of(w->fd);

	if ((w->events & TASK_READ) != 0) {
		w->ready |= slot->reader == task_self() ? 0 : TASK_READ;
		slot->reader = slot->reader == task_self() ? NULL : slot->reader;
	}
	if ((w->events & TASK_WRITE) != 0) {
		w->ready |= slot->writer == task_self() ? 0 : TASK_WRITE;
		slot->writer = slot->writer == task_self() ? NULL : slot->writer;
	}
}

static enum rc wait_fds(struct fd_wait *w, size_t n, bool drained, deadline_t d)
{
	bool ready = false;
	enum rc rc;

	if (task_self() == NULL)
		return wait_outside_tasks(w, n, d);
	for (size_t i = 0; i < n; i++) {
		w[i].ready = 0;
		if ((rc = wait_prepare(&w[i], drained)) != RC_OK)
			return rc;
		ready = ready || w[i].ready != 0;
	}
	if (ready)
		return RC_OK;
	for (size_t i = 0; i < n; i++)
		wait_enter(&w[i]);
	rc = sched_block(d);
	for (size_t i = 0; i < n; i++)
		wait_leave(&w[i]);
	if (rc == RC_GONE) { /* task_forget_fd() by somebody else */
		errno = EBADF;
		return RC_SYS;
	}
	return rc;
}

enum rc sched_wait_fds(struct fd_wait *w, size_t n, deadline_t d)
{
	return wait_fds(w, n, true, d);
}

enum rc task_wait_fd(int fd, int events, deadline_t d)
{
	bool drained = (events & TASK_DRAINED) != 0;
	struct fd_wait w = { .fd = fd, .events = events & (TASK_READ | TASK_WRITE) };
	enum rc rc;

	if (fd < 0) {
		errno = EBADF;
		return RC_SYS;
	}
	if (!drained && deadline_passed(d)) /* only a question: what is ready now? */
		return wait_outside_tasks(&w, 1, d);
	rc = wait_fds(&w, 1, drained, d);
	if (rc == RC_OK && (size_t)fd < slots_n && slots[fd].always)
		task_yield(); /* a loop over a regular file never waits: others get their turn here */
	return rc;
}

static void wake_waiter(struct fd_slot *slot, struct task **waiter, int event)
{
	if (*waiter != NULL && sched_wake(*waiter, RC_OK))
		*waiter = NULL;
	else
		slot->ready =
		    (uint8_t)(slot->ready | event); /* nobody, or one that timed out in this very turn */
}

static void fd_event(uint64_t key, uint32_t bits)
{
	size_t fd = (uint32_t)key;
	struct fd_slot *slot;

	if (fd >= slots_n || slots[fd].generation != key >> 32)
		return;
	slot = &slots[fd];
	if ((bits & (EPOLLRDHUP | EPOLLHUP)) != 0)
		slot->ended |= TASK_READ;
	if ((bits & EPOLLHUP) != 0)
		slot->ended |= TASK_WRITE;
	if ((bits & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
		wake_waiter(slot, &slot->reader, TASK_READ);
	if ((bits & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
		wake_waiter(slot, &slot->writer, TASK_WRITE);
}

/* ---- the turns ---- */
static void events_take(int timeout_ms)
{
	static struct epoll_event events[EVENTS_PER_TURN];
	int n = epoll_wait(epoll_fd, events, EVENTS_PER_TURN, timeout_ms);

	INVARIANT(n >= 0 || errno == EINTR);
	for (int i = 0; i < n; i++) {
		if (events[i].data.u64 == WAKE_KEY)
			offload_finish();
		else
			fd_event(events[i].data.u64, events[i].events);
	}
}

/* Those that can run now; who becomes ready meanwhile waits for the next turn. */
static void run_ready(void)
{
	struct list turn, *first;

	if (list_empty(&sched_ready))
		return;
	list_init(&turn);
	turn.next = sched_ready.next;
	turn.prev = sched_ready.prev;
	turn.next->prev = turn.prev->next = &turn;
	list_init(&sched_ready);
	while ((first = list_first(&turn)) != NULL) {
		list_del(first);
		sched_run(LIST_ENTRY(first, struct task, link));
		if (stopping) /* the rest stays runnable for a later loop_run() */
			break;
	}
	while ((first = list_empty(&turn) ? NULL : turn.prev) != NULL) {
		list_del(first);
		list_add_head(&sched_ready, first);
	}
}

static int wait_ms(void)
{
	int64_t ms;

	if (!list_empty(&sched_ready) || any_signal)
		return 0;
	ms = timers_next_ms(loop_now());
	return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static bool anything_left(void)
{
	return task_count() != 0 || timers_count() != 0 || signals_watched != 0;
}

int loop_run(void)
{
	int status;

	INVARIANT(epoll_fd >= 0 && task_self() == NULL);
	while (!stopping && anything_left()) {
		for (int i = 0; i < ROUNDS_PER_TURN && !stopping; i++)
			run_ready();
		if (stopping || !anything_left())
			break;
		events_take(wait_ms());
		signals_deliver();
		timers_fire(loop_now());
	}
	status = stopping ? stop_status : 0;
	stopping = false;
	return status;
}

void loop_stop(int status)
{
	stopping = true;
	stop_status = status;
	if (wake_fd >= 0)
		loop_wake(); /* it may be a signal handler's or a timer's call while the loop is about to wait
			      */
}
