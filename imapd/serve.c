/* One connection in the process of the user: from the hand-over to the last line in the log. */
#include "imapd.h"
#include "log/log.h"
#include "log/event.h"

/* Once per process. */
static enum rc make_special_use(struct store *store, struct err *e)
{
	static bool made;
	enum rc rc = RC_OK;

	if (!made)
		rc = store_special_use(store, imap_conf.special_use, true, e);
	made = made || rc == RC_OK;
	return rc;
}

static void refuse(struct login_session *l)
{
	static const char text[] =
	    "[UNAVAILABLE] Mailbox cannot be opened. Refer to server log for more information.";
	struct err e;

	stream_printf(l->io, "%s NO %s\r\n* BYE %s\r\n", l->tag, text, text);
	if (stream_flush(l->io, deadline_s(10), &e) != RC_OK)
		log_debug("%s: %s", l->who, e.text);
}

static void log_end(const struct session *s)
{
	log_info("%s: Disconnected: %s in=%llu out=%llu deleted=%u expunged=%u trashed=0 "
		 "hdr_count=%u hdr_bytes=%llu body_count=%u body_bytes=%llu",
		 s->who, s->why_ended ? s->why_ended : "Connection closed",
		 (unsigned long long)stream_bytes_in(s->io), (unsigned long long)stream_bytes_out(s->io),
		 s->deleted, s->expunged, s->hdr_count, (unsigned long long)s->hdr_bytes, s->body_count,
		 (unsigned long long)s->body_bytes);
	EVENT("logout", EV_CSTR("protocol", "imap"), EV_CSTR("session", s->who),
	      EV_NUMBER("bytes_in", stream_bytes_in(s->io)), EV_NUMBER("bytes_out", stream_bytes_out(s->io)),
	      EV_NUMBER("expunged", s->expunged));
}

void serve(struct login_session *l)
{
	struct session *s;
	struct err e;

	if (make_special_use(l->store, &e) != RC_OK) {
		log_error("%s: %s", l->who, e.text);
		refuse(l);
		l->unusable = true;
		return;
	}
	s = xcalloc(1, sizeof(*s)); /* large for a stack that idles for days: see stack_trim() in lib/task */
	*s = (struct session){ .io = l->io, .store = l->store, .conf = &imap_conf.session, .who = l->who };
	session_run(s, span_str(l->tag));
	log_end(s);
	free(s);
}
