/* map/module.c - types that live in modules: postern-db.so and the like, loaded when the first table of the
 * type is opened. */
#include "map/driver.h"
#include <dlfcn.h>
#include <unistd.h>

static char module_dir[4096];

static const struct {
	const char *type, *module;
} in_module[] = {
	{ "hash", "db" },
	{ "btree", "db" },
};

void map_set_module_dir(const char *dir)
{
	if (!dir || span_cstr(span_str(dir), module_dir, sizeof module_dir) != RC_OK)
		module_dir[0] = 0;
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

enum rc map_module_load(struct span type, const struct map_driver **out, const char **suffix, struct err *e)
{
	char name[32], path[4200];
	const char *module = module_of(type, name, sizeof name);
	const struct map_module *m;
	void *lib;

	if (!module)
		return err_set(e, RC_NOTFOUND, "unsupported dictionary type: " SPAN_FMT, SPAN_ARG(type));
	if (!module_dir[0])
		find_module_dir();
	snprintf(path, sizeof path, "%s/postern-%s.so", module_dir, module);
	if (access(path, F_OK) != 0 && !dlopen(path, RTLD_LAZY | RTLD_NOLOAD))
		return err_set(e, RC_NOTFOUND, "unsupported dictionary type: " SPAN_FMT, SPAN_ARG(type));
	if (!(lib = dlopen(path, RTLD_NOW | RTLD_LOCAL)))
		return err_set(e, RC_NOTFOUND, "dictionary type " SPAN_FMT ": %s", SPAN_ARG(type), dlerror());
	m = dlsym(lib, "map_module");
	if (!m || m->abi != MAP_MODULE_ABI)
		return err_set(e, RC_NOTFOUND, "dictionary type " SPAN_FMT ": %s is of another version",
			       SPAN_ARG(type), path);
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
