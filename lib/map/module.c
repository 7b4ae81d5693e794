/* map/module.c - types that live in modules: postern-db.so and the like, loaded when the first table of the
 * type is opened. Our own are found by name; other ones by dynamicmaps.cf, whose lines name a type, a shared
 * object, and functions (which are Postfix's and not used). */
#include "conf/conf.h"
#include "map/dbpool.h"
#include "map/dbquery.h"
#include "map/driver.h"
#include "map/sqltable.h"
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#define DYNAMIC_BYTES_MAX (1u << 20)

static char module_dir[4096], config_dir[4096];

static const struct {
	const char *type, *module;
	bool database;
} in_module[] = {
	{ "hash", "db", false },      { "btree", "db", false },	  { "lmdb", "lmdb", false },
	{ "cdb", "cdb", false },      { "mysql", "mysql", true }, { "pgsql", "pgsql", true },
	{ "sqlite", "sqlite", true }, { "ldap", "ldap", true },
};

/* What modules use of this program has to be in it: a linker takes from an archive only what somebody names. */
extern const void *const map_used_by_modules[];
const void *const map_used_by_modules[] = { (const void *)dbconf_open, (const void *)dbpool_open,
					    (const void *)db_expand_query, (const void *)sql_open };

bool map_type_is_database(struct span type)
{
	for (size_t i = 0; i < ARRAY_LEN(in_module); i++)
		if (in_module[i].database && span_is(type, in_module[i].type))
			return true;
	return false;
}

static void set_dir(const char *dir, char out[4096])
{
	if (!dir || span_cstr(span_str(dir), out, 4096) != RC_OK)
		out[0] = 0;
}

void map_set_module_dir(const char *dir)
{
	set_dir(dir, module_dir);
}

void map_set_config_dir(const char *dir)
{
	set_dir(dir, config_dir);
}

const char *map_config_dir(void)
{
	return config_dir[0] ? config_dir : conf_default_dir();
}

/* "modules" beside the directory of the program (a build tree), else the place where they are installed. */
static void find_module_dir(void)
{
	char exe[3900];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	char *slash;

	if (n > 0) {
		exe[n] = 0;
		if ((slash = strrchr(exe, '/')))
			*slash = 0;
		snprintf(module_dir, sizeof module_dir, "%s/../modules", exe);
		if (access(module_dir, X_OK) == 0)
			return;
	}
	snprintf(module_dir, sizeof module_dir, "%s", POSTERN_PREFIX "/lib/postern");
}

/* ---- dynamicmaps.cf ---- */
bool map_module_named(struct span text, struct span type, char *object, size_t size)
{
	struct span line, name, so;

	while (span_next(&text, '\n', &line)) {
		if (span_starts(span_trim(line), SPAN("#")))
			continue;
		if (span_next_word(&line, " \t\r", &name) && span_eq(name, type) &&
		    span_next_word(&line, " \t\r", &so) && span_cstr(so, object, size) == RC_OK)
			return true;
	}
	return false;
}

static bool named_in_file(const char *path, struct span type, char *object, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct buf text;
	bool found;

	if (fd < 0)
		return false;
	buf_init(&text, DYNAMIC_BYTES_MAX);
	found =
	    map_read_all(fd, &text, NULL) == RC_OK && map_module_named(buf_span(&text), type, object, size);
	buf_release(&text);
	close(fd);
	return found;
}

/* dynamicmaps.cf, then the files dynamicmaps.cf.d/NAME.cf. */
static bool named_in_dir(const char *place, struct span type, char *object, size_t size)
{
	struct dirent *d;
	char path[4400];
	bool found;
	DIR *dir;

	snprintf(path, sizeof path, "%s/dynamicmaps.cf", place);
	if (named_in_file(path, type, object, size))
		return true;
	snprintf(path, sizeof path, "%s/dynamicmaps.cf.d", place);
	if (!(dir = opendir(path)))
		return false;
	for (found = false; !found && (d = readdir(dir));) {
		if (d->d_name[0] == '.' || !span_ends(span_str(d->d_name), SPAN(".cf")))
			continue;
		snprintf(path, sizeof path, "%s/dynamicmaps.cf.d/%s", place, d->d_name);
		found = named_in_file(path, type, object, size);
	}
	closedir(dir);
	return found;
}

