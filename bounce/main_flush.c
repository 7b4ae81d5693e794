/* bounce/main_flush.c - flush(8): mail for a site that asks for it with ETRN (RFC 1985) or through postqueue
 * -s. Sites are those of fast_flush_domains, so that strangers cannot have the whole queue walked through.
 * Which messages are meant, qmgr(8) finds in the deferred queue itself: nothing is kept here. */
#include "log/log.h"
#include "map/map.h"
#include "service/service.h"
#include "ipc/proto.h"

enum { FLUSH_ADD = 1, FLUSH_SITE, FLUSH_REFRESH, FLUSH_PURGE };
enum { FLUSHED = 0, NOT_ELIGIBLE, FAILED };

static struct match_list *domains;

static bool lists_parents(void)
{
	struct span rest = span_str(conf_str(service_conf(), "parent_domain_matches_subdomains")), word;

	while (span_next_word(&rest, ", \t\n", &word))
		if (span_is(word, "fast_flush_domains"))
			return true;
	return false;
}

static void prepare(void)
{
	struct err e;

	if (match_list_open("fast_flush_domains", span_str(conf_str(service_conf(), "fast_flush_domains")),
			    lists_parents() ? MATCH_PARENT : 0, &domains, &e) != RC_OK)
		die("fast_flush_domains: %s", e.text);
}

static uint16_t send_site(struct span site, struct arena *a)
{
	struct qmgr_control q = { .op = QOP_FLUSH_SITE, .arg = site };
	struct qmgr_control_reply r;
	struct err e;
	enum rc rc = match_domain(domains, site, &e);

	if (rc == RC_NOTFOUND)
		return NOT_ELIGIBLE;
	if (rc == RC_OK)
		rc = service_request(conf_str(service_conf(), "queue_service_name"), true, IPC_QMGR_CONTROL,
				     &q, &r, a, deadline_s(100), &e);
	if (rc == RC_OK)
		return r.code == 0 ? FLUSHED : FAILED;
	log_warning("flush for " SPAN_FMT ": %s", SPAN_ARG(site), e.text);
	return FAILED;
}

static void answer(struct ipc_call *call, const void *request)
{
	const struct flush_query *q = request;
	struct flush_reply r = { .status = FAILED };
	struct span site = q->site;

	if (site.n > 2 && site.p[0] == '[' && site.p[site.n - 1] == ']')
		site = span_make(site.p + 1, site.n - 2);
	switch (q->op) {
	case FLUSH_SITE:
		r.status = send_site(site, ipc_call_arena(call));
		break;
	case FLUSH_ADD: /* there are no lists to keep: the deferred queue is one */
	case FLUSH_REFRESH:
	case FLUSH_PURGE:
		r.status = FLUSHED;
		break;
	}
	ipc_reply(call, &r);
}

static const struct ipc_handler handlers[] = {
	{ IPC_FLUSH, "*", answer },
	{ 0, NULL, NULL },
};

static void start(void)
{
	map_watch(false);
}

static const struct service flush = {
	.name = "flush",
	.kind = SV_IPC,
	.user = "aux_owner",
	.rights = "stdio accept recvfd",
	.start = start,
	.prepare = prepare,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &flush);
}
