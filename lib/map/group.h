/* map/group.h - several tables in one name: "unionmap:{ type:name, type:name }". */
#ifndef MAP_GROUP_H
#define MAP_GROUP_H

#include "map/driver.h"

#define GROUP_MAX 100

struct group {
	struct map *maps[GROUP_MAX];
	size_t n;
};

enum rc group_open(struct map *m, struct err *e);
void group_close(struct map *m);
bool group_changed(const struct map *m);

#endif