/* In meta_directory, which instances share; else where main.cf is. */
static bool named_dynamically(struct span type, char *object, size_t size)
{
	struct conf *c = NULL;
	bool found = conf_load(map_config_dir(), &c, NULL) == RC_OK &&
		     named_in_dir(conf_str(c, "meta_directory"), type, object, size);

	conf_free(&c);
	return found || named_in_dir(map_config_dir(), type, object, size);
}

bool map_type_in_module(struct span type)
{
	char object[4096];

	for (size_t i = 0; i < ARRAY_LEN(in_module); i++)
		if (span_is(type, in_module[i].type))
			return true;
	return named_dynamically(type, object, sizeof object);
}

/* ---- finding and loading ---- */
static const char *module_of(struct span type, char *name, size_t size)
{
	for (size_t i = 0; i < ARRAY_LEN(in_module); i++)
		if (span_is(type, in_module[i].type))
			return in_module[i].module;
	for (size_t i = 0; i < type.n; i++)
		if (!ascii_isalnum(type.p[i]))
			return NULL;
	return type.n && span_cstr(type, name, size) == RC_OK ? name : NULL;
}

static bool ours(struct span type)
{
	for (size_t i = 0; i < ARRAY_LEN(in_module); i++)
		if (span_is(type, in_module[i].type))
			return true;
	return false;
}

/* Where the module of a type is, or why there is none. */
static enum rc find_module(struct span type, char *path, size_t size, struct err *e)
{
	char name[32], object[2048];
	const char *module = module_of(type, name, sizeof name);

	if (!module_dir[0])
		find_module_dir();
	if (!module)
		return err_set(e, RC_NOTFOUND, "unsupported dictionary type: " SPAN_FMT, SPAN_ARG(type));
	snprintf(path, size, "%s/postern-%s.so", module_dir, module);
	if (access(path, F_OK) == 0 || dlopen(path, RTLD_LAZY | RTLD_NOLOAD))
		return RC_OK;
	if (ours(type))
		return err_set(e, RC_NOTFOUND,
			       "unsupported dictionary type: " SPAN_FMT
			       ": the module %.300s is not installed",
			       SPAN_ARG(type), path);
	if (!named_dynamically(type, object, sizeof object))
		return err_set(e, RC_NOTFOUND, "unsupported dictionary type: " SPAN_FMT, SPAN_ARG(type));
	snprintf(path, size, "%s%s%s", object[0] == '/' ? "" : module_dir, object[0] == '/' ? "" : "/",
		 object);
	if (access(path, F_OK) == 0)
		return RC_OK;
	return err_set(e, RC_NOTFOUND,
		       "unsupported dictionary type: " SPAN_FMT
		       ": the module %.300s that dynamicmaps.cf names is not "
		       "installed",
		       SPAN_ARG(type), path);
}

static enum rc driver_in(const struct map_module *m, struct span type, const struct map_driver **out,
			 const char **suffix, struct err *e)
{
	for (size_t i = 0; m->drivers[i]; i++) {
		if (!span_is(type, m->drivers[i]->name))
			continue;
		*out = m->drivers[i];
		if (suffix)
			*suffix = m->suffix;
		return RC_OK;
	}
	return err_set(e, RC_NOTFOUND, "unsupported dictionary type: " SPAN_FMT, SPAN_ARG(type));
}

enum rc map_module_load(struct span type, const struct map_driver **out, const char **suffix, struct err *e)
{
	const struct map_module *m;
	char path[6200];
	void *lib;
	enum rc rc = find_module(type, path, sizeof path, e);

	if (rc != RC_OK)
		return rc;
	if (!(lib = dlopen(path, RTLD_NOW | RTLD_LOCAL)))
		return err_set(e, RC_NOTFOUND, "unsupported dictionary type: " SPAN_FMT ": %s",
			       SPAN_ARG(type), dlerror());
	if (!(m = dlsym(lib, "map_module"))) {
		dlclose(lib);
		return err_set(e, RC_NOTFOUND,
			       "unsupported dictionary type: " SPAN_FMT
			       ": %.300s is not a module of this suite",
			       SPAN_ARG(type), path);
	}
	if (m->abi != MAP_MODULE_ABI)
		return err_set(e, RC_NOTFOUND, "dictionary type " SPAN_FMT ": %.300s is of another version",
			       SPAN_ARG(type), path);
	return driver_in(m, type, out, suffix, e);
}
