/* lookup/tables.h - the tables that proxymap(8) and proxywrite(8) may ask. */
#ifndef LOOKUP_TABLES_H
#define LOOKUP_TABLES_H

#include "ipc/ipc.h"
#include "map/map.h"
#include "sandbox/sandbox.h"

/* As root: opens the tables that `param` (proxy_read_maps, or proxy_write_maps with MAP_READ_WRITE) names, and for reading
 * those that our daemons do not open themselves: files and servers that the values of main.cf and the -o of master.cf
 * name without "proxy:". */
void tables_open(const char *param, unsigned flags);
/* Whether one of them talks to a server over a socket. */
bool tables_ask_servers(void);
/* Where a table that is written has its file: in data_directory when its own directory is on a file system mounted
 * read-only. In prepare(). */
struct span tables_place(struct span name, struct arena *a);
/* For landlock: the directories of these tables, and what their look-ups need. */
size_t tables_paths(struct arena *a, struct sandbox_path **out, int access);
/* NULL: not approved, or not for that program: tables of passwords and keys are for those alone who use them. Tables whose files changed were opened anew, or the process was retired. */
struct map *tables_find(struct span name, const char *program);

#endif
