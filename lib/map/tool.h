/* map/tool.h - what postmap(1) and postalias(1) have in common: options, queries, listing, deletion,
 * building. */
#ifndef MAP_TOOL_H
#define MAP_TOOL_H

#include "map/build.h"

struct map_tool {
	const char *program;
	const char *options; /* getopt(3) */
	const char *usage;
	const char *separator; /* between key and value of a listing */
	/* -b, -h, -m: keys are lines of a message on standard input; NULL: no such options. Each key goes to
	 * each(). */
	void (*message_keys)(bool header, bool body, bool mime, struct span message,
			     void (*each)(void *arg, struct span key), void *arg);
	/* from the options */
	struct build_options build;
	bool list, json, base64, header, body, mime, force_utf8, no_utf8;
	const char *query, *del;
};

/* The whole program; its value is the exit status. Ends with "fatal: ..." and 1 on trouble. */
int map_tool_main(int argc, char **argv, struct map_tool *t);

#endif
