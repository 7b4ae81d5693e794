/* auth/exchange.c - SASL mechanisms through Cyrus SASL (RFC 4422). Cyrus asks us two things: is this the
 * password (PLAIN, LOGIN), and what is the password (CRAM-MD5, SCRAM), through a callback and an auxprop
 * plug-in of our own. Both may wait: exchanges are tasks. */
#include "auth.h"
#include "base/codec.h"
#include "log/log.h"
#include "service/service.h"
#include <sasl/sasl.h>
#include <sasl/saslplug.h>

struct sasl_exchange {
	sasl_conn_t *conn;
	sasl_callback_t callbacks[4];
	struct exchange_about about;
	char service[16], rip[64];
	char user[KEEPER_NAME_MAX]; /* the last name that was looked at */
	bool trouble;		    /* a store failed: not the client's fault */
	bool started;
};
static char mech_list[512];

/* ---- what Cyrus asks ---- */
static int ask_option(void *context, const char *plugin, const char *option, const char **result,
		      unsigned *len)
{
	static const struct {
		const char *option, *value;
	} options[] = {
		{ "pwcheck_method", "auxprop" },
		{ "auxprop_plugin", "postern" },
		{ "log_level", "0" },
		{ "scram_iteration_counter", "4096" },
	};

	(void)context;
	(void)plugin;
	if (strcmp(option, "mech_list") == 0) {
		*result = mech_list;
	} else {
		*result = NULL;
		for (size_t i = 0; i < ARRAY_LEN(options); i++)
			if (strcmp(option, options[i].option) == 0)
				*result = options[i].value;
	}
	if (*result && len)
		*len = (unsigned)strlen(*result);
	return *result ? SASL_OK : SASL_FAIL;
}

static int ignore_log(void *context, int level, const char *message)
{
	(void)context;
	if (level <= SASL_LOG_ERR)
		log_warning("SASL: %s", message);
	return SASL_OK;
}

static void remember(struct sasl_exchange *x, struct span user)
{
	if (!verify_canonical(user, x->user))
		x->user[0] = '\0';
}

static int check_password(sasl_conn_t *conn, void *context, const char *user, const char *pass,
			  unsigned passlen, struct propctx *propctx)
{
	struct sasl_exchange *x = context;

	(void)conn;
	(void)propctx;
	remember(x, span_str(user));
	switch (verify_password(span_str(user), span_make(pass, passlen), x->service, x->rip)) {
	case V_OK:
		return SASL_OK;
	case V_TEMP:
		x->trouble = true;
		return SASL_TRYAGAIN;
	case V_NO_USER:
	case V_WRONG:
		break;
	}
	return SASL_BADAUTH;
}

/* Nobody acts for others: the identity asked for must be the one that was proved (RFC 4616 2). */
static int may_act_as(sasl_conn_t *conn, void *context, const char *wanted, unsigned wlen, const char *proved,
		      unsigned plen, const char *realm, unsigned rlen, struct propctx *propctx)
{
	(void)conn;
	(void)context;
	(void)realm;
	(void)rlen;
	(void)propctx;
	return span_eq_ci(span_make(wanted, wlen), span_make(proved, plen)) ? SASL_OK : SASL_NOAUTHZ;
}

/* The auxprop plug-in: userPassword of one user. */
static int look_up_secret(void *glob, sasl_server_params_t *params, unsigned flags, const char *user,
			  unsigned ulen)
{
	struct sasl_exchange *x = NULL;
	const sasl_callback_t *cb;
	struct span secret;
	struct arena a;
	enum verdict_kind v;
	int rc = SASL_NOUSER;

	(void)glob;
	if (flags & SASL_AUXPROP_AUTHZID)
		return SASL_OK;
	for (cb = params->callbacks; cb && cb->id != SASL_CB_LIST_END; cb++)
		if (cb->context)
			x = cb->context;
	if (x)
		remember(x, span_make(user, ulen));
	arena_init(&a);
	v = verify_secret(span_make(user, ulen), &a, &secret);
	if (v == V_NO_USER) {
		/* SCRAM would end one message earlier than for a wrong password: go on with a password that
		 * nobody can know. */
		unsigned char random[16];
		char nobody[33];

		random_bytes(random, sizeof(random));
		for (size_t i = 0; i < sizeof(random); i++)
			snprintf(nobody + 2 * i, 3, "%02x", random[i]);
		params->utils->prop_set(params->propctx, SASL_AUX_PASSWORD, nobody, 32);
		rc = SASL_OK;
	} else if (v == V_OK) {
		params->utils->prop_set(params->propctx, SASL_AUX_PASSWORD, secret.p, (int)secret.n);
		explicit_bzero((char *)(uintptr_t)secret.p, secret.n);
		rc = SASL_OK;
	} else if (v == V_TEMP) {
		if (x)
			x->trouble = true;
		rc = SASL_TRYAGAIN;
	}
	arena_release(&a);
	return rc;
}

