/* service/client.h - commands that speak to a running suite: a connection to a socket in public/ and one
 * request over it. */
#ifndef SERVICE_CLIENT_H
#define SERVICE_CLIENT_H

#include "conf/conf.h"
#include "ipc/ipc.h"

/* Connects to queue_directory/`where`/`name` ("public", "qmgr"). type: SOCK_SEQPACKET or SOCK_STREAM.
 * RC_NOTFOUND: the suite is not running (no socket, or nobody listens); RC_DENIED: no permission. Blocking.
 */
MUST_CHECK enum rc client_connect(const struct conf *c, const char *where, const char *name, int type,
				  int *fd, struct err *e);
/* One request to a SEQPACKET service, in a loop of its own; for programs that run no tasks. Errors as
 * ipc_request() and above. */
MUST_CHECK enum rc client_request(const struct conf *c, const char *where, const char *name, uint16_t type,
				  const void *request, void *reply, struct arena *a, int64_t timeout_s,
				  struct err *e);
/* A set-gid program believes a directory that its caller names (-c, MAIL_CONFIG) when the caller is root, or main.cf at
 * its usual place lists it in alternate_config_directories or multi_instance_directories: else this ends with that status. */
void client_require_known_dir(const char *dir, int status);
/* Reads the configuration: -c DIR (may be NULL), else MAIL_CONFIG, else the built-in directory; sets up the
 * log as a command does (stderr, and syslog or the maillog service). Dies when there is none. */
struct conf *client_conf(const char *dir, const char *program);
/* The same for programs that end with another status than 1. */
struct conf *client_conf_status(const char *dir, const char *program, int status);

#endif
