/* master/master.h - the supervisor's state; shared by the files of this folder.
 *
 *   struct running   one configuration in force: main.cf, master.cf, its services. A reload makes a new one; the old services
 *                    live on until their last child has ended.
 *   struct service   one line of master.cf        -> listeners, children
 *   struct listener  one bound socket; outlives a reload that still wants it
 *   struct child     one process                  -> its service
 *
 * Master never waits for a child: every send is non-blocking, every record is checked. It parses no mail. */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "base/list.h"
#include "conf/mastercf.h"
#include "service/masterproto.h"
#include "task/task.h"
#include <sys/socket.h>

#define ADDRESSES_MAX	 256 /* of one service */
#define KILL_AFTER_S	 5   /* stop: children that have not ended by then are killed */
#define SINGLE_DRAIN_S	 20  /* reload: the only process of its kind must give way within this time */
#define RESTART_MS	 20  /* pause before an always-on program is started again */
#define DEATHS_COUNTED	 3
#define DEATHS_WITHIN_MS 10000
#define BACKOFF_FIRST_MS 1000

struct service;

/* ---- listen.c ---- */
struct listener {
	struct list link; /* struct pool */
	char *key;	  /* "inet:127.0.0.1:25", "unix:private/cleanup" */
	char *path;	  /* UNIX sockets, relative to the queue directory */
	char *final_path; /* the name it gets when the reload has succeeded, if another holds it now */
	int fd;
	bool inherited; /* from systemd, by name or address */
	bool closing;
	struct service *service; /* whom a connection is for; NULL while nobody wants it */
	struct waitq wanted;	 /* its watcher sleeps here while a child accepts by itself */
};

/* ---- backoff.c ---- */
struct backoff {
	mono_t death[DEATHS_COUNTED]; /* newest last */
	unsigned deaths;
	int64_t delay_ms; /* of the last throttling; 0: none */
	bool throttled;
};

struct service {
	struct list link; /* struct running */
	struct list all;  /* every service that may have children, retired ones too */
	struct running *config;
	const struct master_entry *entry;
	char name[MP_NAME_MAX];
	const char *program; /* basename of argv[0], with aliases resolved */
	const char *path;    /* what is executed */
	int socket_type;     /* of UNIX sockets */
	bool always;	     /* started at once, and again when it ends */
	bool single;	     /* one process only, also across reloads: guarded by a lock file */
	bool builtin;	     /* not from master.cf */
	bool retired;	     /* of a configuration that is no longer in force */
	bool limit_told, begun;
	struct listener **listener;
	size_t listeners;
	struct list children;
	struct backoff backoff;
	bool wake_due; /* MP_WAKEUP as soon as a child is ready */
	struct timer start_timer, wake_timer, hand_timer;
	struct list handed; /* connections of listeners that are gone, on their way to a child */
	size_t handed_n;
};

struct child {
	struct list link; /* its service */
	struct service *service;
	pid_t pid;
	int chan;
	unsigned lane;
	bool ready, busy, retiring, drained, killed, exited, gone; /* gone: the channel has ended */
	int64_t sessions;
	mono_t born;
	struct timer kill_timer;
	unsigned connects; /* MP_CONNECT in the current second */
	int64_t connects_s;
};

struct running {
	struct conf *conf;
	struct mastercf *cf, *builtin;
	struct arena arena;
	struct list services;
	size_t refs; /* services that are not freed */
};

struct options {
	const char *dir;
	bool test, permissions, wait, foreground, init;
	unsigned verbose;
};

struct master {
	struct options opt;
	struct running *now;
	struct list listeners; /* the pool */
	bool one_uid, stopping;
	uid_t owner; /* mail_owner */
	gid_t owner_gid, postdrop;
	int log_fd;    /* maillog_file, or -1 */
	int events_fd; /* event_log, or -1 */
	int ready_fd;  /* -w: the waiting parent's pipe, or -1 */
	unsigned children;
};
extern struct master master;

