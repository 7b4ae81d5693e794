/* auth/pam.c - system accounts through PAM, each check in a process of its own: modules may block, leak or
 * crash. */
#include "keeper_loop.h"
#include "log/log.h"
#include <security/pam_appl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAM_SECONDS 50

/* Every prompt is answered with the password; anything else a module wants to say goes nowhere. */
static int converse(int n, const struct pam_message **msg, struct pam_response **out, void *arg)
{
	struct pam_response *r;

	if (n <= 0 || n > PAM_MAX_NUM_MSG || !(r = calloc((size_t)n, sizeof(*r))))
		return PAM_CONV_ERR;
	for (int i = 0; i < n; i++)
		if (msg[i]->msg_style == PAM_PROMPT_ECHO_OFF)
			r[i].resp = strdup(arg); /* freed by PAM */
	*out = r;
	return PAM_SUCCESS;
}

static uint32_t check(const struct keeper_question *q, const char *service, uint32_t *source)
{
	char password[KEEPER_SECRET_MAX];
	struct pam_conv conv = { converse, password };
	pam_handle_t *pam = NULL;
	int rc;

	memcpy(password, q->password, sizeof(password));
	*source = KEEPER_SYSTEM;
	rc = pam_start(service, q->user, &conv, &pam);
	if (rc == PAM_SUCCESS && *q->rip)
		rc = pam_set_item(pam, PAM_RHOST, q->rip);
	if (rc == PAM_SUCCESS)
		rc = pam_authenticate(pam, PAM_SILENT);
	if (rc == PAM_SUCCESS)
		rc = pam_acct_mgmt(pam, PAM_SILENT);
	if (rc == PAM_AUTHINFO_UNAVAIL || rc == PAM_SYSTEM_ERR || rc == PAM_ABORT || rc == PAM_BUF_ERR) {
		log_warning("PAM service %s: %s", service, pam_strerror(pam, rc));
		*source = KEEPER_TROUBLE;
	}
	if (pam)
		(void)pam_end(pam, rc);
	explicit_bzero(password, sizeof(password));
	return rc == PAM_SUCCESS;
}

bool pam_answer(int fd, const struct keeper_question *q, const char *service)
{
	struct keeper_answer a = { .serial = q->serial };
	pid_t pid = fork();

	if (pid != 0)
		return pid > 0;
	alarm(PAM_SECONDS);
	a.granted = check(q, service, &a.source);
	(void)send(fd, &a, sizeof(a), MSG_NOSIGNAL);
	_exit(0);
}
