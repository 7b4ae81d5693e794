/* auth/sasldb.c - Cyrus SASL's database of users: a Berkeley DB table, key "user NUL realm NUL property",
 * value the secret in plain text. Opened for each question, as Cyrus does: saslpasswd2(8) may write it at any
 * time. */
#include "base/span.h"
#include "keeper_loop.h"
#include "log/log.h"
#include <db.h>
#include <errno.h>
#include <unistd.h>

#define REALM_MAX 255
#define KEY_MAX	  (KEEPER_NAME_MAX + REALM_MAX + 32)

static size_t make_key(struct span user, const char *realm, char key[KEY_MAX])
{
	return (size_t)snprintf(key, KEY_MAX, SPAN_FMT "%c%.*s%cuserPassword", SPAN_ARG(user), '\0',
				REALM_MAX, realm, '\0');
}

static enum keeper_source look_up(DB *db, const char *path, struct span user, const char *realm,
				  struct keeper_answer *out)
{
	char bytes[KEY_MAX], value[KEEPER_SECRET_MAX - 8];
	DBT key = { .data = bytes, .size = (u_int32_t)make_key(user, realm, bytes) };
	DBT data = { 0 };
	int rc;

	data.data = value;
	data.ulen = sizeof(value);
	data.flags = DB_DBT_USERMEM;
	rc = db->get(db, NULL, &key, &data, 0);
	if (rc == DB_NOTFOUND)
		return KEEPER_NOBODY;
	if (rc != 0) {
		log_warning("%s: %s", path, db_strerror(rc));
		return KEEPER_TROUBLE;
	}
	snprintf(out->stored, sizeof(out->stored), "{PLAIN}" SPAN_FMT, SPAN_ARG(span_make(value, data.size)));
	explicit_bzero(value, sizeof(value));
	return KEEPER_SASLDB;
}

/* saslpasswd2(8) without -u takes the host's name for the realm. */
static enum keeper_source look_in_realms(DB *db, const char *path, const char *realm, const char *user,
					 struct keeper_answer *out)
{
	const char *at = strrchr(user, '@');
	char host[65] = "";
	enum keeper_source s;

	if (at)
		return look_up(db, path, span_make(user, (size_t)(at - user)), at + 1, out);
	s = look_up(db, path, span_str(user), realm, out);
	if (s != KEEPER_NOBODY || gethostname(host, sizeof(host) - 1) != 0)
		return s;
	return look_up(db, path, span_str(user), host, out);
}

enum keeper_source sasldb_find(const char *path, const char *realm, const char *user,
			       struct keeper_answer *out)
{
	enum keeper_source s = KEEPER_TROUBLE;
	DB *db = NULL;
	int rc;

	if (access(path, F_OK) != 0)
		return errno == ENOENT ? KEEPER_NOBODY : KEEPER_TROUBLE;
	rc = db_create(&db, NULL, 0);
	if (rc == 0)
		rc = db->open(db, NULL, path, NULL, DB_UNKNOWN, DB_RDONLY, 0);
	if (rc == 0)
		s = look_in_realms(db, path, realm, user, out);
	else
		log_warning("%s: %s", path, db_strerror(rc));
	if (db)
		(void)db->close(db, 0);
	return s;
}
