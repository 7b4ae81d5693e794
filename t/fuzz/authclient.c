/* t/fuzz/authclient.c - any bytes as what an authentication server sends (sasl/authclient.h): greeting and
 * answers are taken or refused, an outcome of success names a user, and nothing is kept of what makes no
 * sense. */
#include "../../lib/sasl/authclient.c" /* its static functions are what is tested */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void outcome(struct authclient *ac, struct span line, bool redeem)
{
	struct auth_exchange *x = exchange_new(ac);
	struct auth_outcome out = { .status = AUTH_FAIL };
	struct auth_user user = { .user = SPAN_NONE };
	struct err e = { .text = "" };
	struct arena a;

	arena_init(&a);
	x->id = 1;
	reply_line(ac, line);
	if (x->answered && redeem) {
		if (judge_user(x, &a, &user, &e) != RC_OK)
			INVARIANT(e.text[0]);
	} else if (x->answered) {
		enum auth_status s = judge(&x, &a, &out, &e);

		INVARIANT(s == out.status);
		INVARIANT(s != AUTH_OK || out.user.n > 0);
		INVARIANT((s == AUTH_OK || s == AUTH_CONTINUE) == (x != NULL));
		INVARIANT(out.challenge.n <= AUTH_DATA_MAX && out.final.n <= AUTH_DATA_MAX);
	}
	exchange_free(&x);
	arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = span_make((const char *)data, size), line;
	struct authclient_conf conf = { "auth", "smtp", NULL };
	struct authclient *ac = authclient_new(&conf);

	ac->state = CONN_HANDSHAKE;
	while (span_next(&rest, '\n', &line)) {
		if (line.n > LINE_MAX_BYTES)
			continue;
		if (ac->state == CONN_HANDSHAKE && !handshake_line(ac, line))
			break;
		INVARIANT(ac->mechs <= AUTH_MECHS_MAX);
		outcome(ac, line, false);
		outcome(ac, line, true);
	}
	ac->state = CONN_NONE;
	authclient_free(&ac);
	return 0;
}
