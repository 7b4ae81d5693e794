/* notice.c - the transcript of a session with a server, and the mail to the postmaster when one of notify_classes went
 * wrong in it (lib/smtp/transcript.h). */
#include "client.h"

struct job {
	struct transcript said;
	char peer[360], first[400];
};

static void send_task(void *arg)
{
	struct job *j = arg;
	struct transcript_mail m = { .conf = service_conf(),
				     .lane = service_lane(),
				     .cleanup_service = conf_str(service_conf(), "cleanup_service_name"),
				     .role = settings.lmtp ? "LMTP client" : "SMTP client",
				     .peer = j->peer,
				     .first = j->first };
	transcript_send(&j->said, &m);
	transcript_forget(&j->said);
	free(j);
	service_unhold();
}

void notice_out(struct session *s, struct span line)
{
	if (settings.notice_classes != 0)
		transcript_add_command(&s->said, service_conf(), "Out: ", line);
}

void notice_in(struct session *s, struct span line)
{
	if (settings.notice_classes != 0)
		transcript_add(&s->said, "In:  ", line);
}

/* Replies of these codes tell that we did not speak the protocol (RFC 5321 section 4.2.1, x0z), or that the server does
 * not. */
void notice_code(struct session *s, unsigned code)
{
	if (code < 400 || code >= 600 || code == 555 || (code >= 500 && code < 510))
		s->trouble |= NOTICE_PROTOCOL;
}

void notice_end(struct session *s)
{
	if ((s->trouble & settings.notice_classes) != 0 && !s->said.own_notice) {
		struct job *j = xcalloc(1, sizeof *j);
		j->said = s->said;
		s->said = (struct transcript){ 0 };
		snprintf(j->peer, sizeof j->peer, "%s", s->relay);
		snprintf(j->first, sizeof j->first, "Unexpected response from %s.", s->relay);
		service_hold();
		task_spawn(send_task, j); /* the result of the delivery need not wait for it */
	}
	transcript_forget(&s->said);
	s->trouble = 0;
}
