/* local/settings.c - local(8)'s parameters, read once while root. */
#include "local.h"
#include "log/log.h"
#include "mime/address.h"
#include "service/service.h"
#include <sys/stat.h>
#include <unistd.h>

struct local_conf local_conf;

static unsigned words_to_bits(const char *param, const char *const *names, size_t n)
{
	struct span rest = span_str(conf_str(service_conf(), param)), w;
	unsigned bits = 0;

	while (span_next_word(&rest, ", \t\r\n", &w))
		for (size_t i = 0; i < n; i++)
			if (span_is_ci(w, names[i]))
				bits |= 1u << i;
	return bits;
}

static void read_default_privs(void)
{
	const char *name = conf_str(service_conf(), "default_privs");
	struct asuser_id *id = &local_conf.nobody;
	struct err e;

	*id = (struct asuser_id){ .tag = "local" };
	if (account_may_work(service_conf(), name, "", service_one_uid(), &id->uid, &id->gid, &e) != RC_OK)
		die("default_privs = %s: %s", name, e.text);
	if (service_one_uid()) { /* nobody else can be had */
		id->uid = geteuid();
		id->gid = getegid();
	}
	if (!worker_text(id->user, sizeof(id->user), span_str(name)))
		die("default_privs: name too long");
}

/* ---- who wrote the aliases ---- */
static uid_t alias_uid;

/* The commands of an alias file are run as its owner, if that is not root: by the file's name, since others
 * read the table for us. */
static void find_alias_owner(void)
{
	static const char *const suffixes[] = { ".db", ".lmdb", ".cdb", "" };
	struct span rest = span_str(conf_str(service_conf(), "alias_maps")), w;
	char path[1024];
	struct stat st;

	while (span_next_word(&rest, ", \t\r\n", &w)) {
		ptrdiff_t slash = span_find(w, SPAN(":/"));
		bool found = false;
		for (size_t i = 0; slash > 0 && !found && i < ARRAY_LEN(suffixes); i++) {
			struct span file = span_skip(w, (size_t)slash + 1);
			int n = snprintf(path, sizeof path, SPAN_FMT "%s", SPAN_ARG(file), suffixes[i]);
			found = n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0;
		}
		if (found && st.st_uid != 0 && alias_uid == 0)
			alias_uid = st.st_uid;
	}
}

bool local_alias_owner(uid_t *uid)
{
	*uid = alias_uid;
	return alias_uid != 0;
}

void local_conf_read(void)
{
	static const char *const origins[] = { "alias", "forward", "include" };
	static const char *const headers[] = { "command", "file", "forward" };
	const struct conf *c = service_conf();

	local_conf.frozen_delivered = conf_bool(c, "frozen_delivered_to");
	local_conf.duplicates = (size_t)conf_int(c, "duplicate_filter_limit");
	local_conf.extensions = address_extensions_of(c);
	local_conf.limit = setup_limit("mailbox_size_limit");
	setup_lock("mailbox_delivery_lock", &local_conf.lock);
	local_conf.commands_from = words_to_bits("allow_mail_to_commands", origins, ARRAY_LEN(origins));
	local_conf.files_from = words_to_bits("allow_mail_to_files", origins, ARRAY_LEN(origins));
	local_conf.propagate = words_to_bits("propagate_unmatched_extensions", origins, ARRAY_LEN(origins));
	unsigned h = words_to_bits("prepend_delivered_header", headers, ARRAY_LEN(headers));
	local_conf.delivered_command = h & 1;
	local_conf.delivered_file = h & 2;
	local_conf.delivered_forward = h & 4;
	read_default_privs();
	find_alias_owner();
	map_set_remote(true);
	agent_filter_open("local_delivery_status_filter");
	local_conf.aliases = setup_maps("alias_maps");
	local_conf.transports = setup_maps("mailbox_transport_maps");
	local_conf.fallbacks = setup_maps("fallback_transport_maps");
	local_conf.commands = setup_maps("mailbox_command_maps");
}
