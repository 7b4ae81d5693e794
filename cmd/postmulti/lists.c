/* lists.c - the texts that postmulti(1) reads: names, groups, lists of directories and of commands. */
#include "postmulti.h"

#define NAME_BYTES_MAX 255

/* It becomes a word of main.cf, the last part of a path, and a column of a listing. */
static bool is_safe(const char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s <= ' ' || *s == 0x7f || strchr("/$,{}", *s) != NULL)
			return false;
	return true;
}

enum rc check_new_name(const char *name, struct err *e)
{
	if (strcmp(name, "-") == 0)
		return RC_OK;
	if (strncmp(name, "postfix-", 8) != 0 || name[8] == '\0')
		return err_set(e, RC_SYNTAX, "New instance name must start with 'postfix-'");
	if (!is_safe(name))
		return err_set(e, RC_SYNTAX, "Unsafe characters in '-I %s'", name);
	if (strlen(name) > NAME_BYTES_MAX)
		return err_set(e, RC_LIMIT, "'-I %s': a name is limited to %d bytes", name, NAME_BYTES_MAX);
	return RC_OK;
}

enum rc check_new_group(const char *group, struct err *e)
{
	if (!is_safe(group))
		return err_set(e, RC_SYNTAX, "Unsafe characters in '-G %s'", group);
	if (strlen(group) > NAME_BYTES_MAX)
		return err_set(e, RC_LIMIT, "'-G %s': a name is limited to %d bytes", group, NAME_BYTES_MAX);
	return RC_OK;
}

enum rc check_path(const char *name, const char *path, struct err *e)
{
	if (path[0] != '/' || strpbrk(path, " \t\r\n\v\f,${}") != NULL)
		return err_set(e, RC_SYNTAX, "%s=%s: an absolute path without blanks is needed", name, path);
	return RC_OK;
}

enum rc directories_parse(struct span text, struct arena *a, struct span **dirs, size_t *n, struct err *e)
{
	enum rc rc = conf_words(text, false, a, dirs, n, e);
	if (rc == RC_OK && *n > INSTANCES_MAX)
		return err_set(e, RC_LIMIT, "multi_instance_directories: limited to %d instances",
			       INSTANCES_MAX);
	for (size_t i = 0; rc == RC_OK && i < *n; i++)
		rc = check_path("multi_instance_directories", arena_cstr(a, (*dirs)[i]), e);
	return rc;
}

bool command_is_listed(struct span list, const char *command)
{
	struct span word;
	while (span_next_word(&list, ", \t", &word))
		if (span_is(word, command))
			return true;
	return false;
}