static sasl_auxprop_plug_t secret_plugin = { .auxprop_lookup = look_up_secret,
					     .name = (char *)(uintptr_t) "postern" };

static int secret_plugin_init(const sasl_utils_t *utils, int max, int *version, sasl_auxprop_plug_t **plug,
			      const char *name)
{
	(void)utils;
	(void)name;
	if (max < SASL_AUXPROP_PLUG_VERSION)
		return SASL_BADVERS;
	*version = SASL_AUXPROP_PLUG_VERSION;
	*plug = &secret_plugin;
	return SASL_OK;
}

typedef int (*any_fn)(void);

/* ---- life ---- */
void exchange_prepare(void)
{
	static sasl_callback_t global[3];
	struct span rest = span_str(auth_conf.mechanisms), word;
	size_t n = 0;

	while (span_next_word(&rest, " ,\t\n", &word) && n + word.n + 2 < sizeof(mech_list)) {
		if (n)
			mech_list[n++] = ' ';
		for (size_t i = 0; i < word.n; i++)
			mech_list[n++] = ascii_upper(word.p[i]);
	}
	global[0] = (sasl_callback_t){ SASL_CB_GETOPT, (any_fn)(uintptr_t)ask_option, NULL };
	global[1] = (sasl_callback_t){ SASL_CB_LOG, (any_fn)(uintptr_t)ignore_log, NULL };
	global[2] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	if (sasl_server_init(global, "postern") != SASL_OK)
		die("Cyrus SASL cannot be initialised");
	if (sasl_auxprop_add_plugin("postern", secret_plugin_init) != SASL_OK)
		die("Cyrus SASL does not take our auxprop plug-in");
}

struct sasl_exchange *exchange_new(const struct exchange_about *about)
{
	struct sasl_exchange *x = xcalloc(1, sizeof(*x));
	sasl_security_properties_t props = { .maxbufsize = 0,
					     .max_ssf = 0 }; /* no SASL security layers: TLS does that */
	int rc;

	snprintf(x->service, sizeof(x->service), "%s", about->service);
	snprintf(x->rip, sizeof(x->rip), "%s", about->rip);
	x->callbacks[0] =
	    (sasl_callback_t){ SASL_CB_SERVER_USERDB_CHECKPASS, (any_fn)(uintptr_t)check_password, x };
	x->callbacks[1] = (sasl_callback_t){ SASL_CB_PROXY_POLICY, (any_fn)(uintptr_t)may_act_as, x };
	x->callbacks[2] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	rc = sasl_server_new(x->service, conf_str(service_conf(), "myhostname"), NULL, NULL, NULL,
			     x->callbacks, 0, &x->conn);
	if (rc == SASL_OK)
		rc = sasl_setprop(x->conn, SASL_SEC_PROPS, &props);
	if (rc != SASL_OK) {
		log_warning("SASL: %s", sasl_errstring(rc, NULL, NULL));
		exchange_free(&x);
	}
	return x;
}

void exchange_free(struct sasl_exchange **x)
{
	if (*x) {
		if ((*x)->conn)
			sasl_dispose(&(*x)->conn);
		free(*x);
	}
	*x = NULL;
}

const char *exchange_mechs(void)
{
	static char out[sizeof(mech_list)];
	const struct exchange_about about = { "smtp", "", "", true };
	struct sasl_exchange *x = exchange_new(&about);
	const char *text = NULL;

	if (x && sasl_listmech(x->conn, NULL, "", " ", "", &text, NULL, NULL) == SASL_OK)
		snprintf(out, sizeof(out), "%s", text);
	exchange_free(&x);
	return out;
}

void exchange_step(struct sasl_exchange *x, const char *mech, bool has_data, struct span data,
		   struct exchange_step *out)
{
	const char *reply = NULL, *in = has_data ? (data.n ? data.p : "") : NULL;
	unsigned n = 0;
	const void *name = NULL;
	int rc;

	if (mech)
		rc = sasl_server_start(x->conn, mech, in, (unsigned)data.n, &reply, &n);
	else
		rc = sasl_server_step(x->conn, in, (unsigned)data.n, &reply, &n);
	*out = (struct exchange_step){ .data = span_make(reply, reply ? n : 0) };
	switch (rc) {
	case SASL_CONTINUE:
		out->status = AUTH_CONTINUE;
		return;
	case SASL_OK:
		if (sasl_getprop(x->conn, SASL_USERNAME, &name) == SASL_OK && name)
			remember(x, span_str(name));
		out->status = x->user[0] ? AUTH_OK : AUTH_FAIL;
		break;
	default:
		out->status = x->trouble || rc == SASL_TRYAGAIN || rc == SASL_UNAVAIL ? AUTH_TEMP : AUTH_FAIL;
	}
	out->user = x->user;
}