/* options.c */
void options_parse(int argc, char **argv, struct options *o);
/* daemon.c */
void daemon_background(void);  /* -w: the parent stays until daemon_ready() */
void daemon_ready(void);       /* start-up is over: lets go of the terminal, tells the parent */
void daemon_limits(void);      /* open files */
void daemon_drop_rights(void); /* capabilities beyond the few that starting daemons takes */
/* pidlock.c */
void pidlock_take(const struct conf *c); /* die() when another master runs */
int pidlock_test(const struct conf *c);	 /* exit status of -t: 0 not running, 1 running */
/* Locks pid/unix.NAME: the descriptor, or -1 while another process holds it. */
int pidlock_single(const char *name);
/* directories.c */
void directories_make(const struct conf *c);
/* bequeath.c: directory `dirfd`, with all in it that is of uid `former` (BEQUEATH_ALL: of anybody), becomes uid's. Fatal when it cannot be. */
#define BEQUEATH_ALL ((uid_t)-1)
void bequeath(const char *path, int dirfd, uid_t former, uid_t uid, gid_t gid);
void directories_restore(
    const struct conf *c); /* -p: owners and modes of all, and owners of what is in the queue */
/* config.c */
MUST_CHECK enum rc config_load(const char *dir, struct running **out, struct err *e);
void config_release(struct running **r);
void config_unref(struct running *r); /* one of its services was freed */
/* reload.c */
void reload(void *unused);	     /* SIGHUP */
void first_start(struct running *r); /* die() when a listener cannot be had */
void start_all(void);
/* service.c */
struct service *service_find(const char *name); /* a UNIX service in force */
bool service_wants_watch(const struct service *s);
void service_activity(struct service *s); /* a connection waits */
void service_changed(
    struct service *s); /* children came, went, are busy: watchers and starts are looked at anew */
void service_begin(struct service *s);
void service_stop(struct service *s);	/* no more starts */
void service_retire(struct service *s); /* drains its children; freed when the last has ended */
void service_wake(struct service *s);	/* MP_WAKEUP to one child */
void service_hand(struct service *s, int fd,
		  unsigned listener); /* a connection that was accepted for it; takes fd */
void service_child_ready(struct child *c);
void service_child_ended(struct child *c, int wait_status);
/* child.c */
MUST_CHECK enum rc child_start(struct service *s, struct err *e);
/* Never waits. False: it does not read what it is told. */
bool child_send(struct child *c, enum mp_type type, uint32_t serial, int64_t value, int fd);
void child_drain(struct child *c, int64_t kill_after_s); /* 0: it may take its time */
void child_kill(struct child *c);
void child_reap(void *unused);	      /* SIGCHLD */
void child_follow(struct service *s); /* from now on child_each() sees its children */
void child_each(void (*fn)(struct child *c, void *arg), void *arg);
/* broker.c */
void broker_connect(struct child *c, uint32_t serial, const char *name);
void broker_wake(const struct child *c, const char *name); /* MP_WAKE */
/* backoff.c */
void backoff_died(struct service *s, bool started); /* may throttle; started: it had said MP_READY */
/* listen.c */
MUST_CHECK enum rc listen_for(struct running *r, struct service *s, struct list *fresh, struct err *e);
void listen_discard(struct list *fresh); /* a failed reload: closes what is new */
void listen_adopt(struct list *fresh);	 /* into the pool */
void listen_close_unwanted(void);
void listen_close_all(void);
void listen_wanted(struct service *s); /* watchers look again */
struct listener *listen_find(struct list *fresh, const char *key);
struct listener *listen_new(const char *key, const char *path, int fd);
/* inet.c */
MUST_CHECK enum rc inet_listen(struct running *r, struct service *s, struct list *fresh, struct err *e);
/* overlap.c: the wildcard address and single ones on the same port */
/* While on, `a` may be bound although sockets of ours on its port contain it, or are contained by it. */
void overlap_share(struct list *fresh, const struct sockaddr *a, socklen_t len, bool on);
/* A listener that is closed; takes fd. Where another one has its addresses now, connections that wait there, or are about to come,
 * are accepted and placed. */
void overlap_close(int fd);
void overlap_keep(
    struct running *r);	    /* single addresses that a wildcard of this configuration contains stay with it */
void overlap_place(int fd); /* an accepted connection to the service that listens on its address; takes fd */
/* inherit.c: LISTEN_FDS */
void inherit_take(void);
/* systemd.c */
void systemd_notify(const char *text);
void systemd_ready(void);
void systemd_notify_reloading(void);
void systemd_watchdog(void);
void systemd_keep(const struct listener *l); /* file descriptor store */
/* signals.c */
void signals_watch(void);
void stop(bool at_once);
void stop_check(void); /* ends the loop when the last child has ended */
/* logfile.c */
void logfile_open(const struct conf *c);
void logfile_reopen(void *unused); /* SIGUSR1 */

#endif
